"""What stage 1 and stage 2 share: every fold is trained, recorded and summed up."""

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import SOLVED, Config
from ..data.folds import Split
from ..evaluation.probabilities import ProbabilityTable
from ..model.checkpoint import ALL_ROWS
from ..model.identity import BackboneSpec
from ..records import runs, stages, tracking
from ..records.resuming import Work, states_folder, work_on
from ..records.vocabulary import Tag, show_backbone
from ..runtime.distributed import World
from ..runtime.progress import clock, current, say, step
from ..store.scratch import scratch_folder
from ..store.space import warn_if_short
from ..training.crossval import FoldOutcome, Report
from ..training.epoch import EpochResult
from ..training.fold_state import FoldStates
from .forecast import plan_report, report_kind
from .next_steps import after_stage, say_end
from .report import Extras, report_stage
from .results import StageRun
from .tables import say_unreadable


@dataclass(frozen=True)
class StageJob:
    """The folds that are trained one after another under one parent run.

    Attributes:
        stage: "stage1" or "stage2".
        config: resolved.
        split: the catalogue and its folds.
        chosen: numbers of the folds that are trained.
        backbone: that the models stand on.
        train: trains a fold, keeps its states, fills the folder of its checkpoint, and reports each epoch.
        tags: of the parent run.
        train_all: trains the model that is served on all rows and fills the folder of its checkpoint, once every
            fold was trained here, and gives what `SolvedFolds.solve_all` does; None where the folds' models are
            served, averaged.
        facts: metrics of the parent run, asked for after the folds.
        world: the processes that train together; only the main one records.
        terse: say a line a fold, not an epoch.
        resume: go on with a run of the same work that was interrupted.
        checkpoint_bytes: of a fold; 0 where that is little.
        report: make the report of the run.
        extras: of the report.
    """

    stage: str
    config: Config
    split: Split
    chosen: Sequence[int]
    backbone: BackboneSpec
    train: Callable[[int, FoldStates, Report], FoldOutcome]
    tags: Mapping[Tag, str]
    facts: Callable[[], dict[str, float]]
    train_all: Callable[[Path], ProbabilityTable | None] | None = None
    world: World = field(default_factory=World)
    terse: bool = False
    resume: bool = True
    checkpoint_bytes: int = 0
    report: bool = True
    extras: Extras = field(default_factory=Extras)


def train_folds(job: StageJob) -> StageRun:
    """Train the chosen folds and record them, those that a killed process has finished excepted.

    Raises:
        RunError: MLFLOW_RUN_ID names a run that was begun with other data or settings.
        TrainingError: a loss is no longer finite.
        PictureError: an unreadable picture, with `data.on_bad_image: error`.
    """
    unreadable: set[str] = set()
    with contextlib.ExitStack() as stack:
        record, found, place = None, None, None
        if job.world.is_main:
            work = _work_of(job)
            found = tracking.find_stage(work, resume=job.resume)
            if found is not None and found.is_finished:
                say(f"{job.stage}: is done, run {found.run.info.run_id}")
                return StageRun(found.run.info.run_id, stages.finished_stage(found))
            tags = dict(job.tags) | work.tags()
            goes_on = found.run if found else None
            identity = job.backbone.identity
            record = stack.enter_context(
                stages.record_stage(job.stage, job.config, job.split, identity, extra=tags, goes_on=goes_on)
            )
            place = states_folder(record.run_id)
        finished = record.finished if record else set()
        place, finished = job.world.from_main((place, finished))
        if record and found:
            _say_goes_on(job, record.run_id, finished)
        scratch = place or stack.enter_context(scratch_folder())
        if record:
            _warn_of_space(job, scratch, record.run_id)
        agenda = current()
        agenda.drop(*[(f"{job.stage} fold {fold}",) for fold in finished], done=True)
        if job.report and job.world.is_main:
            plan_report(agenda, len(job.split.catalog))
        for number, fold in enumerate(job.chosen, start=1):
            if fold not in finished:
                with agenda.within(f"fold {number} of {len(job.chosen)}"):
                    unreadable.update(_train_fold(job, fold, scratch / f"fold-{fold}", record, keep=place is not None))
        if record and job.train_all and list(job.chosen) == job.split.numbers and not record.has_all_rows:
            _train_all_rows(job, job.train_all, record, scratch / ALL_ROWS)
        if record is None:
            return StageRun("", {})
        say_unreadable(sorted(unreadable), len(unreadable))
        commands = []
        if not tracking.is_part():
            is_single = len(job.split.numbers) > 1 and len(job.chosen) == 1
            commands = after_stage(job.stage, job.config.model.head, record.run_id, is_single=is_single)
        figures = record.finish(job.split.catalog, commands)
        tracking.log_facts({}, job.facts())
        if job.report:
            identity = job.backbone.identity
            name = show_backbone(identity.name, identity.pretrained)
            with step(report_kind(len(job.split.catalog)), 1, "report"):
                report_stage(record, job.split.catalog, job.config, name, job.extras)
    if place:
        shutil.rmtree(place, ignore_errors=True)
    say(f"{job.stage}: {_reached(figures)} in {clock(figures['seconds'])}")
    say_end(record.run_id, commands)
    return StageRun(record.run_id, figures)


