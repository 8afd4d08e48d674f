"""Killed at random moments, started again by the same command, to the same result.

    python -m benchmarks.crash                       # 100 kills: fit, stage 1, stage 2, register, batch
    python -m benchmarks.crash --kills 20 --seed 7 --jobs stage1 stage2

A drawn catalogue and a tiny CLIP, real processes, SIGKILL. Each trial starts a command, kills it at a random moment of
the time that it takes undisturbed, and starts it again, killed again where the trial drew so, until it ends by itself.
Then: the out-of-fold matrix and every fold's weights are those of the undisturbed run, byte for byte; each fold has one
finished run; no run is left RUNNING; no temporary folder and no state of a training is left. For register: one version
of the run, and it is the champion. For batch: the same table. A line a trial; exit code 1 if one of them differs.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import pandas as pd
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from safetensors.torch import load_file

from demo.catalog import draw_catalog
from demo.tiny_clip import make_tiny_clip
from mmclf.records.runs import artifact_path
from mmclf.store.cache import UNFINISHED

PROJECT = Path(__file__).resolve().parents[1]
SIZE = 32
# most kills of one trial before it is let through
MOST_KILLS = 3
# number of the trial that isn't one
UNDISTURBED = -1


@dataclass
class Place:
    """A folder with data, a store, a cache and a place for temporary files, and commands run in it."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("tmp", "cache"):
            (self.folder / name).mkdir()
        shop = draw_catalog(self.folder / "shop", rows_per_class=6, test_rows_per_class=1)
        self.csv, self.images = shop.train_csv, shop.images
        self.clip = make_tiny_clip(self.folder / "tiny", image_size=SIZE, steps=0)
        self.env = os.environ | {
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder}/mlflow.db",
            "MMCLF_CACHE_DIR": str(self.folder / "cache"),
            "TMPDIR": str(self.folder / "tmp"),
            "PYTHONPATH": str(PROJECT),
            "OMP_NUM_THREADS": "1",
        }
        for stage in ("stage1", "stage2"):
            (self.folder / f"{stage}.yaml").write_text(yaml.safe_dump(self._tree(stage)))

    def _tree(self, stage: str) -> dict[str, object]:
        is_second = stage == "stage2"
        rates = (
            {"image_encoder": 1e-4, "text_encoder": 1e-4} if is_second else {"image_encoder": 0.0, "text_encoder": 0.0}
        )
        return {
            "data": {"img_size": SIZE, "max_len": 16},
            "model": {"name": f"local-dir:{self.clip}", "pretrained": None, "clip_trainable": is_second},
            "train": {
                "epochs": 3,
                "batch_size": 16,
                "lrs": rates | {"head": 1e-2},
                "folds": 3,
                "save_minutes": 0.001,
                "early_stop_patience": None,
            }
            | ({} if is_second else {"views": 1}),
        }

    def command(self, job: str, *options: str) -> list[str]:
        """Of an entry point."""
        return [sys.executable, "-m", f"entrypoints.{job}", *options]

    def run(self, command: Sequence[str], kill_after: float | None = None) -> float | None:
        """Run a command; returns its seconds, None where it was killed.

        Raises:
            RuntimeError: it failed.
        """
        start = time.perf_counter()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.env, stdout=said, stderr=said, start_new_session=True
            )
            try:
                process.wait(kill_after)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return None
            if process.returncode:
                said.seek(0)
                raise RuntimeError(
                    f"{' '.join(command)}: exit code {process.returncode}\n{said.read().decode()[-4000:]}"
                )
        return time.perf_counter() - start


class Judge:
    """What the store and the disk hold after a trial."""

    def __init__(self, place: Place) -> None:
        self._place = place
        mlflow.set_tracking_uri(place.env["MLFLOW_TRACKING_URI"])
        self.client = MlflowClient()

    def newest(self, stage: str) -> Run:
        """The newest finished run of a stage, of those that start by themselves."""
        found = self.client.search_runs(
            ["0"], f"tags.stage = '{stage}' and attributes.status = 'FINISHED'", order_by=["attributes.end_time DESC"]
        )
        return next(run for run in found if run.data.tags.get("role", "parent") == "parent")

    def below(self, run: Run) -> list[Run]:
        """Its children, but for a packing that was killed before there was a version: another run does it then."""
        found = self.client.search_runs(["0"], f"tags.mlflow.parentRunId = '{run.info.run_id}'", max_results=1000)
        return [each for each in found if (each.info.status, each.data.tags.get("stage")) != ("KILLED", "register")]

    def differences(self, run: Run, other: Run) -> list[str]:
        """What of a stage's run isn't as in an undisturbed one."""
        found = []
        if artifact_path(run, "oof.parquet").read_bytes() != artifact_path(other, "oof.parquet").read_bytes():
            found.append("out-of-fold matrix differs")
        ours, theirs = (
            {(each.data.tags.get("role"), each.data.tags.get("fold")): each for each in self.below(parent)}
            for parent in (run, other)
        )
        if len(self.below(run)) != len(theirs):
            found.append(f"{len(self.below(run))} runs below it, not {len(theirs)}")
        for key, fold in theirs.items():
            if key not in ours or ours[key].info.status != "FINISHED":
                found.append(f"{key} isn't finished")
                continue
            weights, expected = (
                load_file(artifact_path(each, "checkpoint") / "weights.safetensors") for each in (ours[key], fold)
            )
            if weights.keys() != expected.keys() or not all((w == expected[n]).all() for n, w in weights.items()):
                found.append(f"weights of {key} differ")
        return found

    def leftovers(self) -> list[str]:
        """What should be gone."""
        running = self.client.search_runs(["0"], "attributes.status = 'RUNNING'")
        found = [f"run {run.info.run_id} is RUNNING" for run in running]
        found += [f"{path} is left" for path in (self._place.folder / "tmp").glob("mmclf-*")]
        states = self._place.folder / "cache" / UNFINISHED
        return found + [f"{path} is left" for path in (states.iterdir() if states.is_dir() else [])]


