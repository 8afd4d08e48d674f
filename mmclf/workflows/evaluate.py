"""Score a table whose labels are known: figures with intervals beside what was expected, drift, and the report."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import ConfigLike, Overrides, check_changes
from ..errors import TableError
from ..records.vocabulary import Metric
from ..runtime.progress import clock, say
from .results import Result

if TYPE_CHECKING:
    from ..data.table import Table, TableLike
    from ..records.sources import Use
    from ..runtime.agenda import Agenda


def evaluate(
    table: "TableLike",
    *,
    images: str | Path,
    labels: "TableLike | None" = None,
    model: str = "",
    config: ConfigLike = "",
    overrides: Overrides = "",
    fold: int | None = None,
    report: bool = True,
) -> Result:
    """Score a table whose labels are known, and say whether the model is as good there as it was expected to be.

    Args:
        table: a CSV with a header, or a data frame: an id, texts and a label for each row.
        images: the folder of pictures, named `<id>.jpg` or `<id>_1.jpg`.
        labels: a table with the id and the label of each row, in any order, where `table` has no labels.
        model: what scores, as `infer` takes it.
        config: whose `data` and `infer` count; "" for what the model was trained with.
        overrides: changes to it; `"data.groups_csv=groups.csv"` names the groups of the rows, for the intervals.
        fold: the one that scores; None for all.
        report: make `report.html`, once the figures are recorded.

    Returns:
        The run; its figures are those of the rows with a label that the model knows.

    Raises:
        MmclfError: what is given can't be used, or no label is one of the model's classes.
    """
    start = time.perf_counter()
    check_changes(overrides, config)
    from .forecast import shown
    from .tables import open_readable

    opened = open_readable(table, images)
    from ..records.sources import Use

    with shown("evaluate") as agenda:
        use = Use(fold, config, overrides)
        return _evaluate(agenda, start, opened, images, opened if labels is None else labels, model, use, report=report)


def _evaluate(
    agenda: "Agenda",
    start: float,
    opened: "Table",
    images: str | Path,
    labels: "Table | TableLike",
    model: str,
    use: "Use",
    *,
    report: bool,
) -> Result:
    """See `evaluate`."""
    from ..data.labels import NO_LABEL
    from ..data.table import first_few
    from ..records import runs, tracking
    from ..records.naming import with_result
    from ..records.sources import find_sources
    from .judging import Judge
    from .next_steps import say_end
    from .scorer import announce, score_with, tags_of
    from .tables import groups_of, read_labels, read_rows, say_unreadable

    sources = find_sources(runs.connect(), model, use)
    data, meta = sources[0].config.data, sources[0].mixture.meta
    catalog = read_rows(opened, images, data, sources[0].text_cols)
    of = read_labels(labels, catalog.id_col, data.label_col or meta.label_col)
    classes = sources[0].mixture.classes
    known = set(classes)
    kept = [row for row, i in enumerate(catalog.ids) if of.get(i, "") in known or of.get(i, "") not in NO_LABEL]
    given = [of[catalog.ids[row]] for row in kept]
    if not known & set(given):
        found = f"its labels are {first_few(sorted(set(given)))}" if given else "no row has a label"
        raise TableError(f"{catalog.name}: no label is one of the model's classes ({first_few(classes)}): {found}")
    groups = groups_of(opened, catalog.ids, data)
    unlabelled = len(catalog) - len(kept)
    if unlabelled:
        import numpy as np

        catalog = replace(catalog, rows=catalog.rows.take(np.array(kept)))
        groups = None if groups is None else [groups[row] for row in kept]
    for source in sources:
        say(f"evaluate: {source}")
    judge = Judge(catalog, given, sources, groups, unlabelled)
    scorer = score_with(sources, catalog.rows)
    announce(agenda, "evaluate", scorer, len(catalog))
    tags = tags_of(sources, model, scorer)
    name = f"evaluate {Path(catalog.name).name}"
    labelled = replace(catalog, labels=given)
    with tracking.record_scores("evaluate", name, tags, labelled, context="evaluation") as record:
        for positions, part in scorer.scoring:
            judge.add(positions, part)
        scoring = scorer.scoring
        say_unreadable([sentence for _, sentence in scoring.examples], scoring.unreadable)
        facts = {Metric.ROWS: len(catalog), Metric.UNREADABLE: scoring.unreadable, Metric.TRUNCATED: scoring.truncated}
        seconds = time.perf_counter() - start
        tracking.log_facts({}, scoring.ledger.figures() | facts | {Metric.SECONDS: seconds})
        judge.conclude(record.info.run_id, name, report=report)
        tracking.rename(with_result(name, judge.figures()["top1"]))
    run_id = record.info.run_id
    say(f"evaluate: {len(catalog):,} rows in {clock(seconds)}. {judge.found.sentence}")
    say_end(run_id, [])
    return Result(run_id, {"run_id": run_id, "rows": len(catalog)} | judge.figures() | {"seconds": round(seconds, 1)})
