"""What each part of the heads on frozen features is worth: paired out-of-fold differences, with intervals.

    make ablate                                            # every row on every catalogue, three fold seeds
    python -m benchmarks.ablate kernel no-title --data items --seeds 42
    python -m benchmarks.ablate --missing --data openclipart

Needs the catalogues in MMCLF_REAL_DATA (default ../shared/data) and a local-dir: model in MMCLF_BENCH_MODEL (default:
made by the tool beside the data). Features are kept in the cache. A row of the table is a way to make out-of-fold
probabilities, compared with another on the same folds: the mean over the fold seeds, and a 95 % bootstrap interval over
the rows, or groups where there are some. Figures of pools are nested: their weights are fitted on the other folds.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mmclf.config import KERNELS, resolve_config
from mmclf.data.folds import Split
from mmclf.evaluation.intervals import mean_interval
from mmclf.evaluation.metrics import calibration_error, is_in_top_k, log_loss
from mmclf.evaluation.pool import pool_out_of_fold
from mmclf.evaluation.probabilities import ProbabilityTable, join_folds
from mmclf.evaluation.thresholds import hold_out
from mmclf.model.frozen_encoder import Encoder
from mmclf.model.kernels import FEATURES, OF_PICTURES, OF_TEXTS, Prepared
from mmclf.model.towers import LazyBackbone
from mmclf.runtime.device import pick_device, pick_precision
from mmclf.store.cache import open_cache
from mmclf.training.feature_loader import TableFeatures
from mmclf.training.kernel_fit import FittedHead, fit_kernel_head
from mmclf.training.zero_shot_fit import ZeroShotSolver
from mmclf.tuning.heads import heads_on
from mmclf.workflows.plan import CONFIGS, TEXTS_ALONE, ZERO_SHOT
from mmclf.workflows.tables import read_split

from .bench import DATA, find_model

CATALOGUES = ("luma", "openclipart", "items")
SEEDS = (42, 43, 44)
MAX_LEN = 160
OF_TEXT, OF_PICTURE = tuple(OF_TEXTS), tuple(OF_PICTURES)


class Table:
    """A catalogue in the folds of one seed, and its features."""

    def __init__(self, name: str, seed: int) -> None:
        groups = DATA / name / "groups.csv"
        shared = {
            "model.name": os.environ["MMCLF_BENCH_MODEL"],
            "model.pretrained": None,
            "data.max_len": MAX_LEN,
            "data.multi_image_mode": "mean_pool",
            "data.groups_csv": str(groups) if groups.is_file() else None,
            "train.seed": seed,
        }
        self.config = resolve_config("configs/small-stage1.yaml", shared)
        self.split: Split = read_split(DATA / name / "train.csv", DATA / name / "images", self.config, quiet=True)
        self.targets = self.split.catalog.targets(self.split.catalog.classes)
        self.classes = len(self.split.catalog.classes)
        cache = open_cache()
        self.backbone = LazyBackbone(shared["model.name"], None, self.config.data.img_size, cache)
        device = pick_device()
        precision = pick_precision(device, amp=True)
        encoder = Encoder(self.backbone, self.config.data, precision=precision, device=device, cache=cache, seed=seed)
        self.features = TableFeatures(self.split.catalog.rows, encoder)
        self.known: dict[str, np.ndarray] = {}

    @cached_property
    def prepared(self) -> Prepared:
        """The rows with their terms counted."""
        return Prepared.of(self.features.head_inputs(FEATURES), KERNELS)

    def out_of_fold(self, score: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> np.ndarray:
        """Probabilities (rows, classes) of each fold's rows, from its training rows."""
        found = np.empty((len(self.targets), self.classes))
        for fold in self.split.numbers:
            held_out = self.split.held_out(fold)
            found[held_out] = score(self.split.train_rows(fold), held_out, fold)
        return found

    def fitted(self, rows: np.ndarray, kernels: Sequence[str]) -> FittedHead:
        """A kernel head of some rows, and what it knows of them."""
        groups = self.split.catalog.groups
        named = None if groups is None else [groups[row] for row in rows]
        names = [name for name in KERNELS if name in kernels]
        seed = self.config.train.seed
        return fit_kernel_head(self.prepared, rows, self.targets[rows], self.classes, names, named, seed)

    @property
    def table(self) -> Callable[[np.ndarray], ProbabilityTable]:
        """Makes a table of out-of-fold probabilities."""
        catalog = self.split.catalog
        return lambda p: ProbabilityTable(
            catalog.ids, catalog.classes, p.astype(np.float32), self.split.folds, catalog.labels
        )


