"""The report of rows that came after the training.

.venv/bin/python -m pytest tests/reporting/test_new_data.py
"""

import csv
import io
from dataclasses import replace

import pytest

from mmclf.evaluation.drift import Drift
from mmclf.evaluation.intervals import Interval, bootstrap
from mmclf.evaluation.thresholds import Held, Threshold
from mmclf.reporting.new_data import NewData
from mmclf.reporting.report import make_report
from tests.reporting.pages import Page, draw_evidence

EXPECTED = dict.fromkeys(("top1", "top3", "macro_f1", "loss", "calibration_error"), Interval(0.5, 0.45, 0.55))


def draw_new(evidence, **more) -> NewData:
    """What is known of the rows of a drawn evidence, all of it."""
    known = {
        "expected": EXPECTED,
        "at_mix": 0.52,
        "by_confidence": 0.61,
        "unknown": {"ocean <b>": 4, "moon": 1},
        "unlabelled": 2,
        "thresholds": [(Threshold(0.9, 0.7, 0.6), Held(0.8, 0.7, 0.9, 0.5))],
        "drift": [Drift("pictures", 0.1, 0.4, 0.3, 0.1), Drift("words", 3.0, 4.0, 0.05, 0.1)],
        "shares": {name: (0.1 * n, 0.2 * n) for n, name in enumerate(evidence.table.classes)},
    }
    return NewData(len(evidence), bootstrap(evidence.table), **(known | more))


def rows_of(report, name):
    return list(csv.DictReader(io.StringIO(report.files[name].decode())))


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    found = draw_evidence(folder=tmp_path_factory.mktemp("pictures"), skill=1.5, folds=None)
    return replace(found, new=draw_new(found))


@pytest.fixture(scope="module")
def report(evidence):
    return make_report(evidence)


@pytest.fixture(scope="module")
def page(report) -> Page:
    return Page(report.html)


def test_it_has_the_sections_that_need_neither_folds_nor_curves(page):
    assert page.problems == []
    anchors = [attributes["href"] for attributes in page.all("a")]
    assert anchors == [
        f"#{name}"
        for name in (
            "content", "expected", "drift", "figures", "confusions", "classes", "confidence", "slices", "labels",
            "files",
        )
    ]  # fmt: skip
    for word in ("Fold by fold", "fold that was not trained on it.\nThe", "Scaling can't be judged", "contribute"):
        assert word not in page.text


def test_each_figure_stands_beside_what_was_expected(evidence, report):
    rows = {row["figure"]: row for row in rows_of(report, "expected.csv")}
    for key, name in (("top1", "top-1"), ("loss", "loss")):
        here = evidence.new.figures[key]
        shown = [float(rows[name][column]) for column in ("here", "from", "to", "out of fold", "difference")]
        assert shown == pytest.approx([here.value, here.low, here.high, 0.5, here.value - 0.5], abs=1e-6)
    assert rows["top-1"]["verdict"] == "higher"


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (Interval(0.5, 0.45, 0.55), "points more, more than the intervals leave to chance."),
        (Interval(0.95, 0.93, 0.97), "points less, more than the intervals leave to chance."),
        (Interval(0.75, 0.6, 0.9), "which the intervals leave to chance."),
    ],
)
def test_it_says_whether_it_is_as_expected(evidence, expected, said):
    new = replace(evidence.new, expected=EXPECTED | {"top1": expected})
    assert said in new.verdict
    page = Page(make_report(replace(evidence, new=new)).html)
    assert new.verdict in page.text


def test_rows_that_no_figure_counts_are_named(page, report):
    said = "No figure counts 5 rows with labels that the model doesn't know: 'ocean <b>' (4), 'moon' (1) and 2 rows "
    assert f"{said}without a label." in page.text
    assert [row["rows"] for row in rows_of(report, "unknown-labels.csv")] == ["4", "1"]


def test_the_models_own_thresholds_are_judged(report, page):
    [row] = rows_of(report, "thresholds.csv")
    assert [float(row[name]) for name in ("confidence from", "labelled out of fold", "labelled here")] == [
        0.7,
        0.6,
        0.5,
    ]
    assert float(row["precision here"]) == 0.8
    assert "The thresholds were chosen on the held-out rows of the training" in page.text


def test_what_has_changed_is_named(report, page):
    assert [row["verdict"] for row in rows_of(report, "drift.csv")] == ["changed", "as before"]
    assert "Changed since the training, more than by chance: pictures." in page.text
    shares = rows_of(report, "class-shares.csv")
    assert [row["class"] for row in shares] == [f"class {n:03}" for n in (3, 2, 1, 0)]


def test_where_nothing_is_known_of_the_training_the_figures_are_there_all_the_same(evidence):
    new = NewData(len(evidence), evidence.new.figures)
    report = make_report(replace(evidence, new=new))
    page = Page(report.html)
    assert page.problems == []
    assert new.verdict == ""
    assert "What to expect isn't known" in page.text
    assert "aren't at hand, so nothing can be compared" in page.text
    assert list(rows_of(report, "expected.csv")[0]) == ["figure", "here", "from", "to"]
    assert "No confidence was reliable enough" in page.text


def test_of_many_rows_some_are_shown(evidence):
    new = replace(evidence.new, rows=5000)
    assert (
        "of all 5,000 products; the sections below show 60 of them"
        in Page(make_report(replace(evidence, new=new)).html).text
    )


def test_rows_that_the_model_was_trained_on_are_warned_of(evidence):
    new = replace(evidence.new, seen=3)
    said = "3 rows have ids of rows that the model was trained on: if they are the same products"
    assert said in new.sentence
    assert said in Page(make_report(replace(evidence, new=new)).html).text
