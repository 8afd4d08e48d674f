"""A drawn catalogue with 40 planted faults, and the same without any."""

import csv
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from mmclf.config import Config, DataConfig, build_config
from mmclf.data.catalog import Catalog, read_catalog
from tests.pictures import noise

CLASSES = ("Kitchenware", "Lighting", "Garden tools", "Stationery", "Bedding")
ROWS, TEST_ROWS, SIDE = 200, 40, 160
MOST_MEGAPIXELS = 1


@dataclass
class Shop:
    """A table in the making.

    Attributes:
        folder: of the tables, with the pictures in `images/`.
        train, test: rows by id: title, description, label.
        expected: ids by the key of the finding that should name them, and no others.
        faults: how many were planted.
    """

    folder: Path
    train: dict[str, list[str]] = field(default_factory=dict)
    test: dict[str, list[str]] = field(default_factory=dict)
    expected: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    faults: int = 0

    def picture(self, row_id: str) -> Path:
        return self.folder / "images" / f"{row_id}.jpg"

    def plant(self, key: str, *row_ids: str) -> None:
        self.expected[key].update(row_ids)
        self.faults += 1

    def write(self) -> None:
        for name, rows in (("train", self.train), ("test", self.test)):
            with (self.folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["id", "title", "description", "label"])
                writer.writerows([row_id, *cells] for row_id, cells in rows.items())

    def read(self, **data) -> tuple[Catalog, Catalog]:
        config = DataConfig(**({"max_megapixels": MOST_MEGAPIXELS} | data))
        test = config.model_copy(update={"text_cols": ["title", "description"]})
        images = self.folder / "images"
        train = read_catalog(self.folder / "train.csv", images, config, training=True)
        return train, read_catalog(self.folder / "test.csv", images, test, training=False)


def config_of(**data) -> Config:
    """A configuration that names no backbone in particular."""
    return build_config(
        {
            "data": {"max_megapixels": MOST_MEGAPIXELS, "img_size": 128} | data,
            "model": {"clip_trainable": False, "head": "kernel"},
            "train": {"folds": 4},
        }
    )


def draw_shop(folder: Path, seed: int = 0) -> Shop:
    """Products with pictures and texts of their own; nothing is wrong with them."""
    rng = np.random.default_rng(seed)
    words = [
        "".join(rng.choice(list("bdfgklmnprst"), 3)[k] + rng.choice(list("aeiou"), 3)[k] for k in range(3))
        for _ in range(600)
    ]
    (folder / "images").mkdir(parents=True)
    shop = Shop(folder)
    for n in range(ROWS + TEST_ROWS):
        cells = [" ".join(rng.choice(words, 3)), " ".join(rng.choice(words, 14)), CLASSES[n % len(CLASSES)]]
        row_id = f"p{n:03}"
        (shop.train if n < ROWS else shop.test)[row_id] = cells
        noise(SIDE, SIDE, seed=1000 * seed + n).save(shop.picture(row_id), quality=90)
    return shop


def plant_faults(shop: Shop) -> None:
    """Forty faults of the kinds that a check looks for, each at rows of its own."""
    fresh = iter(list(shop.train))
    ids = lambda count: [next(fresh) for _ in range(count)]  # noqa: E731
    for row_id in ids(2):
        shop.picture(row_id).unlink()
        shop.plant("missing-pictures", row_id)
    for row_id, damage in zip(
        ids(3), (lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"not a picture"), strict=True
    ):
        shop.picture(row_id).write_bytes(damage(shop.picture(row_id).read_bytes()))
        shop.plant("unreadable-pictures", row_id)
    for n, row_id in enumerate(ids(2)):
        noise(1250, 1000, seed=7000 + n).save(shop.picture(row_id), "PNG")  # a JPEG is read at a fraction
        shop.plant("oversized-pictures", row_id)
    for n, row_id in enumerate(ids(2)):
        noise(20 + n, 24, seed=7100 + n).save(shop.picture(row_id))
        shop.plant("tiny-pictures", row_id)
    for n, row_id in enumerate(ids(2)):
        noise(*((900, 140) if n else (140, 700)), seed=7200 + n).save(shop.picture(row_id))
        shop.plant("elongated-pictures", row_id)
    for row_id, colour in zip(ids(2), ("white", "#336699"), strict=True):
        Image.new("RGB", (SIDE, SIDE), colour).save(shop.picture(row_id))
        shop.plant("blank-pictures", row_id)
    for row_id in ids(2):
        shop.train[row_id][:2] = ["", ""]
        shop.plant("missing-texts", row_id)
    for row_id in ids(2):
        shop.train[row_id][:2] = ["", ""]
        shop.picture(row_id).unlink()
        shop.plant("nothing-to-learn-from", row_id)
        shop.expected["missing-pictures"].add(row_id)
        shop.expected["missing-texts"].add(row_id)
    _plant_duplicates(shop, ids)
    for row_id in ids(2):
        shop.train[row_id][1] += f" {shop.train[row_id][2].upper()}."
        shop.plant("label-in-text", row_id)
    for row_id, label in zip(ids(2), ("kitchenware", "Stationary"), strict=True):
        shop.train[row_id][2] = label
        shop.plant("near-equal-labels", row_id)
    for label in ("Antiques", "Fishing rods"):
        few = ids(3)
        for row_id in few:
            shop.train[row_id][2] = label
        shop.plant("small-classes", *few)
    shop.expected["small-classes"] |= shop.expected["near-equal-labels"]
    for row_id, seen in zip(list(shop.test)[:2], ids(2), strict=True):
        shop.test[row_id][:2] = shop.train[seen][:2]
        shop.plant("leak-into-test", row_id)
    same = ids(1)[0]
    shop.test[same] = ["Some words of its own", "that no other product has in its text at all", ""]
    shop.plant("test-ids", same)
    shop.expected["leak-into-test"].add(same)  # it has the same picture, too


def _plant_duplicates(shop: Shop, ids) -> None:
    for first, second in (ids(2) for _ in range(3)):
        shop.picture(second).write_bytes(shop.picture(first).read_bytes())
        shop.train[second][2] = shop.train[first][2]
        shop.plant("duplicate-pictures", first, second)
    changes = (
        lambda picture: picture.resize((100, 100)),
        lambda picture: ImageEnhance.Brightness(picture).enhance(0.9),
        lambda picture: picture.resize((320, 300)),
    )
    for change in changes:
        first, second = ids(2)
        with Image.open(shop.picture(first)) as picture:
            change(picture).save(shop.picture(second), quality=55)
        shop.train[second][2] = shop.train[first][2]
        shop.plant("duplicate-pictures", first, second)
    for number in range(4):
        first, second = ids(2)
        title, text, label = shop.train[first]
        shop.train[second] = [f"{title} {number}", text if number else f"{text.upper()}!", label]
        shop.plant("duplicate-texts", first, second)
    for _ in range(2):
        first, second = ids(2)
        shop.picture(second).write_bytes(shop.picture(first).read_bytes())
        shop.train[second][:2] = shop.train[first][:2]
        shop.plant("contradictions", first, second)
        for key in ("duplicate-pictures", "duplicate-texts", "repeated-titles"):
            shop.expected[key] |= {first, second}
    first, second = ids(2)
    shop.picture(second).write_bytes(shop.picture(first).read_bytes())
    shop.plant("same-picture-other-label", first, second)
    shop.expected["duplicate-pictures"] |= {first, second}
    first, second = ids(2)
    shop.train[second][:2] = shop.train[first][:2]
    shop.plant("same-text-other-label", first, second)
    for key in ("duplicate-texts", "repeated-titles"):
        shop.expected[key] |= {first, second}
