"""Draw a small shop catalogue that needs both its pictures and its texts to be sorted into classes.

Some classes look alike and differ in their words only (a water bottle and a shampoo bottle); others are sold
under the same brand names and phrases and differ in their pictures only (a mug and a lamp of one collection).
On top of that some rows lack a picture, a text or a description, as rows of real catalogues do.

    python -m demo.catalog OUT [--seed N]
"""

import argparse
import csv
import json
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from . import whole_folder
from .shapes import COLOURS, draw_picture

FORMAT = 1  # raise it when the same parameters draw something else than before
MARKER = "catalog.json"


@dataclass(frozen=True)
class DemoCatalog:
    """Where a drawn catalogue lies, and how much is in it.

    `pictures` counts files, `rows` the rows of train.csv, `test_rows` those of test.csv. The pictures of
    a row are `images/<id>.<suffix>`, or `<id>_1.<suffix>`, `<id>_2.<suffix>` ... if it has several.
    """

    root: Path
    train_csv: Path
    test_csv: Path
    test_labels_csv: Path
    images: Path
    classes: int
    rows: int
    test_rows: int
    pictures: int


@dataclass(frozen=True)
class _Product:
    """A class: what it looks like, and the phrases that only its texts use."""

    category: str
    shape: str
    range: str
    hints: tuple[str, ...]


@dataclass(frozen=True)
class _Range:
    """What several classes share: brands, phrases, and how often a text also gives the class away."""

    brands: tuple[str, ...]
    phrases: tuple[str, ...]
    hint_rate: float


# The four ranges with a low hint rate hold four classes each, which only the picture tells apart. In the others
# the classes share one drawing and are told apart by the hints.
_RANGES: dict[str, _Range] = {
    "home": _Range(
        ("Nordika", "Hemvik", "Aurora Living", "Casa Luna"),
        ("matches the rest of the collection", "wipe with a damp cloth", "designed in Malmö",
         "a quiet piece for any room", "für ein schönes Zuhause", "comes in a plain cardboard box"),
        0.22,
    ),
    "wear": _Range(
        ("Maison Orla", "Fjell & Co", "Tilda", "Rue Nine"),
        ("new this autumn", "true to size", "wash at 30 degrees", "modelled in size M",
         "made in Portugal", "limited run, no restock"),
        0.22,
    ),
    "tech": _Range(
        ("Veltrix", "Onda", "Kestrel", "Numa"),
        ("two year warranty", "charger included", "latest firmware", 'packed in a 13" box',
         "second generation", "refurbished, grade A"),
        0.22,
    ),
    "leisure": _Range(
        ("Lakeside Club", "Bellweather", "Sonno", "Happy Hours"),
        ("for beginners and old hands", "carry bag included", "a gift for the weekend",
         "tested by our own staff", "ages 8 and up", "club edition"),
        0.22,
    ),
    "flask": _Range(
        ("Clearwell", "Aqualis", "Brook"),
        ("500 ml", "twist cap", "recycled plastic", "printed label", "keep upright"),
        0.97,
    ),
    "top": _Range(
        ("Plainfield", "Cotton Yard", "Basic Nine"),
        ("crew neck", "soft jersey", "100 % organic cotton", "short sleeves", "pack of one"),
        0.97,
    ),
    "sneaker": _Range(
        ("Strido", "Pace", "Quickstep"),
        ("white sole", "breathable lining", "laces included", "half sizes on request", "light on the foot"),
        0.97,
    ),
    "dish": _Range(
        ("Stoneware Studio", "Kiln", "Terra"),
        ("glazed by hand", "18 cm across", "dishwasher safe", "non-slip foot", "single piece"),
        0.97,
    ),
    "print": _Range(
        ("Halden Press", "Paper Mill", "Ex Libris"),
        ("hardcover", "240 pages", "ribbon marker", "cloth spine", "thread bound"),
        0.97,
    ),
    "bag": _Range(
        ("Packhorse", "Rucksack & Söhne", "Trailmark"),
        ("20 litres", "padded straps", "front pocket", "water repellent", "lined inside"),
        0.97,
    ),
}  # fmt: skip

