"""mmclf against the plain loop: whole processes, interleaved, medians and spread.

    make bench                                  # every row; hours
    python -m benchmarks.bench stage1-luma-views0 rerun-luma --repeats 3

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
        return self.run(f"entrypoints.{stage}", arguments, cache)

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
    plain: list[float] = field(default_factory=list)
    mmclf: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """Of each pair: seconds are better where they are fewer, rates where they are more."""
        pairs = zip(self.plain, self.mmclf, strict=True)
        return [a / b if self.unit == "s" else b / a for a, b in pairs]

    def line(self, target: str) -> str:
        """A row of the table."""
        ratios = sorted(self.ratios)
        middle = statistics.median(ratios)
        spread = f"{ratios[0]:.2f}-{ratios[-1]:.2f}" if len(ratios) > 1 else "one run"
        plain, ours = statistics.median(self.plain), statistics.median(self.mmclf)
        figures = f"{plain:.1f} {self.unit} | {ours:.1f} {self.unit} | **{middle:.2f}** ({spread})"
        return f"| {self.name} | {figures} | {target} | {self.note} |"


def interleave(
    bench: Bench,
    result: Result,
    plain: Callable[[int], tuple[float, dict[str, Any]]],
    mmclf: Callable[[int], tuple[float, dict[str, Any]]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run both sides in turns; returns what they printed. The figure is the wall time of the process."""
    theirs, ours = [], []
    for number in range(bench.repeats):
        seconds, printed = plain(number)
        result.plain.append(seconds)
        theirs.append(printed)
        took, printed = mmclf(number)
        result.mmclf.append(took)
        ours.append(printed)
        print(f"{result.name}: plain {seconds:.1f} s, mmclf {took:.1f} s", file=sys.stderr, flush=True)
        if seconds > ONCE_SECONDS:
            break
    return theirs, ours


def stage1(bench: Bench, data: str, views: int) -> Result:
    """Five folds, five epochs, from nothing."""
    result = Result(f"stage 1, {data}, views {views}", "s")
    key = f"stage1-{data}"
    theirs, ours = interleave(
        bench,
        result,
        lambda number: bench.plain("stage1", data, out=f"plain-{key}"),
        lambda number: bench.mmclf("stage1", data, f"train.views={views}", cache=f"cache-{key}-{views}-{number}"),
    )
    result.note = f"CV top-1 {theirs[0]['cv_top1']:.4f} and {ours[0]['cv_top1_mean']:.4f}"
    if views:
        result.note += f"; {same_epochs(theirs[0], bench.history(ours[0]['run_id']))}"
    return result


def same_epochs(theirs: dict[str, Any], ours: list[dict[str, float]]) -> str:
    """In how many epochs both sides have the same val top-1, and how far apart they are at most."""
    left = {(f["fold"], n): top1 for f in theirs["folds"] for n, top1 in enumerate(f["val_top1"], start=1)}
    right = {(epoch["fold"], epoch["epoch"]): epoch["val_acc"] for epoch in ours}
    gaps = [abs(left[key] - right[key]) for key in left.keys() & right.keys()]
    same = sum(gap < 1e-9 for gap in gaps)
    return f"val top-1 equal in {same} of {len(left.keys() | right.keys())} epochs, at most {max(gaps):.4f} apart"


def rerun(bench: Bench, data: str) -> Result:
    """Another head learning rate, the features there."""
    result = Result(f"stage 1 again, other head rate, {data}", "s")
    bench.mmclf("stage1", data, "train.views=0", cache=f"cache-rerun-{data}")
    interleave(
        bench,
        result,
        lambda number: bench.plain("stage1", data, "--lr-head", "2e-3", out=f"plain-rerun-{data}"),
        lambda number: bench.mmclf("stage1", data, "train.views=0 train.lrs.head=2e-3", cache=f"cache-rerun-{data}"),
    )
    return result


