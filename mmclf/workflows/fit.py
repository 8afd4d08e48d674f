"""The one command: from a table and a folder of pictures to a registered model."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Overrides, resolve_config
from ..errors import RunError
from ..records.vocabulary import CV, DEFAULT_NAME, Artifact, Metric, Tag, show_backbone
from ..runtime import progress
from ..runtime.progress import aligned, clock, current, say
from . import plan
from .fusion import HEADER
from .outlook import check_asked
from .register import NO_ALIAS
from .results import Registration

if TYPE_CHECKING:
    from ..data.catalog import Catalog
    from ..data.folds import Split
    from ..data.table import TableLike
    from ..records.resuming import Found
    from .members import Member
    from .plan import Step

MEMBERS = [*HEADER, "time"]
CONCLUSION = "conclusion of fit"


def fit(
    table: "TableLike",
    *,
    images: str | Path,
    overrides: Overrides = "",
    budget: float | None = None,
    name: str = DEFAULT_NAME,
    force: bool = False,
    resume: bool = True,
    report: bool = True,
) -> Registration:
    """Train what suits the table and the machine, fuse it by learned weights, and register the best.

    The members are heads on frozen features (zero-shot where the towers are aligned, kernel, MLP) and, where there is a
    GPU or the budget has room for it, fine-tuned towers: runs of stage1 and stage2 like any other, below the run of
    this.

    Args:
        table: a CSV with a header, or a data frame: an id, texts and a label for each row.
        images: the folder of pictures, named `<id>.jpg` or `<id>_1.jpg`.
        overrides: of all members: `data.*`, `infer.*`, `model.name`, `model.pretrained`, `train.amp`, `train.folds`
            and `train.seed`, as `"data.groups_csv=groups.csv"` or a mapping. Classes that only `data.classes_csv` names
            are in the model too.
        budget: seconds. The heads are always made; fine-tuning, which a CPU leaves out unless it is asked for by this,
            only if it is expected to end in time. None for what the machine suggests.
        name: of the registered model.
        force: take the alias `champion` from a former model whatever the comparison says, as one trained on other rows
            needs; without it such a model is registered as a version without alias.
        resume: go on with a run of just this work whose process was killed, by its plan; False starts anew.
        report: make the report of the fusion, `report.html`; its members have none.

    Returns:
        The registered version; `figures` has the estimates and what was reached.

    Raises:
        MmclfError: what is given can't be used; the message says what and where.
    """
    start = time.monotonic()
    given = check_asked(overrides, budget)
    classes_csv = given.pop(plan.CLASSES_CSV, None)
    asked = Asked(given, classes_csv, budget, name, force=force, resume=resume, report=report)
    say(f"fit: {table if isinstance(table, str | Path) else 'a data frame'}: the plan comes once some rows were timed")
    from .forecast import shown

    with shown("fit"):
        return _fit(table, images, asked, start)


@dataclass(frozen=True)
class Asked:
    """The arguments of `fit`; `given` are its overrides."""

    given: dict[str, Any]
    classes_csv: str | None
    budget: float | None
    name: str
    force: bool
    resume: bool
    report: bool


def _fit(table: "TableLike", images: str | Path, options: Asked, start: float) -> Registration:
    """See `fit`; it began at `start` on the monotonic clock."""
    from ..records import runs, tracking
    from ..records.card import markdown_table
    from ..records.resuming import work_on
    from .frozen import open_frozen
    from .members import train_members
    from .next_steps import say_end
    from .outlook import PLAN, choose_steps, lay_out, look, prepare, say_backbone

    given, classes_csv, budget, name = options.given, options.classes_csv, options.budget, options.name
    machine, split, config, changes, why = look(table, images, given)
    runs.connect()
    asked = {"options": json.dumps([given, classes_csv, budget, name, options.force], sort_keys=True, default=str)}
    asked["machine"] = machine.device
    work = work_on("fit", config, split.catalog, split, **asked)
    found = tracking.find_stage(work, resume=options.resume)
    preparation = prepare(config, split.catalog, will_fine_tune=budget is not None or machine.device == "cuda")
    config = preparation.config
    shared = changes | {"data.max_len": config.data.max_len, "data.multi_image_mode": config.data.multi_image_mode}
    say_backbone(preparation, why)
    planned = _planned(found)
    if planned is not None and found is not None:
        say(f"fit: goes on with run {found.run.info.run_id}, which was interrupted (resume=never starts anew)")
        steps = planned
    else:
        left = None if budget is None else budget - (time.monotonic() - start)
        steps = [plan.zero_shot_step(classes_csv), *choose_steps(preparation, split, machine, left)]
    expected, rows = lay_out(preparation, steps, budget, time.monotonic() - start)
    say(aligned(PLAN, rows))
    _expect(steps, len(split.catalog))
    tags = {
        Tag.BUDGET: "" if budget is None else f"{budget:g}",
        Tag.BACKBONE: show_backbone(config.model.name, config.model.pretrained or ""),
        Tag.DEVICE: machine.device,
    }
    goes_on = found.run if planned is not None and found is not None else None
    with tracking.record_several("fit", _name(split), tags | work.tags(), goes_on) as record:
        if goes_on is None:
            tracking.log_text(plan.to_json(steps), Artifact.PLAN)
            tracking.log_dataset(split.catalog, "training")
        of_mlp = resolve_config(plan.CONFIGS[plan.MLP_HEAD], shared)
        has_kernel = any(step.name == plan.KERNEL_HEAD and step.is_taken for step in steps)
        frozen = open_frozen("fit", of_mlp, split, preparation.backbone, details=has_kernel)
        ends = None if budget is None else start + budget
        members = train_members(steps, shared, frozen, split, table, images, ends)
        with progress.step(CONCLUSION, 1, "fusion, report and registration"):
            registration, details, found_report = _conclude(
                members,
                name,
                split.catalog if options.report else None,
                must_fuse=classes_csv is not None,
                force=options.force,
            )
        commands = _describe(registration, _name(split), found_report, [*details, "", *markdown_table(PLAN, rows)])
        reached = runs.get_run(runs.connect(), registration.run_id).data.metrics
        figures: dict[str, float] = {name: value for name, value in reached.items() if name.startswith(CV)}
        figures |= {Metric.SECONDS: time.monotonic() - start, Metric.ESTIMATE: expected + plan.OVERHEAD}
        tracking.log_facts({Tag.VERDICT: registration.figures["verdict"]}, figures)
    say(f"fit: {registration.model} after {clock(time.monotonic() - start)}")
    say_end(record.info.run_id, commands)
    return Registration(
        registration.run_id,
        registration.figures | {"members": len(members), "seconds": round(time.monotonic() - start, 1)},
        registration.model,
    )


def _expect(steps: "list[Step]", rows: int) -> None:
    """Tell the forecast what will be done to so many rows."""
    from .members import step_kind

    agenda = current()
    for each in steps:
        if each.is_taken:
            agenda.plan(step_kind(each, rows), [1], guess=each.seconds, is_whole=True, group=(each.name,))
    agenda.plan(CONCLUSION, [1], guess=plan.OVERHEAD, is_whole=True)


def _name(split: "Split") -> str:
    return f"fit {split.catalog.short_name}"


def _describe(registration: Registration, name: str, report: str, details: list[str]) -> list[str]:
    """Name and describe the run, whose work is done; returns the commands that come next.

    Args:
        registration: what was registered.
        name: of the run before.
        report: the way to it, Markdown; "" for none.
        details: lines of Markdown.
    """
    from ..records import tracking
    from ..records.naming import named
    from ..records.notes import compose, insert
    from .next_steps import after_registration

    figures = registration.figures
    commands = after_registration(registration.model, is_champion=figures["verdict"] != NO_ALIAS)
    headline = f"**{registration.model}**: {figures['verdict']}, {figures['metric']} {figures['value']:.4f}"
    note = compose(headline, commands, details)
    tracking.describe(insert(note, report) if report else note)
    tracking.rename(named(name, f"{figures['value']:.3f}", f"version {figures['version']}", figures["verdict"]))
    return commands


def _planned(found: "Found | None") -> "list[Step] | None":
    """What an interrupted run was to do; None where it hadn't come to that, or there is none."""
    from ..records.runs import artifact_path

    if found is None:
        return None
    try:
        return plan.from_json(artifact_path(found.run, Artifact.PLAN).read_text(encoding="utf-8"))
    except (RunError, OSError, ValueError, TypeError):
        return None


