"""Rows from a client: whatever the order, number, company and spelling, and what is said of those that can't be scored.

.venv/bin/python -m pytest tests/scoring/test_requests.py
"""

import base64
import threading

import numpy as np
import pandas as pd
import pytest

from mmclf.config import build_config
from mmclf.errors import DeadlineError, RowError, TooLargeError
from mmclf.runtime import device
from mmclf.scoring import requests
from mmclf.scoring.bundle import open_bundle, write_bundle
from mmclf.scoring.fold_models import FoldModels, members_of
from mmclf.scoring.limits import Allowance, Limits
from mmclf.scoring.mixture import Mixture
from mmclf.scoring.predict import Scoring
from mmclf.scoring.requests import RowScorer, explain
from tests.checkpoints import save
from tests.threads import until

# what a PNG begins with; its pixels would take 700 MB
BOMB = b"\x89PNG\r\n\x1a\n" + bytes.fromhex(
    "0000000d49484452000033f4000033f40806000000842c992c000000004944415435af061e"
)


@pytest.fixture(scope="module")
def bundle(tree, catalog, tmp_path_factory):
    """Two fine-tuned folds."""
    folder = tmp_path_factory.mktemp("rows")
    config = build_config(tree)
    checkpoints = [save(folder, config, catalog, fold, "stage2")[0] for fold in (0, 1)]
    write_bundle(folder / "bundle", Mixture.of(checkpoints, config), {})
    return open_bundle(folder / "bundle")


@pytest.fixture(scope="module")
def scorer(bundle):
    return RowScorer(bundle.mixture)


@pytest.fixture(scope="module")
def frame(catalog):
    """The catalogue as a client sends it."""
    pictures = [(catalog.image_root / names[0]).read_bytes() if names else None for names in catalog.rows.pictures]
    return pd.DataFrame({"title": catalog.rows.texts, "description": None, "image": pictures})


def score(scorer, frame, **options):
    found = scorer.score(frame, **{"tta": True, "batch_size": 16} | options)
    assert not found.problems
    return found.probabilities


@pytest.fixture(scope="module")
def expected(bundle, catalog):
    """From the files, as infer does it."""
    config = bundle.config
    where = device.pick_device()
    models = FoldModels(
        members_of(bundle.checkpoints, config.data, config.infer),
        device=where,
        precision=device.pick_precision(where, config.train.amp),
    )
    return np.concatenate([part for _, part in Scoring(catalog.rows, models, config.data, config.infer, quiet=True)])


def test_titles_are_what_a_table_would_give():
    frame = pd.DataFrame({"title": [" red shoe", None, "NA"], "description": ["soft", "flat", ""]})
    rows = requests._read(frame, ("title", "description"), {}, Limits())
    assert (rows.texts, rows.titles) == (["red shoe soft", "flat", ""], ["red shoe", "", ""])
    assert requests._read(frame[["description"]], ("title", "description"), {}, Limits()).titles == ["", "", ""]
    assert requests._read(frame, ("title",), {}, Limits()).titles is None


def test_rows_are_scored_as_files_are(scorer, frame, expected):
    np.testing.assert_allclose(score(scorer, frame), expected, atol=1e-6)


def test_order_number_and_company_change_nothing(scorer, frame, expected):
    """On a CPU in bfloat16 too, where a row alone, or beside longer texts, would come out differently."""
    order = np.random.default_rng(0).permutation(len(frame))
    np.testing.assert_allclose(score(scorer, frame.iloc[order], batch_size=7), expected[order], atol=1e-5)
    alone = [score(scorer, frame.iloc[[row]])[0] for row in range(20)]
    np.testing.assert_allclose(alone, expected[:20], atol=1e-5)


def test_an_empty_frame_gives_none(scorer, frame):
    assert score(scorer, frame.iloc[:0]).shape == (0, len(scorer.classes))


def test_bytes_base64_and_lists_are_the_same(scorer, frame, expected):
    some = frame[frame.image.notna()].head(4)
    content = list(some.image)
    encoded = [base64.b64encode(c).decode() for c in content]
    for pictures in (
        encoded,
        [base64.encodebytes(c).decode() for c in content],  # with line breaks
        [f"data:image/png;base64,{e}" for e in encoded],
        [bytearray(c) for c in content],
        [[c] for c in content],
        [np.array([c, None], dtype=object) for c in content],
        [[e, e] for e in encoded],  # `first` looks at the first
    ):
        np.testing.assert_allclose(score(scorer, some.assign(image=pictures)), expected[some.index], atol=1e-5)


