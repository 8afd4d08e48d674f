"""The loop: it learns, accumulates, schedules, stops, and can be repeated to the bit.

.venv/bin/python -m pytest tests/training/test_loop.py
"""

import copy

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from transformers import get_linear_schedule_with_warmup

from mmclf.config import build_config
from mmclf.data.pictures import Pictures
from mmclf.data.row_batches import Loader, RowDataset
from mmclf.errors import TrainingError
from mmclf.model.checkpoint import build_head
from mmclf.model.classifier import Classifier
from mmclf.runtime.device import Precision
from mmclf.runtime.seeds import seed_everything
from mmclf.training.epoch import EpochResult
from mmclf.training.fold_task import FoldTask
from mmclf.training.loop import fit, predict
from mmclf.training.optimisation import linear_schedule
from tests.conftest import MAX_LEN

CPU = torch.device("cpu")


def configure(tree, **train):
    changed = copy.deepcopy(tree)
    changed["model"]["dropout"] = 0.0
    changed["train"].update(train)
    return build_config(changed)


def prepare(backbone, catalog, config, *, trainable=False, rows=32) -> tuple[Classifier, Loader, Loader]:
    """A model and loaders over the first rows, validated on the rows it is trained on."""
    seed_everything(0, "head")
    head = build_head(backbone.identity, config, len(catalog.classes))
    model = Classifier(backbone, head, Precision(None, False, "test"), clip_trainable=trainable)
    pictures = Pictures(catalog.image_root, backbone.transform)
    dataset = RowDataset(catalog.rows, pictures, "first", config.train.seed)
    tokens = backbone.tokenize(catalog.rows.texts, MAX_LEN)
    targets = catalog.targets(catalog.classes)
    chosen = np.arange(rows)
    size = config.train.batch_size
    train = Loader(dataset, tokens, targets, chosen, batch_size=size, num_workers=0, shuffle_seed=config.train.seed)
    return model, train, Loader(dataset, tokens, targets, chosen, batch_size=size, num_workers=0)


def train(backbone, catalog, config, **kwargs) -> tuple[Classifier, list[EpochResult]]:
    model, loader, validation = prepare(backbone, catalog, config, **kwargs)
    return model, list(fit(FoldTask("stage1", 0, config, model, loader, validation, CPU)))


def test_it_learns_the_rows_it_is_shown(backbone, catalog, tree):
    config = configure(tree, epochs=12, batch_size=8, early_stop_patience=12)
    _, results = train(backbone, catalog, config, trainable=True)
    assert results[-1].train_loss < results[0].train_loss / 2
    assert max(r.val_top1 for r in results) > 0.8
    assert all(r.val_top3 >= r.val_top1 for r in results)
    assert [r.epoch for r in results] == list(range(1, 13))


def test_the_figures_belong_to_the_probabilities(backbone, catalog, tree):
    _, results = train(backbone, catalog, configure(tree, epochs=2))
    targets = catalog.targets(catalog.classes)[:32]
    for result in results:
        assert result.probabilities.shape == (32, len(catalog.classes))
        np.testing.assert_allclose(result.probabilities.sum(axis=1), 1, atol=1e-5)
        assert result.val_top1 == pytest.approx((result.probabilities.argmax(axis=1) == targets).mean())
        exact = result.probabilities.astype(float)
        exact /= exact.sum(axis=1, keepdims=True)
        expected = log_loss(targets, exact, labels=range(len(catalog.classes)))
        assert result.val_loss == pytest.approx(expected, rel=1e-3)


def test_two_runs_with_the_same_seed_are_identical(clip_folder, catalog, tree):
    from mmclf.model.loading import load_backbone

    config = build_config(tree)  # with dropout
    runs = []
    for _ in range(2):
        fresh = load_backbone(config.model.name, None, config.data.img_size)
        torch.rand(3)  # whatever the process did before must not matter
        model, results = train(fresh, catalog, config, trainable=True)
        runs.append((model.state_dict(), results))
    for name, tensor in runs[0][0].items():
        assert torch.equal(tensor, runs[1][0][name]), name
    for one, other in zip(runs[0][1], runs[1][1], strict=True):
        assert np.array_equal(one.probabilities, other.probabilities)
        assert one.train_loss == other.train_loss


@pytest.mark.parametrize("rows", [32, 29])  # 29: the last step has fewer rows
def test_accumulated_batches_equal_one_large_batch(clip_folder, catalog, tree, rows):
    from mmclf.model.loading import load_backbone

    states = []
    for batch_size, accum in ((16, 1), (4, 4)):
        config = configure(tree, epochs=2, batch_size=batch_size, grad_accum=accum)
        fresh = load_backbone(config.model.name, None, config.data.img_size)
        model, results = train(fresh, catalog, config, rows=rows)
        states.append((model.head.state_dict(), [r.train_loss for r in results]))
    for name, tensor in states[0][0].items():
        torch.testing.assert_close(tensor, states[1][0][name], rtol=1e-4, atol=1e-5)
    assert states[0][1] == pytest.approx(states[1][1], rel=1e-4)


def test_the_rate_falls_linearly_after_the_warm_up(backbone, catalog, tree):
    config = configure(tree, epochs=4, batch_size=8, warmup_ratio=0.25, early_stop_patience=9)
    _, results = train(backbone, catalog, config)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=config.train.lrs.head)
    scheduler = get_linear_schedule_with_warmup(optimizer, 4, 16)  # 4 steps an epoch
    expected = []
    for _ in range(16):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert [r.learning_rates["head"] for r in results] == pytest.approx(
        [expected[3], expected[7], expected[11], expected[15]]
    )
    assert expected[15] > 0


