"""The demo's catalogue and tiny CLIP: same bytes each time, all the oddities, and neither side alone enough."""

import csv
import random
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from demo import catalog as catalog_module
from demo import tiny_clip, whole_folder
from demo.catalog import DemoCatalog, draw_catalog
from demo.shapes import COLOURS, SHAPES, draw_picture
from demo.tiny_clip import make_tiny_clip

Row = dict[str, str]


def read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def pictures_of(shop: DemoCatalog) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(shop.images.iterdir()):
        found.setdefault(path.stem.partition("_")[0], []).append(path)
    return found


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> DemoCatalog:
    """The catalogue of the demo, with the default parameters."""
    return draw_catalog(tmp_path_factory.mktemp("full") / "catalog")


@pytest.fixture(scope="module")
def train(full: DemoCatalog) -> list[Row]:
    return read(full.train_csv)


@pytest.fixture(scope="module")
def test(full: DemoCatalog) -> list[Row]:
    labels = {row["id"]: row["categories"] for row in read(full.test_labels_csv)}
    return [row | {"categories": labels[row["id"]]} for row in read(full.test_csv)]


# the catalogue


def test_the_same_seed_draws_the_same_bytes(tmp_path: Path) -> None:
    first = draw_catalog(tmp_path / "a", rows_per_class=2, test_rows_per_class=1)
    second = draw_catalog(tmp_path / "b", rows_per_class=2, test_rows_per_class=1)
    other = draw_catalog(tmp_path / "c", rows_per_class=2, test_rows_per_class=1, seed=1)
    assert contents(first.root) == contents(second.root)
    assert first.train_csv.read_bytes() != other.train_csv.read_bytes()
    assert not contents(first.images).items() & contents(other.images).items()


def test_counts(full: DemoCatalog, train: list[Row], test: list[Row]) -> None:
    assert full.classes == len({row["categories"] for row in train}) == 28
    assert full.rows == len(train) == 28 * 24
    assert full.test_rows == len(test) == 28 * 6
    assert {row["categories"] for row in test} == {row["categories"] for row in train}
    assert full.pictures == len(list(full.images.iterdir())) > full.rows
    assert list(read(full.test_csv)[0]) == ["id", "title", "description"]


def test_it_has_the_oddities_of_a_real_catalogue(full: DemoCatalog, train: list[Row], test: list[Row]) -> None:
    pictures = pictures_of(full)
    for rows in (train, test):
        assert any(row["id"] not in pictures for row in rows)
        assert any(len(pictures.get(row["id"], ())) > 1 for row in rows)
        assert any(not row["title"] and not row["description"] for row in rows)
        assert any(row["title"] and not row["description"] for row in rows)
        assert all(row["title"] or row["id"] in pictures for row in rows), "nothing to go by"
    assert any("\n" in row["description"] for row in train)
    assert any('"' in row["description"] for row in train)
    assert any("," in row["categories"] for row in train)


def test_every_picture_belongs_to_a_row_and_can_be_read(full: DemoCatalog, train: list[Row], test: list[Row]) -> None:
    pictures = pictures_of(full)
    assert set(pictures) <= {row["id"] for row in train + test}
    modes = set()
    for path in (path for paths in pictures.values() for path in paths):
        with Image.open(path) as picture:
            picture.load()
            assert picture.size == (96, 96)
            modes.add(picture.mode)
    assert modes == {"RGB", "RGBA", "P"}
    assert {path.suffix for paths in pictures.values() for path in paths} == {".jpg", ".png", ".jpeg", ".webp"}


def test_ids_are_awkward_and_unmistakable(train: list[Row], test: list[Row]) -> None:
    ids = [row["id"] for row in train + test]
    assert "007" in ids
    for sign in (" ", ".", "ö", "[", "e5"):
        assert any(sign in i for i in ids), sign
    assert len({i.casefold() for i in ids}) == len(ids), "would be one file on some file systems"
    assert not any("_" in i for i in ids), "so none followed by _ starts another"


