"""What a piece of work will take on this machine: said before it begins, and corrected while it goes on.

Speeds are those that earlier runs measured here (store/speeds.py); of towers see feature_forecast.py.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..config import SOLVED, Config
from ..model.speed_kinds import towers_named
from ..runtime.progress import clock, current, is_shown, say, whole

if TYPE_CHECKING:
    import torch

    from ..data.folds import Split
    from ..runtime.agenda import Agenda
    from ..runtime.machine import Machine

# a validated row against a trained one, forward alone against forward and backward
VALIDATED_ROWS = 0.35
# what takes longer is worth a word on how it could be shorter
LONG = 600.0
# of a report, and of each of its rows
REPORT_SECONDS, REPORT_ROW_SECONDS = 3.0, 0.002
HEADS = {"mlp": "MLP head", "kernel": "kernel head", "zero-shot": "zero-shot head"}


@contextlib.contextmanager
def shown(name: str) -> Iterator["Agenda"]:
    """Show how far a piece of work is, with what is remembered of this machine, and remember what it measures."""
    if is_shown():
        yield current()
        return
    from ..runtime.device import pick_device
    from ..runtime.machine import machine_name
    from ..store.cache import open_cache
    from ..store.speeds import recall_speeds, remember_speeds

    cache, machine = open_cache(), machine_name(pick_device())
    with whole(name, recall_speeds(cache, machine)) as agenda:
        try:
            yield agenda
        finally:
            remember_speeds(cache, machine, agenda.measured())


def say_task(job: str, config: Config, fold: int | None, each: str = "") -> None:
    """Say at once what is going to happen; nothing needs to be read or imported for it.

    Args:
        job: for the message.
        config: resolved.
        fold: the one that is trained; None for all.
        each: what there are several of, as `30 trials, each of `.
    """
    model, train = config.model, config.train
    count = 1 if fold is not None else train.folds
    towers = towers_named(model.name, model.pretrained)
    epochs = "" if model.head in SOLVED else f" x {train.epochs} epochs"
    named = "1 fold" if count == 1 else f"{count} folds"
    what = f"fine-tuning {towers}" if model.clip_trainable else f"{HEADS[model.head]} on features of {towers}"
    say(f"{job}: {what}, {each}{named}{epochs}")


def plan_heads(agenda: "Agenda", config: Config, split: "Split", chosen: Sequence[int], machine: "Machine") -> None:
    """Plan the folds of a head on frozen features."""
    from ..training.kernel_fit import most_exact_rows
    from ..training.solved_folds import solving_kind
    from . import plan

    rows, folds = len(split.catalog), len(split.numbers)
    if config.model.head == "mlp":
        step = plan.mlp_step(rows, folds, machine, config.train.epochs)
        batches = folds * config.train.epochs * rows * (folds - 1) / folds / config.train.batch_size
        plan_epochs(agenda, "stage1", config, split, chosen, guess=step.seconds / batches)
        return
    step = plan.kernel_step(rows, folds, machine, most_exact_rows())
    seconds = step.seconds if config.model.head == "kernel" else plan.ZERO_SHOT_SECONDS
    solved, guess = solving_kind(config, rows), seconds / (folds + 1) / rows
    for fold in chosen:
        amount = [len(split.train_rows(fold))]
        agenda.plan(solved, amount, guess=guess, is_whole=True, group=(f"stage1 fold {fold}",))
    if len(chosen) == folds:
        agenda.plan(solved, [rows], is_whole=True)


def plan_epochs(
    agenda: "Agenda", stage: str, config: Config, split: "Split", chosen: Sequence[int], guess: float | None
) -> None:
    """Plan the epochs of the folds, of which each has its steps and its validation.

    Args:
        agenda: of the work.
        stage: "stage1" or "stage2".
        config: resolved.
        split: the catalogue and its folds.
        chosen: numbers of the folds that are trained.
        guess: seconds a step as they are computed; None where they can't be.
    """
    from ..training.fold_task import speed_kinds

    training, validation = speed_kinds(stage, config)
    size = config.train.batch_size
    for fold in chosen:
        for epoch in range(1, config.train.epochs + 1):
            group = f"{stage} fold {fold}", f"epoch {epoch}"
            agenda.plan(training, [-(-len(split.train_rows(fold)) // size)], guess=guess, group=group)
            held_out = -(-len(split.held_out(fold)) // size)
            agenda.plan(validation, [held_out], like=(training, VALIDATED_ROWS), group=group)


def plan_trials(agenda: "Agenda", config: Config, split: "Split", trials: int) -> str:
    """Plan trials of heads, which take as long as one of the configuration; returns their kind."""
    from ..runtime.machine import find_machine
    from ..training.kernel_fit import most_exact_rows
    from . import plan

    rows, folds, machine = len(split.catalog), len(split.numbers), find_machine()
    if config.model.head == "mlp":
        seconds = plan.mlp_step(rows, folds, machine, config.train.epochs).seconds
    else:
        seconds = plan.kernel_step(rows, folds, machine, most_exact_rows()).seconds
    kind = f"trials of a {HEADS[config.model.head]}, up to {1 << rows.bit_length():,} rows"
    for number in range(trials):
        agenda.plan(kind, [1], guess=seconds, is_whole=True, group=(f"trial {number}",))
    return kind


def plan_report(agenda: "Agenda", rows: int) -> None:
    """Plan the report of a run."""
    agenda.plan(report_kind(rows), [1], guess=REPORT_SECONDS + REPORT_ROW_SECONDS * rows, is_whole=True)


def report_kind(rows: int) -> str:
    """What the reports of tables of about so many rows have a speed in common with."""
    return f"report, up to {1 << rows.bit_length():,} rows"


def plan_fine_tuning(
    agenda: "Agenda", config: Config, split: "Split", chosen: Sequence[int], device: "torch.device"
) -> None:
    """Plan the epochs of towers that are trained, and say how long they take."""
    from ..model.operations import count_operations
    from ..model.speed_kinds import picture_kind, text_kind, towers_used
    from ..runtime.device import pick_precision
    from ..runtime.machine import find_machine
    from ..training.fold_task import speed_kinds
    from . import plan
    from .feature_forecast import computed_speeds, row_size

    data, model, train = config.data, config.model, config.train
    guess, (training, _) = None, speed_kinds("stage2", config)
    if not agenda.knows(training):
        precision = pick_precision(device, train.amp)
        towers = towers_used(model.name, model.pretrained, data.img_size, precision.name)
        seconds = agenda.expects(picture_kind(towers)), agenda.expects(text_kind(towers))
        if None in seconds:
            operations = count_operations(model.name, data.img_size, data.max_len)
            seconds = computed_speeds(operations, data.max_len, device, precision) or (None, None)
        pictures, words = row_size(split.catalog.rows, data)
        if seconds[0] is not None and seconds[1] is not None:
            guess = train.batch_size * plan.FINE_TUNED_ROWS * (seconds[0] * pictures + seconds[1] * words)
    plan_epochs(agenda, "stage2", config, split, chosen, guess)
    left, what = agenda.left, f"{len(split.catalog):,} rows; {find_machine()}"
    if left is None:
        say(f"stage2: {what}: how long it takes is said once the first batches are timed")
    else:
        say(f"stage2: {what}: about {clock(max(left, 1))}")