_PRODUCTS: tuple[_Product, ...] = (
    _Product("Home / Mugs", "mug", "home", ("holds 300 ml", "for tea or cocoa", "comfortable handle")),
    _Product("Home / Lamps", "lamp", "home", ("E27 bulb not included", "warm evening light", "2 m cable")),
    _Product("Home / Chairs", "chair", "home", ("seat height 46 cm", "stackable", "for the head of the table")),
    _Product("Home / Tables", "table", "home", ("seats four", "120 x 70 cm top", "folding legs")),
    _Product("Fashion / Trousers", "trousers", "wear", ("inside leg 32", "two side pockets", "with belt loops")),
    _Product("Fashion / Dresses", "dress", "wear", ("knee length", "for summer parties", "hidden back zip")),
    _Product("Fashion / Hats", "hat", "wear", ("wide brim", "keeps the sun off", "head size 57")),
    _Product("Fashion / Boots", "boot", "wear", ("sturdy heel", "ankle high", "greased leather")),
    _Product("Electronics / Phones", "phone", "tech", ("dual SIM", "unlocked for any network", "128 GB")),
    _Product("Electronics / Laptops", "laptop", "tech", ("backlit keyboard", "16 GB RAM", "three USB ports")),
    _Product("Electronics / Cameras", "camera", "tech", ("24 megapixels", "optical zoom", "hot shoe")),
    _Product("Electronics / Watches", "watch", "tech", ("steel buckle", "step counter", "sapphire glass")),
    _Product("Music / Guitars", "guitar", "leisure", ("six nylon strings", "spruce front", "with tuner")),
    _Product("Music / Drums", "drum", "leisure", ("pair of sticks", "calf skin head", "marching strap")),
    _Product("Sports / Rackets", "racket", "leisure", ("grip size 3", "strung at 24 kg", "graphite frame")),
    _Product("Sports / Balls", "ball", "leisure", ("size 7", "pump and needle", "for court and street")),
    _Product("Outdoor / Water Bottles", "bottle", "flask",
             ("leakproof on the trail", "keeps drinks cold", "fits a bicycle cage", "for hikers", "no aftertaste")),
    _Product("Beauty & Care / Shampoo", "bottle", "flask",
             ("for dry hair", "gentle on the scalp", "almond scent", "sulphate free wash", "rinse well")),
    _Product("Men, Tees", "shirt", "top",
             ("for him", "broad shoulders", "his everyday favourite", "straight fit", "chest 102 cm")),
    _Product("Women, Tees", "shirt", "top",
             ("for her", "waisted cut", "her everyday favourite", "slim fit", "bust 88 cm")),
    _Product("Sports / Running Shoes", "shoe", "sneaker",
             ("marathon tested", "springy midsole", "for fast kilometres", "neutral pronation", "race day")),
    _Product("Kids / School Shoes", "shoe", "sneaker",
             ("room to grow", "for the playground", "easy for small hands", "indoor gym approved", "name tag")),
    _Product("Kitchen / Bowls", "bowl", "dish",
             ("for soup and salad", "breakfast cereal", "serves pasta", "microwave proof",
              "stack them in the cupboard")),
    _Product("Pets / Feeding Bowls", "bowl", "dish",
             ("for cats and small dogs", "no more spilt kibble", "whisker friendly", "chew resistant", "vet approved")),
    _Product("Books / Novels", "book", "print",
             ("a family secret comes to light", "translated from the Finnish", "love and murder", "winner of the prize",
              "her second story")),
    _Product("Stationery / Notebooks", "book", "print",
             ("dotted paper", "blank pages to fill", "takes fountain pen ink", "numbered sheets", "write it down")),
    _Product("Travel / Daypacks", "backpack", "bag",
             ("cabin size", "passport pocket", "hidden from thieves", "rain cover", "weekend in the city")),
    _Product("School / Satchels", "backpack", "bag",
             ("pencil compartment", "reflective for the way to class", "lunch box fits",
              "from first grade", "A4 folders")),
)  # fmt: skip

# One suffix per picture, in turn, so that even a small catalogue has them all.
_SUFFIXES = (".jpg", ".jpg", ".png", ".jpg", ".jpeg", ".jpg", ".jpg", ".webp", ".jpg", ".jpg", ".jpeg", ".jpg")
_PNG_MODES = ("RGB", "RGBA", "P")
_TOWNS = ("köln", "malmö", "łódź", "são paulo")


