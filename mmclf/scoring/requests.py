"""Rows that a client sends, texts and pictures together, scored in memory by a bundle.

A picture is the content of a file, as bytes or as base64. Nothing that stands in a row is opened as a path or a URL.
"""

import base64
import binascii
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..data.catalog import Catalog, join_text
from ..errors import RowError
from ..runtime.device import allow_tf32, pick_device, pick_precision
from .bundle import Bundle
from .fold_models import FoldModels, members_of
from .predict import Scoring

# columns with pictures, in their order; one of them may hold a list
PICTURE_COLUMNS = ("image", *(f"image_{number}" for number in range(2, 9)))
LISTED = 10


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
    """The models of a bundle, ready for rows; calls from several threads take turns."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        config = bundle.config
        device = pick_device()
        allow_tf32(device)
        self._models = FoldModels(
            members_of(bundle.checkpoints, config.data, config.infer),
            device=device,
            precision=pick_precision(device, config.train.amp),
            keep=True,
        )
        self._turn = threading.Lock()

    def score(self, frame: pd.DataFrame, *, tta: bool, batch_size: int) -> ScoredRows:
        """Score rows; see `ScoredRows` for those that can't be.

        Args:
            frame: columns `bundle.text_cols` and PICTURE_COLUMNS, as far as they are there; others are ignored.
            tta: take the mean with the horizontal flip.
            batch_size: rows at a time.

        Raises:
            RowError: none of the columns is there.
        """
        known = [*self.bundle.text_cols, *PICTURE_COLUMNS]
        if not any(column in frame.columns for column in known):
            raise RowError(
                f"none of the columns {', '.join((*self.bundle.text_cols, 'image', 'image_2'))}, ... is there; "
                f"found {', '.join(map(str, frame.columns)) or 'none that the model knows'}"
            )
        problems: dict[int, str] = {}
        catalog = _read(frame, self.bundle.text_cols, problems)
        config = self.bundle.config
        data = config.data.model_copy(update={"on_bad_image": "placeholder", "num_workers": 0})
        infer = config.infer.model_copy(update={"tta": tta, "batch_size": batch_size})
        probabilities = np.empty((len(frame), len(self.bundle.classes)), dtype=np.float32)
        with self._turn:
            scoring = Scoring(catalog, self._models, data, infer, examples=len(catalog.contents or ()), quiet=True)
            for rows, part in scoring:
                probabilities[rows] = part
        for row, sentence in scoring.examples:
            problems.setdefault(row, sentence)
        probabilities[list(problems)] = np.nan
        return ScoredRows(probabilities, dict(sorted(problems.items())))


def explain(problems: dict[int, str], rows: int) -> str:
    """All problems of a request as one message."""
    listed = "; ".join(list(problems.values())[:LISTED])
    more = f"; and {len(problems) - LISTED:,} more" if len(problems) > LISTED else ""
    others = " The others are fine: send them again without these." if len(problems) < rows else ""
    count = "1 row" if len(problems) == 1 else f"{len(problems):,} rows"
    return f"{count} of {rows:,} can't be scored (rows count from 1): {listed}{more}.{others}"


def _read(frame: pd.DataFrame, text_cols: tuple[str, ...], problems: dict[int, str]) -> Catalog:
    """The rows as a catalogue; what can't be read goes to `problems`."""
    texts: list[str] = []
    pictures: list[tuple[str, ...]] = []
    contents: dict[str, bytes] = {}
    text_values = [frame[column].tolist() for column in text_cols if column in frame.columns]
    names = [column for column in PICTURE_COLUMNS if column in frame.columns]
    picture_values = [frame[column].tolist() for column in names]
    present = [column for column in text_cols if column in frame.columns]
    for row in range(len(frame)):
        fields = []
        for column, values in zip(present, text_values, strict=True):
            value = values[row]
            if isinstance(value, str):
                fields.append(value.encode("utf-8", "replace").decode("utf-8"))  # no half of a surrogate pair
            elif not _is_missing(value):
                problems.setdefault(row, f"row {row + 1}: {column}: found {value!r:.60}, but it should be a text")
        found = []
        for column, values in zip(names, picture_values, strict=True):
            for name, value in _each(f"row {row + 1}: {column}", values[row]):
                try:
                    contents[name] = _content(value)
                except RowError as error:
                    problems.setdefault(row, f"{name}: {error}")
                    continue
                found.append(name)
        texts.append(join_text(fields))
        pictures.append(tuple(found))
    return Catalog(
        table_path=Path("rows"),
        image_root=Path(),
        ids=[str(row) for row in range(len(frame))],
        texts=texts,
        pictures=pictures,
        id_col="id",
        label_col=None,
        text_cols=text_cols,
        contents=contents,
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


def _content(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str):
        raise RowError(f"found {type(value).__name__}, but it should be the bytes of a picture file, or base64 of them")
    encoded = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RowError("is not base64; send the content of the picture file (paths and URLs are not opened)") from None
