"""The whole report: sections, page, files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .classes import classes
from .confidence import confidence
from .confusions import confusions
from .curves import curves
from .evidence import Evidence
from .labels import labels
from .overview import overview
from .section import Section, render
from .slices import slices

PAGE, FOLDER = "report.html", "report"
SECTIONS: Sequence[Callable[[Evidence], Section]] = (overview, confusions, classes, confidence, slices, labels, curves)


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
    """The report of a run.

    Args:
        evidence: at least one row.
    """
    sections = [make(evidence) for make in SECTIONS]
    files: dict[str, bytes] = {}
    for section in sections:
        files |= {f"{name}.png": plot.png for name, plot in section.plots.items()}
        files |= {f"{name}.csv": table.csv() for name, table in section.tables.items()}
    html = render(
        "page.html.j2",
        title=evidence.title,
        facts=evidence.facts,
        sections=sections,
        summary=[section.summary for section in sections if section.summary],
        files=sorted(files),
        folder=FOLDER,
    )
    return Report(str(html), files)
