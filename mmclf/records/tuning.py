"""A search in MLflow: a parent run of the stage `tune`, a nested run for each trial, and how it goes on after a kill.

The nested runs are what the search is resumed from; there is no other store. See docs/adr/0021.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import mlflow
from mlflow.entities import Metric as Point
from mlflow.entities import Param, Run, RunTag
from mlflow.tracking import MlflowClient

from ..config import Config
from ..data.folds import Split
from ..errors import RunError
from ..model.identity import BackboneIdentity
from ..runtime import environment
from ..runtime.process import ProcessName, this_process
from ..tuning.space import Settings
from ..tuning.trials import FoldScore, State, Trial
from .naming import show_head, with_result
from .runs import current_experiment, get_run
from .tracking import MAX_PARAM, record_scores
from .vocabulary import CONFIG_PREFIX, CV, Metric, Tag, show_backbone

TUNE = "tune"
INTERRUPTED = "interrupted"
# as MLflow's own storage for Optuna has them
STATUS = {State.COMPLETE: "FINISHED", State.PRUNED: "KILLED", State.FAILED: "FAILED"}


@dataclass(frozen=True)
class Search:
    """What makes two searches the same.

    Attributes:
        config: resolved; the trials change it.
        split: rows and folds of every trial.
        backbone: whose features are used.
        space: canonical text of what is tried.
        metric: what decides.
    """

    config: Config
    split: Split
    backbone: BackboneIdentity
    space: str
    metric: str

    def digest(self) -> str:
        """First 12 hex digits of a SHA-256."""
        parts = [self.split.digest(), self.split.catalog.digest(), self.backbone.weights_sha256]
        parts += [self.config.fingerprint(), self.space, self.metric]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]

    def tags(self) -> dict[Tag, str]:
        """Of the parent and of every trial."""
        return {
            Tag.SPLIT: self.split.digest(),
            Tag.BACKBONE: show_backbone(self.backbone.name, self.backbone.pretrained),
            Tag.WEIGHTS: self.backbone.weights_sha256,
            Tag.FINGERPRINT: self.split.catalog.digest(),
            Tag.SEARCH: self.digest(),
        }


@dataclass(frozen=True)
class TrialRecord:
    """The nested run of a trial, while it runs."""

    client: MlflowClient
    run_id: str

    def fold(self, reached: FoldScore) -> None:
        """Log what a fold reached."""
        self._log({Metric.FOLD_LOSS: reached.loss, Metric.FOLD_TOP1: reached.top1}, reached.fold)

    def finish(self, trial: Trial) -> None:
        """Log how the trial ended, and end the run."""
        cv = {CV + name: value for name, value in trial.figures.items()}
        tags = {Tag.STATE: trial.state.value}
        if trial.state != State.COMPLETE:  # the UI's red cross is that of pruned and failed ones alike
            tags[Tag.RUN_NAME] = f"trial {trial.number}, {trial.state}"
        else:
            tags[Tag.RUN_NAME] = with_result(f"trial {trial.number}", trial.figures["top1_mean"])
        if trial.folds:
            tags[Tag.FOLDS] = ",".join(str(fold.fold) for fold in trial.folds)
        if trial.reason:
            tags[Tag.ERROR] = trial.reason[:5000]
        # the state comes last: a trial with one has all its figures
        self._log(cv | {Metric.SECONDS: trial.seconds})
        self.client.log_batch(self.run_id, tags=[RunTag(str(key), value) for key, value in tags.items()])
        self.client.set_terminated(self.run_id, STATUS[trial.state])

    def _log(self, metrics: Mapping[str, float], step: int = 0) -> None:
        now = int(time.time() * 1000)
        self.client.log_batch(
            self.run_id, metrics=[Point(str(name), value, now, step) for name, value in metrics.items()]
        )


@dataclass(frozen=True)
class SearchRecord:
    """The parent run of a search, while it runs.

    Attributes:
        run: of MLflow.
        name: of it, without what was reached.
        past: trials of earlier starts, in the order of their numbers.
    """

    client: MlflowClient
    run: Run
    name: str
    tags: dict[Tag, str]
    past: Sequence[Trial]

    @contextlib.contextmanager
    def trial(self, number: int, settings: Settings, config: Config) -> Iterator[TrialRecord]:
        """A nested run; marked as interrupted when the block is left by an exception, and then no trial.

        Args:
            number: of the trial.
            settings: that are tried; logged as `cfg/...` and, to be read back exactly, as JSON.
            config: with them.
        """
        tags = self.tags | {Tag.ROLE: "trial", Tag.TRIAL: str(number), Tag.CONFIG_ID: config.fingerprint()}
        tags |= {Tag.SETTINGS: json.dumps(settings), Tag.PARENT: self.run.info.run_id, Tag.STAGE: TUNE}
        made = self.client.create_run(
            self.run.info.experiment_id,
            run_name=f"trial {number}",
            tags={str(key): value for key, value in tags.items()},
        )
        params = [Param(CONFIG_PREFIX + key, str(value)[:MAX_PARAM]) for key, value in settings.items()]
        self.client.log_batch(made.info.run_id, params=params)
        try:
            yield TrialRecord(self.client, made.info.run_id)
        except BaseException:
            _mark_interrupted(self.client, made.info.run_id)
            raise


@contextlib.contextmanager
def record_search(client: MlflowClient, search: Search, trials: int) -> Iterator[SearchRecord]:
    """The parent run of a search: the newest of the same search that has fewer than `trials`, else a new one.

    Under `mlflow run`, which has made a run already, that one becomes a nested run of the search that goes on.

    Raises:
        RunError: MLFLOW_RUN_ID names a run of another search, or a process of this machine is at it.
    """
    goes_on, past = _find(client, search, trials)
    config = search.config
    catalog = search.split.catalog
    tags = search.tags()
    name = f"tune{show_head(config)} {tags[Tag.BACKBONE]}"
    with record_scores(TUNE, name, tags, catalog, context="training", goes_on=goes_on) as run:
        process = {Tag.ROLE: "parent", Tag.CONFIG_ID: config.fingerprint()}
        process[Tag.IMAGES] = str(catalog.image_root.resolve())
        if catalog.table_path is not None:
            process[Tag.CSV] = str(catalog.table_path.resolve())
        client.log_batch(run.info.run_id, tags=[RunTag(str(key), value) for key, value in process.items()])
        mlflow.log_params({CONFIG_PREFIX + key: str(value)[:MAX_PARAM] for key, value in config.flat().items()})
        yield SearchRecord(client, run, name, tags, past)


def _find(client: MlflowClient, search: Search, trials: int) -> tuple[Run | None, list[Trial]]:
    """The run that goes on, None for a new one, and its trials; what a kill left running is marked."""
    given = environment.RUN_ID.get()
    experiment = current_experiment(client)
    if given:
        before = get_run(client, given).data.tags.get(Tag.SEARCH, search.digest())
        if before != search.digest():
            raise RunError(
                f"MLFLOW_RUN_ID: run {given} is of another search ({before} there, {search.digest()} here): its data, "
                "configuration, space or metric differ"
            )
    found = client.search_runs(
        [experiment],
        f"tags.{Tag.STAGE} = '{TUNE}' and tags.{Tag.SEARCH} = '{search.digest()}' and tags.{Tag.ROLE} = 'parent'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    for run in found:
        runs = _trial_runs(client, run)
        ended = [child for child in runs if child.data.tags.get(Tag.STATE) in set(State)]
        if len(ended) >= trials and run.info.run_id != given:
            break
        _refuse_two(run)
        for child in runs:
            if child.info.status == "RUNNING" and child not in ended:
                _mark_interrupted(client, child.info.run_id)
        return run, sorted((_trial(client, child) for child in ended), key=lambda trial: trial.number)
    return None, []


def _trial_runs(client: MlflowClient, parent: Run) -> list[Run]:
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [parent.info.experiment_id],
            f"tags.{Tag.PARENT} = '{parent.info.run_id}' and tags.{Tag.ROLE} = 'trial'",
            max_results=1000,
            page_token=token,
        )
        found += page
        token = page.token
        if not token:
            return found


def _trial(client: MlflowClient, run: Run) -> Trial:
    """A trial as it was."""
    tags, metrics = run.data.tags, run.data.metrics
    losses, shares = (
        {point.step: point.value for point in client.get_metric_history(run.info.run_id, str(name))}
        for name in (Metric.FOLD_LOSS, Metric.FOLD_TOP1)
    )
    folds = [int(number) for number in tags.get(Tag.FOLDS, "").split(",") if number]
    return Trial(
        number=int(tags[Tag.TRIAL]),
        settings=json.loads(tags[Tag.SETTINGS]),
        state=State(tags[Tag.STATE]),
        folds=tuple(FoldScore(fold, losses[fold], shares[fold]) for fold in folds),
        figures={name.removeprefix(CV): value for name, value in metrics.items() if name.startswith(CV)},
        seconds=metrics[Metric.SECONDS],
        reason=tags.get(Tag.ERROR, ""),
    )


def _mark_interrupted(client: MlflowClient, run_id: str) -> None:
    name = f"{client.get_run(run_id).info.run_name}, {INTERRUPTED}"
    tags = [RunTag(str(Tag.STATE), INTERRUPTED), RunTag(str(Tag.RUN_NAME), name)]
    client.log_batch(run_id, tags=tags)
    client.set_terminated(run_id, "FAILED")


def _refuse_two(run: Run) -> None:
    """Two processes would do the same trials."""
    process = ProcessName.parse(run.data.tags.get(Tag.PROCESS, ""))
    if run.info.status != "RUNNING" or process is None or process == this_process():
        return
    if process.is_alive:
        raise RunError(
            f"run {run.info.run_id}: process {process.pid} is at this search; wait for it, or end it and start again"
        )
