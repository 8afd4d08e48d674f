"""A trained model in Python: rows and pictures in, labels out."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import Overrides, check_changes
from ..errors import PictureError, RowError, TableError
from ..records.vocabulary import DEFAULT_MODEL

if TYPE_CHECKING:
    import pandas as pd

    from ..data.table import TableLike
    from ..records.sources import Source
    from ..scoring.requests import RowScorer


def load(model: str = DEFAULT_MODEL, *, overrides: Overrides = "", fold: int | None = None) -> "Model":
    """Open a registered model or the folds of a run; weights are read with the first rows.

    Args:
        model: models:/NAME@ALIAS, models:/NAME/VERSION or the id of a run of stage1, stage2 or a fusion.
        overrides: how it is used, as `"infer.tta=false"` or `{"infer.tta": False}`.
        fold: the only one that scores; None for all, averaged.

    Raises:
        MmclfError: there is no such model; the message says where it was looked for.
    """
    if "," in model:
        raise RowError(f"load: found {model!r}; give one model (`infer` averages several)")
    check_changes(overrides)
    from ..records import runs
    from ..records.sources import Use, find_sources

    [source] = find_sources(runs.connect(), model, Use(fold, overrides=overrides))
    return Model(source)


class Model:
    """Folds that score together; `load` makes it."""

    def __init__(self, source: "Source") -> None:
        self._source = source
        self._scorer: RowScorer | None = None

    def __repr__(self) -> str:
        return f"<mmclf model: {self._source}, {len(self.classes)} classes>"

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that it knows."""
        return self._source.mixture.classes

    @property
    def text_cols(self) -> tuple[str, ...]:
        """The text columns that it reads."""
        return tuple(self._source.text_cols)

    def predict(
        self,
        frame: "pd.DataFrame",
        *,
        images: str | Path | None = None,
        top_k: int = 3,
        tta: bool | None = None,
        batch_size: int | None = None,
        precision: float = 0.0,
    ) -> "pd.DataFrame":
        """Label each row.

        Args:
            frame: the text columns and `image`, `image_2`, ... `image_8`; each may be left out, each cell empty. A
                picture is bytes of a file, base64 of them, a PIL image, an array uint8 (height, width, 3), or a path;
                one cell may hold a list of them.
            images: the folder that paths are relative to; a text is a path then, and base64 otherwise.
            top_k: labels a row in `top_labels`.
            tta: take the mean with the horizontal flip; None for what the model was made with.
            batch_size: rows at a time; None for what the model was made with.
            precision: of a registered model: the share of right ones that is wanted among the labelled rows, as 0.98;
                rows that are less sure than that asks for become "unassigned". 0 labels all.

        Returns:
            `label`, `confidence`, `top_labels` and `top_confidences`, with the index of `frame`.

        Raises:
            RowError: rows that can't be scored, each named by its number.
        """
        from ..scoring.requests import PICTURE_COLUMNS, RowScorer, as_frame, explain

        if top_k < 1:
            raise RowError(f"top_k: found {top_k}; give a number of 1 or more")
        least = self._source.mixture.least_confidence(precision)
        if self._scorer is None:
            self._scorer = RowScorer(self._source.mixture)
        infer = self._source.config.infer
        root = None if images is None else Path(images).resolve()
        problems: dict[int, str] = {}
        given = frame.copy(deep=False)
        for column in PICTURE_COLUMNS:
            if column in given.columns:
                given[column] = _contents(given[column], root, problems)
        scored = self._scorer.score(
            given, tta=infer.tta if tta is None else tta, batch_size=batch_size or infer.batch_size
        )
        problems = scored.problems | problems
        if problems:
            raise RowError(explain(dict(sorted(problems.items())), len(frame)))
        return as_frame(scored.probabilities, self.classes, top_k, frame.index, least)

    def evaluate(self, table: "TableLike", *, labels: "TableLike | None" = None, images: str | Path) -> dict[str, Any]:
        """Score a table whose labels are known.

        Args:
            table: as `infer` takes it.
            labels: a table with the id and the label of each row, where `table` has no labels; in any order.
            images: the folder of pictures.

        Returns:
            `rows`; `top1`, `top3`, `macro_f1` and `calibration_error`, in [0, 1].

        Raises:
            TableError: a row without a label, or with one that the model doesn't know.
            MmclfError: the table or the pictures can't be used.
        """
        from ..data.table import open_table
        from ..evaluation.metrics import calibration_error, macro_f1, top_k
        from .scorer import score_with
        from .tables import read_labels, read_rows

        source, classes = self._source, self.classes
        opened = open_table(table)
        catalog = read_rows(opened, images, source.config.data, self.text_cols)
        meta = source.checkpoints[0].meta
        label_of = read_labels(opened if labels is None else labels, catalog.id_col, meta.label_col)
        column_of = {name: column for column, name in enumerate(classes)}
        for i in catalog.ids:
            if i not in label_of:
                raise TableError(f"labels: no label for id {i!r}; give each row of the table one")
            if label_of[i] not in column_of:
                raise TableError(f"labels: id {i!r}: the model doesn't know the label {label_of[i]!r}")
        targets = np.array([column_of[label_of[i]] for i in catalog.ids], dtype=np.int64)
        probabilities = np.concatenate([part for _, part in score_with([source], catalog.rows).scoring])
        return {
            "rows": len(catalog),
            "top1": top_k(probabilities, targets, 1),
            "top3": top_k(probabilities, targets, 3),
            "macro_f1": macro_f1(probabilities, targets),
            "calibration_error": calibration_error(probabilities, targets),
        }


