"""Score a table: all folds of what scores averaged, with the horizontal flip."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import ConfigLike, Overrides, check_changes
from ..errors import ConfigError
from ..records.vocabulary import Artifact, Metric, Tag
from ..runtime.progress import clock, say
from ..store.outputs import delivery, try_folder
from ..store.space import warn_if_short
from .results import ScoringRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..data.catalog import Catalog
    from ..data.table import Table, TableLike
    from ..records.sources import Source, Use
    from ..runtime.agenda import Agenda
    from .judging import Judge


def infer(
    table: "TableLike",
    *,
    images: str | Path,
    model: str = "",
    config: ConfigLike = "",
    overrides: Overrides = "",
    fold: int | None = None,
    precision: float = 0.0,
    out: str | Path = "",
    report: bool = True,
) -> ScoringRun:
    """Score a table and keep the probabilities; where it has labels, say how many are right, as `evaluate` does.

    Args:
        table: a CSV with a header, or a data frame: an id and texts for each row.
        images: the folder of pictures, named `<id>.jpg` or `<id>_1.jpg`.
        model: what scores: models:/NAME@ALIAS, models:/NAME/VERSION or the id of a run of stage1, stage2 or a fusion;
            several with commas are averaged. "" for the champion, or the newest stage 2 where there is none.
        config: whose `data` and `infer` count; "" for what the model was trained with.
        overrides: changes to it, as `"infer.tta=false"` or `{"infer.tta": False}`.
        fold: the one that scores; None for all.
        precision: share of right ones that is wanted among the labelled rows, as 0.98; rows that are less sure than the
            model's threshold for it become "unassigned". 0 labels all.
        out: a folder that the result files are copied to as well.
        report: of a table with labels: make the report, `report.html`, once its figures are recorded.

    Returns:
        The run, with its predictions and probabilities.

    Raises:
        MmclfError: what is given can't be used; the message says what and where.
    """
    check_changes(overrides, config)
    try_folder(out)
    say(f"infer: {table if isinstance(table, str | Path) else 'a data frame'} by {model or 'the champion'}")
    from .forecast import shown
    from .tables import open_readable

    opened = open_readable(table, images)
    from ..records.sources import Use

    with shown("infer") as agenda:
        use = Use(fold, config, overrides)
        return _infer(agenda, opened, images, model, use, precision, str(out), report=report)


def _infer(
    agenda: "Agenda",
    opened: "Table",
    images: str | Path,
    model: str,
    use: "Use",
    precision: float,
    out: str,
    *,
    report: bool,
) -> ScoringRun:
    """See `infer`."""
    from ..evaluation.probabilities import ProbabilityTable, write_parts
    from ..records import runs, tracking
    from ..records.naming import named
    from ..records.sources import find_sources
    from ..runtime.speed import peak_memory
    from .next_steps import say_end
    from .scorer import announce, score_with, tags_of
    from .tables import read_rows, say_unreadable

    sources = find_sources(runs.connect(), model, use)
    if precision and len(sources) > 1:
        raise ConfigError("precision: a threshold is one model's; give a single model, or leave it out")
    least = sources[0].mixture.least_confidence(precision)
    catalog = read_rows(opened, images, sources[0].config.data, sources[0].text_cols)
    for source in sources:
        say(f"infer: {source}")
    judge = _judge(opened, catalog, sources)
    scorer = score_with(sources, catalog.rows)
    announce(agenda, "infer", scorer, len(catalog))
    tags = tags_of(sources, model, scorer)
    rows = len(catalog)
    size = 4 * rows * len(scorer.classes)
    warn_if_short({"the probabilities": (Path(tempfile.gettempdir()), size), "their copy": (Path(out or "."), size)})
    name = named(f"infer {Path(catalog.name).name}", " + ".join(source.label for source in sources))
    with delivery(out) as made, tracking.record_scores("infer", name, tags, catalog) as record:
        paths = made.folder / Artifact.PROBABILITIES, made.folder / Artifact.SUBMISSION
        assigned = 0
        with write_parts(*paths, scorer.meta.id_col, scorer.meta.label_col, least) as write:
            for positions, part in scorer.scoring:
                if judge is not None:
                    judge.add(positions, part)
                assigned += int((part.max(axis=1) >= least).sum())
                write(ProbabilityTable([catalog.ids[row] for row in positions], scorer.classes, part))
        scoring = scorer.scoring
        seconds = scoring.watch.seconds
        facts = {
            Metric.ROWS: rows,
            Metric.SECONDS: seconds,
            Metric.SPEED: rows / seconds,
            Metric.WAIT: scoring.wait_share,
            Metric.MEMORY: peak_memory(scorer.device),
            Metric.ASSIGNED: assigned / max(rows, 1),
            Metric.UNREADABLE: scoring.unreadable,
            Metric.TRUNCATED: scoring.truncated,
        }
        settings = "---\n".join(each.config.to_yaml() for source in sources for each in source.mixture.experts)
        tracking.store_files(record, made, settings)
        tracking.log_facts({}, facts | scoring.ledger.figures())
        tracking.rename(named(name, f"{rows:,} rows"))
        note = _note(rows, assigned if precision else None, seconds, tags[Tag.SCORED_BY])
        say_unreadable([sentence for _, sentence in scoring.examples], scoring.unreadable)
        if judge is None:
            tracking.describe(note)
        else:
            judge.conclude(record.info.run_id, record.info.run_name, report=report, note=note)
    output = str(Path(out) / Artifact.SUBMISSION if out else runs.artifact_path(record, Artifact.SUBMISSION))
    say(f"infer: {rows:,} rows in {clock(seconds)}, {rows / seconds:.1f} rows/s -> {output}")
    figures = {"run_id": record.info.run_id, "rows": rows, "seconds": round(seconds, 1)}
    figures |= _more(assigned, precision, judge)
    say_end(record.info.run_id, [])
    return ScoringRun(record.info.run_id, figures | {"output": output})


def _more(assigned: int, precision: float, judge: "Judge | None") -> dict[str, Any]:
    """Say, and return, what is known of rows for which a precision was asked, and of those that have labels."""
    figures: dict[str, Any] = {}
    if precision:
        say(f"infer: {assigned:,} rows are labelled, for a precision of {precision:g}; the others are unassigned")
        figures["assigned"] = assigned
    if judge is not None:
        say(f"infer: {judge.found.sentence}")
        figures |= judge.figures()
    return figures


def _judge(opened: "Table", catalog: "Catalog", sources: "Sequence[Source]") -> "Judge | None":
    """Judges the rows where they have labels that the model knows; else None."""
    from .tables import find_label_column, groups_of

    data, mixture = sources[0].config.data, sources[0].mixture
    column = find_label_column(opened, data.label_col or mixture.meta.label_col, catalog.text_cols)
    if column is None:
        return None
    labels = [label.strip() for label in opened.column(column, "labels")]
    if not set(labels) & set(mixture.classes):
        return None
    from .judging import Judge

    return Judge(catalog, labels, sources, groups_of(opened, catalog.ids, data))


def _note(rows: int, assigned: int | None, seconds: float, scored_by: str) -> str:
    """The description of the run; `assigned` rows were sure enough, None where all count."""
    from ..records.notes import compose

    unsure = "" if assigned is None else f", {rows - assigned:,} of them unassigned"
    files = f"Among the artifacts: the labels, {Artifact.SUBMISSION}, and all probabilities, {Artifact.PROBABILITIES}."
    return compose(f"**{rows:,} rows**{unsure}, in {clock(seconds)}, by {scored_by}", [], [files])
