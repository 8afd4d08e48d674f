"""Checkpoints that several test files score with."""

import torch

from mmclf.model.checkpoint import CheckpointMeta, build_head, open_checkpoint, save_checkpoint
from mmclf.model.classifier import Classifier
from mmclf.model.loading import load_backbone
from mmclf.runtime.device import Precision
from mmclf.runtime.seeds import seed_everything

from .conftest import SIZE

FLOAT32 = Precision(None, False, "test")


def save(folder, config, catalog, fold, stage, classes=None):
    """A checkpoint with a head of its own, and in stage 2 with towers of its own; and the model in it."""
    backbone = load_backbone(config.model.name, None, SIZE)
    seed_everything("fold", fold)
    classes = classes or catalog.classes
    model = Classifier(
        backbone, build_head(backbone.identity, config, len(classes)), FLOAT32, clip_trainable=stage == "stage2"
    )
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
    save_checkpoint(folder / f"{stage}-{fold}", model.state_dict(), meta)
    return open_checkpoint(folder / f"{stage}-{fold}"), model.eval()