@dataclass
class _Row:
    """One row to be; the flaws say what is wrong with it. No row has neither a picture nor a text."""

    product: _Product
    colour: str
    id: str = ""
    flaws: set[str] = field(default_factory=set)
    title: str = ""
    description: str = ""


# How many rows have which flaw. No row has two of these, so that one side can always make up for the other.
_FLAWS = {
    "no picture": 0.05,
    "close-up": 0.03,
    "no text": 0.03,
    "no description": 0.08,
    "vague": 0.03,  # brand and colour only
}
_SEVERAL_PICTURES = 0.12


def _awkward_id(number: int) -> str:
    """A row id that a spreadsheet, a float column, a glob or an ASCII codec would spoil; unique per number.

    None has an underscore, so that no id followed by "_" starts another one.
    """
    forms = (
        f"{number:03d}.{number * 7 % 100:03d}.{number * 13 % 90 + 10}",
        f"{number:03d}",
        f"{_TOWNS[number // 6 % len(_TOWNS)]} {number}",
        f"{number}e5",
        f"lot [{number}] (b)",
        f"00{number:04d}-X",
    )
    return forms[number % len(forms)]


def _plan(rng: random.Random, rows_per_class: int, first_number: int) -> list[_Row]:
    """The rows of one split, in their final order, with ids, colours and flaws."""
    colours = list(COLOURS)
    rows = [_Row(product, rng.choice(colours)) for product in _PRODUCTS for _ in range(rows_per_class)]
    rng.shuffle(rows)
    rest = iter(rows)
    for flaw, share in _FLAWS.items():
        for _ in range(max(1, round(share * len(rows)))):
            next(rest).flaws.add(flaw)
    with_picture = [row for row in rows if "no picture" not in row.flaws]
    for row in rng.sample(with_picture, max(1, round(_SEVERAL_PICTURES * len(rows)))):
        row.flaws.add("several pictures")
    rng.shuffle(rows)
    numbers = list(range(first_number, first_number + len(rows)))
    rng.shuffle(numbers)
    for row, number in zip(rows, numbers, strict=True):
        row.id = _awkward_id(number)
        _write_text(rng, row)
    return rows


def _write_text(rng: random.Random, row: _Row) -> None:
    """Fill in title and description."""
    if "no text" in row.flaws:
        return
    wares = _RANGES[row.product.range]
    brand = rng.choice(wares.brands)
    hints = list(row.product.hints) if rng.random() < wares.hint_rate and "vague" not in row.flaws else []
    rng.shuffle(hints)
    row.title = rng.choice((f"{brand}, {row.colour}", f"{brand} {row.colour}", f"{row.colour.title()} {brand}"))
    if hints and ("no description" in row.flaws or rng.random() < 0.4):
        row.title += f" - {hints.pop()}"
    if "no description" in row.flaws or "vague" in row.flaws:
        return
    phrases = rng.sample(wares.phrases, rng.randint(1, 3)) + hints[: rng.randint(1, 2)]
    rng.shuffle(phrases)
    sentences = [phrase[0].upper() + phrase[1:] + "." for phrase in phrases]
    # A line break inside a field now and then: a CSV file is not read line by line.
    row.description = ("\n" if rng.random() < 0.05 else " ").join(sentences)


