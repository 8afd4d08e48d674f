"""Prediction: the mean over folds and flips, computed here by hand.

.venv/bin/python -m pytest tests/scoring/test_predict.py
"""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmclf.data import pictures
from mmclf.data.rows import Rows
from mmclf.data.views import EVAL
from mmclf.errors import CheckpointError, PictureError
from mmclf.model import loading
from mmclf.model.backbone import Backbone
from mmclf.model.frozen_encoder import Encoder
from mmclf.model.towers import LazyBackbone
from mmclf.scoring import fold_models
from mmclf.scoring import predict as module
from mmclf.scoring.bundle import open_bundle, write_bundle
from mmclf.scoring.fold_models import FoldModels, check_classes, members_of
from mmclf.scoring.mixture import Mixture
from mmclf.scoring.predict import Scoring
from mmclf.store.cache import Cache
from tests.checkpoints import FLOAT32, save
from tests.conftest import MAX_LEN, SIZE
from tests.pictures import load_picture

CPU = torch.device("cpu")


def make_scoring(catalog, checkpoints, data, infer):
    models = FoldModels(members_of(checkpoints, data, infer), device=CPU, precision=FLOAT32)
    return Scoring(catalog.rows, models, data, infer)


def score(catalog, checkpoints, data, infer):
    """Probabilities of all chunks, and what was noticed on the way."""
    scoring = make_scoring(catalog, checkpoints, data, infer)
    chunks = list(scoring)
    assert np.array_equal(np.concatenate([rows for rows, _ in chunks]), np.arange(len(catalog)))
    assert all(probabilities.dtype == np.float32 for _, probabilities in chunks)
    return np.concatenate([probabilities for _, probabilities in chunks]), scoring


def by_hand(models, catalog, tta) -> np.ndarray:
    """One row at a time, one picture each, every model and flip on its own."""
    rows = []
    for text, names in zip(catalog.rows.texts, catalog.rows.pictures, strict=True):
        total = 0
        for model in models:
            transform = model.backbone.transform
            picture = (
                transform.eval_view(load_picture(catalog.image_root / names[0])) if names else transform.placeholder()
            )
            ids = model.backbone.tokenize([text], MAX_LEN).input_ids.long()
            views = [picture, picture.flip(-1)] if tta else [picture]
            for view in views:
                features = torch.cat([model.backbone.encode_image(view[None]), model.backbone.encode_text(ids)], dim=1)
                total = total + model.head(features).softmax(dim=1) / len(views)
        rows.append((total / len(models)).detach().numpy()[0])
    return np.array(rows)


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
@pytest.mark.parametrize("tta", [True, False])
def test_it_is_the_mean_over_folds_and_flips(stage, tta, config, catalog, tmp_path):
    saved = [save(tmp_path, config, catalog, fold, stage) for fold in (0, 1)]
    infer = config.infer.model_copy(update={"tta": tta, "batch_size": 7})
    found, scoring = score(catalog, [c for c, _ in saved], config.data, infer)
    np.testing.assert_allclose(found, by_hand([m for _, m in saved], catalog, tta), atol=1e-5)
    assert scoring.truncated == saved[0][1].backbone.tokenize(catalog.rows.texts, MAX_LEN).truncated > 0
    assert scoring.unreadable == 0


def test_stage_1_folds_share_one_backbone_and_one_pass(config, catalog, tmp_path, monkeypatch):
    checkpoints = [save(tmp_path, config, catalog, fold, "stage1")[0] for fold in (0, 1, 2)]
    loaded = []
    real = fold_models.restore_backbone
    monkeypatch.setattr(fold_models, "restore_backbone", lambda c, *a, **k: loaded.append(c) or real(c, *a, **k))
    images = count_pictures(monkeypatch)
    score(catalog, checkpoints, config.data, config.infer)
    assert len(loaded) == 1
    # a forward pass for each of the two flips, not for each fold; rows without a picture share the black one
    assert sum(images) == 2 * distinct_pictures(catalog)


def distinct_pictures(catalog):
    """Shown to the towers in batches of 16; the last one isn't left alone."""
    count = len({names[:1] for names in catalog.rows.pictures})
    return count + (count % 16 == 1)


