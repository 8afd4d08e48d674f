"""Texts: how long they are, what the tokenizer makes of them, and titles that stand there often."""

from typing import TYPE_CHECKING

import numpy as np

from ..checking.examination import Examination
from ..checking.text_findings import ScriptTokens, TextTokens, repeated
from .drawing import ACCENT, DARK, Plot
from .section import Column, Section, Table, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# titles of the table, and letters of each
MOST_TITLES, LETTERS = 200, 120


def texts(found: Examination) -> Section:
    """Lengths, scripts, titles."""
    subject, tokens = found.subject, found.tokens
    plot = None if tokens is None else _lengths_plot(tokens, subject.config.data.max_len)
    tables: dict[str, Table] = {}
    if tokens is not None:
        columns = [Column("script"), Column("texts", "count"), Column("tokens a character", "number")]
        columns += [Column("unknown tokens", "share"), Column("cut", "share"), Column("")]
        tables["scripts"] = Table(
            "What the tokenizer makes of each script",
            columns,
            [
                (each.script, each.rows, each.per_character, each.unknown, each.cut, _as_read(each))
                for each in tokens.scripts
            ],
        )
    rows = subject.catalog.rows
    titles = rows.titles or rows.texts
    sets = repeated(subject)
    what = "title" if rows.titles is not None else "text"
    if sets:
        lines = [
            (titles[int(part[0])][:LETTERS], len(part), len({subject.labels[row] for row in part}))
            for part in sets[:MOST_TITLES]
        ]
        columns = [Column(what), Column("rows", "count"), Column("classes", "count")]
        tables["repeated"] = Table(f"The most frequent {what}s", columns, lines)
    html = render(
        "checkup_texts.html.j2",
        plot=plot,
        problem=subject.token_problem,
        scripts=tables.get("scripts"),
        repeated=tables["repeated"].first(20) if sets else None,
        columns=", ".join(subject.catalog.text_cols),
        read=0 if tokens is None else len(tokens.rows),
    )
    return Section("texts", "Texts", html, "", {} if plot is None else {plot.name: plot}, tables)


def _as_read(script: ScriptTokens) -> str:
    if script.is_rewritten:
        return "read in Latin letters"
    return "hardly known" if script.is_bad else ""


def _lengths_plot(tokens: TextTokens, most: int) -> Plot:
    lengths = tokens.lengths
    end = int(max(np.quantile(lengths, 0.995), most)) + 2

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.hist(np.minimum(lengths, end), bins=min(40, end), range=(0, end), color=DARK)
        axes.axvline(most, color=ACCENT, linestyle="--", linewidth=1.5)
        axes.set_xlabel(f"tokens of a text; behind the dashed line, at {most}, it is cut")
        axes.set_ylabel("texts")

    middle, cut = int(np.median(lengths)), int((lengths > most).sum())
    said = f"Half the texts have {middle} tokens at most; {cut:,} have more than {most}."
    return Plot("text-lengths", "What stands behind the line isn't read.", said, (5.2, 3.0), draw)
