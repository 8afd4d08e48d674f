"""The record of a fold as files: `history.csv`, and TensorBoard event files where TensorBoard is installed."""

import csv
import importlib.util
import socket
import time
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


def read_history(path: Path) -> dict[str, tuple[float, ...]]:
    """The columns of what `write_history` wrote, a value an epoch."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: tuple(float(row[name]) for row in rows) for name in (rows[0] if rows else COLUMNS)}


def write_tensorboard(folder: Path, results: Sequence[EpochResult]) -> bool:
    """Write the curves as TensorBoard events; False, and nothing written, where it isn't installed.

    Not by torch's SummaryWriter, whose thread answers a full disk by a traceback.
    """
    if importlib.util.find_spec("tensorboard") is None:
        return False
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    now = time.time()
    path = folder / f"events.out.tfevents.{now:.0f}.{socket.gethostname()}"
    with atomic_path(path) as draft, draft.open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        for result in results:
            values = [Summary.Value(tag=tag, simple_value=value) for tag, value in curves(result).items()]
            event = Event(wall_time=now, step=result.epoch, summary=Summary(value=values))
            writer.write(event.SerializeToString())
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
