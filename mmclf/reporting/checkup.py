"""The page of the data doctor: what is wrong with a catalogue, with its products, and as files."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..checking.examination import Examination
from ..checking.finding import Finding, Level, counted
from .checkup_duplicates import duplicates
from .checkup_labels import labels
from .checkup_pictures import pictures
from .checkup_texts import texts
from .drawing import ACCENT, DARK, Plot, shorten_label
from .report import put_together
from .section import Column, Section, Table, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE, FIGURES, GROUPS = "check.html", "check.json", "groups.csv"
HEADINGS = {
    Level.WRONG: "Would make training wrong",
    Level.DOUBTFUL: "Doubtful",
    Level.NOTE: "Good to know",
}
# classes that the plot shows
MOST_CLASSES = 30


@dataclass(frozen=True)
class CheckupPage:
    """A page, and the files beside it.

    Attributes:
        html: the page; whole, nothing is fetched for it.
        files: contents by name: figures as JSON, groups and tables as CSV, plots as PNG.
    """

    html: str
    files: dict[str, bytes]


def make_checkup(found: Examination, title: str, facts: Sequence[tuple[str, str]]) -> CheckupPage:
    """The page of an examination.

    Args:
        found: see there.
        title: of the page.
        facts: name and value of what it is about.
    """
    makers: Sequence[Callable[[Examination], Section]] = (findings, classes, duplicates, labels, pictures, texts)
    sections = [make(found) for make in makers]
    if found.drift is not None:
        from .checkup_drift import drift

        sections.append(drift(found))
    files = {FIGURES: (json.dumps(found.to_json(), indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")}
    files[GROUPS] = found.groups_csv().encode("utf-8", "replace")
    page = put_together(title, facts, sections, folder="", files=files)
    return CheckupPage(page.html, page.files)


def findings(found: Examination) -> Section:
    """All of them, what matters most first, each with what mends it."""
    columns = [Column("level"), Column("finding"), Column("rows", "count"), Column("sentence"), Column("mend")]
    rows = [(f.level.name.lower(), f.key, len(f.ids) or None, f.sentence, f.mend) for f in found.findings]
    levels = [(HEADINGS[level], found.of(level)) for level in reversed(Level)]
    shown = [(heading, [_shown(each) for each in part]) for heading, part in levels if part]
    html = render("checkup_findings.html.j2", levels=shown)
    return Section("findings", "What was found", html, _verdict(found), tables={"findings": Table("", columns, rows)})


def _shown(finding: Finding) -> dict[str, str | bool]:
    is_override = finding.mend.startswith(("data.", "train."))
    return {"sentence": finding.sentence, "mend": finding.mend, "is_override": is_override}


def _verdict(found: Examination) -> str:
    wrong, doubtful = len(found.of(Level.WRONG)), len(found.of(Level.DOUBTFUL))
    if wrong:
        return f"{counted(wrong, 'finding')} would make training wrong; {doubtful:,} more are doubtful."
    if doubtful:
        return f"Nothing would make training wrong; {counted(doubtful, 'finding')} are doubtful."
    return "Nothing was found that would make training wrong, and nothing doubtful."


def classes(found: Examination) -> Section:
    """How many rows each class has, and what they lack."""
    subject = found.subject
    rows = subject.catalog.rows
    counts = Counter(subject.labels)
    groups: dict[str, set[int]] = {}
    pictures: Counter[str] = Counter()
    texts: Counter[str] = Counter()
    for row, (label, group) in enumerate(
        zip(subject.labels, subject.train(subject.duplicates.groups).tolist(), strict=True)
    ):
        groups.setdefault(label, set()).add(group)
        pictures[label] += bool(rows.pictures[row])
        texts[label] += bool(rows.texts[row])
    columns = [Column("class"), Column("rows", "count"), Column("share", "share"), Column("distinct products", "count")]
    columns += [Column("without a picture", "count"), Column("without a text", "count")]
    lines = [
        (label, count, count / len(rows), len(groups[label]), count - pictures[label], count - texts[label])
        for label, count in counts.most_common()
    ]
    table = Table("Rows of each class; duplicates count as one product", columns, lines)
    plot = _sizes_plot(counts, subject.config.train.folds)
    html = render("checkup_classes.html.j2", table=table.first(500), plot=plot, classes=len(counts))
    least = counts.most_common()[-1]
    summary = (
        f"{counted(len(rows), 'row')} of {counted(len(counts), 'class')}, from {least[1]:,} to "
        f"{counts.most_common(1)[0][1]:,} rows each."
    )
    return Section("classes", "Rows and classes", html, summary, {plot.name: plot}, {"classes": table})


def _sizes_plot(counts: "Counter[str]", folds: int) -> Plot:
    ordered = counts.most_common()
    shown = ordered if len(ordered) <= MOST_CLASSES else [*ordered[: MOST_CLASSES // 2], *ordered[-MOST_CLASSES // 2 :]]

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.barh([n for n, _ in enumerate(shown)], [count for _, count in shown], color=DARK, height=0.7)
        axes.set_yticks(range(len(shown)), [shorten_label(name) for name, _ in shown])
        axes.invert_yaxis()
        axes.axvline(folds, color=ACCENT, linestyle="--", linewidth=1)
        axes.set_xlabel(f"rows; the dashed line is the {folds} that {folds} folds need")
        axes.grid(axis="y", visible=False)
        axes.margins(y=0.01)

    some = "" if len(shown) == len(ordered) else f" The {MOST_CLASSES // 2} largest and smallest of {len(ordered):,}."
    alt = f"Rows of each class, from {ordered[0][1]:,} ({ordered[0][0]}) to {ordered[-1][1]:,} ({ordered[-1][0]})."
    return Plot("class-sizes", f"Rows of each class.{some}", alt, (6.6, 0.8 + 0.2 * len(shown)), draw)
