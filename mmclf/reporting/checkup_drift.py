"""The test table beside the training table."""

from ..checking.drift import Measure
from ..checking.examination import Examination
from .section import Cell, Column, Section, Table, render


def drift(found: Examination) -> Section:
    """Figures of both, and whether a classifier tells them apart."""
    test = found.subject.test
    if found.drift is None or test is None:
        raise ValueError("there is no test table")
    columns = [Column("figure"), Column("training"), Column("test")]
    lines: list[tuple[Cell, ...]] = [("rows", f"{len(found.subject.catalog):,}", f"{len(test):,}")]
    lines += [(each.name, _shown(each, each.train), _shown(each, each.test)) for each in found.drift.measures]
    measures = Table("Both tables; of a length the middle half, and its median", columns, lines)
    names = [Column("told apart by"), Column("AUC", "number"), Column("from", "number"), Column("to", "number")]
    judged = [(each.by, each.auc, each.low, each.high) for each in found.drift.separations]
    table = Table("How well a classifier tells test from training rows; 0.5 is not at all", names, judged)
    words = [word for each in found.drift.separations for word in each.words]
    html = render("checkup_drift.html.j2", measures=measures, table=table if judged else None, words=", ".join(words))
    return Section("test", "The test table", html, tables={"drift": measures})


def _shown(measure: Measure, values: tuple[float, ...]) -> str:
    if not values:
        return "–"
    if len(values) == 1:
        return f"{100 * values[0]:.1f} %"
    low, middle, high = (f"{value:,.0f}" for value in values)
    return f"{low} to {high}, {middle}"
