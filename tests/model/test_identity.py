"""What is known of a backbone without loading it.

.venv/bin/python -m pytest tests/model/test_identity.py
"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmclf.model import loading as module
from mmclf.model.towers import LazyBackbone
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


def spec(folder, cache, size=SIZE):
    return LazyBackbone(f"local-dir:{folder}", None, size, cache).spec


def test_a_backbone_is_known_the_second_time_without_loading(folder, cache, loads):
    first = spec(folder, cache)
    assert len(loads) == 1
    assert spec(folder, cache) == first
    assert len(loads) == 1
    lazy = LazyBackbone(f"local-dir:{folder}", None, SIZE, cache)
    assert lazy.load() is lazy.load()
    assert lazy.load().spec == first


def test_other_files_or_another_size_are_another_backbone(folder, cache, loads):
    first = spec(folder, cache)
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["visual.proj"] = weights["visual.proj"] + 1
    save_file(weights, folder / "open_clip_model.safetensors")
    changed = spec(folder, cache)
    assert len(loads) == 2
    assert changed.identity.weights_sha256 != first.identity.weights_sha256
    assert spec(folder, cache, 2 * SIZE).transform.img_size == 2 * SIZE
    assert len(loads) == 3
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0.1, 0.2, 0.3]
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    assert spec(folder, cache).transform.mean == (0.1, 0.2, 0.3)
    assert len(loads) == 4


@pytest.mark.parametrize("content", ["", "{}", "no json", '{"identity": 1}'])
def test_a_damaged_entry_is_made_again(folder, cache, loads, content):
    first = spec(folder, cache)
    (path,) = cache.root.glob("backbones/*.json")
    path.write_text(content)
    assert spec(folder, cache) == first
    assert len(loads) == 2
    assert spec(folder, cache) == first
    assert len(loads) == 2


def test_random_weights_are_known_by_their_name(cache, loads):
    first = LazyBackbone("ViT-S-32-alt", None, 224, cache).spec
    assert LazyBackbone("ViT-S-32-alt", None, 224, cache).spec == first
    assert len(loads) == 1


def test_a_cache_of_size_zero_loads_every_time(folder, tmp_path, loads):
    cache = Cache(tmp_path / "none", 0)
    assert spec(folder, cache) == spec(folder, cache)
    assert len(loads) == 2


def test_the_tokenizer_is_known_by_what_it_does_and_not_by_the_weights_or_the_place(tmp_path):
    folder = make_dual(tmp_path / "dual")

    def digest(folder):
        backbone = module.load_backbone(f"local-dir:{folder}", None, 64)
        before = backbone.spec.tokenizer
        backbone.tokenize(["a red shirt"], 5)
        assert backbone.spec.tokenizer == before
        return before

    before = digest(folder)
    state = {
        k: v + 1 if v.dtype == torch.float32 else v
        for k, v in load_file(folder / "open_clip_model.safetensors").items()
    }
    save_file(state, folder / "open_clip_model.safetensors")
    assert digest(folder) == before
    # a copy that was packed with a model has another configuration, but reads texts the same
    packed = module.load_backbone(f"local-dir:{folder}", None, 64)
    module.save_backbone(packed, tmp_path / "packed", weights=True)
    assert digest(tmp_path / "packed") == before
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text().replace('"red"', '"blue"'))
    assert digest(folder) != before
    assert packed.spec.tokenizer != LazyBackbone("ViT-S-32-alt", None, 224, Cache(tmp_path, 0)).spec.tokenizer
