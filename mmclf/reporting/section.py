"""What a page is put together from: sections with tables and plots, each written by a template."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

if TYPE_CHECKING:
    from .drawing import Plot

TEMPLATES = Path(__file__).parent / "templates"
Cell = str | int | float | None


@dataclass(frozen=True)
class Column:
    """Of a table.

    Attributes:
        name: its heading.
        kind: "text", "count", "share" (in [0, 1], shown in per cent) or "number".
    """

    name: str
    kind: str = "text"


@dataclass(frozen=True)
class Table:
    """A table that the page shows, whose reader can sort it, and that is a CSV too.

    Attributes:
        caption: says what it shows.
        columns: of each row.
        rows: None where there is no value.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    def csv(self) -> bytes:
        """With a header, UTF-8; numbers as they are, shares in [0, 1]."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([column.name for column in self.columns])
        writer.writerows([[_plain(cell) for cell in row] for row in self.rows])
        return out.getvalue().encode("utf-8", "replace")

    def first(self, most: int) -> "Table":
        """The same with at most so many rows."""
        return Table(self.caption, self.columns, self.rows[:most])


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: to link to.
        title: its heading.
        html: what is below it.
        summary: the sentence of it that one should know; "" for none.
        plots: drawn in it, by the names of their files.
        tables: in full, by the names of their files.
    """

    anchor: str
    title: str
    html: Markup
    summary: str = ""
    plots: "Mapping[str, Plot]" = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)


def render(template: str, **values: Any) -> Markup:
    """A template filled in; every value is escaped, for titles and labels are data and may hold markup."""
    return Markup(_environment().get_template(template).render(**values))  # noqa: S704 - the templates escape


def percent(share: float | None, digits: int = 1) -> str:
    """A share in [0, 1] for people."""
    # the space is one that no line is broken at
    return "–" if share is None or share != share else f"{100 * share:.{digits}f}\u00a0%"  # noqa: PLR0124 - nan


def listed(words: Iterable[str]) -> str:
    """Words as a list in a sentence: `a, b and c`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"cell": _shown, "sort_key": _sort_key}
    return made


def _shown(value: Cell, kind: str) -> str:
    """A cell of the page."""
    if value is None or value != value:  # noqa: PLR0124 - nan
        return "–"
    if kind == "share":
        return percent(float(value))
    if kind == "count":
        return f"{int(value):,}"
    if kind != "number":
        return str(value)
    text = f"{float(value):.3f}"
    return "0.000" if text == "-0.000" else text


def _sort_key(value: Cell) -> str:
    """What the page's script sorts by."""
    return "" if value is None or value != value else str(value)  # noqa: PLR0124 - nan


def _plain(value: Cell) -> Cell:
    """A cell of the CSV."""
    if isinstance(value, float):
        return None if value != value else round(value, 6)  # noqa: PLR0124 - nan
    return value
