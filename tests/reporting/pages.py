"""Reports that are drawn, and what is asked of their pages."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
from PIL import Image

from mmclf.data.rows import Rows
from mmclf.evaluation.probabilities import ProbabilityTable
from mmclf.reporting.evidence import Evidence, FoldHistory

VOID = {"meta", "img", "br", "input", "link", "hr"}


def draw_evidence(rows=60, classes=4, *, skill=3.0, folds=5, folder=None, **more) -> Evidence:
    """Rows with labels and probabilities; with texts, and pictures where there is a folder for them."""
    rng = np.random.default_rng(0)
    targets = np.concatenate([np.arange(classes), rng.integers(0, classes, rows - classes)])
    scores = rng.normal(size=(rows, classes)) + skill * np.eye(classes)[targets]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    names = tuple(f"class {n:03}" for n in range(classes))
    ids = [f"p{row}" for row in range(rows)]
    held_out = None if folds is None else np.arange(rows) % folds
    table = ProbabilityTable(ids, names, probabilities.astype(np.float32), held_out, [names[t] for t in targets])
    products = None if folder is None else draw_rows(folder, ids)
    return Evidence(**({"title": "a run", "facts": [("data", "drawn")], "table": table, "rows": products} | more))


def draw_rows(folder, ids) -> Rows:
    """Of five rows one has no picture, one two, one a damaged one and one a file that isn't there any more."""
    pictures = []
    for row, name in enumerate(ids):
        files = [(f"{name}.png",), (), (f"{name}.png", f"{name}_1.png"), (f"{name}.jpg",), (f"{name}_gone.png",)][
            row % 5
        ]
        for file in files:
            if file.endswith(".jpg"):
                (folder / file).write_bytes(b"no picture")
            elif "gone" not in file:
                Image.new("RGB", (200, 120), (row * 3 % 256, 80, 120)).save(folder / file)
        pictures.append(files)
    titles = [f"thing {row}" if row % 7 else "" for row in range(len(ids))]
    texts = [f"{title} {'word ' * (row % 60)}".strip() for row, title in enumerate(titles)]
    return Rows(list(ids), texts, pictures, folder, titles)


def draw_histories(folds=3, epochs=4) -> list[FoldHistory]:
    """Curves that rise."""
    steps = np.arange(1, epochs + 1)
    return [
        FoldHistory(fold, tuple(1 / steps), tuple(1 / steps + 0.1 * fold), tuple(0.5 + 0.05 * steps + 0.01 * fold))
        for fold in range(folds)
    ]


class Page(HTMLParser):
    """A page that was read, and what is wrong with it.

    Attributes:
        text: what it says, without markup.
        elements: each element's name and attributes, in their order.
        tables: cells of each table's rows, by its caption.
        problems: sentences.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.problems = "", []
        self.elements: list[tuple[str, dict]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(html)
        self.close()
        self._check()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"</{tag}> ends another element at {self.getpos()}")
        if tag == "table":
            self.tables[self._caption] = self._rows
            if not self._caption:
                self.problems.append("a table without a caption")

    def handle_data(self, data):
        if self._open and self._open[-1] in ("script", "style"):
            return
        self.text += data
        if "caption" in self._open:
            self._caption += data
        elif "table" in self._open and ("td" in self._open or "th" in self._open):
            self._rows[-1][-1] += data.strip()

    def all(self, tag) -> list[dict]:
        """The attributes of each element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def _check(self) -> None:
        say = self.problems.append
        ids = [attributes["id"] for _, attributes in self.elements if "id" in attributes]
        if len(ids) != len(set(ids)):
            say(f"ids that are there twice: {sorted(i for i in set(ids) if ids.count(i) > 1)[:3]}")
        for tag, attributes in self.elements:
            for name in ("src", "href", "xlink:href", "action", "poster", "srcset"):
                value = attributes.get(name, "")
                if value and not value.startswith(("#", "data:image/")):
                    say(f"<{tag} {name}={value[:60]}> asks for something outside the page")
                if value.startswith("#") and value[1:] not in ids:
                    say(f"{value} leads nowhere")
            for name in ("aria-labelledby",):
                if name in attributes and attributes[name] not in ids:
                    say(f"{name}={attributes[name]} names nothing")
            if tag == "img" and not attributes.get("alt"):
                say("a picture without a text")
            if tag == "svg" and not attributes.get("aria-label"):
                say("a plot without a text")
            if tag == "th" and attributes.get("scope") not in ("row", "col"):
                say("a heading of a table without a scope")
            if attributes.get("role") == "region" and not attributes.get("aria-label"):
                say("a region without a name")
            if any(name.startswith("on") for name in attributes):
                say(f"<{tag}> holds a script")
        levels = [int(tag[1]) for tag, _ in self.elements if re.fullmatch(r"h[1-6]", tag)]
        if levels[:1] != [1] or levels.count(1) != 1 or any(b > a + 1 for a, b in pairwise(levels)):
            say(f"headings of levels {levels}")
        if not self.all("html")[0].get("lang") or len(self.all("main")) != 1 or len(self.all("title")) != 1:
            say("no language, title or main part")
        if self._open:
            say(f"not ended: {self._open}")
