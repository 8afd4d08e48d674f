"""What pictures and texts count, fitted by likelihood.

.venv/bin/python -m pytest tests/training/test_zero_shot_fit.py
"""

import numpy as np

from mmclf.training.zero_shot_fit import fit_scales

BOTH = np.array([True, True])


def draw(scales, rows=3000, classes=5, seed=0):
    """Cosines, and classes drawn from the probabilities that these scales make of them."""
    rng = np.random.default_rng(seed)
    cosines = rng.normal(size=(2, rows, classes)).astype(np.float32) / 10
    logits = np.tensordot(scales, cosines, 1) + rng.gumbel(size=(rows, classes))
    return cosines, logits.argmax(axis=1)


def test_it_finds_the_scales_that_the_rows_were_drawn_with():
    np.testing.assert_allclose(fit_scales(*draw([30.0, 12.0]), BOTH), [30, 12], rtol=0.1)


def test_evidence_that_is_none_counts_nothing_and_never_against_itself():
    cosines, targets = draw([25.0, -15.0])
    found = fit_scales(cosines, targets, BOTH)
    assert found[1] == 0
    assert found[0] > 15


def test_the_side_that_is_not_used_stays_at_nothing():
    cosines, targets = draw([0.0, 20.0])
    found = fit_scales(cosines, targets, np.array([False, True]))
    assert found[0] == 0
    np.testing.assert_allclose(found[1], 20, rtol=0.1)


def test_a_single_row_leaves_it_near_the_start():
    cosines, targets = draw([30.0, 12.0], rows=1)
    found = fit_scales(cosines, targets, BOTH)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
