"""A catalogue that outgrows one machine, scored by a registered model on Apache Spark.

The rows are cut into parts. Each part is a Spark job of its own and ends as a folder `part=K` of parquet files with a
`_SUCCESS` file in it, so an interrupted run goes on where it was: parts that are there are kept.

    out/_plan.json    what is being done; another table or model is refused
    out/_plan/        ids, texts and picture paths of each part, where the pictures are files
    out/part=0/ ...   id, label, confidence, top_labels, top_confidences, error
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..data import picture_matching
from ..errors import BatchError
from ..records.runs import quiet_mlflow
from ..runtime import environment
from ..runtime.progress import step
from ..scoring.bundle import Bundle
from ..scoring.requests import PICTURE_COLUMNS
from .session import Store, translated

PLAN, PLAN_ROWS = "_plan.json", "_plan"
GONE = "image: its file is gone"
# as what the start of the workers is shown and timed
WARM_UP = "starting the workers of batch"
RESULT = {
    "label": "string",
    "confidence": "double",
    "top_labels": "array<string>",
    "top_confidences": "array<double>",
    "error": "string",
}


@dataclass(frozen=True)
class BatchJob:
    """What is scored, and where to.

    Attributes:
        data: a CSV (by its name), else a parquet file or folder.
        images: folder of pictures, named as `infer` wants them; "" where the table has them in columns, or has none.
        out: folder of the result.
        model_uri: `models:/NAME/VERSION`.
        bundle: of the model.
        id_col: of the table.
        top_k: labels a row.
        part_rows: rows a part, about.
    """

    data: str
    images: str
    out: str
    model_uri: str
    bundle: Bundle
    id_col: str
    top_k: int
    part_rows: int


@dataclass(frozen=True)
class PartDone:
    """A part that was scored, or was `kept` since it was there already; `scored` counts those of this run so far."""

    number: int
    parts: int
    rows: int
    failed: int
    seconds: float
    kept: bool
    scored: int


def run_batch(spark: Any, job: BatchJob, expect: Callable[[list[float]], str]) -> Iterator[PartDone]:
    """Score all parts that aren't there yet; yields after each.

    Args:
        spark: the session.
        job: what is scored.
        expect: told the rows of each part that is to be scored, about; gives the kind that they are shown as.

    Raises:
        BatchError: the table can't be used, or `out` holds something else.
    """
    store = Store(spark, job.out)
    with translated():
        table = _read_table(spark, job)
        files = sorted(table.inputFiles())
        plan = _plan(spark, store, job, table, files)
        udf = _scoring_udf(spark, job)
        scored = 0
        parts, part_rows = plan["parts"], (plan["rows"] if "rows" in plan else table.count()) / plan["parts"]
        there = {number for number in range(parts) if store.exists(f"part={number}/_SUCCESS")}
        kind = expect([part_rows] * (parts - len(there)))
        if len(there) < parts:
            with step(WARM_UP, 1, "starting the workers"):
                _warm_up(spark, udf, job)
        for number in range(parts):
            start = time.perf_counter()
            place = f"part={number}"
            kept = number in there
            if not kept:
                if plan["source"] == "files":
                    rows, lost = _rows_with_files(spark, job, store.path(f"{PLAN_ROWS}/part={number}"))
                    result = _score(rows, udf, job).unionByName(_failed(lost, job))
                else:
                    result = _score(_read_files(spark, job, files[number::parts]), udf, job)
                with step(kind, part_rows, f"part {number + 1} of {parts}"):
                    result.write.mode("overwrite").parquet(store.path(place))
            found, failed = _count(spark, store.path(place))
            scored += not kept
            yield PartDone(number, parts, found, failed, time.perf_counter() - start, kept, scored)


def _plan(spark: Any, store: Store, job: BatchJob, table: Any, files: Sequence[str]) -> dict[str, Any]:
    """What is to be done, from an earlier run or made now."""
    stamp = {
        "data": job.data,
        "images": job.images,
        "files": hashlib.sha256("\n".join(f"{f} {store.stamp(f)}" for f in files).encode()).hexdigest()[:16],
        "model": job.model_uri,
        "top_k": job.top_k,
    }
    if store.exists(PLAN):
        plan: dict[str, Any] = json.loads(store.read(PLAN))
        other = [key for key, value in stamp.items() if plan["stamp"].get(key) != value]
        if other:
            raise BatchError(
                f"--out: {job.out} holds the result of another run ({', '.join(other)}: {plan['stamp'].get(other[0])} "
                f"there, {stamp[other[0]]} here); give another folder, or delete this one"
            )
        return plan
    # a plan that was interrupted is made again
    if any(name not in (PLAN_ROWS, f"{PLAN}.draft") for name in store.names()):
        raise BatchError(f"--out: {job.out} is not empty and no result of batch; give another folder")
    _check_ids(table, job.id_col)
    if job.images or not _picture_columns(table):
        rows = table.select(job.id_col, *_text_columns(table, job))
        count = rows.count()
        parts = max(1, -(-count // job.part_rows))
        _write_rows(spark, store, job, rows, parts)
        plan = {"stamp": stamp, "source": "files", "parts": parts, "rows": count}
    else:  # the pictures lie in the table, which is too large to be copied: a part is some of its files
        parts = len(files)
        plan = {"stamp": stamp, "source": "column", "parts": parts}
    store.write(PLAN, json.dumps(plan, indent=2))
    return plan


def _write_rows(spark: Any, store: Store, job: BatchJob, rows: Any, parts: int) -> None:
    """Ids, texts and picture paths, a folder for each part."""
    from pyspark.sql import functions as F

    if job.images:
        owned = _match_pictures(spark, job, rows)
        rows = rows.join(owned, rows[job.id_col] == owned["owner_id"], "left").drop("owner_id")
    else:
        rows = rows.withColumn("pictures", F.lit(None).cast("array<string>"))
    rows = rows.withColumn("part", F.pmod(F.xxhash64(job.id_col), F.lit(parts)).cast("int"))
    rows = rows.repartition(min(parts, 200), "part")
    rows.write.mode("overwrite").partitionBy("part").parquet(store.path(PLAN_ROWS))


def _match_pictures(spark: Any, job: BatchJob, rows: Any) -> Any:
    """`owner_id` and `pictures`, the paths of its pictures in their order; the rule is that of `infer`."""
    from pyspark import cloudpickle
    from pyspark.sql import functions as F

    cloudpickle.register_pickle_by_value(picture_matching)  # type: ignore[no-untyped-call]  # executors may have no mmclf
    in_order, is_picture = picture_matching.in_order, picture_matching.is_picture
    normal_form, possible_owners = picture_matching.normal_form, picture_matching.possible_owners

    @F.udf(returnType="array<string>", useArrow=False)
    def owners(path: str) -> list[str]:
        name = path.rpartition("/")[2]
        return possible_owners(name) if is_picture(name) else []

    @F.udf(returnType="array<string>", useArrow=False)
    def ordered(owner: str, paths: list[str]) -> list[str]:
        place = {path.rpartition("/")[2]: path for path in paths}
        return [place[name] for name in in_order(owner, list(place))]

    files = spark.read.format("binaryFile").load(job.images).select("path")
    candidates = files.select("path", F.explode(owners("path")).alias("owner"))
    ids = rows.select(
        F.col(job.id_col).alias("owner_id"), F.udf(normal_form, "string", useArrow=False)(job.id_col).alias("owner")
    )
    found = candidates.join(ids, "owner")
    longest = found.groupBy("path").agg(F.max_by(F.struct("owner", "owner_id"), F.length("owner")).alias("of"))
    return (
        longest.groupBy("of.owner_id", "of.owner")
        .agg(F.collect_list("path").alias("paths"))
        .select("owner_id", ordered("owner", "paths").alias("pictures"))
    )


def _rows_with_files(spark: Any, job: BatchJob, part: str) -> tuple[Any, Any]:
    """The rows of a part with their pictures as a list column `image`; and the rows whose picture is gone."""
    from pyspark.sql import functions as F

    rows = spark.read.parquet(part)
    texts = [column for column in rows.columns if column != "pictures"]
    pooled = job.bundle.config.data.multi_image_mode == "mean_pool"
    if not pooled:  # one picture a row is looked at
        rows = rows.withColumn("pictures", F.slice("pictures", 1, 1))
    without = rows.where("pictures is null or size(pictures) = 0")
    none = without.select(*texts, F.lit(None).cast("array<binary>").alias("image"))
    placed = rows.select(*texts, F.posexplode("pictures").alias("place", "path"))
    paths = [row.path for row in placed.select("path").collect()]
    there = _that_exist(spark, job, placed, paths)
    lost = placed.limit(0)
    if len(there) < len(paths):
        gone = sorted(set(paths) - set(there))
        lost = placed.where(F.col("path").isin(gone)).drop_duplicates([job.id_col])
        placed = placed.join(lost.select(job.id_col), job.id_col, "left_anti")
    if not there:
        return none, lost
    files = spark.read.format("binaryFile").load([_escaped(path) for path in there])
    # the rows are small and go to the files: the pictures are read where they are scored
    joined = files.select("path", "content").join(F.broadcast(placed), "path")
    if pooled:
        grouped = joined.groupBy(*texts).agg(F.sort_array(F.collect_list(F.struct("place", "content"))).alias("found"))
        some = grouped.select(*texts, F.col("found.content").alias("image"))
    else:
        some = joined.select(*texts, F.array("content").alias("image"))
    return some.unionByName(none), lost


def _that_exist(spark: Any, job: BatchJob, placed: Any, paths: list[str]) -> list[str]:
    """The paths without those of files that went away since the plan was made, which is rare."""
    from pyspark.errors import AnalysisException
    from pyspark.sql import functions as F

    if not paths:
        return []
    files = spark.read.format("binaryFile")
    try:
        files.load([_escaped(path) for path in paths])
    except AnalysisException as error:
        if error.getCondition() != "PATH_NOT_FOUND":
            raise
        listed = files.load(job.images).select("path").join(F.broadcast(placed.select("path")), "path")
        return [row.path for row in listed.collect()]
    return paths


def _failed(rows: Any, job: BatchJob) -> Any:
    """The result of rows that can't be scored, so that none is lost."""
    from pyspark.sql import functions as F

    nothing = [F.lit(None).cast(kind).alias(name) for name, kind in RESULT.items() if name != "error"]
    return rows.select(job.id_col, *nothing, F.lit(GONE).alias("error"))


