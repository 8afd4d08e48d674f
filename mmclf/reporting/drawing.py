"""Plots in one look: drawn once, inline in the page as SVG and beside it as PNG.

Lines differ by lightness, dashes and marks, not by hue alone, so that they can be told apart in grey.
"""

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2933", "#5c6a78", "#d9dfe5"
DARK, LIGHT, ACCENT = "#17487a", "#7fb0d8", "#b3401f"
STYLE: Any = {  # settings of matplotlib, whose type lists them all
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $x$
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # texts stay texts, in the reader's font
    "svg.hashsalt": "mmclf",  # the same plot has the same bytes
}
DPI = 120
# characters of a class's name
LABEL = 26


@dataclass(frozen=True)
class Plot:
    """A picture of numbers.

    Attributes:
        name: of its file, without suffix.
        caption: says how to read it.
        alt: says what it shows, to who doesn't see it.
        size: width and height in inches.
        draw: draws on a figure.
    """

    name: str
    caption: str
    alt: str
    size: tuple[float, float]
    draw: "Callable[[Figure], None]"

    @cached_property
    def svg(self) -> Markup:
        """An `<svg>` element that is as wide as its place allows."""
        text = self._saved("svg").decode("utf-8")
        text = text[text.index("<svg") :]
        inner = re.sub(r"<metadata>.*?</metadata>", "", text[text.index(">") + 1 :], flags=re.DOTALL)
        # several plots in one page: no two elements may share an id
        inner = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{self.name}-", inner)
        inner = inner.replace("xlink:href=", "href=")
        width, height = (72 * side for side in self.size)
        style = f"max-width:{width * 4 / 3:.0f}px"
        opened = Markup('<svg viewBox="0 0 {:g} {:g}" role="img" aria-label="{}" class="plot" style="{}">')
        return opened.format(width, height, self.alt, style) + Markup(inner)  # noqa: S704 - matplotlib's own

    @cached_property
    def png(self) -> bytes:
        """The same as a PNG."""
        return self._saved("png")

    @cached_property
    def _figure(self) -> "Figure":
        from matplotlib.figure import Figure

        figure = Figure(figsize=self.size, layout="constrained")
        self.draw(figure)
        return figure

    def _saved(self, kind: str) -> bytes:
        import matplotlib as mpl

        out = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        with mpl.rc_context(STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph ")  # of classes in scripts that the font lacks
            self._figure.savefig(out, format=kind, dpi=72 if kind == "svg" else DPI, metadata=metadata)
        return out.getvalue()


def in_percent(axes: "Axes", *which: str) -> None:
    """Label the axes `x` and `y` of shares in per cent."""
    from matplotlib.ticker import PercentFormatter

    for name in which:
        getattr(axes, f"{name}axis").set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


def shorten_label(name: str) -> str:
    """A class's name as a plot has room for it."""
    return name if len(name) <= LABEL else f"{name[: LABEL - 1]}…"
