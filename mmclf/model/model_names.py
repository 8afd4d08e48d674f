"""What the names of backbones stand for: checked before anything is loaded, and explained where they can't be had.

`model.name` is an open_clip architecture with a weight tag in `model.pretrained` (`ViT-L-14-quickgelu` with
`openai`), `hf-hub:ORG/REPO`, or `local-dir:PATH`, a folder with `open_clip_config.json` and weights, which
needs no network.
"""

import difflib
from pathlib import Path
from typing import Any

import open_clip

from ..config import HF_HUB, LOCAL_DIR
from ..errors import ActivationMismatchError, BackboneError, WeightsUnavailableError
from .downloads import HUB_WEIGHTS, HubFile, UrlFile, announce
from .foreign_code import check_configurations
from .speed_kinds import towers_named

CONFIG = "open_clip_config.json"  # of a local-dir: folder, or of a repository


def check_name(name: str, pretrained: str | None) -> None:
    """The name and its weight tag exist, as far as that is seen without a network.

    Args:
        name: see the module.
        pretrained: weight tag or file for an architecture.

    Raises:
        BackboneError: unknown name or tag, a folder without configuration, or one that asks for code to be run.
        ActivationMismatchError: weights trained with QuickGELU in a model without it, or the reverse.
    """
    if name.startswith(LOCAL_DIR):
        _check_folder(name)
    elif not name.startswith(HF_HUB):
        _check_names(name, pretrained)


def _check_folder(name: str) -> None:
    folder = Path(name.removeprefix(LOCAL_DIR))
    if not folder.is_dir():
        raise BackboneError(f"model.name: {name}: no such folder; it should hold open_clip_config.json and weights")
    if not (folder / CONFIG).is_file():
        raise BackboneError(f"model.name: {name}: the folder holds no open_clip_config.json")
    check_configurations(folder, name)
    try:
        elsewhere = Path(str(text_config(name).get("hf_model_name", "")))
    except (AttributeError, TypeError, ValueError):
        raise BackboneError(f"model.name: {name}: its {CONFIG} is no configuration of open_clip") from None
    if elsewhere.name and elsewhere.is_dir():
        check_configurations(elsewhere, name)


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


def model_config(name: str) -> dict[str, Any]:
    """The configuration that open_clip makes the towers by; empty where it knows none."""
    return dict(open_clip.get_model_config(name) or {})


def text_config(name: str) -> dict[str, Any]:
    """The part of it about the text tower; empty where there is none."""
    found = model_config(name).get("text_cfg")
    return found if isinstance(found, dict) else {}


def announce_downloads(name: str, pretrained: str | None) -> None:
    """Say what must be downloaded first.

    Args:
        name: of no folder.
        pretrained: see `check_name`.

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
    if tokenizer := text_config(name).get("hf_tokenizer_name"):
        announce(f"the tokenizer of {name}", HubFile(tokenizer, ["tokenizer_config.json", "vocab.txt"]), advice)


def translate(error: Exception, name: str, pretrained: str | None, img_size: int) -> BackboneError:
    """An open_clip or hub exception as one of ours.

    Args:
        error: raised while the towers or the tokenizer were made.
        name: see the module.
        pretrained: see `check_name`.
        img_size: side of the pictures in pixels.
    """
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
