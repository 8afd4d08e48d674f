"""How many tokens a tokenizer makes of texts, before anything is cut."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .letters import Letters
from .loading import load_tokenizer

STEP = 4096


class TokenCounter:
    """The tokenizer of a backbone, asked for numbers."""

    def __init__(self, name: str) -> None:
        """
        Args:
            name: `model.name`; no weights are loaded.

        Raises:
            BackboneError: see `load_tokenizer`.
        """
        self._tokenizer: Any = load_tokenizer(name)
        self._letters = Letters.of(self._tokenizer)

    def rewrites(self, script: str) -> bool:
        """Whether words of a script, as `Cyrillic`, are given to the tokenizer in Latin letters."""
        return not self._letters.reads(script)

    def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of each text, with those of its beginning and end, and how many of them are the unknown one.

        Of texts as a backbone reads them; see letters.py.

        Returns:
            int64 (rows,) and int64 (rows,).
        """
        inner = getattr(self._tokenizer, "tokenizer", None)
        if inner is None:  # open_clip's own knows every byte
            lengths = [len(self._tokenizer.encode(text)) + 2 for text in texts]
            return np.array(lengths, dtype=np.int64), np.zeros(len(texts), dtype=np.int64)
        counts, unknown = [], []
        for start in range(0, len(texts), STEP):
            readable = [self._letters.rewrite(text) for text in texts[start : start + STEP]]
            cleaned = [self._tokenizer.clean_fn(text) for text in readable]
            for ids in inner(cleaned, truncation=False, verbose=False).input_ids:
                counts.append(len(ids))
                unknown.append(0 if inner.unk_token_id is None else ids.count(inner.unk_token_id))
        return np.array(counts, dtype=np.int64), np.array(unknown, dtype=np.int64)
