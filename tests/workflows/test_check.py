"""The data doctor as a user calls it: a run, a page, groups that stage 1 takes, and an exit code.

.venv/bin/python -m pytest tests/workflows/test_check.py
"""

import contextlib
import io
import json

import pytest
from mlflow.tracking import MlflowClient

import mmclf
from entrypoints import check, stage1
from mmclf.config import build_config
from mmclf.records.vocabulary import Artifact, Metric, Tag
from mmclf.workflows.results import CheckRun
from tests.faults import config_of, draw_shop, plant_faults
from tests.reporting.pages import Page
from tests.stages import tree_of
from tests.stores import mlflow_store

FILES = {"check.html", "check.json", "groups.csv", "findings.csv", "classes.csv", "pictures.csv", "duplicates.csv"}


def call(*options: str):
    """Exit code, JSON and what was said."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = check.main(list(options))
    assert "Traceback" not in err.getvalue()
    return code, json.loads(out.getvalue() or "{}"), err.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store, and a configuration of its own."""
    with mlflow_store(tmp_path_factory.mktemp("checks")) as folder:
        (folder / "own.yaml").write_text(config_of().to_yaml())
        yield folder


@pytest.fixture(scope="module")
def faulty(folder):
    shop = draw_shop(folder / "faulty", seed=1)
    plant_faults(shop)
    shop.train[next(iter(shop.train))][0] = "<script>alert(1)</script>"
    shop.write()
    return shop


@pytest.fixture(scope="module")
def checked(folder, faulty):
    """Of the faulty shop, by the entry point."""
    options = ["--csv", str(faulty.folder / "train.csv"), "--test-csv", str(faulty.folder / "test.csv")]
    options += ["--images", str(faulty.folder / "images"), "--config", str(folder / "own.yaml")]
    return call(*options, "--out", str(folder / "out"))


def test_what_would_make_training_wrong_ends_with_1(checked):
    code, figures, said = checked
    assert code == 1
    assert figures["wrong"] == sum(line.startswith("wrong: ") for line in said.splitlines()) > 0
    assert "doubtful: " in said
    assert "  -> add rows to them, or leave them out" in said


def test_the_run_has_the_page_its_figures_and_the_groups(checked, folder):
    _, figures, _ = checked
    client = MlflowClient()
    run = client.get_run(figures["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags[Tag.STAGE] == "check"
    assert run.data.metrics[Metric.CHECK_WRONG] == figures["wrong"]
    assert f"Artifacts → [{Artifact.CHECK}]" in run.data.tags[Tag.NOTE]
    assert {each.path for each in client.list_artifacts(figures["run_id"])} >= FILES
    assert {path.name for path in (folder / "out").iterdir()} >= FILES
    found = CheckRun(figures["run_id"], figures)
    assert len(found.findings) == figures["wrong"] + figures["doubtful"] + figures["notes"]
    assert list(found.groups.columns) == ["id", "group"]


def test_the_page_is_whole_and_can_be_read_by_everybody(checked, folder):
    html = (folder / "out" / "check.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.problems == []
    assert "<script>alert" not in html
    anchors = [attributes["href"] for attributes in page.all("a")][1:]
    names = ["findings", "classes", "duplicates", "labels", "pictures", "texts", "test", "files"]
    assert anchors == [f"#{name}" for name in names]
    pictures = page.all("img")
    assert 20 < len(pictures) < 100
    assert all(each["src"].startswith("data:image/jpeg;base64,") for each in pictures)


def test_the_figures_are_those_of_the_findings(checked, folder, faulty):
    tree = json.loads((folder / "out" / "check.json").read_text(encoding="utf-8"))
    assert sum(tree["classes"].values()) == tree["counts"]["rows"] == len(faulty.train)
    named = {each["key"]: set(each["ids"]) for each in tree["findings"] if each["table"] == "train"}
    assert named["contradictions"] == faulty.expected["contradictions"]
    assert tree["leak"] == {"these_folds": None, "plain_folds": None}
    assert "left_out" in tree["tokens"] or tree["tokens"]["scripts"][0]["script"] == "Latin"


def test_a_drawn_shop_has_nothing_wrong(folder, shop):
    options = ["--csv", str(shop.train_csv), "--images", str(shop.images), "--config", str(folder / "own.yaml")]
    code, figures, _ = call(*options)
    assert code == 0
    assert figures["wrong"] == figures["doubtful"] == 0


def test_a_mistake_ends_with_2(folder, shop):
    code, figures, said = call(
        "--csv", "nowhere.csv", "--images", str(shop.images), "--config", str(folder / "own.yaml")
    )
    assert (code, figures) == (2, {})
    assert said.startswith("error: nowhere.csv: no such file")
    code, _, said = call(
        "--csv",
        str(shop.train_csv),
        "--images",
        str(shop.images),
        "--test-csv",
        "gone.csv",
        "--config",
        str(folder / "own.yaml"),
    )
    assert code == 2
    assert "gone.csv: no such file" in said


def test_the_groups_mend_what_stage_1_warns_of(folder, tree):
    shop = draw_shop(folder / "leaking", seed=2)
    ids = list(shop.train)
    for first, second in zip(ids[:40], ids[40:80], strict=True):
        shop.train[second] = [f"{shop.train[first][0]} again", *shop.train[first][1:]]
    shop.write()
    table, images = shop.folder / "train.csv", shop.folder / "images"
    found = mmclf.check(table, images=images, config=config_of())
    [leak] = [each for each in found.findings if each["level"] == "wrong"]
    assert leak["key"] == "leak-across-folds"
    config = folder / "stage1.yaml"
    config.write_text(build_config(tree_of("stage1", tree)).to_yaml())

    def said(overrides):
        err = io.StringIO()
        options = ["--csv", str(table), "--images", str(images), "--config", str(config), "--report", "false"]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            assert stage1.main([*options, "--fold", "0", "--overrides", f"train.epochs=1 {overrides}"]) == 0
        return err.getvalue()

    assert "have the text of a row of another fold" in said("")
    assert "have the text of a row of another fold" not in said(leak["mend"])
