"""Finished runs on the same rows and folds, side by side."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ComparisonError, ConfigError
from ..records.vocabulary import Artifact, Metric, Tag
from ..runtime.progress import aligned, say
from .results import Result

if TYPE_CHECKING:
    from ..reporting.comparison import Comparison

COMPARE = "compare"
MOST_RUNS = 10
LETTERS = "ABCDEFGHIJ"
HEADER = ["run", "", "top-1", "against A", "95 % interval", "mended", "broken", "seconds"]


def compare(*, runs: Sequence[str]) -> Result:
    """Compare finished runs on the same rows and folds with the first of them, row by row.

    Args:
        runs: ids of two runs or more of stage1 and stage2, and of fusions.

    Returns:
        The run that holds the page, `report.html`; its figures say what each run is worth beside the first.

    Raises:
        MmclfError: there are no such runs, or their rows, labels or folds differ; the message says which.
    """
    start = time.perf_counter()
    if len(runs) < 2 or len(runs) > MOST_RUNS:
        raise ConfigError(f"--runs: found {len(runs)}; give 2 to {MOST_RUNS} run ids, separated by commas")
    if len(set(runs)) < len(runs):
        raise ConfigError("--runs: a run is named twice")
    from ..records import runs as records
    from ..records import tracking
    from ..records.card import markdown_table
    from ..records.reports import log_report
    from ..reporting.comparison import make_comparison
    from .next_steps import say_end

    comparison = _gather(runs)
    client = records.connect()
    first = records.get_run(client, runs[0]).data
    names = [each.name for each in comparison.contenders]
    rows = _lines(comparison)
    say(aligned(HEADER, rows))
    tags = {Tag.SOURCE_RUN: ",".join(runs)}
    tags |= {tag: first.tags[tag] for tag in (Tag.SPLIT, Tag.FINGERPRINT) if tag in first.tags}
    with tracking.record_scores(COMPARE, f"compare {' and '.join(dict.fromkeys(names))}"[:200], tags) as record:
        verdicts = [comparison.verdict(other) for other in comparison.others]
        tracking.describe("\n".join([*verdicts, "", *markdown_table(HEADER, rows)]))
        data = f"{len(comparison.table):,} products, {len(comparison.table.classes):,} classes"
        if Tag.CSV in first.tags:
            data = f"{'/'.join(Path(first.tags[Tag.CSV]).parts[-2:])}, {data}"
        report = make_comparison(comparison, [("data", data), ("comparison", record.info.run_id)])
        log_report(record.info.run_id, report)
        seconds = time.perf_counter() - start
        tracking.log_facts({}, {Metric.ROWS: len(comparison.table), Metric.SECONDS: seconds})
    for verdict in verdicts:
        say(f"compare: {verdict}")
    run_id = record.info.run_id
    say_end(run_id, [])
    figures = {"run_id": run_id, "rows": len(comparison.table), "against": runs[0]}
    return Result(run_id, figures | {"runs": _figures(comparison), "seconds": round(seconds, 1)})


def _gather(run_ids: Sequence[str]) -> "Comparison":
    """The runs with their out-of-fold matrices, in the same order of rows and classes."""
    import numpy as np

    from ..evaluation.comparison import in_rows_of
    from ..evaluation.probabilities import merge_classes, read_table, spread
    from ..records import runs as records
    from ..records.fusion import FUSION, STAGES
    from ..records.spent import spent_by
    from ..reporting.comparison import Comparison, Contender
    from .reference import trained_catalog

    client = records.connect()
    found = [records.get_stage_run(client, run_id, [*STAGES, FUSION]) for run_id in run_ids]
    tables = [read_table(records.artifact_path(run, Artifact.OOF)) for run in found]
    for number, run_id in enumerate(run_ids):
        try:
            tables[number] = in_rows_of(tables[number], tables[0])
        except ComparisonError as error:
            raise ComparisonError(
                f"--runs: run {run_id} can't be compared with run {run_ids[0]}: {error} (here: {run_ids[0]})"
            ) from None
    classes = merge_classes([table.classes for table in tables])
    contenders = []
    for letter, run, table in zip(LETTERS, found, tables, strict=False):
        probabilities = np.nan_to_num(spread(table, classes)).astype(np.float32)
        name = run.data.tags.get(Tag.RUN_NAME, run.data.tags[Tag.STAGE])
        contenders.append(Contender(letter, name, run.info.run_id, probabilities, spent_by(client, run)))
    table = replace(tables[0], classes=classes, probabilities=contenders[0].probabilities)
    catalog = trained_catalog(run_ids[0], "the page has no pictures and texts")
    if catalog is None:
        return Comparison(contenders, table)
    position = {i: row for row, i in enumerate(catalog.ids)}
    rows = [position[i] for i in table.ids]
    groups = None if catalog.groups is None else [catalog.groups[row] for row in rows]
    return Comparison(contenders, table, catalog.rows.take(np.array(rows)), groups)


def _lines(comparison: "Comparison") -> list[list[str]]:
    """In the columns of HEADER."""
    lines = []
    for each in comparison.contenders:
        top1 = comparison.figures[each.letter]["top1"].value
        cells = [each.letter, f"{each.name}, {each.run_id[:12]}", f"{top1:.4f}"]
        if each is comparison.first:
            cells += ["", "", "", ""]
        else:
            found = comparison.pairs[each.letter]
            gain = found.differences["top1"]
            cells += [f"{100 * gain.value:+.2f}", f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}"]
            cells += [f"{found.mended.sum():,}", f"{found.broken.sum():,}"]
        lines.append([*cells, f"{each.spent.seconds:,.0f}"])
    return lines


def _figures(comparison: "Comparison") -> list[dict[str, Any]]:
    """What is printed of each of the others."""
    found = []
    for other in comparison.others:
        pair = comparison.pairs[other.letter]
        top1 = pair.differences["top1"]
        figures: dict[str, Any] = {"run": other.run_id, "verdict": pair.verdict()}
        figures |= {"top1": round(top1.value, 4), "low": round(top1.low, 4), "high": round(top1.high, 4)}
        figures |= {name: round(pair.differences[name].value, 4) for name in ("top3", "loss")}
        found.append(figures | {"mended": int(pair.mended.sum()), "broken": int(pair.broken.sum())})
    return found
