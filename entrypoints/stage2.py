"""Stage 2: the towers are fine-tuned with the head, each fold from the same fold's stage-1 best.

    python -m entrypoints.stage2
    torchrun --nproc-per-node 4 -m entrypoints.stage2       # on four GPUs

Table and pictures default to those of the stage-1 run, and that run to the newest finished one of the
experiment that has the same rows in the same folds, the same backbone and the same head.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from mmclf.config import Config
from mmclf.errors import ConfigError, RunError
from mmclf.model.backbone import Backbone, load_backbone
from mmclf.model.checkpoint import build_head, load_head
from mmclf.model.classifier import Classifier
from mmclf.records import runs
from mmclf.runtime.device import allow_tf32, pick_device, pick_precision
from mmclf.runtime.distributed import World, join_world
from mmclf.runtime.progress import say
from mmclf.store.cache import open_cache
from mmclf.training.crossval import tower_loaders

from .common import read_config, run
from .training import Data, FoldSetup, read_data, say_truncated, train_folds

DEFAULTS = {
    "csv": "",
    "images": "",
    "config": "configs/stage2.yaml",
    "overrides": "",
    "fold": "all",
    "stage1_run": "",
}


def stage2(options: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune every fold from its stage-1 best; returns the headline figures."""
    config = read_config(options)
    if not config.model.clip_trainable:
        raise ConfigError(f"{options.config}: model.clip_trainable is false, but stage 2 trains the towers")
    if config.train.views is not None:
        raise ConfigError("train.views: is for stage 1; stage 2 crops each picture anew in every epoch; set it to null")
    with join_world() as world:
        return _train(options, config, world)


def _train(options: argparse.Namespace, config: Config, world: World) -> dict[str, Any]:
    """The work of one process."""
    # the main process goes first: it makes the store where there is none, and what it finds is what all start from
    found = _candidates(runs.connect(), options.stage1_run) if world.is_main else []
    run_ids = world.from_main([candidate.info.run_id for candidate in found])
    client = runs.connect()
    candidates = found or [runs.get_run(client, run_id) for run_id in run_ids]
    csv, images = _where(options, config, candidates)
    data = read_data(csv, images, options.fold, config, quiet=not world.is_main)
    device = pick_device(world.local_rank)
    precision = pick_precision(device, config.train.amp)
    allow_tf32(device)

    def load() -> Backbone:
        return load_backbone(
            config.model.name,
            config.model.pretrained,
            config.data.img_size,
            patch_dropout=config.train.patch_dropout,
        )

    backbone = load()
    card = backbone.card
    stage1 = _choose(client, candidates, config, data, card.identity.weights_sha256)
    checkpoints = {c.meta.fold: c for c in runs.fold_checkpoints(client, stage1)}
    tokens = backbone.tokenize(data.catalog.texts, config.data.max_len)
    cache = open_cache()
    if world.is_main:
        processes = "" if world.size == 1 else f"{world.size} processes on "
        say(f"stage2: {processes}{device.type} in {precision.name} ({precision.reason})")
        say(f"stage2: starts from stage-1 run {stage1.info.run_id}")
        say_truncated(tokens.truncated, data, config)
    fresh = [backbone]  # the one that is loaded already serves the first fold
    del backbone  # the fold alone holds it, so that its memory is free for the next one

    def setup(fold: int) -> FoldSetup:
        towers = fresh.pop() if fresh else load()
        if config.train.grad_checkpointing:
            towers.checkpoint_gradients()
        if config.train.compile:
            towers.compile_towers()
        head = build_head(card.identity, config, len(data.catalog.classes))
        load_head(head, checkpoints[fold])
        loaders = tower_loaders(
            card, tokens, data.catalog, data.folds, fold, config, device=device, cache=cache, world=world
        )
        return FoldSetup(Classifier(towers, head, precision, clip_trainable=True), *loaders)

    tags = {"precision": precision.name, "device": device.type, "processes": str(world.size)}
    return train_folds(
        "stage2",
        config,
        data,
        card,
        setup,
        tags | {"stage1_run": stage1.info.run_id},
        lambda: {"data/truncated_texts": tokens.truncated},
        device=device,
        world=world,
    )


def _candidates(client: MlflowClient, run_id: str) -> list[Run]:
    """The stage-1 run that was named, else all finished ones of the experiment, the newest first."""
    if run_id:
        return [runs.get_stage_run(client, run_id, ["stage1"])]
    found = list(runs.newest_runs(client, runs.current_experiment(client), "stage1"))
    if not found:
        raise RunError("stage 2 starts from stage 1, and the experiment has no finished stage-1 run; run stage1 first")
    return found


def _where(options: argparse.Namespace, config: Config, candidates: list[Run]) -> tuple[str, str]:
    """Table and pictures: of the options, else of the newest stage-1 run with the same backbone name."""
    if options.csv and options.images:
        return options.csv, options.images
    tags = next((r for r in candidates if not _config_reasons(r, config)), candidates[0]).data.tags
    return options.csv or tags["csv"], options.images or tags["images"]


def _choose(client: MlflowClient, candidates: list[Run], config: Config, data: Data, weights_sha256: str) -> Run:
    """The newest stage-1 run that every chosen fold may start from.

    Raises:
        RunError: none fits; says why the newest one doesn't.
    """
    for candidate in candidates:
        if not _reasons(candidate, config, data, weights_sha256):
            return candidate
    newest = candidates[0]
    reasons = _class_reasons(client, newest, data) or _reasons(newest, config, data, weights_sha256)
    raise RunError(
        f"no stage-1 run fits this stage 2 ({len(candidates)} looked at); stage-1 run {newest.info.run_id}: "
        + "; ".join(reasons)
        + ". Give stage 2 the same settings, or run stage1 with these"
    )


def _config_reasons(candidate: Run, config: Config) -> list[str]:
    """The settings that must be equal and aren't."""
    here, params = config.flat(), candidate.data.params
    found = []
    for key in ("model.name", "model.pretrained", "model.hidden_dim"):
        there = params.get(f"cfg/{key}", "")
        if there != str(here[key]):
            found.append(f"{key} is {there} there and {here[key]} here")
    return found


def _class_reasons(client: MlflowClient, candidate: Run, data: Data) -> list[str]:
    """Which classes only one of the two stages has; empty where they are the same."""
    there = runs.fold_checkpoints(client, candidate)[0].meta.classes
    differing = sorted(set(there) ^ set(data.catalog.classes))
    if not differing:
        return []
    return [f"its classes differ ({', '.join(map(repr, differing[:5]))} in one of the two only)"]


def _reasons(candidate: Run, config: Config, data: Data, weights_sha256: str) -> list[str]:
    """Why a stage-1 run can't be started from; empty where it can."""
    found = _config_reasons(candidate, config)
    tags = candidate.data.tags
    same_data = tags.get("split") == data.split
    if not same_data:
        found.append("its rows, labels or folds differ (table, label column, groups, train.folds, train.seed)")
    if not found and tags.get("backbone") != weights_sha256:
        found.append("its backbone had other weights under the same name")
    missing = sorted(set(map(str, data.chosen)) - set(tags.get("folds", "").split(",")), key=int)
    if missing and same_data:
        found.append(f"it has no fold {', '.join(missing)}")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(stage2, "Fine-tune OpenCLIP and head, each fold from its stage-1 best.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