def test_only_text_only_picture_and_neither(scorer, frame):
    both = frame[frame.image.notna()].head(3)
    text = score(scorer, both[["title"]])
    picture = score(scorer, both[["image"]])
    assert not np.allclose(text, picture, atol=1e-3)
    for missing in (None, np.nan, pd.NA, ""):
        emptied = pd.Series([missing] * 3, both.index, dtype=object)
        np.testing.assert_allclose(score(scorer, both.assign(image=emptied)), text, atol=1e-5)
        np.testing.assert_allclose(score(scorer, both.assign(title=emptied)), picture, atol=1e-5)
    nothing = score(scorer, pd.DataFrame({"title": [None, ""]}))
    np.testing.assert_allclose(nothing[0], nothing[1])


def test_several_pictures_are_averaged_where_the_model_does_so(bundle, frame, tmp_path):
    config = bundle.config.model_copy(
        update={"data": bundle.config.data.model_copy(update={"multi_image_mode": "mean_pool"})}
    )
    write_bundle(tmp_path / "b", Mixture.of(bundle.checkpoints, config), {})
    opened = open_bundle(tmp_path / "b")
    pooled = RowScorer(opened.mixture)
    first, second = frame[frame.image.notna()].image.iloc[:2]
    columns = pd.DataFrame({"title": ["x"], "image": [first], "image_2": [second]})
    listed = pd.DataFrame({"title": ["x"], "image": [[first, second]]})
    one = pd.DataFrame({"title": ["x"], "image": [first]})
    np.testing.assert_allclose(score(pooled, columns), score(pooled, listed), atol=1e-6)
    assert np.abs(score(pooled, columns) - score(pooled, one)).max() > 1e-6


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (b"no picture", r"^row 2: image: cannot identify image file \(.*\)$"),
        ("http://127.0.0.1:1/x.jpg", r"^row 2: image: is not base64; .*paths and URLs are not opened"),
        ("/etc/passwd", r"^row 2: image: "),
        ("x.jpg", r"^row 2: image: is not base64"),
        (5, r"^row 2: image: found int"),
        ({"a": 1}, r"^row 2: image: found dict"),
        ([b"no picture"], r"^row 2: image\[0\]: cannot identify"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", r"^row 2: image: cannot identify"),
        (BOMB, r"^row 2: image: 13300 x 13300 pixels are too many .*data\.max_megapixels\)$"),
    ],
)
def test_a_picture_that_is_none_is_named_by_its_row(scorer, frame, expected, cell, said):
    some = frame[frame.image.notna()].head(3)
    pictures = [some.image.iloc[0], cell, some.image.iloc[2]]
    found = scorer.score(some.assign(image=pd.Series(pictures, some.index, dtype=object)), tta=True, batch_size=16)
    assert list(found.problems) == [1]
    assert pd.Series(found.problems).str.match(said).all(), found.problems
    assert np.isnan(found.probabilities[1]).all()
    np.testing.assert_allclose(found.probabilities[[0, 2]], expected[some.index[[0, 2]]], atol=1e-5)


def test_a_text_that_is_none_is_named_and_surrogates_do_no_harm(scorer):
    found = scorer.score(pd.DataFrame({"title": ["a \ud800 b", 5, None, True]}, dtype=object), tta=False, batch_size=4)
    assert found.problems == {
        1: "row 2: title: found 5, but it should be a text",
        3: "row 4: title: found True, but it should be a text",
    }
    assert explain(found.problems, 4) == (
        "2 rows of 4 can't be scored (rows count from 1): row 2: title: found 5, but it should be a text; "
        "row 4: title: found True, but it should be a text. The others are fine: send them again without these."
    )


def test_long_lists_of_problems_are_cut():
    message = explain({row: f"row {row + 1}: bad" for row in range(30)}, 30)
    assert message.startswith("30 rows of 30")
    assert message.endswith("row 10: bad; and 20 more.")


def test_none_of_the_columns_is_an_error(scorer):
    with pytest.raises(RowError, match=r"title, description, image.*found Title, picture"):
        scorer.score(pd.DataFrame({"Title": ["x"], "picture": [b""]}), tta=True, batch_size=4)


def test_no_path_is_opened(scorer, frame, catalog, monkeypatch):
    """A name of a file that exists is no picture."""
    path = next(catalog.image_root / names[0] for names in catalog.rows.pictures if names)
    score(scorer, frame.head(1))  # loads the models
    monkeypatch.setattr("mmclf.data.decoding.read_file", lambda path: pytest.fail(f"opened {path}"))
    monkeypatch.setattr("mmclf.data.pictures.read_file", lambda path: pytest.fail(f"opened {path}"))
    for cell in (str(path), path.as_uri(), path):
        found = scorer.score(pd.DataFrame({"image": [cell]}), tta=True, batch_size=4)
        assert list(found.problems) == [0]