def _train_fold(
    job: StageJob, fold: int, folder: Path, record: stages.StageRecord | None, *, keep: bool
) -> Sequence[str]:
    """Train a fold and record it; returns a sentence for each unreadable picture.

    Args:
        job: see there.
        fold: number of it.
        folder: of its checkpoint and states.
        record: of the run; None in a process that doesn't record.
        keep: states are kept.
    """
    states = FoldStates(folder if keep else None, folder / "checkpoint", job.config.train.save_minutes)
    with record.fold(fold) if record else contextlib.nullcontext() as fold_record:
        outcome = job.train(fold, states, _reporter(job, fold_record))
        if fold_record:
            if job.terse:
                _say_fold(job.stage, fold_record)
            fold_record.finish(states.checkpoint, outcome.table, outcome.unreadable)
            _expect_as_many(job, fold, len(fold_record.results))
    if record:
        shutil.rmtree(folder)  # the run has it now
    return outcome.unreadable


def _train_all_rows(
    job: StageJob, train: Callable[[Path], ProbabilityTable | None], record: stages.StageRecord, folder: Path
) -> None:
    say(f"{job.stage}: once more with all {len(job.split.catalog):,} rows, which is what is served")
    with record.all_rows(folder) as store:
        left_out = train(folder)
        if left_out is not None:
            store(left_out)


def _expect_as_many(job: StageJob, fold: int, epochs: int) -> None:
    """A fold whose patience ended after so many epochs: the others are expected to need as many."""
    folds = [f"{job.stage} fold {other}" for other in {fold, *job.chosen}]
    later = range(epochs + 1, job.config.train.epochs + 1)
    current().drop(*[(name, f"epoch {epoch}") for name in folds for epoch in later])


def _work_of(job: StageJob) -> Work:
    more = {
        "backbone": job.backbone.identity.weights_sha256,
        "folds_asked_for": ",".join(map(str, job.chosen)),
        "device": f"{job.tags[Tag.DEVICE]} in {job.tags[Tag.PRECISION]}",
        "processes": str(job.world.size),
        "stage-1_run": job.tags.get(Tag.STAGE1_RUN, ""),
    }
    return work_on(job.stage, job.config, job.split.catalog, job.split, **more)


def _say_goes_on(job: StageJob, run_id: str, finished: Set[int]) -> None:
    left = len(set(job.chosen) - finished)
    there = f"{len(finished)} folds are there, {left} left" if finished else "no fold was finished"
    say(f"{job.stage}: goes on with run {run_id}, which was interrupted: {there} (resume=never starts anew)")


def _warn_of_space(job: StageJob, scratch: Path, run_id: str) -> None:
    """Say it where the checkpoints won't fit."""
    if not job.checkpoint_bytes:
        return
    # the best one so far is replaced only when the next is whole
    needs = {"two checkpoints": (scratch, 2 * job.checkpoint_bytes)}
    folder = runs.artifact_folder(runs.connect(), run_id)
    if folder is not None:
        needs[f"the checkpoints of {len(job.chosen)} folds"] = folder, len(job.chosen) * job.checkpoint_bytes
    warn_if_short(needs)


def _reached(figures: Mapping[str, Any]) -> str:
    if "fold" in figures:
        return f"top-1 {figures['top1']:.4f}, top-3 {figures['top3']:.4f} of fold {figures['fold']} alone"
    return (
        f"top-1 {figures['cv_top1_mean']:.4f} ± {figures['cv_top1_std']:.4f}, top-3 {figures['cv_top3_mean']:.4f} over "
        f"{figures['folds']} folds"
    )


def _say_fold(stage: str, record: stages.FoldRecord) -> None:
    best = max(record.results, key=lambda r: (r.val_top1, -r.epoch))
    of = f", best of {len(record.results)} epochs" if len(record.results) > 1 else ""
    seconds = clock(sum(r.seconds for r in record.results))
    say(f"{stage} fold {record.fold}: val top-1 {best.val_top1:.4f}, top-3 {best.val_top3:.4f}{of}, {seconds}")


def _reporter(job: StageJob, record: stages.FoldRecord | None) -> Report:
    """Record each epoch, and say it in one line."""

    def report(r: EpochResult, /, *, is_past: bool = False) -> None:
        if record is None:
            return
        rows = len(job.split.train_rows(record.fold))
        record.epoch(r)
        if is_past:
            current().drop((f"{job.stage} fold {record.fold}", f"epoch {r.epoch}"), done=True)
        if job.terse or is_past:
            return
        place = f"{job.stage} fold {record.fold}"
        reached = f"loss {r.train_loss:.4f}, val top-1 {r.val_top1:.4f}, top-3 {r.val_top3:.4f}"
        if job.config.model.head in SOLVED:
            say(f"{place}: {reached}, solved in {clock(r.seconds)}")
            return
        best = " (best)" if r.is_best else ""
        say(f"{place} epoch {r.epoch}/{job.config.train.epochs}: {reached}, {_speed(r, rows)}{best}")

    return report


def _speed(r: EpochResult, rows: int) -> str:
    """The speed of the steps, and their time apart from the rest of the epoch's where that is much."""
    trained = rows / r.rows_per_second
    if r.seconds - trained < 1:
        return f"{r.rows_per_second:.0f} rows/s, {clock(r.seconds)}"
    return f"{r.rows_per_second:.0f} rows/s in {clock(trained)}, validated in {clock(r.seconds - trained)}"
