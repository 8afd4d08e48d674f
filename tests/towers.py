"""Tiny backbones of every kind that open_clip builds, as local-dir: folders with random weights."""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertTokenizerFast

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "shirt", "oak", "table"]
SIZE = 32


def make_folder(folder: Path, model_cfg: dict[str, Any], size: int = SIZE) -> Path:
    """A folder for `local-dir:` with random weights from a fixed seed."""
    preprocess_cfg = {"size": [size, size], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def make_native(folder: Path, *, custom: bool, **text: Any) -> Path:
    """open_clip's own towers: its CLIP class, or a `custom` text tower with these settings."""
    text_cfg = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2} | text
    vision_cfg = {"image_size": SIZE, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16}
    return make_folder(folder, {"embed_dim": 24, "custom_text": custom, "vision_cfg": vision_cfg, "text_cfg": text_cfg})


def make_dual(folder: Path, pooler: str = "mean_pooler") -> Path:
    """A timm image tower and a Hugging Face text tower, as far from CLIP's own as open_clip goes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48
    ).save_pretrained(folder)
    model_cfg = {
        "embed_dim": 24,
        "vision_cfg": {"timm_model_name": "resnet10t", "timm_pool": "avg", "timm_proj": "linear", "image_size": 64},
        "text_cfg": {
            "hf_model_name": str(folder),
            "hf_tokenizer_name": str(folder),
            "hf_pooler_type": pooler,
            "hf_proj_type": "linear",
            "context_length": 77,
        },
        "custom_text": True,
    }
    return make_folder(folder, model_cfg, 64)
