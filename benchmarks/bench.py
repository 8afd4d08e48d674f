"""mmclf against the plain loop: whole processes, interleaved, medians and spread.

    make bench                                  # every row; hours
    python -m benchmarks.bench stage1-luma stage2-luma --repeats 5

Needs the catalogues in MMCLF_REAL_DATA (default ../shared/data) and a local-dir: model in MMCLF_BENCH_MODEL (default:
made by the tool beside the data). Both sides are given the same model, rows, batch size, workers and epochs, and start
with the files in the page cache. mmclf starts with an empty cache folder, but for the reruns, and with an MLflow store
that exists. A row that takes the plain loop more than 15 minutes is measured once.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("MMCLF_REAL_DATA", PROJECT.parent / "shared" / "data")).resolve()
ONCE_SECONDS = 900
MAKE_STORE = "from mmclf.records.runs import connect; connect()"


@dataclass
class Bench:
    """A folder for everything, and how to start both sides in it."""

    folder: Path
    model: str
    repeats: int
    amp: bool

    def environment(self, cache: str) -> dict[str, str]:
        """Of a process; `cache` is the name of its cache folder."""
        return os.environ | {
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder}/mlflow.db",
            "MMCLF_CACHE_DIR": str(self.folder / cache),
            "PYTHONPATH": str(PROJECT),
            "HF_HUB_OFFLINE": "1",
        }

    def run(self, module: str, arguments: list[str], cache: str = "unused") -> tuple[float, dict[str, Any]]:
        """Wall seconds of a process, and the JSON that it prints."""
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder,
            env=self.environment(cache),
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(f"{module} {' '.join(arguments)}\nfailed:\n{done.stderr[-3000:]}")
        return seconds, json.loads(done.stdout.strip().splitlines()[-1])

    def plain(self, stage: str, data: str, *options: str, out: str) -> tuple[float, dict[str, Any]]:
        """One run of the plain loop."""
        table = "test.csv" if stage == "infer" else "train.csv"
        arguments = [stage, "--csv", str(DATA / data / table), "--images", str(DATA / data / "images")]
        arguments += ["--model", self.model, "--out", str(self.folder / out), *options]
        arguments += ["--amp" if self.amp else "--no-amp"]
        if (DATA / data / "groups.csv").is_file() and stage != "infer":
            arguments += ["--groups-csv", str(DATA / data / "groups.csv")]
        return self.run("benchmarks.plain_loop", arguments)

    def mmclf(self, stage: str, data: str, overrides: str, *options: str, cache: str) -> tuple[float, dict[str, Any]]:
        """One run of an entry point that trains."""
        arguments = ["--csv", str(DATA / data / "train.csv"), "--images", str(DATA / data / "images")]
        settings = f"model.name={self.model} model.pretrained=null train.amp={str(self.amp).lower()} {overrides}"
        if (DATA / data / "groups.csv").is_file():
            settings += f" data.groups_csv={DATA / data / 'groups.csv'}"
        arguments += ["--config", str(PROJECT / "configs" / f"{stage}.yaml"), "--overrides", settings, *options]
        arguments += ["--report", "false"]  # it is made after what is measured here
        return self.run(f"entrypoints.{stage}", arguments, cache)

    def test(self, data: str) -> list[str]:
        """The options that name a catalogue's test rows."""
        return ["--csv", str(DATA / data / "test.csv"), "--images", str(DATA / data / "images")]

    def history(self, run_id: str) -> list[dict[str, float]]:
        """The epochs of all folds of a run, from their history.csv."""
        import csv

        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{self.folder}/mlflow.db")
        experiment = client.get_run(run_id).info.experiment_id
        epochs = []
        for child in client.search_runs([experiment], f"tags.mlflow.parentRunId = '{run_id}'"):
            path = Path(child.info.artifact_uri.removeprefix("file://")) / "history.csv"
            with (self.folder / path).open(encoding="utf-8") as file:
                fold = {"fold": float(child.data.tags["fold"])}
                epochs += [{key: float(value) for key, value in row.items()} | fold for row in csv.DictReader(file)]
        return epochs

    def metrics(self, run_id: str) -> dict[str, float]:
        """The metrics of a run."""
        from mlflow.tracking import MlflowClient

        return dict(MlflowClient(f"sqlite:///{self.folder}/mlflow.db").get_run(run_id).data.metrics)


