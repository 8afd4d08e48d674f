"""Whether the towers are aligned: a picture's features and its text's, compared number by number.

In towers that were trained apart, the order of a feature's numbers is arbitrary. So the sum over i of the covariance of
a picture's number i with the text's number i is, for them, one draw of what other pairings of the numbers give, whose
mean and variance are known (Hoeffding, A Combinatorial Central Limit Theorem, 1951). For towers trained on pairs it
stands far out. Shuffled rows would be no such test: the rows of a class are alike, so by chance any two towers agree on
some classes.
"""

from dataclasses import dataclass

import numpy as np

from ..config import HF_HUB, LOCAL_DIR, ModelConfig
from ..errors import AlignmentError
from .identity import BackboneIdentity

# standard deviations; towers trained apart stayed below 2 (docs/lab-log.md)
LEAST_Z = 4.0
# pairs of pictures and texts that say something
LEAST_PAIRS = 8
INSTEAD = (
    "zero-shot needs towers that were trained on pairs, as CLIP and SigLIP were: set model.name, "
    "model.sides to [text], or model.head to kernel"
)


@dataclass(frozen=True)
class Alignment:
    """What was measured.

    Attributes:
        own: z-score of pictures with their own texts; nan where there are too few.
        named: z-score of pictures with the texts of their classes; the same.
    """

    own: float
    named: float

    @property
    def z(self) -> float:
        """The higher one; nan where neither is known."""
        return float(np.fmax(self.own, self.named))

    @property
    def names_tell(self) -> bool:
        """Whether the classes' texts say something of the pictures."""
        return self.named >= LEAST_Z


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (n, d) brought to length 1, float32; those of length 0 stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: np.ndarray = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return found


def measure(pictures: np.ndarray, texts: np.ndarray) -> float:
    """The z-score of pairs, unit vectors (n, d) each: 0 in the mean where the towers know nothing of each other.

    nan where fewer than LEAST_PAIRS pairs say something.
    """
    if len(pictures) < LEAST_PAIRS or len(np.unique(texts, axis=0)) < 2:
        return float("nan")
    centred = [(each - each.mean(axis=0)).astype(np.float64) for each in (pictures, texts)]
    covariance = centred[0].T @ centred[1] / len(pictures)
    rest = covariance - covariance.mean(axis=0) - covariance.mean(axis=1, keepdims=True) + covariance.mean()
    spread = float(np.sqrt((rest**2).sum() / max(1, len(rest) - 1)))
    return float(np.trace(rest)) / spread if spread > 0 else float("nan")


def check_pretrained(model: ModelConfig) -> None:
    """The towers have weights that may be aligned.

    Raises:
        AlignmentError: they are random.
    """
    if model.pretrained is None and not model.name.startswith((LOCAL_DIR, HF_HUB)):
        raise AlignmentError(
            f"model.pretrained: null makes random weights of {model.name}, which know no names; set a weight tag"
        )


def check_widths(identity: BackboneIdentity) -> None:
    """The towers make features that can be compared at all.

    Raises:
        AlignmentError: their widths differ.
    """
    if identity.image_dim != identity.text_dim:
        raise AlignmentError(
            f"model.name: {identity.name} makes {identity.image_dim} numbers of a picture and {identity.text_dim} of a "
            f"text, so they can't be compared; {INSTEAD}"
        )


def check_aligned(found: Alignment, name: str) -> None:
    """The measured alignment is that of towers trained together.

    Raises:
        AlignmentError: it isn't, or there is too little to tell.
    """
    if np.isnan(found.z):
        raise AlignmentError(
            f"model.head: zero-shot needs {LEAST_PAIRS} rows with a picture or more, and two classes among them, to "
            "see whether the towers are aligned; set model.head to kernel"
        )
    if found.z < LEAST_Z:
        raise AlignmentError(
            f"model.name: the towers of {name} aren't aligned: pictures agree with their texts by {found.z:.1f} "
            f"standard deviations more than by chance, not by {LEAST_Z:g}; {INSTEAD}"
        )
