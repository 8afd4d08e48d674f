"""Models that the page asks: a solved head, one that reads words alone, and a stepped one."""

from dataclasses import replace

import pytest
from mlflow.tracking import MlflowClient

from entrypoints import stage1
from mmclf.config import build_config
from mmclf.evaluation.thresholds import Threshold
from mmclf.records.sources import Use, find_sources
from mmclf.scoring.limits import Limits
from mmclf.scoring.mixture import Mixture
from mmclf.scoring.requests import RowScorer
from mmclf.web.neighbours import Neighbours
from tests.checkpoints import save
from tests.stages import call, kernel_project
from tests.web.asking import Asked, serve


@pytest.fixture(scope="session")
def solve(tmp_path_factory, shop, tree):
    """`solve(overrides)`: a solved head."""

    def solve(overrides: str = "") -> Mixture:
        with kernel_project(tmp_path_factory.mktemp("web"), shop, tree) as project:
            config = ["--config", str(project.folder / "kernel.yaml"), "--overrides", overrides]
            figures, _ = call(stage1, *project.train, *config)
            [source] = find_sources(MlflowClient(), figures["run_id"], Use())
            return source.mixture

    return solve


@pytest.fixture(scope="session")
def scorer(solve) -> RowScorer:
    """Sure from 0.3 on for a precision of 0.9, and never for 0.99."""
    thresholds = (Threshold(0.9, 0.3, 0.5), Threshold(0.99, 1.01, 0.0))
    return RowScorer(replace(solve(), thresholds=thresholds))


@pytest.fixture(scope="session")
def of_words(solve) -> RowScorer:
    """A solved head that looks at no picture."""
    return RowScorer(solve("model.kernels=[words,chars]"))


@pytest.fixture(scope="session")
def stepped(tree, catalog, tmp_path_factory) -> RowScorer:
    """An MLP."""
    config = build_config(tree)
    checkpoint, _ = save(tmp_path_factory.mktemp("stepped"), config, catalog, 0, "stage1")
    return RowScorer(Mixture.of([checkpoint], config))


@pytest.fixture(scope="session")
def both(catalog) -> int:
    """A row with one picture and a text."""
    rows = catalog.rows
    return next(row for row in range(len(rows)) if len(rows.pictures[row]) == 1 and rows.texts[row])


@pytest.fixture
def ask(scorer, tmp_path):
    """A site of its own, served: `ask(limits)` gives what is asked."""
    made = []

    def make(limits: Limits | None = None, neighbours: Neighbours | None = None, model=scorer) -> Asked:
        folder = tmp_path / f"site-{len(made)}"
        folder.mkdir()
        made.append(serve(model, folder, limits or Limits(), neighbours))
        return made[-1]

    yield make
    for each in made:
        each.close()