def kernel(*names: str) -> Callable[[Table], np.ndarray]:
    """A kernel head on these kernels."""

    def make(table: Table) -> np.ndarray:
        inputs = table.prepared.inputs
        return table.out_of_fold(
            lambda train, held_out, _: table.fitted(train, names).head.probabilities(inputs.take(held_out)).numpy()
        )

    return make


def mlp(table: Table) -> np.ndarray:
    """The MLP of configs/small-stage1.yaml."""
    heads = heads_on(table.features, table.backbone.spec, pick_device())
    return join_folds(list(heads(table.config, table.split)), table.split.catalog.ids).probabilities


def names(table: Table) -> np.ndarray:
    """The classes' names compared with the texts; see `plan.TEXTS_ALONE`."""
    config = resolve_config(CONFIGS[ZERO_SHOT], {"train.seed": table.config.train.seed} | TEXTS_ALONE)
    solver = ZeroShotSolver(table.split.catalog, config, table.features, table.backbone.spec.identity)
    return table.out_of_fold(
        lambda train, held_out, _: solver.fit(train).head.probabilities(solver.inputs.take(held_out)).numpy()
    )


def regression(table: Table) -> np.ndarray:
    """A logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = table.prepared.inputs.features

    def score(train: np.ndarray, held_out: np.ndarray, _: int) -> np.ndarray:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
        model.fit(features[train], table.targets[train])
        return _spread(model.predict_proba(features[held_out]), model.classes_, table.classes)

    return table.out_of_fold(score)


def tf_idf(table: Table) -> np.ndarray:
    """A logistic regression on TF-IDF of words 1-2 and characters 2-5: what one does without towers."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    texts = np.array(table.split.catalog.rows.texts, dtype=object)

    def score(train: np.ndarray, held_out: np.ndarray, _: int) -> np.ndarray:
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        chars = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
        model = make_pipeline(make_union(words, chars), LogisticRegression(C=10, max_iter=300))
        model.fit(texts[train], table.targets[train])
        return _spread(model.predict_proba(texts[held_out]), model.classes_, table.classes)

    return table.out_of_fold(score)


def _spread(found: np.ndarray, known: np.ndarray, classes: int) -> np.ndarray:
    spread = np.zeros((len(found), classes))
    spread[:, known] = found
    return spread


def pool(*names: str) -> Callable[[Table], np.ndarray]:
    """Rows of the table above, pooled."""
    return lambda table: pool_out_of_fold(
        [made(table, name) for name in names], table.targets, np.asarray(table.split.folds)
    )


@dataclass(frozen=True)
class Row:
    """A way to make probabilities, and what it is compared with; "" for nothing."""

    make: Callable[[Table], np.ndarray]
    against: str = ""


def _without(*names: str) -> tuple[str, ...]:
    return tuple(name for name in KERNELS if name not in names)