def _contents(cells: "pd.Series", root: Path | None, problems: dict[int, str]) -> "pd.Series":
    """Pictures of any kind as what `RowScorer` takes; a row with one that can't be read goes to `problems`."""
    import pandas as pd

    found: list[Any] = []
    for row, cell in enumerate(cells.tolist()):
        try:
            pictures = [_content(picture, root) for picture in _pictures(cell)]
        except RowError as error:
            problems[row] = f"row {row + 1}: {cells.name}: {error}"
            pictures = []
        found.append(pictures if isinstance(cell, list | tuple) else next(iter(pictures), None))
    return pd.Series(found, cells.index, dtype=object)


def _pictures(cell: Any) -> Iterator[Any]:
    """The pictures in one cell; an array of pixels is one picture."""
    if isinstance(cell, list | tuple) or (isinstance(cell, np.ndarray) and cell.dtype == object):
        yield from cell
    else:
        yield cell


def _content(picture: Any, root: Path | None) -> Any:
    from PIL import Image

    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise RowError(f"found an array {picture.dtype} {picture.shape}, but it should be uint8 (height, width, 3)")
        return _png(Image.fromarray(picture))
    if isinstance(picture, Image.Image):
        return _png(picture)
    is_path = isinstance(picture, Path) or (
        root is not None and isinstance(picture, str) and picture != "" and not picture.startswith("data:")
    )
    return _read(picture, root) if is_path else picture


def _read(name: str | Path, root: Path | None) -> bytes:
    """The content of a picture file that lies in the folder `root`.

    Raises:
        RowError: there is no such file, or it lies elsewhere.
    """
    from ..data.decoding import read_file

    if root is None:
        raise RowError(f"found the path {str(name)!r}; name the folder that it is in by `images`")
    try:
        path = (root / name).resolve()
    except (OSError, RuntimeError):
        raise RowError(f"{str(name)!r} can't be read from {root} (a link that leads to itself)") from None
    if not path.is_relative_to(root):
        raise RowError(f"{str(name)!r} leads out of {root}")
    try:
        return read_file(path)
    except PictureError as error:
        raise RowError(f"{str(name)!r} can't be read from {root} ({str(error).rpartition(': ')[2]})") from None


def _png(picture: Any) -> bytes:
    """The same pixels as a file."""
    file = io.BytesIO()
    known = picture if picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else picture.convert("RGB")
    known.save(file, "PNG", compress_level=1)
    return file.getvalue()
