"""What scores: the checkpoints of registered models and of runs, and the configuration they are used with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from ..config import Config, ConfigLike, Overrides, changed_config
from ..errors import ConfigError, RunError
from ..model.checkpoint import Checkpoint
from ..runtime.progress import say
from ..scoring.mixture import Mixture
from . import registry, runs
from .fusion import FUSION, STAGES, mixture_of
from .vocabulary import CHAMPION, DEFAULT_MODEL, DEFAULT_NAME, MODELS, Tag

# keys that models which score together must agree on
SHARED = ("data.multi_image_mode", "data.text_cols")


@dataclass(frozen=True)
class Source:
    """Checkpoints of one run or registered model, and the configuration they are used with."""

    label: str
    run_id: str
    mixture: Mixture

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """Of all experts."""
        return self.mixture.checkpoints

    @property
    def config(self) -> Config:
        """What they are used with."""
        return self.mixture.config

    def __str__(self) -> str:
        if len(self.mixture.experts) > 1:
            return f"{len(self.mixture.experts)} experts of {self.label}"
        if not self.folds:
            return f"the model of all rows of {self.label}"
        numbers = ", ".join(map(str, self.folds))
        return f"fold{'' if len(self.folds) == 1 else 's'} {numbers} of {self.label}"

    @property
    def folds(self) -> list[int]:
        """Numbers of the folds that score, ascending; none where models of all rows do."""
        return sorted({each.meta.fold for each in self.checkpoints if each.meta.fold is not None})

    @property
    def text_cols(self) -> list[str]:
        """The text columns that are read: those it was trained on, unless others are named now."""
        return self.config.data.text_cols or list(self.checkpoints[0].meta.text_cols)

    def reads(self, key: str) -> Any:
        """How a key of `data` is set for reading rows."""
        return self.text_cols if key == "data.text_cols" else self.config.flat()[key]


@dataclass(frozen=True)
class Use:
    """How what scores is used.

    Attributes:
        fold: only this one; None for all.
        config: whose `data` and `infer` count; "" for what it was trained with.
        overrides: to both.
    """

    fold: int | None = None
    config: ConfigLike = ""
    overrides: Overrides = ""


def find_sources(client: MlflowClient, model: str, use: Use) -> list[Source]:
    """What scores: as named, else the champion, else the newest finished stage 2.

    Args:
        client: of the store.
        model: models:/NAME@ALIAS, models:/NAME/VERSION or a run id; several with commas; "" for none.
        use: of all of them.

    Raises:
        ConfigError: one is named twice, or they read the rows in different ways.
        RegistryError, RunError: one isn't there, or has no such fold.
    """
    names = runs.split_ids(model)
    if len(set(names)) < len(names):
        raise ConfigError("--model: a model is named twice")
    if not names and registry.find_alias(client, DEFAULT_NAME, CHAMPION) is not None:
        names = [DEFAULT_MODEL]
    found = [_of_name(client, name, use) for name in names] or [_newest(client, use)]
    check_together(found)
    return found


def check_together(sources: Sequence[Source], option: str = "--model") -> None:
    """All of them read the rows in the same way.

    Raises:
        ConfigError: they don't.
    """
    first = sources[0]
    for other in sources[1:]:
        for key in SHARED:
            ours, theirs = first.reads(key), other.reads(key)
            if ours != theirs:
                raise ConfigError(
                    f"{option}: {first.label} and {other.label} read the table in different ways ({key}: {ours} and "
                    f"{theirs}); score them one by one and average the runs by `ensemble`"
                )


def _newest(client: MlflowClient, use: Use) -> Source:
    newest = next(runs.newest_runs(client, runs.current_experiment(client), "stage2"), None)
    if newest is None:
        raise RunError(
            f"there is neither a registered {DEFAULT_MODEL} nor a finished stage-2 run in {runs.here(client)}; run "
            "stage2 and register first, or name a run by --model"
        )
    say(f"note: {DEFAULT_MODEL} isn't registered yet; the newest stage-2 run scores")
    return _of_run(client, newest, use)


def _of_name(client: MlflowClient, name: str, use: Use) -> Source:
    if not name.startswith(MODELS):
        run_id = name.removeprefix("runs:/")
        return _of_run(client, runs.get_stage_run(client, run_id, [*STAGES, FUSION]), use)
    model = registry.open_model(client, name)
    mixture = model.bundle.mixture
    if use.fold is not None:
        chosen = [c for c in mixture.experts[0].checkpoints if c.meta.fold == use.fold and mixture.pool is None]
        mixture = Mixture.of(chosen, mixture.config)
    if not mixture.checkpoints:
        instead = "; it was trained on all rows" if model.bundle.mixture.meta.fold is None else ""
        raise RunError(f"--fold: {model.label} has no fold {use.fold}{instead}")
    run_id = model.version.tags.get(Tag.SOURCE_RUN, "")
    experts = [replace(e, config=changed_config(e.config, use.overrides, use.config)) for e in mixture.experts]
    return Source(model.label, run_id, replace(mixture, experts=tuple(experts)))


def _of_run(client: MlflowClient, run: Run, use: Use) -> Source:
    mixture = mixture_of(client, run, use.fold, use.overrides, use.config)
    stage, meta, checkpoints = run.data.tags[Tag.STAGE], mixture.meta, mixture.checkpoints
    if stage != FUSION and meta.fold is not None and len(checkpoints) < meta.config.train.folds and use.fold is None:
        say(
            f"warning: run {run.info.run_id} holds {len(checkpoints)} of {meta.config.train.folds} folds; the others "
            "were not trained in it"
        )
    return Source(f"{stage} run {run.info.run_id}", run.info.run_id, mixture)


def find_scored(client: MlflowClient, run_ids: Sequence[str]) -> list[Run]:
    """The infer runs that an ensemble averages.

    Args:
        client: of the store.
        run_ids: of finished infer or ensemble runs; none for the newest infer run of each scored model, folds and size
            of the pictures, of the same table as the newest one.

    Raises:
        RunError: one isn't there, or is of another kind; or the experiment has none.
    """
    if run_ids:
        return [runs.get_stage_run(client, run_id, ["infer", "ensemble"]) for run_id in run_ids]
    found: dict[tuple[str, str], Run] = {}
    table = None
    for candidate in runs.newest_runs(client, runs.current_experiment(client), "infer"):
        tags = candidate.data.tags
        table = table or tags.get(Tag.FINGERPRINT)
        if tags.get(Tag.FINGERPRINT) == table:
            found.setdefault((tags[Tag.SCORED_BY], tags[Tag.IMG_SIZE]), candidate)
    if not found:
        raise RunError(f"{runs.here(client)} has no finished infer run to average; run infer first")
    return list(found.values())
