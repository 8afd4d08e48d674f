"""How well likely label errors are found: 5 % of the labels are replaced, and looked for among the most doubtful rows.

    python -m benchmarks.label_errors                            # every catalogue, five seeds: an hour on one core
    python -m benchmarks.label_errors --data luma --seeds 0 1

Needs what benchmarks/ablate.py does. Each seed gives other rows another label, drawn uniformly; the folds' kernel
heads, what is fused with them and a logistic regression are trained with the replaced labels. A ranking is judged by
the share of replaced labels among its first rows, as many as were replaced. The catalogues' own wrong labels count
against it.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmclf.config import KERNELS
from mmclf.evaluation.label_errors import LEAST, count_errors, doubt, with_groups
from mmclf.evaluation.pool import fit_pool

from .ablate import CATALOGUES, Table, made
from .bench import find_model

SHARE = 0.05
SEEDS = (0, 1, 2, 3, 4)
FOLD_SEED = 42


def replace_labels(targets: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """int64 (rows,): the targets with SHARE of them replaced by another class, all others alike."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(targets), round(SHARE * len(targets)), replace=False)
    replaced = targets.copy()
    replaced[rows] = (targets[rows] + rng.integers(1, classes, len(rows))) % classes
    return replaced


def _of_given(p: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return p[np.arange(len(targets)), targets]


def _best_other(p: np.ndarray, targets: np.ndarray) -> np.ndarray:
    others = p.copy()
    others[np.arange(len(targets)), targets] = -np.inf
    return others.max(axis=1)


def self_confidence(p: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """How improbable the given class is."""
    return -_of_given(p, targets)


def margin(p: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """How much more probable the likeliest other class is."""
    return _best_other(p, targets) - _of_given(p, targets)


def ratio(p: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The same as a ratio."""
    return np.log(_best_other(p, targets)) - np.log(_of_given(p, targets))


def against_prior(p: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """How much less probable the given class is than on average."""
    prior = np.bincount(targets, minlength=p.shape[1]) / len(targets)
    return np.log(prior[targets]) - np.log(_of_given(p, targets))


def adjusted(p: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Self-confidence less that of the class, as confident learning adjusts it."""
    usual = np.array([p[targets == c, c].mean() if (targets == c).any() else 1.0 for c in range(p.shape[1])])
    moved = p - usual + usual.max()
    return -_of_given(moved / moved.sum(axis=1, keepdims=True), targets)


def by_entropy(p: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Self-confidence by the entropy: confidence-weighted entropy."""
    entropy = -(p * np.log(p)).sum(axis=1) / np.log(p.shape[1])
    return -_of_given(p, targets) / np.maximum(entropy, LEAST)


RANKINGS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "self-confidence": self_confidence,
    "margin": margin,
    "log ratio": ratio,
    "against the prior": against_prior,
    "adjusted": adjusted,
    "by entropy": by_entropy,
    "mmclf's": doubt,
}


def found(doubts: np.ndarray, wrong: np.ndarray) -> float:
    """Share of replaced labels, bool (rows,), among as many of the most doubtful rows."""
    first = np.argsort(-doubts, kind="stable")[: int(wrong.sum())]
    return float(wrong[first].mean())


def measure(name: str, seeds: Sequence[int]) -> list[str]:
    """The lines of one catalogue, Markdown."""
    table = Table(name, FOLD_SEED)
    clean, groups = table.targets, table.split.catalog.groups
    shares: dict[str, list[float]] = {}
    counts = []
    start = time.perf_counter()
    split = table.split
    for seed in seeds:
        table.targets = given = replace_labels(clean, table.classes, seed)
        labels = [split.catalog.classes[target] for target in given]
        table.split = replace(split, catalog=replace(split.catalog, labels=labels))
        table.known.clear()
        wrong = given != clean
        by_regression = np.maximum(made(table, "regression"), LEAST)
        shares.setdefault("logistic regression, self-confidence", []).append(
            found(self_confidence(by_regression, given), wrong)
        )
        p = np.maximum(made(table, "kernel"), LEAST)
        for ranking, rank in RANKINGS.items():
            shares.setdefault(f"kernel head, {ranking}", []).append(found(rank(p, given), wrong))
        left_out = table.fitted(np.arange(len(given)), KERNELS).left_out
        assert left_out is not None  # noqa: S101 - the catalogues are small
        shares.setdefault("kernel head of all rows, mmclf's", []).append(found(doubt(left_out, given), wrong))
        fused = np.maximum(made(table, "kernel+mlp+names"), LEAST)
        shares.setdefault("fusion, self-confidence", []).append(found(self_confidence(fused, given), wrong))
        shares.setdefault("fusion, mmclf's", []).append(found(doubt(fused, given), wrong))
        members = [made(table, each) for each in ("kernel", "mlp", "names")]
        fused = fit_pool(members, given).combine([left_out, *members[1:]])
        shares.setdefault("fusion with the head of all rows, mmclf's", []).append(found(doubt(fused, given), wrong))
        beliefs = with_groups(fused, given, groups)
        if groups is not None:
            shares.setdefault("fusion, mmclf's with groups", []).append(found(doubt(beliefs, given), wrong))
        counts.append(count_errors(beliefs, given))
        print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    lines = [f"| {name}, {int(wrong.sum())} of {len(wrong):,} replaced | found | worst to best seed |"]
    lines.append("| --- | --- | --- |")
    for ranking, reached in shares.items():
        lines.append(f"| {ranking} | {np.mean(reached):.3f} | {min(reached):.3f} to {max(reached):.3f} |")
    lines.append(f"| counted as wrong | {np.mean(counts):.0f} | {min(counts)} to {max(counts)} |")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="How well likely label errors are found.")
    parser.add_argument("--data", nargs="+", choices=CATALOGUES, default=list(CATALOGUES))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="mmclf-labels-") as folder:
        os.environ["MMCLF_BENCH_MODEL"] = find_model(Path(folder))
        for name in options.data:
            print("\n".join(measure(name, options.seeds)), end="\n\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
