"""Fuse stage runs on the same folds: few weights, learned from their out-of-fold probabilities."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ComparisonError, RunError
from ..runtime.progress import aligned, say
from .results import StageRun

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

    from ..evaluation.crossvalidation import Figures
    from ..evaluation.probabilities import ProbabilityTable

HEADER = ["member", "weight", "top-1", "top-3", "loss", "calibration error"]


def fuse(client: "MlflowClient", run_ids: Sequence[str]) -> StageRun:
    """Pool finished stage runs; the figures are those of rows that the weights weren't fitted on.

    Args:
        client: of the store.
        run_ids: of runs of stage1 and stage2 on the same rows and folds. One alone is scaled by its temperature.

    Returns:
        A run with an out-of-fold matrix of its own, which `register` and `infer` take.

    Raises:
        MmclfError: they can't be pooled; the message says why.
    """
    start = time.perf_counter()
    from ..evaluation.crossvalidation import figures_of
    from ..evaluation.pool import fit_pool, pool_out_of_fold
    from ..evaluation.probabilities import ProbabilityTable
    from ..records import runs, tracking
    from ..records.card import markdown_table
    from ..records.fusion import FUSION, STAGES, FusionMeta, mixture_of
    from ..records.sources import Source, check_together
    from ..records.vocabulary import Artifact, Metric, Tag

    members = [runs.get_stage_run(client, run_id, STAGES) for run_id in run_ids]
    tables = _read_tables(members)
    mixtures = [mixture_of(client, run) for run in members]
    check_together(
        [Source(f"run {run.info.run_id}", run.info.run_id, m) for run, m in zip(members, mixtures, strict=True)],
        "--runs",
    )
    like = tables[0]
    probabilities, targets, folds = [table.probabilities for table in tables], like.targets(), like.folds
    assert folds is not None  # noqa: S101 - of an out-of-fold matrix
    pool = fit_pool(probabilities, targets)
    pooled = pool_out_of_fold(probabilities, targets, folds)
    table = ProbabilityTable(like.ids, like.classes, pooled.astype(np.float32), folds, like.labels)
    kept = [(run.info.run_id, weight) for run, weight in zip(members, pool.weights, strict=True) if weight > 0]
    meta = FusionMeta(runs=tuple(run_id for run_id, _ in kept), weights=tuple(weight for _, weight in kept))
    names = [
        f"{run.data.tags[Tag.STAGE]}, {'MLP' if mixture.config.model.head == 'mlp' else 'kernel head'}, "
        f"{run.info.run_id[:12]}"
        for run, mixture in zip(members, mixtures, strict=True)
    ]
    reached = figures_of(table)
    lines = _compare(names, pool.weights, [figures_of(each) for each in tables], reached)
    say(aligned(HEADER, lines))
    tags = {
        Tag.SOURCE_RUN: ",".join(meta.runs),
        Tag.WEIGHTS_OF_RUNS: ",".join(f"{weight:g}" for weight in meta.weights),
    }
    first = members[0].data
    shared = (Tag.SPLIT, Tag.FINGERPRINT, Tag.BACKBONE, Tag.FOLDS, Tag.CSV, Tag.IMAGES)
    tags |= {tag: first.tags[tag] for tag in shared if tag in first.tags}
    facts = {name: value for name, value in first.metrics.items() if name.startswith("data/")}
    with tracking.record_scores(FUSION, f"fusion of {len(kept)}", tags) as record:
        tracking.describe("\n".join(markdown_table(HEADER, lines)))
        with tracking.record_files(record, "", "") as folder:
            table.write(folder / Artifact.OOF)
            (folder / Artifact.POOL).write_text(meta.model_dump_json(indent=2) + "\n", encoding="utf-8")
        seconds = time.perf_counter() - start
        tracking.log_facts({}, tracking.cv_metrics(reached) | {Metric.SECONDS: seconds} | facts)
    run_id = record.info.run_id
    said = {"cv_top1_mean": reached.top1_mean, "cv_top1_std": reached.top1_std, "cv_top3_mean": reached.top3_mean}
    return StageRun(run_id, {"run_id": run_id, "runs": len(kept)} | said | {"seconds": round(seconds, 1)})


def _read_tables(members: "Sequence[Run]") -> "list[ProbabilityTable]":
    """Their out-of-fold matrices, rows and classes in the order of the first.

    Raises:
        RunError, ComparisonError: one doesn't cover its rows, or is of other ones.
    """
    from ..evaluation.probabilities import align, read_table
    from ..records.runs import artifact_path
    from ..records.vocabulary import Artifact, Metric, Tag

    first = members[0]
    tables: list[ProbabilityTable] = []
    for run in members:
        table = read_table(artifact_path(run, Artifact.OOF))
        rows = run.data.metrics[Metric.DATA_ROWS]
        if len(table) < rows:
            raise RunError(f"--runs: run {run.info.run_id}: its folds cover {len(table):,} of {rows:,.0f} rows")
        if run.data.tags[Tag.SPLIT] != first.data.tags[Tag.SPLIT]:
            raise ComparisonError(
                f"--runs: run {run.info.run_id} has other data or folds than run {first.info.run_id}; weights can be "
                "learned only from the same rows, each held out in the same fold"
            )
        tables.append(align(table, tables[0]) if tables else table)
    return tables


def _compare(
    names: Sequence[str], weights: Sequence[float], members: "Sequence[Figures]", together: "Figures"
) -> list[list[str]]:
    """The members and the fusion, a line each, in the columns of HEADER."""
    shown = [f"{weight:.2f}" if weight else "left out" for weight in weights]
    rows = [*zip(names, shown, members, strict=True), ("together", "", together)]
    return [
        [name, weight, f.top1, f"{f.top3_mean:.4f}", f"{f.loss:.4f}", f"{f.calibration_error:.4f}"]
        for name, weight, f in rows
    ]
