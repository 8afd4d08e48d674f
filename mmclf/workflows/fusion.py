"""Fuse stage runs on the same folds: few weights, learned from their out-of-fold probabilities."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from ..runtime.progress import aligned, say
from ..store.files import write_header
from ..store.outputs import delivery
from .results import StageRun

if TYPE_CHECKING:
    from ..data.catalog import Catalog
    from ..evaluation.crossvalidation import Figures
    from ..evaluation.pool import Pool
    from ..evaluation.probabilities import ProbabilityTable
    from ..records.fusion import FusionMember
    from ..reporting.evidence import Member

HEADER = ["member", "weight", "top-1", "top-3", "loss", "calibration error"]


def fuse(
    run_ids: Sequence[str], *, quiet: bool = False, report: bool = True, catalog: "Catalog | None" = None
) -> StageRun:
    """Pool finished stage runs; the figures are those of rows that the weights weren't fitted on.

    Args:
        run_ids: of runs of stage1 and stage2 on the same rows and folds. One alone is scaled by its temperature.
        quiet: say nothing.
        report: make the report of the fusion.
        catalog: that they were trained on, where it is at hand for the report.

    Returns:
        A run with an out-of-fold matrix of its own, which `register` and `infer` take.

    Raises:
        MmclfError: they can't be pooled; the message says why.
    """
    start = time.perf_counter()
    from ..evaluation.crossvalidation import figures_of
    from ..records import stages, tracking
    from ..records.card import markdown_table
    from ..records.fusion import FUSION, FusionMeta, find_members
    from ..records.naming import with_result
    from ..records.notes import compose
    from ..records.resuming import Work, code_digest
    from ..records.runs import connect
    from ..records.sources import Source, check_together
    from ..records.vocabulary import Artifact, Metric, Tag
    from ..reporting.evidence import Member
    from .next_steps import command, say_end
    from .report import report_fusion

    work = Work(FUSION, {"runs": ",".join(run_ids), "code": code_digest()})
    if (found := tracking.find_part(work)) is not None:  # of a fit whose process was killed later
        return StageRun(found.run.info.run_id, {"run_id": found.run.info.run_id})
    members = find_members(connect(), run_ids)
    check_together([Source(f"run {each.run_id}", each.run_id, each.mixture) for each in members], "--runs")
    tables = [each.table for each in members]
    pool, table = _pool(tables)
    adds = [len(table.classes) > min(len(other.classes) for other in tables) for table in tables]
    counts = [weight > 0 or added for weight, added in zip(pool.weights, adds, strict=True)]
    meta = FusionMeta(runs=tuple(compress(run_ids, counts)), pool=pool.only(counts))
    reached = figures_of(table)
    alone = [
        Member(each.name, _show_weight(weight, added), figures_of(each.table))
        for each, weight, added in zip(members, pool.weights, adds, strict=True)
    ]
    lines = _compare(alone, reached)
    if not quiet:
        say(aligned(HEADER, lines))
    tags = {
        Tag.SOURCE_RUN: ",".join(meta.runs),
        Tag.WEIGHTS_OF_RUNS: ",".join(f"{weight:g}" for weight in meta.pool.weights),
    }
    first = members[0].run.data
    shared = (Tag.SPLIT, Tag.FINGERPRINT, Tag.BACKBONE, Tag.FOLDS, Tag.CSV, Tag.IMAGES)
    tags |= {tag: first.tags[tag] for tag in shared if tag in first.tags}
    facts = {name: value for name, value in first.metrics.items() if name.startswith("data/")}
    name = with_result(f"fusion of {len(meta.runs)}", reached.top1_mean)
    with delivery() as made, tracking.record_scores(FUSION, name, tags | work.tags()) as record:
        run_id = record.info.run_id
        commands = [] if tracking.is_part() else [command("register", runs=run_id)]
        tracking.describe(compose(_headline(reached), commands, markdown_table(HEADER, [lines[-1], *lines[:-1]])))
        table.write(made.folder / Artifact.OOF)
        write_header(made.folder / Artifact.POOL, meta)
        tracking.store_files(record, made, "")
        seconds = time.perf_counter() - start
        tracking.log_facts({}, stages.cv_metrics(reached) | {Metric.SECONDS: seconds} | facts)
        if report:
            config = members[0].mixture.config
            report_fusion(
                run_id, name, table, alone, first.tags, config, catalog, partial(_judge_labels, members, pool, table)
            )
    say_end(run_id, commands)
    said = {"cv_top1_mean": reached.top1_mean, "cv_top1_std": reached.top1_std, "cv_top3_mean": reached.top3_mean}
    return StageRun(run_id, {"run_id": run_id, "runs": len(meta.runs)} | said | {"seconds": round(seconds, 1)})


def _pool(tables: "Sequence[ProbabilityTable]") -> "tuple[Pool, ProbabilityTable]":
    """How the members count, and the table of the rows, each fold's pooled by the weights of the others."""
    from ..evaluation.pool import fit_pool, pool_out_of_fold
    from ..evaluation.probabilities import ProbabilityTable, merge_classes, spread

    classes = merge_classes([table.classes for table in tables])
    like = replace(tables[0], classes=classes)
    probabilities, targets, folds = [spread(table, classes) for table in tables], like.targets(), like.folds
    assert folds is not None  # noqa: S101 - of an out-of-fold matrix
    pooled = pool_out_of_fold(probabilities, targets, folds).astype(np.float32)
    return fit_pool(probabilities, targets), ProbabilityTable(like.ids, classes, pooled, folds, like.labels)


def _judge_labels(
    members: "Sequence[FusionMember]", pool: "Pool", table: "ProbabilityTable"
) -> "ProbabilityTable | None":
    """The rows by the members' models of all others, where one has such."""
    from ..evaluation.probabilities import align, spread
    from ..records.runs import connect, read_left_out

    found = [read_left_out(connect(), each.run) for each in members]
    if all(each is None for each in found):
        return None
    tables = [
        member.table if left_out is None else align(left_out, member.table)
        for member, left_out in zip(members, found, strict=True)
    ]
    probabilities = pool.combine([spread(each, table.classes) for each in tables])
    return replace(table, probabilities=probabilities.astype(np.float32))


def _headline(reached: "Figures") -> str:
    return f"**top-1 {reached.top1}**, top-3 {reached.top3_mean:.4f} of rows that the weights weren't fitted on"


def _show_weight(weight: float, added: bool) -> str:
    """What a member counts, for people; `added` where it knows classes that others don't."""
    return f"{weight:.2f}" if weight else "its added classes" if added else "left out"


def _compare(members: "Sequence[Member]", together: "Figures") -> list[list[str]]:
    """The members and the fusion, a line each, in the columns of HEADER."""
    rows = [*((each.name, each.weight, each.figures) for each in members), ("together", "", together)]
    return [[name, weight, *show(figures)] for name, weight, figures in rows]


def show(figures: "Figures") -> list[str]:
    """Figures as they stand in the columns of HEADER, from `top-1` on."""
    return [figures.top1, *(f"{f:.4f}" for f in (figures.top3_mean, figures.loss, figures.calibration_error))]
