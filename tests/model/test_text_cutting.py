"""A batch of texts may be cut at its longest text, where that changes nothing.

.venv/bin/python -m pytest tests/model/test_text_cutting.py
"""

import open_clip
import pytest
import torch

from mmclf.data.text import Tokens, portions
from mmclf.model.loading import load_backbone
from tests.towers import SIZE, make_dual, make_native

TEXTS = ["a red shirt", "", "oak table", "a red oak table shirt a red", "shirt", "a " * 100]
# open_clip's own class, a text tower of its own with either kind of pooling, and one from Hugging Face
CUTTABLE = {
    "clip": lambda folder: make_native(folder, custom=False),
    "argmax": lambda folder: make_native(folder, custom=True, pool_type="argmax"),
    "eos": lambda folder: make_native(folder, custom=True, pool_type="eos", eos_id=49407, proj_bias=True),
    "mean": lambda folder: make_dual(folder, "mean_pooler"),
    "cls": lambda folder: make_dual(folder, "cls_last_hidden_state_pooler"),
}
WHOLE = {
    "siglip": lambda folder: make_native(folder, custom=True, no_causal_mask=True, pool_type="last"),
    "coca": lambda folder: make_native(folder, custom=True, embed_cls=True),
    "last": lambda folder: make_native(folder, custom=True, pool_type="last"),
}


def load(make, folder):
    made = make(folder)
    return load_backbone(f"local-dir:{made}", None, 64 if (made / "vocab.txt").exists() else SIZE)


@pytest.mark.parametrize("kind", sorted(CUTTABLE))
def test_cut_texts_have_the_features_of_padded_ones(tmp_path, kind):
    backbone = load(CUTTABLE[kind], tmp_path / kind)
    tokens = backbone.tokenize(TEXTS, 16)
    assert backbone.cuts_text
    assert tokens.cuttable
    padded = backbone.clip.encode_text(tokens.input_ids.long())  # as open_clip computes them
    assert padded.std(dim=0).min() > 1e-4  # the texts differ
    lengths = set()
    for rows in ([1], [0], [4, 1], [0, 2, 4], [3, 0], [0, 1, 2, 3, 4, 5]):
        input_ids, _ = tokens.batch(torch.tensor(rows))
        lengths.add(input_ids.shape[1])
        torch.testing.assert_close(backbone.encode_text(input_ids), padded[rows], rtol=0, atol=1e-5)
    assert len(lengths) > 3
    assert max(lengths) == 16


@pytest.mark.parametrize("kind", sorted(CUTTABLE))
def test_the_gradients_are_those_of_padded_texts(tmp_path, kind):
    backbone = load(CUTTABLE[kind], tmp_path / kind)
    backbone.requires_grad_(True)
    tokens = backbone.tokenize(TEXTS, 16)
    rows = torch.tensor([0, 1, 2])
    input_ids, _ = tokens.batch(rows)
    assert input_ids.shape[1] < 16
    gradients = []
    for features in (
        backbone.encode_text(input_ids),
        backbone.clip.encode_text(tokens.input_ids[rows].long()),
    ):
        backbone.zero_grad()
        features.square().sum().backward()
        found = {name: p.grad.clone() for name, p in backbone.clip.named_parameters() if p.grad is not None}
        gradients.append(found)
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        # some of these random towers have gradients in the hundreds, whose small neighbours are rounded as coarsely
        coarse = 1e-6 * max(10.0, float(gradient.abs().max()))
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=coarse, msg=name)


@pytest.mark.parametrize("kind", sorted(WHOLE))
def test_towers_that_look_behind_the_text_get_it_whole(tmp_path, kind):
    backbone = load(WHOLE[kind], tmp_path / kind)
    assert not backbone.cuts_text
    tokens = backbone.tokenize(TEXTS, 12)
    input_ids, mask = tokens.batch(torch.tensor([0, 1]))
    assert input_ids.shape == mask.shape == (2, backbone.clip.context_length)
    expected = backbone.clip.encode_text(input_ids)
    assert torch.equal(backbone.encode_text(input_ids), expected)
    # and rightly so: what stands behind the text matters
    changed = input_ids.clone()
    changed[:, -1] = 320
    if kind != "coca":  # masks its padding, but its class token stands behind it
        assert not torch.allclose(backbone.clip.encode_text(changed), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ViT-B-32", True),
        ("ViT-L-14-quickgelu", True),
        ("EVA02-B-16", True),
        ("MobileCLIP-S1", False),
        ("ViT-B-16-SigLIP", False),
        ("ViT-B-16-SigLIP2", False),
        ("coca_ViT-B-32", False),
        ("ViT-L-14-CLIPA", False),
    ],
)
def test_the_text_towers_of_known_models_are_told_apart(name, expected):
    """Their text settings with a narrow tower, beside a small image tower."""
    from mmclf.data.images import Transform
    from mmclf.model.backbone import Backbone
    from mmclf.model.identity import BackboneIdentity

    text = open_clip.get_model_config(name)["text_cfg"]
    text = {k: v for k, v in text.items() if not k.startswith("hf_")} | {"width": 32, "heads": 2, "layers": 1}
    vision = {"image_size": SIZE, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16}
    custom = bool(open_clip.get_model_config(name).get("custom_text")) or name.startswith(("coca", "MobileCLIP"))
    model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(24, vision, text)
    identity = BackboneIdentity(name, "", "gelu", "", 24, 24)
    backbone = Backbone(model, identity, Transform(SIZE, (0.5,) * 3, (0.5,) * 3), None)
    assert backbone.cuts_text is expected


@pytest.mark.parametrize("kind", ["clip", "mean"])
def test_texts_that_are_tokenised_in_portions_have_the_same_tokens(tmp_path, kind):
    backbone = load(CUTTABLE[kind], tmp_path / kind)
    whole = backbone.tokenize(TEXTS, 16)
    parts = Tokens.joined([backbone.tokenize(part, 16) for part in portions(TEXTS, 20)])
    for name in ("input_ids", "attention_mask", "is_truncated"):
        assert torch.equal(getattr(parts, name), getattr(whole, name))
    assert parts.cuttable == whole.cuttable
