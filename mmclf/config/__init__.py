"""The configuration: typed sections (schema), how they are read (reading), and what callers mean (resolving)."""

from .reading import build_config, parse_overrides
from .resolving import ConfigLike, Overrides, absolute_paths, changed_config, check_changes, name_of, resolve_config
from .schema import (
    BLANK,
    HF_HUB,
    KERNELS,
    LOCAL_DIR,
    MAX_MEGAPIXELS,
    MOST_FOLDS,
    SOLVED,
    Config,
    DataConfig,
    InferConfig,
    LearningRates,
    ModelConfig,
    TrainConfig,
    check_stage,
    keys_of_head,
    known_keys,
    stage_of,
)
from .yaml_text import read_yaml

__all__ = [
    "BLANK",
    "HF_HUB",
    "KERNELS",
    "LOCAL_DIR",
    "MAX_MEGAPIXELS",
    "MOST_FOLDS",
    "SOLVED",
    "Config",
    "ConfigLike",
    "DataConfig",
    "InferConfig",
    "LearningRates",
    "ModelConfig",
    "Overrides",
    "TrainConfig",
    "absolute_paths",
    "build_config",
    "changed_config",
    "check_changes",
    "check_stage",
    "keys_of_head",
    "known_keys",
    "name_of",
    "parse_overrides",
    "read_yaml",
    "resolve_config",
    "stage_of",
]
