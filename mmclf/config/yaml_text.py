"""YAML as the configuration is written in it."""

import re
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping.

    Raises:
        ConfigError: no such file, not UTF-8, not YAML, a key given twice, or not a mapping.
    """
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; the shipped ones are in configs/") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start:,} is not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        found = "is empty" if tree is None else f"holds a {type(tree).__name__}, not sections"
        raise ConfigError(f"{path}: {found}; see configs/stage1.yaml")
    return tree


def parse_yaml(text: str) -> Any:
    """Any YAML value.

    Raises:
        yaml.YAMLError: it isn't one.
    """
    try:
        return yaml.load(text, Loader=Loader)  # noqa: S506 - derives from SafeLoader
    except yaml.YAMLError:
        raise
    # PyYAML lets anything through: ValueError on 2026-13-01, IndexError on an empty !!int, RecursionError on [[[[...
    except Exception as error:
        raise yaml.YAMLError(str(error)) from None


class Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-3 as a number (YAML 1.2) and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping without a key given twice."""
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # refused as unhashable by the parent
            key = key_node.value
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


class Dumper(yaml.SafeDumper):
    """SafeDumper that quotes a text which `Loader` would read as a number."""


for _side in (Loader, Dumper):
    _side.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )
