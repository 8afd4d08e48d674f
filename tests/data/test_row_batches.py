"""python -m pytest tests/data/test_row_batches.py"""

import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mmclf.data.images import Transform
from mmclf.data.pictures import Pictures
from mmclf.data.row_batches import NO_TARGET, EpochSampler, Loader, RowDataset, Sample, ahead
from mmclf.data.rows import Rows
from mmclf.data.text import Tokens, text_batches
from mmclf.data.views import EVAL
from mmclf.errors import PictureError
from mmclf.runtime.distributed import World
from tests.pictures import load_picture

SIZE = 16
TRANSFORM = Transform(SIZE, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
# id -> its pictures; d has none
SHOP = {
    "a": ("a.png",),
    "b": ("b.png", "b_1.png", "b_2.png"),
    "c": ("c.png",),
    "d": (),
    "e": ("e.png", "e_1.png"),
    "f": ("f.png",),
    "g": ("g.png",),
}


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for name in (name for names in SHOP.values() for name in names):
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 30)).save(tmp_path / name)
    return tmp_path


def make_rows(root, ids=tuple(SHOP)) -> Rows:
    return Rows(list(ids), [""] * len(ids), [SHOP[i] for i in ids], root)


def make_tokens(count) -> Tokens:
    input_ids = torch.arange(count * 4, dtype=torch.int32).reshape(count, 4)
    return Tokens(input_ids, input_ids % 4 < 3, torch.zeros(count, dtype=torch.bool))


def make_loader(catalog, rows=None, *, mode="first", seed=42, targets=None, batch_size=3, num_workers=0, **options):
    return Loader(
        RowDataset(catalog, Pictures(catalog.picture_source, TRANSFORM), mode, seed),
        make_tokens(len(catalog)),
        np.zeros(len(catalog), dtype=np.int64) if targets is None else targets,
        np.arange(len(catalog)) if rows is None else np.array(rows),
        batch_size=batch_size,
        num_workers=num_workers,
        **options,
    )


def views_by_id(loader, catalog):
    """{id: its pictures} of one pass."""
    found = {}
    for batch in loader:
        for position, row in enumerate(batch.rows.tolist()):
            found[catalog.ids[row]] = batch.images[batch.picture_row == position]
    return found


def train_views(catalog, epoch, **options):
    loader = make_loader(catalog, shuffle_seed=1, **options)
    loader.set_epoch(epoch)
    return views_by_id(loader, catalog)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# what a batch holds


def test_a_batch_holds_its_rows_in_order(root):
    catalog = make_rows(root)
    targets = np.array([3, 1, 0, 2, 1, 0, 3])
    loader = make_loader(catalog, [6, 0, 3, 1], targets=targets, batch_size=3)
    first, last = loader
    assert len(loader) == 2
    assert (len(first), len(last)) == (3, 1)
    assert first.rows.tolist() == [6, 0, 3]
    assert first.targets.tolist() == [3, 3, 2]
    assert first.picture_row.tolist() == [0, 1, 2]
    assert first.images.shape == (3, 3, SIZE, SIZE)
    assert first.images.dtype == torch.uint8
    assert first.input_ids.tolist() == [[24, 25, 26, 27], [0, 1, 2, 3], [12, 13, 14, 15]]
    assert first.input_ids.dtype == torch.int64
    assert first.attention_mask.tolist() == [[True, True, True, False]] * 3
    assert torch.equal(first.images[1], TRANSFORM.eval_view(load_picture(root / "a.png")))
    assert last.rows.tolist() == [1]


def test_no_rows_make_no_batches(root):
    loader = make_loader(make_rows(root), np.array([], dtype=np.int64))
    assert len(loader) == 0
    assert list(loader) == []


def test_a_row_without_a_picture_gets_the_placeholder(root):
    catalog = make_rows(root)
    for mode in ("first", "random", "mean_pool"):
        for views in (views_by_id(make_loader(catalog, mode=mode), catalog), train_views(catalog, 0, mode=mode)):
            assert torch.equal(views["d"], TRANSFORM.placeholder()[None])


