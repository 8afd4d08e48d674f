"""What a backbone is, known without loading it.

A run whose features are all in the cache never needs the towers, only their identity and transform. These are kept
under a digest of the weight files' content, or of the name and tag where open_clip fetches the weights itself.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..data.images import Transform
from ..store.cache import BACKBONES, Cache
from ..store.files import atomic_path

LOCAL_DIR = "local-dir:"
HF_HUB = "hf-hub:"
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


@dataclass(frozen=True)
class BackboneIdentity:
    """What makes two frozen backbones interchangeable.

    Attributes:
        name: open_clip's name, or `local-dir:PATH`; differs where the same folder lies elsewhere.
        pretrained: weight tag, "" for random weights and for folders.
        activation: "quick_gelu" or "gelu", of open_clip's own towers.
        weights_sha256: of the pretrained tensors, whatever the img_size.
        image_dim, text_dim: widths of the two features.
    """

    name: str
    pretrained: str
    activation: str
    weights_sha256: str
    image_dim: int
    text_dim: int

    def same_weights(self, other: "BackboneIdentity") -> bool:
        """Whether both compute the same features (the name may differ)."""
        return (self.activation, self.weights_sha256) == (other.activation, other.weights_sha256)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class BackboneCard:
    """Identity, transform of the pictures, and a digest of what decides how texts become tokens."""

    identity: BackboneIdentity
    transform: Transform
    tokenizer: str


def recall(cache: Cache, name: str, pretrained: str | None, img_size: int) -> BackboneCard | None:
    """The card of a backbone that was loaded before; None where it wasn't, or where its files have changed."""
    path = _path(cache, name, pretrained, img_size)
    if path is None:
        return None
    try:
        card = TypeAdapter(BackboneCard).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    cache.touch(path)
    return card


def remember(cache: Cache, card: BackboneCard, name: str, pretrained: str | None) -> None:
    """Keep the card of a backbone that was loaded as `name` and `pretrained`."""
    path = _path(cache, name, pretrained, card.transform.img_size)
    content = json.dumps(asdict(card), indent=2) + "\n"
    if path is None or not cache.reserve(len(content)):
        return
    try:
        with atomic_path(path) as draft:
            draft.write_text(content, encoding="utf-8")
    except OSError as error:
        cache.give_up(error)


def tokenizer_digest(name: str) -> str:
    """What decides how texts become tokens: the folder's files but for the weights, else the model's name."""
    if not name.startswith(LOCAL_DIR):
        return f"{name} open_clip {version('open_clip_torch')}"
    digest = hashlib.sha256()
    for path in _files(name):
        if path.suffix not in WEIGHT_SUFFIXES:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _path(cache: Cache, name: str, pretrained: str | None, img_size: int) -> Path | None:
    """Where the card lies; None where the files that decide it can't be found or read."""
    versions = [version(package) for package in ("open_clip_torch", "torch", "timm", "transformers")]
    digest = hashlib.sha256(json.dumps([name, pretrained, img_size, versions]).encode())
    if name.startswith(HF_HUB):
        # a repository may change under its name: the snapshot in the hub's own cache says which state is meant
        from huggingface_hub import try_to_load_from_cache

        snapshot = try_to_load_from_cache(name.removeprefix(HF_HUB).partition("@")[0], "open_clip_config.json")
        if not isinstance(snapshot, str):
            return None
        digest.update(Path(snapshot).parent.name.encode())
    files = _files(name) if name.startswith(LOCAL_DIR) else []
    if pretrained is not None and Path(pretrained).is_file():
        files.append(Path(pretrained))
    try:
        for path in files:
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError:
        return None
    return cache.root / BACKBONES / f"{digest.hexdigest()[:32]}.json"


def _files(name: str) -> list[Path]:
    """The files of a local-dir: folder, those in folders below included, in a fixed order."""
    folder = Path(name.removeprefix(LOCAL_DIR))
    return sorted(path for path in folder.rglob("*") if path.is_file())
