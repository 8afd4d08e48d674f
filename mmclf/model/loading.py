"""Backbones made from names and weights, and written to folders.

`model.name` is an open_clip architecture with a weight tag in `model.pretrained` (`ViT-L-14-quickgelu` with
`openai`), `hf-hub:ORG/REPO`, or `local-dir:PATH`, a folder with `open_clip_config.json` and weights, which
needs no network.
"""

import contextlib
import copy
import difflib
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
from ..errors import ActivationMismatchError, BackboneError, WeightsUnavailableError
from .backbone import UNUSED, Backbone, last_layers
from .downloads import HUB_WEIGHTS, HubFile, UrlFile, announce
from .finite import is_finite
from .foreign_code import check_configurations, never_asked
from .identity import BackboneIdentity
from .speed_kinds import towers_named

# resized to another img_size on loading, so no part of a backbone's identity
RESIZED = ("positional_embedding", "pos_embed")
# of a local-dir: folder; the last one is that of a Hugging Face text tower, a folder in it
CONFIG, WEIGHTS, TEXT_CONFIG = "open_clip_config.json", "open_clip_model.safetensors", "text_config"
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
        name: see the module.
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
    if is_folder:
        _check_folder(name)
    elif not has_schema:
        _check_names(name, pretrained)
    random_weights = pretrained is None and not has_schema
    if not is_folder:
        _announce_downloads(name, pretrained)  # open_clip fetches them even where they aren't loaded
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
            raise _translate(error, name, pretrained, img_size) from None
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
        activation="quick_gelu" if _model_config(name).get("quick_gelu") else "gelu",
        weights_sha256=_digest(clip.state_dict()) if load_weights else "",
        image_dim=image_dim,
        text_dim=text_dim,
        layers_dim=layers_dim,
    )
    return Backbone(clip, identity, transform, tokenizer)


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a backbone alone, without its towers.

    Args:
        name: see the module.

    Raises:
        BackboneError: unknown name, or a folder that holds no tokenizer.
        WeightsUnavailableError: it can't be downloaded.
    """
    if name.startswith(LOCAL_DIR):
        _check_folder(name)
    elif not name.startswith(HF_HUB):
        _check_names(name, None)
    with _quiet_open_clip(), never_asked():
        try:
            return open_clip.get_tokenizer(name, **_tokenizer_options(name))
        except Exception as error:
            raise _translate(error, name, None, 0) from None


def _check_folder(name: str) -> None:
    folder = Path(name.removeprefix(LOCAL_DIR))
    if not folder.is_dir():
        raise BackboneError(f"model.name: {name}: no such folder; it should hold open_clip_config.json and weights")
    if not (folder / CONFIG).is_file():
        raise BackboneError(f"model.name: {name}: the folder holds no open_clip_config.json")
    check_configurations(folder, name)
    try:
        elsewhere = Path(str(_text_config(name).get("hf_model_name", "")))
    except (AttributeError, TypeError, ValueError):
        raise BackboneError(f"model.name: {name}: its {CONFIG} is no configuration of open_clip") from None
    if elsewhere.name and elsewhere.is_dir():
        check_configurations(elsewhere, name)


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
    model_cfg = copy.deepcopy(_model_config(name))
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
    text_cfg = _model_config(name)["text_cfg"]
    if text_cfg.get("hf_model_name") != TEXT_CONFIG:
        return {}
    return {"text_cfg": text_cfg | {"hf_model_name": str(folder / TEXT_CONFIG), "hf_model_pretrained": False}}


def _tokenizer_options(name: str) -> dict[str, Any]:
    """Those of transformers' tokenizer, where the model has one; they win over the configuration's own."""
    return {"trust_remote_code": False} if _text_config(name).get("hf_tokenizer_name") else {}


def _check_names(name: str, pretrained: str | None) -> None:
    """The name and the tag exist, and the weights were trained with the model's activation."""
    config = open_clip.get_model_config(name)
    if config is None:
        close = difflib.get_close_matches(name, open_clip.list_models(), n=3, cutoff=0.5)
        raise BackboneError(
            f"model.name: open_clip has no model {name!r}"
            + (f"; did you mean {' or '.join(close)}?" if close else "; open_clip.list_models() names them all")
        )
    if pretrained is None or Path(pretrained).is_file():
        return
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    if not tag:
        tags = open_clip.list_pretrained_tags_by_model(name)
        twin = name.removesuffix("-quickgelu") if name.endswith("-quickgelu") else f"{name}-quickgelu"
        hint = f"{name} has {', '.join(tags)}" if tags else f"there are no weights for {name}"
        if pretrained in open_clip.list_pretrained_tags_by_model(twin):
            hint += f"; {twin} has {pretrained}"
        raise BackboneError(f"model.pretrained: {pretrained!r} is no weight tag of {name}, and no file; {hint}")
    trained_quick, model_quick = bool(tag.get("quick_gelu")), bool(config.get("quick_gelu"))
    if trained_quick != model_quick:
        twin = f"{name}-quickgelu" if trained_quick else name.removesuffix("-quickgelu")
        there, here = ("QuickGELU", "GELU") if trained_quick else ("GELU", "QuickGELU")
        raise ActivationMismatchError(
            f"model.name: the {pretrained} weights of {name} were trained with {there}, but {name} computes {here}; "
            f"set model.name={twin}"
        )