def test_to_moves_every_tensor_and_keeps_the_rest(root):
    (root / "a.png").write_bytes(b"")
    batch = next(iter(make_loader(make_rows(root))))
    moved = batch.to(torch.device("meta"))
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 6
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.unreadable == batch.unreadable != ()


# one row, whatever is around it


@pytest.mark.parametrize("mode", ["first", "random", "mean_pool"])
def test_workers_and_batch_size_change_nothing(root, mode):
    catalog = make_rows(root)
    expected = [train_views(catalog, epoch, mode=mode) for epoch in (1, 2)]
    assert not equal(*expected)
    loader = make_loader(catalog, mode=mode, shuffle_seed=1, num_workers=2, batch_size=2)
    for epoch, views in zip((1, 2), expected, strict=True):  # the workers live on from epoch to epoch
        loader.set_epoch(epoch)
        assert equal(views_by_id(loader, catalog), views)
        assert equal(train_views(catalog, epoch, mode=mode, batch_size=7), views)
    evaluated = views_by_id(make_loader(catalog, mode=mode), catalog)
    assert equal(views_by_id(make_loader(catalog, mode=mode, num_workers=2, batch_size=4), catalog), evaluated)


def test_batches_come_in_the_same_order_with_workers(root):
    catalog = make_rows(root)
    orders = []
    for num_workers in (0, 2):
        loader = make_loader(catalog, shuffle_seed=5, num_workers=num_workers, batch_size=2)
        loader.set_epoch(3)
        orders.append([batch.rows.tolist() for batch in loader])
    assert orders[0] == orders[1]


def test_batches_that_are_given_up_may_be_cleared_away_by_their_own_thread(monkeypatch):
    ignored, held = [], []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    given_up, cleared = threading.Event(), threading.Event()

    def source():
        yield 1
        given_up.wait()
        held.clear()  # the last that knows of the batches, as the garbage collector may in any thread
        cleared.set()
        yield 2

    held.append(ahead(source()))
    assert next(held[0]) == 1
    given_up.set()
    assert cleared.wait(60)
    assert not held
    assert not ignored


@pytest.mark.parametrize("mode", ["first", "random", "mean_pool"])
def test_views_do_not_depend_on_the_order_of_the_table_or_on_other_rows(root, mode):
    expected = train_views(make_rows(root), 4, mode=mode)
    assert equal(train_views(make_rows(root, tuple(SHOP)[::-1]), 4, mode=mode), expected)
    few = train_views(make_rows(root, ("e", "b")), 4, mode=mode)
    assert equal(few, {key: expected[key] for key in ("e", "b")})


def test_views_depend_on_seed_epoch_and_id(root):
    catalog = make_rows(root)
    views = train_views(catalog, 1)
    assert equal(train_views(catalog, 1), views)
    assert not torch.equal(train_views(catalog, 2)["a"], views["a"])
    assert not torch.equal(train_views(catalog, 1, seed=43)["a"], views["a"])
    # the same file under another id is cropped otherwise
    (root / "c.png").write_bytes((root / "a.png").read_bytes())
    again = train_views(catalog, 1)
    assert torch.equal(again["a"], views["a"])
    assert not torch.equal(again["a"], again["c"])


def test_loading_draws_nothing_from_the_callers_generator(root):
    catalog = make_rows(root)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    RowDataset(catalog, Pictures(root, TRANSFORM), "random", 42)[Sample(1, 3)]
    list(EpochSampler(np.arange(7), 3, shuffle_seed=1))
    assert torch.equal(torch.rand(3), expected)


# several pictures


def test_first_uses_the_first_picture(root):
    catalog = make_rows(root)
    views = views_by_id(make_loader(catalog, mode="first"), catalog)
    for key in "abcefg":
        assert torch.equal(views[key], TRANSFORM.eval_view(load_picture(root / SHOP[key][0]))[None])


