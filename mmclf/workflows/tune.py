"""Tune: settings of stage 1's head tried out on stored features, each trial judged by the same folds."""

import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config, ConfigLike, Overrides, check_stage, name_of, parse_overrides, resolve_config
from ..errors import ConfigError, FoldError, TrainingError
from ..records.vocabulary import Artifact, Tag
from ..runtime import environment
from ..runtime.progress import clock, current, say, step
from ..store.failures import blame
from ..store.outputs import delivery, try_folder
from ..tuning.space import Settings, default_space, read_space, with_settings
from ..tuning.trials import GOALS, State, Trial, complete_trials, show_settings
from .forecast import plan_trials, say_task, shown
from .results import TuneRun
from .tune_outcome import Outcome, Task

if TYPE_CHECKING:
    from ..data.folds import Split
    from ..data.table import TableLike
    from ..records.tuning import SearchRecord
    from ..tuning.heads import Heads
    from ..tuning.study import Study

# the best trials, which are judged again beside the configuration as it was given
FINALISTS = 3
# fields of `Figures` that are kept of a trial
FIGURES = ("loss", "top1_mean", "top1_std", "top3_mean", "oof_top1", "oof_top3", "macro_f1", "calibration_error")


def tune(
    table: "TableLike",
    *,
    images: str | Path,
    config: ConfigLike = "configs/stage1.yaml",
    overrides: Overrides = "",
    trials: int = 30,
    budget: float | None = None,
    space: str | Path = "",
    metric: str = "cv/loss",
    out: str | Path = "",
) -> TuneRun:
    """Search for better settings of the head; the same call again goes on where it was cut off.

    Args:
        table: a CSV with a header, or a data frame: an id, texts and a label for each row.
        images: the folder of pictures, named `<id>.jpg` or `<id>_1.jpg`.
        config: of a stage 1: a YAML file, its sections as a mapping, or a `Config`; the first trial is as it says.
        overrides: changes to it; a key that they set isn't tried, unless `space` names it.
        trials: how many there are over all starts.
        budget: seconds after which no further trial starts; None for no limit.
        space: a YAML file of what is tried; "" for the default of the head.
        metric: what decides, "cv/loss" or "cv/top1_mean".
        out: a folder that the result files are copied to as well.

    Returns:
        The run, with its figures, its trials and the best configuration.

    Raises:
        MmclfError: what is given can't be used; the message says what and where.
    """
    given = resolve_config(config, overrides)
    if given.model.clip_trainable:
        raise ConfigError(
            f"{name_of(config)}: model.clip_trainable is true, but tune tries heads on stored features; give it a "
            "configuration of stage 1, as configs/stage1.yaml"
        )
    check_stage(given, "stage1", name_of(config))
    say_task("tune", given, None, f"{trials} trials, each of ")
    if metric not in GOALS:
        raise ConfigError(f"--metric: found {metric!r}; give {' or '.join(GOALS)}")
    if trials < 1:
        raise ConfigError(f"--trials: found {trials}; give a number of 1 or more")
    if environment.WORLD_SIZE.integer() > 1:
        raise ConfigError("tune needs one process only: start it without torchrun")
    try_folder(out)
    start = _pin_views(given)
    searched = read_space(space, start) if space else default_space(start, parse_overrides(overrides))
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError("tune needs the package optuna, which isn't installed here: pip install 'optuna>=5,<6'")
    from .tables import read_split

    split = read_split(table, images, start)
    with shown("tune"):
        return _search(Task(start, searched, metric, trials, budget), split, str(out))


def _pin_views(config: Config) -> Config:
    """As many random views as the epochs that are given, so that a trial with more of them needs no new features."""
    if config.model.head != "mlp" or config.train.views is not None:
        return config
    return with_settings(config, {"train.views": config.train.epochs})


