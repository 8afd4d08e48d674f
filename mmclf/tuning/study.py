"""Who proposes the next settings, and who gives a trial up: Optuna, in memory, filled with the trials so far."""

import contextlib
import json
import random
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ..runtime.seeds import derive_seed
from .space import Choice, Range, Settings, Space
from .trials import FoldScore, Goal, State, Trial, estimates

if TYPE_CHECKING:
    import optuna

# a space of so few points is tried through, in an order that the seed says
GRID = 64
# Wilcoxon's signed-rank test over the folds so far against the best trial. Two folds that are both worse have p = 1/4,
# so a trial that loses on its first two is given up. Half of the folds were spared, and the best trial of 40 was never
# lost in 200 orders on two catalogues (docs/lab-log.md)
PRUNE_BELOW = 0.3


class Study:
    """Proposals that depend on the seed, the space and the trials before, and on nothing else.

    The sampler of trial n has a seed of its own, made of n: a search that goes on after a kill proposes what it would
    have proposed without.
    """

    def __init__(
        self,
        space: Space,
        goal: Goal,
        seed: int,
        given: Settings | None,
        past: Sequence[Trial],
        below: float = PRUNE_BELOW,
    ) -> None:
        """
        Args:
            space: that is searched.
            goal: what decides.
            seed: of the proposals.
            given: settings that go first; None for none.
            past: trials that there are, numbers 0 to n - 1.
            below: of p, to give a trial up.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._seed, self._given = space, seed, given
        self._axes = {key: _distribution(axis) for key, axis in space.axes.items()}
        self._points = self._order(space.points(GRID))
        with _quiet():
            pruner = optuna.pruners.WilcoxonPruner(p_threshold=below)
        self._study = optuna.create_study(direction=_direction(goal), pruner=pruner, sampler=self._sampler(0))
        self._goal = goal
        self._live: optuna.Trial | None = None
        for trial in past:
            self._study.add_trial(_frozen(trial, self._axes, space, goal))

    def propose(self) -> Settings | None:
        """The next settings; None where the whole space was tried."""
        number = len(self._study.trials)
        point = self._given if number == 0 else None
        if self._points is not None:
            if number >= len(self._points):
                return None
            point = self._points[number]
        if point is not None:
            self._study.enqueue_trial(_encode(point, self._space))
        self._study.sampler = self._sampler(number)
        with _quiet():
            self._live = self._study.ask(self._axes)
        return _decode(self._live.params, self._space)

    def is_hopeless(self, folds: Sequence[FoldScore]) -> bool:
        """Whether the proposed trial is worse than the best one, as far as the folds so far say; asked after each."""
        assert self._live is not None  # noqa: S101 - after `propose`
        self._live.report(folds[-1].of(self._goal), folds[-1].fold)
        return self._live.should_prune()

    def end(self, trial: Trial) -> None:
        """Tell how the proposed trial ended."""
        import optuna

        assert self._live is not None  # noqa: S101 - after `propose`
        if trial.state == State.COMPLETE:
            self._study.tell(self._live, trial.value(self._goal))
        else:  # Optuna forgets failed ones, and would come back to their settings
            self._study.tell(self._live, state=optuna.trial.TrialState.PRUNED)
        self._live = None

    def _sampler(self, number: int) -> "optuna.samplers.BaseSampler":
        import optuna

        with _quiet():
            seed = derive_seed(self._seed, "tune", number) % 2**32
            return optuna.samplers.TPESampler(multivariate=True, seed=seed)

    def _order(self, points: list[Settings] | None) -> list[Settings] | None:
        if points is None:
            return None
        points = [point for point in points if point != self._given]
        random.Random(derive_seed(self._seed, "grid")).shuffle(points)  # noqa: S311
        return [*([self._given] if self._given is not None else []), *points]


def importances(space: Space, goal: Goal, seed: int, trials: Sequence[Trial]) -> dict[str, float]:
    """Share of each key in the spread of the results, the largest first, by fANOVA (Hutter et al., 2014).

    A forest is fitted to the trials, the pruned ones by their estimates; empty where there are too few of them.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = estimates(trials, goal)
    if len(set(found.values())) < 2:
        return {}
    if len(space.axes) == 1:
        return dict.fromkeys(space.axes, 1.0)
    axes = {key: _distribution(axis) for key, axis in space.axes.items()}
    study = optuna.create_study(direction=_direction(goal))
    for trial in trials:
        if trial.number in found:
            params = _encode(trial.settings, space)
            value = found[trial.number]
            study.add_trial(optuna.trial.create_trial(params=params, distributions=axes, value=value))
    with _quiet():
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=derive_seed(seed, "importance") % 2**32)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(share) for key, share in shares.items()}


def _frozen(trial: Trial, axes: dict[str, Any], space: Space, goal: Goal) -> "optuna.trial.FrozenTrial":
    from optuna.trial import TrialState, create_trial

    complete = trial.state == State.COMPLETE
    return create_trial(
        state=TrialState.COMPLETE if complete else TrialState.PRUNED,
        params=_encode(trial.settings, space),
        distributions=axes,
        intermediate_values={fold.fold: fold.of(goal) for fold in trial.folds},
        value=trial.value(goal) if complete else None,
    )


def _direction(goal: Goal) -> Literal["minimize", "maximize"]:
    return "minimize" if goal.smaller else "maximize"


def _distribution(axis: Range | Choice) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(axis, Choice):
        return CategoricalDistribution([json.dumps(value) for value in axis.values])
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def _encode(settings: Settings, space: Space) -> dict[str, Any]:
    """As Optuna has them: choices as JSON, since it takes no lists."""
    return {key: json.dumps(value) if isinstance(space.axes[key], Choice) else value for key, value in settings.items()}


def _decode(params: dict[str, Any], space: Space) -> Settings:
    return {
        key: json.loads(params[key]) if isinstance(axis, Choice) else params[key] for key, axis in space.axes.items()
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's warnings that a class is experimental, or that an enqueued value was used, are for its own users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
