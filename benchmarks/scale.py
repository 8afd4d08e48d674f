"""Time and memory of the heads as tables grow: one fold of a thousand to a million rows, on drawn features.

    python -m benchmarks.scale                                  # kernel and MLP head, 1,000 to 1,000,000 rows: hours
    python -m benchmarks.scale --rows 1000 10000 --heads mlp

Each line is a process of its own: 50 classes, features of pictures, texts and titles (768 wide, as ViT-L/14's), a tenth
of the rows without a picture, and texts of a dozen words. The kernel head is solved and scores 2,000 rows more; the MLP
head is trained as `fit` does (configs/small-stage1.yaml with its rule for the batch) and validated on them. `features`
is what the drawn features alone take.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mmclf.config import KERNELS, resolve_config
from mmclf.evaluation.metrics import top_k
from mmclf.model.checkpoint import build_head
from mmclf.model.classifier import HeadModel
from mmclf.model.head_inputs import HeadInputs
from mmclf.model.identity import BackboneIdentity
from mmclf.model.kernels import Prepared
from mmclf.runtime.device import pick_device
from mmclf.runtime.machine import find_machine
from mmclf.training.feature_loader import FeatureLoader
from mmclf.training.fold_task import FoldTask
from mmclf.training.kernel_fit import fit_kernel_head
from mmclf.training.loop import fit
from mmclf.workflows import plan

ROWS = (1_000, 10_000, 100_000, 1_000_000)
CLASSES, WIDTH, WORDS, OTHERS = 50, 768, 5000, 2000
HEADS = ("kernel", "mlp")
# how far a row lies from the centre of its class, for each number of its features
NOISE = 4.0


@dataclass
class Drawn:
    """Drawn rows; offers what a loader asks of a table's features."""

    inputs: HeadInputs
    targets: np.ndarray

    def images(self, view: int) -> np.ndarray:
        """float32 (rows, WIDTH)."""
        return self.inputs.images

    def texts(self) -> np.ndarray:
        """float32 (rows, WIDTH)."""
        return self.inputs.texts


def draw(rows: int, seed: int = 0) -> Drawn:
    """So many rows."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, CLASSES, rows)
    centres = rng.normal(size=(3, CLASSES, WIDTH)).astype(np.float32)

    def features(number: int) -> np.ndarray:
        found = rng.standard_normal((rows, WIDTH), dtype=np.float32)
        found *= NOISE
        for start in range(0, rows, 10_000):
            part = slice(start, start + 10_000)
            found[part] += centres[number][targets[part]]
        return found

    words = [f"w{number}" for number in range(WORDS)]
    picked = rng.integers(0, WORDS, (rows, 12))
    hints = targets + rng.integers(0, 2, rows)
    texts = [" ".join(words[each] for each in row) + f" c{hint}" for row, hint in zip(picked, hints, strict=True)]
    has_picture = rng.random(rows) > 0.1
    nothing = np.empty((rows, 0), dtype=np.float32)
    inputs = HeadInputs(features(0), features(1), has_picture, texts, nothing, nothing, features(2), texts)
    return Drawn(inputs, targets)


def peak() -> float:
    """GiB of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def solve_kernel(drawn: Drawn, chosen: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """Seconds of a kernel head, and of its scores."""
    start = time.perf_counter()
    table = Prepared.of(drawn.inputs, KERNELS)
    head = fit_kernel_head(table, chosen, drawn.targets[chosen], CLASSES, list(KERNELS), None, 0).head
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    probabilities = head.probabilities(drawn.inputs.take(others)).numpy()
    scoring = time.perf_counter() - start
    return {"seconds": seconds, "scoring": scoring, "top1": top_k(probabilities, drawn.targets[others], 1)}


def train_mlp(drawn: Drawn, chosen: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """Seconds of an MLP head, all its epochs."""
    config = resolve_config(plan.CONFIGS[plan.MLP_HEAD], plan.mlp_step(len(chosen), 5, find_machine()).changes)
    identity = BackboneIdentity("drawn", "", "gelu", "", WIDTH, WIDTH)
    model = HeadModel(build_head(identity, config, CLASSES))
    size = config.train.batch_size
    train = FeatureLoader(drawn, drawn.targets, chosen, batch_size=size, shuffle_seed=0)  # type: ignore[arg-type]
    validation = FeatureLoader(drawn, drawn.targets, others, batch_size=size)  # type: ignore[arg-type]
    for loader in (train, validation):
        loader.set_epoch(1)
    start = time.perf_counter()
    task = FoldTask("stage1", 0, config, model.to(pick_device()), train, validation, pick_device())
    results = list(fit(task))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "scoring": 0.0, "top1": max(result.val_top1 for result in results)}


def measure(head: str, rows: int, sender) -> None:
    """One line of the table, in a process of its own."""
    drawn = draw(rows + OTHERS)
    before = peak()
    chosen, others = np.arange(rows), np.arange(rows, rows + OTHERS)
    found = (solve_kernel if head == "kernel" else train_mlp)(drawn, chosen, others)
    sender.send(found | {"features": before, "peak": peak()})


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Time and memory of the heads by the number of rows.")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=HEADS)
    options = parser.parse_args(argv)
    spawn = multiprocessing.get_context("spawn")
    print(f"{find_machine()}, {torch.get_num_threads()} threads", file=sys.stderr)
    print("| head | rows | seconds | ms a row | scoring 2,000 rows, s | top-1 | features, GiB | peak, GiB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for rows in options.rows:
        for head in options.heads:
            receiver, sender = spawn.Pipe(duplex=False)
            process = spawn.Process(target=measure, args=(head, rows, sender))
            process.start()
            sender.close()
            try:
                found = receiver.recv()
            except EOFError:
                found = None
            process.join()
            if found is None:
                print(f"| {head} | {rows:,} | ended with code {process.exitcode} |", flush=True)
                continue
            print(
                f"| {head} | {rows:,} | {found['seconds']:.1f} | {1000 * found['seconds'] / rows:.2f} | "
                f"{found['scoring']:.1f} | {found['top1']:.3f} | {found['features']:.1f} | {found['peak']:.1f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
