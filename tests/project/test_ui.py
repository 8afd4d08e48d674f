"""What a user sees of the demo in the MLflow UI, in headless Chromium.

.venv/bin/python -m pytest -m slow tests/project/test_ui.py

Needs Debian's packages `chromium` and `chromium-driver`, and the store that `make demo` leaves. MMCLF_SCREENSHOTS=DIR
keeps the pictures that the README shows.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

PROJECT = Path(__file__).resolve().parents[2]
STORE = PROJECT / "mlflow.db"
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1500,1150 --force-device-scale-factor=1"
)

# the page reads its filter only together with these
FACETS = (
    "orderByKey=attributes.start_time&orderByAsc=false&startTime=ALL&lifecycleFilter=Active"
    "&modelVersionFilter=All+Runs&datasetsFilter=W10%3D&compareRunsMode=CHART"
)
# its panel covers a quarter of every page
CLOSE_ASSISTANT = """
for (const button of document.querySelectorAll('button[aria-label="Close"]')) button.click();
"""

# number of lines in the charts; null while something is still on its way
LINES = """
if (document.querySelector('[class*="skeleton" i], [aria-busy="true"]')) return null;
return document.querySelectorAll('.js-plotly-plot .trace').length;
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium (Debian: chromium chromium-driver)"),
    pytest.mark.skipif(shutil.which("chromedriver") is None, reason="no chromedriver (Debian: chromium-driver)"),
    pytest.mark.skipif(not STORE.is_file(), reason=f"no {STORE.name} in the project: run `make demo` first"),
]
pytest.importorskip("selenium", reason="no selenium: pip install '.[dev]'")


@pytest.fixture(scope="module")
def client() -> MlflowClient:
    return MlflowClient(f"sqlite:///{STORE}")


@pytest.fixture(scope="module")
def demo(client) -> dict[str, str]:
    """Ids of the newest demo."""
    experiment = client.get_experiment_by_name("demo")
    if experiment is None:
        pytest.skip("the store has no experiment `demo`: run `make demo` first")
    found = {"experiment": experiment.experiment_id}
    for stage in ("stage1", "stage2"):
        runs = client.search_runs([experiment.experiment_id], f"tags.stage = '{stage}' and tags.role = 'parent'")
        found[stage] = runs[0].info.run_id
    found["model"] = next(
        model.name for model in client.search_registered_models() if model.aliases and model.name.startswith("mmclf")
    )
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """`mlflow ui` on a copy of the database, so that looking changes nothing."""
    database = tmp_path_factory.mktemp("ui") / "mlflow.db"
    shutil.copyfile(STORE, database)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(
        [*command, "--backend-store-uri", f"sqlite:///{database}"],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
            break
        assert process.poll() is None
        time.sleep(0.2)
    yield url
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(30)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    service = webdriver.ChromeService(str(shutil.which("chromedriver")))
    made = webdriver.Chrome(options=options, service=service)
    yield made
    made.quit()


@pytest.fixture
def look(browser, server):
    """Open a page (or stay), wait until it shows these texts and lines of charts, and keep a screenshot; its text."""
    from selenium.webdriver.common.by import By

    def seen() -> tuple[int | None, str]:
        browser.execute_script(CLOSE_ASSISTANT)
        return browser.execute_script(LINES), str(browser.find_element(By.TAG_NAME, "body").text)

    def look(page: str, *texts: str, lines: int = 0, name: str = "") -> str:
        if page:
            browser.get("about:blank")
            browser.get(f"{server}/#/{page}")
        deadline = time.monotonic() + 90
        before, (drawn, text) = None, seen()
        # two looks in a row that see the same: what is drawn after its title is drawn
        while drawn is None or drawn < lines or before != (drawn, text) or any(each not in text for each in texts):
            assert time.monotonic() < deadline, f"{texts} and {lines} lines not on {page}, but {drawn} lines:\n{text}"
            time.sleep(0.5)
            before, (drawn, text) = (drawn, text), seen()
        folder = os.environ.get("MMCLF_SCREENSHOTS")
        if folder and name:
            browser.save_screenshot(str(Path(folder) / f"{name}.png"))
        return text

    return look


def test_the_runs_of_the_demo_and_their_folds(look, demo):
    """The list of runs: a parent for each step, with its folds below it once it is opened."""
    text = look(
        f"experiments/{demo['experiment']}/runs", "stage1 tiny-clip", "stage2 tiny-clip", "register mmclf", name="runs",
    )  # fmt: skip
    for step in ("demo", "infer test.csv"):
        assert step in text


def test_a_parent_says_what_each_fold_reached(look, demo, client):
    run = client.get_run(demo["stage2"])
    mean = f"{run.data.metrics['cv/top1_mean']:.4f}"
    text = look(f"experiments/{demo['experiment']}/runs/{demo['stage2']}", "best epoch", mean, name="parent")
    assert "cv/top1_mean" in text


def test_the_curves_of_the_folds_lie_side_by_side(look, demo, browser):
    """The chart view, with the folds of stage 2 opened below their parent."""
    from selenium.webdriver.common.by import By

    query = urllib.parse.quote('tags.stage = "stage2" and tags.role = "fold"')
    page = f"experiments/{demo['experiment']}/runs?searchFilter={query}&{FACETS}"
    look(page, "stage2 tiny-clip", "Run Name")
    parent = "//a[normalize-space()='stage2 tiny-clip']/ancestor::*[@role='gridcell'][1]//button"
    browser.find_element(By.XPATH, parent).click()
    browser.find_element(By.CSS_SELECTOR, "input[placeholder='Search metric charts']").send_keys("val/")
    folds, charts = [f"stage2 fold {fold}" for fold in range(5)], ["val/top1", "val/top3", "val/loss"]
    look("", *folds, *charts, lines=len(folds) * len(charts), name="folds-demo")


def test_the_registered_model_has_its_alias_and_its_card(look, demo, client):
    look(f"models/{demo['model']}", demo["model"], "@ champion", name="model")
    champion = client.get_model_version_by_alias(demo["model"], "champion")
    text = look(
        f"models/{demo['model']}/versions/{champion.version}",
        "How good it is", "How to call it", "Limits", "champion",
        name="card",
    )  # fmt: skip
    assert "classes of products from pictures and text" in text
    assert "macro-F1" in text
    assert "|" not in text.partition("How good it is")[2].partition("How to call it")[0]  # tables are drawn as such
