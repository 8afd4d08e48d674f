"""The towers behind their interface: errors, identity, sizes, tokens.

.venv/bin/python -m pytest tests/model/test_backbone.py
"""

import json
import shutil
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmclf.errors import ActivationMismatchError, BackboneError, CheckpointError, WeightsUnavailableError
from mmclf.model.backbone import Backbone, last_layers
from mmclf.model.identity import OUTLINE_DIM
from mmclf.model.loading import load_backbone
from mmclf.model.outline import outlines
from tests.conftest import MAX_LEN, SIZE
from tests.towers import make_dual, make_folder, make_native


@pytest.mark.parametrize(
    ("name", "pretrained", "kind", "words"),
    [
        ("ViT-L-14", "openai", ActivationMismatchError, ["QuickGELU", "model.name=ViT-L-14-quickgelu"]),
        ("ViT-L-14-quickgel", "openai", BackboneError, ["model.name", "did you mean ViT-L-14-quickgelu"]),
        ("ViT-B-32-quickgelu", "opnai", BackboneError, ["model.pretrained", "'opnai'", "openai"]),
        ("ViT-L-14-quickgelu", "laion2b_s32b_b82k", BackboneError, ["ViT-L-14 has laion2b_s32b_b82k"]),
        ("local-dir:nowhere", None, BackboneError, ["nowhere", "no such folder"]),
    ],
)
def test_a_wrong_name_or_tag_is_named_with_what_to_do(name, pretrained, kind, words):
    with pytest.raises(kind) as caught:
        load_backbone(name, pretrained, 224)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "pretrained", "repository"),
    [
        ("ViT-B-32-quickgelu", "openai", "timm/vit_base_patch32_clip_224.openai"),
        ("ViT-B-16-SigLIP", "webli", "timm/ViT-B-16-SigLIP"),
        ("hf-hub:someone/model", None, "someone/model"),
    ],
)
def test_weights_that_cannot_be_downloaded_say_how_to_use_a_folder(name, pretrained, repository, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))  # nothing that lies on this machine by chance
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsUnavailableError) as caught:
        load_backbone(name, pretrained, 224)
    assert f"hf download {repository} --local-dir DIR" in str(caught.value)
    assert "model.name=local-dir:DIR" in str(caught.value)


def test_a_folder_without_configuration_or_weights_is_an_error(clip_folder, tmp_path):
    with pytest.raises(BackboneError, match=r"holds no open_clip_config\.json"):
        load_backbone(f"local-dir:{tmp_path}", None, SIZE)
    shutil.copy(clip_folder / "open_clip_config.json", tmp_path)
    with pytest.raises(BackboneError, match="holds no weights"):
        load_backbone(f"local-dir:{tmp_path}", None, SIZE)


def test_weights_of_another_shape_are_an_error(clip_folder, tmp_path):
    broken = shutil.copytree(clip_folder, tmp_path / "broken")
    state = load_file(broken / "open_clip_model.safetensors")
    state["ln_final.weight"] = torch.zeros(3)
    save_file(state, broken / "open_clip_model.safetensors")
    with pytest.raises(BackboneError, match=r"can't be loaded.*ln_final\.weight"):
        load_backbone(f"local-dir:{broken}", None, SIZE)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_an_error(clip_folder, tmp_path, value):
    broken = shutil.copytree(clip_folder, tmp_path / "broken")
    state = load_file(broken / "open_clip_model.safetensors")
    state["ln_final.weight"][3] = value
    save_file(state, broken / "open_clip_model.safetensors")
    with pytest.raises(BackboneError, match=r"its weights are damaged: ln_final\.weight holds nan or inf"):
        load_backbone(f"local-dir:{broken}", None, SIZE)


@pytest.mark.parametrize("tree", [[], {"model_cfg": [1]}, {"model_cfg": {"text_cfg": 3}}, {"model_cfg": "x"}, 7])
def test_a_configuration_of_another_shape_is_an_error(tmp_path, tree):
    (tmp_path / "open_clip_config.json").write_text(json.dumps(tree))
    with pytest.raises(BackboneError, match=r"^model\.name: local-dir:"):
        load_backbone(f"local-dir:{tmp_path}", None, SIZE)


