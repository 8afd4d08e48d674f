"""Multiplications that towers take, by their configurations alone: vision transformers and open_clip's text towers.

Nothing is loaded for it, torch neither, so that it is known at once. A block of width w on n tokens takes 12 w² n for
its matrices and 2 w n² for the attention; open_clip's docs/model_profile.csv counts twice as many FLOPs (ViT-L-14:
162 thousand million for a picture).
"""

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..config import HF_HUB, LOCAL_DIR


@dataclass(frozen=True)
class Operations:
    """Of a backbone: multiplications (each with its addition) for a picture and a text, and its parameters."""

    picture: float
    text: float
    parameters: float


def count_operations(name: str, img_size: int, max_len: int) -> Operations | None:
    """What a backbone takes; None where its configuration doesn't tell, as of towers from other libraries.

    Args:
        name: see model_names.py.
        img_size: side of the pictures.
        max_len: tokens of a text.
    """
    try:
        found = _configuration(name)
        vision, text = found["vision_cfg"], found["text_cfg"]
        if "timm_model_name" in vision or "hf_model_name" in text or isinstance(vision["layers"], list):
            return None
        width, patch = vision["width"], vision["patch_size"]
        tokens = (img_size // patch) ** 2 + 1
        length = min(max_len, text.get("context_length", 77))
        words = text["width"] * text.get("vocab_size", 49_408)
        return Operations(
            3 * patch**2 * width * tokens + _blocks(vision["layers"], width, tokens),
            _blocks(text["layers"], text["width"], length),
            12 * (vision["layers"] * width**2 + text["layers"] * text["width"] ** 2) + words,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _blocks(layers: int, width: int, tokens: int) -> float:
    return layers * (12 * width**2 * tokens + 2 * width * tokens**2)


def _configuration(name: str) -> Any:
    """The model's configuration.

    Raises:
        OSError, ValueError, KeyError: there is none here.
    """
    if name.startswith(HF_HUB):
        raise KeyError(name)
    if name.startswith(LOCAL_DIR):
        path = Path(name.removeprefix(LOCAL_DIR)) / "open_clip_config.json"
        return json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
    package = find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        raise KeyError("open_clip")
    path = Path(package.submodule_search_locations[0]) / "model_configs" / f"{name.replace('/', '-')}.json"
    return json.loads(path.read_text(encoding="utf-8"))
