"""A feature is the same to the bit, whatever was computed beside it (docs/adr/0014).

.venv/bin/python -m pytest tests/model/test_company.py
"""

import numpy as np
import pytest
import torch

from mmclf.data.views import EVAL
from mmclf.runtime.device import Precision
from mmclf.store.cache import Cache
from tests.features import FLOAT32, configure, make, part_of
from tests.towers import make_dual


@pytest.mark.parametrize("precision", [FLOAT32, Precision(torch.bfloat16, False, "test")], ids=lambda p: p.name)
@pytest.mark.parametrize("tower", ["vit", "convolutional"])
def test_features_are_equal_to_the_bit_cold_warm_and_from_a_larger_table(catalog, tree, tmp_path, precision, tower):
    config = configure(tree)
    if tower == "convolutional":
        config = configure(tree, img_size=64)
        name = f"local-dir:{make_dual(tmp_path / 'dual')}"
        config = config.model_copy(update={"model": config.model.model_copy(update={"name": name})})
        catalog = part_of(catalog, range(50))
    some = list(range(3, len(catalog), 4))
    few = part_of(catalog, some)

    def compute(chosen, cache):
        features = make(chosen, config, cache, precision=precision)
        mirrored = features.encoder.images(chosen.rows, EVAL, flips=(True,))[0]
        found = [features.texts(), features.images(EVAL), features.images(1), mirrored]
        return found, features.encoder.ledger

    cold_cache, large_cache = Cache(tmp_path / "cold", 10**9), Cache(tmp_path / "large", 10**9)
    cold, _ = compute(few, cold_cache)
    warm, ledger = compute(few, cold_cache)
    assert ledger.computed == 0
    large, _ = compute(catalog, large_cache)
    from_larger, ledger = compute(few, large_cache)
    assert ledger.computed == 0
    # and a cache that one row at a time has filled
    single_cache = Cache(tmp_path / "single", 10**9)
    for row in some[:6]:
        compute(part_of(catalog, [row]), single_cache)
    mixed, ledger = compute(few, single_cache)
    assert ledger.reused > 0
    for others in (warm, from_larger, [matrix[some] for matrix in large], mixed):
        for one, other in zip(cold, others, strict=True):
            assert np.array_equal(one, other)