def _score(rows: Any, udf: Any, job: BatchJob) -> Any:
    from pyspark.sql import functions as F

    inputs = [c for c in rows.columns if c in (*job.bundle.text_cols, *PICTURE_COLUMNS)]
    found = rows.select(job.id_col, udf(F.struct(*inputs)).alias("found")).select(job.id_col, "found.*")
    # MLflow writes None as a word, and the number of a row is that in its little batch
    error = F.when(F.col("error") == "None", None).otherwise(F.regexp_replace("error", r"^row \d+: ", ""))
    found = found.withColumn("error", error)
    kept = [F.when(F.col("error").isNull(), F.col(name)).alias(name) for name in RESULT if name != "error"]
    return found.select(job.id_col, *kept, "error")


def _scoring_udf(spark: Any, job: BatchJob) -> Callable[..., Any]:
    params = {"top_k": job.top_k, "errors": "column"}
    with quiet_mlflow():
        from mlflow.pyfunc import spark_udf

        udf: Callable[..., Any] = spark_udf(
            spark,
            job.model_uri,
            result_type=f"struct<{', '.join(f'{name}: {kind}' for name, kind in RESULT.items())}>",
            env_manager="local",
            params=params,
            extra_env={environment.ARTIFACTS_BAR.name: "false"},
        )
    return udf


