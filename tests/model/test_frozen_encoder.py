"""Stored features: training on them is training on the towers, and nothing is computed twice.

.venv/bin/python -m pytest tests/model/test_frozen_encoder.py
"""

import copy
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmclf.data.folds import Split
from mmclf.data.pictures import Pictures
from mmclf.data.row_batches import Loader, RowDataset
from mmclf.data.rows import Rows
from mmclf.data.views import EVAL
from mmclf.errors import PictureError
from mmclf.model import large_matrices
from mmclf.model.backbone import Backbone
from mmclf.model.checkpoint import build_head
from mmclf.model.classifier import Classifier, HeadModel
from mmclf.model.identity import OUTLINE_DIM
from mmclf.model.towers import LazyBackbone
from mmclf.runtime.device import Precision
from mmclf.runtime.seeds import seed_everything
from mmclf.store.cache import Cache
from mmclf.training.crossval import train_fold
from mmclf.training.feature_loader import FeatureLoader
from mmclf.training.fold_state import FoldStates
from mmclf.training.fold_task import FoldTask
from mmclf.training.loaders import feature_loaders, tower_loaders
from tests.features import CPU, FLOAT32, configure, lazy, make, part_of


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", 10**9)


@pytest.fixture
def encoded(monkeypatch):
    """Number of pictures and of texts that the towers were given."""
    counts = {"pictures": 0, "texts": 0}
    image, text = Backbone.encode_image, Backbone.encode_text

    def encode_image(self, images):
        counts["pictures"] += len(images)
        return image(self, images)

    def encode_text(self, input_ids):
        counts["texts"] += len(input_ids)
        return text(self, input_ids)

    monkeypatch.setattr(Backbone, "encode_image", encode_image)
    monkeypatch.setattr(Backbone, "encode_text", encode_text)
    return counts


# the same mathematics


def train(model, loaders, split, config, spec, folder):
    results = []
    task = FoldTask("stage1", 0, config, model, *loaders, CPU)
    states = FoldStates(None, folder / "checkpoint", 0)
    return train_fold(task, split, spec, states, lambda result, /, is_past=False: results.append(result)), results


@pytest.mark.parametrize("mode", ["first", "random", "mean_pool"])
def test_training_on_stored_features_equals_training_on_the_towers(catalog, tree, cache, tmp_path, mode):
    """As many views as epochs: the same batches, the same crops, the same dropout."""
    config = configure(tree, epochs=3, views=3, mode=mode)
    assert config.model.dropout > 0
    split = Split(catalog, np.arange(len(catalog)) % 3)
    classes = len(catalog.classes)
    towers = lazy(config, cache).load()
    seed_everything("head")
    head = build_head(towers.identity, config, classes)
    tokens = towers.tokenize(catalog.rows.texts, config.data.max_len)
    plain = Classifier(towers, copy.deepcopy(head), FLOAT32, clip_trainable=False)
    loaders = tower_loaders(split, 0, config, towers.spec, tokens, device=CPU)
    expected, results = train(plain, loaders, split, config, towers.spec, tmp_path)

    features = make(catalog, config, cache)
    model = HeadModel(copy.deepcopy(head))
    loaders = feature_loaders(split, 0, config, features)
    outcome, ours = train(model, loaders, split, config, towers.spec, tmp_path)

    np.testing.assert_allclose(outcome.table.probabilities, expected.table.probabilities, atol=1e-5)
    assert outcome.table.ids == expected.table.ids
    assert [r.val_top1 for r in ours] == [r.val_top1 for r in results]
    assert [r.train_loss for r in ours] == pytest.approx([r.train_loss for r in results], rel=1e-4)
    assert outcome.unreadable == expected.unreadable


def test_views_are_taken_in_turn_and_zero_is_the_eval_view(catalog, tree, cache):
    targets, rows = catalog.targets(catalog.classes), np.arange(len(catalog))
    features = make(catalog, configure(tree), cache)

    def first_batch(views, epoch):
        loader = FeatureLoader(features, targets, rows, batch_size=8, views=views, shuffle_seed=1)
        loader.set_epoch(epoch)
        batch = next(iter(loader))
        return batch.features[:, : features.images(EVAL).shape[1]].numpy(), batch.rows.numpy()

    for epoch, view in [(1, 1), (2, 2), (3, 1), (4, 2)]:
        found, chosen = first_batch(2, epoch)
        assert np.array_equal(found, features.images(view)[chosen])
    for epoch in (1, 2):
        found, chosen = first_batch(0, epoch)
        assert np.array_equal(found, features.images(EVAL)[chosen])
    assert not np.allclose(features.images(1), features.images(2), atol=1e-3)


