"""The benchmarks run, and what they print can be relied on.

.venv/bin/python -m pytest tests/benchmarks/test_bench.py            # with -m slow: 100,000 rows
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import bench, gpu

PROJECT = Path(__file__).resolve().parents[2]


def test_the_gpu_benchmark_runs_without_a_gpu(capsys):
    assert gpu.main(["--dry-run", "--rows", "8", "--batch-size", "4"]) == 0
    figures = json.loads(capsys.readouterr().out)
    for work in ("encode", "fine_tune"):
        found = figures[work]
        assert found["rows_per_second"] > 0
        assert found["rows_per_second_from_files"] > 0
        # the towers' operations by the time they took, against one product on the same device
        assert found["of_product_rate"] == pytest.approx(found["tflops"] / figures["product_tflops"])
    # forward and backward are three times the forward pass
    per_row = {work: figures[work]["tflops"] / figures[work]["rows_per_second"] for work in ("encode", "fine_tune")}
    assert per_row["fine_tune"] == pytest.approx(3 * per_row["encode"], rel=0.01)


def test_the_gpu_benchmark_says_that_there_is_no_gpu(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "--dry-run" in capsys.readouterr().err


def test_the_store_of_the_benchmark_can_be_made(tmp_path):
    made = bench.Bench(tmp_path, "unused", 1, True)
    subprocess.run([sys.executable, "-c", bench.MAKE_STORE], cwd=tmp_path, env=made.environment("unused"), check=True)
    assert (tmp_path / "mlflow.db").is_file()


def test_the_operations_of_a_product_are_two_for_each_multiplication():
    import torch

    assert gpu.count_flops(lambda: torch.ones(4, 5) @ torch.ones(5, 6)) == 2 * 4 * 5 * 6


def test_a_ratio_is_how_much_better_mmclf_is():
    seconds = bench.Result("work", "s", "2", plain=[10.0, 20.0, 30.0], mmclf=[5.0, 5.0, 30.0])
    assert seconds.ratios == [2.0, 4.0, 1.0]
    assert "**2.00** (1.00-4.00)" in seconds.line()
    rates = bench.Result("work", "rows/s", "2", plain=[10.0], mmclf=[25.0], note="a note")
    assert rates.ratios == [2.5]
    assert rates.line() == "| work | 10.0 rows/s | 25.0 rows/s | **2.50** (one run) | 2 | a note |"


def test_epochs_are_compared_fold_by_fold():
    theirs = {"folds": [{"fold": 0, "val_top1": [0.5, 0.75]}, {"fold": 1, "val_top1": [0.5]}]}
    ours = [
        {"fold": 1.0, "epoch": 1.0, "val_acc": 0.5},
        {"fold": 0.0, "epoch": 1.0, "val_acc": 0.5},
        {"fold": 0.0, "epoch": 2.0, "val_acc": 0.5},
    ]
    assert bench.same_epochs(theirs, ours) == "val top-1 equal in 2 of 3 epochs, at most 0.2500 apart"


def test_an_unknown_row_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        bench.main(["stage3"])
    assert stopped.value.code == 2
    assert "no row stage3; there are stage1-luma" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "options"), [(100_000, []), (30_000, ["--stage2"])])
def test_memory_does_not_grow_with_the_rows(rows, options):
    """From a tenth of the rows to the last one infer takes less than 200 MiB more."""
    command = [sys.executable, "-m", "benchmarks.memory", "--rows", str(rows), *options]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    assert figures["rows"] == rows
    assert figures["growth_mib"] < 200