@dataclass
class Result:
    """Paired figures of one row; the ratio is how much better mmclf's is."""

    name: str
    unit: str
    target: str
    plain: list[float] = field(default_factory=list)
    mmclf: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """Of each pair: seconds are better where they are fewer, rates where they are more."""
        pairs = zip(self.plain, self.mmclf, strict=True)
        return [a / b if self.unit == "s" else b / a for a, b in pairs]

    def line(self) -> str:
        """A row of the table."""
        ratios = sorted(self.ratios)
        middle = statistics.median(ratios)
        spread = f"{ratios[0]:.2f}-{ratios[-1]:.2f}" if len(ratios) > 1 else "one run"
        plain, ours = statistics.median(self.plain), statistics.median(self.mmclf)
        figures = f"{plain:.1f} {self.unit} | {ours:.1f} {self.unit} | **{middle:.2f}** ({spread})"
        return f"| {self.name} | {figures} | {self.target} | {self.note} |"


def say(result: Result) -> None:
    print(
        f"{result.name}: {result.plain[-1]:.1f} and {result.mmclf[-1]:.1f} {result.unit}", file=sys.stderr, flush=True
    )


def stage1(bench: Bench, data: str, targets: dict[str, str]) -> list[Result]:
    """Five folds, five epochs: from nothing with views 0 and 5, and again with the features there."""
    kinds = {
        "views 0": Result(f"stage 1, {data}, `train.views: 0`", "s", targets["views 0"]),
        "again": Result(f"the same with the features there, {data}", "s", targets["again"]),
        "views 5": Result(f"stage 1, {data}, `train.views: 5`", "s", targets["views 5"]),
    }
    # another head learning rate before, so that the rerun is what follows it when a setting is changed
    bench.mmclf("stage1", data, "train.views=0 train.lrs.head=2e-3", cache=f"cache-{data}-again")
    for number in range(bench.repeats):
        plain, theirs = bench.plain("stage1", data, out=f"plain-{data}")
        for kind, result in kinds.items():
            views = 5 if kind == "views 5" else 0
            cache = f"cache-{data}-again" if kind == "again" else f"cache-{data}-{views}-{number}"
            seconds, ours = bench.mmclf("stage1", data, f"train.views={views}", cache=cache)
            result.plain.append(plain)
            result.mmclf.append(seconds)
            result.note = f"CV top-1 {theirs['cv_top1']:.4f} and {ours['cv_top1_mean']:.4f}"
            if views:
                result.note += f"; {same_epochs(theirs, bench.history(ours['run_id']))}"
            say(result)
        if plain > ONCE_SECONDS:
            break
    return list(kinds.values())


def same_epochs(theirs: dict[str, Any], ours: list[dict[str, float]]) -> str:
    """In how many epochs both sides have the same val top-1, and how far apart they are at most."""
    left = {(f["fold"], n): top1 for f in theirs["folds"] for n, top1 in enumerate(f["val_top1"], start=1)}
    right = {(epoch["fold"], epoch["epoch"]): epoch["val_acc"] for epoch in ours}
    gaps = [abs(left[key] - right[key]) for key in left.keys() & right.keys()]
    same = sum(gap < 1e-9 for gap in gaps)
    return f"val top-1 equal in {same} of {len(left.keys() | right.keys())} epochs, at most {max(gaps):.4f} apart"


def stage2(bench: Bench, data: str, text: str, target: str) -> list[Result]:
    """Training rows a second of one fold, two epochs."""
    what = "titles only" if text == "title" else "title and description"
    result = Result(f"stage 2, {data}, {what}", "rows/s", target)
    columns = "data.text_cols=[title]" if text == "title" else ""
    bench.mmclf("stage1", data, f"train.views=0 {columns}", cache=f"cache-stage2-{data}")
    waits = []
    for number in range(bench.repeats):
        options = ["--fold", "0", "--epochs", "2", *(["--text-cols", "title"] if columns else [])]
        _, printed = bench.plain("stage2", data, *options, out=f"plain-stage2-{data}")
        result.plain.append(printed["train_rows_per_second"])
        settings = f"train.epochs=2 {columns}"
        _, ours = bench.mmclf("stage2", data, settings, "--fold", "0", cache=f"cache-stage2-{data}-{number}")
        epochs = bench.history(ours["run_id"])
        result.mmclf.append(len(epochs) / sum(1 / epoch["rows_per_second"] for epoch in epochs))
        waits.append(statistics.mean(epoch["data_wait"] for epoch in epochs))
        say(result)
    result.note = f"data wait {statistics.median(waits):.1%}"
    return [result]


