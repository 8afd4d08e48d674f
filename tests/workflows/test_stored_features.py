"""Features that are there are taken, and none is computed.

.venv/bin/python -m pytest tests/workflows/test_stored_features.py
"""

import numpy as np

from mmclf.model.frozen_encoder import Encoder
from mmclf.model.towers import LazyBackbone
from mmclf.runtime.device import pick_device, pick_precision
from mmclf.store.cache import open_cache
from mmclf.workflows.stored_features import stored_features


def test_features_are_given_once_all_are_stored(config, catalog, tmp_path, monkeypatch):
    monkeypatch.setenv("MMCLF_CACHE_DIR", str(tmp_path / "cache"))
    rows = catalog.rows.take(np.arange(12))
    parts = [rows.slice(0, 8), rows.slice(8, 12)]
    assert stored_features(config, parts) is None
    cache, device = open_cache(), pick_device()
    towers = LazyBackbone(config.model.name, config.model.pretrained, config.data.img_size, cache)
    precision = pick_precision(device, config.train.amp)
    encoder = Encoder(towers, config.data, precision=precision, device=device, cache=cache, quiet=True)
    encoder.images(parts[0])
    encoder.texts(parts[0])
    assert stored_features(config, parts) is None
    images, texts = encoder.images(rows)[0], encoder.texts(rows)
    found = stored_features(config, parts)
    assert found is not None
    assert np.array_equal(np.concatenate(found), np.concatenate([texts, images], axis=1))