@pytest.mark.parametrize(("warmup", "steps"), [(0, 7), (3, 10), (5, 5), (1, 1)])
def test_the_schedule_is_the_one_of_transformers(warmup, steps):
    optimizers = [torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=3e-4) for _ in range(2)]
    schedules = [linear_schedule(optimizers[0], warmup, steps)]
    schedules.append(get_linear_schedule_with_warmup(optimizers[1], warmup, steps))
    for _ in range(steps + 2):
        assert schedules[0].get_last_lr() == schedules[1].get_last_lr()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()


def test_the_ledger_of_an_epoch_is_filled_in(backbone, catalog, tree):
    _, results = train(backbone, catalog, configure(tree, epochs=2))
    for result in results:
        assert 0 < result.data_wait < 1
        assert result.peak_memory > 50  # MiB; torch alone takes more
        assert result.rows_per_second > 0


def test_a_module_with_rate_zero_does_not_move_and_the_others_do(backbone, catalog, tree):
    before = {k: v.clone() for k, v in backbone.clip.state_dict().items()}
    lrs = {"image_encoder": 0.0, "text_encoder": 1e-3, "head": 1e-2}
    model, results = train(backbone, catalog, configure(tree, epochs=1, lrs=lrs), trainable=True)
    after = model.backbone.clip.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items() if k.startswith("visual."))
    assert not torch.equal(before["ln_final.weight"], after["ln_final.weight"])
    assert set(results[0].learning_rates) == {"image_encoder", "text_encoder", "head"}


def test_frozen_towers_do_not_change(backbone, catalog, tree):
    before = {k: v.clone() for k, v in backbone.clip.state_dict().items()}
    model, _ = train(backbone, catalog, configure(tree, epochs=1))
    assert all(torch.equal(v, model.backbone.clip.state_dict()[k]) for k, v in before.items())


def test_it_stops_after_the_patience(backbone, catalog, tree):
    config = configure(tree, epochs=9, early_stop_patience=2, lrs={"image_encoder": 0, "text_encoder": 0, "head": 0.0})
    _, results = train(backbone, catalog, config)
    assert len(results) == 3  # nothing can get better after the first
    assert [r.is_best for r in results] == [True, False, False]


def test_label_smoothing_changes_the_loss_and_nothing_else_at_the_start(backbone, catalog, tree):
    still = {"image_encoder": 0.0, "text_encoder": 0.0, "head": 0.0}
    _, plain = train(backbone, catalog, configure(tree, epochs=1, lrs=still))
    model, smoothed = train(backbone, catalog, configure(tree, epochs=1, lrs=still, label_smoothing=0.5))
    assert np.array_equal(plain[0].probabilities, smoothed[0].probabilities)
    assert plain[0].train_loss != smoothed[0].train_loss


def test_a_loss_that_is_not_a_number_stops_with_advice(backbone, catalog, tree):
    model, loader, validation = prepare(backbone, catalog, configure(tree))
    with torch.no_grad():
        model.head[1].weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"fold 3, epoch 1.*nan.*lower train\.lrs"):
        list(fit(FoldTask("stage1", 3, configure(tree), model, loader, validation, CPU)))


# what keeps fine-tuning steady


def test_without_patience_all_epochs_are_run(backbone, catalog, tree):
    still = {"image_encoder": 0, "text_encoder": 0, "head": 0.0}
    _, results = train(backbone, catalog, configure(tree, epochs=4, early_stop_patience=None, lrs=still))
    assert [r.is_best for r in results] == [True, False, False, False]


def test_the_averaged_weights_are_validated_and_held_while_a_result_is_given(clip_folder, catalog, tree):
    from mmclf.model.loading import load_backbone

    held, losses = [], []
    for decay in (None, 0.9):
        config = configure(tree, epochs=3, batch_size=8, early_stop_patience=None, ema=decay)
        fresh = load_backbone(config.model.name, None, config.data.img_size)
        model, loader, validation = prepare(fresh, catalog, config, trainable=True)
        task = FoldTask("stage2", 0, config, model, loader, validation, CPU)
        held.append([])
        losses.append([])
        for result in fit(task):
            again, _ = predict(task, "again")
            assert np.array_equal(again, result.probabilities)
            held[-1].append({name: tensor.clone() for name, tensor in model.state_dict().items()})
            losses[-1].append(result.train_loss)
    # the optimiser goes its own way, whatever is shown between the epochs
    assert losses[0] == losses[1]
    assert not torch.equal(held[0][-1]["head.4.weight"], held[1][-1]["head.4.weight"])
    # 4 steps in, the average still lies between the start and the optimiser's weights
    assert not torch.equal(held[1][0]["head.4.weight"], held[1][1]["head.4.weight"])


@pytest.mark.parametrize(
    ("stage", "changed", "advice"),
    [
        ("stage1", {}, "set train.batch_size=4 train.grad_accum=2"),
        (
            "stage2",
            {},
            "set train.batch_size=4 train.grad_accum=2, or train.grad_checkpointing=true, or train.lora_rank=8 with "
            "ten times train.lrs of the encoders",
        ),
        (
            "stage2",
            {"batch_size": 1, "grad_checkpointing": True, "lora_rank": 2},
            "set a smaller model.name or data.img_size",
        ),
    ],
)
def test_a_gpu_without_room_is_told_with_what_needs_less(backbone, catalog, tree, monkeypatch, stage, changed, advice):
    config = configure(tree, **{"batch_size": 8} | changed)
    model, loader, validation = prepare(backbone, catalog, config)

    def forward(batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(model, "forward", forward)
    rows = config.train.batch_size
    with pytest.raises(TrainingError) as raised:
        list(fit(FoldTask(stage, 3, config, model, loader, validation, CPU)))
    assert str(raised.value) == f"{stage} fold 3: the GPU has no memory left for a step of {rows} rows; {advice}"
