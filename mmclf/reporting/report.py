"""The whole report: sections, page, files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .classes import classes
from .confidence import confidence
from .confusions import confusions
from .curves import curves
from .evidence import Evidence
from .labels import labels
from .new_data import drifted, expected
from .overview import overview
from .section import Section, render
from .slices import slices

PAGE, FOLDER = "report.html", "report"
Make = Callable[[Evidence], Section]
OUT_OF_FOLD: Sequence[Make] = (overview, confusions, classes, confidence, slices, labels, curves)
NEW: Sequence[Make] = (expected, drifted, overview, confusions, classes, confidence, slices, labels)


@dataclass(frozen=True)
class Report:
    """A page, and the files beside it.

    Attributes:
        html: the page; whole, nothing is fetched for it.
        files: contents by name: a PNG for each plot, a CSV for each table.
    """

    html: str
    files: dict[str, bytes]

    def write(self, folder: Path) -> None:
        """Write `report.html`, and the files into `report/`."""
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        (folder / PAGE).write_text(self.html, encoding="utf-8", errors="replace")
        for name, content in self.files.items():
            (folder / FOLDER / name).write_bytes(content)


def make_report(evidence: Evidence) -> Report:
    """The report of a run on the rows that it held out, or on new ones.

    Args:
        evidence: at least one row.
    """
    sections = [make(evidence) for make in (OUT_OF_FOLD if evidence.new is None else NEW)]
    return put_together(evidence.title, evidence.facts, sections)


def put_together(
    title: str,
    facts: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    *,
    folder: str = FOLDER,
    files: Mapping[str, bytes] | None = None,
) -> Report:
    """A page of sections.

    Args:
        title: its heading.
        facts: name and value of what it is about.
        sections: in their order.
        folder: where its files lie, from the page; "" for beside it.
        files: more of them, by name.
    """
    files = dict(files or {})
    for section in sections:
        files |= {f"{name}.png": plot.png for name, plot in section.plots.items()}
        files |= {f"{name}.csv": table.csv() for name, table in section.tables.items()}
    html = render(
        "page.html.j2",
        title=title,
        facts=facts,
        sections=sections,
        summary=[section.summary for section in sections if section.summary],
        files=sorted(files),
        folder=folder,
    )
    return Report(str(html), files)
