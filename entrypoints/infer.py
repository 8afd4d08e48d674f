"""Score a table with the folds of a stage-2 run (or a stage-1 run), averaged, with flip TTA.

    python -m entrypoints.infer --csv test.csv --images images/

Another scale is `--overrides data.img_size=280`; `ensemble` averages the runs.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from mmclf import tracking
from mmclf.catalog import read_catalog
from mmclf.checkpoint import Checkpoint
from mmclf.config import Config, build_config, read_yaml
from mmclf.device import allow_tf32, pick_device, pick_precision
from mmclf.errors import ConfigError, RunError
from mmclf.files import atomic_path
from mmclf.predict import Scoring, check_classes
from mmclf.probabilities import ProbabilityTable, write_parts
from mmclf.progress import clock, say
from mmclf.speed import peak_memory

from .common import absolute_paths, describe, parse_fold, run, say_unreadable

SUBMISSION = "submission.csv"
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
    sizes = config.infer.img_sizes or [config.data.img_size]
    tags = {"source_run": source.info.run_id, "folds": _folds(checkpoints), "img_size": ",".join(map(str, sizes))}
    with tracking.record_scores("infer", f"infer {catalog.table_path.name}", tags, catalog) as record:
        device = pick_device()
        allow_tf32(device)
        precision = pick_precision(device, config.train.amp)
        scoring = Scoring(catalog, checkpoints, config.data, config.infer, device=device, precision=precision)
        with result_folder(record, config.to_yaml(), options.out) as folder:
            paths = folder / tracking.PREDICTIONS, folder / SUBMISSION
            with write_parts(*paths, meta.id_col, meta.label_col) as write:
                for rows, probabilities in scoring:
                    write(ProbabilityTable([catalog.ids[row] for row in rows], meta.classes, probabilities))
            seconds = scoring.watch.seconds
            tracking.log_facts(
                {"precision": precision.name, "device": device.type},
                {
                    "rows": len(catalog),
                    "seconds": seconds,
                    "speed/rows_per_second": len(catalog) / seconds,
                    "speed/data_wait": scoring.watch.wait_share,
                    "speed/peak_memory_mib": peak_memory(device),
                    "data/unreadable_pictures": scoring.unreadable,
                    "data/truncated_texts": scoring.truncated,
                },
            )
        say_unreadable(scoring.examples, scoring.unreadable)
        output = str(Path(options.out) / SUBMISSION if options.out else tracking.artifact_path(record, SUBMISSION))
    say(f"infer: {len(catalog):,} rows in {clock(seconds)}, {len(catalog) / seconds:.1f} rows/s -> {output}")
    return {"run_id": record.info.run_id, "rows": len(catalog), "seconds": round(seconds, 1), "output": output}


@contextlib.contextmanager
def result_folder(record: Run, config: str, out: str) -> Iterator[Path]:
    """A folder whose files are stored in the run when the block ends well, and copied to `out` where it is given."""
    with tempfile.TemporaryDirectory(prefix="mmclf-") as name:
        folder = Path(name)
        yield folder
        if out:
            for path in sorted(folder.iterdir()):
                with atomic_path(Path(out) / path.name) as draft:
                    shutil.copyfile(path, draft)
        if config:
            (folder / "config.yaml").write_text(config, encoding="utf-8")
        tracking.log_files(record, folder)


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
