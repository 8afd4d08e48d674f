"""Everything that a chain records is declared in vocabulary.py.

.venv/bin/python -m pytest tests/records/test_vocabulary.py
"""

import re

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

import mmclf
from mmclf.records.vocabulary import CONFIG_PREFIX, Metric, Tag, Word, show_backbone
from mmclf.training.epoch import EpochResult
from mmclf.training.history import curves
from tests.stages import tree_of
from tests.stores import mlflow_store

# set by MLflow for every run
THEIRS = re.compile(r"mlflow\.(user|source\.(name|type|git\.\w+)|runName|rootRunId)")
MODULES = ("image_encoder", "text_encoder", "head")


@pytest.fixture(scope="module")
def store(tmp_path_factory, shop, tree):
    """One run of every kind that needs no Spark, and a version."""
    with mlflow_store(tmp_path_factory.mktemp("names")):
        mmclf.stage1(shop.train_csv, images=shop.images, config=tree_of("stage1", tree))
        mmclf.stage2(config=tree_of("stage2", tree), overrides={"train.epochs": 1})
        mmclf.register()
        mmclf.infer(shop.test_csv, images=shop.images)
        mmclf.infer(shop.test_csv, images=shop.images, overrides={"data.img_size": 48})
        mmclf.ensemble(weights=[2, 1])
        mmclf.evaluate(shop.test_csv, labels=shop.test_labels_csv, images=shop.images, report=False)
        mmclf.tune(shop.train_csv, images=shop.images, config=tree_of("stage1", tree), trials=2)
        runs = MlflowClient().search_runs(["0"], "tags.stage LIKE 'stage%' and tags.role = 'parent'")
        mmclf.ensemble(runs=[run.info.run_id for run in runs])
        mmclf.compare(runs=[run.info.run_id for run in runs])
        yield MlflowClient()


def epoch_names() -> set[str]:
    rates = dict.fromkeys(MODULES, 0.1)
    return set(curves(EpochResult(1, 0, 0, 0, 0, rates, 1, 1, 0, 1, True, np.zeros((1, 1)))))


def test_every_tag_and_metric_is_declared(store):
    runs = store.search_runs(["0"])
    stages = {"stage1", "stage2", "fusion", "register", "infer", "evaluate", "compare", "ensemble", "tune"}
    assert {run.data.tags[Tag.STAGE] for run in runs} == stages
    metrics = epoch_names() | set(Metric)
    for run in runs:
        tags = {tag for tag in run.data.tags if not THEIRS.fullmatch(tag)}
        assert tags <= set(Tag), tags - set(Tag)
        recorded = {name for name in run.data.metrics if not name.startswith("system/")}
        assert recorded <= metrics, recorded - metrics
        params = [name for name in run.data.params if not name.startswith(CONFIG_PREFIX)]
        assert not params
    for version in store.search_model_versions():
        assert set(version.tags) <= set(Tag)


def test_a_tag_means_the_same_everywhere(store):
    for run in store.search_runs(["0"]):
        tags = run.data.tags
        if Tag.FOLDS in tags:
            assert re.fullmatch(r"\d+(,\d+)*", tags[Tag.FOLDS])
        if tags[Tag.STAGE] in ("stage1", "stage2"):
            assert tags[Tag.BACKBONE] == "tiny"
            assert re.fullmatch(r"[0-9a-f]{64}", tags[Tag.WEIGHTS])
        if tags[Tag.STAGE] == "infer":
            assert tags[Tag.SCORED_BY] == "folds 0, 1 of mmclf version 1"
    [version] = store.search_model_versions()
    assert version.tags[Tag.BACKBONE] == "tiny"
    assert version.tags[Tag.FOLDS] == "0,1"


@pytest.mark.parametrize("words", [Tag, Metric])
def test_every_word_has_a_meaning(words: type[Word]):
    assert all(len(word.meaning.split()) > 1 for word in words)
    assert len({word.meaning for word in words}) == len(words)
    assert all(str(word) == word.value and type(str(word)) is str for word in words)


def test_a_backbone_is_shown_without_its_path():
    assert show_backbone("local-dir:/models/my-clip", "") == "my-clip"
    assert show_backbone("ViT-B-32", "openai") == "ViT-B-32 (openai)"
    assert show_backbone("hf-hub:org/repo", "") == "hf-hub:org/repo"
