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

from ..config import HF_HUB, LOCAL_DIR
from ..data.images import Transform
from ..store.cache import BACKBONES, Cache
from .letters import RULES

# of what is kept of a backbone; another number leaves the kept unused
KNOWN = 3
OUTLINE_DIM = 576  # see outline.py


@dataclass(frozen=True)
class BackboneIdentity:
    """What makes two frozen backbones interchangeable.

    Attributes:
        name: open_clip's name, or `local-dir:PATH`; differs where the same folder lies elsewhere.
        pretrained: weight tag, "" for random weights and for folders.
        activation: "quick_gelu" or "gelu", of open_clip's own towers.
        weights_sha256: of the pretrained tensors, whatever the img_size.
        image_dim, text_dim: widths of the two features.
        layers_dim: width of the features of the image tower's last layers; 0 where it doesn't tell them.
    """

    name: str
    pretrained: str
    activation: str
    weights_sha256: str
    image_dim: int
    text_dim: int
    layers_dim: int = 0

    @property
    def details_dim(self) -> int:
        """Width of what is told of a picture beside its feature: the last layers, and the outline."""
        return self.layers_dim + OUTLINE_DIM

    @property
    def widths(self) -> tuple[int, int, int]:
        """All of them."""
        return self.image_dim, self.text_dim, self.layers_dim

    def same_weights(self, other: "BackboneIdentity") -> bool:
        """Whether both compute the same features (the name may differ)."""
        return (self.activation, self.weights_sha256) == (other.activation, other.weights_sha256)


@dataclass(frozen=True)
class BackboneSpec:
    """What is known of a backbone without loading it.

    Attributes:
        identity: see there.
        transform: of the pictures.
        tokenizer: digest of what decides how texts become tokens.
        most_tokens: that its text tower reads.
    """

    identity: BackboneIdentity
    transform: Transform
    tokenizer: str
    most_tokens: int


def recall(cache: Cache, name: str, pretrained: str | None, img_size: int) -> BackboneSpec | None:
    """What is known of a backbone that was loaded before; None where it wasn't, or where its files have changed."""
    path = _path(cache, name, pretrained, img_size)
    if path is None:
        return None
    try:
        spec = TypeAdapter(BackboneSpec).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    cache.touch(path)
    return spec


def remember(cache: Cache, spec: BackboneSpec, name: str, pretrained: str | None) -> None:
    """Keep what is known of a backbone that was loaded as `name` and `pretrained`."""
    path = _path(cache, name, pretrained, spec.transform.img_size)
    if path is not None:
        cache.put_text(path, json.dumps(asdict(spec), indent=2) + "\n")


def tokenizer_digest(tokenizer: Any, name: str) -> str:
    """16 hex digits of what decides how texts become tokens: the same wherever the folder of the model lies.

    Args:
        tokenizer: of open_clip.
        name: of the model, for a tokenizer whose vocabulary can't be asked for.
    """
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is None:  # open_clip's own, whose vocabulary is part of the package
        return _short(f"{type(tokenizer).__name__} {version('open_clip_torch')}")
    backend = getattr(inner, "backend_tokenizer", None)
    if backend is None:
        return _short(f"{name} {version('open_clip_torch')} {version('transformers')}")
    # what the last call asked for, which is no part of it
    rules = {k: v for k, v in json.loads(backend.to_str()).items() if k not in ("truncation", "padding")}
    clean = getattr(getattr(tokenizer, "clean_fn", None), "__name__", "")
    return _short(json.dumps([rules, inner.pad_token_id, clean, type(tokenizer).__name__, RULES], sort_keys=True))


def _path(cache: Cache, name: str, pretrained: str | None, img_size: int) -> Path | None:
    """Where it lies; None where the files that decide it can't be found or read."""
    versions = [version(package) for package in ("open_clip_torch", "torch", "timm", "transformers")]
    digest = hashlib.sha256(json.dumps([KNOWN, name, pretrained, img_size, versions]).encode())
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


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
