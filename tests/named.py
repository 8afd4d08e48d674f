"""A shop whose classes are named by what their pictures show, and a tiny CLIP that was trained on such pairs."""

import csv
import random
from dataclasses import dataclass
from pathlib import Path

from demo.shapes import COLOURS, SHAPES, draw_picture
from demo.tiny_clip import make_tiny_clip

SIZE, STEPS = 32, 250
KNOWN = ("mug", "chair", "hat", "boot", "laptop", "ball", "guitar", "dress")
# labels that are no words, and the sentences' names of them
CODES = {"c1": "mug", "c2": "chair"}
# no row of the training table has it
ADDED = "bottle"


@dataclass(frozen=True)
class NamedShop:
    """Where it lies; test.csv has rows of ADDED too, and labels.csv the labels of test.csv."""

    train_csv: Path
    test_csv: Path
    labels_csv: Path
    classes_csv: Path
    images: Path


def make_aligned(folder: Path) -> Path:
    """The demo's tiny CLIP with its image tower trained towards the texts, as a local-dir: folder."""
    return make_tiny_clip(folder, image_size=SIZE, steps=STEPS)


def draw_named_shop(folder: Path, rows: int = 8, test_rows: int = 8) -> NamedShop:
    """Rows of each class: most with a picture and a title of the shape, some with one of the two only."""
    rng = random.Random(5)
    (folder / "images").mkdir(parents=True)
    label_of = {shape: label for label, shape in CODES.items()}
    tables: dict[str, list[tuple[str, ...]]] = {"train": [], "test": []}
    for split, count, shapes in (("train", rows, KNOWN), ("test", test_rows, (*KNOWN, ADDED))):
        for number in range(count * len(shapes)):
            shape, colour, i = shapes[number % len(shapes)], rng.choice(list(COLOURS)), f"{split}{number}"
            assert shape in SHAPES
            if number % 11:
                draw_picture(rng, shape, colour, size=SIZE).save(folder / "images" / f"{i}.png")
            title = "" if number % 7 == 1 else f"{colour} {shape if rng.random() < 0.4 else 'thing'}"
            tables[split].append((i, title, label_of.get(shape, shape)))
    names = CODES | {ADDED: ADDED}
    _write(folder / "train.csv", ("id", "title", "label"), tables["train"])
    _write(folder / "test.csv", ("id", "title"), [row[:2] for row in tables["test"]])
    _write(folder / "labels.csv", ("id", "label"), [(row[0], row[2]) for row in tables["test"]])
    _write(folder / "classes.csv", ("label", "name"), list(names.items()))
    names_of = (folder / f"{name}.csv" for name in ("train", "test", "labels", "classes"))
    return NamedShop(*names_of, folder / "images")


def _write(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