def _search(task: Task, split: "Split", out: str) -> TuneRun:
    from ..records import runs
    from ..records.tracking import log_facts, store_files
    from ..records.tuning import Search, record_search
    from ..tuning.heads import heads_on
    from ..tuning.study import Study
    from .frozen import open_frozen
    from .next_steps import say_end
    from .tables import say_unreadable

    client, agenda = runs.connect(), current()
    trial_kind = plan_trials(agenda, task.config, split, task.trials)
    frozen = open_frozen("tune", task.config, split)
    spec = frozen.backbone.spec
    heads = heads_on(frozen.features, spec, frozen.device)
    search = Search(task.config, split, spec.identity, task.space.digest(), task.metric)
    first = task.space.settings_of(task.config)
    if first is None:
        say("note: the configuration as it is given lies outside the space, and is no trial")
    with delivery(out) as made, record_search(client, search, task.trials) as record:
        log_facts({Tag.PRECISION: frozen.precision.name, Tag.DEVICE: frozen.device.type}, {})
        trials = list(record.past)
        if trials:
            say(f"tune: goes on with run {record.run.info.run_id} after {len(trials)} trials")
            agenda.drop(*[(f"trial {number}",) for number in range(len(trials))], done=True)
        study = Study(task.space, task.goal, task.config.train.seed, first, trials)
        while len(trials) < task.trials and not (trials and task.is_over):
            settings = study.propose()
            if settings is None:
                say(f"tune: the space has only these {len(trials)} points")
                break
            with agenda.within(f"trial {len(trials) + 1} of {task.trials}"), step(trial_kind, 1, ""):
                trials.append(_try(len(trials), settings, task, split, heads, study, record))
            study.end(trials[-1])
            _say_trial(trials, task)
        unreadable = sorted(set(frozen.features.encoder.unreadable.values()))
        say_unreadable(unreadable, len(unreadable))
        best = complete_trials(trials, task.goal)
        if not best:
            raise TrainingError(f"tune: none of {len(trials)} trials came to an end: {trials[-1].reason}")
        given = trials[0] if first is not None and trials[0] in best else None
        finalists = [*best[:FINALISTS], *([given] if given and given not in best[:FINALISTS] else [])]
        outcome = Outcome(task, trials, finalists, given, _judge_again(task, split, heads, finalists))
        with blame(made.folder):
            outcome.write(made.folder, record.run.info.run_id)
        store_files(record.run, made, task.config.to_yaml())
        place = Path(out) / Artifact.BEST_CONFIG if out else runs.artifact_path(record.run, Artifact.BEST_CONFIG)
        after = _next_command(place, split)
        log_facts({Tag.NOTE: outcome.note(after), Tag.RUN_NAME: outcome.name(record.name)}, outcome.metrics())
    outcome.say()
    say_end(record.run.info.run_id, [after])
    figures = {"run_id": record.run.info.run_id} | outcome.figures() | {"config": str(place)}
    return TuneRun(record.run.info.run_id, figures | {"seconds": round(time.perf_counter() - task.started, 1)})


def _try(
    number: int,
    settings: Settings,
    task: Task,
    split: "Split",
    heads: "Heads",
    study: "Study",
    record: "SearchRecord",
) -> Trial:
    from ..evaluation.crossvalidation import figures_of
    from ..evaluation.probabilities import join_folds
    from ..tuning.heads import score

    start = time.perf_counter()
    config = with_settings(task.config, settings)
    with record.trial(number, settings, config) as child:
        tables, folds, state, reason = [], [], State.COMPLETE, ""
        try:
            for table in heads(config, split):
                tables.append(table)
                folds.append(score(table))
                child.fold(folds[-1])
                if study.is_hopeless(folds) and len(folds) < len(split.numbers):
                    state = State.PRUNED
                    break
        except TrainingError as error:
            state, reason = State.FAILED, str(error)
        reached = figures_of(join_folds(tables, split.catalog.ids)) if state == State.COMPLETE else None
        figures = {name: float(getattr(reached, name)) for name in FIGURES} if reached else {}
        seconds = time.perf_counter() - start
        trial = Trial(number, settings, state, tuple(folds), figures, seconds, reason)
        child.finish(trial)
    return trial


def _judge_again(task: Task, split: "Split", heads: "Heads", finalists: Sequence[Trial]) -> dict[int, float]:
    """What trials reach on folds of another seed, by number; empty where the folds are given."""
    from ..data.folds import Split, assign_folds
    from ..evaluation.crossvalidation import figures_of
    from ..evaluation.probabilities import join_folds

    if split.catalog.given_folds is not None:
        return {}
    seed = task.config.train.seed + 1
    try:
        other = Split(split.catalog, assign_folds(split.catalog, task.config.train.folds, seed))
    except FoldError:  # groups that go into these folds and not into those
        return {}
    found = {}
    for trial in finalists:
        config = with_settings(task.config, trial.settings | {"train.seed": seed})
        reached = figures_of(join_folds(list(heads(config, other)), split.catalog.ids))
        found[trial.number] = float(getattr(reached, task.goal.metric))
        say(f"trial {trial.number} on other folds: {task.goal.name} {found[trial.number]:.4f}")
    return found


def _say_trial(trials: Sequence[Trial], task: Task) -> None:
    trial, goal = trials[-1], task.goal
    if trial.state == State.COMPLETE:
        is_best = complete_trials(trials, goal)[0] is trial
        how = f"loss {trial.figures['loss']:.4f}, top-1 {trial.figures['top1_mean']:.4f}{' (best)' if is_best else ''}"
    elif trial.state == State.PRUNED:
        how = f"pruned after {len(trial.folds)} folds, {goal.name} {trial.value(goal):.4f}"
    else:
        how = f"failed: {trial.reason}"
    say(f"trial {trial.number}, {len(trials)}/{task.trials}: {how}, {clock(trial.seconds)}: "
        f"{show_settings(trial.settings)}")  # fmt: skip


def _next_command(config: Path, split: "Split") -> str:
    from .next_steps import command

    catalog = split.catalog
    return command("stage1", config=str(config), csv=str(catalog.table_path or "TABLE"), images=str(catalog.image_root))
