"""Average the probabilities of several `infer` runs: scales, backbones or seeds."""

import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError
from ..records.vocabulary import Artifact, Metric, Tag
from ..runtime.progress import say
from .results import ScoringRun


def ensemble(*, runs: Sequence[str] = (), weights: Sequence[float] | None = None, out: str | Path = "") -> ScoringRun:
    """Average runs of `infer` over the same rows.

    Args:
        runs: ids of `infer` or `ensemble` runs; none for the newest one of each scored model, folds and size of the
            pictures, of the same table as the newest.
        weights: one a run; None for equal ones.
        out: a folder that the result files are copied to as well.

    Returns:
        The run, with its predictions and probabilities.

    Raises:
        MmclfError: there are no such runs, or they can't be averaged; the message says why.
    """
    if len(set(runs)) < len(runs):
        raise ConfigError("--runs: a run is named twice; use --weights to count one more than another")
    start = time.perf_counter()
    import pandas as pd

    from ..evaluation.probabilities import average, read_table, write_parts
    from ..records import runs as records
    from ..records import tracking
    from ..records.sources import find_scored

    members = find_scored(records.connect(), runs)
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
    with tracking.record_scores("ensemble", f"ensemble of {len(members)}", tags) as record:
        with tracking.record_files(record, "", out) as folder:
            paths = folder / Artifact.PROBABILITIES, folder / Artifact.SUBMISSION
            with write_parts(*paths, header[0], header[1]) as write:
                write(table)
            seconds = time.perf_counter() - start
            tracking.log_facts({}, {Metric.ROWS: len(table), Metric.SECONDS: seconds})
        output = str(Path(out) / Artifact.SUBMISSION if out else records.artifact_path(record, Artifact.SUBMISSION))
    run_id = record.info.run_id
    figures = {"run_id": run_id, "runs": len(members), "rows": len(table), "seconds": round(seconds, 1)}
    return ScoringRun(run_id, figures | {"output": output})
