"""Prediction: the mean over folds and flips, computed here by hand.

.venv/bin/python -m pytest tests/test_predict.py
"""

import numpy as np
import pytest
import torch

from mmclf import predict as module
from mmclf.backbone import load_backbone
from mmclf.checkpoint import CheckpointMeta, build_head, open_checkpoint, save_checkpoint
from mmclf.device import Precision
from mmclf.errors import CheckpointError, PictureError
from mmclf.images import load_picture
from mmclf.model import Classifier
from mmclf.predict import check_classes, predict_catalog
from mmclf.seeds import seed_everything

from .conftest import MAX_LEN, SIZE

FLOAT32 = Precision(None, False, "test")
CPU = torch.device("cpu")


def save(folder, config, catalog, fold, stage, classes=None):
    """A checkpoint with a head of its own, and in stage 2 with towers of its own."""
    backbone = load_backbone(config.model.name, None, SIZE)
    seed_everything("fold", fold)
    classes = classes or catalog.classes
    model = Classifier(backbone, build_head(backbone.identity, config, len(classes)), FLOAT32, clip_trainable=stage == "stage2")
    if stage == "stage2":
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.02)
    meta = CheckpointMeta(
        stage=stage,
        fold=fold,
        classes=classes,
        id_col="id",
        label_col="categories",
        text_cols=catalog.text_cols,
        backbone=backbone.identity,
        transform=backbone.transform,
        config=config,
        metrics={},
    )
    save_checkpoint(folder / f"{stage}-{fold}", model, meta)
    return open_checkpoint(folder / f"{stage}-{fold}"), model.eval()


def by_hand(models, catalog, tta) -> np.ndarray:
    """One row at a time, one picture each, every model and flip on its own."""
    rows = []
    for text, names in zip(catalog.texts, catalog.pictures, strict=True):
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
    found = predict_catalog(catalog, [c for c, _ in saved], config.data, infer, device=CPU, precision=FLOAT32)
    np.testing.assert_allclose(found.probabilities, by_hand([m for _, m in saved], catalog, tta), atol=1e-5)
    assert found.probabilities.dtype == np.float32


def test_stage_1_folds_share_one_backbone_and_one_pass(config, catalog, tmp_path, monkeypatch):
    checkpoints = [save(tmp_path, config, catalog, fold, "stage1")[0] for fold in (0, 1, 2)]
    loaded = []
    real = module.restore_backbone
    monkeypatch.setattr(module, "restore_backbone", lambda c, size: loaded.append(c) or real(c, size))
    predict_catalog(catalog, checkpoints, config.data, config.infer, device=CPU, precision=FLOAT32)
    assert len(loaded) == 1


def test_an_unreadable_picture_is_counted_or_refused(config, catalog, tmp_path):
    from dataclasses import replace

    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    row = next(n for n, names in enumerate(catalog.pictures) if names)
    broken = replace(catalog, ids=[catalog.ids[row]], texts=["x"], pictures=[("bad.jpg",)], image_root=tmp_path)
    checkpoint, model = save(tmp_path, config, catalog, 0, "stage1")
    found = predict_catalog(broken, [checkpoint], config.data, config.infer, device=CPU, precision=FLOAT32)
    assert len(found.unreadable) == 1
    assert "bad.jpg" in found.unreadable[0]
    empty = replace(broken, pictures=[()])
    np.testing.assert_allclose(found.probabilities, by_hand([model], empty, True), atol=1e-5)
    strict = config.data.model_copy(update={"on_bad_image": "error"})
    with pytest.raises(PictureError, match=r"bad\.jpg.*data\.on_bad_image=placeholder"):
        predict_catalog(broken, [checkpoint], strict, config.infer, device=CPU, precision=FLOAT32)


def test_checkpoints_with_other_classes_are_not_averaged(config, catalog, tmp_path):
    first, _ = save(tmp_path, config, catalog, 0, "stage1")
    other, _ = save(tmp_path, config, catalog, 1, "stage1", classes=("A", "B"))
    with pytest.raises(CheckpointError, match=r"stage1-1: its classes differ"):
        check_classes([first, other])
    with pytest.raises(CheckpointError, match="no finished fold"):
        check_classes([])