def _warm_up(spark: Any, udf: Any, job: BatchJob) -> None:
    """Let each worker load the model once, so that the first part takes as long as the others."""
    from pyspark.sql import functions as F

    slots = spark.sparkContext.defaultParallelism
    rows = spark.range(0, slots, 1, slots).select(F.col("id").cast("string").alias(job.id_col))
    for column in job.bundle.text_cols:
        rows = rows.withColumn(column, F.lit("a"))
    _score(rows.withColumn("image", F.lit(None).cast("array<binary>")), udf, job).collect()


def _count(spark: Any, place: str) -> tuple[int, int]:
    from pyspark.sql import functions as F

    row = spark.read.parquet(place).agg(F.count("*").alias("rows"), F.count("error").alias("failed")).first()
    return int(row.rows), int(row.failed)


def _read_table(spark: Any, job: BatchJob) -> Any:
    return _read_files(spark, job, [job.data])


def _read_files(spark: Any, job: BatchJob, paths: Sequence[str]) -> Any:
    """The table with its id and texts as strings."""
    if re.search(r"\.csv(\.\w+)?$", job.data):
        # as pandas reads it: quoted fields may hold line breaks, a quote in them is doubled, all is text
        options = {"header": True, "multiLine": True, "escape": '"', "encoding": "UTF-8"}
        table = spark.read.options(**options).csv(list(paths))
    else:
        table = spark.read.parquet(*paths)
    if job.id_col not in table.columns:
        raise BatchError(f"--data: {job.data}: has no column {job.id_col!r}; found {', '.join(table.columns)}")
    for column in (job.id_col, *_text_columns(table, job)):
        table = table.withColumn(column, table[column].cast("string"))
    return table


def _check_ids(table: Any, id_col: str) -> None:
    from pyspark.sql import functions as F

    twice = table.groupBy(id_col).count().where((F.col("count") > 1) | F.col(id_col).isNull()).first()
    if twice is not None:
        what = "is empty" if twice[id_col] is None else f"{twice[id_col]!r} occurs {twice['count']} times"
        raise BatchError(f"--data: column {id_col!r}: an id {what}; each row needs an id of its own")


def _text_columns(table: Any, job: BatchJob) -> list[str]:
    found = [column for column in job.bundle.text_cols if column in table.columns]
    if not found and not job.images and not _picture_columns(table):
        raise BatchError(
            f"--data: {job.data}: has neither of the columns {', '.join(job.bundle.text_cols)} nor pictures; found "
            f"{', '.join(table.columns)}"
        )
    return found


def _picture_columns(table: Any) -> list[str]:
    return [column for column in table.columns if column in PICTURE_COLUMNS]


def _escaped(path: str) -> str:
    """A path that Spark doesn't take for a pattern."""
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", path)
