"""Score a catalogue of any size on Apache Spark with a registered model."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..records.vocabulary import DEFAULT_MODEL, MODELS, Metric, Tag
from ..runtime.progress import clock, say
from ..store.outputs import try_folder
from .results import BatchRun

if TYPE_CHECKING:
    from ..spark.batch import PartDone


def batch(
    data: str,
    *,
    out: str,
    images: str = "",
    model: str = DEFAULT_MODEL,
    master: str = "",
    top_k: int = 3,
    part_rows: int = 100_000,
) -> BatchRun:
    """Score a table part by part; the same call again goes on where an interrupted one was.

    Args:
        data: a CSV, or a parquet file or folder; a path, or an address that Spark knows.
        out: folder of the result.
        images: folder of pictures, named as `infer` wants them; "" where the table has them in columns, or none.
        model: one registered model.
        master: of Spark, as `local[4]` or `spark://host:7077`; "" for that of spark-submit, or `local[*]`.
        top_k: labels a row in the result.
        part_rows: rows a part.

    Returns:
        The run, and where its parquet lies.

    Raises:
        MmclfError: what is given can't be used, or Spark doesn't start.
    """
    if not model.startswith(MODELS) or "," in model:
        raise ConfigError(f"--model: found {model!r}; batch takes one registered model, such as {DEFAULT_MODEL}")
    try_folder(_absolute(out))
    begin = time.perf_counter()
    from ..records import registry, runs, tracking
    from ..spark.batch import BatchJob, run_batch
    from ..spark.session import start_spark
    from .next_steps import say_end

    found = registry.open_model(runs.connect(), model)
    job = BatchJob(
        data=_absolute(data),
        images=_absolute(images),
        out=_absolute(out),
        model_uri=f"{MODELS}{found.version.name}/{found.version.version}",
        bundle=found.bundle,
        id_col=found.bundle.config.data.id_col,
        top_k=top_k,
        part_rows=part_rows,
    )
    source = found.version.tags.get(Tag.SOURCE_RUN, "")
    tags = {Tag.MODEL: found.label, Tag.SOURCE_RUN: source, Tag.DATA: job.data}
    name = _name(job.data, found.label)
    with tracking.record_scores("batch", name, tags) as record:
        spark = start_spark(master)
        started = time.perf_counter() - begin
        say(f"batch: {found.label} on {spark.sparkContext.master}, Spark {spark.version}, started in {clock(started)}")
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
        metrics: dict[str, float] = {Metric.ROWS: rows, Metric.FAILED_ROWS: failed, Metric.SECONDS: seconds}
        metrics[Metric.START_SECONDS] = started
        if scored:
            metrics[Metric.SPEED] = scored / busy
        tracking.log_facts({}, metrics)
        _describe(name, rows, failed, f"by {found.label} in {clock(seconds)} -> `{job.out}`")
    if failed:
        say(f"warning: {failed:,} rows could not be scored; their column `error` says why")
    say_end(record.info.run_id, [])
    figures = {
        "run_id": record.info.run_id,
        "rows": rows,
        "failed": failed,
        "seconds": round(seconds, 1),
        "rows_per_second": round(scored / busy, 2) if scored else None,
        "output": out,
    }
    return BatchRun(record.info.run_id, figures, out)


def _name(data: str, model: str) -> str:
    """Of the run, before its rows are counted."""
    from ..records.naming import named

    return named(f"batch {Path(data).name}", model)


def _describe(name: str, rows: int, failed: int, how: str) -> None:
    """Name and describe the run, whose work is done.

    Args:
        name: of it before.
        rows: of all parts.
        failed: those of them that have no label.
        how: what scored, in what time, and where the result is.
    """
    from ..records import tracking
    from ..records.naming import named
    from ..records.notes import compose

    without = f", {failed:,} of them without a label, which `error` says why" if failed else ""
    tracking.rename(named(name, f"{rows:,} rows"))
    tracking.describe(compose(f"**{rows:,} rows**{without}, {how}", []))


def _line(part: "PartDone", busy: float) -> str:
    """What is said of a part; `busy` is the time that those scored so far took."""
    rate = "kept" if part.kept else f"{part.rows / part.seconds:.1f} rows/s"
    left = busy / part.scored * (part.parts - part.number - 1) if part.scored else 0
    more = f", about {clock(left)} left" if left and not part.kept else ""
    return f"batch: part {part.number + 1}/{part.parts}: {part.rows:,} rows, {part.failed:,} failed, {rate}{more}"


def _absolute(path: str) -> str:
    """A local path made absolute, for Spark has a working folder of its own; a URI stays as it is."""
    return path if not path or "://" in path else str(Path(path).expanduser().resolve())
