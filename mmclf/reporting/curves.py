"""How the folds learned: their curves in one picture."""

from typing import TYPE_CHECKING

from .drawing import Plot, in_percent
from .evidence import Evidence
from .section import Section, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# folds that a legend names
MOST_NAMED = 10
DASHES = ("-", "--", ":", "-.")
MARKS = ("o", "s", "^", "D", "v")


def curves(evidence: Evidence) -> Section:
    """Loss and top-1 by epoch, the kept epoch of each fold marked."""
    stepped = [history for history in evidence.histories if history.epochs > 1]
    plots = {"learning-curves": _plot(evidence)} if stepped else {}
    html = render("curves.html.j2", plot=plots.get("learning-curves"), histories=evidence.histories)
    return Section("curves", "How the folds learned", html, plots=plots)


def _plot(evidence: Evidence) -> Plot:
    histories = evidence.histories

    def draw(figure: "Figure") -> None:
        import matplotlib as mpl

        loss, top1 = figure.subplots(1, 2)
        shades = mpl.colormaps["viridis"]([0.85 * n / max(len(histories) - 1, 1) for n in range(len(histories))])
        for number, (history, shade) in enumerate(zip(histories, shades, strict=True)):
            epochs = range(1, history.epochs + 1)
            dash, mark = DASHES[number % len(DASHES)], MARKS[number % len(MARKS)]
            loss.plot(epochs, history.train_loss, color=shade, linestyle=dash, alpha=0.45, linewidth=1.1)
            loss.plot(epochs, history.val_loss, color=shade, linestyle=dash)
            line = {"color": shade, "linestyle": dash, "label": f"fold {history.fold}", "marker": mark}
            top1.plot(epochs, history.val_top1, markevery=[history.best - 1], markersize=8, **line)
        loss.set_title("loss: held-out rows strong, training rows thin")
        top1.set_title("top-1 of held-out rows, the kept epoch marked")
        for axes in (loss, top1):
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
        in_percent(top1, "y")
        if len(histories) <= MOST_NAMED:
            figure.legend(*top1.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(histories), 5))

    said = ", ".join(
        f"fold {h.fold} from {100 * h.val_top1[0]:.1f} % to {100 * h.val_top1[h.best - 1]:.1f} % at epoch {h.best}"
        for h in histories[:MOST_NAMED]
    )
    caption = (
        "Where the strong lines of the loss rise again while the thin ones fall, a fold learns its rows by heart. "
        "Folds that lie far apart say that there are few products, or that the folds differ."
    )
    return Plot("learning-curves", caption, f"Top-1 of the held-out rows: {said}.", (9.2, 3.8), draw)
