"""Matrices of features, in memory or in a file.

.venv/bin/python -m pytest tests/model/test_large_matrices.py
"""

import numpy as np
import pytest

from mmclf.model import large_matrices as module
from mmclf.model.large_matrices import allocate, take, take_means

FOUND = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


@pytest.fixture(params=[False, True], ids=["memory", "file"])
def is_large(request, monkeypatch):
    """Whether every matrix is too large for the memory; those are made in parts of two rows."""
    if request.param:
        monkeypatch.setattr(module, "MEMORY_SHARE", 0.0)
        monkeypatch.setattr(module, "GATHER_ROWS", 2)
    return request.param


def test_a_matrix_has_its_shape_and_its_file_no_name(tmp_path, is_large):
    folder = tmp_path / "new"
    matrix = allocate(4, 3, folder)
    assert (matrix.shape, matrix.dtype) == ((4, 3), np.float32)
    assert isinstance(matrix, np.memmap) == is_large
    assert folder.exists() == is_large
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    assert allocate(4, 3, None).shape == (4, 3)


@pytest.mark.usefixtures("is_large")
def test_rows_are_taken_in_any_order_and_more_than_once(tmp_path):
    places = np.array([4, 0, 0, 2, 1])
    assert np.array_equal(take(FOUND, places, tmp_path), FOUND[places])
    assert take(FOUND, places[:0], tmp_path).shape == (0, 3)


@pytest.mark.usefixtures("is_large")
def test_means_are_those_of_each_rows_own(tmp_path):
    places = [[1], [0, 4], [2, 2, 3], [0], [3]]
    expected = [FOUND[each].mean(axis=0) for each in places]
    np.testing.assert_allclose(take_means(FOUND, places, tmp_path), expected, rtol=1e-6)
    assert np.array_equal(take_means(FOUND, [[3], [1]], tmp_path), FOUND[[3, 1]])
