"""The chain of the demo: data drawn here, then stage1 -> stage2 -> register -> infer, each by `mlflow run`."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

from mmclf.errors import RunError
from mmclf.records import registry, runs, tracking
from mmclf.records.addresses import table_page
from mmclf.records.naming import with_result
from mmclf.records.notes import compose
from mmclf.records.vocabulary import CHAMPION, MODELS, Metric
from mmclf.runtime import environment
from mmclf.runtime.progress import clock, say
from mmclf.store.outputs import try_folder

from .catalog import draw_catalog
from .tiny_clip import make_tiny_clip

PROJECT = Path(__file__).resolve().parent.parent


def run_demo(out: Path) -> dict[str, Any]:
    """Run the whole chain on data made in the folder `out`; returns the headline figures.

    Raises:
        RunError: a step failed; its own message stands above.
    """
    start = time.perf_counter()
    try_folder(out)
    out = out.resolve()
    client = runs.connect()
    experiment = runs.current_experiment(client)
    say("demo: drawing a catalogue and training a tiny CLIP to start from")
    shop = draw_catalog(out / "catalog")
    clip = make_tiny_clip(out / "tiny-clip")
    with tracking.record_scores("demo", "demo", {}) as record:
        overrides = f"model.name={shlex.quote(f'local-dir:{clip}')}"
        data = {"csv": str(shop.train_csv), "images": str(shop.images), "overrides": overrides}
        stage1 = _mlflow_run("stage1", experiment, data | {"config": "configs/demo-stage1.yaml"})
        stage2 = _mlflow_run("stage2", experiment, data | {"config": "configs/demo-stage2.yaml"})
        name = registry.demo_name(client)
        chosen = _mlflow_run("register", experiment, {"name": name})
        registry.mark_demo(client, name, str(chosen["version"]))
        model = f"{MODELS}{name}@{CHAMPION}"
        test = {"csv": str(shop.test_csv), "images": str(shop.images), "out": str(out / "predictions"), "model": model}
        scored = _mlflow_run("infer", experiment, test)
        top1, chance = _accuracy(Path(scored["output"]), shop.test_labels_csv)
        seconds = time.perf_counter() - start
        tracking.log_facts({}, {Metric.TEST_TOP1: top1, Metric.TEST_CHANCE: chance, Metric.SECONDS: seconds})
        tracking.rename(with_result("demo", top1))
        headline = f"**top-1 {top1:.4f}** of unseen rows, where chance is {chance:.4f}, by {model}"
        tracking.describe(compose(headline, [f"mlflow models serve -m {model} --env-manager local"]))
    say(f"""
demo: done in {clock(seconds)}
  stage 1, frozen towers:   {stage1["cv_top1_mean"]:.3f} top-1 over {stage1["folds"]} folds
  stage 2, fine-tuned:      {stage2["cv_top1_mean"]:.3f} top-1 over {stage2["folds"]} folds
  registered model:         {model} (version {chosen["version"]}: {chosen["verdict"]})
  unseen test rows:         {top1:.3f} top-1, where chance is {chance:.3f} ({shop.classes} classes)
  predictions:              {_relative(Path(scored["output"]))}
  every run, side by side:  make ui, then open http://127.0.0.1:5000/{table_page(record)}
  the model and its card:   http://127.0.0.1:5000/#/models/{name}
  serve it over REST:       mlflow models serve -m {model} --env-manager local --port 5001
""")
    return {
        "run_id": record.info.run_id,
        "test_top1": round(top1, 4),
        "chance": round(chance, 4),
        "cv_top1_stage1": round(stage1["cv_top1_mean"], 4),
        "cv_top1_stage2": round(stage2["cv_top1_mean"], 4),
        "seconds": round(seconds, 1),
        "model": model,
        "output": scored["output"],
    }


def _mlflow_run(entry_point: str, experiment: str, parameters: dict[str, str]) -> dict[str, Any]:
    """`mlflow run` of one entry point; returns its line of JSON.

    A process of its own, without this run's id, so that the stages are not nested under the demo's run.

    Raises:
        RunError: it failed; its own message stands above.
    """
    command = [sys.executable, "-m", "mlflow", "run", str(PROJECT), "-e", entry_point, "--env-manager", "local"]
    command += ["--experiment-id", experiment]
    for key, value in parameters.items():
        command += ["-P", f"{key}={value}"]
    hidden = (environment.RUN_ID.name, environment.EXPERIMENT_NAME.name)
    surroundings = {k: v for k, v in os.environ.items() if k not in hidden}
    # `python` in MLproject is to be this one
    surroundings["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{surroundings.get('PATH', '')}"
    done = subprocess.run(command, env=surroundings, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise RunError(f"demo: `mlflow run -e {entry_point}` failed; its message stands above")
    figures: dict[str, Any] = json.loads(lines[-1])
    return figures


def _accuracy(submission: Path, labels: Path) -> tuple[float, float]:
    """Top-1 of a submission, and the share of the most frequent class, both in [0, 1]."""
    truth = pd.read_csv(labels, dtype=str, keep_default_na=False).set_index("id")["categories"]
    found = pd.read_csv(submission, dtype=str, keep_default_na=False).set_index("id")["categories"]
    return float((found.reindex(truth.index) == truth).mean()), float(truth.value_counts(normalize=True).iloc[0])


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
