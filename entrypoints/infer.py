"""Score a table with the folds of a stage-2 run (or a stage-1 run), averaged, with flip TTA.

    python -m entrypoints.infer --csv test.csv --images images/

Another scale is `--overrides data.img_size=280`; `ensemble` averages the runs.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from mmclf import tracking
from mmclf.catalog import read_catalog
from mmclf.checkpoint import Checkpoint
from mmclf.config import Config, build_config, read_yaml
from mmclf.device import pick_device, pick_precision
from mmclf.errors import ConfigError, RunError
from mmclf.predict import check_classes, predict_catalog
from mmclf.probabilities import ProbabilityTable, write_submission
from mmclf.progress import clock, say

from .common import absolute_paths, describe, parse_fold, run, say_unreadable

DEFAULTS = {
    "csv": None,
    "images": None,
    "config": "",
    "overrides": "",
    "fold": "all",
    "stage2_run": "",
    "stage1_run": "",
    "out": "",
}


def infer(options: argparse.Namespace) -> dict[str, Any]:
    """Write submission.csv and probabilities.parquet; returns the headline figures."""
    client = tracking.connect()
    source = _source(client, options)
    checkpoints = tracking.fold_checkpoints(client, source, parse_fold(options.fold))
    check_classes(checkpoints)
    meta = checkpoints[0].meta
    config = _config(options, meta.config)
    columns = {"text_cols": config.data.text_cols if config.data.text_cols is not None else list(meta.text_cols)}
    catalog = read_catalog(options.csv, options.images, config.data.model_copy(update=columns), training=False)
    say(f"{catalog.table_path}: {describe(catalog.summary())}")
    say(f"infer: {_folds(checkpoints)} of {meta.stage} run {source.info.run_id}")
    expected = meta.config.train.folds
    if len(checkpoints) < expected and options.fold == "all":
        say(f"warning: the run holds {len(checkpoints)} of {expected} folds; the others were not trained in it")
    tags = {"source_run": source.info.run_id, "folds": _folds(checkpoints), "img_size": str(config.data.img_size)}
    with tracking.record_scores("infer", f"infer {catalog.table_path.name}", tags, catalog) as record:
        start = time.perf_counter()
        device = pick_device()
        precision = pick_precision(device, config.train.amp)
        prediction = predict_catalog(
            catalog, checkpoints, config.data, config.infer, device=device, precision=precision
        )
        seconds = time.perf_counter() - start
        say_unreadable(prediction.unreadable)
        table = ProbabilityTable(catalog.ids, meta.classes, prediction.probabilities)
        figures = {
            "rows": len(catalog),
            "seconds": seconds,
            "rows_per_second": len(catalog) / seconds,
            "data/unreadable_pictures": len(prediction.unreadable),
            "data/truncated_texts": prediction.truncated,
        }
        output = store(record, table, meta.id_col, meta.label_col, figures, config.to_yaml(), options.out)
    say(f"infer: {len(catalog):,} rows in {clock(seconds)}, {len(catalog) / seconds:.1f} rows/s -> {output}")
    return {"run_id": record.info.run_id, "rows": len(catalog), "seconds": round(seconds, 1), "output": output}


def store(
    record: Run, table: ProbabilityTable, id_col: str, label_col: str, figures: dict[str, float], config: str, out: str
) -> str:
    """Store the result files in the run, and copy them to `out` where it is given; says where the submission lies."""
    with tempfile.TemporaryDirectory(prefix="mmclf-") as name:
        folder = Path(name)
        write_submission(folder / "submission.csv", table, id_col, label_col)
        table.write(folder / tracking.PREDICTIONS)
        if config:
            (folder / "config.yaml").write_text(config, encoding="utf-8")
        tracking.log_files(record, folder, figures)
    stored = tracking.artifact_path(record, "submission.csv")
    if not out:
        return str(stored)
    Path(out).mkdir(parents=True, exist_ok=True)
    write_submission(Path(out) / "submission.csv", table, id_col, label_col)
    table.write(Path(out) / tracking.PREDICTIONS)
    return str(Path(out) / "submission.csv")


def _source(client: MlflowClient, options: argparse.Namespace) -> Run:
    """The run whose folds score: as named, else the newest finished stage 2."""
    if options.stage1_run and options.stage2_run:
        raise ConfigError("--stage1-run and --stage2-run are both given; infer scores one run, ensemble averages")
    if options.stage2_run:
        return tracking.get_stage_run(client, options.stage2_run, ["stage2"])
    if options.stage1_run:
        return tracking.get_stage_run(client, options.stage1_run, ["stage1"])
    newest = next(tracking.newest_runs(client, tracking.current_experiment(client), "stage2"), None)
    if newest is None:
        raise RunError(
            "the experiment has no finished stage-2 run to score with; run stage2 first, or name a stage-1 run by "
            "--stage1-run"
        )
    return newest


def _config(options: argparse.Namespace, trained: Config) -> Config:
    """The configuration that the folds were trained with, under what is given now for `data` and `infer`."""
    tree = trained.model_dump(mode="json")
    if options.config:
        for section, values in read_yaml(Path(options.config)).items():
            if section in ("model", "train"):
                continue  # the run has its own
            if section in tree and isinstance(values, dict):
                tree[section].update(values)
            else:
                tree[section] = values  # not a section; named as such below
    config = absolute_paths(build_config(tree, options.overrides, source=options.config or "configuration"))
    changed = [
        key
        for key, value in config.flat().items()
        if key.startswith(("model.", "train.")) and key != "train.amp" and value != trained.flat()[key]
    ]
    if changed:
        raise ConfigError(
            f"overrides: {changed[0]} belongs to training and can't be changed for infer; data.*, infer.* and "
            "train.amp can"
        )
    return config


def _folds(checkpoints: list[Checkpoint]) -> str:
    numbers = ", ".join(str(c.meta.fold) for c in checkpoints)
    return f"fold {numbers}" if len(checkpoints) == 1 else f"folds {numbers}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(infer, "Score a table with the folds of a run.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
