"""Findings about pictures: missing, unreadable, tiny, oversized, elongated, of one colour, or standing for none."""

from collections.abc import Iterator

import numpy as np

from ..data.decoding import MILLION
from .duplicates import STAND_IN_CLASSES, STAND_IN_ROWS
from .finding import NAMED, Finding, Level, Subject, counted, share_of

# a picture is tiny where it has to be enlarged so many times
TINY = 4
# one of so many times its shorter side loses most of itself to the crop
ELONGATED = 3
# millions of pixels that are slow to read, for what is seen of them
LARGE = 20
# share of the rows, or pictures, from which on a lack is doubtful, and from which on it is wrong
DOUBTFUL, WRONG = 0.2, 0.05
MOST_MEGAPIXELS = 178  # that data.max_megapixels takes


def picture_findings(subject: Subject) -> Iterator[Finding]:
    """All of them."""
    yield from _missing(subject)
    yield from _unreadable(subject)
    yield from _sizes(subject)
    yield from _that_show_nothing(subject)


def oversized(subject: Subject) -> list[str]:
    """Names of pictures that have more pixels than may be held in memory, or are slow to read."""
    most = min(LARGE, subject.config.data.max_megapixels) * MILLION
    return [subject.looks.names[n] for n in np.flatnonzero(subject.looks.sizes.prod(axis=1) > most)]


def unreadable(subject: Subject) -> list[str]:
    """Names of pictures that can't be read, for another reason than their size."""
    looks = subject.looks
    most = subject.config.data.max_megapixels * MILLION
    return [looks.names[n] for n in sorted(looks.problems) if looks.sizes[n].prod() <= most]


def tiny(subject: Subject) -> list[str]:
    """Names of pictures whose shorter side is enlarged more than four times."""
    least = subject.config.data.img_size / TINY
    shorter = subject.looks.sizes.min(axis=1, initial=10**9)
    which = subject.looks.is_readable & (shorter < least) & (shorter > 0)
    return [subject.looks.names[n] for n in np.flatnonzero(which)]


def elongated(subject: Subject) -> list[str]:
    """Names of pictures whose longer side is more than three times the shorter one."""
    sizes = subject.looks.sizes
    which = subject.looks.is_readable & (sizes.max(axis=1, initial=0) > ELONGATED * sizes.min(axis=1, initial=10**9))
    return [subject.looks.names[n] for n in np.flatnonzero(which)]


def flat(subject: Subject) -> list[str]:
    """Names of pictures of one colour."""
    return [subject.looks.names[n] for n in np.flatnonzero(subject.looks.is_flat)]


def _ids(subject: Subject, names: list[str]) -> list[str]:
    found = dict.fromkeys(row_id for name in names for row_id in subject.picture_rows.get(name, ()))
    return list(found)


def _missing(subject: Subject) -> Iterator[Finding]:
    rows = subject.catalog.rows
    without = [n for n, names in enumerate(rows.pictures) if not names]
    neither = [n for n in without if not rows.texts[n]]
    if without:
        share = len(without) / len(rows)
        yield Finding(
            "missing-pictures",
            Level.DOUBTFUL if share >= DOUBTFUL else Level.NOTE,
            f"{counted(len(without), 'row')} ({share_of(len(without), len(rows))}) have no picture",
            "name their pictures <id>.jpg or <id>_1.jpg" if share >= DOUBTFUL else "",
            subject.ids_of(without),
        )
    if neither:
        share = len(neither) / len(rows)
        yield Finding(
            "nothing-to-learn-from",
            Level.WRONG if share >= WRONG else Level.DOUBTFUL,
            f"{counted(len(neither), 'row')} ({share_of(len(neither), len(rows))}) have neither a picture nor a text",
            "give them one or the other, or leave these rows out",
            subject.ids_of(neither),
        )


