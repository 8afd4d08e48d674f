"""Backbones made from names and weights, and written to folders. What their names stand for: model_names.py."""

import contextlib
import copy
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from safetensors.torch import save_file
from torch import nn

from ..config import HF_HUB, LOCAL_DIR
from ..data.images import Transform, as_triple
from ..errors import BackboneError
from .backbone import UNUSED, Backbone, last_layers
from .finite import is_finite
from .foreign_code import never_asked
from .identity import BackboneIdentity
from .model_names import CONFIG, announce_downloads, check_name, model_config, text_config, translate

# resized to another img_size on loading, so no part of a backbone's identity
RESIZED = ("positional_embedding", "pos_embed")
# of a local-dir: folder; the latter is that of a Hugging Face text tower, a folder in it
WEIGHTS, TEXT_CONFIG = "open_clip_model.safetensors", "text_config"
RANDOM_SEED = 0  # of random weights, so that a frozen random backbone can be made again


def load_backbone(
    name: str,
    pretrained: str | None,
    img_size: int,
    *,
    load_weights: bool = True,
    patch_dropout: float = 0.0,
    widths: tuple[int, int, int] | None = None,
) -> Backbone:
    """Build the towers, load their weights, and find out what they are.

    Args:
        name: see model_names.py.
        pretrained: weight tag or file for an architecture; None for random weights from a fixed seed.
        img_size: side of the pictures in pixels; position embeddings are resized to it.
        load_weights: False where a checkpoint's own weights are loaded right afterwards.
        patch_dropout: share of the patches that a vision transformer doesn't see in training.
        widths: of the features (`BackboneIdentity.widths`), where they are known for this img_size; else the towers are
            tried.

    Raises:
        BackboneError: unknown name or tag, a folder without configuration, an img_size that doesn't fit.
        ActivationMismatchError: weights trained with QuickGELU in a model without it, or the reverse.
        WeightsUnavailableError: weights, configuration or tokenizer can't be downloaded.
    """
    is_folder = name.startswith(LOCAL_DIR)
    has_schema = is_folder or name.startswith(HF_HUB)
    check_name(name, pretrained)
    random_weights = pretrained is None and not has_schema
    if not is_folder:
        announce_downloads(name, pretrained)  # open_clip fetches them even where they aren't loaded
    with _quiet_open_clip(), never_asked(), torch.random.fork_rng():
        torch.manual_seed(RANDOM_SEED)
        try:
            clip = open_clip.create_model(
                name,
                pretrained=None if has_schema else pretrained,
                load_weights=load_weights,
                pretrained_text=False,
                require_pretrained=load_weights and not random_weights,
                force_image_size=_changed_size(name, img_size),
                force_patch_dropout=patch_dropout,
                **_own_text_config(name),
            )
            tokenizer = open_clip.get_tokenizer(name, **_tokenizer_options(name))
        except Exception as error:  # open_clip raises plain RuntimeErrors for everything
            raise translate(error, name, pretrained, img_size) from None
    clip.eval()
    clip.requires_grad_(False)
    for key, tensor in clip.state_dict().items() if load_weights else ():
        if not is_finite(tensor):
            raise BackboneError(f"model.name: {name}: its weights are damaged: {key} holds nan or inf")
    size = clip.visual.image_size
    if (size[0] if isinstance(size, tuple | list) else size) != img_size:
        raise BackboneError(f"data.img_size: the image tower of {name} stays at {size}, not {img_size}")
    preprocess = clip.visual.preprocess_cfg
    transform = Transform(
        img_size,
        as_triple(preprocess["mean"]),
        as_triple(preprocess["std"]),
        preprocess.get("interpolation") or "bicubic",
    )
    image_dim, text_dim, layers_dim = widths or _feature_widths(clip, tokenizer, img_size, name)
    identity = BackboneIdentity(
        name=LOCAL_DIR + str(Path(name.removeprefix(LOCAL_DIR)).resolve()) if is_folder else name,
        pretrained="" if has_schema or pretrained is None else pretrained,
        activation="quick_gelu" if model_config(name).get("quick_gelu") else "gelu",
        weights_sha256=_digest(clip.state_dict()) if load_weights else "",
        image_dim=image_dim,
        text_dim=text_dim,
        layers_dim=layers_dim,
    )
    return Backbone(clip, identity, transform, tokenizer)


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a backbone alone, without its towers.

    Args:
        name: see model_names.py.

    Raises:
        BackboneError: unknown name, or a folder that holds no tokenizer.
        WeightsUnavailableError: it can't be downloaded.
    """
    check_name(name, None)
    with _quiet_open_clip(), never_asked():
        try:
            return open_clip.get_tokenizer(name, **_tokenizer_options(name))
        except Exception as error:
            raise translate(error, name, None, 0) from None


def save_backbone(backbone: Backbone, folder: Path, *, weights: bool) -> None:
    """Write all that `load_backbone` needs into a folder, which it then reads as `local-dir:`, wherever it lies.

    Args:
        backbone: of any origin; pictures are expected at its img_size then.
        folder: made where it doesn't exist.
        weights: write them too; without them the folder serves `load_weights=False` only.

    Raises:
        BackboneError: the configuration of the towers isn't known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = backbone.identity.name
    model_cfg = copy.deepcopy(model_config(name))
    if not model_cfg:
        raise BackboneError(f"model.name: {name}: its configuration can't be found, so it can't be copied")
    clip: Any = backbone.clip
    model_cfg["vision_cfg"]["image_size"] = backbone.transform.img_size
    text_cfg = model_cfg["text_cfg"]
    text = backbone.text_tower
    if isinstance(text, HFTextEncoder):
        text_cfg["hf_model_name"] = TEXT_CONFIG
        text.config.save_pretrained(folder / TEXT_CONFIG)
    inner = getattr(backbone.tokenizer, "tokenizer", None)
    if inner is not None:  # else open_clip's own, whose vocabulary is part of the package
        text_cfg["hf_tokenizer_name"] = TEXT_CONFIG  # read from the folder itself, whatever stands here
        inner.save_pretrained(folder)
    config = {"model_cfg": model_cfg, "preprocess_cfg": clip.visual.preprocess_cfg}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if weights:
        state = {key: tensor.detach().cpu().contiguous() for key, tensor in clip.state_dict().items()}
        save_file(state, folder / WEIGHTS)


