"""python -m pytest tests/reporting/test_slices.py"""

from dataclasses import replace

import numpy as np
import pytest

from mmclf.evaluation.intervals import wilson
from mmclf.reporting.evidence import Modalities
from mmclf.reporting.slices import decided_by, find_slices
from tests.reporting.pages import draw_evidence


@pytest.fixture
def evidence(tmp_path):
    return draw_evidence(folder=tmp_path)


def test_each_kind_holds_every_row_once(evidence):
    found = find_slices(evidence)
    kinds = dict.fromkeys(each.kind for each in found)
    assert list(kinds) == ["pictures", "text", "description", "title"]
    for kind in kinds:
        assert sum(each.rows for each in found if each.kind == kind) == len(evidence)


def test_a_slice_has_the_accuracy_of_its_rows(evidence):
    pictures = np.array([len(names) for names in evidence.rows.pictures])
    found = {each.name: each for each in find_slices(evidence) if each.kind == "pictures"}
    for name, mask in (("none", pictures == 0), ("one", pictures == 1), ("several", pictures > 1)):
        assert found[name].rows == mask.sum()
        assert found[name].top1 == wilson(evidence.hits[mask].sum(), mask.sum())


def test_texts_that_are_cut_are_told_apart_where_it_is_known(evidence):
    cut = np.arange(len(evidence)) < 9
    found = {each.name: each.rows for each in find_slices(replace(evidence, cut=cut)) if "longer" in each.kind}
    assert found == {"cut": 9, "read whole": len(evidence) - 9}
    assert not any("longer" in each.kind for each in find_slices(evidence))


def test_a_group_counts_once_for_an_interval(evidence):
    grouped = replace(evidence, groups=[f"g{row // 6}" for row in range(len(evidence))])
    alone, together = (next(s for s in find_slices(e) if s.name == "one") for e in (evidence, grouped))
    assert together.top1.value == pytest.approx(alone.top1.value)
    assert together.top1.high - together.top1.low > 1.3 * (alone.top1.high - alone.top1.low)


def test_without_a_catalogue_only_the_classes_are_known():
    found = find_slices(draw_evidence(rows=200, classes=30))
    assert {each.kind for each in found} <= {"size of the class"}


def test_who_decided():
    found = draw_evidence(rows=10, classes=2, skill=60.0)
    named = np.eye(2)[found.predictions]
    other = 1 - named
    both = np.arange(10) != 4
    text = np.where((np.arange(10) < 6)[:, None], named, other)
    picture = np.where((np.arange(10) % 2 == 0)[:, None], named, other)
    kinds = decided_by(found, Modalities(both, text, picture)).tolist()
    assert kinds == [
        "each alone", "the text", "each alone", "the text", "", "the text",
        "the picture", "both together", "the picture", "both together",
    ]  # fmt: skip
