"""Fusions in MLflow: stage runs that are pooled by learned weights, and what scores as any of these runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from pydantic import BaseModel, ConfigDict

from ..config import ConfigLike, Overrides, changed_config
from ..errors import ComparisonError, RunError
from ..evaluation.pool import Pool
from ..evaluation.probabilities import ProbabilityTable, align, read_table
from ..scoring.mixture import Mixture
from ..store.files import read_header
from . import runs
from .vocabulary import Artifact, Metric, Tag

STAGES = ["stage1", "stage2"]
FUSION = "fusion"


class FusionMeta(BaseModel):
    """What `pool.json` says.

    Attributes:
        format: of this file; 1.
        runs: ids of the stage runs that count.
        pool: how they count.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    runs: tuple[str, ...]
    pool: Pool


def mixture_of(
    client: MlflowClient, run: Run, fold: int | None = None, overrides: Overrides = "", config: ConfigLike = ""
) -> Mixture:
    """What scores as a run does.

    Args:
        client: of the store.
        run: of stage1, stage2, or a fusion of such.
        fold: only this one; None for what the run serves.
        overrides: how it is used.
        config: whose `data` and `infer` count; "" for what it was trained with.

    Raises:
        RunError: it has no such fold, or a member is no longer there.
        CheckpointError: a checkpoint can't be read.
        ConfigError: overrides that can't be used.
    """
    if run.data.tags[Tag.STAGE] != FUSION:
        checkpoints = runs.serving_checkpoints(client, run, fold)
        return Mixture.of(checkpoints, changed_config(checkpoints[0].meta.config, overrides, config))
    if fold is not None:
        raise RunError(f"--fold: run {run.info.run_id} is a fusion, whose weights are for whole members; leave it out")
    meta = read_pool(run)
    members = [runs.get_stage_run(client, run_id, STAGES) for run_id in meta.runs]
    experts = [mixture_of(client, member, None, overrides, config).experts[0] for member in members]
    return Mixture(tuple(experts), meta.pool)


def read_pool(run: Run) -> FusionMeta:
    """The members of a fusion's run and their weights.

    Raises:
        RunError: they aren't there, or were changed.
    """
    return read_header(runs.artifact_path(run, Artifact.POOL), FusionMeta, RunError, "is the run complete?")


@dataclass(frozen=True)
class FusionMember:
    """A stage run, what it serves, and its out-of-fold matrix."""

    run: Run
    mixture: Mixture
    table: ProbabilityTable

    @property
    def run_id(self) -> str:
        """Of the run."""
        return str(self.run.info.run_id)

    @property
    def name(self) -> str:
        """For people."""
        head = {"mlp": "MLP", "kernel": "kernel head", "zero-shot": "zero-shot"}[self.mixture.config.model.head]
        return f"{self.run.data.tags[Tag.STAGE]}, {head}, {self.run_id[:12]}"


def find_members(client: MlflowClient, run_ids: Sequence[str]) -> list[FusionMember]:
    """Stage runs that can be fused; the rows of their matrices are in the order of the first.

    Raises:
        RunError: one isn't there, of another kind, or doesn't cover its rows.
        ComparisonError: one is of other rows or folds.
    """
    found: list[FusionMember] = []
    for run_id in run_ids:
        run = runs.get_stage_run(client, run_id, STAGES)
        table = read_table(runs.artifact_path(run, Artifact.OOF))
        rows = run.data.metrics[Metric.DATA_ROWS]
        if len(table) < rows:
            raise RunError(f"--runs: run {run_id}: its folds cover {len(table):,} of {rows:,.0f} rows")
        if found and run.data.tags[Tag.SPLIT] != found[0].run.data.tags[Tag.SPLIT]:
            raise ComparisonError(
                f"--runs: run {run_id} has other data or folds than run {found[0].run_id}; weights can be learned only "
                "from the same rows, each held out in the same fold"
            )
        if found:
            table = align(table, replace(found[0].table, classes=table.classes))
        found.append(FusionMember(run, mixture_of(client, run), table))
    _check_added(found)
    return found


def _check_added(members: Sequence[FusionMember]) -> None:
    """Each member knows all classes, or only those that every member knows.

    Raises:
        ComparisonError: two of them know classes that the other doesn't.
    """
    widest = max(members, key=lambda member: len(member.table.classes))
    shared = set.intersection(*(set(member.table.classes) for member in members))
    for member in members:
        if set(member.table.classes) not in (shared, set(widest.table.classes)):
            only = sorted(set(member.table.classes) - shared)
            raise ComparisonError(
                f"--runs: run {member.run_id} adds the classes {', '.join(map(repr, only[:5]))}, and run "
                f"{widest.run_id} others; run them with the same data.classes_csv"
            )