ROWS = {
    "tf-idf": Row(tf_idf),
    "regression": Row(regression),
    "mlp": Row(mlp, "regression"),
    "kernel": Row(kernel(*KERNELS), "regression"),
    "no-layers": Row(kernel(*_without("layers")), "kernel"),
    "no-title-chars": Row(kernel(*_without("title_chars")), "kernel"),
    "no-outline": Row(kernel(*_without("outline")), "kernel"),
    "no-title": Row(kernel(*_without("title")), "kernel"),
    "no-terms": Row(kernel(*_without("words", "chars")), "kernel"),
    "no-product": Row(kernel(*_without("product")), "kernel"),
    "text-alone": Row(kernel(*OF_TEXT), "kernel"),
    "image-alone": Row(kernel(*OF_PICTURE), "kernel"),
    "names": Row(names),
    "kernel+mlp": Row(pool("kernel", "mlp"), "kernel"),
    "kernel+mlp+names": Row(pool("kernel", "mlp", "names"), "kernel+mlp"),
}


def made(table: Table, name: str) -> np.ndarray:
    """The probabilities of a row, once."""
    if name not in table.known:
        table.known[name] = ROWS[name].make(table)
    return table.known[name]


def ablate(name: str, rows: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """The lines of one catalogue, Markdown."""
    tables = [Table(name, seed) for seed in seeds]
    lines = [
        f"| {name} | top-1 | loss | error | covered at 98 % | against | points, 95 % interval | s a seed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        start = time.perf_counter()
        found = [made(table, row) for table in tables]
        seconds = (time.perf_counter() - start) / len(seeds)
        targets, other = tables[0].targets, ROWS[row].against
        hits = np.mean([is_in_top_k(p, targets, 1) for p in found], axis=0)
        told = ""
        if other:
            gains = hits - np.mean([is_in_top_k(made(table, other), targets, 1) for table in tables], axis=0)
            gain = mean_interval(gains, tables[0].split.catalog.groups)
            told = f"{100 * gain.value:+.2f} ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})"
        loss = np.mean([log_loss(p, targets) for p in found])
        error = np.mean([calibration_error(p, targets) for p in found])
        covered = np.mean([hold_out(t.table(p), 0.98).coverage for t, p in zip(tables, found, strict=True)])
        figures = f"{hits.mean():.4f} | {loss:.3f} | {error:.3f} | {covered:.2f}"
        lines.append(f"| {row} | {figures} | {other} | {told} | {seconds:.0f} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def missing(name: str, seed: int) -> list[str]:
    """What it costs to take the picture, or the text, from half of the held-out rows."""
    table = Table(name, seed)
    lines = [f"| {name} | those rows, whole | without it | a head that never had it |", "| --- | --- | --- | --- |"]
    half = np.random.default_rng(0).random(len(table.targets)) < 0.5
    whole = made(table, "kernel")
    inputs = table.prepared.inputs
    for what, alone in (("picture", "text-alone"), ("text", "image-alone")):
        less = inputs.without_picture() if what == "picture" else inputs.without_text()
        poorer = table.out_of_fold(
            lambda train, held_out, _, less=less: (
                table.fitted(train, KERNELS).head.probabilities(less.take(held_out)).numpy()
            )
        )
        reached = [is_in_top_k(p, table.targets, 1)[half].mean() for p in (whole, poorer, made(table, alone))]
        lines.append(f"| {what} taken away | " + " | ".join(f"{value:.4f}" for value in reached) + " |")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="What each part of the heads is worth.")
    parser.add_argument("rows", nargs="*", metavar="row", help=f"of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--data", nargs="+", choices=CATALOGUES, default=list(CATALOGUES))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--missing", action="store_true", help="take pictures and texts away instead")
    options = parser.parse_args(argv)
    unknown = sorted(set(options.rows) - set(ROWS))
    if unknown:
        parser.error(f"found {unknown[0]!r}; the rows are {', '.join(ROWS)}")
    with tempfile.TemporaryDirectory(prefix="mmclf-ablate-") as folder:
        os.environ["MMCLF_BENCH_MODEL"] = find_model(Path(folder))
        for name in options.data:
            rows = options.rows or list(ROWS)
            lines = missing(name, options.seeds[0]) if options.missing else ablate(name, rows, options.seeds)
            print("\n".join(lines), end="\n\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
