"""The state of a fold that is being trained, on disk, from which the training goes on as if nothing had been.

A folder `state` beside the fold's checkpoint: tensors as safetensors, the rest as JSON, and the best checkpoint so far.
It is written whole or not at all, at the ends of epochs and, where epochs are long, within them; written again it takes
the place of the former.
"""

import json
import shutil
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..runtime.progress import say
from ..store.files import atomic_folder, link
from .epoch import EpochResult

# epochs that are shorter together aren't worth a write
LEAST_SECONDS = 10.0
TENSORS, REST, STATE, BEST = "tensors.safetensors", "state.json", "state", "best"
FORMAT = 1
BEST_ROWS = "best_rows"


@dataclass(frozen=True)
class Within:
    """What was done of an epoch that isn't over.

    Attributes:
        batches: how many.
        loss: of each process, the sum over its rows.
        rates: of the last step, by module.
    """

    batches: int = 0
    loss: tuple[float, ...] = ()
    rates: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Position:
    """Where a training stands.

    Attributes:
        results: of the epochs that are over; the last that is the best has its probabilities, the others may lack them.
        within: of the next epoch.
        tensors: weights, optimiser, averages, random states, and the probabilities of the best epoch.
        numbers: of optimiser and schedule.
        unreadable: a sentence for each picture met so far that couldn't be decoded.
    """

    results: list[EpochResult]
    within: Within
    tensors: dict[str, torch.Tensor]
    numbers: dict[str, Any]
    unreadable: list[str]


@dataclass
class FoldStates:
    """Where the states of a fold are kept.

    Attributes:
        folder: of the fold; None keeps nothing.
        checkpoint: folder of the best epoch's checkpoint, on the same disk.
        minutes: between two states within an epoch.
    """

    folder: Path | None
    checkpoint: Path
    minutes: float
    _last: float = field(default_factory=time.monotonic)

    def is_due(self, *, within_epoch: bool) -> bool:
        """Whether so much was done since the last state that it would be a loss."""
        if self.folder is None:
            return False
        least = 60 * self.minutes if within_epoch else min(60 * self.minutes, LEAST_SECONDS)
        return time.monotonic() - self._last >= least

    def write(self, position: Position) -> None:
        """Keep a state. A disk that fails is said, and the training goes on."""
        if self.folder is None:
            return
        within = position.within
        rest = {
            "format": FORMAT,
            "results": [_described(result) for result in position.results],
            "within": {"batches": within.batches, "loss": within.loss, "rates": within.rates},
            "numbers": position.numbers,
            "unreadable": position.unreadable,
        }
        try:
            with atomic_folder(self.folder / STATE) as draft:
                save_file({name: _plain(tensor) for name, tensor in position.tensors.items()}, draft / TENSORS)
                (draft / REST).write_text(json.dumps(rest), encoding="utf-8")
                if self.checkpoint.is_dir():
                    (draft / BEST).mkdir()
                    for path in self.checkpoint.iterdir():
                        link(path, draft / BEST / path.name)
        except (OSError, SafetensorError) as error:
            say(
                f"warning: {self.folder}: the state of the training can't be kept ({error}); a kill would lose the fold"
            )
            self.folder = None
        self._last = time.monotonic()

    def read(self, *, is_main: bool = True) -> Position | None:
        """The state that was kept; None where there is none that is whole.

        Args:
            is_main: the best checkpoint is put in its place too.
        """
        if self.folder is None or not (self.folder / STATE / REST).is_file():
            return None
        place = self.folder / STATE
        try:
            rest = json.loads((place / REST).read_text(encoding="utf-8"))
            if rest["format"] != FORMAT:
                return None
            tensors = load_file(place / TENSORS)
            results = [EpochResult(**each, probabilities=_nothing()) for each in rest["results"]]
            best = max((number for number, result in enumerate(results) if result.is_best), default=None)
            if best is not None:
                results[best] = replace(results[best], probabilities=tensors.pop(BEST_ROWS).numpy())
                if is_main:
                    shutil.rmtree(self.checkpoint, ignore_errors=True)
                    shutil.copytree(place / BEST, self.checkpoint, copy_function=_link)
            within = Within(rest["within"]["batches"], tuple(rest["within"]["loss"]), rest["within"]["rates"])
            return Position(results, within, tensors, rest["numbers"], rest["unreadable"])
        except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
            say(f"warning: {place}: damaged ({error}), so this fold starts anew")
            return None

    def clear(self) -> None:
        """The fold is over."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _link(source: str, target: str) -> str:
    link(Path(source), Path(target))
    return target


def _described(result: EpochResult) -> dict[str, Any]:
    return {f.name: getattr(result, f.name) for f in fields(result) if f.name != "probabilities"}


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous()


def _nothing() -> np.ndarray:
    return np.empty((0, 0), dtype=np.float32)
