"""A configuration from YAML, changed by `key=value` overrides; every mistake named by its key."""

import copy
import difflib
import json
import shlex
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from ..errors import MOST_SHOWN, ConfigError, shown
from .schema import Config, flatten, known_keys
from .yaml_text import TOO_DEEP, parse_yaml

# mistakes that are listed
MOST_MISTAKES = 20


def build_config(
    tree: dict[str, Any], overrides: str | Mapping[str, Any] = "", *, source: str = "configuration"
) -> Config:
    """Check a nested mapping with overrides applied, and make a `Config` of it.

    Raises:
        ConfigError: naming the key, what was found there and what may stand there.
    """
    try:
        tree = copy.deepcopy(tree)  # the caller's stays as it was
    except RecursionError:
        raise ConfigError(f"{source}: {TOO_DEEP}") from None
    changed = set()
    for key, value in parse_overrides(overrides).items():
        *parents, last = key.split(".")
        node = tree
        for depth, parent in enumerate(parents):
            child = node.setdefault(parent, {})
            if not isinstance(child, dict):
                raise ConfigError(f"overrides: {key}: {'.'.join(parents[: depth + 1])} is not a section")
            node = child
        node[last] = value
        changed.add(key)
    try:
        # `default`: a date becomes the string that was meant
        document = json.dumps(tree, default=str, ensure_ascii=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: {error}; keys are words, values are texts, numbers, lists or sections") from None
    try:
        return Config.model_validate_json(document)
    except ValidationError as error:
        lines = []
        issues = error.errors()
        for issue in issues[:MOST_MISTAKES]:
            key = ".".join(str(part) for part in issue["loc"])
            place = (
                "overrides"
                if any(f"{key}.".startswith(f"{c}.") or c.startswith(f"{key}.") for c in changed)
                else source
            )
            lines.append(f"{place}: {_explain(key, issue)}")
        if len(issues) > MOST_MISTAKES:
            lines.append(f"{source}: {len(issues) - MOST_MISTAKES:,} more")
        raise ConfigError("\n".join(lines)) from None


def parse_overrides(text: str | Mapping[str, Any]) -> dict[str, Any]:
    """Split `"a.b=1 c.d='two words'"` into `{"a.b": 1, "c.d": "two words"}`; values are YAML. A mapping is one already.

    Raises:
        ConfigError: a part without `=`, an empty key, an unclosed quote, a value that isn't YAML.
    """
    if isinstance(text, Mapping):
        return _override_keys(text)
    try:
        parts = shlex.split(text or "")
    except ValueError as error:
        raise ConfigError(f"overrides: {shown(text)}: {error}; close the quote") from None
    found: dict[str, Any] = {}
    for part in parts:
        key, separator, value = part.partition("=")
        if not separator or not all(key.split(".")):
            raise ConfigError(f'overrides: {shown(part)} is not key=value; write for example "train.epochs=3"')
        if key in found:
            raise ConfigError(f"overrides: {key} is given twice")
        try:
            found[key] = parse_yaml(value)
        except yaml.YAMLError:
            hint = (
                "put quotes around a value with spaces"
                if value[:1] in ("[", "{")
                else "a text that YAML reads otherwise needs '\"...\"'"
            )
            raise ConfigError(f"overrides: {key}: {shown(value)} is not a YAML value; {hint}") from None
    return found


def _override_keys(given: Mapping[str, Any]) -> dict[str, Any]:
    for key in given:
        if not isinstance(key, str) or not all(key.split(".")):
            raise ConfigError(f'overrides: {key!r} is not a key; write for example {{"train.epochs": 3}}')
    try:
        return dict(flatten(dict(given)))
    except RecursionError:
        raise ConfigError(f"overrides: {TOO_DEEP}") from None


def _explain(key: str, issue: Any) -> str:
    """One pydantic error as a sentence about the key."""
    kind, found, key = issue["type"], issue["input"], key if len(key) <= MOST_SHOWN else f"{key[:MOST_SHOWN]}..."
    if kind == "extra_forbidden":
        known = known_keys()
        parent, _, name = key.rpartition(".")
        # the right name in the wrong section, else a slip of the pen
        same_name = [k for k in known if k.rpartition(".")[2] == name]
        close = difflib.get_close_matches(key, same_name or known, n=1, cutoff=0.0 if same_name else 0.6)
        siblings = [k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == parent]
        hint = f"did you mean {close[0]}?" if close else f"known keys here: {', '.join(siblings)}"
        return f"{key}: unknown key; {hint}"
    if kind == "missing":
        return f"{key}: missing; configs/stage1.yaml and configs/stage2.yaml show a value"
    if kind == "model_type":
        return f"{key or 'the file'}: found {shown(found)} ({type(found).__name__}), but it should be a section of keys"
    message = (issue["msg"][0].lower() + issue["msg"][1:]).replace("a valid array", "a list")
    return f"{key}: found {shown(found)} ({type(found).__name__}), but {message.replace('input should', 'it should')}"
