"""The rate of the bare forward passes: batches in memory, nothing but the towers and the head.

    python -m benchmarks.bare_forward --run STAGE2_RUN --csv test.csv --images images

Prints rows a second for all folds of the run with the flip, as infer computes them, on one line of JSON.
"""

import argparse
import json
import sys
import time
from dataclasses import replace

import numpy as np
import torch

from mmclf.data.catalog import read_catalog
from mmclf.data.images import flip
from mmclf.data.pictures import Pictures
from mmclf.data.row_batches import Loader, RowDataset
from mmclf.model.checkpoint import build_head, load_head
from mmclf.model.classifier import Classifier
from mmclf.records import runs
from mmclf.runtime.device import pick_device, pick_precision
from mmclf.scoring.fold_models import restore_backbone


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="The rate of the bare forward passes of a stage-2 run.")
    for name in ("run", "csv", "images"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    client = runs.connect()
    checkpoints = runs.fold_checkpoints(client, runs.get_stage_run(client, options.run, ["stage2"]))
    first = checkpoints[0]
    config = first.meta.config
    columns = config.data.model_copy(update={"text_cols": list(first.meta.text_cols)})
    catalog = read_catalog(options.csv, options.images, columns, training=False)
    device = pick_device()
    backbone = restore_backbone(first, config.data.img_size).to(device)
    head = build_head(backbone.identity, config, len(first.meta.classes))
    load_head(head, first)
    precision = pick_precision(device, config.train.amp)
    model = Classifier(backbone, head.to(device), precision, clip_trainable=False).eval()
    tokens = backbone.tokenize(catalog.rows.texts, config.data.max_len)
    pictures = Pictures(catalog.image_root, backbone.transform)
    order = torch.argsort(tokens.attention_mask.sum(dim=1), stable=True).numpy()
    batches = [
        batch.to(device)
        for batch in Loader(
            RowDataset(catalog.rows, pictures, config.data.multi_image_mode, seed=0),
            tokens,
            np.zeros(len(catalog), dtype=np.int64),
            np.asarray(order),
            batch_size=config.infer.batch_size,
            num_workers=0,
        )
    ]
    with torch.inference_mode():
        model(batches[0])
        start = time.perf_counter()
        for _ in checkpoints:
            for batch in batches:
                texts = model.text_features(batch)
                for images in (batch.images, flip(batch.images)):
                    features = torch.cat([model.image_features(replace(batch, images=images)), texts], dim=1)
                    model.head(features).softmax(dim=1).cpu()
        seconds = time.perf_counter() - start
    print(json.dumps({"rows_per_second": len(catalog) / seconds, "seconds": seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
