"""Which stage-1 run a stage 2 may start from: one with the same rows in the same folds, backbone and head."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from ..config import Config
from ..errors import RunError
from .runs import current_experiment, fold_checkpoints, get_stage_run, here, newest_runs, run_config
from .vocabulary import Tag

Candidates = list[Run]  # the newest first
# settings that must be equal
SHARED = ("model.name", "model.pretrained", "model.head", "model.hidden_dim")


@dataclass(frozen=True)
class Wanted:
    """What a stage 2 needs of its stage 1.

    Attributes:
        config: of the stage 2.
        split: digest of its rows and folds.
        folds: that are trained.
        classes: of its table.
        weights_sha256: of its backbone, before training.
    """

    config: Config
    split: str
    folds: Sequence[int]
    classes: Sequence[str]
    weights_sha256: str


def find_candidates(client: MlflowClient, run_id: str | None) -> Candidates:
    """The stage-1 run that was named, else all finished ones of the experiment, the newest first.

    Raises:
        RunError: the run can't be started from, or there is none.
    """
    if run_id:
        return [get_stage_run(client, run_id, ["stage1"])]
    found = list(newest_runs(client, current_experiment(client), "stage1"))
    if not found:
        raise RunError(f"stage 2 starts from stage 1, and {here(client)} has no finished stage-1 run; run stage1 first")
    return found


def find_data(candidates: Sequence[Run], config: Config) -> tuple[str, str]:
    """Paths of table and pictures of the newest stage-1 run with the same settings; "" for a table in memory."""
    tags = next((run for run in candidates if not differing_settings(run, config)), candidates[0]).data.tags
    return tags.get(Tag.CSV, ""), tags[Tag.IMAGES]


def choose_start(client: MlflowClient, candidates: Sequence[Run], wanted: Wanted) -> Run:
    """The newest stage-1 run that every chosen fold may start from.

    Raises:
        RunError: none fits; says why the newest one doesn't.
    """
    for candidate in candidates:
        if not why_not(candidate, wanted):
            return candidate
    newest = candidates[0]
    there = fold_checkpoints(client, newest)[0].meta.classes
    reasons = differing_classes(there, wanted.classes) or why_not(newest, wanted)
    raise RunError(
        f"no stage-1 run fits this stage 2 ({len(candidates)} looked at); stage-1 run {newest.info.run_id}: "
        + "; ".join(reasons)
        + ". Give stage 2 the same settings, or run stage1 with these"
    )


def why_not(candidate: Run, wanted: Wanted) -> list[str]:
    """Why a stage-1 run can't be started from; empty where it can."""
    found = differing_settings(candidate, wanted.config)
    tags = candidate.data.tags
    same_data = tags.get(Tag.SPLIT) == wanted.split
    if not same_data:
        found.append("its rows, labels or folds differ (table, label column, groups, train.folds, train.seed)")
    if not found and tags.get(Tag.WEIGHTS) != wanted.weights_sha256:
        found.append("its backbone had other weights under the same name")
    missing = sorted(set(map(str, wanted.folds)) - set(tags.get(Tag.FOLDS, "").split(",")), key=int)
    if missing and same_data:
        found.append(f"it has no fold {', '.join(missing)}")
    return found


def differing_settings(candidate: Run, config: Config) -> list[str]:
    """The settings that must be equal and aren't, as phrases."""
    here, there = config.flat(), run_config(candidate)
    pairs = [(key, there.get(key, ""), str(here[key])) for key in SHARED]
    return [f"{key} is {other} there and {ours} here" for key, other, ours in pairs if other != ours]


def differing_classes(there: Sequence[str], here: Sequence[str]) -> list[str]:
    """Which classes only one of the two stages has, as a phrase; empty where they are the same."""
    differing = sorted(set(there) ^ set(here))
    return [f"its classes differ ({', '.join(map(repr, differing[:5]))} in one of the two only)"] if differing else []
