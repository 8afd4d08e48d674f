"""The configuration: four typed sections.

Precedence, lowest first: the defaults here, the YAML file, the overrides. What differs between the stages
(`model.clip_trainable`, `train.epochs`, `train.batch_size`, `train.lrs`) has no default, so that a file
always states it. Unknown keys and wrong types are errors that name the key.
"""

import hashlib
import json
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from ..errors import ConfigError
from .yaml_text import Dumper

# of `model.name`: a folder, and a repository of the hub
LOCAL_DIR, HF_HUB = "local-dir:", "hf-hub:"

# the upper bounds of all keys lie where no use is known and memory or time would run out: a slip of the pen is told
# before anything is read
Count = Annotated[int, Field(ge=1, le=10_000)]
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
ImageSize = Annotated[int, Field(ge=16, le=2048)]
MOST_FOLDS = 100
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Rate = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
# of image features, of those of the image tower's last layers, of edges and their directions, of text features, of
# those of the first text column alone, of image and text at once, of the text's words, of its characters, and of those
# of the first text column
KernelName = Literal["image", "layers", "outline", "text", "title", "product", "words", "chars", "title_chars"]
KERNELS: tuple[KernelName, ...] = typing.get_args(KernelName)
# what of a product is compared with the classes' names
Side = Literal["picture", "text"]
SIDES: tuple[Side, ...] = typing.get_args(Side)
# pictures that are larger in memory count as unreadable; where none is said
MAX_MEGAPIXELS = 50
# of a template: where the class's name goes
BLANK = "{}"


def _check_template(text: str) -> str:
    if text.count(BLANK) != 1:
        raise PydanticCustomError(
            "template", "it should hold {blank} once, where the class's name goes", {"blank": BLANK}
        )
    return text


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


@dataclass(frozen=True)
class OfHead:
    """Marks a key that one kind of head alone has; with the other it is left out.

    Attributes:
        kind: a value of `model.head`.
        otherwise: the value that a required key gets with the other kind.
    """

    kind: str
    otherwise: Any = None


STEPPED = OfHead("mlp")
# heads that nothing is trained for by steps
SOLVED = ("kernel", "zero-shot")


