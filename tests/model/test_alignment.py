"""Whether towers are aligned is told by their features, whatever the rows.

.venv/bin/python -m pytest tests/model/test_alignment.py
"""

from types import SimpleNamespace

import numpy as np
import pytest

from mmclf.errors import ConfigError
from mmclf.model.alignment import LEAST_Z, Alignment, check_aligned, check_widths, measure, unit


def draw(seed, rows=60, width=48, classes=3, shared=0.0):
    """Pictures and texts of a few classes, each with directions of its own; `shared` of them are the same."""
    rng = np.random.default_rng(seed)
    of_row = rng.integers(0, classes, rows)
    pictures, texts = rng.normal(size=(2, classes, width))
    texts = shared * pictures + (1 - shared) * texts
    noise = rng.normal(size=(2, rows, width))
    return unit(pictures[of_row] + noise[0]), unit(texts[of_row] + noise[1])


def test_towers_that_know_nothing_of_each_other_agree_by_chance_only():
    """Though the rows of a class are alike in both, so that shuffled rows would tell them from these."""
    found = np.array([measure(*draw(seed)) for seed in range(200)])
    assert abs(found.mean()) < 0.25
    assert 0.8 < found.std() < 1.2
    assert found.max() < LEAST_Z


@pytest.mark.parametrize("classes", [3, 20])
def test_a_little_in_common_stands_out(classes):
    found = [measure(*draw(seed, classes=classes, shared=0.5)) for seed in range(20)]
    assert min(found) > 1
    assert np.mean([each > LEAST_Z for each in found]) > 0.9


def test_the_common_mean_of_all_pictures_and_of_all_texts_tells_nothing():
    pictures, texts = draw(0)
    both = np.random.default_rng(1).normal(size=48)
    assert measure(unit(pictures + 5 * both), unit(texts + 5 * both)) < LEAST_Z


def test_too_little_is_told_apart_from_nothing():
    pictures, texts = draw(0)
    assert np.isnan(measure(pictures[:7], texts[:7]))
    assert np.isnan(measure(pictures, np.repeat(texts[:1], len(texts), axis=0)))
    assert Alignment(float("nan"), 5.0).z == 5.0
    with pytest.raises(ConfigError, match="zero-shot needs 8 rows with a picture or more, and two classes among them"):
        check_aligned(Alignment(float("nan"), float("nan")), "tower")


def test_refusals_say_what_was_found_and_what_to_do():
    with pytest.raises(ConfigError, match=r"the towers of tower aren't aligned: pictures agree .* by 1\.2 standard"):
        check_aligned(Alignment(1.2, -3.0), "tower")
    with pytest.raises(ConfigError, match=r"makes 1280 numbers of a picture and 384 of a text.*model\.head to kernel"):
        check_widths(SimpleNamespace(name="tower", image_dim=1280, text_dim=384))
