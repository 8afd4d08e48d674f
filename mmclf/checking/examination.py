"""The whole examination of a catalogue: what was seen, and the findings."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..config import Config
from ..data.catalog import Catalog
from ..data.folds import assign_folds
from ..errors import FoldError
from .drift import Drift, drift_findings, find_drift
from .duplicate_findings import duplicate_findings, leak_of
from .duplicates import find_duplicates
from .finding import CountTokens, Finding, Level, Subject
from .label_findings import contradictions, label_findings, same_picture, same_text
from .looks import look_at
from .picture_findings import picture_findings
from .sets import united
from .text_findings import TextTokens, count_text_tokens, text_findings

# ids of a finding in the JSON
MOST_IDS = 1000


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        subject: the catalogue and what was seen of it.
        tokens: of its texts; None where they weren't counted.
        drift: between it and the test; None without a test.
        findings: what matters most first.
    """

    subject: Subject
    tokens: TextTokens | None
    drift: Drift | None
    findings: tuple[Finding, ...]

    def of(self, level: Level) -> list[Finding]:
        """The findings of a level."""
        return [finding for finding in self.findings if finding.level == level]

    def groups_csv(self) -> str:
        """`id,group` of each row of the catalogue, as `data.groups_csv` takes it; a group has its first row's id.

        Rows that are together in the configuration's own groups stay so.
        """
        catalog = self.subject.catalog
        sets = self.subject.train(self.subject.duplicates.groups)
        if catalog.groups is not None:
            sets = united(sets, np.unique(catalog.groups, return_inverse=True)[1].astype(np.int64))
        first = np.unique(sets, return_index=True, return_inverse=True)
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([catalog.id_col, "group"])
        writer.writerows((i, catalog.ids[first[1][place]]) for i, place in zip(catalog.ids, first[2], strict=True))
        return out.getvalue()

    def conflicts(self) -> list[tuple[str, np.ndarray]]:
        """What rows of several labels have in common, and their positions, int64."""
        kinds = (("all", contradictions), ("picture", same_picture), ("text", same_text))
        return [(what, rows) for what, find in kinds for rows in find(self.subject)]

    def to_json(self) -> dict[str, Any]:
        """Everything but pictures and texts."""
        subject = self.subject
        catalog, duplicates = subject.catalog, subject.duplicates
        sizes = subject.looks.sizes[subject.looks.is_readable]
        tree: dict[str, Any] = {
            "format": 1,
            "table": catalog.short_name,
            "counts": catalog.summary(),
            "classes": dict(Counter(subject.labels).most_common()),
            "pictures": {
                "read": len(subject.looks),
                "unreadable": len(subject.looks.problems),
                "shorter_side_quartiles": _quartiles(sizes.min(axis=1)) if len(sizes) else [],
            },
            "duplicates": {
                name: {"sets": len(found), "rows": sum(map(len, found))}
                for name, sets in (
                    ("pictures", duplicates.pictures),
                    ("texts", duplicates.texts),
                    ("groups", duplicates.groups),
                )
                for found in [subject.train_sets(sets)]
            },
            "leak": {
                name: None if folds is None else round(leak_of(subject, folds).share, 6)
                for name, folds in (("these_folds", subject.folds), ("plain_folds", subject.plain_folds))
            },
        }
        tree["tokens"] = (
            {"left_out": subject.token_problem}
            if self.tokens is None
            else {
                "texts": len(self.tokens.rows),
                "quartiles": _quartiles(self.tokens.lengths),
                "scripts": [vars(each) for each in self.tokens.scripts],
            }
        )
        if self.drift is not None:
            tree["drift"] = {
                "measures": [vars(each) for each in self.drift.measures],
                "separations": [vars(each) for each in self.drift.separations],
            }
        tree["findings"] = [_finding(each) for each in self.findings]
        return tree


def examine(
    catalog: Catalog,
    config: Config,
    *,
    test: Catalog | None = None,
    features: Sequence[np.ndarray] | None = None,
    count_tokens: CountTokens | None = None,
    token_problem: str = "",
    groups_csv: str = "groups.csv",
) -> Examination:
    """Look at a catalogue and say what is wrong with it.

    Args:
        catalog: with labels.
        config: resolved.
        test: rows that are scored later, of the same folder of pictures.
        features: float32 (rows, width), of the catalogue and of the test; None where none are at hand.
        count_tokens: the backbone's tokenizer; None leaves out what needs it.
        token_problem: why there is none.
        groups_csv: where the groups will lie, for the override that mends a leak.
    """
    tables = [catalog, *([test] if test is not None else [])]
    pictures = [names for table in tables for names in table.rows.pictures]
    texts = [text for table in tables for text in table.rows.texts]
    labels = [*(catalog.labels or ()), *("" for table in tables[1:] for _ in range(len(table)))]
    names = list(dict.fromkeys(name for row in pictures for name in row))
    looks = look_at(catalog.image_root, names, config.data)
    duplicates = find_duplicates(texts, pictures, looks, labels)
    folds, problem = _folds(catalog, config)
    plain, _ = _folds(replace(catalog, groups=None, given_folds=None), config)
    subject = Subject(
        catalog, config, looks, duplicates, folds, problem, plain, test, count_tokens, token_problem, groups_csv
    )
    tokens, drift = count_text_tokens(subject), find_drift(subject, features)
    found = [*label_findings(subject), *duplicate_findings(subject), *picture_findings(subject)]
    found += [*text_findings(subject, tokens), *(drift_findings(drift) if drift is not None else ())]
    return Examination(subject, tokens, drift, tuple(sorted(found, key=lambda each: -each.level)))


def _folds(catalog: Catalog, config: Config) -> tuple[np.ndarray | None, str]:
    """Of a configuration; None, and why, where they can't be cut."""
    try:
        return assign_folds(catalog, config.train.folds, config.train.seed), ""
    except FoldError as error:
        return None, str(error)


def _quartiles(values: np.ndarray) -> list[float]:
    return [float(q) for q in np.quantile(values, [0.25, 0.5, 0.75])] if len(values) else []


def _finding(each: Finding) -> dict[str, Any]:
    ids: Sequence[str] = each.ids[:MOST_IDS]
    return {
        "key": each.key,
        "level": each.level.name.lower(),
        "sentence": each.sentence,
        "mend": each.mend,
        "rows": len(each.ids),
        "ids": list(ids),
        "table": "test" if each.is_test else "train",
    }
