"""What `fit` serves is worth what it said: the whole command on four fifths of a catalogue, judged by the last fifth.

    python -m benchmarks.served --data openclipart

Five outer folds (grouped where there are groups) of the training table; for each, `mmclf.fit` on the other rows, and
the registered model asked for the rows that it has never seen: top-1, loss, calibration error in 15 bins of equal mass,
and what its precision thresholds hold. Beside it what fit expected from its own folds. Needs what `benchmarks.ablate`
needs; features come from the cache. Test splits aren't touched.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import mmclf
from mmclf.config import resolve_config
from mmclf.evaluation.metrics import calibration_error, log_loss, top_k
from mmclf.records.runs import connect
from mmclf.records.sources import Use, find_sources
from mmclf.workflows.tables import read_split

from .ablate import CATALOGUES, MAX_LEN
from .bench import DATA, find_model

OUTER_SEED = 7
ASKED = (0.9, 0.95, 0.98)


def serve(name: str) -> list[str]:
    """The lines of one catalogue, Markdown."""
    groups = DATA / name / "groups.csv"
    shared = {
        "model.name": os.environ["MMCLF_BENCH_MODEL"],
        "model.pretrained": None,
        "data.max_len": MAX_LEN,
        "data.groups_csv": str(groups) if groups.is_file() else None,
    }
    images = DATA / name / "images"
    outer = resolve_config("configs/kernel-stage1.yaml", shared | {"train.seed": OUTER_SEED})
    split = read_split(DATA / name / "train.csv", images, outer, quiet=True)
    frame = pd.read_csv(DATA / name / "train.csv", dtype=str, keep_default_na=False)
    catalog = split.catalog
    found = np.zeros((len(catalog), len(catalog.classes)))
    labelled = {precision: np.zeros(len(catalog), dtype=bool) for precision in ASKED}
    expected = []
    for fold in split.numbers:
        unseen = split.held_out(fold)
        made = mmclf.fit(
            frame.iloc[split.train_rows(fold)], images=images, overrides=shared, name=f"{name}-{fold}", report=False
        )
        expected.append(made.figures["value"])
        answers = mmclf.infer(frame.iloc[unseen], images=images, model=made.model).probabilities
        found[unseen] = answers[list(catalog.classes)].to_numpy()
        mixture = find_sources(connect(), made.model, Use())[0].mixture
        for precision in ASKED:
            try:
                least = mixture.least_confidence(precision)
            except mmclf.MmclfError as error:
                print(f"{name}, fold {fold}: {error}", file=sys.stderr)
                continue
            labelled[precision][unseen] = found[unseen].max(axis=1) >= least
    targets = catalog.targets(catalog.classes)
    hits = found.argmax(axis=1) == targets
    held = "; ".join(
        f"{precision:g}: {hits[chosen].mean():.3f} on {chosen.mean():.2f}" if chosen.any() else f"{precision:g}: none"
        for precision, chosen in labelled.items()
    )
    return [
        "| catalogue | top-1 expected | top-1 | loss | error | thresholds: precision on share of rows |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| {name} | {np.mean(expected):.4f} | {top_k(found, targets, 1):.4f} | {log_loss(found, targets):.3f} | "
        f"{calibration_error(found, targets):.3f} | {held} |",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="What the model of `fit` is worth on rows that it has never seen.")
    parser.add_argument("--data", nargs="+", choices=CATALOGUES, default=list(CATALOGUES))
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MMCLF_BENCH_MODEL"] = find_model(Path(folder))
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.chdir(folder)
        for name in options.data:
            print("\n".join(serve(name)), end="\n\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