def test_all_suffixes_occur_in_the_smallest_catalogue(tmp_path: Path) -> None:
    shop = draw_catalog(tmp_path / "small", rows_per_class=1, test_rows_per_class=1)
    assert {path.suffix for path in shop.images.iterdir()} == {".jpg", ".png", ".jpeg", ".webp"}


def test_text_alone_is_not_enough(train: list[Row], test: list[Row]) -> None:
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), RidgeClassifier())
    model.fit([f"{r['title']} . {r['description']}" for r in train], [r["categories"] for r in train])
    texts = [f"{r['title']} . {r['description']}" for r in test]
    assert 0.5 < model.score(texts, [r["categories"] for r in test]) < 0.75


def test_pictures_alone_are_not_enough(full: DemoCatalog, train: list[Row], test: list[Row]) -> None:
    pictures = pictures_of(full)

    def pixels(row: Row) -> np.ndarray:
        if row["id"] not in pictures:
            return np.zeros(24 * 24 * 3)
        with Image.open(pictures[row["id"]][0]) as picture:
            return np.asarray(picture.convert("RGB").resize((24, 24)), dtype=float).ravel()

    model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=3000))
    model.fit([pixels(row) for row in train], [row["categories"] for row in train])
    # far above chance, which is 1 in 28, yet far from solved
    assert 0.2 < model.score([pixels(row) for row in test], [row["categories"] for row in test]) < 0.7


def test_some_classes_share_their_pictures_and_others_their_texts(train: list[Row]) -> None:
    products = catalog_module._PRODUCTS
    shapes = [product.shape for product in products]
    assert set(shapes) == set(SHAPES)
    assert sum(shapes.count(shape) > 1 for shape in shapes) == 12
    titles: dict[str, set[str]] = {}
    for row in train:
        titles.setdefault(row["title"], set()).add(row["categories"])
    assert sum(len(classes) > 1 for title, classes in titles.items() if title) > 20


def test_a_complete_catalogue_is_not_drawn_again(tmp_path: Path) -> None:
    lines: list[str] = []
    shop = draw_catalog(tmp_path / "shop", rows_per_class=1, test_rows_per_class=1, progress=lines.append)
    assert lines
    lines.clear()
    assert draw_catalog(tmp_path / "shop", rows_per_class=1, test_rows_per_class=1, progress=lines.append) == shop
    assert not lines
    # with a picture gone it is not complete, with other parameters another one
    next(shop.images.iterdir()).unlink()
    assert draw_catalog(tmp_path / "shop", rows_per_class=1, test_rows_per_class=1, progress=lines.append) == shop
    assert lines
    assert draw_catalog(tmp_path / "shop", rows_per_class=2, test_rows_per_class=1).rows == 56
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_an_interrupted_drawing_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if not line.startswith("drawing row 0 "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_catalog(tmp_path / "shop", rows_per_class=9, test_rows_per_class=1, progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_a_failed_replacement_keeps_what_was_there(tmp_path: Path) -> None:
    shop = draw_catalog(tmp_path / "shop", rows_per_class=1, test_rows_per_class=1)
    before = contents(shop.root)
    with pytest.raises(ZeroDivisionError), whole_folder(shop.root, catalog_module.MARKER):
        raise ZeroDivisionError
    assert contents(shop.root) == before


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="choose another folder"):
        draw_catalog(tmp_path, rows_per_class=1, test_rows_per_class=1)
    with pytest.raises(FileExistsError, match="choose another folder"):
        make_tiny_clip(tmp_path, steps=0)
    assert contents(tmp_path) == {"precious.txt": b"mine"}


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        draw_catalog(tmp_path / "shop", rows_per_class=0)


def test_catalog_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "_PRODUCTS", catalog_module._PRODUCTS[:3])
    catalog_module.main([str(tmp_path / "shop"), "--seed", "3"])
    assert "72 rows and 18 test rows of 3 classes" in capsys.readouterr().out


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_shows_its_colour(shape: str) -> None:
    """Drawn twice alike but for the colour, a picture differs where the product is, and there only."""
    red, blue = (
        np.asarray(draw_picture(random.Random(5), shape, colour, ground="white"), dtype=int)
        for colour in ("red", "blue")
    )
    share = (np.abs(red - blue).sum(axis=2) > 60).mean()
    assert 0.015 < share < 0.6


