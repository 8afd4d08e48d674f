"""Register the best run as a model that anyone can load: models:/mmclf@champion.

    python -m entrypoints.register

Compares the finished runs of stage1 and stage2 on the newest one's data and folds, and packs the best.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from mmclf.config import Config
from mmclf.errors import ComparisonError, ConfigError, MmclfError, RunError
from mmclf.evaluation.comparison import METRICS, TOP1, Figures, compare, figures_of
from mmclf.evaluation.probabilities import ProbabilityTable, read_table
from mmclf.model.checkpoint import Checkpoint
from mmclf.records import registry, runs, tracking
from mmclf.records.card import CardFacts, find_licence, markdown_table, show_backbone, write_card
from mmclf.runtime.progress import say
from mmclf.scoring.bundle import BUNDLE, size_of, write_bundle
from mmclf.scoring.cost import Cost, Probe

from .common import changed_config, parse_flag, parse_fold, run

DEFAULTS = {
    "runs": "",
    "metric": TOP1,
    "name": registry.DEFAULT_NAME,
    "folds": "all",
    "overrides": "",
    "force": "false",
}


@dataclass(frozen=True)
class Candidate:
    """A stage run with its folds and its out-of-fold matrix."""

    run: Run
    checkpoints: list[Checkpoint]
    config: Config
    table: ProbabilityTable
    figures: Figures
    cost: Cost

    @property
    def run_id(self) -> str:
        """Of the run."""
        return str(self.run.info.run_id)

    def value(self, metric: str) -> float:
        """The metric of the run, from its record or from its matrix."""
        found = {"cv/oof_top1": self.figures.top1, "cv/macro_f1": self.figures.macro_f1}
        return found[metric] if metric in found else float(self.run.data.metrics[metric])


def register(options: argparse.Namespace) -> dict[str, Any]:
    """Choose, pack and register; returns the headline figures."""
    client = runs.connect()
    fold, force = parse_fold(options.folds), parse_flag("force", options.force)
    if options.metric not in METRICS:
        raise ConfigError(f"--metric: found {options.metric!r}; it should be one of {', '.join(METRICS)}")
    candidates = _candidates(client, options.runs, fold, options.overrides)
    best = max(candidates, key=lambda c: (c.value(options.metric), c.figures.top1, c.run.info.start_time))
    header, rows = _table(candidates, best)
    say(_aligned(header, rows))
    champion = registry.find_alias(client, options.name, registry.CHAMPION)
    if champion is not None and _is_the_same(champion, best) and not force:
        say(
            f"register: the best run is {options.name} version {champion.version} already, the champion (--force true "
            "packs it anew)"
        )
        return _figures(best, champion, options.metric, "already champion")
    verdict, wins = _judge(client, best, champion, options.metric, force)
    tags = _tags(best)
    with tracking.record_scores("register", f"register {options.name}", {"source_run": best.run_id}) as record:
        mlflow.set_tag("mlflow.note.content", "\n".join([*markdown_table(header, rows), "", verdict]))
        with tempfile.TemporaryDirectory(prefix="mmclf-") as folder:
            bundle = Path(folder) / BUNDLE
            source = {"run": best.run_id, "backbone": tags["backbone"]}
            write_bundle(bundle, best.checkpoints, best.config, source)
            card = write_card(_card_facts(best, options.name, size_of(bundle)))
            (bundle / "card.md").write_text(card, encoding="utf-8")
            version = registry.add_version(
                client, options.name, bundle, card, tags | {"verdict": verdict}, record.info.run_id
            )
        tracking.log_facts(
            {"version": version.version, "verdict": verdict}, {options.metric: best.value(options.metric)}
        )
        if wins:
            registry.crown(client, version, champion)
    say(f"register: {options.name} version {version.version}: {verdict}")
    return _figures(best, version, options.metric, "champion" if wins else "registered without alias")


def _candidates(client: MlflowClient, text: str, fold: int | None, overrides: str) -> list[Candidate]:
    """The runs that can be compared; the others are named with the reason."""
    ids = [part.strip() for part in text.split(",") if part.strip()]
    if ids:
        found = [runs.get_stage_run(client, run_id, ["stage1", "stage2"]) for run_id in dict.fromkeys(ids)]
    else:
        experiment = runs.current_experiment(client)
        found = [r for stage in ("stage1", "stage2") for r in runs.newest_runs(client, experiment, stage)]
        found.sort(key=lambda r: r.info.start_time, reverse=True)
    if not found:
        raise RunError("the experiment has no finished run of stage1 or stage2 to register; run one first")
    probe = Probe()
    candidates: list[Candidate] = []
    split = ""
    for candidate in found:
        tags = candidate.data.tags
        name = f"run {candidate.info.run_id} ({tags['stage']})"
        try:
            table = read_table(runs.artifact_path(candidate, runs.OOF))
            if len(table) < candidate.data.metrics["data/rows"]:
                raise RunError(f"its folds cover {len(table):,} of {candidate.data.metrics['data/rows']:,.0f} rows")
            if split and tags["split"] != split:
                raise ComparisonError(f"other data or folds than run {candidates[0].run_id}")
            checkpoints = runs.fold_checkpoints(client, candidate, fold)
            config = changed_config(checkpoints[0].meta.config, overrides)
            cost = probe.cost(checkpoints, config)
        except ConfigError:
            raise
        except MmclfError as error:
            if ids:
                raise type(error)(f"--runs: {name} can't be registered beside the others: {error}") from None
            say(f"note: {name} is left out: {error}")
            continue
        split = tags["split"]
        candidates.append(Candidate(candidate, checkpoints, config, table, figures_of(table), cost))
    if not candidates:
        raise RunError("none of the experiment's runs can be registered; the reasons stand above")
    return candidates


def _judge(
    client: MlflowClient, best: Candidate, champion: ModelVersion | None, metric: str, force: bool
) -> tuple[str, bool]:
    """What to say of the best candidate beside the champion, and whether it takes its place.

    Raises:
        ComparisonError: they can't be compared.
    """
    if champion is None:
        return "the first champion", True
    try:
        if registry.DEMO in champion.tags and not _is_of_the_same_experiment(client, champion, best):
            return f"the first champion; the demo's, version {champion.version}, makes way", True
        if champion.tags.get("split") != best.run.data.tags["split"]:
            raise ComparisonError(
                f"it was trained on other data or folds (split {champion.tags.get('split', 'unknown')}, here "
                f"{best.run.data.tags['split']})"
            )
        there = runs.get_run(client, champion.tags.get("source_run", ""))
        difference = compare(best.table, read_table(runs.artifact_path(there, runs.OOF)), metric)
    except MmclfError as error:
        if force:
            return f"champion by force; not comparable with version {champion.version}: {error}", True
        raise ComparisonError(
            f"run {best.run_id} can't be compared with the champion, version {champion.version}: {error}; train on "
            "the champion's data and folds, register under another --name, or give --force true"
        ) from None
    said = f"against version {champion.version}, {difference}"
    if difference.is_better:
        return f"new champion; {said}", True
    if force:
        return f"champion by force; {said}", True
    return (
        f"not shown to be better, so version {champion.version} stays champion (--force true overrules); {said}",
        False,
    )


def _is_of_the_same_experiment(client: MlflowClient, champion: ModelVersion, best: Candidate) -> bool:
    there = runs.get_run(client, champion.tags.get("source_run", ""))
    return bool(there.info.experiment_id == best.run.info.experiment_id)


def _is_the_same(version: ModelVersion, best: Candidate) -> bool:
    return all(version.tags.get(key) == value for key, value in _tags(best).items())


def _tags(best: Candidate) -> dict[str, str]:
    meta = best.checkpoints[0].meta
    return {
        "source_run": best.run_id,
        "stage": meta.stage,
        "folds": ",".join(str(c.meta.fold) for c in best.checkpoints),
        "split": best.run.data.tags["split"],
        "config_id": best.config.fingerprint(),
        "backbone": show_backbone(meta.backbone.name, meta.backbone.pretrained),
    }


def _card_facts(best: Candidate, name: str, size: int) -> CardFacts:
    meta, tags, metrics = best.checkpoints[0].meta, best.run.data.tags, best.run.data.metrics
    return CardFacts(
        name=name,
        run_id=best.run_id,
        stage=meta.stage,
        folds=[c.meta.fold for c in best.checkpoints],
        backbone=show_backbone(meta.backbone.name, meta.backbone.pretrained),
        licence=find_licence(meta.backbone.name, meta.backbone.pretrained),
        config=best.config,
        table=best.table,
        figures=best.figures,
        spread=(metrics[TOP1], metrics["cv/top1_std"]),
        data_digest=tags["fingerprint"],
        split=tags["split"],
        commit=tags.get("mlflow.source.git.commit", ""),
        dirty=tags.get("git_dirty", ""),
        size=size,
        seconds_a_row=best.cost.seconds_a_row,
        text_cols=meta.text_cols,
    )


def _table(candidates: Sequence[Candidate], best: Candidate) -> tuple[list[str], list[list[str]]]:
    header = ["run", "stage", "backbone", "CV top-1", "top-3", "macro-F1", "calibration error", "size", "s/row", ""]
    rows = []
    for c in candidates:
        meta, metrics = c.checkpoints[0].meta, c.run.data.metrics
        rows.append(
            [
                c.run_id[:12],
                meta.stage,
                show_backbone(meta.backbone.name, meta.backbone.pretrained),
                f"{metrics[TOP1]:.4f} ± {metrics['cv/top1_std']:.4f}",
                f"{metrics['cv/top3_mean']:.4f}",
                f"{c.figures.macro_f1:.4f}",
                f"{c.figures.calibration_error:.4f}",
                f"{c.cost.size / 1e6:,.1f} MB",
                f"{c.cost.seconds_a_row:.4f}",
                "best" if c is best else "",
            ]
        )
    return header, rows


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for the terminal."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in (header, *rows)]
    return "\n".join(lines)


def _figures(best: Candidate, version: ModelVersion, metric: str, verdict: str) -> dict[str, Any]:
    return {
        "run_id": best.run_id,
        "version": int(version.version),
        "verdict": verdict,
        "metric": metric,
        "value": round(best.value(metric), 4),
        "model": f"models:/{version.name}/{version.version}",
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(register, "Register the best run as a model.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