def test_threads_take_turns(scorer, frame, expected):
    results = {}

    def work(number):
        results[number] = score(scorer, frame.iloc[number : number + 9])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, found in results.items():
        np.testing.assert_allclose(found, expected[number : number + 9], atol=1e-5)


def test_a_request_that_is_too_large_is_told_so(scorer, frame, expected):
    some = frame[frame.image.notna()].head(3)
    content = some.image.iloc[0]
    with pytest.raises(TooLargeError, match=r"^3 rows are too many for a request \(at most 2\); send fewer$"):
        score(scorer, some, allowance=Allowance(Limits(rows=2)))
    said = r"^9 characters are too many for a request \(at most 8\); send fewer rows$"
    with pytest.raises(TooLargeError, match=said):
        score(scorer, pd.DataFrame({"title": ["abc"] * 3}), allowance=Allowance(Limits(all_characters=8)))
    large = pd.DataFrame(
        {
            "title": [some.title.iloc[0], "a" * 1001, "b", "c"],
            "image": [content, None, [content] * 3, content + b" " * 2**20],
        }
    )
    limits = Limits(rows=4, characters=1000, pictures=2, picture_bytes=2**20)
    found = scorer.score(large, tta=True, batch_size=16, allowance=Allowance(limits))
    assert found.problems == {
        1: "row 2: title: 1,001 characters are too many (at most 1,000)",
        2: "row 3: image[2]: is one picture too many (at most 2 a row)",
        3: "row 4: image: 1.0 MiB are too many for a picture (at most 1); send a smaller one",
    }
    np.testing.assert_allclose(found.probabilities[0], expected[some.index[0]], atol=1e-5)


class Told(Allowance):
    """Calls a function before each batch."""

    def __init__(self, before_batch):
        super().__init__()
        self.before_batch, self.batches = before_batch, 0

    def check(self, *, waiting=False):
        if not waiting:
            self.batches += 1
            self.before_batch(self)
        super().check(waiting=waiting)


def test_a_request_that_is_given_up_ends_at_the_next_batch(scorer, frame, expected):
    given_up = Told(lambda allowance: allowance.give_up() if allowance.batches == 3 else None)
    with pytest.raises(DeadlineError):
        score(scorer, frame, allowance=given_up)
    assert given_up.batches == 3
    np.testing.assert_allclose(score(scorer, frame), expected, atol=1e-6)


@pytest.mark.parametrize("kept", [True, False])
def test_a_single_row_gets_in_between_the_batches_of_a_large_request(scorer, frame, expected, monkeypatch, kept):
    """Where all models are in memory; else it waits, since they would take them from each other."""
    score(scorer, frame.head(1))
    monkeypatch.setattr(FoldModels, "are_kept", kept)
    done = []
    is_waiting = threading.Event()

    def large():
        found = score(scorer, frame, allowance=Told(lambda _: is_waiting.wait(60)))
        done.append(("large", np.abs(found - expected).max()))

    def small():
        found = score(scorer, frame.iloc[[5]])
        done.append(("small", np.abs(found - expected[5]).max()))

    threads = [threading.Thread(target=large), threading.Thread(target=small)]
    for number, thread in enumerate(threads, start=1):
        thread.start()
        until(lambda number=number: len(scorer._turns._line) == number)
    is_waiting.set()
    for thread in threads:
        thread.join()
    assert [name for name, _ in done] == (["small", "large"] if kept else ["large", "small"])
    assert max(difference for _, difference in done) <= 1e-5


@pytest.mark.parametrize("room", [True, False])
def test_models_stay_where_there_is_room(bundle, frame, expected, monkeypatch, room):
    monkeypatch.setattr(FoldModels, "_has_room", lambda self: room)
    loads = []
    real = requests.FoldModels.backbone
    scorer = RowScorer(bundle.mixture)
    monkeypatch.setattr(FoldModels, "backbone", lambda self, n: loads.append(n in self._backbones) or real(self, n))
    for _ in range(2):
        np.testing.assert_allclose(score(scorer, frame), expected, atol=1e-5)
    kept = [True, True] if room else [False, False]
    assert loads.count(False) == 2 + kept.count(False)
    assert len(scorer._models._backbones) == (2 if room else 1)
