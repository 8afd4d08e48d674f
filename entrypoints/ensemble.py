"""Average the probabilities of several infer runs: scales, backbones or seeds.

    python -m entrypoints.ensemble --runs <infer run>,<infer run> --weights 2,1

Without `--runs`: the newest infer run of each scored run and img_size, of the same table as the newest one.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from mmclf.errors import ConfigError, RunError
from mmclf.evaluation.probabilities import average, read_table, write_parts
from mmclf.records import runs, tracking
from mmclf.runtime.progress import say

from .common import run
from .infer import SUBMISSION, result_folder

DEFAULTS = {"runs": "", "weights": "", "out": ""}


def ensemble(options: argparse.Namespace) -> dict[str, Any]:
    """Write the averaged submission.csv and probabilities.parquet; returns the headline figures."""
    start = time.perf_counter()
    client = runs.connect()
    members = _runs(client, options.runs)
    weights = _weights(options.weights)
    names = [f"run {r.info.run_id}" for r in members]
    tables = [read_table(runs.artifact_path(r, runs.PREDICTIONS)) for r in members]
    table = average(tables, weights, names)
    header = pd.read_csv(runs.artifact_path(members[0], SUBMISSION), nrows=0).columns
    say(f"ensemble: {len(table):,} rows, averaged over {', '.join(names)}")
    if len(members) == 1:
        say("note: there is only one run to average; score at another data.img_size, or with another stage-2 run")
    tags = {"source_runs": ",".join(r.info.run_id for r in members), "weights": options.weights}
    with tracking.record_scores("ensemble", f"ensemble of {len(members)}", tags) as record:
        with result_folder(record, "", options.out) as folder:
            with write_parts(folder / runs.PREDICTIONS, folder / SUBMISSION, header[0], header[1]) as write:
                write(table)
            seconds = time.perf_counter() - start
            tracking.log_facts({}, {"rows": len(table), "seconds": seconds})
        output = str(Path(options.out) / SUBMISSION if options.out else runs.artifact_path(record, SUBMISSION))
    return {
        "run_id": record.info.run_id,
        "runs": len(members),
        "rows": len(table),
        "seconds": round(seconds, 1),
        "output": output,
    }


def _runs(client: MlflowClient, text: str) -> list[Run]:
    """The infer runs that were named, else the newest that belong together."""
    ids = [part.strip() for part in text.split(",") if part.strip()]
    if len(set(ids)) < len(ids):
        raise ConfigError("--runs: a run is named twice; use --weights to count one more than another")
    if ids:
        return [runs.get_stage_run(client, run_id, ["infer", "ensemble"]) for run_id in ids]
    found: dict[tuple[str, str], Run] = {}
    table = None
    for candidate in runs.newest_runs(client, runs.current_experiment(client), "infer"):
        tags = candidate.data.tags
        table = table or tags.get("fingerprint")
        if tags.get("fingerprint") == table:
            found.setdefault((tags["source_run"] + tags["folds"], tags["img_size"]), candidate)
    if not found:
        raise RunError("the experiment has no finished infer run to average; run infer first")
    return list(found.values())


def _weights(text: str) -> list[float] | None:
    try:
        return [float(part) for part in text.split(",")] if text.strip() else None
    except ValueError:
        raise ConfigError(f"--weights: found {text!r}; give numbers separated by commas, one a run") from None


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(ensemble, "Average the probabilities of several infer runs.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