def test_close_ups_fill_the_picture_differently() -> None:
    plain, close = (
        np.asarray(draw_picture(random.Random(5), "mug", "red", size=48, close_up=close_up))
        for close_up in (False, True)
    )
    assert plain.shape == close.shape == (48, 48, 3)
    assert not np.array_equal(plain, close)


# the tiny CLIP


@pytest.fixture(scope="module")
def random_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_clip(tmp_path_factory.mktemp("tiny") / "clip", steps=0)


def test_open_clip_loads_it_and_encodes_both_sides(random_clip: Path) -> None:
    name = f"local-dir:{random_clip}"
    model = open_clip.create_model(name, require_pretrained=True).eval()
    assert any(isinstance(module, open_clip.transformer.QuickGELU) for module in model.modules())
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg), False
    )
    pictures = torch.stack([transform(draw_picture(random.Random(i), "mug", "red")) for i in range(2)])
    tokens = open_clip.get_tokenizer(name)(["a red mug", "köln, 12 blue lamps"])
    assert tokens.shape == (2, 32)
    with torch.inference_mode():
        images, texts = model.encode_image(pictures), model.encode_text(tokens)
    assert images.shape == texts.shape == (2, 128)
    assert images.isfinite().all()
    assert texts.isfinite().all()
    assert not torch.allclose(texts[0], texts[1])


def test_pretraining_is_repeatable_and_leaves_the_callers_generators(tmp_path: Path) -> None:
    states = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    first = make_tiny_clip(tmp_path / "a", image_size=32, steps=5)
    after = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    assert torch.equal(states[0], after[0])
    assert states[1:] == after[1:]
    torch.rand(3)
    with torch.no_grad():
        second = make_tiny_clip(tmp_path / "b", image_size=32, steps=5)
    assert contents(first) == contents(second)
    other = make_tiny_clip(tmp_path / "c", image_size=32, steps=5, seed=1)
    assert (first / tiny_clip.WEIGHTS).read_bytes() != (other / tiny_clip.WEIGHTS).read_bytes()


def test_a_few_steps_already_lower_the_loss(tmp_path: Path) -> None:
    lines: list[str] = []
    make_tiny_clip(tmp_path / "clip", image_size=32, steps=101, progress=lines.append)
    losses = [float(line.rpartition(" ")[2]) for line in lines if "loss" in line]
    assert losses[-1] < losses[0] - 0.2


def test_a_complete_tiny_clip_is_not_made_again(random_clip: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(random_clip, tmp_path / "clip"))
    before = (folder / tiny_clip.WEIGHTS).stat().st_mtime_ns
    assert make_tiny_clip(folder, steps=0) == folder
    assert (folder / tiny_clip.WEIGHTS).stat().st_mtime_ns == before
    make_tiny_clip(folder, steps=0, seed=1)
    assert (folder / tiny_clip.WEIGHTS).stat().st_mtime_ns != before
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


def test_an_interrupted_pretraining_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if "step" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_tiny_clip(tmp_path / "clip", image_size=32, steps=2, progress=interrupt)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("image_size", "steps", "named"), [(40, 0, "image_size"), (0, 0, "image_size"), (64, -1, "steps")]
)
def test_wrong_parameters_are_refused(tmp_path: Path, image_size: int, steps: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make_tiny_clip(tmp_path / "clip", image_size=image_size, steps=steps)
    assert not list(tmp_path.iterdir())


def test_making_one_says_nothing_by_itself(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    make_tiny_clip(tmp_path / "clip", image_size=32, steps=1)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_tiny_clip_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_tiny_clip, "__kwdefaults__", {**(make_tiny_clip.__kwdefaults__ or {}), "steps": 0})
    tiny_clip.main([str(tmp_path / "clip")])
    assert capsys.readouterr().out == f"local-dir:{tmp_path / 'clip'}\n"


def test_pictures_know_only_their_colours_and_shapes() -> None:
    with pytest.raises(KeyError):
        draw_picture(random.Random(0), "unicorn", next(iter(COLOURS)))
