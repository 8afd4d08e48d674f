"""Where runs are seen: addresses of the UI, the command that opens it, and the views that it is opened with.

.venv/bin/python -m pytest tests/records/test_addresses.py
"""

import json
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from mmclf.records import tracking, views
from mmclf.records.addresses import run_page, table_page, ui_root, ways_to
from mmclf.records.vocabulary import Metric
from mmclf.training.history import VAL_TOP1
from mmclf.workflows.next_steps import after_registration, after_stage, command, say_end
from tests.stores import mlflow_store

# of a tag of an experiment
MOST = 5000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Recorded in a store of SQLite, with the views of its experiment."""
    with mlflow_store(tmp_path_factory.mktemp("store")):
        with tracking.record_scores("demo", "demo", {}) as made:
            pass
        yield made


@pytest.mark.parametrize(
    ("uri", "root", "opens"),
    [
        ("http://server:8080/", "http://server:8080", ""),
        ("https://someone:secret@server/mlflow", "https://server/mlflow", ""),
        ("sqlite:////srv/runs.db", "http://127.0.0.1:5000", "mlflow ui --backend-store-uri sqlite:////srv/runs.db"),
        (
            "sqlite:///runs.db",
            "http://127.0.0.1:5000",
            f"mlflow ui --backend-store-uri sqlite:///{Path.cwd() / 'runs.db'}",
        ),
        ("/srv/mlruns", "http://127.0.0.1:5000", "mlflow ui --backend-store-uri /srv/mlruns"),
        (
            "postgresql://someone:secret@server/runs",
            "http://127.0.0.1:5000",
            "mlflow ui --backend-store-uri postgresql://server/runs",
        ),
        ("databricks", "", ""),
    ],
)
def test_a_store_is_opened_by_its_address_or_a_command(uri, root, opens):
    assert ui_root(uri) == (root, opens)


def test_a_run_and_the_table_have_addresses(run, monkeypatch):
    [opens, this, every] = ways_to(run)
    assert opens == f"open MLflow's UI: mlflow ui --backend-store-uri {mlflow.get_tracking_uri()}"
    assert this.startswith(f"this run: http://127.0.0.1:5000/#/experiments/0/runs/{run.info.run_id}")
    assert every.startswith("all runs: http://127.0.0.1:5000/#/experiments/0/runs?viewStateShareKey=mmclf-results")
    assert run_page(run, "artifacts", "a b.html").endswith("/artifacts/a%20b.html")
    assert views.RESULTS in table_page(run)


def test_the_experiment_offers_the_views(run):
    tags = MlflowClient().get_experiment("0").tags
    for key, name in ((views.RESULTS, "Results"), (views.FOLDS, "Folds")):
        text = tags[views.TAG + key]
        assert len(text) < MOST
        view = json.loads(text)
        assert view["name"] == name
        state = json.loads(view["state"])
        assert set(state["selectedColumns"]) <= set(state["columnOrder"])
        sections = [section["uuid"] for section in state["compareRunSections"]]
        assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == set(sections)


def test_what_the_views_show_is_recorded():
    columns = [c for state in (views.results(), views.folds()) for c in state["selectedColumns"]]
    metrics = {column.removeprefix("metrics.").strip("`") for column in columns if column.startswith("metrics.")}
    assert metrics <= set(Metric)
    charts = [chart["metricKey"] for chart in views.results()["compareRunCharts"]]
    assert {key for key in charts if key.startswith("cv/")} <= set(Metric)
    assert views.folds()["compareRunCharts"][0]["metricKey"] == VAL_TOP1


def test_a_view_that_a_user_changed_is_left_alone(run):
    client = MlflowClient()
    client.set_experiment_tag("0", views.TAG + views.RESULTS, "mine")
    views.offer_views(client, "0")
    assert client.get_experiment("0").tags[views.TAG + views.RESULTS] == "mine"


def test_what_comes_next_is_a_command_of_the_shell():
    assert command("infer", csv="my table.csv", model="") == (
        "mlflow run . -e infer --env-manager local -P csv='my table.csv'"
    )
    assert [line.split()[4] for line in after_stage("stage1", "mlp", "r", is_single=False)] == ["register", "stage2"]
    assert [line.split()[4] for line in after_stage("stage1", "kernel", "r", is_single=False)] == ["register"]
    assert [line.split()[4] for line in after_stage("stage2", "mlp", "r", is_single=False)] == ["register"]
    assert after_stage("stage1", "mlp", "r", is_single=True) == []


def test_a_model_is_named_where_it_is_not_the_one_that_is_taken_anyway():
    score, serve = after_registration("models:/mmclf/3", is_champion=True)
    assert "model=" not in score
    assert serve == "mlflow models serve -m models:/mmclf@champion --env-manager local"
    assert "-P model=models:/mmclf/3" in after_registration("models:/mmclf/3", is_champion=False)[0]
    assert "-P model=models:/other@champion" in after_registration("models:/other/1", is_champion=True)[0]


def test_a_part_of_another_job_leaves_it_to_that(run, capsys):
    say_end(run.info.run_id, ["one", "two"])
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        "open MLflow's UI",
        "this run",
        "all runs",
        "next",
        "or",
    ]
    with tracking.record_several("fit", "fit", {}):
        say_end(run.info.run_id, ["one"])
    assert capsys.readouterr().err == ""