def _own_text_config(name: str) -> dict[str, Any]:
    """Arguments that point a Hugging Face text tower to the configuration inside its `local-dir:` folder.

    open_clip takes the name for a path or a repository, and a relative path for one below the working folder.
    """
    folder = Path(name.removeprefix(LOCAL_DIR))
    if not name.startswith(LOCAL_DIR) or not (folder / TEXT_CONFIG / "config.json").is_file():
        return {}
    text_cfg = model_config(name)["text_cfg"]
    if text_cfg.get("hf_model_name") != TEXT_CONFIG:
        return {}
    return {"text_cfg": text_cfg | {"hf_model_name": str(folder / TEXT_CONFIG), "hf_model_pretrained": False}}


def _tokenizer_options(name: str) -> dict[str, Any]:
    """Those of transformers' tokenizer, where the model has one; they win over the configuration's own."""
    return {"trust_remote_code": False} if text_config(name).get("hf_tokenizer_name") else {}


def _changed_size(name: str, img_size: int) -> int | None:
    """The img_size to force, None where it is the model's own (a timm tower is left alone then)."""
    try:
        own = model_config(name).get("vision_cfg", {}).get("image_size", 224)
    except Exception:  # an unreachable hub is explained where the model is made
        return img_size
    return None if own in (img_size, [img_size, img_size]) else img_size


def _feature_widths(clip: nn.Module, tokenizer: Any, img_size: int, name: str) -> tuple[int, int, int]:
    """Widths of the features, asked from the towers: timm towers have no reliable attribute for it."""
    black = torch.zeros(1, 3, img_size, img_size)
    try:
        with torch.inference_mode():
            image = clip.encode_image(black)  # type: ignore[operator]
            layers = sum(each.shape[1] for each in last_layers(clip.visual, black)[1])
            text = clip.encode_text(tokenizer(["a"]))  # type: ignore[operator]
    except RuntimeError as error:
        raise BackboneError(f"data.img_size: {name} can't read pictures of {img_size} pixels: {error}") from None
    return int(image.shape[1]), int(text.shape[1]), layers


def _digest(state: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(state):
        if key in UNUSED or key.endswith(RESIZED):
            continue
        tensor = state[key].contiguous()
        digest.update(f"{key}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data if tensor.ndim else str(tensor.item()).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _quiet_open_clip() -> Iterator[None]:
    """open_clip logs to the root logger and warns about what is checked here; keep it off the terminal."""
    root = logging.getLogger()
    before = root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
