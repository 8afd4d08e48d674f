"""The road from texts to vectors: each text once, those of one length together."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..data.text import LENGTH_STEP, Tokens, portions, text_batches, text_sizes
from ..runtime.speed import Stopwatch
from ..store.vectors import make_key
from . import speed_kinds
from .large_matrices import allocate, take
from .tower_runner import TowerRunner

TOKENIZED_CHARACTERS = 100_000  # at a time; they take up to half a second


class TextEncoder:
    """The text tower applied to texts that the cache doesn't hold."""

    def __init__(self, runner: TowerRunner, max_len: int) -> None:
        """
        Args:
            runner: of the towers.
            max_len: tokens of a text, at most.
        """
        self._runner, self._max_len = runner, max_len
        spec = runner.spec
        description = {"kind": "texts", "max_len": max_len, "tokenizer": spec.tokenizer}
        # with a last column that is 1 where the text was cut
        self._width = spec.identity.text_dim + 1
        self._store = runner.open_store(description, self._width)

    @property
    def kind(self) -> str:
        """What texts have a speed in common with; see speed_kinds.py."""
        return speed_kinds.text_kind(self._runner.towers_used)

    def features(
        self, strings: Sequence[str], memo: dict[tuple[str, int], Tokens] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features of texts.

        Args:
            strings: n texts.
            memo: see `Encoder.texts`.

        Returns:
            float32 (n, text_dim), and bool (n,), which were cut.

        Raises:
            BackboneError: the towers are needed and can't be loaded.
        """
        watch = Stopwatch()
        position: dict[str, int] = {}
        row_of = np.array([position.setdefault(text, len(position)) for text in strings], dtype=np.int64)
        texts = list(position)
        found = allocate(len(texts), self._width, self._runner.folder)
        there = np.zeros(len(texts), dtype=bool)
        if self._store is not None:
            there = self._store.get([make_key(text) for text in texts], found)
        missing = np.flatnonzero(~there)
        if len(missing):
            self._encode([texts[i] for i in missing], missing, found, memo)
        else:
            self._runner.skip(self.kind)
        self._runner.ledger.count(there, watch)
        features = take(found[:, :-1], row_of, self._runner.folder)
        if len(missing):
            self._runner.settle(self.kind)
        return features, found[row_of, -1] > 0

    def missing_share(self, texts: Sequence[str]) -> float:
        """Which share of texts isn't kept, in [0, 1]."""
        if self._store is None:
            return 1.0
        return 1 - float(self._store.has([make_key(text) for text in set(texts)]).mean())

    def _encode(
        self, texts: Sequence[str], places: np.ndarray, out: np.ndarray, memo: dict[tuple[str, int], Tokens] | None
    ) -> None:
        """Encode texts into the rows `places` of `out`, those of one length together."""
        runner = self._runner
        backbone = runner.backbone
        sizes = text_sizes(texts, self._max_len)
        shown = runner.track(
            self._batches(texts, memo),
            sum(sizes),
            "texts[, pass #]",
            kind=self.kind,
            units=lambda batch: sum(sizes[i] for i in batch[0]),
        )
        try:
            for chosen, input_ids, is_cut, full in shown:
                rows = places[chosen]
                out[rows, :-1] = runner.run(backbone.encode_text, input_ids.to(runner.device), full)
                out[rows, -1] = is_cut
                if self._store is not None:
                    self._store.put([make_key(texts[i]) for i in chosen], out[rows])
        finally:
            if self._store is not None:
                self._store.flush()

    def _batches(
        self, texts: Sequence[str], memo: dict[tuple[str, int], Tokens] | None
    ) -> Iterator[tuple[np.ndarray, torch.Tensor, np.ndarray, int]]:
        """Batches of texts: their positions int64 (n,), input_ids, which are cut, and the size of a full batch."""
        runner = self._runner
        backbone = runner.backbone
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        step = 64 * runner.size  # tokenised in parts, so that no table is too long for the memory
        for start in range(0, len(texts), step):
            part = np.array(by_length[start : start + step])
            key = f"{backbone.identity.name} {start}", self._max_len
            tokens = memo.get(key) if memo is not None else None
            if tokens is None:
                portion = runner.paused(portions([texts[i] for i in part], TOKENIZED_CHARACTERS))
                tokens = Tokens.joined([backbone.tokenize(each, self._max_len) for each in portion])
                if memo is not None:
                    memo[key] = tokens
            for chosen, length, full in runner.paused(text_batches(tokens.lengths(LENGTH_STEP), runner.size)):
                input_ids, _ = tokens.batch(chosen, length)
                yield part[chosen.numpy()], input_ids, tokens.is_truncated[chosen].numpy(), full
