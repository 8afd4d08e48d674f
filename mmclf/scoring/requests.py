"""Rows that a client sends, texts and pictures together, scored in memory.

A picture is the content of a file, as bytes or as base64. Nothing that stands in a row is opened as a path or a URL.
"""

import base64
import binascii
import contextlib
import reprlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..data.catalog import join_text
from ..data.rows import Rows
from ..errors import RowError, TooLargeError
from ..evaluation.probabilities import UNASSIGNED
from ..model.head_inputs import HeadInputs
from ..runtime.device import allow_tf32, pick_device, pick_precision
from .fold_models import FoldModels
from .limits import MIB, Allowance, Limits
from .mixture import Mixture
from .predict import Scoring, first_features
from .turns import Turns

# columns with pictures, in their order; one of them may hold a list
PICTURE_COLUMNS = ("image", *(f"image_{number}" for number in range(2, 9)))
LISTED = 10
TOP_K = 3  # labels a row where nobody says how many


@dataclass(frozen=True)
class ScoredRows:
    """Probabilities of rows.

    Attributes:
        probabilities: float32 (rows, classes); nan in a row that can't be scored.
        problems: a sentence for each row that can't be scored, by its position from 0.
    """

    probabilities: np.ndarray
    problems: dict[int, str]


class RowScorer:
    """Models ready for rows; calls from several threads take turns, batch by batch where all models are in memory.

    Attributes:
        mixture: what scores.
        config: that it is used with.
        classes: labels in the order of the probabilities.
        text_cols: the text columns, in the order they are joined in.
    """

    def __init__(self, mixture: Mixture) -> None:
        """What scores."""
        self.mixture = mixture
        self.config = config = mixture.config
        self.classes = mixture.classes
        self.text_cols = mixture.meta.text_cols
        device = pick_device()
        allow_tf32(device)
        self._models = FoldModels(
            mixture.members(),
            device=device,
            precision=pick_precision(device, config.train.amp),
            keep=True,
            combine=mixture.combine,
        )
        self._turns = Turns()
        self._data = config.data.model_copy(update={"on_bad_image": "placeholder", "num_workers": 0})

    def warm_up(self) -> None:
        """Read the weights, by a row with nothing in it.

        Raises:
            MmclfError: the model is damaged.
        """
        self.score(pd.DataFrame({PICTURE_COLUMNS[0]: [None]}), tta=False, batch_size=1)

    def score(
        self, frame: pd.DataFrame, *, tta: bool, batch_size: int, allowance: Allowance | None = None
    ) -> ScoredRows:
        """Score rows; see `ScoredRows` for those that can't be.

        Args:
            frame: columns `text_cols` and PICTURE_COLUMNS, as far as they are there; others are ignored.
            tta: take the mean with the horizontal flip.
            batch_size: rows at a time.
            allowance: what the request may take; None for anything.

        Raises:
            BusyError: others were before it for too long.
            DeadlineError: it took too long.
            RowError: none of the columns is there.
            TooLargeError: too many rows, or too much text.
        """
        allowance = allowance or Allowance()
        limits = allowance.limits
        if len(frame) > limits.rows:
            raise TooLargeError(f"{len(frame):,} rows are too many for a request (at most {limits.rows:,}); send fewer")
        known = [*self.text_cols, *PICTURE_COLUMNS]
        if not any(column in frame.columns for column in known):
            raise RowError(
                f"none of the columns {', '.join((*self.text_cols, 'image', 'image_2'))}, ... is there; "
                f"found {', '.join(map(str, frame.columns)) or 'none that the model knows'}"
            )
        problems: dict[int, str] = {}
        rows = _read(frame, self.text_cols, problems, limits)
        characters = sum(map(len, rows.texts))
        if characters > limits.all_characters:
            most = limits.all_characters
            raise TooLargeError(
                f"{characters:,} characters are too many for a request (at most {most:,}); send fewer rows"
            )
        scored = self.score_rows(rows, tta=tta, batch_size=batch_size, allowance=allowance)
        for row, sentence in scored.problems.items():
            problems.setdefault(row, sentence)
        scored.probabilities[list(problems)] = np.nan
        return ScoredRows(scored.probabilities, dict(sorted(problems.items())))

    def score_rows(self, rows: Rows, *, tta: bool, batch_size: int, allowance: Allowance | None = None) -> ScoredRows:
        """Score rows that were read already; `allowance` limits the time alone.

        A picture that can't be decoded is a problem of its row, which is scored without it all the same.

        Raises:
            BusyError, DeadlineError: as for `score`.
            PictureError: the folder of pictures can't be read.
        """
        allowance = allowance or Allowance()
        infer = self.config.infer.model_copy(update={"tta": tta, "batch_size": batch_size})
        probabilities = np.empty((len(rows), len(self.classes)), dtype=np.float32)
        problems: dict[int, str] = {}
        with self._turns.taken(allowance):
            scoring = Scoring(
                rows,
                self._models,
                self._data,
                infer,
                examples=sum(map(len, rows.pictures)),
                quiet=True,
                pause=lambda: self._pause(allowance),
            )
            for positions, part in scoring:
                probabilities[positions] = part
        for row, sentence in scoring.examples:
            problems.setdefault(row, sentence)
        return ScoredRows(probabilities, problems)

    def features(self, rows: Rows, *, batch_size: int, allowance: Allowance | None = None) -> HeadInputs:
        """Features of rows as the model's first backbone has them; see `first_features`.

        Raises:
            BusyError, DeadlineError: as for `score`.
        """
        allowance = allowance or Allowance()
        with self._turns.taken(allowance):
            return first_features(
                rows,
                self._models,
                self._data,
                max_batch=batch_size,
                quiet=True,
                pause=lambda: self._pause(allowance),
            )

    @contextlib.contextmanager
    def _pause(self, allowance: Allowance) -> Iterator[None]:
        """Let other requests have their turn meanwhile."""
        allowance.check()
        if not self._models.are_kept:  # another request would take away the model that this one is using
            yield
            return
        with self._turns.left(allowance):
            yield


