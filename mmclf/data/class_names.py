"""What classes are called in a sentence, and which of them have no rows yet."""

from ..config import DataConfig
from ..errors import TableError
from .table import open_table

KEY, LABEL, NAME = "data.classes_csv", "label", "name"


def read_class_names(config: DataConfig) -> dict[str, str]:
    """The name of each label in `data.classes_csv`; none where there is no such file.

    Raises:
        TableError: it can't be read, lacks a column, or a label stands there twice or without a name.
    """
    if config.classes_csv is None:
        return {}
    table = open_table(config.classes_csv, KEY)
    labels = [label.strip() for label in table.column(LABEL, KEY)]
    names = [name.strip() for name in table.column(NAME, KEY)]
    found: dict[str, str] = {}
    for row, (label, name) in enumerate(zip(labels, names, strict=True), start=1):
        for column, value in ((LABEL, label), (NAME, name)):
            if not value:
                raise TableError(f"{table.name}: row {row}: column {column!r} is empty; give each label a name")
        if label in found:
            raise TableError(f"{table.name}: row {row}: label {label!r} stands there twice; keep one of them")
        found[label] = name
    return found