def count_pictures(monkeypatch):
    """A list that fills with the number of pictures of each forward pass."""
    images = []
    real = Backbone.encode_image
    monkeypatch.setattr(Backbone, "encode_image", lambda self, x: images.append(len(x)) or real(self, x))
    return images


def test_a_picture_is_decoded_once_for_all_fine_tuned_folds(config, catalog, tmp_path, monkeypatch):
    checkpoints = [save(tmp_path, config, catalog, fold, "stage2")[0] for fold in (0, 1, 2)]
    decoded, built = [], []
    real = pictures.decode_picture
    monkeypatch.setattr(pictures, "decode_picture", lambda c, name, **k: decoded.append(name) or real(c, name, **k))
    load = loading.load_backbone

    def watched(*arguments, **options):
        gc.collect()
        assert not any(reference() for reference in built)  # the backbone before it is gone
        made = load(*arguments, **options)
        built.append(weakref.ref(made))
        return made

    monkeypatch.setattr(loading, "load_backbone", watched)
    images = count_pictures(monkeypatch)
    score(catalog, checkpoints, config.data, config.infer)
    assert sorted(decoded) == sorted(names[0] for names in catalog.rows.pictures if names)
    assert len(built) == 1  # the weights of the others are loaded into it
    assert sum(images) == 3 * 2 * distinct_pictures(catalog)


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_several_sizes_are_averaged_and_decoded_once(stage, config, catalog, tmp_path, monkeypatch):
    checkpoints = [save(tmp_path, config, catalog, fold, stage)[0] for fold in (0, 1)]
    alone = []
    for size in (SIZE, 48):
        data = config.data.model_copy(update={"img_size": size})
        alone.append(score(catalog, checkpoints, data, config.infer)[0])
    assert not np.allclose(*alone, atol=1e-3)
    decoded = []
    real = pictures.decode_picture
    monkeypatch.setattr(pictures, "decode_picture", lambda c, name, **k: decoded.append(name) or real(c, name, **k))
    infer = config.infer.model_copy(update={"img_sizes": [SIZE, 48]})
    both, _ = score(catalog, checkpoints, config.data, infer)
    np.testing.assert_allclose(both, (alone[0] + alone[1]) / 2, atol=1e-5)
    assert sorted(decoded) == sorted(names[0] for names in catalog.rows.pictures if names)
    only = config.infer.model_copy(update={"img_sizes": [48]})
    np.testing.assert_allclose(score(catalog, checkpoints, config.data, only)[0], alone[1], atol=1e-6)


def test_folds_of_both_stages_can_be_averaged(config, catalog, tmp_path):
    saved = [save(tmp_path, config, catalog, 0, "stage2"), save(tmp_path, config, catalog, 1, "stage1")]
    expected = by_hand([m for _, m in saved], catalog, True)
    for order in (saved, saved[::-1]):
        found, _ = score(catalog, [c for c, _ in order], config.data, config.infer)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["first", "mean_pool"])
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_chunks_change_nothing(stage, mode, config, catalog, tmp_path, monkeypatch):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    broken = replace(
        catalog, rows=replace(catalog.rows, pictures=[(str(tmp_path / "bad.jpg"),), *catalog.rows.pictures[1:]])
    )
    checkpoints = [save(tmp_path, config, catalog, fold, stage)[0] for fold in (0, 1)]
    data = config.data.model_copy(update={"multi_image_mode": mode})
    infer = config.infer.model_copy(update={"batch_size": 8})
    whole, before = score(broken, checkpoints, data, infer)
    monkeypatch.setattr(module, "CHUNK_ROWS", 50)
    monkeypatch.setattr(module, "SPOOL_BYTES", 50 * 3 * SIZE * SIZE)
    scoring = make_scoring(broken, checkpoints, data, infer)
    parts = [probabilities for _, probabilities in scoring]
    assert len(parts) > 2
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)
    assert scoring.unreadable == before.unreadable == 1
    assert scoring.truncated == before.truncated


