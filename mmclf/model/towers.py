"""Backbones that are loaded when they are first needed."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..store.cache import Cache
from .identity import BackboneIdentity, BackboneSpec, recall, remember

if TYPE_CHECKING:  # importing open_clip takes seconds, which a run on stored features doesn't need
    from .backbone import Backbone


class Towers(Protocol):
    """A backbone that is loaded when it is first needed."""

    @property
    def spec(self) -> BackboneSpec:
        """Identity, transform and tokenizer."""

    def load(self) -> Any:
        """The `Backbone`; the same object as long as it is needed."""


class LazyBackbone:
    """A backbone that is loaded when its towers are first needed, and known before where the cache knows it."""

    def __init__(self, name: str, pretrained: str | None, img_size: int, cache: Cache) -> None:
        """See `load_backbone`, which the first three arguments are for."""
        self._key = (name, pretrained, img_size)
        self._cache = cache
        self._loaded: Backbone | None = None
        self._spec: BackboneSpec | None = None

    @property
    def spec(self) -> BackboneSpec:
        """Identity, transform and tokenizer; loads the towers where the cache doesn't know them."""
        if self._spec is None:
            self._spec = find_spec(self._cache, self._key, self.load)
        return self._spec

    @property
    def is_known(self) -> bool:
        """Whether `spec` costs nothing."""
        if self._spec is None:
            self._spec = recall(self._cache, *self._key)
        return self._spec is not None

    def load(self) -> "Backbone":
        """The towers, on the CPU at first; always the same object.

        Raises:
            BackboneError: see `load_backbone`.
        """
        if self._loaded is None:
            from .loading import load_backbone

            self._loaded = load_backbone(*self._key)
        return self._loaded


def find_spec(
    cache: Cache,
    key: tuple[str, str | None, int],
    load: "Callable[[], Backbone]",
    wanted: BackboneIdentity | None = None,
) -> BackboneSpec:
    """What is known of a backbone: from the cache, else by loading it, and kept there then.

    Args:
        cache: where backbones are known without loading them.
        key: name, pretrained and img_size.
        load: makes it.
        wanted: whose weights it must have; what the cache knows of others doesn't count.
    """
    known = recall(cache, *key)
    if known is not None and (wanted is None or known.identity.same_weights(wanted)):
        return known
    spec = load().spec
    remember(cache, spec, *key[:2])
    return spec
