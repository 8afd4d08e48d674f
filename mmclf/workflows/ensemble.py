"""Several runs as one: `infer` runs averaged, or stage runs pooled by learned weights (fusion.py)."""

import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError
from ..records.vocabulary import Artifact, Metric, Tag
from ..runtime.progress import say
from ..store.outputs import delivery, try_folder
from .results import ScoringRun, StageRun


def ensemble(
    *, runs: Sequence[str] = (), weights: Sequence[float] | None = None, out: str | Path = "", report: bool = True
) -> ScoringRun | StageRun:
    """Average runs of `infer` over the same rows, or pool finished stage runs on the same folds.

    Args:
        runs: ids of runs of stage1 and stage2, which become a fusion that `register` and `infer` take; or ids of
            `infer` or `ensemble` runs; none for the newest one of each scored model, folds and size of the
            pictures, of the same table as the newest.
        weights: one a run; None for equal ones.
        out: a folder that the result files are copied to as well.
        report: of stage runs: make the report of the fusion, `report.html`, once its figures are recorded.

    Returns:
        The run: of scores with its predictions and probabilities, of stages with its out-of-fold matrix.

    Raises:
        MmclfError: there are no such runs, or they can't be averaged; the message says why.
    """
    if len(set(runs)) < len(runs):
        raise ConfigError("--runs: a run is named twice; of runs of infer, --weights counts one more than another")
    try_folder(out)
    start = time.perf_counter()
    import pandas as pd

    from ..evaluation.probabilities import average, read_table, write_parts
    from ..records import runs as records
    from ..records import tracking
    from ..records.naming import named
    from ..records.notes import compose
    from ..records.sources import find_scored
    from .next_steps import say_end

    client = records.connect()
    if any(records.get_run(client, run_id).data.tags.get(Tag.STAGE) in ("stage1", "stage2") for run_id in runs):
        if weights is not None or str(out):
            given = "--out" if weights is None else "--weights"
            raise ConfigError(
                f"{given} is for runs of infer; the weights of stage runs are learned, and kept in the run"
            )
        from .fusion import fuse

        return fuse(runs, report=report)
    members = find_scored(client, runs)
    names = [f"run {run.info.run_id}" for run in members]
    tables = [read_table(records.artifact_path(run, Artifact.PROBABILITIES)) for run in members]
    table = average(tables, weights, names)
    header = pd.read_csv(records.artifact_path(members[0], Artifact.SUBMISSION), nrows=0).columns
    say(f"ensemble: {len(table):,} rows, averaged over {', '.join(names)}")
    if len(members) == 1:
        say("note: there is only one run to average; score at another data.img_size, or with another stage-2 run")
    tags = {
        Tag.SOURCE_RUN: ",".join(run.info.run_id for run in members),
        Tag.WEIGHTS_OF_RUNS: ",".join(f"{weight:g}" for weight in weights or ()),
    }
    out = str(out)
    name = named(f"ensemble of {len(members)}", f"{len(table):,} rows")
    with delivery(out) as made, tracking.record_scores("ensemble", name, tags) as record:
        paths = made.folder / Artifact.PROBABILITIES, made.folder / Artifact.SUBMISSION
        with write_parts(*paths, header[0], header[1]) as write:
            write(table)
        tracking.store_files(record, made, "")
        seconds = time.perf_counter() - start
        tracking.log_facts({}, {Metric.ROWS: len(table), Metric.SECONDS: seconds})
        averaged = [f"- {run.info.run_name} (`{run.info.run_id}`)" for run in members]
        tracking.describe(compose(f"**{len(table):,} rows**, averaged over {len(members)} runs", [], averaged))
    output = str(Path(out) / Artifact.SUBMISSION if out else records.artifact_path(record, Artifact.SUBMISSION))
    run_id = record.info.run_id
    say_end(run_id, [])
    figures = {"run_id": run_id, "runs": len(members), "rows": len(table), "seconds": round(seconds, 1)}
    return ScoringRun(run_id, figures | {"output": output})