def test_random_uses_every_picture_in_its_time_one_an_epoch(root):
    catalog = make_rows(root)
    # plain colours tell the pictures apart through any crop
    for value, name in enumerate(SHOP["b"]):
        Image.new("RGB", (40, 30), (100 * value,) * 3).save(root / name)
    colours = {float(TRANSFORM.eval_view(load_picture(root / name))[0, 0, 0]) for name in SHOP["b"]}
    seen = []
    for epoch in range(1, 21):
        (view,) = train_views(catalog, epoch, mode="random")["b"]
        seen.append(float(view[0, 0, 0]))
    assert set(seen) == colours
    assert len(set(seen[:3])) > 1 or len(set(seen[3:6])) > 1


def test_random_evaluates_on_the_first_picture(root):
    catalog = make_rows(root)
    assert equal(
        views_by_id(make_loader(catalog, mode="random"), catalog),
        views_by_id(make_loader(catalog, mode="first"), catalog),
    )


def test_mean_pool_brings_all_pictures_with_their_row(root):
    catalog = make_rows(root)
    (batch,) = make_loader(catalog, mode="mean_pool", batch_size=7)
    assert batch.picture_row.tolist() == [0, 1, 1, 1, 2, 3, 4, 4, 5, 6]
    assert batch.images.shape == (10, 3, SIZE, SIZE)
    for position, name in [(1, "b.png"), (2, "b_1.png"), (3, "b_2.png"), (7, "e_1.png"), (9, "g.png")]:
        assert torch.equal(batch.images[position], TRANSFORM.eval_view(load_picture(root / name)))


def test_mean_pool_crops_each_picture_of_a_row_in_its_own_way(root):
    catalog = make_rows(root)
    (root / "e_1.png").write_bytes((root / "e.png").read_bytes())
    first, second = train_views(catalog, 1, mode="mean_pool")["e"]
    assert not torch.equal(first, second)


# unreadable pictures


@pytest.mark.parametrize("num_workers", [0, 2])
def test_unreadable_pictures_become_black_and_are_counted_once(root, num_workers):
    catalog = make_rows(root)
    (root / "a.png").write_bytes(b"")
    (root / "b_1.png").unlink()
    loader = make_loader(catalog, mode="mean_pool", num_workers=num_workers)
    for _ in range(2):
        views = views_by_id(loader, catalog)
    assert torch.equal(views["a"], TRANSFORM.placeholder()[None])
    kept = [TRANSFORM.eval_view(load_picture(root / name)) for name in ("b.png", "b_2.png")]
    assert torch.equal(views["b"], torch.stack(kept))
    assert len(loader.unreadable) == 2
    assert {sentence.partition(":")[0] for sentence in loader.unreadable} == {"a.png", "b_1.png"}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_unreadable_picture_is_an_error_where_that_is_asked_for(root, num_workers):
    catalog = make_rows(root)
    (root / "f.png").write_text("no picture")
    message = "no error"
    # not by pytest.raises: it keeps the traceback, and workers that only the garbage collector stops take 5 s each
    try:
        list(make_loader(catalog, num_workers=num_workers, on_bad_image="error"))
    except PictureError as error:
        message = str(error)
    assert message.startswith("unreadable picture f.png: cannot identify image file")
    assert message.endswith("mend or remove it, or set data.on_bad_image=placeholder")


def test_a_missing_picture_is_no_error_where_the_table_has_none(root):
    assert len(list(make_loader(make_rows(root), on_bad_image="error"))) == 3


# the order


def test_evaluation_keeps_the_order_of_the_rows():
    rows = np.array([5, 3, 9, 0])
    assert list(EpochSampler(rows, 3)) == [[Sample(5, EVAL), Sample(3, EVAL), Sample(9, EVAL)], [Sample(0, EVAL)]]


