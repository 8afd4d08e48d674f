"""The report of a stage run or of a fusion: what is known of it is gathered here, made by reporting/, and recorded.

It is made once the figures are on record, so that a run is complete without it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..config import Config
from ..errors import MmclfError
from ..runtime.progress import say

if TYPE_CHECKING:
    from ..data.catalog import Catalog
    from ..data.folds import Split
    from ..evaluation.probabilities import ProbabilityTable
    from ..records.stages import StageRecord
    from ..reporting.evidence import Evidence, Member, Modalities
    from ..training.feature_loader import TableFeatures

# products of a fold that are scored again without their picture or text, at most
MOST_ROWS = 2000
HEADS = {"mlp": "MLP", "kernel": "kernel head", "zero-shot": "zero-shot"}


@dataclass(frozen=True)
class Extras:
    """What only the job knows that trained.

    Attributes:
        cut: bool (rows of the catalogue,), texts longer than is read; None where that isn't known.
        modalities: gives what a picture and a text contribute to each row of the catalogue, of a run; the same.
    """

    cut: np.ndarray | None = None
    modalities: Callable[[str], "Modalities | None"] | None = None


def report_stage(record: "StageRecord", catalog: "Catalog", config: Config, backbone: str, extras: Extras) -> None:
    """Make and record the report of a stage whose figures are recorded.

    Args:
        record: of the run, after `finish`.
        catalog: that it was trained on.
        config: resolved.
        backbone: for people.
        extras: of the job.
    """

    def gather() -> "Evidence":
        from ..evaluation.probabilities import join_folds
        from ..records.runs import connect, get_run, read_left_out
        from ..reporting.evidence import Evidence

        table = join_folds([fold.table for fold in record.summaries], catalog.ids)
        facts = [("data", _described(catalog)), ("backbone", backbone), ("head", HEADS[config.model.head])]
        facts += [("folds", str(len(record.summaries))), ("run", record.run_id)]
        found = Evidence(record.name, facts, table, histories=[fold.history for fold in record.summaries])
        found = _with_catalog(found, catalog, extras.cut)
        found = _with_left_out(found, read_left_out(connect(), get_run(connect(), record.run_id)))
        whole = extras.modalities(record.run_id) if extras.modalities else None
        return found if whole is None else _with_modalities(found, catalog, whole)

    _make(record.run_id, gather)


def report_fusion(
    run_id: str,
    name: str,
    table: "ProbabilityTable",
    members: Sequence["Member"],
    tags: Mapping[str, str],
    config: Config,
    catalog: "Catalog | None",
    left_out: "Callable[[], ProbabilityTable | None]",
) -> None:
    """Make and record the report of a fusion whose figures are recorded.

    Args:
        run_id: of the fusion.
        name: of the fusion.
        table: out of fold.
        members: with their weights.
        tags: of the run of the first member, which name the catalogue.
        config: of the first member.
        catalog: where it is at hand; else it is read where the run says that it is.
        left_out: gives what `Evidence` has under this name.
    """

    def gather() -> "Evidence":
        from ..records.vocabulary import Tag
        from ..reporting.evidence import Evidence

        known = catalog or _read_again(tags, config)
        facts = [("data", _described(known) if known else tags[Tag.FINGERPRINT]), ("backbone", tags[Tag.BACKBONE])]
        found = Evidence(name, [*facts, ("run", run_id)], table, members=members, left_out=left_out())
        return found if known is None else _with_catalog(found, known, None)

    _make(run_id, gather)


def report_new_rows(run_id: str, gather: Callable[[], "Evidence"]) -> None:
    """Make and record the report of labelled rows that were scored, once their figures are recorded.

    Args:
        run_id: of the run that scored them.
        gather: gives what the report is made from.
    """
    _make(run_id, gather)


def contributions(split: "Split", features: "TableFeatures", run_id: str) -> "Modalities | None":
    """The held-out rows scored by their folds' heads without the picture, and without the text.

    Args:
        split: the catalogue and its folds.
        features: of the catalogue.
        run_id: of a stage-1 run whose heads can do without; at most MOST_ROWS rows a fold are scored.

    Returns:
        In the order of the catalogue; None where no row has both.
    """
    import torch

    from ..model.checkpoint import open_head
    from ..records import runs
    from ..reporting.evidence import Modalities

    client = runs.connect()
    checkpoints = runs.fold_checkpoints(client, runs.get_run(client, run_id))
    heads = {c.meta.fold: open_head(c, torch.device("cpu")) for c in checkpoints if c.meta.fold is not None}
    inputs = features.head_inputs(next(iter(heads.values())).reads)
    both = inputs.has_picture & inputs.has_text
    judged = np.zeros(len(both), dtype=bool)
    shape = len(both), len(split.catalog.classes)
    by_text, by_picture = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    for fold, head in heads.items():
        rows = np.flatnonzero(both & (split.folds == fold))
        if len(rows) > MOST_ROWS:
            rows = np.sort(np.random.default_rng(fold).choice(rows, MOST_ROWS, replace=False))
        part = inputs.take(rows)
        if len(rows):
            by_text[rows] = head.probabilities(part.without_picture()).numpy()
            by_picture[rows] = head.probabilities(part.without_text()).numpy()
        judged[rows] = True
    return Modalities(judged, by_text, by_picture) if judged.any() else None


def _make(run_id: str, gather: Callable[[], "Evidence"]) -> None:
    """A report that fails takes no finished run with it."""
    from ..records.reports import log_report
    from ..reporting.report import make_report

    try:
        log_report(run_id, make_report(gather()))
    except Exception as error:
        say(f"warning: the report couldn't be made ({type(error).__name__}: {error}); the run is complete without it")


def _with_catalog(found: "Evidence", catalog: "Catalog", cut: np.ndarray | None) -> "Evidence":
    """With the texts, pictures and groups of the rows of its table."""
    rows = _positions(found, catalog)
    groups = None if catalog.groups is None else [catalog.groups[row] for row in rows]
    return replace(found, rows=catalog.rows.take(rows), groups=groups, cut=None if cut is None else cut[rows])


def _with_left_out(found: "Evidence", table: "ProbabilityTable | None") -> "Evidence":
    from ..evaluation.probabilities import align

    return found if table is None else replace(found, left_out=align(table, found.table))


def _with_modalities(found: "Evidence", catalog: "Catalog", whole: "Modalities") -> "Evidence":
    """The same of what is known of all rows of the catalogue."""
    rows = _positions(found, catalog)
    return replace(
        found,
        modalities=replace(
            whole, both=whole.both[rows], by_text=whole.by_text[rows], by_picture=whole.by_picture[rows]
        ),
    )


def _positions(found: "Evidence", catalog: "Catalog") -> np.ndarray:
    position = {i: row for row, i in enumerate(catalog.ids)}
    return np.array([position[i] for i in found.table.ids], dtype=np.int64)


def _read_again(tags: Mapping[str, str], config: Config) -> "Catalog | None":
    """The catalogue that a run was trained on, where it is still there and the same."""
    from ..records.vocabulary import Tag
    from .tables import read_trained

    if Tag.CSV not in tags:
        return None
    try:
        return read_trained(tags[Tag.CSV], tags[Tag.IMAGES], tags[Tag.FINGERPRINT], config.data)
    except MmclfError as error:
        say(f"note: the report has no pictures and texts: {error}")
        return None


def _described(catalog: "Catalog") -> str:
    counts = f"{len(catalog):,} products, {len(catalog.classes):,} classes"
    groups = "" if catalog.groups is None else f", {len(set(catalog.groups)):,} groups"
    return f"{catalog.short_name}, {counts}{groups}"
