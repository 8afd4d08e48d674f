"""The page as a person uses it, in headless Chromium: a picture dropped, a label seen.

.venv/bin/python -m pytest -m slow tests/web/test_page.py

Needs Debian's packages `chromium` and `chromium-driver`. MMCLF_SCREENSHOTS=DIR keeps a picture of each page.
"""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mmclf.scoring.limits import Limits
from mmclf.web.neighbours import Neighbours
from tests.threads import until
from tests.web.asking import serve

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1300,1100 --force-device-scale-factor=1"
)
MARKUP = "<img src=x onerror=alert(1)> & <b>bold</b>"
MIDDLE = "const r = document.getElementById(arguments[0]).getBoundingClientRect(); return [r.x + r.width / 2, r.y + 20]"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium (Debian: chromium chromium-driver)"),
    pytest.mark.skipif(shutil.which("chromedriver") is None, reason="no chromedriver (Debian: chromium-driver)"),
]
pytest.importorskip("selenium", reason="no selenium: pip install '.[dev]'")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(shutil.which("chromedriver"))))
    yield made
    made.quit()


class Page:
    """The page in the browser."""

    def __init__(self, browser, url: str) -> None:
        self.browser, self.url = browser, url
        browser.get_log("performance"), browser.get_log("browser")
        browser.get(url)

    def __getitem__(self, name: str):
        from selenium.webdriver.common.by import By

        return self.browser.find_element(By.ID, name)

    def all(self, selector: str) -> list:
        from selenium.webdriver.common.by import By

        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def drop(self, zone: str, *paths: Path) -> None:
        """As the mouse does it."""
        x, y = self.browser.execute_script(MIDDLE, zone)
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})

    def see(self, name: str, *texts: str) -> str:
        """Wait until an element shows these texts."""
        until(lambda: all(text in self[name].text for text in texts))
        return self[name].text

    def answered(self, *texts: str) -> None:
        """Wait for an answer."""
        until(lambda: not self["verdict"].get_attribute("class") and self["said"].text.endswith("sure"))
        self.see("verdict", *texts)

    def keep(self, name: str) -> None:
        if folder := os.environ.get("MMCLF_SCREENSHOTS"):
            self.browser.save_screenshot(str(Path(folder) / f"{name}.png"))

    def check(self) -> None:
        """No script failed, and nothing was asked of any other place."""
        messages = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        assert sent
        assert {url for url in sent if not url.startswith((self.url, "data:", "blob:", "chrome:"))} == set()
        # a request that was refused is no failure of a script
        logged = [entry for entry in self.browser.get_log("browser") if entry["source"] != "network"]
        assert logged == []


@pytest.fixture(scope="module")
def site(scorer, catalog, tmp_path_factory):
    """Beside a training table whose first title holds markup."""
    rows = replace(catalog.rows, titles=[MARKUP, *catalog.rows.titles[1:]])
    known = Neighbours(rows, catalog.labels, scorer.features(catalog.rows, batch_size=8))
    made = serve(scorer, tmp_path_factory.mktemp("site"), Limits(rows=100, picture_bytes=10**6), known)
    yield made
    made.close()


@pytest.fixture
def page(browser, site):
    opened = Page(browser, site.url)
    yield opened
    opened.check()


@pytest.fixture(scope="module")
def picture(catalog) -> Path:
    """That of the first row."""
    return catalog.image_root / catalog.rows.pictures[0][0]


def test_a_picture_is_dropped_and_a_label_seen(page, catalog, picture):
    page.drop("drop", picture)
    page.answered()
    assert page["label"].text in catalog.classes
    assert page.all("#alone h3") == []
    page["text-1"].send_keys("red shoe")
    assert "The text has changed since; press Classify." in page["said"].text
    page["text-1"].send_keys("\n")
    page.answered("The pictures alone", "The texts alone", "Training products most like it")
    assert page["label"].text == page.all("#top li")[0].text.splitlines()[0]
    assert len(page.all("#top li")) == 5
    assert len(page.all("#near li")) == 6
    page.keep("app")


def test_titles_are_text_whatever_they_hold(page, picture):
    page.drop("drop", picture)
    page.answered(MARKUP)
    assert page.all("#near b") == []


def test_what_is_not_sure_enough_is_unassigned(page, picture):
    page.browser.execute_script("document.getElementById('product-precision').value = '0.99'")
    page.drop("drop", picture)
    page.see("said", "not sure enough: ")
    assert page["label"].text == "unassigned"
    assert "Most likely" in page["unsure"].text


def test_pictures_are_taken_out_again(page, catalog, picture):
    second = next(catalog.image_root / names[0] for names in catalog.rows.pictures[1:] if names)
    page.drop("drop", picture, second)
    page.answered()
    assert len(page.all("#chosen img")) == 2
    page.all("#chosen button")[0].click()
    page.answered()
    page.all("#chosen button")[0].click()
    assert page["said"].text.startswith("The answer comes here")
    assert not page["verdict"].is_displayed()


def test_mistakes_are_sentences_in_the_page(page, tmp_path):
    (tmp_path / "text.txt").write_text("x")
    page.drop("drop", tmp_path / "text.txt")
    page.see("said", "That is no picture; drop a JPEG")
    (tmp_path / "shoe.png").write_bytes(b"no picture")
    page.drop("drop", tmp_path / "shoe.png")
    page.see("said", "shoe.png: cannot identify image file", "take it out, or send another file")
    (tmp_path / "large.png").write_bytes(bytes(2 * 10**6))
    page.all("#product [type=reset]")[0].click()
    page.drop("drop", tmp_path / "large.png")
    page.see("said", "large.png: is larger than")


def test_the_tabs_are_opened_by_keys(page):
    page["one-tab"].send_keys("\ue014")  # right
    assert page["many"].is_displayed()
    assert not page["one"].is_displayed()
    assert page.browser.switch_to.active_element.get_attribute("id") == "many-tab"
    page["many-tab"].send_keys("\ue012")
    assert page["one"].is_displayed()


def test_a_folder_comes_back_as_a_labelled_table(page, tmp_path, shop, catalog):
    folder = tmp_path / "shop"
    shutil.copytree(shop.images, folder / "images")
    shutil.copy(shop.test_csv, folder)
    (folder / "notes.txt").write_text("x")
    page["many-tab"].click()
    page.drop("drop-files", folder)
    page.see("listed", " files, ", "1 left out")
    page.all("#table .main")[0].click()
    until(page["download"].is_displayed)
    assert page["table-said"].text == f"{shop.test_rows} of {shop.test_rows} rows are labelled."
    assert page.all("#lines td")[1].text in catalog.classes
    assert page["download"].get_attribute("href").endswith("/labelled.csv")
    page.keep("app-table")


def test_a_table_that_cannot_be_used_says_why(page, tmp_path):
    page["many-tab"].click()
    page.all("#table .main")[0].click()
    page.see("table-said", "Choose a CSV, pictures, a folder or a zip first.")
    (tmp_path / "shop.csv").write_text("name\nx\n")
    page["files"].send_keys(str(tmp_path / "shop.csv"))
    page.all("#table .main")[0].click()
    page.see("table-said", "shop.csv: no id column 'id'")
    assert page.all("#table .main")[0].is_enabled()


@pytest.mark.parametrize("tab", ["one", "many"])
def test_nothing_sticks_out_on_a_phone(page, picture, tab):
    size = {"width": 420, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.drop("drop", picture)
        page.answered()
        page[f"{tab}-tab"].click()
        assert page.browser.execute_script("return document.documentElement.scrollWidth") == 420
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