def infer_stage1(bench: Bench, data: str) -> list[Result]:
    """Five stage-1 folds with flip TTA, whole processes."""
    result = Result(f"infer, 5 stage-1 folds, flip, {data} test", "s", "4")
    _, trained = bench.mmclf("stage1", data, "train.views=0", cache=f"cache-infer-{data}")
    models = bench.folder / f"plain-infer-models-{data}"
    bench.plain("stage1", data, "--epochs", "1", "--max-steps", "1", out=models.name)
    for number in range(bench.repeats):
        seconds, _ = bench.plain("infer", data, "--models", str(models), out=f"plain-infer-{data}")
        result.plain.append(seconds)
        options = [*bench.test(data), "--model", trained["run_id"]]
        seconds, _ = bench.run("entrypoints.infer", options, cache=f"cache-infer-{data}-{number}")
        result.mmclf.append(seconds)
        say(result)
    return [result]


def infer_stage2(bench: Bench, data: str) -> list[Result]:
    """Five stage-2 folds with flip TTA, against the bare forward passes."""
    result = Result(f"infer, 5 stage-2 folds, flip, {data} test, against the bare forward passes", "rows/s", "0.85")
    bench.mmclf("stage1", data, "train.views=0", cache=f"cache-infer2-{data}")
    _, trained = bench.mmclf("stage2", data, "train.epochs=1", cache=f"cache-infer2-{data}")
    for _ in range(bench.repeats):
        _, bare = bench.run("benchmarks.bare_forward", ["--run", trained["run_id"], *bench.test(data)])
        result.plain.append(bare["rows_per_second"])
        _, printed = bench.run("entrypoints.infer", [*bench.test(data), "--model", trained["run_id"]])
        metrics = bench.metrics(printed["run_id"])
        result.mmclf.append(metrics["speed/rows_per_second"])
        result.note = f"data wait {metrics['speed/data_wait']:.1%}"
        say(result)
    return [result]


def memory(bench: Bench) -> list[Result]:
    """Growth of infer's memory from row 10,000 to row 100,000; the plain loop has no such figure."""
    for options in ([], ["--stage2"]):
        _, printed = bench.run("benchmarks.memory", options)
        print(
            f"| infer, {printed['rows']:,} rows, {printed['stage']} | | grows by {printed['growth_mib']:.0f} MiB to "
            f"{printed['mib_at_most']:.0f} MiB | | 200 MiB | |",
            flush=True,
        )
    return []


ROWS: dict[str, Callable[[Bench], list[Result]]] = {
    "stage1-luma": lambda bench: stage1(bench, "luma", {"views 0": "12", "again": "40", "views 5": ""}),
    "stage1-openclipart": lambda bench: stage1(
        bench, "openclipart", {"views 0": "18", "again": "40", "views 5": "3.8"}
    ),
    "stage2-luma-titles": lambda bench: stage2(bench, "luma", "title", "1.25"),
    "stage2-luma": lambda bench: stage2(bench, "luma", "all", "1"),
    "stage2-openclipart": lambda bench: stage2(bench, "openclipart", "all", "1"),
    "infer-stage2-luma": lambda bench: infer_stage2(bench, "luma"),
    "infer-stage1-luma": lambda bench: infer_stage1(bench, "luma"),
    "infer-stage1-openclipart": lambda bench: infer_stage1(bench, "openclipart"),
    "memory": memory,
}


def find_model(folder: Path) -> str:
    """The model of MMCLF_BENCH_MODEL, else one made by the tool beside the data."""
    named = os.environ.get("MMCLF_BENCH_MODEL")
    if named:
        return named
    tool = DATA.parent / "tools" / "make_dual_encoder.py"
    subprocess.run([sys.executable, str(tool), str(folder / "dual")], check=True, stdout=sys.stderr)
    return f"local-dir:{folder / 'dual'}"


def main(argv: list[str] | None = None) -> int:
    """The command line; prints a Markdown table."""
    parser = argparse.ArgumentParser(description="Measure mmclf against the plain loop.")
    parser.add_argument("rows", nargs="*", default=list(ROWS), help=f"of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved runs of each side (default: 3)")
    parser.add_argument("--amp", action=argparse.BooleanOptionalAction, default=True, help="on both sides")
    options = parser.parse_args(argv)
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    with tempfile.TemporaryDirectory(prefix="mmclf-bench-") as name:
        bench = Bench(Path(name), find_model(Path(name)), options.repeats, options.amp)
        subprocess.run([sys.executable, "-c", MAKE_STORE], cwd=name, env=bench.environment("unused"), check=True)
        print("| work | plain loop | mmclf | ratio | target | |\n| --- | --- | --- | --- | --- | --- |")
        for row in options.rows:
            for result in ROWS[row](bench):
                print(result.line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
