"""Which run is registered, and whether it becomes the champion (docs/adr/0015)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from ..config import Overrides
from ..errors import ComparisonError, ConfigError, MmclfError, RunError
from ..evaluation.comparison import compare
from ..evaluation.crossvalidation import Figures, figures_of
from ..evaluation.probabilities import ProbabilityTable, read_table
from ..runtime.progress import say
from ..scoring.cost import Cost, CostMeter
from ..scoring.mixture import Mixture
from . import runs
from .fusion import FUSION, STAGES, mixture_of
from .vocabulary import CV, Artifact, Metric, Tag, show_backbone


@dataclass(frozen=True)
class Candidate:
    """A run of a stage or a fusion with what it serves, its out-of-fold matrix, and what scoring with it costs."""

    run: Run
    mixture: Mixture
    table: ProbabilityTable
    figures: Figures
    cost: Cost

    @property
    def run_id(self) -> str:
        """Of the run."""
        return str(self.run.info.run_id)

    @property
    def stage(self) -> str:
        """stage1, stage2 or fusion."""
        return str(self.run.data.tags[Tag.STAGE])

    @property
    def head(self) -> str:
        """For people: the kinds of its members' heads."""
        return " + ".join(expert.config.model.head for expert in self.mixture.experts)

    @property
    def experiment(self) -> str:
        """Id of the run's experiment."""
        return str(self.run.info.experiment_id)

    @property
    def split(self) -> str:
        """Digest of its rows and folds."""
        return str(self.run.data.tags[Tag.SPLIT])

    @property
    def backbone(self) -> str:
        """For people."""
        identity = self.mixture.meta.backbone
        return show_backbone(identity.name, identity.pretrained)

    def value(self, metric: str) -> float:
        """One of vocabulary.py's METRICS."""
        return float(asdict(self.figures)[metric.removeprefix(CV)])

    def tags(self) -> dict[Tag, str]:
        """Of a version that is made of it; two versions with the same ones are the same model."""
        return {
            Tag.SOURCE_RUN: self.run_id,
            Tag.STAGE: self.stage,
            Tag.FOLDS: ",".join(dict.fromkeys(each.name.removeprefix("fold-") for each in self.mixture.checkpoints)),
            Tag.SPLIT: self.split,
            Tag.CONFIG_ID: ",".join(expert.config.fingerprint() for expert in self.mixture.experts),
            Tag.BACKBONE: self.backbone,
        }


@dataclass(frozen=True)
class Verdict:
    """What is said of the best candidate beside the champion, and whether it takes its place."""

    text: str
    wins: bool


def find_candidates(
    client: MlflowClient, run_ids: Sequence[str], fold: int | None, overrides: Overrides
) -> list[Candidate]:
    """The runs that can be compared; those of the experiment that can't are named with the reason.

    Args:
        client: of the store.
        run_ids: of finished runs of the stages and fusions; none for all of the experiment, the newest of which
            decides the folds.
        fold: that alone is packed; None for all.
        overrides: how the model is used.

    Raises:
        RunError: there is none, or a named one can't be registered.
        ComparisonError: named runs on different data or folds.
        ConfigError: overrides that can't be used.
    """
    if run_ids:
        found = [runs.get_stage_run(client, run_id, [*STAGES, FUSION]) for run_id in dict.fromkeys(run_ids)]
    else:
        experiment = runs.current_experiment(client)
        found = [run for stage in (*STAGES, FUSION) for run in runs.newest_runs(client, experiment, stage)]
        found.sort(key=lambda run: run.info.start_time, reverse=True)
    if not found:
        raise RunError(f"{runs.here(client)} has no finished run of stage1 or stage2 to register; run one first")
    meter = CostMeter()
    candidates: list[Candidate] = []
    for run in found:
        name = f"run {run.info.run_id} ({run.data.tags[Tag.STAGE]})"
        try:
            table = read_table(runs.artifact_path(run, Artifact.OOF))
            check_comparable(run, table, candidates[0] if candidates else None)
            mixture = mixture_of(client, run, fold, overrides)
            cost = meter.cost(mixture)
        except ConfigError:
            raise
        except MmclfError as error:
            if run_ids:
                raise type(error)(f"--runs: {name} can't be registered beside the others: {error}") from None
            say(f"note: {name} is left out: {error}")
            continue
        candidates.append(Candidate(run, mixture, table, figures_of(table), cost))
    if not candidates:
        raise RunError(f"none of the runs of {runs.here(client)} can be registered; the reasons stand above")
    return candidates


