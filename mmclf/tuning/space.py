"""The search space: which keys of the head are tried, and in which values."""

import difflib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..config import KERNELS, Config, build_config, keys_of_head, read_yaml
from ..errors import ConfigError

# by kind of head, in the form of a file. Wide around the shipped recipes; what lies beyond was bad on two catalogues
DEFAULTS: dict[str, dict[str, Any]] = {
    "mlp": {
        "train.lrs.head": {"low": 1e-4, "high": 1e-2, "log": True},
        "train.epochs": {"low": 5, "high": 40, "log": True},
        "train.batch_size": [16, 32, 64, 128],
        "train.weight_decay": {"low": 1e-3, "high": 3.0, "log": True},
        "train.warmup_ratio": {"low": 0.0, "high": 0.2},
        "train.label_smoothing": {"low": 0.0, "high": 0.2},
        "model.dropout": {"low": 0.0, "high": 0.7},
        "model.hidden_dim": [128, 256, 512, 1024],
    },
    "kernel": {
        "model.kernels": [
            list(KERNELS),
            ["image", "text", "product"],
            ["image", "text"],
            ["image", "text", "title", "product"],
            ["image", "text", "title", "words", "chars"],
            ["image", "text", "product", "words", "chars"],
            ["text", "title", "words", "chars"],
            ["image", "words", "chars"],
            ["image", "chars"],
            ["words", "chars"],
        ]
    },
}


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, both included.

    Attributes:
        low, high: the ends.
        log: whether each ratio counts the same, not each difference.
        whole: whether they are whole numbers.
    """

    low: float
    high: float
    log: bool
    whole: bool

    def holds(self, value: Any) -> bool:
        """Whether a value lies inside."""
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """Values without an order.

    Attributes:
        values: as a configuration has them.
    """

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether a value is one of them."""
        return value in self.values


Settings = dict[str, Any]


@dataclass(frozen=True)
class Space:
    """What is tried.

    Attributes:
        axes: a range or a choice for each dotted key.
    """

    axes: dict[str, Range | Choice]

    def digest(self) -> str:
        """Equal where the same is tried: canonical JSON."""
        return json.dumps({key: asdict(axis) for key, axis in self.axes.items()}, sort_keys=True)

    def settings_of(self, config: Config) -> Settings | None:
        """The point of the space that a configuration is; None where it lies outside."""
        flat = config.flat()
        inside = all(axis.holds(flat[key]) for key, axis in self.axes.items())
        return {key: flat[key] for key in self.axes} if inside else None

    def points(self, most: int) -> list[Settings] | None:
        """All points, where there are at most so many of them."""
        choices = [axis.values for axis in self.axes.values() if isinstance(axis, Choice)]
        if len(choices) < len(self.axes) or math.prod(map(len, choices)) > most:
            return None
        return [dict(zip(self.axes, values, strict=True)) for values in itertools.product(*choices)]


def default_space(config: Config, fixed: Mapping[str, Any]) -> Space:
    """The space for the head of a configuration.

    Args:
        config: resolved.
        fixed: keys that stay as they are.

    Raises:
        ConfigError: nothing is left to try.
    """
    if config.model.head not in DEFAULTS:
        raise ConfigError(
            f"tune: a head of kind {config.model.head} has no settings to try; set model.head=mlp or kernel"
        )
    tree = {key: axis for key, axis in DEFAULTS[config.model.head].items() if key not in fixed}
    if not tree:
        raise ConfigError(
            f"tune: nothing to try for model.head={config.model.head}: overrides fix every key of its space; "
            "leave one out, or give --space"
        )
    return _parse(tree, config, "the default space")


def read_space(path: str | Path, config: Config) -> Space:
    """A space from a YAML file: `train.lrs.head: {low: 1e-4, high: 1e-2, log: true}`, `train.batch_size: [16, 32]`.

    Args:
        path: of the file.
        config: resolved; says which keys the head has, and stays as it is elsewhere.

    Raises:
        ConfigError: it can't be read, or a key or value can't be used; says which and why.
    """
    try:
        tree = read_yaml(Path(path))
    except ConfigError as error:
        raise ConfigError(f"--space: {error}") from None
    return _parse(tree, config, str(path))


def with_settings(config: Config, settings: Settings) -> Config:
    """A configuration with these values at their dotted keys."""
    return build_config(config.model_dump(mode="json"), settings)


def _parse(tree: Mapping[Any, Any], config: Config, source: str) -> Space:
    known = keys_of_head(config.model.head)
    for key in tree:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"keys of this head: {', '.join(known)}"
            raise ConfigError(
                f"{source}: {key}: is not a key that tune can try for model.head={config.model.head}; {hint}"
            )
    return Space({key: _axis(key, found, config, source) for key, found in tree.items()})


def _axis(key: str, found: Any, config: Config, source: str) -> Range | Choice:
    if isinstance(found, list):
        values = tuple(_checked(key, value, config, source) for value in found)
        if len(values) < 2 or any(value in values[:place] for place, value in enumerate(values)):
            raise ConfigError(f"{source}: {key}: found {json.dumps(found)}; give two values or more, each once")
        return Choice(values)
    if not isinstance(found, dict) or not {"low", "high"} <= set(found) <= {"low", "high", "log"}:
        raise ConfigError(
            f"{source}: {key}: found {json.dumps(found, default=str)}; give a list of values, or "
            "{low: 0.001, high: 0.1, log: true}"
        )
    log = found.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{source}: {key}.log: found {log!r}; give `true` or `false`")
    low, high = (_checked(key, found[end], config, source) for end in ("low", "high"))
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)):
        raise ConfigError(f"{source}: {key}: isn't a number; give a list of values")
    if low >= high:
        raise ConfigError(f"{source}: {key}: low is {low} and high is {high}; low must be less")
    if log and low <= 0:
        raise ConfigError(f"{source}: {key}: low is {low}; with log it must be more than 0")
    return Range(low, high, log, isinstance(low, int) and isinstance(high, int))


def _checked(key: str, value: Any, config: Config, source: str) -> Any:
    """The value as the configuration takes it."""
    tree = config.model_dump(mode="json")
    *parents, last = key.split(".")
    node = tree
    for parent in parents:
        node = node[parent]
    node[last] = value
    return build_config(tree, source=source).flat()[key]
