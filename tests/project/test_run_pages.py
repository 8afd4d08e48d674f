"""What a user sees of a stage's run in the MLflow UI, in headless Chromium: table, description, charts, report.

.venv/bin/python -m pytest -m slow tests/project/test_run_pages.py
"""

import pytest

import mmclf
from mmclf.records import tracking
from tests.browsers import NEEDS_CHROMIUM, Viewer, chromium, errors, mlflow_ui, requests, violations
from tests.stages import tree_of
from tests.stores import mlflow_store

pytestmark = [pytest.mark.slow, *NEEDS_CHROMIUM]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, shop, tree):
    """By stage; that of `demo` was killed."""
    with mlflow_store(tmp_path_factory.mktemp("project")) as folder:
        found = {"stage1": mmclf.stage1(shop.train_csv, images=shop.images, config=tree_of("stage1", tree))}
        found["infer"] = mmclf.infer(shop.test_csv, images=shop.images, model=found["stage1"].run_id)
        with pytest.raises(KeyboardInterrupt), tracking.record_scores("demo", "demo", {}) as killed:
            raise KeyboardInterrupt
        yield folder, {name: run.run_id for name, run in found.items()} | {"killed": killed.info.run_id}, found


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture(scope="module")
def look(runs, browser):
    folder = runs[0]
    with mlflow_ui(f"sqlite:///{folder}/mlflow.db", folder) as server:
        yield Viewer(browser, server)


def test_the_table_shows_what_was_reached(look, runs):
    figures = runs[2]["stage1"].figures
    text = look(
        "experiments/0/runs?viewStateShareKey=mmclf-results&workflowType=machine_learning",
        "stage1 tiny · 2 epochs at 0.01, img_size 32, max_len 16",
        "cv/top1_mean",
        "cv/top3_mean",
        "seconds",
        name="table",
    )
    assert f"· {figures['cv_top1_mean']:.3f}" in text
    assert f"{figures['cv_top1_mean']:.8f}"[:9] in text
    assert "infer test.csv · stage1 run" in text


def test_a_run_begins_with_its_result_report_and_next_command(look, runs):
    _, ids, found = runs
    mean = f"top-1 {found['stage1'].figures['cv_top1_mean']:.4f}"
    text = look(f"experiments/0/runs/{ids['stage1']}", mean, "report.html", "-e register", name="run")
    assert text.index(mean) < text.index("report.html") < text.index("-e register") < text.index("Show more")
    metrics = text[text.index("Search metrics") if "Search metrics" in text else text.index("Metrics (") :]
    assert metrics.index("cv/top1_mean") < metrics.index("data/rows")
    assert "system/" not in text


def test_a_killed_run_says_why(look, runs):
    look(f"experiments/0/runs/{runs[1]['killed']}", "KILLED", "Ctrl-C", name="killed")


def test_the_charts_of_the_folds_begin_with_validation(look):
    text = look(
        "experiments/0/runs?viewStateShareKey=mmclf-folds&compareRunsMode=CHART",
        "stage1 fold 0", "stage1 fold 1", "val/top1", "val/top3", "val/loss",
        lines=6,
        name="charts",
    )  # fmt: skip
    assert text.index("val/top1") < text.index("train/loss")


def test_the_report_opens_among_the_artifacts(look, runs, browser):
    from selenium.webdriver.common.by import By

    requests(browser), errors(browser)
    look(f"experiments/0/runs/{runs[1]['stage1']}/artifacts/report.html", "report.html", name="report")
    browser.switch_to.frame(browser.find_element(By.TAG_NAME, "iframe"))
    try:
        assert "In short" in browser.find_element(By.TAG_NAME, "body").text
        browser.find_element(By.CSS_SELECTOR, "#classes th button").click()
        assert browser.find_element(By.ID, "sorted").get_attribute("textContent").startswith("Sorted by ")
        assert violations(browser) == []
    finally:
        browser.switch_to.default_content()
    assert errors(browser) == []
    asked = requests(browser)
    assert asked
    assert [url for url in asked if not url.startswith(f"{look.server}/")] == []
