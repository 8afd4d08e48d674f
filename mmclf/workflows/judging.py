"""Scored rows whose labels are known, judged: figures, what was expected of them, drift, and the report.

Chunk by chunk, in memory of a few numbers a row; the report shows rows drawn at random where there are many.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from ..data.catalog import Catalog
from ..data.labels import NO_LABEL
from ..data.rows import Rows
from ..evaluation.drift import Drift, accuracy_at_mix, count_labels, of_classes, of_shares, of_values
from ..evaluation.intervals import bootstrap_scores
from ..evaluation.probabilities import ProbabilityTable, merge_classes
from ..evaluation.row_scores import RowScores
from ..evaluation.thresholds import Threshold, find_thresholds, reach
from ..records import tracking
from ..records.sources import Source
from ..records.vocabulary import Metric
from ..reporting.evidence import Evidence
from ..reporting.new_data import NewData
from .reference import Reference, find_reference
from .report import report_new_rows

# rows of which the report keeps all probabilities, and their cells
MOST_ROWS, MOST_CELLS = 20_000, 20_000_000
SEED = 0


class Judge:
    """Judges rows as they are scored."""

    def __init__(
        self,
        catalog: Catalog,
        labels: Sequence[str],
        sources: Sequence[Source],
        groups: Sequence[str] | None = None,
        unlabelled: int = 0,
    ) -> None:
        """
        Args:
            catalog: the rows that are scored.
            labels: of the rows; "" or a word that stands for none where there is none.
            sources: what scores.
            groups: of the rows; None where each stands alone.
            unlabelled: rows without a label that aren't among these.
        """
        # in the order of the probabilities
        self._classes = classes = merge_classes([source.mixture.classes for source in sources])
        self._catalog, self._labels = catalog, labels
        self._groups, self._scored_by = groups, "; ".join(map(str, sources))
        self._reference = reference = find_reference(sources, classes)
        self._thresholds: Sequence[Threshold] = sources[0].mixture.thresholds if len(sources) == 1 else ()
        # fitted before anything is scored, so that it isn't counted as scoring
        self._temperature = None if reference is None else reference.temperature()
        if reference is not None and not self._thresholds:
            self._thresholds = find_thresholds(reference.table)
        position = {name: c for c, name in enumerate(classes)}
        self._targets = np.array([position.get(label, -1) for label in labels], dtype=np.int64)
        others = Counter(label for label in labels if label not in position)
        self._unlabelled = unlabelled + sum(others.pop(word, 0) for word in NO_LABEL)
        self._unknown = dict(others.most_common())
        known = np.flatnonzero(self._targets >= 0)
        most = min(MOST_ROWS, MOST_CELLS // max(len(classes), 1))
        shown = known
        if len(known) > most:
            shown = np.sort(np.random.default_rng(SEED).choice(known, most, replace=False))
        self._known: list[int] = known.tolist()
        self._shown: list[int] = shown.tolist()
        self._scores: list[RowScores] = []
        self._calibrated: list[np.ndarray] = []
        self._kept: list[np.ndarray] = []

    def add(self, positions: np.ndarray, probabilities: np.ndarray) -> None:
        """Take rows that were scored.

        Args:
            positions: int (n,), ascending, each later than those before.
            probabilities: float32 (n, classes).
        """
        targets = self._targets[positions]
        known = targets >= 0
        probabilities_known = probabilities[known]
        self._scores.append(RowScores.of(probabilities_known, targets[known]))
        if self._temperature is not None:
            scaled = self._temperature.combine([probabilities_known])
            self._calibrated.append(scaled.max(axis=1).astype(np.float32))
        shown = np.isin(positions, self._shown, assume_unique=True)
        self._kept.append(probabilities[shown])

    @cached_property
    def found(self) -> NewData:
        """What is known of the rows, once all were added."""
        scores, reference = RowScores.join(self._scores), self._reference
        groups = None if self._groups is None else [self._groups[row] for row in self._known]
        figures = bootstrap_scores(scores, groups)
        reached = [(each, reach(each, scores.confidence, scores.hits)) for each in self._thresholds]
        new = NewData(len(scores), figures, unknown=self._unknown, unlabelled=self._unlabelled, thresholds=reached)
        if reference is None:
            return new
        labels = [self._labels[row] for row in self._known]
        then = count_labels(reference.table.labels or (), self._classes)
        now = count_labels(labels, self._classes)
        shares = zip(then / then.sum(), now / now.sum(), strict=True)
        return replace(
            new,
            expected=reference.figures(),
            at_mix=accuracy_at_mix(reference.table, Counter(labels)),
            by_confidence=float(np.concatenate(self._calibrated).mean()),
            seen=len({self._catalog.ids[row] for row in self._known} & set(reference.table.ids)),
            drift=self._drift(reference, scores, then, now),
            shares={name: (float(a), float(b)) for name, (a, b) in zip(self._classes, shares, strict=True)},
        )

    def conclude(self, run_id: str, title: str, *, report: bool, note: str = "") -> None:
        """Record the figures of the rows that were added in the active run, and the report of them.

        Args:
            run_id: of the active run.
            title: of the report.
            report: whether it is made.
            note: the rest of the run's description.
        """
        tracking.log_facts({}, self._metrics())
        tracking.describe("\n\n".join(part for part in (self.found.sentence, note) if part))
        if report:
            report_new_rows(run_id, lambda: self._evidence(title, run_id))

    def _evidence(self, title: str, run_id: str) -> Evidence:
        """What the report is made from."""
        facts = [("data", self._catalog.short_name), ("scored by", self._scored_by), ("run", run_id)]
        catalog, rows = self._catalog, self._shown
        labels = [self._labels[row] for row in rows]
        ids = [catalog.ids[row] for row in rows]
        table = ProbabilityTable(ids, self._classes, np.concatenate(self._kept), None, labels)
        groups = None if self._groups is None else [self._groups[row] for row in rows]
        return Evidence(title, facts, table, catalog.rows.take(np.array(rows)), groups, new=self.found)

    def _metrics(self) -> dict[str, float]:
        new = self.found
        names = {
            "top1": (Metric.EVAL_TOP1, Metric.EVAL_TOP1_LOW, Metric.EVAL_TOP1_HIGH),
            "top3": (Metric.EVAL_TOP3, Metric.EVAL_TOP3_LOW, Metric.EVAL_TOP3_HIGH),
            "macro_f1": (Metric.EVAL_MACRO_F1, Metric.EVAL_MACRO_F1_LOW, Metric.EVAL_MACRO_F1_HIGH),
            "loss": (Metric.EVAL_LOSS, Metric.EVAL_LOSS_LOW, Metric.EVAL_LOSS_HIGH),
            "calibration_error": (Metric.EVAL_CALIBRATION, Metric.EVAL_CALIBRATION_LOW, Metric.EVAL_CALIBRATION_HIGH),
        }
        found: dict[str, float] = {}
        for name, (value, low, high) in names.items():
            each = new.figures[name]
            found |= {value: each.value, low: each.low, high: each.high}
        found |= {Metric.EVAL_ROWS: new.rows, Metric.EVAL_UNKNOWN: sum(new.unknown.values())}
        if new.expected:
            found[Metric.EVAL_EXPECTED_TOP1] = new.expected["top1"].value
        if new.by_confidence is not None:
            found[Metric.EVAL_BY_CONFIDENCE] = new.by_confidence
        return found

    def figures(self) -> dict[str, Any]:
        """The headline figures."""
        new = self.found
        top1 = new.figures["top1"]
        said: dict[str, Any] = {"judged": new.rows, "top1": top1.value, "top1_low": top1.low, "top1_high": top1.high}
        said |= {name: new.figures[name].value for name in ("top3", "macro_f1", "loss", "calibration_error")}
        gap = new.gap("top1")
        if gap is not None:
            said |= {"expected_top1": new.expected["top1"].value, "as_expected": gap.low <= 0 <= gap.high}
        said = {name: round(value, 4) if isinstance(value, float) else value for name, value in said.items()}
        return said | {
            "unknown_rows": sum(new.unknown.values()),
            "unlabelled_rows": new.unlabelled,
            "trained_ids": new.seen,
        }

    def _drift(self, reference: Reference, scores: RowScores, then: np.ndarray, now: np.ndarray) -> list[Drift]:
        found = [of_classes("mix of the classes", then, now)]
        if reference.catalog is not None:
            rows = reference.catalog.rows, self._catalog.rows.take(np.array(self._known))
            (words, pictures), (words_now, pictures_now) = (_sizes(each) for each in rows)
            found += [
                of_values("words of the text (median)", words, words_now),
                of_shares("rows without a text", words == 0, words_now == 0),
                of_shares("rows without a picture", pictures == 0, pictures_now == 0),
                of_shares("rows with several pictures", pictures > 1, pictures_now > 1),
            ]
        before = reference.table.probabilities.max(axis=1)
        return [*found, of_values("confidence (median)", before, scores.confidence)]


def _sizes(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """int64 (n,) each: words of the text and number of pictures of each row."""
    words = np.array([len(text.split()) for text in rows.texts], dtype=np.int64)
    return words, np.array([len(names) for names in rows.pictures], dtype=np.int64)