def _unreadable(subject: Subject) -> Iterator[Finding]:
    looks, data = subject.looks, subject.config.data
    place = {name: n for n, name in enumerate(looks.names)}
    stops = data.on_bad_image == "error"
    for key, names, what in (
        ("unreadable-pictures", unreadable(subject), "can't be read"),
        (
            "oversized-pictures",
            [name for name in oversized(subject) if place[name] in looks.problems],
            f"have more than {data.max_megapixels} million pixels",
        ),
    ):
        if not names:
            continue
        share = len(names) / len(looks)
        level = Level.WRONG if stops or share >= WRONG else Level.DOUBTFUL
        becomes = "stop the training (data.on_bad_image=error)" if stops else "count as black"
        said = f"{counted(len(names), 'picture')} ({share_of(len(names), len(looks))}) {what} and {becomes}"
        example = f"; the first: {looks.problems[place[names[0]]]}"
        yield Finding(key, level, said + example, _mend(subject, key, names, place), _ids(subject, names))


def _mend(subject: Subject, key: str, names: list[str], place: dict[str, int]) -> str:
    if key == "unreadable-pictures":
        return "replace these files, or delete them so that their rows count as rows without picture"
    most = max(int(subject.looks.sizes[place[name]].prod()) for name in names)
    needed = -(-most // MILLION)
    if needed <= MOST_MEGAPIXELS:
        return f"data.max_megapixels={needed}"
    return "make them smaller"


def _sizes(subject: Subject) -> Iterator[Finding]:
    looks, size = subject.looks, subject.config.data.img_size
    small, long = tiny(subject), elongated(subject)
    large = [name for name in oversized(subject) if name not in {looks.names[n] for n in looks.problems}]
    if large:
        most = min(LARGE, subject.config.data.max_megapixels)
        yield Finding(
            "large-pictures",
            Level.NOTE,
            f"{counted(len(large), 'picture')} ({share_of(len(large), len(looks))}) have more than {most} million "
            f"pixels, and are slow to read for the {size} x {size} that are looked at",
            ids=_ids(subject, large),
        )
    if small:
        share = len(small) / len(looks)
        yield Finding(
            "tiny-pictures",
            Level.DOUBTFUL if share >= DOUBTFUL else Level.NOTE,
            f"{counted(len(small), 'picture')} ({share_of(len(small), len(looks))}) are smaller than {size // TINY} "
            f"pixels on a side and are enlarged more than {TINY} times to {size}",
            "give larger ones where there are any",
            _ids(subject, small),
        )
    if long:
        yield Finding(
            "elongated-pictures",
            Level.NOTE,
            f"{counted(len(long), 'picture')} ({share_of(len(long), len(looks))}) are more than {ELONGATED} times as "
            "long as wide: their middle alone is seen",
            "cut them to the product, or pad them to a square",
            _ids(subject, long),
        )


def _that_show_nothing(subject: Subject) -> Iterator[Finding]:
    looks = subject.looks
    blank = flat(subject)
    if blank:
        yield Finding(
            "blank-pictures",
            Level.DOUBTFUL,
            f"{counted(len(blank), 'picture')} ({share_of(len(blank), len(looks))}) are of one colour and show nothing",
            "delete these files, so that their rows count as rows without picture",
            _ids(subject, blank),
        )
    stand_ins = [(name, rows[rows < len(subject.catalog)]) for name, rows in subject.duplicates.stand_ins]
    if stand_ins:
        named = "; ".join(f"{name} of {counted(len(rows), 'row')}" for name, rows in stand_ins[:NAMED])
        more = f" and {len(stand_ins) - NAMED:,} more" if len(stand_ins) > NAMED else ""
        yield Finding(
            "stand-in-pictures",
            Level.DOUBTFUL,
            f"One picture for {STAND_IN_ROWS} rows or more of {STAND_IN_CLASSES} classes or more ({named}{more}): does "
            "it stand for a missing picture?",
            "if so, delete these files, so that their rows count as rows without picture",
            subject.ids_of(np.concatenate([rows for _, rows in stand_ins])),
        )
