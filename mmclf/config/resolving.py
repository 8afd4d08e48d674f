"""What a caller means by a configuration: a file, sections or a `Config`, with changes to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .reading import build_config
from .schema import LOCAL_DIR, Config
from .yaml_text import read_yaml

ConfigLike = str | Path | Mapping[str, Any] | Config
Overrides = str | Mapping[str, Any]


def resolve_config(config: ConfigLike, overrides: Overrides = "") -> Config:
    """The configuration that a caller means, with absolute paths, so that a later run finds them from anywhere.

    Args:
        config: a YAML file (a relative one that isn't in the working folder is looked for in mmclf's own), its sections
            as a mapping, or a configuration.
        overrides: `"train.epochs=3"` or `{"train.epochs": 3}`.

    Raises:
        ConfigError: the file can't be read, or a key or value of it, or of the overrides, can't be used.
    """
    tree = _as_tree(config)
    return absolute_paths(build_config(tree, overrides, source=name_of(config)))


def name_of(config: ConfigLike) -> str:
    """What messages call a configuration: its path, or a word."""
    return str(config) if isinstance(config, str | Path) else "configuration"


def absolute_paths(config: Config) -> Config:
    """The configuration with the paths in `model.name`, `data.groups_csv` and `data.classes_csv` made absolute.

    Raises:
        ConfigError: one can't be the name of a file.
    """
    model, data = config.model, config.data
    if model.name.startswith(LOCAL_DIR):
        path = _absolute("model.name", model.name.removeprefix(LOCAL_DIR))
        model = model.model_copy(update={"name": f"{LOCAL_DIR}{path}"})
    for key in ("groups_csv", "classes_csv"):
        if (path_there := getattr(data, key)) is not None:
            data = data.model_copy(update={key: _absolute(f"data.{key}", path_there)})
    return config.model_copy(update={"model": model, "data": data})


def _absolute(key: str, path: str) -> str:
    try:
        return str(Path(path).expanduser().resolve())
    # a NUL; a name that is too long; a user that isn't there, a circle of links
    except (ValueError, OSError, RuntimeError) as error:
        raise ConfigError(f"{key}: {path!r} can't be the name of a file: {error}") from None


def changed_config(trained: Config, overrides: Overrides = "", config: ConfigLike = "") -> Config:
    """The configuration that a model was trained with, under what is given now for `data` and `infer`.

    Args:
        trained: resolved.
        overrides: as on the command line, or a mapping.
        config: whose `data` and `infer` count too; "" for none.

    Raises:
        ConfigError: a key that belongs to training, or any other mistake.
    """
    changed = _changed(trained.model_dump(mode="json"), overrides, config)
    if changed.data.classes_csv not in (None, trained.data.classes_csv):
        raise ConfigError(
            "overrides: data.classes_csv belongs to training, since a model keeps its classes; run stage1 with it"
        )
    of_training = [
        key
        for key, value in changed.flat().items()
        if key.startswith(("model.", "train.")) and key != "train.amp" and value != trained.flat()[key]
    ]
    if of_training:
        raise ConfigError(
            f"overrides: {of_training[0]} belongs to training and can't be changed for a trained model; data.*, "
            "infer.* and train.amp can"
        )
    return changed


def check_changes(overrides: Overrides = "", config: ConfigLike = "") -> None:
    """Find the mistakes that `changed_config` would find for whatever model, before one is looked for.

    Raises:
        ConfigError: a key or value that can't be used.
    """
    rates = {"image_encoder": 0.0, "text_encoder": 0.0, "head": 0.0}
    _changed(
        {"model": {"clip_trainable": False}, "train": {"epochs": 1, "batch_size": 1, "lrs": rates}}, overrides, config
    )


def _changed(tree: dict[str, Any], overrides: Overrides, config: ConfigLike) -> Config:
    for section, values in (_as_tree(config) if config else {}).items():
        if section in ("model", "train"):
            continue  # the model has its own
        if isinstance(values, dict) and isinstance(tree.get(section, {}), dict):
            tree[section] = tree.get(section, {}) | values
        else:
            tree[section] = values  # not a section; named as such below
    return build_config(tree, overrides, source=name_of(config or "configuration"))


def _as_tree(config: ConfigLike) -> dict[str, Any]:
    if isinstance(config, Config):
        return config.model_dump(mode="json")
    if isinstance(config, Mapping):
        return dict(config)
    path = Path(config)
    shipped = Path(__file__).resolve().parents[2] / path
    try:
        return read_yaml(shipped if not path.exists() and shipped.is_file() else path)
    except OSError as error:  # of a name that is too long
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None
