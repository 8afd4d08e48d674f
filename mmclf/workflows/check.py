"""The data doctor: what is wrong with a table and its pictures, before anything is trained on them."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config, ConfigLike, Overrides, resolve_config
from ..errors import MmclfError
from ..records.vocabulary import Artifact, Metric
from ..runtime.progress import clock, say
from ..store.outputs import delivery, try_folder
from .results import CheckRun

if TYPE_CHECKING:
    from ..checking.examination import Examination
    from ..checking.finding import CountTokens
    from ..data.table import TableLike


def check(
    table: "TableLike",
    *,
    images: str | Path,
    test: "TableLike" = "",
    config: ConfigLike = "configs/stage1.yaml",
    overrides: Overrides = "",
    out: str | Path = "",
) -> CheckRun:
    """Examine a table to train on: what is wrong, what is doubtful, and what mends it.

    Args:
        table: a CSV with a header, or a data frame: an id, texts and a label for each row.
        images: the folder of pictures, named `<id>.jpg` or `<id>_1.jpg`.
        test: rows that will be scored, with pictures in the same folder; "" for none.
        config: folds, groups and sizes are judged under it: a YAML file, its sections as a mapping, or a `Config`.
        overrides: changes to it, as `"data.groups_csv=groups.csv"` or a mapping.
        out: a folder that the page, its figures and tables are copied to as well.

    Returns:
        The run, with its findings.

    Raises:
        MmclfError: what is given can't be read at all; the message says what and where.
    """
    start = time.perf_counter()
    settings = resolve_config(config, overrides)
    try_folder(out)
    from ..data.catalog import read_catalog

    catalog = read_catalog(table, images, settings.data, training=True)
    later = None
    if not isinstance(test, str) or test:
        data = settings.data.model_copy(update={"text_cols": list(catalog.text_cols)})
        later = read_catalog(test, images, data, training=False)
    say(f"check: {catalog.name}: {len(catalog):,} rows, {sum(map(len, catalog.rows.pictures)):,} pictures")
    from ..checking.examination import examine
    from ..checking.finding import Level
    from ..records import reports, runs, tracking
    from ..reporting.checkup import make_checkup
    from .next_steps import say_end
    from .stored_features import stored_features

    runs.connect()
    count_tokens, problem = _tokenizer(settings)
    features = None if later is None else stored_features(settings, [catalog.rows, later.rows])
    out = str(out)
    with (
        delivery(out) as made,
        tracking.record_scores("check", f"check {catalog.short_name}", {}, catalog, context="check") as record,
    ):
        kept = runs.local_path(record.info.artifact_uri)
        groups = Path(out) if out else kept or Path(record.info.artifact_uri)
        found = examine(
            catalog,
            settings,
            test=later,
            features=features,
            count_tokens=count_tokens,
            token_problem=problem,
            groups_csv=str(groups / Artifact.GROUPS),
        )
        facts = [("data", catalog.short_name), ("backbone", settings.model.name), ("run", record.info.run_id)]
        page = make_checkup(found, f"Check of {catalog.short_name}", facts)
        (made.folder / Artifact.CHECK).write_text(page.html, encoding="utf-8", errors="replace")
        for name, content in page.files.items():
            (made.folder / name).write_bytes(content)
        tracking.store_files(record, made, settings.to_yaml())
        counts = {level: len(found.of(level)) for level in Level}
        tracking.log_facts(
            {},
            {
                Metric.CHECK_WRONG: counts[Level.WRONG],
                Metric.CHECK_DOUBTFUL: counts[Level.DOUBTFUL],
                Metric.SECONDS: time.perf_counter() - start,
            },
        )
        tracking.describe(reports.note_of_check(record, [(each.level.name, each.sentence) for each in found.findings]))
    _say(found)
    seconds = time.perf_counter() - start
    output = str(Path(out) / Artifact.CHECK if out else runs.artifact_path(record, Artifact.CHECK))
    say(f"check: {len(catalog):,} rows in {clock(seconds)} -> {output}")
    say_end(record.info.run_id, [])
    figures = {"run_id": record.info.run_id, "rows": len(catalog), "wrong": counts[Level.WRONG]}
    figures |= {"doubtful": counts[Level.DOUBTFUL], "notes": counts[Level.NOTE], "seconds": round(seconds, 1)}
    return CheckRun(record.info.run_id, figures | {"output": output})


def _tokenizer(config: Config) -> "tuple[CountTokens | None, str]":
    """The backbone's, without its towers; None, and why, where it isn't at hand."""
    from ..model.token_counts import TokenCounter

    try:
        return TokenCounter(config.model.name), ""
    except MmclfError as error:
        say(f"note: tokens aren't counted: {error}")
        return None, str(error)


def _say(found: "Examination") -> None:
    """The findings, and what mends them."""
    from ..checking.finding import Level

    words = {Level.WRONG: "wrong", Level.DOUBTFUL: "doubtful", Level.NOTE: "note"}
    for each in found.findings:
        say(f"{words[each.level]}: {each.sentence}")
        if each.mend:
            say(f"  -> {each.mend}")
    if not found.findings:
        say("check: nothing was found")
