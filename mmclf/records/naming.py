"""What runs are called in MLflow's table: the job, what tells it from others, and in the end what was reached."""

from collections.abc import Iterator
from typing import Any

from ..config import Config, default_of

SEPARATOR = " · "
# what tells runs of a stage apart beside views, epochs and rate, the most telling first; what is as it is by default
# stays out of the name
TELLING = (
    "data.img_size",
    "data.max_len",
    "model.kernels",
    "model.hidden_dim",
    "model.dropout",
    "train.ema",
    "train.label_smoothing",
    "train.weight_decay",
    "train.patch_dropout",
    "data.multi_image_mode",
    "train.folds",
    "train.seed",
)
MOST = 3
# of a name
LENGTH = 80


def stage_name(stage: str, config: Config, backbone: str) -> str:
    """A run of a stage, as `stage1 kernel ViT-B-32 (openai) · max_len 64, mean_pool`.

    Args:
        stage: "stage1" or "stage2".
        config: resolved.
        backbone: for people.
    """
    return named(f"{stage}{show_head(config)} {backbone}", ", ".join(list(_telling(config))[:MOST]))


def fold_name(stage: str, config: Config, what: str) -> str:
    """A run below that of a stage, as `stage1 kernel fold 0`."""
    return f"{stage}{show_head(config)} {what}"


def named(*parts: str) -> str:
    """A name of parts, those that are empty left out; a long part is cut."""
    return SEPARATOR.join(_cut(part) for part in parts if part)


def with_result(name: str, top1: float) -> str:
    """The name of a run that has ended, with the share of held-out rows whose class it named first."""
    return named(name, f"{top1:.3f}")


def show_head(config: Config) -> str:
    """The head, with a blank before it; "" for the usual one."""
    return "" if config.model.head == "mlp" else f" {config.model.head}"


def _telling(config: Config) -> Iterator[str]:
    flat = config.flat()
    if config.train.views is not None:
        yield f"views {config.train.views}"
    if config.model.head == "mlp":
        rates = config.train.lrs
        rate = max(rates.image_encoder, rates.text_encoder) if config.model.clip_trainable else rates.head
        yield f"{config.train.epochs} epochs at {rate:g}"
    for key in TELLING:
        if flat[key] != default_of(key):
            yield _show(key.rpartition(".")[2], flat[key])


def _show(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    shown = "+".join(value) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)
    return f"{name} {shown}"


def _cut(part: str) -> str:
    return part if len(part) <= LENGTH else f"{part[: LENGTH - 1]}…"
