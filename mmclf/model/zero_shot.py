"""A head made of the classes' names: a product belongs to the class whose text is nearest to its picture and its text.

A product's text can be compared with them by any text tower; its picture where the towers were trained on pairs.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision (2021), with the mean over
templates of their section 3.1.4. SigLIP's towers were trained by a sigmoid for each pair (Zhai et al., Sigmoid Loss for
Language Image Pre-Training, 2023): its bias is the same for all classes, so a softmax over classes doesn't see it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..config import BLANK, SIDES
from . import kernels
from .alignment import unit
from .head_inputs import HeadInputs
from .kernel_head import PATTERNS

# the features of each side
FEATURES = {"picture": "image", "text": "text"}


@dataclass(frozen=True)
class ZeroShotHead:
    """What is known of each class by its name.

    Attributes:
        classes: float32 (classes, d), of unit length.
        sides: of SIDES, that are compared.
        scales: float64 (2,) for each of PATTERNS that is known: what a picture's and a text's cosine count.
        log_prior: float32 (classes,), logarithm of their shares, a class without rows counting as half a row.
    """

    classes: torch.Tensor
    sides: Sequence[str]
    scales: Mapping[str, torch.Tensor]
    log_prior: torch.Tensor

    @property
    def reads(self) -> Sequence[str]:
        """Names of the features that it needs."""
        return [FEATURES[side] for side in self.sides]

    @property
    def widths(self) -> Mapping[str, int]:
        """Of the features that it needs, by name."""
        return dict.fromkeys(self.reads, self.classes.shape[1])

    def probabilities(self, rows: HeadInputs) -> torch.Tensor:
        """float32 (n, classes), on the CPU; the classes' shares for a row that has nothing to go by."""
        found = self.log_prior.log_softmax(dim=0).repeat(len(rows), 1)
        cosines, has = cosines_of(rows, self.classes.numpy(), self.sides), has_of(rows)
        for pattern, scales in self.scales.items():
            chosen = np.flatnonzero((has == PATTERNS[pattern]).all(axis=1))
            by_picture, by_text = (torch.from_numpy(each[chosen]).double() for each in cosines)
            logits = scales[0] * by_picture + scales[1] * by_text
            found[torch.from_numpy(chosen)] = logits.log_softmax(dim=1).float()
        return found.exp()

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of it, under names that `from_tensors` reads."""
        scales = {f"scales.{pattern}": scales for pattern, scales in self.scales.items()}
        sides = torch.tensor([side in self.sides for side in SIDES])
        return {"classes": self.classes, "sides": sides, "log_prior": self.log_prior} | scales

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> "ZeroShotHead":
        """What `tensors` gave.

        Raises:
            KeyError, ValueError: one is missing, or its shape doesn't fit.
        """
        scales = {pattern: tensors[f"scales.{pattern}"] for pattern in PATTERNS if f"scales.{pattern}" in tensors}
        sides = [side for side, is_compared in zip(SIDES, tensors["sides"].tolist(), strict=True) if is_compared]
        found = cls(tensors["classes"], sides, scales, tensors["log_prior"])
        if found.classes.ndim != 2 or len(found.classes) != len(found.log_prior):
            raise ValueError(f"classes is {tuple(found.classes.shape)}, log_prior {tuple(found.log_prior.shape)}")
        for pattern, each in scales.items():
            if each.shape != (len(SIDES),):
                raise ValueError(f"scales.{pattern} is {tuple(each.shape)}")
        return found


def prompts_of(names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """The sentences of each class, one class after the other."""
    return [template.replace(BLANK, name) for name in names for template in templates]


def class_vectors(features: np.ndarray, templates: int) -> np.ndarray:
    """float32 (classes, d), of unit length: the mean direction of each class's sentences.

    Args:
        features: float32 (classes * templates, d), in the order of `prompts_of`.
        templates: how many there are.
    """
    directions = unit(features)
    return unit(directions.reshape(-1, templates, directions.shape[1]).mean(axis=1))


def cosines_of(rows: HeadInputs, classes: np.ndarray, sides: Sequence[str]) -> list[np.ndarray]:
    """Of each row's picture and of its text with each class, float32 (n, classes).

    0 where it has none, and of a side that isn't compared.
    """
    found = [np.zeros((len(rows), len(classes)), dtype=np.float32) for _ in SIDES]
    for side, cosines, vectors, has in zip(SIDES, found, (rows.images, rows.texts), has_of(rows).T, strict=True):
        if side in sides:
            cosines[has] = (unit(vectors) @ classes.T)[has]
    return found


def has_of(rows: HeadInputs) -> np.ndarray:
    """Bool (n, 2): a picture, a text."""
    return kernels.has_of(rows)[:, : len(SIDES)]