def test_the_identity_follows_the_weights_not_the_place_or_the_size(clip_folder, tmp_path, backbone: Backbone):
    assert backbone.identity.activation == "quick_gelu"
    copied = shutil.copytree(clip_folder, tmp_path / "elsewhere")
    assert load_backbone(f"local-dir:{copied}", None, SIZE).identity.same_weights(backbone.identity)
    assert load_backbone(f"local-dir:{copied}", None, 2 * SIZE).identity.same_weights(backbone.identity)
    state = load_file(copied / "open_clip_model.safetensors")
    state["ln_final.weight"][0] += 1e-3
    save_file(state, copied / "open_clip_model.safetensors")
    assert not load_backbone(f"local-dir:{copied}", None, SIZE).identity.same_weights(backbone.identity)
    # the same weights under another activation are another model
    text = (clip_folder / "open_clip_config.json").read_text().replace('"quick_gelu": true', '"quick_gelu": false')
    shutil.copy(clip_folder / "open_clip_model.safetensors", copied)
    (copied / "open_clip_config.json").write_text(text)
    assert not load_backbone(f"local-dir:{copied}", None, SIZE).identity.same_weights(backbone.identity)


def test_the_transform_is_the_backbones_own(backbone: Backbone):
    config = json.loads((Path(backbone.identity.name.removeprefix("local-dir:")) / "open_clip_config.json").read_text())
    assert backbone.transform.mean == tuple(config["preprocess_cfg"]["mean"])
    assert backbone.transform.std == tuple(config["preprocess_cfg"]["std"])


def test_another_img_size_resizes_the_position_embedding(clip_folder):
    wide = load_backbone(f"local-dir:{clip_folder}", None, 2 * SIZE)
    assert wide.transform.img_size == 2 * SIZE
    assert wide.encode_image(torch.randn(2, 3, 2 * SIZE, 2 * SIZE)).shape == (2, wide.identity.image_dim)


def test_random_weights_are_the_same_every_time_and_leave_the_generator_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = load_backbone("ViT-S-32-alt", None, 224)
    assert torch.equal(torch.get_rng_state(), before)
    assert first.identity.same_weights(load_backbone("ViT-S-32-alt", None, 224).identity)
    assert first.identity.pretrained == ""


def test_everything_is_frozen_and_in_eval_mode_after_loading(backbone: Backbone):
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not backbone.clip.training


def test_tokens_carry_ids_and_a_mask_padded_to_what_the_tower_reads(backbone: Backbone):
    tokens = backbone.tokenize(["a red shirt", "", "word " * 100], MAX_LEN)
    context = backbone.clip.context_length
    assert tokens.input_ids.shape == tokens.attention_mask.shape == (3, context)
    expected = open_clip.get_tokenizer("ViT-B-32")(["a red shirt", "", "word " * 100], context_length=MAX_LEN)
    assert torch.equal(tokens.input_ids[:, :MAX_LEN].long(), expected)
    assert (tokens.input_ids[:, MAX_LEN:] == 0).all()
    # start and end token count; a cut text keeps its end token
    assert tokens.attention_mask.sum(dim=1).tolist() == [5, 2, MAX_LEN]
    assert tokens.input_ids[2, MAX_LEN - 1] == 49407
    assert tokens.truncated == 1


def test_a_text_that_just_fits_is_not_counted_as_cut(backbone: Backbone):
    fits = " ".join(["red"] * (MAX_LEN - 2))
    assert backbone.tokenize([fits], MAX_LEN).truncated == 0
    assert backbone.tokenize([fits + " red"], MAX_LEN).truncated == 1


def test_id_zero_is_a_token_and_not_padding(backbone: Backbone):
    tokens = backbone.tokenize(["! !"], MAX_LEN)  # "!" has id 0 inside a word, 256 at its end
    assert backbone.tokenize(["!a"], MAX_LEN).attention_mask.sum() == 4
    assert tokens.attention_mask.sum() == 4


def test_more_tokens_than_the_tower_reads_are_refused(backbone: Backbone):
    with pytest.raises(BackboneError, match=r"data\.max_len: found 77.*set data\.max_len=32"):
        backbone.tokenize(["a"], 77)


