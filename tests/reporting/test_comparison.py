"""The page of a comparison.

.venv/bin/python -m pytest tests/reporting/test_comparison.py
"""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from mmclf.reporting.comparison import Comparison, Contender, Spent, make_comparison
from tests.reporting.pages import Page, draw_evidence

SPENT = Spent(10.0, 4.0, 100, 20, 900.0)


def contender(letter, table, *, skill, seed) -> Contender:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=table.probabilities.shape) + skill * np.eye(len(table.classes))[table.targets()]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return Contender(letter, f"run <{letter}>", letter.lower() * 32, probabilities.astype(np.float32), SPENT)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory) -> Comparison:
    found = draw_evidence(rows=80, folder=tmp_path_factory.mktemp("pictures"))
    three = [
        contender(letter, found.table, skill=skill, seed=seed)
        for seed, (letter, skill) in enumerate((("A", 2.0), ("B", 4.0), ("C", 0.5)))
    ]
    return Comparison(three, found.table, found.rows)


@pytest.fixture(scope="module")
def report(comparison):
    return make_comparison(comparison, [("data", "drawn")])


@pytest.fixture(scope="module")
def page(report) -> Page:
    return Page(report.html)


def rows_of(report, name):
    return list(csv.DictReader(io.StringIO(report.files[name].decode())))


def test_it_can_be_read_by_everybody(page, report):
    assert page.problems == []
    anchors = [attributes["href"] for attributes in page.all("a")]
    names = ["content", "differences", "rows-B", "classes-B", "rows-C", "classes-C", "cost", "files"]
    assert anchors == [f"#{name}" for name in names]
    for name in report.files:
        assert name in page.text


def test_the_better_is_called_so(comparison, page, report):
    _, better, worse = comparison.contenders
    assert comparison.verdict(better).startswith("B is better than A: top-1 +")
    assert comparison.verdict(worse).startswith("C is worse than A: top-1 −")
    same = replace(comparison, contenders=[comparison.first, replace(comparison.first, letter="B")])
    assert same.verdict(same.others[0]) == (
        "That B differs from A isn't shown: top-1 +0.0 points (+0.0 to +0.0); it mends 0 rows and breaks 0."
    )
    for other in comparison.others:
        assert comparison.verdict(other) in page.text
    rows = {(row["run"], row["figure"]): row for row in rows_of(report, "differences.csv")}
    assert rows["B", "top-1"]["verdict"] == rows["B", "loss (less is better)"]["verdict"] == "better"
    assert rows["C", "top-1"]["verdict"] == "worse"


def test_every_row_is_counted_and_in_a_table(comparison, report):
    a, b, _ = (comparison.scores[letter].hits for letter in "ABC")
    [row, _] = rows_of(report, "agreement.csv")
    counts = [int(row[name]) for name in ("both right", "mended", "broken")]
    assert counts == [(a & b).sum(), (~a & b).sum(), (a & ~b).sum()]
    assert sum(int(value) for name, value in row.items() if name != "run") == len(a)
    products = rows_of(report, "products.csv")
    assert [product["id"] for product in products] == comparison.table.ids
    kinds = np.select([~a & b, a & ~b], ["mended", "broken"], "").tolist()
    assert [product["B against A"] for product in products] == kinds
    assert float(products[3]["confidence B"]) == pytest.approx(comparison.scores["B"].confidence[3], abs=1e-6)


def test_mended_and_broken_rows_are_shown_with_what_each_run_said(comparison, page):
    assert page.all("img")
    found = comparison.pairs["C"]
    assert f"Broken: {found.broken.sum()} that A gets right and C wrong" in page.text
    row = int(np.flatnonzero(found.broken)[0])
    name = comparison.table.classes[comparison.scores["C"].predictions[row]]
    assert f"{name} (" in page.text
    assert "The 18 on whose given class the two disagree most" in page.text


def test_the_cost_is_what_was_recorded(report, page):
    rows = rows_of(report, "cost.csv")
    assert [(row["run"], float(row["seconds"]), float(row["memory, MiB"])) for row in rows] == [
        (letter, 10.0, 900.0) for letter in "ABC"
    ]
    assert "-0.000" not in page.text
    assert "A took 10 s, B took 10 s, C took 10 s." in page.text


def test_a_fusion_costs_what_its_members_cost():
    assert Spent(1, 0, 0, 0, None) + Spent(10, 4, 5, 6, 300) + Spent(2, 1, 1, 1, 900) == Spent(13, 5, 6, 7, 900)


def test_without_the_catalogue_and_with_groups(comparison):
    groups = [f"g{row // 2}" for row in range(len(comparison.table))]
    page = Page(make_comparison(replace(comparison, rows=None, groups=groups), []).html)
    assert page.problems == []
    assert not page.all("img")
    assert "The catalogue isn't at hand" in page.text
    assert "resamples of the 40 groups" in page.text


def test_runs_that_agree_change_nothing(comparison):
    same = replace(comparison, contenders=[comparison.first, replace(comparison.first, letter="B")])
    page = Page(make_comparison(same, []).html)
    assert page.problems == []
    assert "No class changes." in page.text
    assert page.text.count("None.") == 2
