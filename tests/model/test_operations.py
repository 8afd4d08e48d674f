"""Operations of towers, against open_clip's own count of FLOPs (docs/model_profile.csv), which is twice as many.

.venv/bin/python -m pytest tests/model/test_operations.py
"""

import json

import pytest

from mmclf.model.operations import count_operations


@pytest.mark.parametrize(
    ("name", "picture", "text"),
    [("ViT-B-32", 8.82, 5.96), ("ViT-B-16", 35.13, 5.96), ("ViT-L-14", 162.03, 13.30), ("ViT-H-14", 334.59, 46.54)],
)
def test_vision_transformers_take_what_open_clip_says(name, picture, text):
    found = count_operations(name, 224, 77)
    assert found is not None
    assert 2 * found.picture / 1e9 == pytest.approx(picture, rel=0.01)
    assert 2 * found.text / 1e9 == pytest.approx(text, rel=0.02)


def test_larger_pictures_and_shorter_texts(tmp_path):
    small, large = count_operations("ViT-B-16", 224, 77), count_operations("ViT-B-16", 336, 20)
    assert small is not None
    assert large is not None
    assert large.picture / small.picture > (336 / 224) ** 2  # attention grows faster than the patches do
    assert large.text < small.text * 20 / 77


@pytest.mark.parametrize("name", ["RN50", "no-such-model", "ViT-B-16-SigLIP", "hf-hub:org/repo", "local-dir:/nowhere"])
def test_what_the_configuration_does_not_tell_is_unknown(name):
    assert count_operations(name, 224, 77) is None


def test_a_folder_has_its_own_configuration(tmp_path):
    config = {
        "vision_cfg": {"layers": 2, "width": 64, "patch_size": 16},
        "text_cfg": {"layers": 2, "width": 64, "vocab_size": 100, "context_length": 10},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    found = count_operations(f"local-dir:{tmp_path}", 32, 77)
    assert found is not None
    assert found.text == 2 * (12 * 64**2 * 10 + 2 * 64 * 10**2)
    assert found.picture == 3 * 16**2 * 64 * 5 + 2 * (12 * 64**2 * 5 + 2 * 64 * 5**2)
