"""What a run reached, with intervals, by fold and by member."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..evaluation.intervals import RESAMPLES, Interval, bootstrap, wilson
from ..evaluation.metrics import is_in_top_k
from .drawing import ACCENT, DARK, Plot, in_percent
from .evidence import Evidence
from .section import Cell, Column, Section, Table, percent, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# classes that a curve over k goes up to
MOST_K = 10


def overview(evidence: Evidence) -> Section:
    """The figures of all rows with intervals, of each fold, and of each member of a fusion."""
    figures = bootstrap(evidence.table, evidence.groups)
    found = top_k_curve(evidence)
    tables = {"figures": _figures(figures), "top-k": _top_k_table(found)}
    if evidence.table.folds is not None:
        tables["folds"] = _folds(evidence)
    members = _members(evidence)
    plot = _top_k_plot(found)
    html = render(
        "overview.html.j2",
        table=tables["figures"],
        folds=tables.get("folds"),
        members=members,
        has_members=bool(evidence.members),
        plot=plot,
        rows=len(evidence),
        groups=None if evidence.groups is None else len(set(evidence.groups)),
        resamples=RESAMPLES,
    )
    top1 = figures["top1"]
    between = f"{percent(top1.low)} to {percent(top1.high)} with 95\u00a0% confidence"
    summary = f"Of {len(evidence):,} products {percent(top1.value)} are labelled right ({between})."
    if evidence.new is not None and evidence.new.verdict:
        summary = ""  # which that says already
    if evidence.members:
        tables["members"] = members
    return Section("figures", "What it reached", html, summary, {plot.name: plot}, tables)


def top_k_curve(evidence: Evidence) -> list[Interval]:
    """The share of rows whose class is among the first k, for k from 1 on."""
    most = max(1, min(MOST_K, len(evidence.table.classes) - 1))
    hits = [is_in_top_k(evidence.table.probabilities, evidence.targets, k) for k in range(1, most + 1)]
    return [wilson(float(found.sum()), len(found)) for found in hits]


def _top_k_table(found: Sequence[Interval]) -> Table:
    columns = [Column("k", "count"), Column("found", "share"), Column("from", "share"), Column("to", "share")]
    rows = [(k, share.value, share.low, share.high) for k, share in enumerate(found, start=1)]
    return Table("Share of products whose class is among the k most probable", columns, rows)


def _top_k_plot(found: Sequence[Interval]) -> Plot:
    ks = list(range(1, len(found) + 1))

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.plot(ks, [share.value for share in found], color=DARK, marker="o")
        axes.fill_between(ks, [s.low for s in found], [s.high for s in found], color=DARK, alpha=0.15, linewidth=0)
        for k, share in [*zip(ks, found, strict=True)][:5:2]:
            axes.annotate(percent(share.value), (k, share.value), (4, -12), textcoords="offset points", color=ACCENT)
        axes.set_xticks(ks)
        axes.set_xlabel("classes that are named (k)")
        axes.set_ylabel("products found")
        axes.margins(x=0.06)
        axes.set_ylim(max(0.0, min(share.low for share in found) - 0.05), 1.02)
        in_percent(axes, "y")

    alt = f"{percent(found[0].value)} of the products are found with one class named, {percent(found[-1].value)} with "
    caption = "If somebody picks from the k most probable classes: how often the right one is among them."
    return Plot("top-k", caption, f"{alt}{ks[-1]}.", (5.6, 3.0), draw)


def _figures(figures: dict[str, Interval]) -> Table:
    said = {
        "top1": ("top-1", "the most probable class is the given one"),
        "top3": ("top-3", "the given class is among the three most probable"),
        "macro_f1": ("macro-F1", "mean of the classes' F1, each class counting the same"),
        "calibration_error": ("calibration error", "how far confidence and accuracy lie apart; 0 is best"),
        "loss": ("loss", "mean of -log p(given class); 0 is best"),
    }
    columns = [Column("figure"), Column("value", "number"), Column("from", "number"), Column("to", "number")]
    columns.append(Column("what it is"))
    rows = [
        (name, figures[key].value, figures[key].low, figures[key].high, meaning)
        for key, (name, meaning) in said.items()
    ]
    return Table("The figures of all products together, with 95 % intervals", columns, rows)


def _folds(evidence: Evidence) -> Table:
    folds = evidence.table.folds
    best = {history.fold: f"{history.best} of {history.epochs}" for history in evidence.histories}
    rows: list[tuple[Cell, ...]] = []
    for fold in evidence.figures.folds:
        here = slice(None) if folds is None else folds == fold.fold
        hits = evidence.hits[here]
        share = wilson(float(hits.sum()), len(hits))
        rows.append((str(fold.fold), len(hits), fold.top1, share.low, share.high, fold.top3, best.get(fold.fold)))
    names = ["fold", "products", "top-1", "from", "to", "top-3", "best epoch"]
    kinds = ["text", "count", "share", "share", "share", "share", "text"]
    columns = [Column(name, kind) for name, kind in zip(names, kinds, strict=True)]
    if not best:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Table("What each fold reached on the products that it was not trained on", columns, rows)


def _members(evidence: Evidence) -> Table:
    columns = [Column("member"), Column("weight"), Column("top-1", "share"), Column("top-3", "share")]
    columns += [Column("macro-F1", "number"), Column("calibration error", "number"), Column("loss", "number")]
    rows = []
    for name, weight, f in [
        *((each.name, each.weight, each.figures) for each in evidence.members),
        ("together", "", evidence.figures),
    ]:
        rows.append((name, weight, f.oof_top1, f.oof_top3, f.macro_f1, f.calibration_error, f.loss))
    return Table("The members of the fusion, each alone, and all together", columns, rows)
