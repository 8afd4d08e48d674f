"""What a user sees of the demo in the MLflow UI, in headless Chromium.

.venv/bin/python -m pytest -m slow tests/project/test_ui.py

Needs Debian's packages `chromium` and `chromium-driver`, and the store that `make demo` leaves. MMCLF_SCREENSHOTS=DIR
keeps the pictures that the README shows.
"""

import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.browsers import NEEDS_CHROMIUM, Viewer, chromium, mlflow_ui

PROJECT = Path(__file__).resolve().parents[2]
STORE = PROJECT / "mlflow.db"

pytestmark = [
    pytest.mark.slow,
    *NEEDS_CHROMIUM,
    pytest.mark.skipif(not STORE.is_file(), reason=f"no {STORE.name} in the project: run `make demo` first"),
]


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
def look(tmp_path_factory):
    """On a copy of the database, so that looking changes nothing."""
    database = tmp_path_factory.mktemp("ui") / "mlflow.db"
    shutil.copyfile(STORE, database)
    with (
        mlflow_ui(f"sqlite:///{database}", PROJECT) as server,
        chromium(tmp_path_factory.mktemp("profile")) as browser,
    ):
        yield Viewer(browser, server)


def test_the_runs_of_the_demo_and_what_they_reached(look, demo, client):
    """The table of runs, as the address that every run ends with opens it."""
    reached = client.get_run(demo["stage2"]).data.metrics["cv/top1_mean"]
    text = look(
        f"experiments/{demo['experiment']}/runs?viewStateShareKey=mmclf-results&workflowType=machine_learning",
        "stage1 tiny-clip", f"· {reached:.3f}", "register mmclf", "cv/top1_mean", "seconds",
        name="runs",
    )  # fmt: skip
    for step in ("demo", "infer test.csv"):
        assert step in text


def test_a_parent_says_what_was_reached_first(look, demo, client):
    run = client.get_run(demo["stage2"])
    mean = f"top-1 {run.data.metrics['cv/top1_mean']:.4f}"
    text = look(f"experiments/{demo['experiment']}/runs/{demo['stage2']}", mean, "Next:", "cv/top1_mean", name="parent")
    assert text.index(mean) < text.index("report.html") < text.index("Next:") < text.index("cv/top1_mean")


def test_the_curves_of_the_folds_lie_side_by_side(look, demo):
    """The view of the folds as charts: those of validation come first."""
    folds, charts = [f"stage2 fold {fold}" for fold in range(5)], ["val/top1", "val/top3", "val/loss"]
    page = f"experiments/{demo['experiment']}/runs?viewStateShareKey=mmclf-folds&compareRunsMode=CHART"
    text = look(page, *folds, *charts, lines=len(folds) * len(charts), name="folds-demo")
    assert text.index("val/top1") < text.index("train/loss")


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
