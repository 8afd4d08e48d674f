"""Who is registered and who becomes champion, on drawn matrices without a store.

.venv/bin/python -m pytest tests/records/test_champion.py
"""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from mmclf.errors import ComparisonError, RunError
from mmclf.evaluation.crossvalidation import figures_of
from mmclf.records.champion import Candidate, check_comparable, check_same_split, choose_best, is_the_same, judge, weigh
from mmclf.records.vocabulary import Metric, Tag
from mmclf.scoring.cost import Cost
from mmclf.scoring.mixture import Mixture
from tests.matrices import draw

TOP1 = Metric.CV_TOP1_MEAN


def candidate(name, skill, *, split="s", start=0, rows=200):
    table = draw(seed=int(skill * 100), skill=skill)
    run = SimpleNamespace(
        info=SimpleNamespace(run_id=name, experiment_id="0", start_time=start),
        data=SimpleNamespace(tags={Tag.SPLIT: split, Tag.STAGE: "stage1"}, metrics={Metric.DATA_ROWS: rows}),
    )
    backbone = SimpleNamespace(name="ViT-B-32", pretrained="openai")
    checkpoints = [
        SimpleNamespace(name=f"fold-{n}", meta=SimpleNamespace(stage="stage1", fold=n, backbone=backbone))
        for n in range(5)
    ]
    config = SimpleNamespace(fingerprint=lambda: "c")
    return Candidate(run, Mixture.of(checkpoints, config), table, figures_of(table), Cost(1, 0.1))


def version(best, **tags):
    return SimpleNamespace(version="7", tags=best.tags() | tags)


def test_the_best_has_the_highest_metric_then_the_newest_wins():
    poor, good, again = candidate("poor", 0.5), candidate("good", 3.0, start=1), candidate("again", 3.0, start=2)
    assert choose_best([poor, good, again], TOP1) is again
    assert choose_best([again, good, poor], TOP1) is again
    assert choose_best([poor, good], Metric.CV_MACRO_F1) is good


def test_the_first_is_champion():
    verdict = judge(None, candidate("first", 1.0), None, TOP1, force=False)
    assert (verdict.wins, verdict.text) == (True, "the first champion")


def test_a_champion_goes_only_where_the_other_is_shown_to_be_better():
    good, poor = candidate("good", 3.0), candidate("poor", 0.5)
    verdict = weigh(good, version(poor), poor.table, TOP1, force=False)
    assert verdict.wins
    assert verdict.text.startswith("new champion; against version 7, cv/top1_mean: +")
    verdict = weigh(poor, version(good), good.table, TOP1, force=False)
    assert not verdict.wins
    assert "not shown to be better, so version 7 stays champion (--force true overrules)" in verdict.text
    assert "95% interval -" in verdict.text
    # as good is not better
    assert not weigh(good, version(good), good.table, TOP1, force=False).wins


def test_force_overrules_and_says_so():
    good, poor = candidate("good", 3.0), candidate("poor", 0.5)
    verdict = weigh(poor, version(good), good.table, TOP1, force=True)
    assert verdict.wins
    assert verdict.text.startswith("champion by force; against version 7")


def test_other_folds_are_not_compared():
    here, there = candidate("here", 1.0, split="ours"), candidate("there", 1.0, split="theirs")
    with pytest.raises(ComparisonError, match=r"other data or folds \(split theirs, here ours\)"):
        check_same_split(here, version(there))
    with pytest.raises(ComparisonError, match=r"run here can't be compared with the champion, version 7.*--force true"):
        judge(None, here, version(there), TOP1, force=False)
    verdict = judge(None, here, version(there), TOP1, force=True)
    assert verdict.wins
    assert verdict.text.startswith("champion by force; not comparable with version 7")


def test_a_demo_makes_way_for_another_experiment():
    real, demo = candidate("real", 1.0), candidate("demo", 3.0)
    other = SimpleNamespace(get_run=lambda run_id: SimpleNamespace(info=SimpleNamespace(experiment_id="1")))
    verdict = judge(other, real, version(demo, demo="true"), TOP1, force=False)
    assert verdict.wins
    assert "the demo's, version 7, makes way" in verdict.text


def test_a_run_without_all_rows_or_on_other_folds_is_no_candidate():
    first, short = candidate("first", 1.0), candidate("short", 1.0, rows=250)
    with pytest.raises(RunError, match="its folds cover 200 of 250 rows"):
        check_comparable(short.run, short.table, None)
    other = candidate("other", 1.0, split="other")
    with pytest.raises(ComparisonError, match="other data or folds than run first"):
        check_comparable(other.run, other.table, first)
    check_comparable(first.run, first.table, None)


def test_the_same_run_folds_and_configuration_are_the_same_model():
    one = candidate("one", 1.0)
    assert is_the_same(version(one), one)
    assert not is_the_same(version(candidate("two", 1.0)), one)
    assert not is_the_same(
        version(one), replace(one, mixture=Mixture.of(one.mixture.checkpoints[:1], one.mixture.config))
    )
