"""What is planned and said before the work begins, of the drawn shop and the tiny CLIP.

.venv/bin/python -m pytest tests/workflows/test_forecast.py
"""

import re

import pytest

from mmclf.config import build_config
from mmclf.data.folds import Split, assign_folds
from mmclf.data.views import EVAL, count_views
from mmclf.model.speed_kinds import picture_kind, text_kind, towers_used
from mmclf.runtime.agenda import Agenda
from mmclf.runtime.machine import find_machine, machine_name, multiplications_per_second
from mmclf.store.cache import GIB, Cache
from mmclf.training.fold_task import speed_kinds
from mmclf.workflows import forecast, sizing
from mmclf.workflows.feature_forecast import FeatureForecast
from mmclf.workflows.plan import FINE_TUNING, KERNEL_HEAD, Step
from tests.features import CPU, configure, make
from tests.stages import tree_of


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", GIB)


@pytest.fixture(scope="module")
def split(catalog):
    return Split(catalog, assign_folds(catalog, 3, 42))


def towers_of(config) -> str:
    return towers_used(config.model.name, config.model.pretrained, config.data.img_size, "float32")


def quiet_encoder(catalog, config, cache):
    return make(catalog, config, cache, quiet=True).encoder


def test_epochs_of_all_folds_are_planned(split, tree):
    config = build_config(tree_of("stage1", tree))
    training, validation = speed_kinds("stage1", config)
    agenda = Agenda("stage1", {training: 2.0, validation: 1.0})
    forecast.plan_epochs(agenda, "stage1", config, split, [0, 2], None)
    size, epochs = config.train.batch_size, config.train.epochs
    steps = sum(-(-len(split.train_rows(fold)) // size) for fold in (0, 2))
    held_out = sum(-(-len(split.held_out(fold)) // size) for fold in (0, 2))
    assert agenda.left == epochs * (2 * steps + held_out)
    agenda.drop(("stage1 fold 0",))
    assert agenda.left < epochs * (2 * steps + held_out)


def test_passes_that_the_cache_has_are_not_expected(catalog, tree, cache, capsys):
    config = configure(tree, epochs=3)
    config = config.model_copy(update={"train": config.train.model_copy(update={"amp": False})})
    towers = towers_of(config)
    agenda = Agenda("stage1", {picture_kind(towers): 1.0, text_kind(towers): 1e-9})
    planned = FeatureForecast("stage1", config, catalog.rows)
    pictures = count_views(catalog.rows, "first")
    planned.announce(agenda)
    assert agenda.left == pytest.approx(4 * pictures, rel=0.01)
    make(catalog, config, cache).images(1)
    planned.refine(agenda, lambda: quiet_encoder(catalog, config, cache))
    assert agenda.left == pytest.approx(3 * pictures, rel=0.01)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert re.fullmatch(rf"stage1: 4 passes over {pictures} pictures, .* texts; .*: about \d+ min \d\d s", said[0])


def test_towers_that_never_ran_here_are_timed_by_batches_that_are_kept(catalog, tree, cache, capsys):
    config = configure(tree, epochs=3)
    config = config.model_copy(update={"train": config.train.model_copy(update={"amp": False})})
    towers, agenda = towers_of(config), Agenda("stage1")
    FeatureForecast("stage1", config, catalog.rows).refine(agenda, lambda: quiet_encoder(catalog, config, cache))
    assert agenda.knows(picture_kind(towers))
    assert agenda.knows(text_kind(towers))
    assert agenda.left > 0
    assert re.search(r"timed by a batch: about \d+ s\n", capsys.readouterr().err)
    assert quiet_encoder(catalog, config, cache).missing(catalog.rows, [EVAL, 1])[0] < 1


def test_what_takes_long_is_told_what_would_take_less(catalog, tree, capsys):
    config = configure(tree, epochs=3)
    model = config.model.model_copy(update={"name": "ViT-L-14", "pretrained": "laion2b_s32b_b82k"})
    config = config.model_copy(update={"model": model, "train": config.train.model_copy(update={"amp": False})})
    towers = towers_of(config)
    agenda = Agenda("stage1", {picture_kind(towers): 100.0, text_kind(towers): 1e-9})
    FeatureForecast("stage1", config, catalog.rows).announce(agenda)
    said = capsys.readouterr().err
    assert re.search(r"stage1: shorter: train\.views=0 about .*, model\.name=ViT-B-32 .* about ", said)


def test_a_head_that_reads_no_pictures_needs_no_pass(catalog, tree, cache):
    config = configure(tree)
    model = config.model.model_copy(update={"head": "kernel", "kernels": ["words", "chars"]})
    config = config.model_copy(update={"model": model})
    agenda = Agenda("stage1")
    FeatureForecast("", config, catalog.rows).refine(agenda, lambda: quiet_encoder(catalog, config, cache))
    assert agenda.left is None  # nothing is planned


def test_the_machine_has_a_name_and_a_rate():
    import torch

    assert machine_name(CPU).startswith("cpu, ")
    assert 1e8 < multiplications_per_second(CPU, torch.float32) < 1e14
    assert "CPU core" in str(find_machine())


def test_needs_grow_with_what_is_trained(catalog, backbone):
    identity = backbone.identity
    steps = [Step(KERNEL_HEAD, "", {}, 1, ""), Step(FINE_TUNING, "", {}, 1, "", is_taken=False)]
    heads = sizing.needs_of_fit(catalog.rows, 100, identity, steps, 10**8, 5)
    tuned = sizing.needs_of_fit(catalog.rows, 100, identity, [steps[0], Step(FINE_TUNING, "", {}, 1, "")], 10**8, 5)
    assert tuned.memory > heads.memory + 3 * 4 * 10**8
    assert tuned.store == pytest.approx(heads.store + 10 * 4 * 10**8)
    assert tuned.cache == heads.cache
    assert str(heads).startswith("memory about ")


def test_needs_of_batch_grow_with_the_workers():
    one, four = (sizing.needs_of_batch(10**6, 10**9, workers) for workers in (1, 4))
    assert four.memory - one.memory == pytest.approx(3 * (sizing.LIBRARIES + 10**9))
    assert one.store == four.store