def explain(problems: dict[int, str], rows: int) -> str:
    """All problems of a request as one message."""
    listed = "; ".join(list(problems.values())[:LISTED])
    more = f"; and {len(problems) - LISTED:,} more" if len(problems) > LISTED else ""
    others = " The others are fine: send them again without these." if len(problems) < rows else ""
    count = "1 row" if len(problems) == 1 else f"{len(problems):,} rows"
    return f"{count} of {rows:,} can't be scored (rows count from 1): {listed}{more}.{others}"


def as_frame(
    probabilities: np.ndarray, classes: tuple[str, ...], top_k: int, index: Any = None, least: float = 0.0
) -> pd.DataFrame:
    """Probabilities float32 (rows, classes) as label, confidence, top_labels and top_confidences.

    A row of nan has None in all of them. Ties go to the class that comes first. The label of a row below the confidence
    `least` is UNASSIGNED; its top labels stay.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : min(top_k, len(classes))]
    best = np.take_along_axis(probabilities, order, axis=1).astype(np.float64)
    bad = np.isnan(probabilities).any(axis=1)
    labels = [None if skip else [classes[column] for column in row] for row, skip in zip(order, bad, strict=True)]
    confidences = [None if skip else row.tolist() for row, skip in zip(best, bad, strict=True)]
    columns = {
        "label": [
            None if row is None else (row[0] if sure >= least else UNASSIGNED)
            for row, sure in zip(labels, best[:, 0], strict=True)
        ],
        "confidence": [None if row is None else row[0] for row in confidences],
        "top_labels": labels,
        "top_confidences": confidences,
    }
    # None in a column of floats would become nan, which is no JSON
    types = {"label": object, "confidence": object if bad.any() else np.float64}
    return pd.DataFrame(
        {name: pd.Series(values, index, dtype=types.get(name, object)) for name, values in columns.items()}
    )


def _read(frame: pd.DataFrame, text_cols: tuple[str, ...], problems: dict[int, str], limits: Limits) -> Rows:
    """The rows of a request; what can't be read, or is too large, goes to `problems`."""
    texts: list[str] = []
    titles: list[str] = []
    pictures: list[tuple[str, ...]] = []
    contents: dict[str, bytes] = {}
    text_values = [frame[column].tolist() for column in text_cols if column in frame.columns]
    names = [column for column in PICTURE_COLUMNS if column in frame.columns]
    picture_values = [frame[column].tolist() for column in names]
    present = [column for column in text_cols if column in frame.columns]
    for row in range(len(frame)):
        fields, title = [], ""
        for column, values in zip(present, text_values, strict=True):
            value = values[row]
            if isinstance(value, str):
                if len(value) > limits.characters:
                    said = f"{len(value):,} characters are too many (at most {limits.characters:,})"
                    problems.setdefault(row, f"row {row + 1}: {column}: {said}")
                    value = ""
                fields.append(well_formed(value))
                if column == text_cols[0]:
                    title = join_text(fields)
            elif not _is_missing(value):
                said = f"found {reprlib.repr(value):.60}, but it should be a text"
                problems.setdefault(row, f"row {row + 1}: {column}: {said}")
        found: list[str] = []
        for column, values in zip(names, picture_values, strict=True):
            for name, value in _each(f"row {row + 1}: {column}", values[row]):
                try:
                    if len(found) >= limits.pictures:
                        raise RowError(f"is one picture too many (at most {limits.pictures:,} a row)")
                    contents[name] = picture_content(value, limits)
                except RowError as error:
                    problems.setdefault(row, f"{name}: {error}")
                    continue
                found.append(name)
        texts.append(join_text(fields))
        titles.append(title)
        pictures.append(tuple(found))
    return Rows(
        [str(row) for row in range(len(frame))], texts, pictures, contents, titles if len(text_cols) > 1 else None
    )


def _each(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    """The pictures in one cell: none, one, or a list of them."""
    if isinstance(value, list | tuple | np.ndarray):
        return [(f"{name}[{number}]", each) for number, each in enumerate(value) if not _is_missing(each)]
    return [] if _is_missing(value) else [(name, value)]


def _is_missing(value: Any) -> bool:
    """None, nan, pandas' NA, an empty text, or what MLflow makes of null in JSON's `inputs` and `instances`."""
    if isinstance(value, str):
        return value in ("", "None", "nan")
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))


def well_formed(text: str) -> str:
    """The same without halves of surrogate pairs, which JSON can hold and no tokenizer reads."""
    return text.encode("utf-8", "replace").decode("utf-8")


def picture_content(value: Any, limits: Limits) -> bytes:
    """The content of a picture file, of bytes or of base64; whether it is a picture isn't looked at.

    Raises:
        RowError: it is neither, or larger than `limits` allow.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        content = bytes(value)
    elif isinstance(value, str):
        content = _decode(value)
    else:
        raise RowError(f"found {type(value).__name__}, but it should be the bytes of a picture file, or base64 of them")
    if len(content) > limits.picture_bytes:
        size, most = len(content) / MIB, limits.picture_bytes / MIB
        raise RowError(f"{size:,.1f} MiB are too many for a picture (at most {most:g}); send a smaller one")
    return content


def _decode(value: str) -> bytes:
    """The bytes that base64 stands for."""
    encoded = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RowError("is not base64; send the content of the picture file (paths and URLs are not opened)") from None