@pytest.mark.parametrize("size", [SIZE, 2 * SIZE])
def test_fine_tuned_towers_are_loaded_at_their_own_or_another_size(backbone: Backbone, clip_folder, size):
    with torch.no_grad():
        for parameter in backbone.image_parameters():
            parameter.add_(0.01)
    state = {name: tensor.clone() for name, tensor in backbone.clip.state_dict().items()}
    fresh = load_backbone(f"local-dir:{clip_folder}", None, size, load_weights=False)
    fresh.load_towers(dict(state), SIZE)
    kept = fresh.clip.state_dict()
    for name, tensor in state.items():
        if kept[name].shape == tensor.shape:
            assert torch.equal(kept[name], tensor), name
        else:
            assert name == "visual.positional_embedding"
    images = torch.randint(0, 256, (2, 3, size, size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    if size == SIZE:
        assert torch.equal(fresh.encode_image(images), backbone.encode_image(images))
    else:
        assert fresh.encode_image(images).isfinite().all()


def test_towers_of_another_model_are_refused(backbone: Backbone):
    state = dict(backbone.clip.state_dict())
    del state["ln_final.weight"]
    with pytest.raises(CheckpointError, match=r"ln_final\.weight"):
        backbone.load_towers(state, SIZE)


@pytest.fixture(scope="module")
def dual_folder(tmp_path_factory) -> Path:
    return make_dual(tmp_path_factory.mktemp("dual"))


def test_a_timm_and_a_hugging_face_tower_work_through_the_same_interface(dual_folder):
    backbone = load_backbone(f"local-dir:{dual_folder}", None, 64)
    assert (backbone.identity.image_dim, backbone.identity.text_dim) == (24, 24)
    assert backbone.transform.mean == (0.5, 0.5, 0.5)
    tokens = backbone.tokenize(["a red shirt", ""], 12)
    assert tokens.input_ids.shape == (2, 12)  # such a tower reads any length
    assert tokens.attention_mask.sum(dim=1).tolist() == [5, 2]
    assert backbone.encode_text(tokens.input_ids.long()).shape == (2, 24)
    assert backbone.encode_image(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape == (2, 24)
    with pytest.raises(BackboneError, match=r"data\.max_len.*512"):
        backbone.tokenize(["a"], 1000)


def test_a_timm_tower_takes_another_img_size(dual_folder):
    backbone = load_backbone(f"local-dir:{dual_folder}", None, 96)
    assert backbone.encode_image(torch.zeros(1, 3, 96, 96, dtype=torch.uint8)).shape == (1, 24)


def test_a_siglip_style_tower_gets_every_row_padded_to_its_context(tmp_path):
    """It attends to its padding and pools the last position, so a shorter row would be another text."""
    text_cfg = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    text_cfg |= {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}
    vision_cfg = {"image_size": SIZE, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16}
    model_cfg = {"embed_dim": 24, "custom_text": True, "vision_cfg": vision_cfg, "text_cfg": text_cfg}
    preprocess_cfg = {"size": [SIZE, SIZE], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    model = open_clip.create_model(f"local-dir:{tmp_path}", load_weights=False)
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    backbone = load_backbone(f"local-dir:{tmp_path}", None, SIZE)
    tokens = backbone.tokenize(["a red shirt"], 12)
    assert tokens.input_ids.shape == (1, 16)
    features = backbone.encode_text(tokens.input_ids.long())
    torch.testing.assert_close(features, model.eval().encode_text(tokens.input_ids.long()))
    # its last position is a padded one, and what stands there matters
    changed = tokens.input_ids.long().clone()
    changed[0, -1] = 5
    assert not torch.allclose(features, backbone.encode_text(changed), atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "widths"),
    [("native", [32]), ("deep", [32, 32]), ("residual", [32, 64]), ("dual", [256, 512])],
)
def test_the_last_layers_come_beside_the_same_features(tmp_path, kind, widths):
    """At three quarters of the depth and at its end, each of unit length."""
    if kind == "dual":
        folder = make_dual(tmp_path)
    elif kind == "native":
        folder = make_native(tmp_path, custom=False)
    else:
        layers = 8 if kind == "deep" else [1, 1, 1, 1]
        vision = {"image_size": SIZE, "width": 32 if kind == "deep" else 2, "layers": layers, "head_width": 16}
        text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
        vision |= {"patch_size": 16} if kind == "deep" else {}
        folder = make_folder(tmp_path, {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text})
    backbone = load_backbone(f"local-dir:{folder}", None, 64 if kind == "dual" else SIZE)
    assert backbone.identity.layers_dim == sum(widths)
    side = backbone.transform.img_size
    images = torch.randint(0, 256, (3, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        both = backbone.encode_image_in_detail(images)
        assert torch.equal(both[:, :24], backbone.encode_image(images))
    *layers, outline = both[:, 24:].split([*widths, OUTLINE_DIM], dim=1)
    for layer in layers:
        torch.testing.assert_close(layer.norm(dim=1), torch.ones(3))
        assert not torch.allclose(layer[0], layer[1])
    assert torch.equal(outline, outlines(images))


def test_a_tower_that_does_not_tell_its_layers_has_none():
    images = torch.ones(2, 3, 4, 4)
    features, layers = last_layers(lambda pictures: pictures.flatten(1), images)
    assert features.shape == (2, 48)
    assert layers == []


def test_for_random_weights_nothing_is_asked_for(monkeypatch):
    monkeypatch.setattr("mmclf.model.model_names.announce", lambda *_: pytest.fail("a download was announced"))
    assert load_backbone("ViT-S-32-alt", None, 224).identity.name == "ViT-S-32-alt"