class Section(BaseModel):
    """Base of the sections: immutable, no key that isn't declared, and no `true` or "5" where a number is meant."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataConfig(Section):
    """Where things are in the table, and what the towers are shown of it."""

    id_col: str = "id"
    # None: `categories`, else `label`
    label_col: str | None = None
    # None: `title` and `description` (those that exist), else `text`
    text_cols: Annotated[list[str], Field(max_length=100)] | None = None
    # a column that wins over the stratified split, where the table has it
    fold_col: str = "fold"
    # rows of one group never lie on both sides of a fold: a column, or a CSV of `id,group`
    group_col: str | None = None
    groups_csv: str | None = None
    # a CSV of `label,name`: what a class is called in a sentence; a label that no row has adds a class
    classes_csv: Annotated[str | None, OfHead("zero-shot")] = None
    img_size: ImageSize = 224
    max_len: Annotated[int, Field(ge=3, le=8192)] = 77
    multi_image_mode: Literal["first", "random", "mean_pool"] = "first"
    on_bad_image: Literal["placeholder", "error"] = "placeholder"
    # millions of pixels that a picture may have in memory; 178 is where Pillow draws the line
    max_megapixels: Annotated[int, Field(ge=1, le=178)] = MAX_MEGAPIXELS
    # pictures may be symbolic links that lead out of their folder
    follow_links: bool = False
    # decode large JPEGs at a fraction of their size (never below twice what is needed)
    fast_jpeg: bool = True
    # None: chosen by the machine
    num_workers: Annotated[int, Field(ge=0, le=256)] | None = None


class ModelConfig(Section):
    """The backbone (an open_clip name and weight tag, or `local-dir:PATH`) and the head."""

    name: str = "ViT-L-14-quickgelu"
    # None: random weights (tests and benchmarks); ignored by open_clip for `local-dir:` and `hf-hub:`
    pretrained: str | None = "openai"
    # mlp: the report's, trained by steps; kernel: solved, on features and on the words and characters of the text;
    # zero-shot: the classes' names as the towers read them
    head: Annotated[Literal["mlp", "kernel", "zero-shot"], Only("stage1", "frozen features")] = "mlp"
    hidden_dim: Annotated[int, Field(ge=1, le=65_536), STEPPED] = 512
    dropout: Annotated[Share, STEPPED] = 0.1
    # what a kernel head compares products by
    kernels: Annotated[Annotated[list[KernelName], Field(min_length=1, max_length=len(KERNELS))], OfHead("kernel")] = (
        list(KERNELS)
    )
    # sentences that a class's name is put into; its text is the mean of them
    templates: Annotated[
        Annotated[list[Annotated[str, AfterValidator(_check_template)]], Field(min_length=1, max_length=1000)],
        OfHead("zero-shot"),
    ] = ["a photo of a {}", "a product photo of {}", "{}"]
    # what of a product a zero-shot head compares with the classes' names; [text] needs no towers trained on pairs
    sides: Annotated[
        Annotated[list[Side], Field(min_length=1, max_length=len(SIDES))],
        OfHead("zero-shot"),
    ] = list(SIDES)
    clip_trainable: bool


class LearningRates(Section):
    """Peak learning rate of each module."""

    image_encoder: Annotated[Rate, Only("stage2", "training the towers", otherwise=0.0)]
    text_encoder: Annotated[Rate, Only("stage2", "training the towers", otherwise=0.0)]
    head: Annotated[Rate, OfHead("mlp", otherwise=0.0)]


class TrainConfig(Section):
    """The optimisation of one fold, and how the folds are cut."""

    epochs: Annotated[Count, OfHead("mlp", otherwise=1)]
    batch_size: Annotated[BatchSize, OfHead("mlp", otherwise=1)]
    lrs: LearningRates
    weight_decay: Annotated[Rate, STEPPED] = 0.01
    warmup_ratio: Annotated[float, Field(ge=0.0, le=1.0), STEPPED] = 0.0
    label_smoothing: Annotated[Share, STEPPED] = 0.0
    grad_accum: Annotated[Count, STEPPED] = 1
    # epochs without a better validation; None: all epochs, so that the rates fall to the end
    early_stop_patience: Annotated[Count | None, STEPPED] = 2
    # validated and kept is a moving average of the weights with this decay
    ema: Annotated[Annotated[float, Field(gt=0.0, lt=1.0)] | None, STEPPED] = None
    # random crops of each picture that the epochs take in turn. None: as many as epochs; 0: the eval view
    views: Annotated[
        Annotated[int, Field(ge=0, le=1000)] | None,
        Only("stage1", "stored features; stage 2 crops each picture anew in every epoch"),
        STEPPED,
    ] = None
    # the fastest safe precision of the machine
    amp: bool = True
    compile: bool = False
    grad_checkpointing: Annotated[bool, Only("stage2", "training the towers")] = False
    patch_dropout: Annotated[Share, Only("stage2", "training the towers")] = 0.0
    # of adapters that are trained in place of the towers' weights; None: all weights
    lora_rank: Annotated[
        Annotated[int, Field(ge=1, le=1024)] | None,
        Only("stage2", "training the towers"),
    ] = None
    # between two states of a training within an epoch, from which it goes on after a kill; between epochs it keeps one
    # whenever more than seconds would be lost
    save_minutes: Annotated[Annotated[float, Field(ge=0.0, le=1e6)], STEPPED] = 10.0
    folds: Annotated[int, Field(ge=2, le=MOST_FOLDS)] = 5
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 42


class InferConfig(Section):
    """How checkpoints are applied to new rows."""

    batch_size: BatchSize = 64
    # mean with the horizontal flip
    tta: bool = True
    # mean over these sizes of the pictures; None: data.img_size alone
    img_sizes: Annotated[list[ImageSize], Field(min_length=1, max_length=16)] | None = None


class Config(Section):
    """The whole configuration of a run."""

    data: DataConfig = DataConfig()
    model: ModelConfig
    train: TrainConfig
    infer: InferConfig = InferConfig()

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, tree: Any) -> Any:
        """A head that is solved needs no epochs, batches and rates."""
        if not isinstance(tree, dict) or not isinstance(tree.get("model"), dict):
            return tree
        given = tree.get("train", {})
        if tree["model"].get("head") not in SOLVED or not isinstance(given, dict):
            return tree
        train = _solved_defaults(TrainConfig) | given
        if isinstance(given.get("lrs"), dict):
            train["lrs"] = _solved_defaults(LearningRates) | given["lrs"]
        return tree | {"train": train}

    def flat(self) -> dict[str, Any]:
        """Dotted key -> value, in the order of declaration."""
        return dict(flatten(self.model_dump(mode="json")))

    def fingerprint(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical JSON form."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_yaml(self) -> str:
        """The configuration as a YAML document that `resolve_config` reads back."""
        text: str = yaml.dump(self.model_dump(mode="json"), Dumper=Dumper, sort_keys=False, allow_unicode=True)
        return text


def _solved_defaults(section: type[BaseModel]) -> dict[str, Any]:
    """What the required keys of `train` are where nothing is trained by steps."""
    found: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found[name] = _solved_defaults(field.annotation)
        elif field.is_required():
            found[name] = next(mark.otherwise for mark in field.metadata if isinstance(mark, Only | OfHead))
    return found


def check_stage(config: Config, stage: str, source: str) -> None:
    """The configuration is one for this stage.

    Args:
        config: resolved.
        stage: "stage1" or "stage2".
        source: where it comes from, for the message.

    Raises:
        ConfigError: `model.clip_trainable` is that of the other stage, or a key is set that this stage or head doesn't
            apply.
    """
    trains = stage == "stage2"
    if config.model.clip_trainable != trains:
        found = str(config.model.clip_trainable).lower()
        but = "stage 2 trains the towers" if trains else "stage 1 keeps the towers frozen"
        raise ConfigError(f"{source}: model.clip_trainable is {found}, but {but}")
    here = stage.replace("stage", "stage ")
    for key, field, value in _fields(config):
        for mark in field.metadata:
            if not isinstance(mark, Only | OfHead):
                continue
            default = mark.otherwise if field.is_required() else field.default
            if value == default:
                continue
            if isinstance(mark, OfHead) and mark.kind != config.model.head:
                example = f", as configs/{config.model.head}-stage1.yaml does" if config.model.head in SOLVED else ""
                raise ConfigError(
                    f"{source}: {key}: found {json.dumps(value)}, but it is for model.head={mark.kind}, and "
                    f"model.head is {config.model.head}; leave it out{example}"
                )
            if isinstance(mark, Only) and mark.stage != stage:
                raise ConfigError(
                    f"{source}: {key}: found {json.dumps(value)}, but it is for {mark.what}; {here} leaves it at "
                    f"{json.dumps(default)}"
                )


def stage_of(key: str) -> str:
    """The stage that alone applies a key such as `train.views`; "" where both do."""
    return next((mark.stage for mark in _field(key).metadata if isinstance(mark, Only)), "")


def default_of(key: str) -> Any:
    """What a dotted key is where nobody sets it.

    Raises:
        ValueError: a file always states it.
    """
    field = _field(key)
    if field.is_required():
        raise ValueError(f"{key}: has no default")
    return field.get_default(call_default_factory=True)


def keys_of_head(kind: str) -> list[str]:
    """The keys that this kind of head alone has, in the order of declaration."""
    leaves = [key for key in known_keys() if "." in key]
    return [key for key in leaves if any(isinstance(m, OfHead) and m.kind == kind for m in _field(key).metadata)]


def _field(key: str) -> FieldInfo:
    """The declaration of a dotted key."""
    kind: Any = Config
    *sections, name = key.split(".")
    for section in sections:
        kind = kind.model_fields[section].annotation
    found: FieldInfo = kind.model_fields[name]
    return found


def _fields(section: Section, prefix: str = "") -> typing.Iterator[tuple[str, FieldInfo, Any]]:
    """Dotted name, declaration and value of each key."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _fields(value, f"{prefix}{name}.")
        else:
            yield prefix + name, field, value


def flatten(tree: dict[str, Any], prefix: str = "") -> typing.Iterator[tuple[str, Any]]:
    """Dotted key and value of each leaf of nested mappings."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
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
