"""How the test table differs from the training table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .finding import Finding, Level, Subject

# rows of each table that a classifier is shown at most, and must be
MOST_ROWS, LEAST_ROWS = 2000, 20
# AUC that doubt begins at, once its interval is taken off
DOUBTFUL = 0.65
# standard errors of a 95 % interval
WIDTH = 1.96
FOLDS, NAMED = 5, 8


@dataclass(frozen=True)
class Separation:
    """How well a classifier tells training from test rows, each judged by a model that didn't see it.

    Attributes:
        by: "text", "picture" or "feature", those of the frozen towers.
        auc: area under the ROC curve; 0.5 where they can't be told apart.
        low, high: ends of its 95 % interval (Hanley and McNeil, "The Meaning and Use of the Area under a ROC Curve",
            1982).
        words: that speak for the test, of texts.
    """

    by: str
    auc: float
    low: float
    high: float
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measure:
    """A figure of both tables.

    Attributes:
        name: of the figure.
        train, test: its quartiles, each (25 %, 50 %, 75 %); or one share.
    """

    name: str
    train: tuple[float, ...]
    test: tuple[float, ...]


@dataclass(frozen=True)
class Drift:
    """What differs.

    Attributes:
        measures: figures of both.
        separations: classifiers; none where a table has too few rows.
    """

    measures: tuple[Measure, ...]
    separations: tuple[Separation, ...]


def find_drift(subject: Subject, features: Sequence[np.ndarray] | None = None) -> Drift | None:
    """Compare the tables; None without a test table.

    Args:
        subject: with a test table.
        features: float32 (rows, width) of both tables, of frozen towers; None for words and colours alone.
    """
    if subject.test is None:
        return None
    both = subject.catalog.rows, subject.test.rows
    place = {name: n for n, name in enumerate(subject.looks.names)}
    words = [_quartiles([len(text.split()) for text in rows.texts]) for rows in both]
    sizes = [
        _quartiles(
            [
                int(subject.looks.sizes[place[names[0]]].min())
                for names in rows.pictures
                if names and subject.looks.is_readable[place[names[0]]]
            ]
        )
        for rows in both
    ]
    lacks = [(float(np.mean([not names for names in rows.pictures])),) for rows in both]
    silent = [(float(np.mean([not text for text in rows.texts])),) for rows in both]
    measures = (
        Measure("words of a text", words[0], words[1]),
        Measure("shorter side of a picture", sizes[0], sizes[1]),
        Measure("without a picture", lacks[0], lacks[1]),
        Measure("without a text", silent[0], silent[1]),
    )
    by_features = None if features is None else _by_features(subject, features)
    judged = (_by_text(subject), _by_picture(subject, place), by_features)
    return Drift(measures, tuple(each for each in judged if each is not None))


def drift_findings(drift: Drift) -> Iterator[Finding]:
    """Whether the tables are of one kind."""
    for each in drift.separations:
        if each.low > DOUBTFUL:
            words = f"; the test has more of: {', '.join(each.words)}" if each.words else ""
            yield Finding(
                "drift",
                Level.DOUBTFUL,
                f"By their {each.by}s test and training rows can be told apart (AUC {each.auc:.2f}, {each.low:.2f} to "
                f"{each.high:.2f}; 0.5 is alike){words}",
                "expect less than in cross-validation, or train on rows like those of the test",
            )


def _quartiles(values: list[int]) -> tuple[float, ...]:
    return tuple(float(q) for q in np.quantile(values, [0.25, 0.5, 0.75])) if values else ()


def _sample(rows: np.ndarray, seed: int) -> np.ndarray:
    if len(rows) <= MOST_ROWS:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, MOST_ROWS, replace=False))


def _by_text(subject: Subject) -> Separation | None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    assert subject.test is not None  # noqa: S101 - asked before
    tables = subject.catalog.rows.texts, subject.test.rows.texts
    chosen = [_sample(np.array([n for n, t in enumerate(texts) if t], dtype=np.int64), seed=7) for texts in tables]
    if min(map(len, chosen)) < LEAST_ROWS:
        return None
    texts = [tables[t][row] for t in (0, 1) for row in chosen[t]]
    is_test = np.repeat([False, True], list(map(len, chosen)))
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, max_features=20_000)
    try:
        features = vectorizer.fit_transform(texts)
    except ValueError:  # no word stands in two texts
        return None
    scores, weights = _judged(features, is_test, _groups(subject, chosen))
    names = vectorizer.get_feature_names_out()
    words = tuple(str(names[n]) for n in np.argsort(-weights)[:NAMED] if weights[n] > 0)
    return _separation("text", scores, is_test, words)


def _by_features(subject: Subject, features: Sequence[np.ndarray]) -> Separation | None:
    chosen = [_sample(np.arange(len(each)), seed=9) for each in features]
    if min(map(len, chosen)) < LEAST_ROWS:
        return None
    values = np.concatenate([each[rows] for each, rows in zip(features, chosen, strict=True)])
    values = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-6) / np.sqrt(values.shape[1])
    is_test = np.repeat([False, True], list(map(len, chosen)))
    scores, _ = _judged(values, is_test, _groups(subject, chosen))
    return _separation("feature", scores, is_test, ())


def _by_picture(subject: Subject, place: dict[str, int]) -> Separation | None:
    assert subject.test is not None  # noqa: S101 - asked before
    tables = subject.catalog.rows.pictures, subject.test.rows.pictures
    readable = subject.looks.is_readable
    usable = [[n for n, names in enumerate(rows) if names and readable[place[names[0]]]] for rows in tables]
    shown = [_sample(np.array(rows, dtype=np.int64), seed=8) for rows in usable]
    if min(map(len, shown)) < LEAST_ROWS:
        return None
    chosen = np.array([place[tables[t][row][0]] for t in (0, 1) for row in shown[t]])
    is_test = np.repeat([False, True], list(map(len, shown)))
    thumbs = subject.looks.thumbs[chosen].astype(np.float32) / 255
    coarse = thumbs.reshape(len(chosen), 4, 4, 4, 4, 3)
    sizes = np.log1p(subject.looks.sizes[chosen].astype(np.float32))
    features = np.concatenate(
        [
            coarse.mean(axis=(2, 4)).reshape(len(chosen), -1),
            coarse.std(axis=(2, 4)).reshape(len(chosen), -1),
            sizes,
            sizes[:, :1] - sizes[:, 1:],
        ],
        axis=1,
    )
    features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    scores, _ = _judged(features, is_test, _groups(subject, shown))
    return _separation("picture", scores, is_test, ())


def _groups(subject: Subject, chosen: list[np.ndarray]) -> np.ndarray:
    """int64, the duplicates' sets of rows of both tables: colours of one product would be recognised by it."""
    groups = subject.duplicates.groups
    found: np.ndarray = np.concatenate([groups[chosen[0]], groups[len(subject.catalog) + chosen[1]]])
    return found


def _judged(features: Any, is_test: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the rows, float64 (rows,), each by a model that saw none of its group; weights of one that saw all."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=500)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    scores = cross_val_predict(model, features, is_test, cv=folds, groups=groups, method="decision_function")
    return scores, model.fit(features, is_test).coef_[0]


def _separation(by: str, scores: np.ndarray, is_test: np.ndarray, words: tuple[str, ...]) -> Separation:
    from sklearn.metrics import roc_auc_score

    auc = float(roc_auc_score(is_test, scores))
    n, m = int(is_test.sum()), int((~is_test).sum())
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (n - 1) * (q1 - auc**2) + (m - 1) * (q2 - auc**2)) / (n * m)
    error = WIDTH * float(np.sqrt(max(variance, 0.0)))
    return Separation(by, auc, max(0.0, auc - error), min(1.0, auc + error), words)
