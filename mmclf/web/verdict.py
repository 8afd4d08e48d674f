"""What a model says about one product: all of it, its pictures alone, its texts alone."""

from dataclasses import dataclass

import numpy as np

from ..errors import RowError
from ..scoring.limits import Allowance
from ..scoring.requests import RowScorer
from .product import Product

TOP = 5
SAME = 1e-6  # probabilities that differ by less are the same
PARTS = {"pictures": (True, False), "texts": (False, True)}
STAND_IN = {"pictures": "an empty text", "texts": "a black picture"}


@dataclass(frozen=True)
class Share:
    """A class and its probability, in [0, 1]."""

    label: str
    probability: float


@dataclass(frozen=True)
class Alone:
    """What one part of a product says.

    Attributes:
        part: `pictures` or `texts`.
        top: the most probable classes, at most TOP; none where the model can't tell.
        note: a sentence on how far that can be believed, or why there is nothing; "" where there is nothing to say.
    """

    part: str
    top: tuple[Share, ...]
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a model says.

    Attributes:
        label: the most probable class.
        is_assigned: its confidence reaches what the wanted precision asks for.
        least: that confidence; 0 where no precision is asked for.
        top: the most probable classes, at most TOP, ties in the order of the classes.
        alone: each part that the product has, where it has both.
    """

    label: str
    is_assigned: bool
    least: float
    top: tuple[Share, ...]
    alone: tuple[Alone, ...]


def judge(scorer: RowScorer, product: Product, precision: float, allowance: Allowance) -> Verdict:
    """Ask a model.

    Args:
        scorer: of the model.
        product: with a picture or a text.
        precision: share of right ones that is wanted among the labelled products, of those that the model has a
            threshold for; 0 labels all.
        allowance: what the request may take.

    Raises:
        RowError: a picture that can't be decoded, or no such precision.
        BusyError, DeadlineError: it took too long.
    """
    least = scorer.mixture.least_confidence(precision)
    has_both = bool(product.pictures and product.text)
    variants = [(True, True), *PARTS.values(), (False, False)] if has_both else [(True, True)]
    infer = scorer.config.infer
    scored = scorer.score_rows(
        product.rows(variants, has_titles=len(scorer.text_cols) > 1),
        tta=infer.tta,
        batch_size=infer.batch_size,
        allowance=allowance,
    )
    if scored.problems:
        raise RowError(f"{next(iter(scored.problems.values()))}; take it out, or send another file")
    whole, *parts = scored.probabilities
    top = _top(whole, scorer.classes)
    alone: tuple[Alone, ...] = ()
    if has_both:
        *parts, nothing = parts
        reads_together = any(checkpoint.meta.config.model.head == "mlp" for checkpoint in scorer.mixture.checkpoints)
        alone = tuple(
            _alone(part, found, nothing, scorer.classes, reads_together)
            for part, found in zip(PARTS, parts, strict=True)
        )
    return Verdict(top[0].label, top[0].probability >= least, least, top, alone)


def _alone(part: str, found: np.ndarray, nothing: np.ndarray, classes: tuple[str, ...], reads_together: bool) -> Alone:
    """What a part says, of probabilities float32 (classes,) and those of a product with nothing at all."""
    if np.abs(found - nothing).max() < SAME:
        return Alone(part, (), f"This model can't tell by the {part} alone: it doesn't read them, or not without more.")
    note = ""
    if reads_together:
        note = f"This model reads both together; here {STAND_IN[part]} stood in for the rest, so it is a hint only."
    return Alone(part, _top(found, classes), note)


def _top(probabilities: np.ndarray, classes: tuple[str, ...]) -> tuple[Share, ...]:
    order = np.argsort(-probabilities, kind="stable")[:TOP]
    return tuple(Share(classes[column], float(probabilities[column])) for column in order)
