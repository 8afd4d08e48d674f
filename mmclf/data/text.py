"""Texts as tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

# lengths that a CPU computes to the same bits in bfloat16, whatever stands behind the end of a text
LENGTH_STEP = 16
# for the time left alone: characters of a token, and the tokens that an empty text is like
CHARACTERS_OF_TOKEN, TEXT_TOKENS = 4.0, 8.0


@dataclass(frozen=True)
class Tokens:
    """Tokenised texts.

    Attributes:
        input_ids: int32 (rows, context).
        attention_mask: bool (rows, context), true on real tokens.
        is_truncated: bool (rows,), whether the text didn't fit.
        cuttable: whether a batch may be cut at its longest text without another result.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    is_truncated: torch.Tensor
    cuttable: bool = False

    @classmethod
    def joined(cls, parts: "Sequence[Tokens]") -> "Tokens":
        """Those of several lists of texts, at least one, by the same tokenizer and in the same context."""
        return cls(
            torch.cat([part.input_ids for part in parts]),
            torch.cat([part.attention_mask for part in parts]),
            torch.cat([part.is_truncated for part in parts]),
            parts[0].cuttable,
        )

    @property
    def truncated(self) -> int:
        """Number of rows whose text didn't fit."""
        return int(self.is_truncated.sum())

    def lengths(self, step: int = 1) -> torch.Tensor:
        """int64 (rows,): tokens that the tower must be shown of each text, rounded up to a multiple of `step`."""
        context = self.input_ids.shape[1]
        if not self.cuttable:
            return torch.full((len(self.input_ids),), context)
        # one more: where padding and end token have one id, the mask leaves out the end token
        needed = self.attention_mask.sum(dim=1) + 1
        return (-(-needed // step) * step).clamp(max=context)

    def batch(self, rows: torch.Tensor, length: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """input_ids int64 (B, length) and attention_mask bool (B, length) of some rows; as short as may be."""
        mask = self.attention_mask[rows]
        if length is None:
            length = mask.shape[1]
            if self.cuttable:
                length = min(length, int(mask.sum(dim=1).max()) + 1)
        return self.input_ids[rows, :length].long(), mask[:, :length]


def text_sizes(texts: Sequence[str], max_len: int) -> list[float]:
    """How much each is to encode, about: the tokens that are read of it, and those that any text takes."""
    return [min(len(text) / CHARACTERS_OF_TOKEN, max_len) + TEXT_TOKENS for text in texts]


def portions(texts: Sequence[str], characters: int) -> Iterator[list[str]]:
    """The texts in their order, each time one or as many as have no more than so many characters together."""
    portion: list[str] = []
    length = 0
    for text in texts:
        if portion and length + len(text) > characters:
            yield portion
            portion, length = [], 0
        portion.append(text)
        length += len(text)
    if portion:
        yield portion


def text_batches(lengths: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, int, int]]:
    """Rows of one length together: positions int64 (n <= full,), the length, and how many make a full batch.

    Args:
        lengths: int64 (rows,), what each text is shown in.
        size: texts in a full batch of long ones; of those of 16 tokens there are four times as many.
    """
    for length in sorted(set(lengths.tolist())):
        full = size * max(1, 64 // max(length, LENGTH_STEP))
        for chosen in torch.split(torch.nonzero(lengths == length).flatten(), full):
            yield chosen, length, full
