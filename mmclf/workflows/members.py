"""The members of a fit's fusion, trained one after the other as the plan has it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import resolve_config
from ..errors import AlignmentError
from ..runtime.progress import clock, current, say
from . import plan

if TYPE_CHECKING:
    from ..data.folds import Split
    from ..data.table import TableLike
    from .frozen import Frozen
    from .plan import Step
    from .results import StageRun


@dataclass(frozen=True)
class Member:
    """A finished step.

    Attributes:
        step: what was planned.
        run: of the stage.
        seconds: that it took.
    """

    step: "Step"
    run: "StageRun"
    seconds: float


def train_members(
    steps: list["Step"],
    shared: dict[str, Any],
    frozen: "Frozen",
    split: "Split",
    table: "TableLike",
    images: str | Path,
    ends: float | None,
) -> list[Member]:
    """Take the steps; one that no longer fits the budget, or that the towers can't serve, is left out after all.

    Args:
        steps: in their order.
        shared: changes to all of them.
        frozen: the features of the table.
        split: the catalogue and its folds.
        table: that it was read from.
        images: the folder.
        ends: when the budget does, on the monotonic clock; None without one.
    """
    from ..data.views import EVAL
    from .stage1 import train_heads
    from .stage2 import stage2
    from .tables import read_split

    found: list[Member] = []

    def train(step: "Step", more: dict[str, Any]) -> "StageRun":
        changes = shared | step.changes | more
        if step.name == plan.FINE_TUNING:
            of_heads = next(each.run for each in found if each.step.name == plan.MLP_HEAD)
            return stage2(
                table,
                images=images,
                config=step.config,
                overrides=changes,
                stage1_run=of_heads.run_id,
                report=False,
            )
        config = resolve_config(step.config, changes)
        rows = read_split(table, images, config, quiet=True) if plan.CLASSES_CSV in changes else split
        return train_heads(config, rows, rows.numbers, terse=True, frozen=frozen, report=False)

    agenda = current()
    with agenda.within("features"):  # so that the time of a step is its own, whichever comes first
        frozen.features.images(EVAL)
    for step in steps:
        start = time.monotonic()
        agenda.drop((step.name,))  # what it consists of is planned now
        if not step.is_taken:
            continue
        if step.name == plan.FINE_TUNING and ends is not None and start + step.seconds + plan.OVERHEAD > ends:
            say(f"fit: {step.name} is left out: about {clock(step.seconds)}, and the budget ends before")
            continue
        say(f"fit: {step.name}, {step.config}")
        with agenda.within(step.name):
            run = _train_by_names(step, train) if step.name == plan.ZERO_SHOT else train(step, {})
        if run is None:
            continue
        # that of a run that was finished before a kill is on record
        found.append(Member(step, run, max(time.monotonic() - start, run.figures["seconds"])))
        agenda.measure(step_kind(step, len(split.catalog)), time.monotonic() - start)
    return found


def step_kind(step: "Step", rows: int) -> str:
    """What the same step on tables of about so many rows has its time in common with, as a phrase."""
    return f"{step.name} of fit, up to {1 << rows.bit_length():,} rows"


def _train_by_names(step: "Step", train: "Callable[[Step, dict[str, Any]], StageRun]") -> "StageRun | None":
    """By pictures and texts, by texts alone where the towers aren't aligned, or not at all."""
    try:
        return train(step, {})
    except AlignmentError as error:
        reason = _reason(error)
    try:
        run = train(step, plan.TEXTS_ALONE)
    except AlignmentError as error:
        if plan.CLASSES_CSV in step.changes:
            raise
        say(f"fit: the {step.name} is left out: {_reason(error)}")
        return None
    say(f"fit: {reason}; so it compares texts alone with the classes' names")
    return run


def _reason(error: AlignmentError) -> str:
    """Without what to do, which is for who asked for such a head."""
    return str(error).partition(";")[0]
