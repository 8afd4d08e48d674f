"""Stage 2: the towers are fine-tuned with the head, each fold from the same fold's stage-1 best."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config, ConfigLike, Overrides, check_stage, name_of, resolve_config
from ..errors import RunError
from ..records.vocabulary import Metric, Tag
from ..runtime import environment
from ..runtime.progress import say
from .forecast import plan_fine_tuning, say_task, shown
from .results import StageRun

if TYPE_CHECKING:
    from ..data.folds import Split
    from ..data.table import TableLike
    from ..model.backbone import Backbone
    from ..records.starting_point import Candidates
    from ..runtime.distributed import World
    from ..training.crossval import FoldOutcome, Report
    from ..training.fold_state import FoldStates


def stage2(
    table: "TableLike | None" = None,
    *,
    images: str | Path | None = None,
    config: ConfigLike = "configs/stage2.yaml",
    overrides: Overrides = "",
    fold: int | None = None,
    stage1_run: str | None = None,
    resume: bool = True,
    report: bool = True,
) -> StageRun:
    """Fine-tune every fold from its stage-1 best. Under torchrun each process calls it.

    Args:
        table: a CSV with a header, or a data frame; None for the CSV of the stage-1 run.
        images: the folder of pictures; None for that of the stage-1 run.
        config: a YAML file, its sections as a mapping, or a `Config`.
        overrides: changes to it, as `"train.epochs=3"` or `{"train.epochs": 3}`.
        fold: the one that is trained; None for all.
        stage1_run: id of the run to start from; None for the newest one that has the same rows in the same folds, the
            same backbone and the same head.
        resume: go on with a run of just this work whose process was killed; False starts anew.
        report: make the report of the run, `report.html`, once its figures are recorded.

    Returns:
        The run, with its figures and its out-of-fold probabilities; without figures in a process that isn't the first.

    Raises:
        MmclfError: what is given can't be used, or no stage-1 run fits; the message says what and why.
    """
    settings = resolve_config(config, overrides)
    check_stage(settings, "stage2", name_of(config))
    if environment.RANK.get() in ("", "0"):
        say_task("stage2", settings, fold)
    split = None
    if table is not None and images is not None:
        split = _read(table, images, settings, fold)
    from ..runtime.distributed import join_world

    with join_world() as world, shown("stage2") if world.is_main else contextlib.nullcontext():
        candidates = _find_candidates(world, stage1_run)
        if split is None:
            split = _read_like(candidates, table, images, settings, fold)
        return _train(settings, world, split, fold, candidates, resume=resume, report=report)


def _read(table: "TableLike", images: str | Path, config: Config, fold: int | None) -> "Split":
    from .tables import choose_folds, read_split

    split = read_split(table, images, config, quiet=environment.RANK.get() not in ("", "0"))
    choose_folds(split, fold)
    return split


def _find_candidates(world: "World", stage1_run: str | None) -> "Candidates":
    """The stage-1 runs that may be started from.

    The main process goes first: it makes the store where there is none, and what it finds is what all start from.
    """
    from ..records import runs
    from ..records.starting_point import find_candidates

    found = find_candidates(runs.connect(), stage1_run) if world.is_main else []
    run_ids = world.from_main([candidate.info.run_id for candidate in found])
    client = runs.connect()
    return found or [runs.get_run(client, run_id) for run_id in run_ids]


def _read_like(
    candidates: "Candidates", table: "TableLike | None", images: str | Path | None, config: Config, fold: int | None
) -> "Split":
    """The table and the pictures, those that aren't given as the stage-1 run had them."""
    from ..records.starting_point import find_data

    csv, folder = find_data(candidates, config)
    if table is None and not csv:
        raise RunError(
            f"--csv: stage-1 run {candidates[0].info.run_id} was trained on a data frame, which no run keeps; give "
            "stage 2 the table too"
        )
    return _read(csv if table is None else table, folder if images is None else images, config, fold)


def _train(
    config: Config,
    world: "World",
    split: "Split",
    fold: int | None,
    candidates: "Candidates",
    *,
    resume: bool,
    report: bool,
) -> StageRun:
    """The work of one process."""
    from ..model.checkpoint import build_head, load_head
    from ..model.classifier import Classifier
    from ..model.loading import load_backbone
    from ..records import runs
    from ..records.starting_point import Wanted, choose_start
    from ..runtime.device import allow_tf32, pick_device, pick_precision
    from ..runtime.seeds import seed_everything
    from ..training.crossval import train_fold
    from ..training.fold_task import FoldTask
    from ..training.loaders import tower_loaders
    from .fold_training import StageJob, train_folds
    from .report import Extras
    from .tables import choose_folds, say_truncated

    client, chosen = runs.connect(), choose_folds(split, fold)
    device = pick_device(world.local_rank)
    precision = pick_precision(device, config.train.amp)
    allow_tf32(device)
    if world.is_main:
        with shown("stage2") as agenda:
            plan_fine_tuning(agenda, config, split, chosen, device)

    def load() -> "Backbone":
        model = config.model
        dropout = config.train.patch_dropout
        return load_backbone(model.name, model.pretrained, config.data.img_size, patch_dropout=dropout)

    backbone = load()
    spec = backbone.spec
    classes = split.catalog.classes
    start = choose_start(
        client, candidates, Wanted(config, split.digest(), chosen, classes, spec.identity.weights_sha256)
    )
    checkpoints = {checkpoint.meta.fold: checkpoint for checkpoint in runs.fold_checkpoints(client, start)}
    tokens = backbone.tokenize(split.catalog.rows.texts, config.data.max_len)
    if world.is_main:
        processes = "" if world.size == 1 else f"{world.size} processes on "
        say(f"stage2: {processes}{device.type} in {precision.name} ({precision.reason})")
        say(f"stage2: starts from stage-1 run {start.info.run_id}")
        say_truncated(tokens.truncated, len(split.catalog), config.data.max_len)
    checkpoint_bytes = sum(tensor.nbytes for tensor in backbone.state_dict().values())
    fresh = [backbone]  # the one that is loaded already serves the first fold
    del backbone  # the fold alone holds it, so that its memory is free for the next one

    def train(number: int, states: "FoldStates", on_epoch: "Report") -> "FoldOutcome":
        towers = _as_trained(fresh.pop() if fresh else load(), config)
        head = build_head(spec.identity, config, len(classes))
        load_head(head, checkpoints[number])
        seed_everything(config.train.seed, "adapters", number)
        model = Classifier(towers, head, precision, clip_trainable=True, lora_rank=config.train.lora_rank)
        loaders = tower_loaders(split, number, config, spec, tokens, device=device, world=world)
        task = FoldTask("stage2", number, config, model, *loaders, device, world=world)
        return train_fold(task, split, spec, states, on_epoch)

    tags = {
        Tag.PRECISION: precision.name,
        Tag.DEVICE: device.type,
        Tag.PROCESSES: str(world.size),
        Tag.STAGE1_RUN: start.info.run_id,
    }
    facts: dict[str, float] = {Metric.TRUNCATED: tokens.truncated}
    return train_folds(
        StageJob(
            "stage2",
            config,
            split,
            chosen,
            spec,
            train,
            tags,
            lambda: facts,
            world=world,
            resume=resume,
            checkpoint_bytes=checkpoint_bytes,
            report=report,
            extras=Extras(tokens.is_truncated.numpy()),
        )
    )


def _as_trained(towers: "Backbone", config: Config) -> "Backbone":
    """The towers with what makes their training smaller or faster."""
    if config.train.grad_checkpointing:
        towers.checkpoint_gradients()
    if config.train.compile:
        towers.compile_towers()
    return towers
