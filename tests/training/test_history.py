"""python -m pytest tests/training/test_history.py"""

import csv
import importlib.util

import numpy as np
import pytest

from mmclf.training.epoch import EpochResult
from mmclf.training.history import curves, write_history, write_tensorboard


def result(epoch) -> EpochResult:
    return EpochResult(
        epoch=epoch,
        train_loss=1.5 / epoch,
        val_loss=1.25 / epoch,
        val_top1=0.5 + epoch / 16,
        val_top3=0.75 + epoch / 16,
        learning_rates={"image_encoder": 1e-5, "text_encoder": 2e-5, "head": 3e-4 / epoch},
        seconds=2.5,
        rows_per_second=40.0,
        data_wait=0.25,
        peak_memory=512.0,
        is_best=epoch == 2,
        probabilities=np.empty((0, 2), dtype=np.float32),
    )


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_history_has_the_columns_of_the_report_and_one_row_an_epoch(tmp_path):
    path = tmp_path / "fold-0" / "history.csv"
    write_history(path, [result(1), result(2)])
    header, *rows = rows_of(path)
    assert header[:4] == ["epoch", "train_loss", "val_acc", "val_top3"]
    assert header[4:9] == ["val_loss", "seconds", "rows_per_second", "data_wait", "peak_memory"]
    assert header[9:] == ["lr_image_encoder", "lr_text_encoder", "lr_head"]
    assert [[float(value) for value in row] for row in rows] == [
        [1, 1.5, 0.5625, 0.8125, 1.25, 2.5, 40.0, 0.25, 512.0, 1e-5, 2e-5, 3e-4],
        [2, 0.75, 0.625, 0.875, 0.625, 2.5, 40.0, 0.25, 512.0, 1e-5, 2e-5, 1.5e-4],
    ]
    assert [row[0] for row in rows] == ["1", "2"]


def test_history_grows_with_the_epochs(tmp_path):
    path = tmp_path / "history.csv"
    for epochs in (1, 2, 3):
        write_history(path, [result(epoch) for epoch in range(1, epochs + 1)])
        assert len(rows_of(path)) == 1 + epochs
    assert [entry.name for entry in tmp_path.iterdir()] == ["history.csv"]


def test_history_without_epochs_has_a_header(tmp_path):
    write_history(tmp_path / "history.csv", [])
    (header,) = rows_of(tmp_path / "history.csv")
    assert header[0] == "epoch"
    assert header[-1] == "peak_memory"


def test_tensorboard_reads_the_curves(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    results = [result(epoch) for epoch in (1, 2, 3)]
    assert write_tensorboard(tmp_path, results)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == set(curves(results[0]))
    for tag in curves(results[0]):
        points = events.Scalars(tag)
        assert [point.step for point in points] == [1, 2, 3]
        assert [point.value for point in points] == pytest.approx([curves(r)[tag] for r in results])


def test_curves_have_a_section_and_a_learning_rate_for_each_module():
    found = curves(result(2))
    assert found["val/top1"] == 0.625
    assert found["val/top3"] == 0.875
    assert found["train/loss"] == 0.75
    assert found["val/loss"] == 0.625
    assert found["speed/rows_per_second"] == 40.0
    assert found["speed/data_wait"] == 0.25
    assert found["speed/peak_memory_mib"] == 512.0
    assert {tag for tag in found if tag.startswith("lr/")} == {"lr/image_encoder", "lr/text_encoder", "lr/head"}
    assert all(tag.count("/") == 1 for tag in found)


def test_nothing_is_written_without_tensorboard(tmp_path, monkeypatch):
    installed = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "tensorboard" else installed(name, *rest)
    )
    assert write_tensorboard(tmp_path / "events", [result(1)]) is False
    assert not (tmp_path / "events").exists()
