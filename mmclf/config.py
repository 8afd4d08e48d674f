"""The configuration: four typed sections, read from YAML, changed by `key=value` overrides.

Precedence, lowest first: the defaults here, the YAML file, the overrides. What differs between the stages
(`model.clip_trainable`, `train.epochs`, `train.batch_size`, `train.lrs`) has no default, so that a file
always states it. Unknown keys and wrong types are errors that name the key.
"""

import copy
import difflib
import hashlib
import json
import re
import shlex
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from .errors import ConfigError

# of `model.name`: a folder, and a repository of the hub
LOCAL_DIR, HF_HUB = "local-dir:", "hf-hub:"

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Rate = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Only:
    """Marks a key that one stage alone applies; the other refuses another value than the default.

    Attributes:
        stage: "stage1" or "stage2".
        what: what the key is for, as the end of "is for".
        otherwise: the value that it must have elsewhere; the default where there is one.
    """

    stage: str
    what: str
    otherwise: Any = None


class Section(BaseModel):
    """Base of the sections: immutable, no key that isn't declared, and no `true` or "5" where a number is meant."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataConfig(Section):
    """Where things are in the table, and what the towers are shown of it."""

    id_col: str = "id"
    # None: `categories`, else `label`
    label_col: str | None = None
    # None: `title` and `description` (those that exist), else `text`
    text_cols: list[str] | None = None
    # a column that wins over the stratified split, where the table has it
    fold_col: str = "fold"
    # rows of one group never lie on both sides of a fold: a column, or a CSV of `id,group`
    group_col: str | None = None
    groups_csv: str | None = None
    img_size: Annotated[int, Field(ge=16, le=2048)] = 224
    max_len: Annotated[int, Field(ge=3, le=8192)] = 77
    multi_image_mode: Literal["first", "random", "mean_pool"] = "first"
    on_bad_image: Literal["placeholder", "error"] = "placeholder"
    # decode large JPEGs at a fraction of their size (never below twice what is needed)
    fast_jpeg: bool = True
    # None: chosen by the machine
    num_workers: Annotated[int, Field(ge=0, le=256)] | None = None


class ModelConfig(Section):
    """The backbone (an open_clip name and weight tag, or `local-dir:PATH`) and the head."""

    name: str = "ViT-L-14-quickgelu"
    # None: random weights (tests and benchmarks); ignored by open_clip for `local-dir:` and `hf-hub:`
    pretrained: str | None = "openai"
    hidden_dim: Count = 512
    dropout: Share = 0.1
    clip_trainable: bool


class LearningRates(Section):
    """Peak learning rate of each module."""

    image_encoder: Annotated[Rate, Only("stage2", "training the towers", otherwise=0.0)]
    text_encoder: Annotated[Rate, Only("stage2", "training the towers", otherwise=0.0)]
    head: Rate


class TrainConfig(Section):
    """The optimisation of one fold, and how the folds are cut."""

    epochs: Count
    batch_size: Count
    lrs: LearningRates
    weight_decay: Rate = 0.01
    warmup_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    label_smoothing: Share = 0.0
    grad_accum: Count = 1
    early_stop_patience: Count = 2
    # random crops of each picture that the epochs take in turn. None: as many as epochs; 0: the eval view
    views: Annotated[
        Annotated[int, Field(ge=0, le=1000)] | None,
        Only("stage1", "stored features; stage 2 crops each picture anew in every epoch"),
    ] = None
    # the fastest safe precision of the machine
    amp: bool = True
    compile: bool = False
    grad_checkpointing: Annotated[bool, Only("stage2", "training the towers")] = False
    patch_dropout: Annotated[Share, Only("stage2", "training the towers")] = 0.0
    folds: Annotated[int, Field(ge=2, le=100)] = 5
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 42


class InferConfig(Section):
    """How checkpoints are applied to new rows."""

    batch_size: Count = 64
    # mean with the horizontal flip
    tta: bool = True
    # mean over these sizes of the pictures; None: data.img_size alone
    img_sizes: Annotated[list[Annotated[int, Field(ge=16, le=2048)]], Field(min_length=1)] | None = None


class Config(Section):
    """The whole configuration of a run."""

    data: DataConfig = DataConfig()
    model: ModelConfig
    train: TrainConfig
    infer: InferConfig = InferConfig()

    def flat(self) -> dict[str, Any]:
        """Dotted key -> value, in the order of declaration."""
        return dict(_flatten(self.model_dump(mode="json")))

    def fingerprint(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical JSON form."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_yaml(self) -> str:
        """The configuration as a YAML document that `load_config` reads back."""
        text: str = yaml.dump(self.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
        return text


def check_stage(config: Config, stage: str, source: str) -> None:
    """The configuration is one for this stage.

    Args:
        config: resolved.
        stage: "stage1" or "stage2".
        source: where it comes from, for the message.

    Raises:
        ConfigError: `model.clip_trainable` is that of the other stage, or a key is set that this one doesn't apply.
    """
    trains = stage == "stage2"
    if config.model.clip_trainable != trains:
        found = str(config.model.clip_trainable).lower()
        but = "stage 2 trains the towers" if trains else "stage 1 keeps the towers frozen"
        raise ConfigError(f"{source}: model.clip_trainable is {found}, but {but}")
    here = stage.replace("stage", "stage ")
    for key, field, value in _fields(config):
        for mark in field.metadata:
            default = mark.otherwise if isinstance(mark, Only) and field.is_required() else field.default
            if isinstance(mark, Only) and mark.stage != stage and value != default:
                raise ConfigError(
                    f"{source}: {key}: found {json.dumps(value)}, but it is for {mark.what}; {here} leaves it at "
                    f"{json.dumps(default)}"
                )


def stage_of(key: str) -> str:
    """The stage that alone applies a key such as `train.views`; "" where both do."""
    kind: Any = Config
    *sections, name = key.split(".")
    for section in sections:
        kind = kind.model_fields[section].annotation
    return next((mark.stage for mark in kind.model_fields[name].metadata if isinstance(mark, Only)), "")


def _fields(section: Section, prefix: str = "") -> typing.Iterator[tuple[str, FieldInfo, Any]]:
    """Dotted name, declaration and value of each key."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _fields(value, f"{prefix}{name}.")
        else:
            yield prefix + name, field, value


