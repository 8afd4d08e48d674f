"""The examination in short, by the table alone: what is worth a line before training starts."""

from collections.abc import Iterator

from ..config import Config
from ..data.folds import Split
from .duplicate_findings import DOUBTFUL, leaking
from .duplicates import text_duplicates
from .finding import counted, share_of
from .label_findings import near_equal
from .picture_findings import WRONG

# rows up to which texts are compared with each other: three seconds
MOST_ROWS = 50_000
NAMED = 3


def doubts(split: Split, config: Config) -> Iterator[str]:
    """Sentences; none where nothing is found. No picture is read.

    Args:
        split: the catalogue and its folds.
        config: resolved.
    """
    catalog = split.catalog
    rows, labels = catalog.rows, catalog.labels or []
    alike = [group for group, in_writing in near_equal(labels) if not in_writing]
    if alike:
        more = f" and {len(alike) - NAMED:,} more" if len(alike) > NAMED else ""
        named = "; ".join(" and ".join(map(repr, group)) for group in alike[:NAMED])
        yield f"classes that look like one: {named}{more}"
    neither = sum(not names and not text for names, text in zip(rows.pictures, rows.texts, strict=True))
    if neither >= WRONG * len(rows):
        yield f"{counted(neither, 'row')} ({share_of(neither, len(rows))}) have neither a picture nor a text"
    if len(rows) > MOST_ROWS:
        return
    leak = int(leaking(text_duplicates(rows.texts, labels), split.folds).sum())
    if leak >= DOUBTFUL * len(rows):
        known = "" if config.data.groups_csv is None else " all the same"
        yield (
            f"{counted(leak, 'row')} ({share_of(leak, len(rows))}) have the text of a row of another fold but for a "
            f"word or two{known}, so validation looks better than it is; `check` writes the groups that mend it"
        )