def test_training_shuffles_by_seed_and_epoch():
    rows = np.arange(100, 150)

    def order(seed, epoch):
        sampler = EpochSampler(rows, 8, shuffle_seed=seed)
        sampler.epoch = epoch
        batches = list(sampler)
        assert len(batches) == len(sampler) == 7
        assert all(sample.epoch == epoch for batch in batches for sample in batch)
        return [sample.row for batch in batches for sample in batch]

    orders = [order(seed, epoch) for seed, epoch in [(1, 0), (1, 1), (1, 2), (2, 1)]]
    for one in orders:
        assert sorted(one) == rows.tolist()
        assert one != rows.tolist()
    assert len({tuple(one) for one in orders}) == 4
    assert order(1, 2) == orders[2]
    assert rows.tolist() == list(range(100, 150))  # the caller's array stays in order


# several processes


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_each_batch_of_one_process(size):
    rows = np.arange(50, 60)
    alone = EpochSampler(rows, 4, shuffle_seed=1)
    samplers = [EpochSampler(rows, 4, shuffle_seed=1, world=World(rank, size)) for rank in range(size)]
    for sampler in (alone, *samplers):
        sampler.epoch = 2
    shares = [list(sampler) for sampler in samplers]
    assert {len(share) for share in shares} == {len(alone)} == {3}
    for number, batch in enumerate(alone):
        together = [sample for share in shares for sample in share[number]]
        real = [sample for sample in together if not sample.is_filler]
        assert sorted(real, key=str) == sorted(batch, key=str)
        assert all(share[number] for share in shares)  # none is without a row
        # a filler is a row of the batch, marked
        assert all(replace(sample, is_filler=False) in batch for sample in together)
    assert sum(sample.is_filler for share in shares for sample in share[-1]) == size - 2


def test_a_filler_looks_like_its_row_but_has_no_target(root):
    catalog = make_rows(root)
    targets = np.arange(7)
    loader = make_loader(catalog, [1, 4, 6], targets=targets, batch_size=2, shuffle_seed=3, world=World(1, 2))
    loader.set_epoch(1)
    first, last = loader
    assert first.targets.tolist() == first.rows.tolist()
    assert last.targets.tolist() == [NO_TARGET]
    (row,) = last.rows.tolist()
    assert torch.equal(last.images, train_views(catalog, 1)[catalog.ids[row]])


# texts


def test_a_batch_is_cut_at_its_longest_text_where_that_is_allowed(root):
    ids = torch.arange(1, 31, dtype=torch.int32).reshape(3, 10)
    mask = torch.arange(10) < torch.tensor([[2], [9], [4]])
    tokens = Tokens(ids, mask, torch.zeros(3, dtype=torch.bool), cuttable=True)
    for rows, length in [([0], 3), ([0, 2], 5), ([1], 10), ([2, 1, 0], 10)]:
        input_ids, attention_mask = tokens.batch(torch.tensor(rows))
        assert input_ids.shape == attention_mask.shape == (len(rows), length)  # one token more than the mask tells
        assert torch.equal(input_ids, ids[rows, :length].long())
        assert torch.equal(attention_mask, mask[rows, :length])
    whole = Tokens(ids, mask, torch.zeros(3, dtype=torch.bool))
    assert whole.batch(torch.tensor([0]))[0].shape == (1, 10)
    assert Tokens(ids, mask, torch.tensor([True, False, True])).truncated == 2


def test_the_length_of_a_text_in_a_batch_is_its_own():
    mask = torch.arange(77) < torch.tensor([[2], [15], [16], [40], [64], [77]])
    tokens = Tokens(mask.int(), mask, torch.zeros(6, dtype=torch.bool), cuttable=True)
    assert tokens.lengths(16).tolist() == [16, 16, 32, 48, 77, 77]
    assert Tokens(mask.int(), mask, torch.zeros(6, dtype=torch.bool)).lengths(16).tolist() == [77] * 6


def test_batches_of_texts_hold_more_where_they_are_short():
    lengths = torch.tensor([16, 77] * 150 + [48] * 30)
    batches = list(text_batches(lengths, 16))
    assert sorted(torch.cat([chosen for chosen, _, _ in batches]).tolist()) == list(range(330))
    assert {length: full for _, length, full in batches} == {16: 64, 48: 16, 77: 16}
    for chosen, length, full in batches:
        assert set(lengths[chosen].tolist()) == {length}
        assert len(chosen) <= full