def stage2(bench: Bench, data: str, text: str) -> Result:
    """Training rows a second of one fold, two epochs."""
    what = "titles only" if text == "title" else "title and description"
    result = Result(f"stage 2, {data}, {what}", "rows/s")
    columns = "data.text_cols=[title]" if text == "title" else ""
    bench.mmclf("stage1", data, f"train.views=0 {columns}", cache=f"cache-stage2-{data}")
    waits = []
    for number in range(bench.repeats):
        options = ["--fold", "0", "--epochs", "2", *(["--text-cols", "title"] if columns else [])]
        _, printed = bench.plain("stage2", data, *options, out=f"plain-stage2-{data}")
        result.plain.append(printed["train_rows_per_second"])
        settings = f"train.epochs=2 train.folds=5 {columns}"
        _, ours = bench.mmclf("stage2", data, settings, "--fold", "0", cache=f"cache-stage2-{data}-{number}")
        epochs = bench.history(ours["run_id"])
        result.mmclf.append(len(epochs) / sum(1 / epoch["rows_per_second"] for epoch in epochs))
        waits.append(statistics.mean(epoch["data_wait"] for epoch in epochs))
        print(f"{result.name}: {result.plain[-1]:.1f}, {result.mmclf[-1]:.1f}", file=sys.stderr, flush=True)
    result.note = f"data wait {statistics.median(waits):.1%}"
    return result


def infer_stage1(bench: Bench, data: str) -> Result:
    """Five stage-1 folds with flip TTA, from nothing."""
    result = Result(f"infer, 5 stage-1 folds, flip, {data} test", "s")
    _, trained = bench.mmclf("stage1", data, "train.views=0", cache=f"cache-infer-{data}")
    models = bench.folder / f"plain-infer-models-{data}"
    bench.plain("stage1", data, "--epochs", "1", out=models.name)
    test = ["--csv", str(DATA / data / "test.csv"), "--images", str(DATA / data / "images")]
    interleave(
        bench,
        result,
        lambda number: bench.plain("infer", data, "--models", str(models), out=f"plain-infer-{data}"),
        lambda number: bench.run("entrypoints.infer", [*test, "--stage1-run", trained["run_id"]], "unused"),
    )
    return result


def infer_stage2(bench: Bench, data: str) -> Result:
    """Five stage-2 folds with flip TTA, against the bare forward passes."""
    result = Result(f"infer, 5 stage-2 folds, flip, {data} test, against bare forward passes", "rows/s")
    bench.mmclf("stage1", data, "train.views=0", cache=f"cache-infer2-{data}")
    short = "train.epochs=1 train.lrs.image_encoder=1e-6 train.lrs.text_encoder=1e-6"
    _, trained = bench.mmclf("stage2", data, short, cache=f"cache-infer2-{data}")
    test = ["--csv", str(DATA / data / "test.csv"), "--images", str(DATA / data / "images")]
    for _ in range(bench.repeats):
        _, bare = bench.run("benchmarks.bare_forward", ["--run", trained["run_id"], *test])
        result.plain.append(bare["rows_per_second"])
        _, printed = bench.run("entrypoints.infer", [*test, "--stage2-run", trained["run_id"]])
        result.mmclf.append(bench.metrics(printed["run_id"])["speed/rows_per_second"])
        print(f"{result.name}: {result.plain[-1]:.1f}, {result.mmclf[-1]:.1f}", file=sys.stderr, flush=True)
    return result


ROWS: dict[str, tuple[str, Callable[[Bench], Result]]] = {
    "stage1-luma-views0": ("12", lambda bench: stage1(bench, "luma", 0)),
    "rerun-luma": ("40", lambda bench: rerun(bench, "luma")),
    "stage1-openclipart-views0": ("18", lambda bench: stage1(bench, "openclipart", 0)),
    "stage1-openclipart-views5": ("3.8", lambda bench: stage1(bench, "openclipart", 5)),
    "rerun-openclipart": ("40", lambda bench: rerun(bench, "openclipart")),
    "stage2-luma-titles": ("1.25", lambda bench: stage2(bench, "luma", "title")),
    "stage2-luma": ("1", lambda bench: stage2(bench, "luma", "all")),
    "stage2-openclipart": ("1", lambda bench: stage2(bench, "openclipart", "all")),
    "infer-stage2-luma": ("0.85", lambda bench: infer_stage2(bench, "luma")),
    "infer-stage1-luma": ("4", lambda bench: infer_stage1(bench, "luma")),
    "infer-stage1-openclipart": ("4", lambda bench: infer_stage1(bench, "openclipart")),
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
        make_store = "from mmclf.tracking import connect; connect()"
        subprocess.run([sys.executable, "-c", make_store], cwd=name, env=bench.environment("unused"), check=True)
        print("| work | plain loop | mmclf | ratio | target | |\n| --- | --- | --- | --- | --- | --- |")
        for row in options.rows:
            target, measure = ROWS[row]
            print(measure(bench).line(target), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
