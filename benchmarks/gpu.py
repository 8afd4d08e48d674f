"""How much of a GPU's matrix rate mmclf uses, with pictures in memory and from files.

    make bench-gpu                              # ViT-L/14 with random weights, on CUDA
    python -m benchmarks.gpu --dry-run          # a small model on any device, to see that it runs

Rates count the floating-point operations of the towers by torch's FlopCounterMode, twice a multiplication with its
addition. They are compared with the rate of one large bfloat16 product on the same card, measured in the same run, and
with the rate that the maker states, where it is known.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from mmclf.config import build_config
from mmclf.data.catalog import Catalog
from mmclf.data.images import draft_side
from mmclf.data.pictures import Pictures
from mmclf.data.row_batches import Batch, Loader, RowDataset
from mmclf.data.rows import Rows
from mmclf.model.backbone import Backbone
from mmclf.model.checkpoint import build_head
from mmclf.model.classifier import Classifier
from mmclf.model.loading import load_backbone
from mmclf.runtime.device import allow_tf32, encoding_batch, pick_device, pick_precision, pick_workers
from mmclf.runtime.speed import Stopwatch, peak_memory
from mmclf.training.optimisation import linear_schedule

# dense bfloat16 rates of the data sheets, in TFLOP/s, by what the card is called
STATED = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "RTX 4090": 165.0, "A10": 125.0}
CLASSES = 21


def draw_catalog(folder: Path, rows: int, side: int) -> Catalog:
    """Rows with a photo-like JPEG each: smooth noise, so that decoding costs what a photo's does."""
    rng = np.random.default_rng(0)
    names = []
    for number in range(min(rows, 64)):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        picture = coarse.resize((side * 4 // 3, side), Image.Resampling.BICUBIC)
        grain = rng.normal(0, 6, (side, side * 4 // 3, 3))
        Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8)).save(
            folder / f"{number}.jpg", quality=88
        )
        names.append(f"{number}.jpg")
    words = [
        "red",
        "cotton",
        "shirt",
        "with",
        "long",
        "sleeves",
        "and",
        "a",
        "small",
        "pocket",
        "for",
        "summer",
        "days",
    ]
    return Catalog(
        rows=Rows(
            ids=[str(row) for row in range(rows)],
            texts=[" ".join(rng.choice(words, 8)) for _ in range(rows)],
            pictures=[(names[row % len(names)],) for row in range(rows)],
            picture_source=folder,
        ),
        name="drawn",
        table_path=None,
        id_col="id",
        label_col="label",
        text_cols=("title",),
        labels=[str(row % CLASSES) for row in range(rows)],
    )


def product_rate(device: torch.device, side: int) -> float:
    """TFLOP/s of a bfloat16 product of two square matrices; the best of many."""
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    b = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    best = min(timed(lambda: a @ b, device) for _ in range(20))
    return 2 * side**3 / best / 1e12


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds that some work takes on the device."""
    wait_for(device)
    start = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - start


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def count_flops(work: Callable[[], Any]) -> int:
    # the counter can't see into torch's fused attention for inference
    was_fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter:
            work()
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fused)
    return int(counter.get_total_flops())


def encode(model: Classifier, batches: Iterable[Batch], device: torch.device) -> tuple[float, float]:
    """Seconds, and share of waiting for data, of encoding batches with frozen towers."""
    watch = Stopwatch()
    with torch.inference_mode():
        for batch in watch.waiting(batches):
            model.features(batch.to(device))
        wait_for(device)
    return watch.seconds, watch.wait_share


def fine_tune(model: Classifier, batches: Iterable[Batch], device: torch.device, steps: int) -> tuple[float, float]:
    """The same of training on them: forward, backward, optimiser."""
    model.train()
    rates = build_config(TREE).train.lrs
    optimizer = torch.optim.AdamW(model.parameter_groups(rates), fused=device.type in ("cpu", "cuda"))
    scheduler = linear_schedule(optimizer, 0, steps)
    watch = Stopwatch()
    for batch in watch.waiting(batches):
        moved = batch.to(device)
        loss = torch.nn.functional.cross_entropy(model(moved), moved.targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        scheduler.step()
    wait_for(device)
    return watch.seconds, watch.wait_share


TREE: dict[str, Any] = {
    "model": {"name": "ViT-L-14-quickgelu", "pretrained": None, "clip_trainable": True},
    "train": {
        "epochs": 1,
        "batch_size": 32,
        "lrs": {"image_encoder": 1e-5, "text_encoder": 1e-5, "head": 3e-4},
    },
}


def make_loader(
    backbone: Backbone, catalog: Catalog, batch_size: int, device: torch.device, workers: int, *, training: bool
) -> Loader:
    pictures = Pictures(catalog.image_root, backbone.transform, draft=draft_side([backbone.transform.img_size]))
    tokens = backbone.tokenize(catalog.rows.texts, 77 if backbone.tokenizer.context_length >= 77 else 16)
    loader = Loader(
        RowDataset(catalog.rows, pictures, "first", 0),
        tokens,
        catalog.targets(catalog.classes),
        np.arange(len(catalog)),
        batch_size=batch_size,
        num_workers=workers,
        shuffle_seed=0 if training else None,
        pin_memory=device.type == "cuda",
    )
    loader.set_epoch(1) if training else None
    return loader


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures."""
    device = pick_device()
    allow_tf32(device)
    precision = pick_precision(device, amp=True)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    peak = product_rate(device, 512 if args.dry_run else 8192)
    stated = next((rate for key, rate in STATED.items() if key in name), None)
    figures: dict[str, Any] = {"device": name, "precision": precision.name, "product_tflops": peak, "stated": stated}
    workers = pick_workers(device, args.workers)
    catalog = draw_catalog(folder, args.rows, args.side)
    for work, trained in (("encode", False), ("fine_tune", True)):
        backbone = load_backbone(args.model, None, args.img_size).to(device)
        if args.compile:
            backbone.compile_towers()
        config = build_config(TREE)
        head = build_head(backbone.identity, config, CLASSES).to(device)
        model = Classifier(backbone, head, precision, clip_trainable=trained).to(device)
        model.train(trained)
        size = args.batch_size or (64 if trained else encoding_batch(device))
        from_files = make_loader(backbone, catalog, size, device, workers, training=trained)
        batches = [batch for batch in from_files if len(batch) == size]
        moved = [batch.to(device) for batch in batches]
        rows = sum(map(len, batches))

        def run(source: Iterable[Batch], model: Classifier = model, trained: bool = trained) -> tuple[float, float]:
            return fine_tune(model, source, device, 1000) if trained else encode(model, source, device)

        run(moved[:2])  # warms up, and compiles where that is on
        if trained:
            flops = 3 * count_flops(lambda model=model, batch=moved[0]: model.features(batch))
        else:
            with torch.inference_mode():
                flops = count_flops(lambda model=model, batch=moved[0]: model.features(batch))
        in_memory, _ = run(moved)
        on_disk, wait = run(batch for batch in from_files if len(batch) == size)
        rate = flops * len(moved) / in_memory / 1e12
        figures[work] = {
            "batch_size": size,
            "rows_per_second": rows / in_memory,
            "tflops": rate,
            "of_product_rate": rate / peak,
            "of_stated_rate": rate / stated if stated else None,
            "rows_per_second_from_files": rows / on_disk,
            "files_against_memory": in_memory / on_disk,
            "data_wait": wait,
            "peak_memory_mib": peak_memory(device),
            "workers": workers,
            "compiled": args.compile,
        }
        print(f"{work}: {json.dumps(figures[work])}", file=sys.stderr, flush=True)
        del model, head, backbone, moved, batches
    return figures


def main(argv: list[str] | None = None) -> int:
    """The command line; prints one line of JSON."""
    parser = argparse.ArgumentParser(description="Measure the use that mmclf makes of a GPU.")
    parser.add_argument("--dry-run", action="store_true", help="a small model and few pictures, on any device")
    parser.add_argument("--model", help="of open_clip, with random weights (default: ViT-L-14-quickgelu)")
    parser.add_argument("--batch-size", type=int, help="default: 256 to encode, 64 to fine-tune")
    parser.add_argument("--rows", type=int, help="default: 4096")
    parser.add_argument("--side", type=int, help="shorter side of the JPEG files (default: 480)")
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--workers", type=int, help="loader processes (default: chosen by the machine)")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None, help="default: on CUDA")
    args = parser.parse_args(argv)
    cuda = torch.cuda.is_available()
    if not cuda and not args.dry_run:
        print("error: no CUDA device; --dry-run shows that the benchmark runs", file=sys.stderr)
        return 2
    args.model = args.model or ("ViT-S-32-alt" if args.dry_run else "ViT-L-14-quickgelu")
    args.rows = args.rows or (16 if args.dry_run else 4096)
    args.side = args.side or (96 if args.dry_run else 480)
    args.compile = cuda if args.compile is None else args.compile
    if args.dry_run:
        args.batch_size = args.batch_size or 4
    with tempfile.TemporaryDirectory(prefix="mmclf-gpu-") as name:
        print(json.dumps(measure(args, Path(name))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
