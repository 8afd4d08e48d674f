"""What `fit` decides by size and machine.

.venv/bin/python -m pytest tests/workflows/test_plan.py
"""

import itertools

import pytest

from mmclf.config import resolve_config
from mmclf.errors import ConfigError
from mmclf.runtime.machine import GIB, Machine, find_machine
from mmclf.workflows import plan

CPU = Machine("cpu", "", 2, 24 * GIB, 0)
GPU = Machine("cuda", "A card", 16, 128 * GIB, 24 * GIB)


@pytest.mark.parametrize("step", plan.CONFIGS)
def test_each_step_starts_from_a_configuration_that_ships(step):
    trains_towers = resolve_config(plan.CONFIGS[step]).model.clip_trainable
    assert trains_towers == (step == plan.FINE_TUNING)


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        (CPU, "ViT-B-32"),
        (GPU, "ViT-L-14-quickgelu"),
        (Machine("cuda", "An old card", 4, 16 * GIB, 4 * GIB), "ViT-B-32"),
        (Machine("mps", "", 8, 16 * GIB, 0), "ViT-B-32"),
    ],
)
def test_the_backbone_is_one_that_the_machine_carries(machine, name):
    changes, why = plan.choose_backbone(machine, {"train.folds": 3})
    assert changes["model.name"] == name
    assert changes["train.folds"] == 3
    assert "model.name takes another" in why
    import open_clip

    assert (name, changes["model.pretrained"]) in open_clip.list_pretrained()


def test_a_backbone_that_is_asked_for_is_taken_without_the_other_ones_weights():
    changes, why = plan.choose_backbone(GPU, {"model.name": "local-dir:towers"})
    assert (changes["model.name"], changes["model.pretrained"]) == ("local-dir:towers", None)
    assert why == "as asked for"
    changes, _ = plan.choose_backbone(GPU, {"model.name": "ViT-B-16", "model.pretrained": "openai"})
    assert changes["model.pretrained"] == "openai"


@pytest.mark.parametrize("key", ["train.epochs=3", "model.head=mlp", "model.kernels=[image]", "train.lrs.head=1"])
def test_what_it_decides_itself_can_not_be_overridden(key):
    with pytest.raises(ConfigError, match=rf"overrides: {key.split('=')[0]}: fit decides this itself"):
        plan.shared_changes(key)


@pytest.mark.parametrize(
    ("rows", "size"), [(1, 32), (300, 32), (4_000, 32), (11_000, 128), (50_000, 512), (10**6, 1024)]
)
def test_larger_tables_take_larger_batches(rows, size):
    assert plan.mlp_step(rows, 5, CPU).changes == {"train.batch_size": size}


def test_the_kernel_head_is_exact_as_far_as_memory_goes():
    assert "exact" in plan.kernel_step(20_000, 5, CPU, 20_000).why
    assert "landmarks" in plan.kernel_step(20_001, 5, CPU, 20_000).why
    assert plan.kernel_step(200_000, 5, CPU, 20_000).is_taken
    beyond = plan.kernel_step(200_001, 5, CPU, 20_000)
    assert not beyond.is_taken
    assert "left out: about" in beyond.why


@pytest.mark.parametrize("make", [lambda n: plan.kernel_step(n, 5, CPU, 20_000), lambda n: plan.mlp_step(n, 5, CPU)])
def test_estimates_grow_with_the_rows_and_shrink_with_the_cores(make):
    seconds = [make(rows).seconds for rows in (300, 1_000, 5_000, 30_000, 200_000, 10**6)]
    assert all(0 < less < more for less, more in itertools.pairwise(seconds))
    many = Machine("cpu", "", 8, 24 * GIB, 0)
    assert plan.mlp_step(1_000, 5, many).seconds == pytest.approx(plan.mlp_step(1_000, 5, CPU).seconds / 4)


@pytest.mark.parametrize(
    ("machine", "left", "is_taken", "said"),
    [
        (CPU, None, False, "there is no GPU; a budget"),
        (GPU, None, True, "there is a GPU"),
        (CPU, 3400.0, True, "the budget has room for it"),
        (CPU, 3300.0, False, "about 55 min 59 s, more than the budget leaves"),
        (GPU, 3300.0, False, "more than the budget leaves"),
        (GPU, -5.0, False, "more than the budget leaves"),
    ],
)
def test_fine_tuning_needs_a_gpu_or_a_budget_with_room_for_it(machine, left, is_taken, said):
    """8 epochs over 5 folds, each row trained 4 times as one of four parts and validated once."""
    step = plan.fine_tuning_step(1_000, 5, 8, 0.0247, 10**7, machine, left)
    assert step.seconds == pytest.approx(8 * 1_000 * 0.0247 * 17, rel=1e-9)
    assert step.is_taken == is_taken
    assert said in step.why


def test_a_budget_that_is_too_small_for_the_heads_is_said():
    assert "more than the budget of 1 min 00 s: the heads are made all the same" in plan.budget_note(60, 120)
    assert plan.budget_note(600, 120) == "the budget is 10 min 00 s"


def test_this_machine_is_described():
    found = find_machine()
    assert found.cores >= 1
    assert found.memory > 0
    assert "of memory free" in str(found)
    assert "24 GiB" in str(GPU)


def test_large_towers_are_fine_tuned_at_the_rates_of_the_recipe():
    small, large = (plan.fine_tuning_step(1_000, 5, 8, 0.01, count, GPU, None) for count in (27 * 10**6, 428 * 10**6))
    assert small.changes == {}
    rates = resolve_config(large.config, large.changes).train.lrs
    recipe = resolve_config("configs/stage2.yaml").train.lrs
    assert (rates.image_encoder, rates.text_encoder) == (recipe.image_encoder, recipe.text_encoder)