def test_an_unreadable_picture_is_counted_or_refused(config, catalog, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    row = next(n for n, names in enumerate(catalog.rows.pictures) if names)
    broken = replace(catalog, rows=Rows([catalog.ids[row]], ["x"], [("bad.jpg",)], tmp_path))
    checkpoint, model = save(tmp_path, config, catalog, 0, "stage1")
    found, scoring = score(broken, [checkpoint], config.data, config.infer)
    assert scoring.unreadable == 1
    assert "bad.jpg" in scoring.examples[0][1]
    assert scoring.examples[0][0] == 0
    empty = replace(broken, rows=replace(broken.rows, pictures=[()]))
    np.testing.assert_allclose(found, by_hand([model], empty, True), atol=1e-5)
    strict = config.data.model_copy(update={"on_bad_image": "error"})
    with pytest.raises(PictureError, match=r"bad\.jpg.*data\.on_bad_image=placeholder"):
        score(broken, [checkpoint], strict, config.infer)


def test_checkpoints_with_other_classes_are_not_averaged(config, catalog, tmp_path):
    first, _ = save(tmp_path, config, catalog, 0, "stage1")
    other, _ = save(tmp_path, config, catalog, 1, "stage1", classes=("A", "B"))
    with pytest.raises(CheckpointError, match=r"stage1-1: its classes differ"):
        check_classes([first, other])
    with pytest.raises(CheckpointError, match="no finished fold"):
        check_classes([])


# the features of frozen towers are kept


def test_a_table_that_was_scored_before_needs_no_towers(config, catalog, tmp_path, monkeypatch):
    checkpoints = [save(tmp_path, config, catalog, fold, "stage1")[0] for fold in (0, 1)]
    cache = Cache(tmp_path / "cache", 10**9)

    def once(rows):
        members = members_of(checkpoints, config.data, config.infer)
        scoring = Scoring(
            rows, FoldModels(members, device=CPU, precision=FLOAT32, cache=cache), config.data, config.infer
        )
        return np.concatenate([part for _, part in scoring]), scoring.ledger

    first, ledger = once(catalog.rows)
    assert ledger.computed > 0
    monkeypatch.setattr(loading, "load_backbone", lambda *a, **k: pytest.fail("the towers were loaded"))
    again, ledger = once(catalog.rows)
    assert np.array_equal(again, first)
    assert ledger.computed == 0
    part, _ = once(catalog.rows.slice(30, 60))
    np.testing.assert_allclose(part, first[30:60], atol=1e-6)


def test_features_of_training_serve_scoring(config, catalog, tmp_path, monkeypatch):
    checkpoints = [save(tmp_path, config, catalog, fold, "stage1")[0] for fold in (0, 1)]
    cache = Cache(tmp_path / "cache", 10**9)
    towers = LazyBackbone(config.model.name, None, SIZE, cache)
    encoder = Encoder(towers, config.data, precision=FLOAT32, device=CPU, cache=cache)
    encoder.images(catalog.rows, EVAL), encoder.texts(catalog.rows)
    write_bundle(tmp_path / "bundle", Mixture.of(checkpoints, config), {})
    packed = open_bundle(tmp_path / "bundle")
    infer = config.infer.model_copy(update={"tta": False})
    for number, (those, settings) in enumerate([(checkpoints, config), (packed.checkpoints, packed.config)]):
        members = members_of(those, settings.data, infer)
        models = FoldModels(members, device=CPU, precision=FLOAT32, cache=cache)
        scoring = Scoring(catalog.rows, models, settings.data, infer)
        found = np.concatenate([part for _, part in scoring])
        assert scoring.ledger.computed == 0, number
        again = [save(tmp_path / "again", config, catalog, fold, "stage1")[1] for fold in (0, 1)]
        expected = by_hand(again, catalog, False)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_fine_tuned_towers_keep_nothing(config, catalog, tmp_path):
    checkpoints = [save(tmp_path, config, catalog, 0, "stage2")[0]]
    cache = Cache(tmp_path / "cache", 10**9)
    members = members_of(checkpoints, config.data, config.infer)
    models = FoldModels(members, device=CPU, precision=FLOAT32, cache=cache)
    assert len(list(Scoring(catalog.rows.slice(0, 20), models, config.data, config.infer))) == 1
    assert not list(cache.root.glob("features/*"))
