"""The memory of infer while it scores 100,000 rows.

    python -m benchmarks.memory                 # a tiny CLIP with random weights, five stage-1 heads
    python -m benchmarks.memory --stage2        # the same with two fine-tuned backbones

The entry point itself is run, on a catalogue whose pictures are links to a few files; a thread notes the resident
memory of the process twice a second and how many rows are written by then.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from demo.catalog import draw_catalog
from demo.tiny_clip import make_tiny_clip
from entrypoints import infer
from mmclf.config import DataConfig, build_config
from mmclf.data.catalog import Catalog, read_catalog
from mmclf.data.folds import Split
from mmclf.evaluation.probabilities import ProbabilityTable
from mmclf.model.checkpoint import CheckpointMeta, build_head, save_checkpoint
from mmclf.model.classifier import Classifier
from mmclf.model.loading import load_backbone
from mmclf.records import runs, stages
from mmclf.runtime.device import Precision
from mmclf.scoring.predict import Scoring
from mmclf.training.epoch import EpochResult

SIZE = 32
MIB = 2**20


def many_rows(folder: Path, rows: int) -> Path:
    """A table of so many products, whose pictures are links to those of a drawn shop; returns the CSV."""
    shop = draw_catalog(folder / "shop", rows_per_class=6, test_rows_per_class=1)
    drawn = read_catalog(shop.train_csv, shop.images, DataConfig(), training=True)
    images = folder / "images"
    images.mkdir()
    with (folder / "many.csv").open("w", encoding="utf-8") as file:
        file.write("id,title\n")
        for row in range(rows):
            text = drawn.rows.texts[row % len(drawn)].replace('"', " ")
            file.write(f'p{row},"{text} {row}"\n')
            for name in drawn.rows.pictures[row % len(drawn)][:1]:
                (images / f"p{row}.jpg").symlink_to(drawn.image_root / name)
    return folder / "many.csv"


def make_run(folder: Path, *, stage: str, folds: int) -> str:
    """A finished run with untrained checkpoints; returns its id."""
    shop = folder / "shop"
    catalog: Catalog = read_catalog(shop / "train.csv", shop / "images", DataConfig(), training=True)
    clip = make_tiny_clip(folder / "tiny", image_size=SIZE, steps=0)
    config = build_config(
        {
            "data": {"img_size": SIZE, "max_len": 16, "follow_links": True},
            "model": {"name": f"local-dir:{clip}", "pretrained": None, "clip_trainable": stage == "stage2"},
            "train": {
                "epochs": 1,
                "batch_size": 16,
                "lrs": {"image_encoder": 0.0, "text_encoder": 0.0, "head": 1e-3},
                "folds": folds,
            },
        }
    )
    given = np.arange(len(catalog)) % folds
    split = Split(catalog, given)
    backbone = load_backbone(config.model.name, None, SIZE)
    with stages.record_stage(stage, config, split, backbone.identity) as record:
        for fold in range(folds):
            torch.manual_seed(fold)
            head = build_head(backbone.identity, config, len(catalog.classes))
            model = Classifier(backbone, head, Precision(None, False, ""), clip_trainable=False)
            meta = CheckpointMeta.model_validate(
                {
                    "stage": stage,
                    "fold": fold,
                    "classes": catalog.classes,
                    "id_col": "id",
                    "label_col": catalog.label_col,
                    "text_cols": ("title",),
                    "backbone": backbone.identity,
                    "transform": backbone.transform,
                    "config": config,
                    "metrics": {},
                }
            )
            save_checkpoint(folder / f"fold-{fold}", model.state_dict(), meta)
            rows = np.flatnonzero(given == fold)
            probabilities = np.full((len(rows), len(catalog.classes)), 1 / len(catalog.classes), dtype=np.float32)
            table = ProbabilityTable(
                [catalog.ids[row] for row in rows],
                catalog.classes,
                probabilities,
                given[rows],
                [(catalog.labels or [])[row] for row in rows],
            )
            result = EpochResult(1, 0.0, 0.0, 0.0, 0.0, {"head": 0.0}, 1.0, 1.0, 0.0, 0.0, True, probabilities)
            with record.fold(fold) as fold_record:
                fold_record.epoch(result)
                fold_record.finish(folder / f"fold-{fold}", table, [])
        record.finish(catalog)
    return record.run_id


class Watch(threading.Thread):
    """Notes (rows scored, resident MiB) until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.notes: list[tuple[int, float]] = []
        self.rows = 0
        self._done = threading.Event()

    def run(self) -> None:
        process = psutil.Process()
        while not self._done.wait(0.5):
            self.notes.append((self.rows, process.memory_info().rss / MIB))

    def stop(self) -> None:
        self._done.set()
        self.join()


def measure(folder: Path, *, rows: int, stage: str, folds: int) -> dict[str, Any]:
    """Score the rows, and say how much the memory grew from row 10,000 (a tenth of the rows) on."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    os.chdir(folder)
    runs.connect()
    table = many_rows(folder, rows)
    run_id = make_run(folder, stage=stage, folds=folds)
    watch = Watch()
    score = Scoring._score_chunk

    def counted(self: Any, chunk: Any, first_row: int) -> Any:
        done = score(self, chunk, first_row)
        watch.rows += len(chunk)
        return done

    Scoring._score_chunk = counted  # type: ignore[method-assign]
    watch.start()
    out = folder / "out"
    options = ["--csv", str(table), "--images", str(folder / "images"), "--model", run_id, "--out", str(out)]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            failed = infer.main(options)
        if failed:
            raise SystemExit("infer failed")
    finally:
        watch.stop()
        Scoring._score_chunk = score  # type: ignore[method-assign]
    before = max(memory for scored, memory in watch.notes if scored <= rows // 10)
    after = max(memory for _, memory in watch.notes)
    return {
        "rows": rows,
        "stage": stage,
        "mib_until_a_tenth": round(before, 1),
        "mib_at_most": round(after, 1),
        "growth_mib": round(after - before, 1),
        "output": str(out / "probabilities.parquet"),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; prints one line of JSON."""
    parser = argparse.ArgumentParser(description="The memory of infer on many rows.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--stage2", action="store_true", help="fine-tuned backbones, which need a pass each")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="mmclf-memory-") as name:
        stage, folds = ("stage2", 2) if options.stage2 else ("stage1", 5)
        print(json.dumps(measure(Path(name), rows=options.rows, stage=stage, folds=folds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
