"""Stage 2 on two processes, and folds trained by separate processes, are one experiment with one result.

.venv/bin/python -m pytest tests/runtime/test_distributed.py
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from mlflow.tracking import MlflowClient
from safetensors.torch import load_file

from entrypoints import stage1, stage2
from mmclf.errors import ConfigError
from mmclf.evaluation.probabilities import read_table
from mmclf.records.runs import artifact_path
from mmclf.runtime.distributed import World, join_world
from mmclf.store.cache import UNFINISHED, cache_folder
from tests.conftest import MAX_LEN, SIZE
from tests.stores import mlflow_store

PROJECT = Path(__file__).resolve().parents[2]
LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    # `--multi_gpu` is how it is told to start several processes; without GPUs they meet on the CPU
    "accelerate": [
        *["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"],
        *["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"],
    ],
}


@pytest.fixture
def store(tmp_path):
    with mlflow_store(tmp_path):
        yield tmp_path


@pytest.fixture
def settings(clip_folder):
    return (
        f"model.name=local-dir:{clip_folder} model.pretrained=null model.hidden_dim=32 model.dropout=0 "
        f"data.img_size={SIZE} data.max_len={MAX_LEN} train.folds=2 train.epochs=2 train.amp=false "
        "train.early_stop_patience=2 train.lrs.head=1e-2 "
    )


def read_json(text):
    return json.loads(text.strip().splitlines()[-1])


def out_of_fold(store, run_id):
    (path,) = store.glob(f"mlruns/**/{run_id}/artifacts/oof.parquet")
    return read_table(path)


def environment():
    return os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.parametrize("launcher", sorted(LAUNCHERS))
def test_two_processes_reach_what_one_reaches(shop, store, settings, capsys, launcher):
    """83 and 85 rows in batches of 21: the last one has a row for one process only in one of the folds."""
    table = ["--csv", str(shop.train_csv), "--images", str(shop.images)]
    configs = PROJECT / "configs"
    assert stage1.main([*table, "--config", str(configs / "stage1.yaml"), "--overrides", settings]) == 0
    rates = "train.lrs.image_encoder=1e-3 train.lrs.text_encoder=1e-3 train.batch_size=21 train.grad_accum=2"
    rates += " train.ema=0.9" + " train.lora_rank=2" * (launcher == "torchrun")
    options = ["--config", str(configs / "stage2.yaml"), "--overrides", f"{settings} {rates}"]
    capsys.readouterr()
    assert stage2.main(options) == 0
    alone = read_json(capsys.readouterr().out)
    command = [sys.executable, "-m", *LAUNCHERS[launcher], "-m", "entrypoints.stage2", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    both = read_json(done.stdout)
    assert done.stdout.count("run_id") == 1  # one process speaks
    assert done.stderr.count("fold 0 epoch 1/2") == 1
    assert "2 processes on cpu" in done.stderr

    expected, found = out_of_fold(store, alone["run_id"]), out_of_fold(store, both["run_id"])
    assert found.ids == expected.ids
    np.testing.assert_array_equal(found.folds, expected.folds)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=2e-3)
    assert both["cv_top1_mean"] == pytest.approx(alone["cv_top1_mean"], abs=0.03)
    client = MlflowClient()
    runs = client.search_runs(["0"], "tags.stage = 'stage2'")
    assert len(runs) == 2 * 3  # a parent and its two folds, twice
    assert {run.info.status for run in runs} == {"FINISHED"}
    losses = []
    for run_id in (alone["run_id"], both["run_id"]):
        children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == run_id]
        histories = {
            run.data.tags["fold"]: client.get_metric_history(run.info.run_id, "train/loss") for run in children
        }
        losses.append([point.value for fold in ("0", "1") for point in histories[fold]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert client.get_run(both["run_id"]).data.tags["processes"] == "2"


@pytest.mark.slow
def test_two_processes_that_are_killed_go_on_to_the_same(shop, store, settings):
    table = ["--csv", str(shop.train_csv), "--images", str(shop.images)]
    configs = PROJECT / "configs"
    assert stage1.main([*table, "--config", str(configs / "stage1.yaml"), "--overrides", settings]) == 0
    more = "train.lrs.image_encoder=1e-3 train.lrs.text_encoder=1e-3 train.ema=0.9 train.patch_dropout=0.5"
    more += " train.batch_size=4 train.save_minutes=0"  # 21 batches an epoch, so that a state lies within it
    options = ["--config", str(configs / "stage2.yaml"), "--overrides", f"{settings} {more}", "--report", "false"]
    command = [sys.executable, "-m", *LAUNCHERS["torchrun"], "-m", "entrypoints.stage2", *options]

    def finish():
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return read_json(done.stdout)["run_id"], done.stderr

    undisturbed, _ = finish()
    for place in ("fold-0", "fold-1"):
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 120
            while not list(cache_folder().glob(f"{UNFINISHED}/*/{place}/state/state.json")):
                assert time.monotonic() < end
                time.sleep(0.05)
        finally:
            workers = psutil.Process(process.pid).children(recursive=True)
            for each in [*workers, process]:
                each.kill()
            process.wait()
            psutil.wait_procs(workers, timeout=30)
    found, said = finish()
    assert f"goes on with run {found}, which was interrupted: 1 folds are there, 1 left" in said
    paths = [next(store.glob(f"mlruns/**/{run_id}/artifacts/oof.parquet")) for run_id in (undisturbed, found)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    weights = []
    for run_id in (undisturbed, found):
        children = MlflowClient().search_runs(["0"], f"tags.mlflow.parentRunId = '{run_id}' and tags.role = 'fold'")
        assert [run.info.status for run in children] == ["FINISHED"] * 2
        weights.append(
            {
                run.data.tags["fold"]: load_file(artifact_path(run, "checkpoint") / "weights.safetensors")
                for run in children
            }
        )
    for fold, tensors in weights[0].items():
        assert all((tensor == weights[1][fold][name]).all() for name, tensor in tensors.items())


def test_folds_from_separate_processes_make_one_run(shop, store, settings):
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id  # also makes the store, before several processes open it
    table = ["--csv", str(shop.train_csv), "--images", str(shop.images)]
    config = str(PROJECT / "configs" / "stage1.yaml")

    def start(*options):
        command = [sys.executable, "-m", "entrypoints.stage1", *table, "--config", config, *options]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment() | {"MLFLOW_RUN_ID": run_id},
        )

    running = [start("--fold", str(fold), "--overrides", settings) for fold in (0, 1)]
    printed = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], printed
    assert {read_json(out)["run_id"] for out, _ in printed} == {run_id}
    parent = client.get_run(run_id)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["folds"] == "0,1"
    children = client.search_runs(["0"], f"tags.mlflow.parentRunId = '{run_id}'")
    assert sorted(run.data.tags["fold"] for run in children) == ["0", "1"]
    tops = [run.data.metrics["best/top1"] for run in children]
    assert parent.data.metrics["cv/top1_mean"] == pytest.approx(np.mean(tops))
    assert len(out_of_fold(store, run_id)) == 168

    # other settings are another experiment
    other = start("--fold", "0", "--overrides", settings.replace("hidden_dim=32", "hidden_dim=16"))
    _, complaint = other.communicate()
    assert other.returncode == 2
    assert "begun with another configuration" in complaint
    assert client.get_run(run_id).info.status == "FINISHED"


def test_without_a_launcher_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_world() as world:
        assert world == World(0, 1, 0)
        assert world.is_main
        assert world.share([1, 2, 3]) == [1, 2, 3]
        assert world.gather("x") == ["x"]
        assert world.from_main("x") == "x"


def test_half_an_environment_is_an_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not set.*torchrun"):
        join_world().__enter__()


def test_shares_are_disjoint_and_whole():
    rows = np.arange(10)
    shares = [World(rank, 3).share(rows) for rank in range(3)]
    assert sorted(row for share in shares for row in share) == rows.tolist()


def test_stage_1_refuses_several_processes(shop, settings, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    table = ["--csv", str(shop.train_csv), "--images", str(shop.images)]
    config = str(PROJECT / "configs" / "stage1.yaml")
    assert stage1.main([*table, "--config", config, "--overrides", settings]) == 2
    assert "start it without torchrun" in capsys.readouterr().err