def _conclude(
    members: "list[Member]", name: str, catalog: "Catalog | None", *, must_fuse: bool, force: bool
) -> tuple[Registration, list[str], str]:
    """Fuse and register; returns what was registered, and Markdown: what each member adds, and the way to the report.

    Args:
        members: at least one.
        name: of the registered model.
        catalog: of the report; None for no report.
        must_fuse: only the fusion knows all classes.
        force: see `fit`.
    """
    from ..evaluation.comparison import TOP1, compare
    from ..evaluation.crossvalidation import figures_of
    from ..evaluation.probabilities import read_table
    from ..records.card import markdown_table
    from ..records.fusion import read_pool
    from ..records.reports import find_report, report_line
    from ..records.runs import artifact_path, connect, get_run
    from ..records.vocabulary import Artifact
    from .fusion import fuse, show
    from .register import register_best

    start = time.monotonic()
    ids = [each.run.run_id for each in members]
    fusion = fuse(ids, quiet=True, report=catalog is not None, catalog=catalog)
    client = connect()
    runs = {run_id: get_run(client, run_id) for run_id in [fusion.run_id, *(m.run.run_id for m in members)]}
    tables = {run_id: read_table(artifact_path(run, Artifact.OOF)) for run_id, run in runs.items()}
    fused = read_pool(runs[fusion.run_id])
    weights = dict(zip(fused.runs, fused.pool.weights, strict=True))

    def line(label: str, weight: str, run_id: str, seconds: float) -> list[str]:
        return [label, weight, *show(figures_of(tables[run_id])), clock(seconds)]

    lines = []
    for each in members:
        weight = weights.get(each.run.run_id, 0.0)
        lines.append(line(each.step.name, f"{weight:.2f}" if weight else "left out", each.run.run_id, each.seconds))
    lines.append(line("together", "", fusion.run_id, time.monotonic() - start))
    best = max(members, key=lambda each: each.run.figures["cv_top1_mean"])
    gain = compare(tables[fusion.run_id], tables[best.run.run_id], TOP1)
    said = f"together against the {best.step.name} alone: {gain}"
    say(f"{aligned(MEMBERS, lines)}\n{said}")
    # a member alone is cheaper and a row or two may speak for it by chance, while a fusion's likelihood is the best
    better = [m for m in ids if not must_fuse and compare(tables[m], tables[fusion.run_id], TOP1).is_better]
    registration = register_best([fusion.run_id, *better], name=name, force=force, strict=False)
    address = find_report(client, runs[fusion.run_id])
    details = [*markdown_table(MEMBERS, [lines[-1], *lines[:-1]]), "", said]
    return registration, details, f"{report_line(address)} of the fusion" if address else ""
