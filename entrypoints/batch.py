"""Score a catalogue of any size on Apache Spark with a registered model.

    python -m entrypoints.batch --data products.parquet --out scored
    python -m entrypoints.batch --data products.csv --images images/ --out scored --master spark://host:7077

An interrupted run goes on where it was: give the same command again.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmclf.errors import ConfigError
from mmclf.records import registry, runs, tracking
from mmclf.runtime.progress import clock, say
from mmclf.spark.batch import BatchJob, PartDone, run_batch
from mmclf.spark.session import start_spark

from .common import parse_count, run
from .infer import DEFAULT_MODEL

DEFAULTS = {
    "data": None,
    "images": "",
    "out": None,
    "model": DEFAULT_MODEL,
    "master": "",
    "top_k": "3",
    "part_rows": "100000",
}


def batch(options: argparse.Namespace) -> dict[str, Any]:
    """Score the table part by part; returns the headline figures."""
    begin = time.perf_counter()
    client = runs.connect()
    if not options.model.startswith(registry.MODELS) or "," in options.model:
        raise ConfigError(
            f"--model: found {options.model!r}; batch takes one registered model, such as {DEFAULT_MODEL}"
        )
    model = registry.open_model(client, options.model)
    job = BatchJob(
        data=_absolute(options.data),
        images=_absolute(options.images),
        out=_absolute(options.out),
        model_uri=f"{registry.MODELS}{model.version.name}/{model.version.version}",
        bundle=model.bundle,
        id_col=model.bundle.config.data.id_col,
        top_k=parse_count("top-k", options.top_k),
        part_rows=parse_count("part-rows", options.part_rows),
    )
    tags = {"model": model.label, "source_run": model.version.tags.get("source_run", ""), "data": job.data}
    with tracking.record_scores("batch", f"batch {Path(job.data).name}", tags) as record:
        spark = start_spark(options.master)
        started = time.perf_counter() - begin
        say(f"batch: {model.label} on {spark.sparkContext.master}, Spark {spark.version}, started in {clock(started)}")
        rows = failed = scored = 0
        busy = 0.0
        try:
            for part in run_batch(spark, job):
                rows, failed = rows + part.rows, failed + part.failed
                if not part.kept:
                    scored, busy = scored + part.rows, busy + part.seconds
                say(_line(part, busy))
        finally:
            spark.stop()
        seconds = time.perf_counter() - begin
        metrics = {"rows": rows, "failed_rows": failed, "seconds": seconds, "start_seconds": started}
        if scored:
            metrics["speed/rows_per_second"] = scored / busy
        tracking.log_facts({}, metrics)
    if failed:
        say(f"warning: {failed:,} rows could not be scored; their column `error` says why")
    return {
        "run_id": record.info.run_id,
        "rows": rows,
        "failed": failed,
        "seconds": round(seconds, 1),
        "rows_per_second": round(scored / busy, 2) if scored else None,
        "output": options.out,
    }


def _line(part: PartDone, busy: float) -> str:
    """What is said of a part; `busy` is the time that those scored so far took."""
    rate = "kept" if part.kept else f"{part.rows / part.seconds:.1f} rows/s"
    left = busy / part.scored * (part.parts - part.number - 1) if part.scored else 0
    more = f", about {clock(left)} left" if left and not part.kept else ""
    return f"batch: part {part.number + 1}/{part.parts}: {part.rows:,} rows, {part.failed:,} failed, {rate}{more}"


def _absolute(path: str) -> str:
    """A local path made absolute, for Spark has a working folder of its own; a URI stays as it is."""
    return path if not path or "://" in path else str(Path(path).expanduser().resolve())


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(batch, "Score a catalogue of any size on Apache Spark.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
