"""Register the best run as a model that anyone can load: models:/mmclf@champion."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..config import Overrides, check_changes
from ..errors import ConfigError
from ..records.vocabulary import CHAMPION, DEFAULT_NAME, METRICS, MODELS, Metric, Tag
from ..runtime.progress import aligned, say
from .results import Registration

if TYPE_CHECKING:
    from ..records.card import CardFacts
    from ..records.champion import Candidate
    from ..scoring.mixture import Expert

NO_ALIAS = "registered without alias"  # verdict on a version that isn't the champion
HEADER = ["run", "stage", "head", "backbone", "CV top-1", "top-3", "macro-F1", "calibration error", "size", "s/row", ""]


def register(
    *,
    runs: Sequence[str] = (),
    metric: str = Metric.CV_TOP1_MEAN,
    name: str = DEFAULT_NAME,
    fold: int | None = None,
    overrides: Overrides = "",
    force: bool = False,
) -> Registration:
    """Compare finished runs on the same data and folds, pack the best, and register it.

    Args:
        runs: ids of runs of stage1 and stage2, and of fusions; none for all finished ones of the experiment on the
            newest one's folds.
        metric: what decides: cv/top1_mean, cv/top3_mean, cv/oof_top1 or cv/macro_f1.
        name: of the registered model.
        fold: the only one in the model; None for all.
        overrides: how the model scores, as `"infer.tta=false"` or `{"infer.tta": False}`.
        force: take the alias `champion` whatever the comparison says.

    Returns:
        The registered version; `figures["verdict"]` says whether it is the champion.

    Raises:
        MmclfError: no run can be registered, or it can't be compared with the champion; the message says why.
    """
    if metric not in METRICS:
        raise ConfigError(f"--metric: found {metric!r}; it should be one of {', '.join(METRICS)}")
    check_changes(overrides)
    return register_best(runs, metric=metric, name=name, fold=fold, overrides=overrides, force=force)


def register_best(
    runs: Sequence[str],
    *,
    metric: str = Metric.CV_TOP1_MEAN,
    name: str = DEFAULT_NAME,
    fold: int | None = None,
    overrides: Overrides = "",
    force: bool = False,
    strict: bool = True,
) -> Registration:
    """`register`, of checked options.

    Args:
        runs: see there, as of the next five.
        metric: that decides.
        name: of the registered model.
        fold: the only one in the model.
        overrides: how the model scores.
        force: take the alias.
        strict: a champion that the best run can't be compared with is an error; else it stays, and the run becomes a
            version without the alias.

    Raises:
        MmclfError: see there.
    """
    from ..evaluation.thresholds import find_thresholds
    from ..records import champion, registry, tracking
    from ..records.card import markdown_table, write_card
    from ..records.naming import named
    from ..records.notes import compose
    from ..records.reports import find_report
    from ..records.runs import connect
    from ..scoring.bundle import BUNDLE, write_bundle
    from ..store.files import size_of
    from ..store.scratch import scratch_folder
    from .next_steps import after_registration, say_end

    client = connect()
    tracking.clean_up(client)
    candidates = champion.find_candidates(client, runs, fold, overrides)
    best = champion.choose_best(candidates, metric)
    rows = _table(candidates, best)
    say(aligned(HEADER, rows))
    former = registry.find_alias(client, name, CHAMPION)
    if former is not None and champion.is_the_same(former, best) and not force:
        said = f"register: the best run is {name} version {former.version} already, the champion"
        say(f"{said} (--force true packs it anew)")
        return _registration(best, name, str(former.version), metric, "already champion")
    verdict = champion.judge(client, best, former, metric, force=force, strict=strict)
    # a version that was packed already, but neither judged nor crowned, before the process was killed
    interrupted = registry.find_interrupted(client, name, best.tags())
    version, goes_on = interrupted or (None, None)
    with tracking.record_scores(
        "register", f"register {name}", {Tag.SOURCE_RUN: best.run_id}, goes_on=goes_on
    ) as record:
        if version is None:
            with scratch_folder() as folder:
                bundle = folder / BUNDLE
                mixture = replace(best.mixture, thresholds=find_thresholds(best.table))
                write_bundle(bundle, mixture, {"run": best.run_id, "backbone": best.backbone})
                card = write_card(_card_facts(best, name, size_of(bundle), find_report(client, best.run)))
                (bundle / "card.md").write_text(card, encoding="utf-8")
                tags = best.tags() | {Tag.VERDICT: verdict.text}
                version = registry.add_version(client, name, bundle, card, tags, record.info.run_id)
        facts = {Tag.VERSION: str(version.version), Tag.VERDICT: verdict.text}
        tracking.log_facts(facts, {metric: best.value(metric)})
        if verdict.wins:
            registry.crown(client, version, former)
        said = "champion" if verdict.wins else NO_ALIAS
        model = f"{MODELS}{name}/{version.version}"
        commands = after_registration(model, is_champion=verdict.wins)
        tracking.rename(named(f"register {name}", f"version {version.version}", said))
        tracking.describe(compose(f"**{model}**: {verdict.text}", commands, markdown_table(HEADER, rows)))
    say(f"register: {name} version {version.version}: {verdict.text}")
    say_end(record.info.run_id, commands)
    return _registration(best, name, str(version.version), metric, said)


def _registration(best: "Candidate", name: str, number: str, metric: str, verdict: str) -> Registration:
    model = f"{MODELS}{name}/{number}"
    figures = {"run_id": best.run_id, "version": int(number), "verdict": verdict, "metric": str(metric)}
    return Registration(best.run_id, figures | {"value": round(best.value(metric), 4), "model": model}, model)


def _card_facts(best: "Candidate", name: str, size: int, report: str) -> "CardFacts":
    from ..records.card import CardFacts, find_licence

    meta, tags = best.mixture.meta, best.run.data.tags
    return CardFacts(
        name=name,
        run_id=best.run_id,
        report=report,
        stage=best.stage,
        members=[]
        if best.mixture.pool is None
        else [*zip(map(_named, best.mixture.experts), best.mixture.pool.weights, strict=True)],
        folds=sorted({c.meta.fold for c in best.mixture.checkpoints if c.meta.fold is not None}),
        backbone=best.backbone,
        licence=find_licence(meta.backbone.name, meta.backbone.pretrained),
        config=best.mixture.config,
        table=best.table,
        figures=best.figures,
        data_digest=tags[Tag.FINGERPRINT],
        split=best.split,
        commit=tags.get(Tag.COMMIT, ""),
        dirty=tags.get(Tag.GIT_DIRTY, ""),
        size=size,
        seconds_a_row=best.cost.seconds_a_row,
        text_cols=meta.text_cols,
    )


def _named(expert: "Expert") -> str:
    """A member of a fusion, for people."""
    head = {"mlp": "an MLP", "kernel": "a kernel head", "zero-shot": "zero-shot"}[expert.config.model.head]
    return f"{expert.checkpoints[0].meta.stage}, {head}"


def _table(candidates: "Sequence[Candidate]", best: "Candidate") -> list[list[str]]:
    return [
        [
            candidate.run_id[:12],
            candidate.stage,
            candidate.head,
            candidate.backbone,
            candidate.figures.top1,
            f"{candidate.figures.top3_mean:.4f}",
            f"{candidate.figures.macro_f1:.4f}",
            f"{candidate.figures.calibration_error:.4f}",
            f"{candidate.cost.size / 1e6:,.1f} MB",
            f"{candidate.cost.seconds_a_row:.4f}",
            "best" if candidate is best else "",
        ]
        for candidate in candidates
    ]
