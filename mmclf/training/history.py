"""The record of a fold as files: `history.csv`, and TensorBoard event files where TensorBoard is installed."""

import csv
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from ..store.files import atomic_path
from .epoch import EpochResult

# the report's names first, then what else is known of an epoch
COLUMNS = (
    "epoch",
    "train_loss",
    "val_acc",
    "val_top3",
    "val_loss",
    "seconds",
    "rows_per_second",
    "data_wait",
    "peak_memory",
)

VAL_TOP1 = "val/top1"


def write_history(path: Path, results: Sequence[EpochResult]) -> None:
    """One CSV row per epoch: COLUMNS, then `lr_<module>` for each module; atomically."""
    with atomic_path(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        modules = list(results[0].learning_rates) if results else []
        writer.writerow([*COLUMNS, *(f"lr_{module}" for module in modules)])
        for r in results:
            figures = [r.epoch, r.train_loss, r.val_top1, r.val_top3, r.val_loss]
            speed = [r.seconds, r.rows_per_second, r.data_wait, r.peak_memory]
            writer.writerow([*figures, *speed, *(r.learning_rates[module] for module in modules)])


def write_tensorboard(folder: Path, results: Sequence[EpochResult]) -> bool:
    """Write the curves as TensorBoard events; False, and nothing written, where it isn't installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return False
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for result in results:
            for tag, value in curves(result).items():
                writer.add_scalar(tag, value, result.epoch)
    return True


def curves(result: EpochResult) -> dict[str, float]:
    """The figures of an epoch under the names of the charts; a `/` makes a section of charts."""
    return {
        "train/loss": result.train_loss,
        "val/loss": result.val_loss,
        VAL_TOP1: result.val_top1,
        "val/top3": result.val_top3,
        "speed/epoch_seconds": result.seconds,
        "speed/rows_per_second": result.rows_per_second,
        "speed/data_wait": result.data_wait,
        "speed/peak_memory_mib": result.peak_memory,
    } | {f"lr/{module}": rate for module, rate in result.learning_rates.items()}
