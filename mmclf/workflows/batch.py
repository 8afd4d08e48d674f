"""Score a catalogue of any size on Apache Spark with a registered model."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BatchError, ConfigError
from ..records.vocabulary import DEFAULT_MODEL, MODELS, Metric, Tag
from ..runtime.progress import clock, say
from ..store.outputs import try_folder
from .results import BatchRun

if TYPE_CHECKING:
    from ..runtime.agenda import Agenda
    from ..spark.batch import PartDone

CSV_NAME = re.compile(r"\.csv(\.\w+)?$")
# rows of a table of which some are timed first, where their speed isn't known
WORTH_TIMING = 2000
# until the workers have loaded the model, where it isn't known better
WARM_UP_SECONDS = 10.0


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
    say(f"batch: {data} by {model}, in parts, on Spark")
    from .forecast import shown

    with shown("batch") as agenda:
        return _batch(agenda, data, out, images, model, master, top_k, part_rows)


def estimate_batch(data: str, *, images: str = "", model: str = DEFAULT_MODEL) -> dict[str, Any]:
    """What `batch` would take on this machine; a few drawn rows are timed, and nothing else is done.

    Args:
        data: see `batch`; on this machine.
        images: the same; where there are none, rows have a picture each all the same, since the table may hold them.
        model: the same.

    Returns:
        `rows`; `seconds` with all cores of this machine, `core_hours`, `memory_gib` and `disk_gib`, all about.

    Raises:
        MmclfError: what is given can't be used.
    """
    say(f"batch: an estimate for {data} by {model}; some rows are timed for it")
    from ..records import registry, runs
    from ..runtime.machine import find_machine
    from ..scoring.cost import CostMeter
    from ..store.cache import GIB
    from .sizing import needs_of_batch

    rows = _count_rows(_absolute(data))
    bundle = registry.open_model(runs.connect(), model).bundle
    cost, machine = CostMeter().cost(bundle.mixture), find_machine()
    needs = needs_of_batch(rows, cost.size, machine.cores)
    seconds = rows * cost.seconds_a_row
    core_hours = seconds * machine.cores / 3600
    say(f"batch: {rows:,} rows; {machine}: about {clock(seconds)}, {core_hours:.1f} hours of a core; {needs}")
    return {
        "rows": rows,
        "seconds": round(seconds),
        "core_hours": round(core_hours, 2),
        "memory_gib": round(needs.memory / GIB, 1),
        "disk_gib": round(needs.store / GIB, 3),
    }


def _batch(
    agenda: "Agenda", data: str, out: str, images: str, model: str, master: str, top_k: int, part_rows: int
) -> BatchRun:
    """See `batch`."""
    begin = time.perf_counter()
    from ..records import registry, runs, tracking
    from ..runtime.machine import find_machine
    from ..scoring.cost import CostMeter
    from ..spark.batch import WARM_UP, BatchJob, run_batch
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
        kind = f"rows by {job.model_uri} {source}, {spark.sparkContext.defaultParallelism} at a time"

        def expect(parts: list[float]) -> str:
            guess = None
            if not agenda.knows(kind) and sum(parts) >= WORTH_TIMING:
                here = CostMeter().cost(found.bundle.mixture).seconds_a_row
                guess = here * find_machine().cores / spark.sparkContext.defaultParallelism
            agenda.plan(kind, parts, guess=guess)
            if parts:
                agenda.plan(WARM_UP, [1], guess=WARM_UP_SECONDS, is_whole=True)
            left = agenda.left
            how_long = "how long it takes is said after the first part" if left is None else f"about {clock(left)}"
            say(f"batch: {sum(parts):,.0f} rows in {len(parts)} parts: {how_long}")
            return kind

        rows = failed = scored = 0
        busy = 0.0
        try:
            for part in run_batch(spark, job, expect):
                rows, failed = rows + part.rows, failed + part.failed
                if not part.kept:
                    scored, busy = scored + part.rows, busy + part.seconds
                say(_line(part))
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


def _count_rows(data: str) -> int:
    """Rows of a table on this machine.

    Raises:
        BatchError: it is elsewhere, or can't be read.
    """
    from pyarrow import ArrowInvalid, dataset

    from ..data.table import open_table

    if "://" in data:
        raise BatchError(f"--data: {data}: an estimate needs a table on this machine; give it a part of yours")
    if CSV_NAME.search(data):
        return len(open_table(data, "--data").frame)
    try:
        return int(dataset.dataset(data, format="parquet").count_rows())
    except (ArrowInvalid, OSError) as error:
        raise BatchError(f"--data: {data}: can't be read as parquet ({str(error).splitlines()[0]})") from None


def _line(part: "PartDone") -> str:
    """What is said of a part."""
    rate = "kept" if part.kept else f"{part.rows / part.seconds:.1f} rows/s"
    return f"batch: part {part.number + 1}/{part.parts}: {part.rows:,} rows, {part.failed:,} failed, {rate}"


def _absolute(path: str) -> str:
    """A local path made absolute, for Spark has a working folder of its own; a URI stays as it is."""
    return path if not path or "://" in path else str(Path(path).expanduser().resolve())