def check_comparable(run: Run, table: ProbabilityTable, first: Candidate | None) -> None:
    """Every row of the run's table was held out once, in the folds of the first candidate.

    Raises:
        RunError: its folds don't cover its rows.
        ComparisonError: its folds are others.
    """
    rows = run.data.metrics[Metric.DATA_ROWS]
    if len(table) < rows:
        raise RunError(f"its folds cover {len(table):,} of {rows:,.0f} rows")
    if first is not None and run.data.tags[Tag.SPLIT] != first.split:
        raise ComparisonError(f"other data or folds than run {first.run_id}")


def choose_best(candidates: Sequence[Candidate], metric: str) -> Candidate:
    """The candidate with the highest metric; then with the highest top-1 of all rows, then the newest."""
    return max(candidates, key=lambda c: (c.value(metric), c.figures.oof_top1, c.run.info.start_time))


def is_the_same(version: ModelVersion, best: Candidate) -> bool:
    """Whether a version was made of the same run, folds and configuration."""
    return all(version.tags.get(key) == value for key, value in best.tags().items())


def judge(
    client: MlflowClient,
    best: Candidate,
    champion: ModelVersion | None,
    metric: str,
    *,
    force: bool,
    strict: bool = True,
) -> Verdict:
    """Whether the best candidate takes the champion's place: only if it is shown to be better on the same folds.

    Args:
        client: of the store.
        best: the candidate.
        champion: None where there is none.
        metric: that decides.
        force: it does, whatever the comparison says.
        strict: where they can't be compared it is an error; else the champion stays.

    Raises:
        ComparisonError: they can't be compared.
    """
    if champion is None:
        return Verdict("the first champion", True)
    try:
        source = champion.tags.get(Tag.SOURCE_RUN, "")
        if Tag.DEMO in champion.tags and runs.get_run(client, source).info.experiment_id != best.experiment:
            return Verdict(f"the first champion; the demo's, version {champion.version}, makes way", True)
        check_same_split(best, champion)
        there = runs.get_run(client, source)
        return weigh(best, champion, read_table(runs.artifact_path(there, Artifact.OOF)), metric, force=force)
    except MmclfError as error:
        if force:
            return Verdict(f"champion by force; not comparable with version {champion.version}: {error}", True)
        if not strict:
            stays = f"version {champion.version} stays champion (--force true overrules)"
            return Verdict(f"not comparable with the champion, so {stays}: {error}", False)
        raise ComparisonError(
            f"run {best.run_id} can't be compared with the champion, version {champion.version}: {error}; train on "
            "the champion's data and folds, register under another --name, or give --force true"
        ) from None


def check_same_split(best: Candidate, champion: ModelVersion) -> None:
    """The candidate has the champion's rows, labels and folds.

    Raises:
        ComparisonError: it hasn't.
    """
    theirs = champion.tags.get(Tag.SPLIT, "unknown")
    if theirs != best.split:
        raise ComparisonError(f"it was trained on other data or folds (split {theirs}, here {best.split})")


def weigh(best: Candidate, champion: ModelVersion, table: ProbabilityTable, metric: str, *, force: bool) -> Verdict:
    """The verdict on the candidate, given the champion's out-of-fold matrix.

    Raises:
        ComparisonError: the matrix is of other rows, labels or folds.
    """
    difference = compare(best.table, table, metric.removeprefix(CV))
    said = f"against version {champion.version}, {metric}: {difference}"
    if difference.is_better:
        return Verdict(f"new champion; {said}", True)
    if force:
        return Verdict(f"champion by force; {said}", True)
    return Verdict(
        f"not shown to be better, so version {champion.version} stays champion (--force true overrules); {said}", False
    )