def load_config(path: str | Path, overrides: str = "") -> Config:
    """Read a YAML file and apply overrides such as `"train.epochs=3 data.img_size=336"`.

    Raises:
        ConfigError: the file can't be read, or a key or value of it, or of the overrides, can't be used.
    """
    return build_config(read_yaml(Path(path)), overrides, source=str(path))


def build_config(
    tree: dict[str, Any], overrides: str | Mapping[str, Any] = "", *, source: str = "configuration"
) -> Config:
    """Check a nested mapping with overrides applied, and make a `Config` of it.

    Raises:
        ConfigError: naming the key, what was found there and what may stand there.
    """
    tree = copy.deepcopy(tree)  # the caller's stays as it was
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
        for issue in error.errors():
            key = ".".join(str(part) for part in issue["loc"])
            place = (
                "overrides"
                if any(f"{key}.".startswith(f"{c}.") or c.startswith(f"{key}.") for c in changed)
                else source
            )
            lines.append(f"{place}: {_explain(key, issue)}")
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
        raise ConfigError(f"overrides: {text!r}: {error}; close the quote") from None
    found: dict[str, Any] = {}
    for part in parts:
        key, separator, value = part.partition("=")
        if not separator or not all(key.split(".")):
            raise ConfigError(f'overrides: {part!r} is not key=value; write for example "train.epochs=3"')
        if key in found:
            raise ConfigError(f"overrides: {key} is given twice")
        try:
            found[key] = _parse(value)
        except yaml.YAMLError:
            hint = (
                "put quotes around a value with spaces"
                if value[:1] in ("[", "{")
                else "a text that YAML reads otherwise needs '\"...\"'"
            )
            raise ConfigError(f"overrides: {key}: {value!r} is not a YAML value; {hint}") from None
    return found


def _override_keys(given: Mapping[str, Any]) -> dict[str, Any]:
    for key in given:
        if not isinstance(key, str) or not all(key.split(".")):
            raise ConfigError(f'overrides: {key!r} is not a key; write for example {{"train.epochs": 3}}')
    return dict(_flatten(dict(given)))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping.

    Raises:
        ConfigError: no such file, not UTF-8, not YAML, a key given twice, or not a mapping.
    """
    try:
        tree = _parse(path.read_text(encoding="utf-8"))
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


def _parse(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - derives from SafeLoader
    except yaml.YAMLError:
        raise
    # PyYAML lets anything through: ValueError on 2026-13-01, IndexError on an empty !!int, RecursionError on [[[[...
    except Exception as error:
        raise yaml.YAMLError(str(error)) from None


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-3 as a number (YAML 1.2) and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # refused as unhashable by the parent
            key = key_node.value
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes a text which `_Loader` would read as a number."""


for _side in (_Loader, _Dumper):
    _side.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def _flatten(tree: dict[str, Any], prefix: str = "") -> typing.Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def known_keys(section: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """Dotted names of all keys and sections, in the order of declaration."""
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += known_keys(field.annotation, f"{prefix}{name}.")
    return keys


def _explain(key: str, issue: Any) -> str:
    """One pydantic error as a sentence about the key."""
    kind, found = issue["type"], issue["input"]
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
        return f"{key or 'the file'}: found {found!r} ({type(found).__name__}), but it should be a section of keys"
    message = (issue["msg"][0].lower() + issue["msg"][1:]).replace("a valid array", "a list")
    return f"{key}: found {found!r} ({type(found).__name__}), but {message.replace('input should', 'it should')}"