@pytest.mark.parametrize("mode", ["first", "mean_pool"])
@pytest.mark.parametrize("view", [EVAL, 2])
def test_each_row_has_the_features_that_the_towers_give_it(catalog, tree, cache, mode, view):
    """Rows without picture or text and unreadable pictures included, one row at a time."""
    config = configure(tree, mode=mode)
    towers = lazy(config, cache).load()
    features = make(catalog, config, cache)
    assert any(not names for names in catalog.rows.pictures)
    assert "" in catalog.rows.texts
    dataset = RowDataset(catalog.rows, Pictures(catalog.image_root, towers.transform), mode, config.train.seed)
    tokens = towers.tokenize(catalog.rows.texts, config.data.max_len)
    shuffle = None if view == EVAL else 1
    loader = Loader(
        dataset,
        tokens,
        catalog.targets(catalog.classes),
        np.arange(len(catalog)),
        batch_size=1,
        num_workers=0,
        shuffle_seed=shuffle,
    )
    loader.set_epoch(view)
    model = Classifier(towers, build_head(towers.identity, config, 5), FLOAT32, clip_trainable=False).eval()
    found = np.concatenate([features.images(view), features.texts()], axis=1)
    for batch in loader:
        np.testing.assert_allclose(found[batch.rows.item()], model.features(batch)[0].numpy(), atol=1e-5)
    assert features.encoder.truncated == tokens.truncated > 0


# nothing twice


def test_a_second_run_needs_no_towers(catalog, tree, cache, monkeypatch):
    config = configure(tree)
    first = make(catalog, config, cache)
    expected = [first.texts(), first.images(EVAL), first.images(1)]
    assert first.encoder.ledger.reused == 1  # the placeholder, by the second view

    def refuse(self):
        raise AssertionError("the towers were loaded")

    monkeypatch.setattr(LazyBackbone, "load", refuse)
    second = make(catalog, config, cache)
    for one, other in zip(expected, [second.texts(), second.images(EVAL), second.images(1)], strict=True):
        assert np.array_equal(one, other)
    assert second.encoder.ledger.computed == 0
    assert second.encoder.ledger.reused == first.encoder.ledger.computed + 1
    assert second.encoder.truncated == first.encoder.truncated
    assert set(second.encoder.ledger.figures()) == {"features/computed", "features/reused", "features/seconds"}


def test_details_come_with_the_same_features_and_again_from_the_cache(catalog, tree, cache, monkeypatch):
    config = configure(tree)
    plain = make(catalog, config, cache)
    parts = plain.encoder.parted(plain.images(EVAL))
    assert parts.layers.shape[1] == parts.outlines.shape[1] == 0
    # features without details aren't enough, and are the same with them
    assert plain.encoder.missing(catalog.rows) == [0.0]
    assert plain.encoder.missing(catalog.rows, details=True) == [1.0]
    inputs = make(catalog, config, cache).head_inputs(["image", "layers", "outline"])
    assert np.array_equal(inputs.images, plain.images(EVAL))
    assert inputs.outlines.shape == (len(catalog), OUTLINE_DIM)
    assert inputs.layers.shape[1] > 0
    assert not np.array_equal(inputs.outlines[0], inputs.outlines[1])

    def refuse(self):
        raise AssertionError("the towers were loaded")

    monkeypatch.setattr(LazyBackbone, "load", refuse)
    again = make(catalog, config, cache)
    assert again.encoder.missing(catalog.rows, details=True) == [0.0]
    found = again.head_inputs(["layers", "outline"])
    assert np.array_equal(found.layers, inputs.layers)
    assert np.array_equal(found.outlines, inputs.outlines)
    assert found.images.shape[1] == 0


def test_other_folds_seeds_and_tables_reuse_what_is_the_same(catalog, tree, cache, encoded):
    config = configure(tree)
    first = make(catalog, config, cache)
    first.texts(), first.images(EVAL), first.images(1)
    before = dict(encoded)
    half = [row for row in range(len(catalog)) if row % 2]
    rows = catalog.rows
    part = replace(
        catalog,
        rows=Rows(
            [rows.ids[row] for row in half],
            [rows.texts[row] for row in half],
            [rows.pictures[row] for row in half],
            rows.picture_source,
        ),
    )
    other = make(part, config, cache)
    assert np.array_equal(other.images(1), first.images(1)[half])
    assert np.array_equal(other.texts(), first.texts()[half])
    assert encoded == before
    # another seed means other crops, but the same eval views and texts
    changed = make(part, config, cache, seed=7)
    changed.texts(), changed.images(EVAL)
    assert encoded == before
    changed.images(1)
    assert encoded["pictures"] > before["pictures"]


def test_identical_pictures_and_texts_are_encoded_once(catalog, tree, cache, encoded):
    row = next(n for n, names in enumerate(catalog.rows.pictures) if names)
    name = catalog.rows.pictures[row][0]
    rows = Rows(list("abcd"), ["one", "two", "one", "one"], [(name,)] * 3 + [()], catalog.image_root)
    same = replace(catalog, rows=rows)
    features = make(same, configure(tree), cache)
    assert features.images(EVAL).shape[0] == 4
    features.texts()
    ledger = features.encoder.ledger
    assert ledger.computed == 2 + 2  # two texts, the picture and the placeholder
    features.images(1)
    assert ledger.computed == 4 + 3  # each row has a crop of its own; the placeholder has none
    assert encoded == {"pictures": 2 * 16, "texts": 64}  # in full batches


@pytest.mark.parametrize("change", ["precision", "max_len", "weights", "img_size"])
def test_what_would_be_another_feature_is_computed_anew(catalog, tree, cache, clip_folder, tmp_path, encoded, change):
    config = configure(tree)
    features = make(catalog, config, cache)
    features.texts(), features.images(EVAL)
    before = dict(encoded)
    precision = FLOAT32
    if change == "precision":
        precision = Precision(torch.bfloat16, False, "test")
    elif change == "max_len":
        config = configure(tree, max_len=8)
    elif change == "img_size":
        config = configure(tree, img_size=64)
    else:
        import shutil

        from safetensors.torch import load_file, save_file

        folder = shutil.copytree(clip_folder, tmp_path / "clip")
        weights = load_file(folder / "open_clip_model.safetensors")
        weights["visual.proj"] *= 2
        save_file(weights, folder / "open_clip_model.safetensors")
        config = config.model_copy(update={"model": config.model.model_copy(update={"name": f"local-dir:{folder}"})})
    other = make(catalog, config, cache, precision=precision)
    other.texts(), other.images(EVAL)
    assert (encoded["pictures"] > before["pictures"]) == (change != "max_len")
    assert (encoded["texts"] > before["texts"]) == (change != "img_size")


def test_the_same_weights_under_another_name_share_their_features(catalog, tree, cache, clip_folder, tmp_path):
    import shutil

    config = configure(tree)
    first = make(catalog, config, cache)
    first.texts(), first.images(EVAL)
    folder = shutil.copytree(clip_folder, tmp_path / "moved")
    config = config.model_copy(update={"model": config.model.model_copy(update={"name": f"local-dir:{folder}"})})
    moved = make(catalog, config, cache)
    moved.texts(), moved.images(EVAL)
    assert moved.encoder.ledger.computed == 0


# what can go wrong


def test_an_interrupt_keeps_what_was_done(catalog, tree, cache, monkeypatch):
    config = configure(tree)
    real = Backbone.encode_image
    calls = []

    def interrupted(self, images):
        calls.append(len(images))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, images)

    monkeypatch.setattr(Backbone, "encode_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(catalog, config, cache).images(EVAL)
    monkeypatch.setattr(Backbone, "encode_image", real)
    again = make(catalog, config, cache)
    again.images(EVAL)
    assert again.encoder.ledger.reused == sum(calls[:3]) > 0
    whole = make(catalog, config, Cache(cache.root.parent / "other", 10**9))
    np.testing.assert_allclose(again.images(EVAL), whole.images(EVAL), atol=1e-6)


def test_a_damaged_file_is_found_and_computed_again(catalog, tree, cache):
    config = configure(tree)
    expected = make(catalog, config, cache).images(EVAL)
    (path,) = cache.root.glob("features/*/*.safetensors")
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)
    again = make(catalog, config, cache)
    np.testing.assert_allclose(again.images(EVAL), expected, atol=1e-6)
    ledger = again.encoder.ledger
    assert ledger.computed + ledger.reused > ledger.reused > 0
    path.write_bytes(content[:1000])
    again = make(catalog, config, cache)
    np.testing.assert_allclose(again.images(EVAL), expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["first", "mean_pool"])
