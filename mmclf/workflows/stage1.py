"""Stage 1: the towers are frozen, one head per fold is trained on their features."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config, ConfigLike, Overrides, check_stage, name_of, resolve_config
from ..errors import ConfigError
from ..records.vocabulary import Metric, Tag
from ..runtime import environment
from ..runtime.progress import say
from .forecast import plan_heads, say_task, shown
from .results import StageRun

if TYPE_CHECKING:
    from ..data.folds import Split
    from ..data.table import TableLike
    from ..training.crossval import FoldOutcome, Report
    from ..training.fold_state import FoldStates
    from ..training.zero_shot_fit import PlainFigures
    from .frozen import Frozen


def stage1(
    table: "TableLike",
    *,
    images: str | Path,
    config: ConfigLike = "configs/stage1.yaml",
    overrides: Overrides = "",
    fold: int | None = None,
    resume: bool = True,
    report: bool = True,
) -> StageRun:
    """Cross-validate a head on features of frozen towers.

    Args:
        table: a CSV with a header, or a data frame: an id, texts and a label for each row.
        images: the folder of pictures, named `<id>.jpg` or `<id>_1.jpg`.
        config: a YAML file, its sections as a mapping, or a `Config`.
        overrides: changes to it, as `"train.epochs=3"` or `{"train.epochs": 3}`.
        fold: the one that is trained; None for all.
        resume: go on with a run of just this work whose process was killed; False starts anew.
        report: make the report of the run, `report.html`, once its figures are recorded.

    Returns:
        The run, with its figures and its out-of-fold probabilities.

    Raises:
        MmclfError: what is given can't be used; the message says what and where.
    """
    settings = resolve_config(config, overrides)
    check_stage(settings, "stage1", name_of(config))
    say_task("stage1", settings, fold)
    if settings.model.head == "zero-shot":
        from ..model.alignment import check_pretrained

        check_pretrained(settings.model)
    if environment.WORLD_SIZE.integer() > 1:
        raise ConfigError("stage 1 needs one process only: start it without torchrun; stage 2 runs on several")
    from .tables import choose_folds, read_split

    split = read_split(table, images, settings, doubts=True)
    with shown("stage1"):
        return train_heads(settings, split, choose_folds(split, fold), resume=resume, report=report)


def train_heads(
    config: Config,
    split: "Split",
    chosen: list[int],
    *,
    terse: bool = False,
    frozen: "Frozen | None" = None,
    resume: bool = True,
    report: bool = True,
) -> StageRun:
    """Stage 1 on a table that was read before.

    Args:
        config: resolved, of stage 1.
        split: the catalogue and its folds.
        chosen: numbers of the folds that are trained.
        terse: say a line a fold, not an epoch.
        frozen: the features of the table, where they were opened for another head with the same `data` and backbone.
        resume: see `stage1`.
        report: see `stage1`.

    Raises:
        MmclfError: see `stage1`.
    """
    from ..model.checkpoint import build_head
    from ..model.classifier import HeadModel
    from ..records import runs
    from ..runtime.machine import find_machine
    from ..runtime.seeds import seed_everything
    from ..training.crossval import train_fold
    from ..training.fold_task import FoldTask
    from ..training.loaders import feature_loaders
    from .fold_training import StageJob, train_folds
    from .frozen import open_frozen
    from .report import Extras, contributions

    runs.connect()
    with shown("stage1") as agenda:
        plan_heads(agenda, config, split, chosen, find_machine())
    frozen = frozen or open_frozen("stage1", config, split)
    features, spec = frozen.features, frozen.backbone.spec
    seed, truncated, cut = config.train.seed, frozen.truncated, frozen.is_cut

    def train_mlp(fold: int, states: "FoldStates", report: "Report") -> "FoldOutcome":
        seed_everything(seed, "head", fold)
        model = HeadModel(build_head(spec.identity, config, len(split.catalog.classes)))
        loaders = feature_loaders(split, fold, config, features)
        task = FoldTask("stage1", fold, config, model, *loaders, frozen.device)
        return train_fold(task, split, spec, states, report)

    def facts() -> dict[str, float]:
        return features.encoder.ledger.figures() | {Metric.TRUNCATED: truncated} | plain

    plain: dict[str, float] = {}
    tags = {Tag.PRECISION: frozen.precision.name, Tag.DEVICE: frozen.device.type}
    train, train_all, extras = train_mlp, None, Extras(cut)
    if config.model.head != "mlp":
        from ..training.solved_folds import SolvedFolds

        solved = SolvedFolds(split, config, features, spec)
        if solved.plain is not None:
            plain |= _start_of(solved.plain, split)
        train, train_all = solved.solve, solved.solve_all
        extras = Extras(cut, lambda run_id: contributions(split, features, run_id))
    return train_folds(
        StageJob(
            "stage1",
            config,
            split,
            chosen,
            spec,
            train,
            tags,
            facts,
            train_all,
            terse=terse,
            resume=resume,
            report=report,
            extras=extras,
        )
    )


def _start_of(found: "PlainFigures", split: "Split") -> dict[str, float]:
    """Say what the classes' names reach where nothing is fitted, and give it as metrics."""
    figures = {
        Metric.ZERO_SHOT_TOP1: found.top1,
        Metric.ZERO_SHOT_TOP3: found.top3,
        Metric.ZERO_SHOT_TEXT_TOP1: found.text_top1,
        Metric.ZERO_SHOT_ALIGNMENT: math.nan if found.alignment is None else found.alignment.z,
    }
    known = {str(name): value for name, value in figures.items() if not math.isnan(value)}
    sides = {Metric.ZERO_SHOT_TOP1: "the pictures reach top-1", Metric.ZERO_SHOT_TEXT_TOP1: "the texts reach top-1"}
    reached = " and ".join(f"{said} {known[name]:.4f}" for name, said in sides.items() if name in known)
    if reached:
        say(f"stage1: by the classes' names, nothing fitted, {reached}")
    if found.alignment is not None and not found.alignment.names_tell:
        say("warning: the classes' names say next to nothing of the pictures; give better ones by data.classes_csv")
    added = split.catalog.classes_without_rows
    if len(added) == 1:
        say(f"note: no row has the label {added[0]!r}, which is found by its name alone")
    elif added:
        listed = ", ".join(map(repr, added[:5])) + (", ..." if len(added) > 5 else "")
        say(f"note: no row has the {len(added)} labels {listed}, which are found by their names alone")
    return known
