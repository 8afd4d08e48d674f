"""YAML as the configuration is written in it: small, and read within bounds whatever stands there."""

import re
from pathlib import Path
from stat import S_ISREG
from typing import Any

import yaml

from ..errors import ConfigError

# a configuration has 3 kB, 50 values and 3 levels
MOST_BYTES, MOST_VALUES, MOST_LEVELS = 2**17, 10_000, 20
TOO_DEEP = f"lists and sections lie in each other more than {MOST_LEVELS} levels deep"


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping.

    Raises:
        ConfigError: no such file, no file at all, too large, not UTF-8, not YAML, a key given twice, or not a mapping.
    """
    try:
        tree = parse_yaml(_content(path).decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; the shipped ones are in configs/") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start:,} is not UTF-8; save the file as UTF-8") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        found = "is empty" if tree is None else f"holds a {type(tree).__name__}, not sections"
        raise ConfigError(f"{path}: {found}; see configs/stage1.yaml")
    return tree


def parse_yaml(text: str) -> Any:
    """Any YAML value of sane size.

    Raises:
        yaml.YAMLError: it isn't one.
    """
    if len(text) > MOST_BYTES:
        raise yaml.YAMLError(f"it is longer than {MOST_BYTES:,} characters")
    try:
        return yaml.load(text, Loader=Loader)  # noqa: S506 - derives from SafeLoader
    except yaml.YAMLError:
        raise
    except RecursionError:
        raise yaml.YAMLError(TOO_DEEP) from None
    # PyYAML lets anything through: ValueError on 2026-13-01, IndexError on an empty !!int, RecursionError on [[[[...
    except Exception as error:
        raise yaml.YAMLError(str(error)) from None


def _content(path: Path) -> bytes:
    """Of a file; opening a pipe would wait for its writer."""
    status = path.stat()
    if not S_ISREG(status.st_mode) and not path.is_dir():
        raise ConfigError(f"{path}: is a pipe or a device, not a file; save the configuration as a file")
    if status.st_size > MOST_BYTES:
        raise ConfigError(
            f"{path}: has {status.st_size:,} bytes, and a configuration at most {MOST_BYTES:,}; is it another file?"
        )
    return path.read_bytes()


class Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-3 as a number (YAML 1.2), refuses a key given twice, and what aliases blow up."""

    def get_single_node(self) -> yaml.Node | None:
        """The document, of a bounded size with each alias written out."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _check_size(node, {}, 1)
        return node

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


def _check_size(node: yaml.Node, sizes: dict[int, int], level: int) -> int:
    """The number of values below a node, each alias counted as what it stands for.

    Args:
        node: of the composed document.
        sizes: by the identity of a node, those that are known; 0 while one is counted.
        level: of the node, from 1.
    """
    if level > MOST_LEVELS:
        raise yaml.constructor.ConstructorError(None, None, TOO_DEEP, node.start_mark)
    if id(node) in sizes:
        return sizes[id(node)]
    sizes[id(node)] = 0
    if isinstance(node, yaml.MappingNode):
        below = [part for pair in node.value for part in pair]
    else:
        below = node.value if isinstance(node, yaml.SequenceNode) else []
    size = 1 + sum(_check_size(part, sizes, level + 1) for part in below)
    if size > MOST_VALUES:
        raise yaml.constructor.ConstructorError(None, None, f"more than {MOST_VALUES:,} values", node.start_mark)
    sizes[id(node)] = size
    return size


class Dumper(yaml.SafeDumper):
    """SafeDumper that quotes a text which `Loader` would read as a number, or whose line ends it would fold."""


def _represent_text(dumper: Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if re.search("[\x85\u2028\u2029]", text) else None  # written as they are elsewhere, and read as spaces
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


Dumper.add_representer(str, _represent_text)


for _side in (Loader, Dumper):
    _side.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )
