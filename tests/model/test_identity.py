"""What is known of a backbone without loading it.

.venv/bin/python -m pytest tests/model/test_identity.py
"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmclf.model import backbone as module
from mmclf.model.encoder import LazyBackbone
from mmclf.model.identity import tokenizer_digest
from mmclf.store.cache import Cache
from tests.conftest import SIZE
from tests.towers import make_dual


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", 10**9)


@pytest.fixture
def folder(clip_folder, tmp_path):
    return shutil.copytree(clip_folder, tmp_path / "clip")


@pytest.fixture
def loads(monkeypatch):
    """One entry for each time that towers are loaded."""
    calls = []
    real = module.load_backbone
    monkeypatch.setattr(module, "load_backbone", lambda *a, **k: calls.append(a) or real(*a, **k))
    return calls


def card(folder, cache, size=SIZE):
    return LazyBackbone(f"local-dir:{folder}", None, size, cache).card


def test_a_card_is_known_the_second_time_without_loading(folder, cache, loads):
    first = card(folder, cache)
    assert len(loads) == 1
    assert card(folder, cache) == first
    assert len(loads) == 1
    lazy = LazyBackbone(f"local-dir:{folder}", None, SIZE, cache)
    assert lazy.load() is lazy.load()
    assert lazy.load().card == first


def test_other_files_or_another_size_are_another_backbone(folder, cache, loads):
    first = card(folder, cache)
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["visual.proj"] = weights["visual.proj"] + 1
    save_file(weights, folder / "open_clip_model.safetensors")
    changed = card(folder, cache)
    assert len(loads) == 2
    assert changed.identity.weights_sha256 != first.identity.weights_sha256
    assert card(folder, cache, 2 * SIZE).transform.img_size == 2 * SIZE
    assert len(loads) == 3
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0.1, 0.2, 0.3]
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    assert card(folder, cache).transform.mean == (0.1, 0.2, 0.3)
    assert len(loads) == 4


@pytest.mark.parametrize("content", ["", "{}", "no json", '{"identity": 1}'])
def test_a_damaged_card_is_made_again(folder, cache, loads, content):
    first = card(folder, cache)
    (path,) = cache.root.glob("backbones/*.json")
    path.write_text(content)
    assert card(folder, cache) == first
    assert len(loads) == 2
    assert card(folder, cache) == first
    assert len(loads) == 2


def test_random_weights_are_known_by_their_name(cache, loads):
    first = LazyBackbone("ViT-S-32-alt", None, 224, cache).card
    assert LazyBackbone("ViT-S-32-alt", None, 224, cache).card == first
    assert len(loads) == 1


def test_a_cache_of_size_zero_loads_every_time(folder, tmp_path, loads):
    cache = Cache(tmp_path / "none", 0)
    assert card(folder, cache) == card(folder, cache)
    assert len(loads) == 2


def test_the_tokenizer_is_known_by_its_files_and_not_by_the_weights(tmp_path):
    folder = make_dual(tmp_path / "dual")
    name = f"local-dir:{folder}"
    before = tokenizer_digest(name)
    state = {
        k: v + 1 if v.dtype == torch.float32 else v
        for k, v in load_file(folder / "open_clip_model.safetensors").items()
    }
    save_file(state, folder / "open_clip_model.safetensors")
    assert tokenizer_digest(name) == before
    (folder / "vocab.txt").write_text((folder / "vocab.txt").read_text() + "sofa\n")
    assert tokenizer_digest(name) != before
    assert tokenizer_digest("ViT-B-32") != tokenizer_digest("ViT-B-16-SigLIP")
