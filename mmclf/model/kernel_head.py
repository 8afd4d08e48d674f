"""A head that is solved, not stepped: kernel ridge regression on the products that it was trained on.

A class's score is a sum over support rows (the training rows, or landmarks among them) of a kernel times a weight, and
estimates how much more probable the class is than its share; see `Link` for what makes a probability of it. There is a
solution for products with picture and text, and one for those that have a text or a picture only, so that none is
judged by what it hasn't.

Rifkin, Yeo and Poggio, Regularized Least-Squares Classification (2003); where landmarks stand for the rows, Rudi,
Carratino and Rosasco, FALKON (2017).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_array
from torch.nn import functional

from ..config import KERNELS
from .head_inputs import HeadInputs
from .kernels import (
    FEATURES,
    TERMS,
    Compared,
    KernelParameters,
    Prepared,
    Scaling,
    compare_by,
    features_used,
    kernel_parts,
    pattern_of,
    usable_by,
)
from .terms import BUCKETS, InverseFrequency

LINEAR = -30.0
LINK = ("log_sharpness", "power", "prior_power")
# by what a row has: a picture, a text
PATTERNS = {"both": (True, True), "text": (False, True), "picture": (True, False)}


@dataclass(frozen=True)
class Link:
    """What makes probabilities of scores.

    A score and the class's share together estimate its probability, but may be negative or small by chance. softplus
    makes them positive, a power sharpens or flattens them, and they are brought to a sum of 1. So an estimate that is
    twice as high weighs the same whether it is 0.02 or 0.4, as for probabilities it should; under the softmax of the
    scores, the same difference does, which made the sure too sure and the unsure too unsure.

    Attributes:
        log_sharpness: of the softplus: below 1 / sharpness an estimate is taken as noise.
        power: that the estimates are raised to.
        prior_power: that the classes' shares are raised to.
    """

    log_sharpness: torch.Tensor
    power: torch.Tensor
    prior_power: torch.Tensor

    def logits(self, scores: torch.Tensor, log_prior: torch.Tensor) -> torch.Tensor:
        """float64 (n, classes); differentiable.

        Args:
            scores: float64 (n, classes).
            log_prior: float64 (classes,).
        """
        sharpened = self.log_sharpness.exp() * (scores + log_prior.exp())
        # far below 0 the logarithm of softplus(x) is x
        logs = torch.where(sharpened < LINEAR, sharpened, functional.softplus(sharpened.clamp(min=LINEAR)).log())
        return self.power * logs + self.prior_power * log_prior


@dataclass(frozen=True)
class Solution:
    """A solved regression.

    Attributes:
        parameters: of its kernels.
        alpha: float32 (m, classes), weights of the support rows; 0 for those that it wasn't trained on.
        link: from scores to probabilities.
    """

    parameters: KernelParameters
    alpha: torch.Tensor
    link: Link

    @property
    def kernels(self) -> list[str]:
        """That it sums."""
        return self.parameters.kernels

    def scores(self, rows: Compared, support: Compared) -> torch.Tensor:
        """float32 (n, classes), before the link."""
        parts = [part @ self.alpha for _, part in kernel_parts(rows, support, self.parameters)]
        return torch.cat(parts) if parts else torch.empty(0, self.alpha.shape[1])

    def log_probabilities(self, scores: torch.Tensor, log_prior: torch.Tensor) -> torch.Tensor:
        """float64 (n, classes), of scores (n, classes)."""
        return self.link.logits(scores.double(), log_prior.double()).log_softmax(dim=1)


@dataclass(frozen=True)
class KernelHead:
    """Solutions on the same support rows.

    Attributes:
        scaling: learned from the training rows.
        support: the rows that others are compared with.
        log_prior: float32 (classes,), logarithm of their shares, a class without rows counting as half a row.
        solutions: by name.
        routes: name of the solution for each of PATTERNS.
    """

    scaling: Scaling
    support: Compared
    log_prior: torch.Tensor
    solutions: dict[str, Solution]
    routes: dict[str, str]

    @cached_property
    def kernels(self) -> list[str]:
        """That one of the solutions sums."""
        return list(dict.fromkeys(name for solution in self.solutions.values() for name in solution.kernels))

    @property
    def reads(self) -> Sequence[str]:
        """Names of the features that it compares."""
        return features_used(self.kernels)

    @property
    def widths(self) -> Mapping[str, int]:
        """Of the features that it was given, by name."""
        return {name: len(mean) for name, mean in self.scaling.means.items() if len(mean)}

    def probabilities(self, rows: HeadInputs) -> torch.Tensor:
        """float32 (n, classes), on the CPU; the classes' shares for a row that has nothing to go by."""
        compared = compare_by(Prepared.of(rows, self.kernels), self.scaling)
        found = self.log_prior.log_softmax(dim=0).repeat(len(rows), 1)
        for name, solution in self.solutions.items():
            chosen = np.flatnonzero(self._routed(compared.has, name) & usable_by(compared.has, solution.kernels))
            if len(chosen):
                scores = solution.scores(compared.take(chosen), self.support)
                found[torch.from_numpy(chosen)] = solution.log_probabilities(scores, self.log_prior).float()
        return found.exp()

    def _routed(self, has: np.ndarray, name: str) -> np.ndarray:
        """Bool (n,): the rows that are this solution's."""
        found = np.zeros(len(has), dtype=bool)
        for pattern, wanted in PATTERNS.items():
            if self.routes.get(pattern) == name:
                found |= pattern_of(has, wanted)
        return found

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of it, under names that `from_tensors` reads."""
        found = {"log_prior": self.log_prior, "support.has": torch.from_numpy(self.support.has)}
        for name, mean in self.scaling.means.items():
            found[f"mean.{name}"] = torch.from_numpy(mean)
            found[f"support.{name}"] = self.support.vectors[name]
        for name, known in self.scaling.frequencies.items():
            found[f"frequency.{name}.buckets"] = torch.from_numpy(known.buckets)
            found[f"frequency.{name}.weights"] = torch.from_numpy(known.weights)
            found[f"frequency.{name}.default"] = torch.tensor(known.default, dtype=torch.float64)
            terms = self.support.terms[name]
            found[f"support.{name}.buckets"] = torch.from_numpy(terms.indices.astype(np.int32))
            found[f"support.{name}.starts"] = torch.from_numpy(terms.indptr.astype(np.int64))
            found[f"support.{name}.values"] = torch.from_numpy(terms.data)
        for name, solution in self.solutions.items():
            place = f"solution.{name}."
            found[f"{place}alpha"] = solution.alpha
            found |= {f"{place}{name}": getattr(solution.link, name) for name in LINK}
            for kernel, weight in solution.parameters.log_weights.items():
                found[f"{place}log_weight.{kernel}"] = weight
            for kernel, width in solution.parameters.log_widths.items():
                found[f"{place}log_width.{kernel}"] = width
            for pattern, route in self.routes.items():
                if route == name:
                    found[f"{place}route.{pattern}"] = torch.tensor(True)
        return found

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> "KernelHead":
        """What `tensors` gave.

        Raises:
            KeyError, ValueError: one is missing, or its shape doesn't fit.
        """
        means = {name: tensors[f"mean.{name}"].numpy() for name in FEATURES if f"mean.{name}" in tensors}
        terms = [name for name in TERMS if f"frequency.{name}.default" in tensors]
        frequencies = {
            name: InverseFrequency(
                tensors[f"frequency.{name}.buckets"].numpy(),
                tensors[f"frequency.{name}.weights"].numpy(),
                float(tensors[f"frequency.{name}.default"]),
            )
            for name in terms
        }
        has = tensors["support.has"].numpy()
        support = Compared(
            {name: tensors[f"support.{name}"].clone() for name in means},
            {name: _read_terms(tensors, name, len(has)) for name in terms},
            has,
        )
        names = dict.fromkeys(key.split(".")[1] for key in tensors if key.startswith("solution."))
        solutions = {name: _read_solution(tensors, f"solution.{name}.") for name in names}
        routes = {
            pattern: name for name in names for pattern in PATTERNS if f"solution.{name}.route.{pattern}" in tensors
        }
        found = cls(Scaling(means, frequencies), support, tensors["log_prior"], solutions, routes)
        found._check()
        return found

    def _check(self) -> None:
        """Raises ValueError where shapes don't fit."""
        classes = len(self.log_prior)
        if self.support.has.shape != (len(self.support), 3):
            raise ValueError(f"support.has is {self.support.has.shape}, not {(len(self.support), 3)}")
        for solution in self.solutions.values():
            if solution.alpha.shape != (len(self.support), classes):
                raise ValueError(f"alpha is {tuple(solution.alpha.shape)}, not {(len(self.support), classes)}")
        for name, mean in self.scaling.means.items():
            if self.support.vectors[name].shape != (len(self.support), len(mean)):
                raise ValueError(f"support.{name} is {tuple(self.support.vectors[name].shape)}")


def _read_terms(tensors: Mapping[str, torch.Tensor], name: str, rows: int) -> csr_array:
    place = f"support.{name}."
    parts = (tensors[place + "values"].numpy(), tensors[place + "buckets"].numpy(), tensors[place + "starts"].numpy())
    found = csr_array(parts, shape=(rows, BUCKETS))
    found.check_format(full_check=True)  # SciPy reads wherever an index says
    return found


def _read_solution(tensors: Mapping[str, torch.Tensor], place: str) -> Solution:
    def under(part: str, names: Sequence[str]) -> dict[str, torch.Tensor]:
        return {name: tensors[f"{place}{part}.{name}"] for name in names if f"{place}{part}.{name}" in tensors}

    parameters = KernelParameters(under("log_weight", KERNELS), under("log_width", FEATURES))
    return Solution(parameters, tensors[f"{place}alpha"], Link(**{name: tensors[place + name] for name in LINK}))
