"""Score a table with the registered champion: all its folds averaged, with flip TTA.

    python -m entrypoints.infer --csv test.csv --images images/
    python -m entrypoints.infer --csv test.csv --images images/ --model models:/mmclf/3,RUN_ID

Without a champion, the newest stage 2 scores. Another scale is `--overrides data.img_size=280`; `ensemble` averages
the runs.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from mmclf.config import Config
from mmclf.data.catalog import read_catalog
from mmclf.errors import ConfigError, RunError
from mmclf.evaluation.probabilities import ProbabilityTable, write_parts
from mmclf.model.checkpoint import Checkpoint
from mmclf.records import registry, runs, tracking
from mmclf.runtime.device import allow_tf32, pick_device, pick_precision
from mmclf.runtime.progress import clock, say
from mmclf.runtime.speed import peak_memory
from mmclf.scoring.fold_models import FoldModels, members_of
from mmclf.scoring.predict import Scoring
from mmclf.store.files import atomic_path

from .common import changed_config, describe, parse_fold, run, say_unreadable

SUBMISSION = "submission.csv"
DEFAULT_MODEL = f"{registry.MODELS}{registry.DEFAULT_NAME}@{registry.CHAMPION}"
DEFAULTS = {
    "csv": None,
    "images": None,
    "config": "",
    "overrides": "",
    "fold": "all",
    "model": "",
    "stage2_run": "",
    "stage1_run": "",
    "out": "",
}


def infer(options: argparse.Namespace) -> dict[str, Any]:
    """Write submission.csv and probabilities.parquet; returns the headline figures."""
    client = runs.connect()
    sources = _sources(client, options)
    _check_together(sources)
    config, meta = sources[0].config, sources[0].checkpoints[0].meta
    members = [
        member
        for source in sources
        for member in members_of(source.checkpoints, source.config.data, source.config.infer, 1 / len(sources))
    ]
    columns = {"text_cols": _reading(sources[0], "data.text_cols")}
    catalog = read_catalog(options.csv, options.images, config.data.model_copy(update=columns), training=False)
    say(f"{catalog.table_path}: {describe(catalog.summary())}")
    for source in sources:
        say(f"infer: {source}")
    tags = {
        "source_run": ",".join(source.run_id for source in sources),
        "model": options.model or sources[0].label,
        "folds": "; ".join(map(str, sources)),
        "img_size": ",".join(str(size) for size in dict.fromkeys(member.img_size for member in members)),
    }
    with tracking.record_scores("infer", f"infer {catalog.table_path.name}", tags, catalog) as record:
        device = pick_device()
        allow_tf32(device)
        precision = pick_precision(device, config.train.amp)
        models = FoldModels(members, device=device, precision=precision)
        scoring = Scoring(catalog, models, config.data, config.infer)
        with result_folder(record, "---\n".join(s.config.to_yaml() for s in sources), options.out) as folder:
            paths = folder / runs.PREDICTIONS, folder / SUBMISSION
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
        say_unreadable([sentence for _, sentence in scoring.examples], scoring.unreadable)
        output = str(Path(options.out) / SUBMISSION if options.out else runs.artifact_path(record, SUBMISSION))
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


@dataclass(frozen=True)
class Source:
    """Checkpoints of one run or registered model, and the configuration they are used with."""

    label: str
    run_id: str
    checkpoints: list[Checkpoint]
    config: Config

    def __str__(self) -> str:
        numbers = ", ".join(str(c.meta.fold) for c in self.checkpoints)
        return f"fold{'' if len(self.checkpoints) == 1 else 's'} {numbers} of {self.label}"


def _sources(client: MlflowClient, options: argparse.Namespace) -> list[Source]:
    """What scores: as named, else the champion, else the newest finished stage 2."""
    given = [part.strip() for part in options.model.split(",") if part.strip()]
    named = [text for text in (options.stage1_run, options.stage2_run, ",".join(given)) if text]
    if len(named) > 1:
        raise ConfigError(
            "--model, --stage1-run and --stage2-run: give one of them; --model takes several, with commas"
        )
    if options.stage1_run or options.stage2_run:
        stage = "stage2" if options.stage2_run else "stage1"
        return [_of_run(client, runs.get_stage_run(client, options.stage1_run or options.stage2_run, [stage]), options)]
    if len(set(given)) < len(given):
        raise ConfigError("--model: a model is named twice")
    if given:
        return [_of_name(client, name, options) for name in given]
    if registry.find_alias(client, registry.DEFAULT_NAME, registry.CHAMPION) is not None:
        return [_of_name(client, DEFAULT_MODEL, options)]
    newest = next(runs.newest_runs(client, runs.current_experiment(client), "stage2"), None)
    if newest is None:
        raise RunError(
            f"there is neither a registered {DEFAULT_MODEL} nor a finished stage-2 run in the experiment; run stage2 "
            "and register first, or name a run by --model"
        )
    say(f"note: {DEFAULT_MODEL} isn't registered yet; the newest stage-2 run scores")
    return [_of_run(client, newest, options)]


def _of_name(client: MlflowClient, name: str, options: argparse.Namespace) -> Source:
    if not name.startswith(registry.MODELS):
        run_id = name.removeprefix("runs:/")
        return _of_run(client, runs.get_stage_run(client, run_id, ["stage1", "stage2"]), options)
    model = registry.open_model(client, name)
    fold = parse_fold(options.fold)
    checkpoints = [c for c in model.bundle.checkpoints if fold in (None, c.meta.fold)]
    if not checkpoints:
        raise RunError(f"--fold: {model.label} has no fold {fold}")
    run_id = model.version.tags.get("source_run", "")
    config = changed_config(model.bundle.config, options.overrides, options.config)
    return Source(model.label, run_id, checkpoints, config)


def _of_run(client: MlflowClient, run: Run, options: argparse.Namespace) -> Source:
    checkpoints = runs.fold_checkpoints(client, run, parse_fold(options.fold))
    meta = checkpoints[0].meta
    if len(checkpoints) < meta.config.train.folds and options.fold == "all":
        say(
            f"warning: run {run.info.run_id} holds {len(checkpoints)} of {meta.config.train.folds} folds; the others "
            "were not trained in it"
        )
    config = changed_config(meta.config, options.overrides, options.config)
    return Source(f"{meta.stage} run {run.info.run_id}", run.info.run_id, checkpoints, config)


def _check_together(sources: Sequence[Source]) -> None:
    """All of them read the rows in the same way.

    Raises:
        ConfigError: they don't.
    """
    first = sources[0]
    for other in sources[1:]:
        for key in ("data.multi_image_mode", "data.text_cols"):
            ours, theirs = _reading(first, key), _reading(other, key)
            if ours != theirs:
                raise ConfigError(
                    f"--model: {first.label} and {other.label} read the table in different ways ({key}: {ours} and "
                    f"{theirs}); score them one by one and average the runs by `ensemble`"
                )


def _reading(source: Source, key: str) -> Any:
    if key == "data.text_cols":
        return source.config.data.text_cols or list(source.checkpoints[0].meta.text_cols)
    return source.config.flat()[key]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(infer, "Score a table with the folds of a run.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
