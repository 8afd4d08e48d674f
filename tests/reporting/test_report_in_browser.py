"""The report as Chromium shows it: by itself, for every eye and hand, from the keyboard.

.venv/bin/python -m pytest tests/reporting/test_report_in_browser.py
"""

from dataclasses import replace

import numpy as np
import pytest

from mmclf.reporting.evidence import Modalities
from mmclf.reporting.report import make_report
from tests.browsers import NEEDS_CHROMIUM, chromium, errors, requests, violations
from tests.reporting.pages import draw_evidence, draw_histories

pytestmark = NEEDS_CHROMIUM

# what the keyboard comes to, one after the other, and whether it is in sight then
FOCUSED = """
const [element, box] = [document.activeElement, document.activeElement.getBoundingClientRect()];
return [element.tagName, (element.getAttribute("aria-label") || element.textContent).trim().slice(0, 60),
        box.bottom > 0 && box.top < window.innerHeight];
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The address of a report with everything that one can have."""
    folder = tmp_path_factory.mktemp("report")
    found = draw_evidence(90, folder=folder, skill=1.5, histories=draw_histories())
    text, picture = (np.roll(found.table.probabilities, n, axis=1) for n in (0, 1))
    both = np.arange(len(found)) % 3 > 0
    cut = np.arange(len(found)) % 4 == 0
    report = make_report(replace(found, modalities=Modalities(both, text, picture), cut=cut))
    report.write(folder)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def shown(browser, page):
    requests(browser), errors(browser)  # those of the test before
    browser.get(page)
    return browser


def test_it_asks_for_nothing_and_complains_of_nothing(shown, page):
    assert errors(shown) == []
    assert requests(shown) == [page]


def test_axe_finds_nothing_wrong(shown):
    assert violations(shown) == []


def test_axe_would_find_something(shown):
    shown.execute_script("document.querySelector('img').removeAttribute('alt')")
    assert any(each.startswith("image-alt") for each in violations(shown))


def test_the_keyboard_reaches_every_section_table_and_heading_that_sorts(shown):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    expected = shown.execute_script("return document.querySelectorAll('a, button, [tabindex=\"0\"]').length")
    met = []
    for _ in range(expected):
        shown.switch_to.active_element.send_keys(Keys.TAB)
        met.append(tuple(shown.execute_script(FOCUSED)))
    assert all(in_sight for _, _, in_sight in met)
    assert met[0][:2] == ("A", "Skip to the content")
    places = {name for _, name, _ in met}
    tables = shown.find_elements(By.CSS_SELECTOR, "[role=region]")
    assert {table.get_attribute("aria-label")[:60] for table in tables} <= places
    assert len(tables) > 5


def test_enter_sorts_a_table_and_says_so(shown):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    table = shown.find_element(By.CSS_SELECTOR, "#classes table.sortable")
    heading = next(each for each in table.find_elements(By.CSS_SELECTOR, "thead th") if "F1" in each.text)
    place = table.find_elements(By.CSS_SELECTOR, "thead th").index(heading)
    heading.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert heading.get_attribute("aria-sort") == "descending"
    cells = [row.find_elements(By.CSS_SELECTOR, "th, td")[place] for row in table.find_elements(By.TAG_NAME, "tr")[1:]]
    values = [float(cell.get_attribute("data-sort")) for cell in cells]
    assert len(values) > 2
    assert values == sorted(values, reverse=True)
    assert shown.find_element(By.ID, "sorted").get_attribute("textContent") == "Sorted by F1, descending."


def test_a_link_leads_to_its_section(shown):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    link = shown.find_element(By.CSS_SELECTOR, 'nav a[href="#labels"]')
    link.send_keys(Keys.ENTER)
    assert shown.switch_to.active_element.get_attribute("id") == "labels"