def test_unreadable_pictures_are_counted_in_every_run_and_replaced(catalog, tree, cache, tmp_path, mode):
    good = next(names[0] for names in catalog.rows.pictures if names)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "good.jpg").write_bytes((catalog.image_root / good).read_bytes())
    (tmp_path / "images" / "bad.jpg").write_bytes(b"no picture")
    names = [("bad.jpg",), ("bad.jpg", "good.jpg"), ("missing.jpg",), (), ("good.jpg",)]
    broken = replace(catalog, rows=Rows(list("abcde"), ["x"] * 5, names, tmp_path / "images"), labels=None)
    config = configure(tree, mode=mode)
    for _ in range(2):
        features = make(broken, config, cache)
        found = features.images(EVAL)
        assert {sentence.partition(":")[0] for sentence in features.encoder.unreadable.values()} == {
            "bad.jpg",
            "missing.jpg",
        }
        black, picture = found[3], found[4]
        assert np.array_equal(found[0], black)
        assert np.array_equal(found[2], black)
        # the row's other picture counts alone
        assert np.array_equal(found[1], picture if mode == "mean_pool" else black)
    assert features.encoder.ledger.computed == 0  # in the second run
    strict = configure(tree, mode=mode, on_bad_image="error")
    with pytest.raises(PictureError, match=r"unreadable picture .*data\.on_bad_image=placeholder"):
        make(broken, strict, cache).images(EVAL)


def test_matrices_too_large_for_the_memory_lie_in_a_file(catalog, tree, cache, monkeypatch):
    config = configure(tree, mode="mean_pool")
    expected = [make(catalog, config, cache).images(1), make(catalog, config, cache).texts()]
    monkeypatch.setattr(large_matrices, "MEMORY_SHARE", 0.0)
    monkeypatch.setattr(large_matrices, "GATHER_ROWS", 7)
    features = make(catalog, config, cache)
    assert isinstance(features.images(1), np.memmap)
    assert np.array_equal(features.images(1), expected[0])
    assert np.array_equal(features.texts(), expected[1])
    assert not list(cache.root.glob("tmp*"))  # the file has no name


def test_without_a_cache_the_run_works_all_the_same(catalog, tree, tmp_path, cache):
    config = configure(tree)
    none = Cache(tmp_path / "none", 0)
    found = make(catalog, config, none).images(1)
    np.testing.assert_allclose(found, make(catalog, config, cache).images(1), atol=1e-6)
    assert not none.root.exists()


def test_two_processes_at_once_get_the_same_features(shop, clip_folder, cache):
    script = (
        "import sys, hashlib, torch\n"
        "from pathlib import Path\n"
        "from mmclf.store.cache import Cache\n"
        "from mmclf.data.catalog import read_catalog\n"
        "from mmclf.config import DataConfig\n"
        "from mmclf.runtime.device import Precision\n"
        "from mmclf.model.frozen_encoder import Encoder\n"
        "from mmclf.model.towers import LazyBackbone\n"
        "torch.set_num_threads(1)\n"
        "cache, data = Cache(Path(sys.argv[1]), 10**9), DataConfig(img_size=32, max_len=16)\n"
        "catalog = read_catalog(sys.argv[2], sys.argv[3], data, training=True)\n"
        "backbone = LazyBackbone('local-dir:' + sys.argv[4], None, 32, cache)\n"
        "encoder = Encoder(backbone, data, seed=1, precision=Precision(None, False, ''),\n"
        "                  device=torch.device('cpu'), cache=cache)\n"
        "images, texts = encoder.images(catalog.rows, 1)[0], encoder.texts(catalog.rows)\n"
        "print(hashlib.sha256(images.tobytes() + texts.tobytes()).hexdigest())\n"
    )
    arguments = [str(cache.root), str(shop.train_csv), str(shop.images), str(clip_folder)]
    command = [sys.executable, "-c", script, *arguments]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert printed[0] == printed[1]


def test_compiled_towers_are_asked_for_once_and_keep_their_own_features(catalog, tree, cache, monkeypatch):
    calls = []

    def note(backbone):
        calls.append(backbone)

    monkeypatch.setattr(Backbone, "compile_towers", note)
    config = configure(tree)
    few = part_of(catalog, range(8))
    plain = make(few, config, cache)
    plain.texts(), plain.images(EVAL)
    assert not calls
    compiled = make(few, config, cache, compiled=True)
    compiled.texts(), compiled.images(EVAL)
    assert len(calls) == 1
    assert compiled.encoder.ledger.reused == 0