def _model_config(name: str) -> dict[str, Any]:
    return dict(open_clip.get_model_config(name) or {})


def _text_config(name: str) -> dict[str, Any]:
    found = _model_config(name).get("text_cfg")
    return found if isinstance(found, dict) else {}


def _changed_size(name: str, img_size: int) -> int | None:
    """The img_size to force, None where it is the model's own (a timm tower is left alone then)."""
    try:
        own = _model_config(name).get("vision_cfg", {}).get("image_size", 224)
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


def _translate(error: Exception, name: str, pretrained: str | None, img_size: int) -> BackboneError:
    """An open_clip or hub exception as one of ours."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 10:
        chain.append(cause)
    text = " ".join(f"{type(link).__name__} {link}" for link in chain)
    weights = name if name.startswith((HF_HUB, LOCAL_DIR)) else f"{name}/{pretrained}"
    if name.startswith(LOCAL_DIR) and "could not be loaded" in text:
        return BackboneError(f"model.name: {name}: the folder holds no weights (open_clip_model.safetensors)")
    if "trust_remote_code" in text:
        return BackboneError(f"model.name: {weights} comes with code of its own, and mmclf runs none")
    remote = (
        "Failed to download",
        "Failed initial",
        "Hub",
        "hub",
        "Connection",
        "URLError",
        "resolve",
        "offline",
        "HTTP",
    )
    if not name.startswith(LOCAL_DIR) and any(word in text for word in remote):
        return WeightsUnavailableError(
            f"model.pretrained: {weights} can't be downloaded from here; {_how_to_copy(name, pretrained)} "
            f"(the last error was {type(chain[-1]).__name__}: {str(chain[-1])[:200]})"
        )
    last_line = str(error).strip().split("\n")[-1].strip()
    return BackboneError(f"model.name: {weights} can't be loaded at img_size {img_size}: {last_line[:500]}")


def _announce_downloads(name: str, pretrained: str | None) -> None:
    """Say what must be downloaded first.

    Raises:
        WeightsUnavailableError: it can't be.
    """
    title, advice = towers_named(name, pretrained), _how_to_copy(name, pretrained)
    if name.startswith(HF_HUB):
        repository = name.removeprefix(HF_HUB)
        announce(title, HubFile(repository, [CONFIG]), advice)
        announce(title, HubFile(repository, HUB_WEIGHTS), advice)
        return
    if pretrained is not None and not Path(pretrained).is_file():
        tag = open_clip.get_pretrained_cfg(name, pretrained) or {}
        repository, _, file = tag.get("hf_hub", "").rpartition("/")
        if repository:
            announce(title, HubFile(repository, [file] if file else HUB_WEIGHTS), advice)
        elif tag.get("url"):
            announce(title, UrlFile(tag["url"]), advice)
    if tokenizer := _text_config(name).get("hf_tokenizer_name"):
        announce(f"the tokenizer of {name}", HubFile(tokenizer, ["tokenizer_config.json", "vocab.txt"]), advice)


def _how_to_copy(name: str, pretrained: str | None) -> str:
    """What to do on a machine with network so that this one needs none."""
    has_tag = pretrained is not None and not name.startswith(HF_HUB)
    tag = (open_clip.get_pretrained_cfg(name, pretrained) or {}) if has_tag else {}
    repository = name.removeprefix(HF_HUB) if name.startswith(HF_HUB) else tag.get("hf_hub", "").rpartition("/")[0]
    if repository:
        return (
            f"where there is network, run `hf download {repository} --local-dir DIR`, copy DIR here, and set "
            "model.name=local-dir:DIR"
        )
    if tag.get("url"):
        return f"where there is network, fetch {tag['url']}, copy the file here, and set model.pretrained=FILE"
    return "where there is network, load the model once, and copy the hub's cache (HF_HUB_CACHE) here"


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