@dataclass(frozen=True)
class Job:
    """A command, and how its result is judged.

    Attributes:
        command: of a trial's number.
        judge: differences from what it should be, after the trial of this number.
    """

    command: Callable[[int], list[str]]
    judge: Callable[[int], list[str]]


def jobs_of(place: Place, judge: Judge) -> dict[str, Job]:
    """The jobs; what an undisturbed one makes is made here first."""
    data = ["--csv", str(place.csv), "--images", str(place.images), "--report", "false"]
    shared = f"model.name=local-dir:{place.clip} data.img_size={SIZE} data.max_len=16 train.folds=3"
    commands = {
        "stage1": place.command("stage1", *data, "--config", str(place.folder / "stage1.yaml")),
        "stage2": place.command("stage2", *data, "--config", str(place.folder / "stage2.yaml")),
        "fit": place.command("fit", *data, "--overrides", shared, "--name", "fitted", "--force", "true"),
    }
    undisturbed = {}
    for name, command in commands.items():
        if name == "stage2":
            command += ["--stage1-run", undisturbed["stage1"].info.run_id]
        place.run(command)
        undisturbed[name] = judge.newest(name)
    stage2 = undisturbed["stage2"].info.run_id

    def fitted(_: int) -> list[str]:
        ours, theirs = (
            {(run.data.tags["stage"], run.data.params.get("cfg/model.head")): run for run in judge.below(run)}
            for run in (judge.newest("fit"), undisturbed["fit"])
        )
        found = (
            [] if len(ours) == len(theirs) else [f"{sorted(map(str, ours))} below it, not {sorted(map(str, theirs))}"]
        )
        for key, other in theirs.items():
            if key in ours and key[0] == "stage1":
                found += judge.differences(ours[key], other)
            elif key in ours and key[0] == "fusion":
                one, two = (artifact_path(run, "oof.parquet").read_bytes() for run in (ours[key], other))
                found += [] if one == two else ["matrix of the fusion differs"]
        return found

    def registered(trial: int) -> list[str]:
        versions = judge.client.search_model_versions(f"name = 'trial-{trial}'")
        champion = judge.client.get_model_version_by_alias(f"trial-{trial}", "champion")
        return [] if len(versions) == 1 and champion.version == versions[0].version else [f"{len(versions)} versions"]

    def folder_of(trial: int) -> Path:
        return place.folder / f"batch-{trial}"

    def scored(trial: int) -> list[str]:
        one, two = (pd.read_parquet(folder_of(n)).sort_values("id", ignore_index=True) for n in (trial, UNDISTURBED))
        return [] if one.equals(two) else ["the table differs"]

    def batch(trial: int) -> list[str]:
        options = ["--data", str(place.csv), "--images", str(place.images), "--part-rows", "40", "--master", "local[1]"]
        return place.command("batch", *options, "--model", "models:/fitted@champion", "--out", str(folder_of(trial)))

    def stage(name: str) -> Job:
        return Job(lambda _: commands[name], lambda _: judge.differences(judge.newest(name), undisturbed[name]))

    return {
        "stage1": stage("stage1"),
        "stage2": stage("stage2"),
        "fit": Job(lambda _: commands["fit"], fitted),
        "register": Job(lambda n: place.command("register", "--runs", stage2, "--name", f"trial-{n}"), registered),
        "batch": Job(batch, scored),
    }


def try_once(
    place: Place, judge: Judge, job: Job, number: int, duration: float, rng: random.Random
) -> tuple[str, list[str]]:
    """One trial: when it was killed, for people, and what is wrong."""
    command, kills = job.command(number), []
    for _ in range(rng.randint(1, MOST_KILLS)):
        after = rng.uniform(0.05, 1) * duration
        if place.run(command, after) is not None:
            kills.append("not in time")
            break
        kills.append(f"{after:.1f} s")
    else:
        place.run(command)
    return ", ".join(kills), [*job.judge(number), *judge.leftovers()]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    names = ("stage1", "stage2", "fit", "register", "batch")
    parser = argparse.ArgumentParser(description="Kill at random moments, start again, compare.")
    parser.add_argument("--kills", type=int, default=100, help="at least so many (default: 100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", nargs="+", choices=names, default=names)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        place = Place(Path(folder))
        judge = Judge(place)
        jobs = jobs_of(place, judge)
        durations: dict[str, float] = {}
        kills, failed, number = 0, 0, 0
        while kills < options.kills:
            name = options.jobs[number % len(options.jobs)]
            if name not in durations:
                durations[name] = place.run(jobs[name].command(UNDISTURBED)) or 0.0
            rng = random.Random(f"{options.seed} {number}")  # noqa: S311 - drawn moments
            when, wrong = try_once(place, judge, jobs[name], number, durations[name], rng)
            kills += when.count(" s")
            failed += bool(wrong)
            print(
                f"trial {number} of seed {options.seed}: {name} killed after {when}: {'; '.join(wrong) or 'the same'}",
                flush=True,
            )
            number += 1
        print(f"{kills} kills in {number} trials, {failed} wrong")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