def _save(picture: Image.Image, path: Path, number: int) -> None:
    if path.suffix == ".png":
        mode = _PNG_MODES[number // len(_SUFFIXES) % len(_PNG_MODES)]
        (picture.quantize(64) if mode == "P" else picture.convert(mode)).save(path)
    else:
        picture.save(path, quality=88)


def _draw_pictures(rng: random.Random, row: _Row, folder: Path, number: int) -> int:
    """Draw the pictures of `row`, the first being the `number`-th of the catalogue; return how many."""
    if "no picture" in row.flaws:
        return 0
    count = rng.randint(2, 3) if "several pictures" in row.flaws else 1
    for view in range(count):
        picture = draw_picture(rng, row.product.shape, row.colour, close_up="close-up" in row.flaws)
        stem = f"{row.id}_{view + 1}" if count > 1 else row.id
        _save(picture, folder / (stem + _SUFFIXES[(number + view) % len(_SUFFIXES)]), number + view)
    return count


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _found(root: Path, parameters: dict[str, int]) -> DemoCatalog | None:
    """The catalogue at `root` if it is complete and was drawn with `parameters`."""
    try:
        note = json.loads((root / MARKER).read_text(encoding="utf-8"))
        counts = note["counts"]
        catalog = DemoCatalog(
            root=root,
            train_csv=root / "train.csv",
            test_csv=root / "test.csv",
            test_labels_csv=root / "test_labels.csv",
            images=root / "images",
            **{name: int(counts[name]) for name in ("classes", "rows", "test_rows", "pictures")},
        )
        whole = (
            note["parameters"] == parameters
            and all(path.is_file() for path in (catalog.train_csv, catalog.test_csv, catalog.test_labels_csv))
            and sum(1 for _ in catalog.images.iterdir()) == catalog.pictures
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return catalog if whole else None


def draw_catalog(
    out: Path,
    *,
    seed: int = 0,
    rows_per_class: int = 24,
    test_rows_per_class: int = 6,
    progress: Callable[[str], None] | None = None,
) -> DemoCatalog:
    """Draw a catalogue of 28 classes into the folder `out`, or return the one that is there already.

    Writes train.csv (id, title, description, categories), test.csv (id, title, description), test_labels.csv
    (id, categories), the folder images/ and catalog.json with the parameters. `out` appears only once
    everything in it is written. The same parameters always draw the same bytes.

    Args:
        out: the folder to make. A catalogue drawn with other parameters is replaced.
        seed: another seed draws other rows and pictures of the same classes.
        rows_per_class: rows of each class in train.csv, at least 1.
        test_rows_per_class: rows of each class in test.csv, at least 1.
        progress: called with a line of text now and then.

    Raises:
        ValueError: fewer than one row per class.
        FileExistsError: `out` is a file, or holds files but no catalogue.
    """
    if rows_per_class < 1 or test_rows_per_class < 1:
        raise ValueError("rows_per_class and test_rows_per_class must be at least 1")
    out = Path(out)
    parameters = {
        "format": FORMAT, "seed": seed, "rows_per_class": rows_per_class, "test_rows_per_class": test_rows_per_class
    }  # fmt: skip
    if (found := _found(out, parameters)) is not None:
        return found

    rng = random.Random(f"catalogue {seed}")  # noqa: S311
    train = _plan(rng, rows_per_class, first_number=1)
    test = _plan(rng, test_rows_per_class, first_number=1 + len(train))
    with whole_folder(out, MARKER) as part:
        images = part / "images"
        images.mkdir()
        pictures = 0
        for done, row in enumerate(train + test):
            if progress is not None and done % 200 == 0:
                progress(f"drawing row {done} of {len(train) + len(test)}")
            pictures += _draw_pictures(rng, row, images, pictures)
        text_header = ("id", "title", "description")
        _write_csv(
            part / "train.csv",
            (*text_header, "categories"),
            ((row.id, row.title, row.description, row.product.category) for row in train),
        )
        _write_csv(part / "test.csv", text_header, ((row.id, row.title, row.description) for row in test))
        _write_csv(part / "test_labels.csv", ("id", "categories"), ((row.id, row.product.category) for row in test))
        counts = {"classes": len(_PRODUCTS), "rows": len(train), "test_rows": len(test), "pictures": pictures}
        note = {"parameters": parameters, "counts": counts}
        (part / MARKER).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    catalog = _found(out, parameters)
    if catalog is None:  # another process has drawn a different one here in the meantime
        raise RuntimeError(f"{out} was changed while the catalogue was drawn")
    return catalog


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m demo.catalog", description="Draw a small shop catalogue.")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--seed", type=int, default=0, help="draw another catalogue (default 0)")
    arguments = parser.parse_args(argv)
    catalog = draw_catalog(arguments.out, seed=arguments.seed)
    sys.stdout.write(
        f"{catalog.root}: {catalog.rows} rows and {catalog.test_rows} test rows of {catalog.classes} classes, "
        f"{catalog.pictures} pictures\n"
    )


if __name__ == "__main__":
    main()
