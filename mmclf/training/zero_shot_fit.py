"""A zero-shot head from the classes' names: two numbers are fitted, what a picture and a text count."""

from dataclasses import dataclass

import numpy as np
import torch

from ..config import SIDES, Config
from ..data.catalog import Catalog
from ..data.rows import Rows
from ..errors import AlignmentError
from ..evaluation.metrics import is_in_top_k, log_loss
from ..model.alignment import Alignment, check_aligned, check_pretrained, check_widths, measure, unit
from ..model.identity import BackboneIdentity
from ..model.kernel_head import PATTERNS
from ..model.zero_shot import FEATURES, ZeroShotHead, class_vectors, cosines_of, has_of, prompts_of
from ..runtime.seeds import derive_seed
from .feature_loader import TableFeatures

# where CLIP's own scale of the cosines ends in its training, and where the fit starts
CLIP_SCALE = 100.0
# how strongly it is drawn to its start, in rows
PRIOR_ROWS = 1.0
# rows that two numbers are fitted on, and alignment is measured on, at most
FIT_ROWS = 10_000


@dataclass(frozen=True)
class FittedZeroShot:
    """A head, and the mean of -log p(true class) of the rows that its two numbers were fitted on.

    Rows by heads of the others aren't told: two numbers are the same without one row.
    """

    head: ZeroShotHead
    loss: float
    left_out: np.ndarray | None = None


@dataclass(frozen=True)
class PlainFigures:
    """What the names reach where nothing is fitted; shares in [0, 1], nan where no row has what they need.

    Attributes:
        top1, top3: by the pictures, of the rows that have one.
        text_top1: by the texts, of the rows that have one.
        alignment: of the towers; None where pictures aren't compared.
    """

    top1: float
    top3: float
    text_top1: float
    alignment: Alignment | None


class ZeroShotSolver:
    """Fits zero-shot heads on some rows of a table.

    Attributes:
        inputs: the rows of the table.
        plain: what the names alone reach on them.
    """

    def __init__(self, catalog: Catalog, config: Config, features: TableFeatures, backbone: BackboneIdentity) -> None:
        """
        Args:
            catalog: with labels.
            config: resolved, with a zero-shot head.
            features: of the catalogue.
            backbone: that they come from.

        Raises:
            AlignmentError: the towers aren't aligned, and pictures are to be compared; or no row has what is.
        """
        check_pretrained(config.model)
        self._sides = config.model.sides
        if "picture" in self._sides:
            check_widths(backbone)
        self.inputs = features.head_inputs([FEATURES[side] for side in self._sides])
        if self._sides == ["text"] and not self.inputs.has_text.any():
            raise AlignmentError("model.sides: [text] compares texts with the classes' names, and no row has one")
        names = [catalog.class_names.get(label, label) for label in catalog.classes]
        prompts = prompts_of(names, config.model.templates)
        rows = Rows(prompts, prompts, [()] * len(prompts), {})
        self._classes = class_vectors(features.encoder.texts(rows), len(config.model.templates))
        self._targets = catalog.targets(catalog.classes)
        self._seed = config.train.seed
        alignment = None
        if "picture" in self._sides:
            alignment = self._measure(self._draw(np.arange(len(self.inputs))))
            check_aligned(alignment, backbone.name)
        self.plain = self._plain(alignment)

    def fit(self, rows: np.ndarray) -> FittedZeroShot:
        """Fit on the rows at these positions."""
        counts = np.bincount(self._targets[rows], minlength=len(self._classes))
        log_prior = torch.from_numpy(np.log(np.maximum(counts, 0.5) / len(rows))).float()
        drawn = self._draw(rows)
        inputs, targets = self.inputs.take(drawn), self._targets[drawn]
        cosines, has = np.stack(cosines_of(inputs, self._classes, self._sides)), has_of(inputs)
        scales: dict[str, torch.Tensor] = {}
        compared = np.array([side in self._sides for side in SIDES])
        for pattern, sides in PATTERNS.items():
            used = compared & sides
            usable = has[:, used].all(axis=1)
            if used.any() and usable.any():
                scales[pattern] = torch.from_numpy(fit_scales(cosines[:, usable], targets[usable], used))
        if scales and "both" not in scales:
            scales["both"] = next(iter(scales.values()))
        head = ZeroShotHead(torch.from_numpy(self._classes), self._sides, scales, log_prior)
        return FittedZeroShot(head, log_loss(head.probabilities(inputs).numpy(), targets))

    def _draw(self, rows: np.ndarray) -> np.ndarray:
        """These rows, or as many of them as are enough."""
        if len(rows) <= FIT_ROWS:
            return rows
        rng = np.random.default_rng(derive_seed(self._seed, "zero-shot head"))
        return np.sort(rng.choice(rows, FIT_ROWS, replace=False))

    def _measure(self, rows: np.ndarray) -> Alignment:
        inputs = self.inputs.take(rows)
        pictures, with_text = inputs.has_picture, inputs.has_picture & inputs.has_text
        images, texts, named = unit(inputs.images), unit(inputs.texts), self._classes[self._targets[rows]]
        return Alignment(measure(images[with_text], texts[with_text]), measure(images[pictures], named[pictures]))

    def _plain(self, alignment: Alignment | None) -> PlainFigures:
        hits = np.zeros((3, 2))  # of a picture's first and first three, of a text's first: right ones, and all
        for start in range(0, len(self.inputs), FIT_ROWS):
            inputs, targets = self.inputs.slice(start, start + FIT_ROWS), self._targets[start : start + FIT_ROWS]
            by_picture, by_text = cosines_of(inputs, self._classes, self._sides)
            asked = (
                (by_picture, inputs.has_picture, 1),
                (by_picture, inputs.has_picture, 3),
                (by_text, inputs.has_text, 1),
            )
            for number, (cosines, has, k) in enumerate(asked):
                hits[number] += is_in_top_k(cosines[has], targets[has], k).sum(), has.sum()
        top1, top3, text_top1 = (float(right / rows) if rows else float("nan") for right, rows in hits)
        return PlainFigures(top1, top3, text_top1, alignment)


def fit_scales(cosines: np.ndarray, targets: np.ndarray, used: np.ndarray) -> np.ndarray:
    """What a picture's and a text's cosine count so that the true classes are likeliest, float64 (2,), not negative.

    Args:
        cosines: float32 (2, n, classes), of the pictures and of the texts.
        targets: int64 (n,).
        used: bool (2,); the other one's stays 0.
    """
    from scipy.optimize import minimize  # here, since scoring doesn't need it

    scaled = CLIP_SCALE * cosines[used].astype(np.float64)
    rows = np.arange(len(targets))
    of_truth = scaled[:, rows, targets]
    start = np.full(len(scaled), 1 / len(scaled))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = np.tensordot(weights, scaled, 1)
        logits -= logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        moved = weights - start
        value = -logits[rows, targets].mean() + PRIOR_ROWS / len(rows) * (moved**2).sum()
        slope = (np.einsum("nc,knc->kn", np.exp(logits), scaled) - of_truth).mean(axis=1)
        return float(value), slope + 2 * PRIOR_ROWS / len(rows) * moved

    found = np.zeros(len(used))
    found[used] = CLIP_SCALE * minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start)).x
    return found
