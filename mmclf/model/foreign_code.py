"""No model folder brings code that is run.

transformers imports the Python files that a configuration names by `auto_map`, after a question that anybody may answer
on stdin, or without one where a configuration says `trust_remote_code`. Here both are refused by name before
transformers sees the folder, and it is kept from asking.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import BackboneError

LARGEST = 2**24  # bytes of a configuration
# keys whose value names code, and those that name a package of compiled kernels by a path such as `owner/name`
CODE, KERNELS = ("auto_map", "trust_remote_code"), ("attn_implementation", "experts_implementation")


def check_configurations(folder: Path, name: str) -> None:
    """No configuration in a folder, or in a folder below it, asks for code to be run.

    Args:
        folder: of the model, or of its text tower.
        name: of the model, for messages.

    Raises:
        BackboneError: one does, or can't be read.
    """
    for path in sorted(folder.rglob("*config*.json")):
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST + 1)
            if len(content) > LARGEST:
                raise BackboneError(f"model.name: {name}: {path} is larger than {LARGEST:,} bytes")
            found = _key_of_code(json.loads(content.decode("utf-8")))
        except (OSError, ValueError, RecursionError) as error:
            raise BackboneError(f"model.name: {name}: {path} can't be read: {error}") from None
        if found:
            raise BackboneError(
                f"model.name: {name}: {path} asks by {found!r} for code that comes with the model; mmclf runs none: "
                "take a model that open_clip, timm and transformers know by themselves"
            )


@contextlib.contextmanager
def never_asked() -> Iterator[None]:
    """Have transformers refuse what it would have to run code for, and asks nobody."""
    from transformers import dynamic_module_utils

    before = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0  # its own way for machines where nobody answers
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = before


def _key_of_code(tree: Any) -> str:
    """The first key, however deep, that asks for code; else empty."""
    left = [tree]
    while left:
        node = left.pop()
        if isinstance(node, list):
            left += node
        if isinstance(node, dict):
            for key, value in node.items():
                if key in CODE and value:
                    return str(key)
                if any(part in key for part in KERNELS) and "/" in str(value):
                    return str(key)
            left += node.values()
    return ""
