"""Heads of one configuration, fold by fold, on stored features: what a stage 1 trains, without its checkpoints."""

from collections.abc import Callable, Iterator

import torch

from ..config import Config
from ..data.folds import Split
from ..evaluation.metrics import log_loss, top_k
from ..evaluation.probabilities import ProbabilityTable
from ..model.checkpoint import build_head
from ..model.classifier import HeadModel
from ..model.identity import BackboneSpec
from ..runtime.seeds import seed_everything
from ..store.scratch import scratch_folder
from ..training.crossval import held_out_table
from ..training.feature_loader import TableFeatures
from ..training.fold_state import FoldStates
from ..training.fold_task import FoldTask
from ..training.loaders import feature_loaders
from ..training.loop import fit
from .trials import FoldScore

STAGE = "stage1"
Heads = Callable[[Config, Split], Iterator[ProbabilityTable]]


def heads_on(features: TableFeatures, backbone: BackboneSpec, device: torch.device) -> Heads:
    """A function of a configuration and a split of the rows of `features`: the held-out rows of each fold in turn."""

    def stepped(config: Config, split: Split) -> Iterator[ProbabilityTable]:
        for fold in split.numbers:
            seed_everything(config.train.seed, "head", fold)
            model = HeadModel(build_head(backbone.identity, config, len(split.catalog.classes))).to(device)
            task = FoldTask(STAGE, fold, config, model, *feature_loaders(split, fold, config, features), device)
            *_, best = (result for result in fit(task) if result.is_best)
            yield held_out_table(split, fold, best.probabilities)

    def solved(config: Config, split: Split) -> Iterator[ProbabilityTable]:
        from ..training.solved_folds import SolvedFolds

        folds = SolvedFolds(split, config, features, backbone)
        for fold in split.numbers:
            with scratch_folder() as folder:
                states = FoldStates(None, folder / "head", 0)
                yield folds.solve(fold, states, lambda *_, **__: None).table

    def heads(config: Config, split: Split) -> Iterator[ProbabilityTable]:
        return stepped(config, split) if config.model.head == "mlp" else solved(config, split)

    return heads


def score(table: ProbabilityTable) -> FoldScore:
    """What one fold reached."""
    assert table.folds is not None  # noqa: S101 - of held-out rows
    probabilities, targets = table.probabilities, table.targets()
    return FoldScore(int(table.folds[0]), log_loss(probabilities, targets), top_k(probabilities, targets, 1))
