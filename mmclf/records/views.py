"""Views of an experiment's runs that MLflow's UI offers under "Views", and opens by an address: see addresses.py.

They are tags of the experiment in the form that the UI of mlflow 3.17 gives to views that a user saves there. What is
there already is left alone.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from .vocabulary import Metric

TAG = "mlflow.sharedViewState."
RESULTS, FOLDS = "mmclf-results", "mmclf-folds"
# milliseconds since 1970, which the UI wants: 2026-11-27
MADE = 1_795_737_600_000
NAME, CREATED, DATASET = "attributes.`Run Name`", "runDateAndNestInfo", "attributes.`Dataset`"
# pixels
WIDTHS = {NAME: 420, CREATED: 140}
FIGURE = 105
# charts by section, in their order
Charts = Mapping[str, Sequence[str]]
OF_RUNS: Charts = {"cv": ("top1_mean", "top3_mean", "macro_f1", "loss")}
CURVES: Charts = {"val": ("top1", "top3", "loss"), "train": ("loss",)}


def offer_views(client: MlflowClient, experiment: str) -> None:
    """Add the views to an experiment that doesn't have them; a store that refuses is left without.

    Args:
        client: of the store.
        experiment: id.
    """
    with contextlib.suppress(MlflowException):
        there = client.get_experiment(experiment).tags
        wanted = {TAG + RESULTS: _view("Results", results()), TAG + FOLDS: _view("Folds", folds())}
        for key, value in wanted.items():
            if key not in there:
                client.set_experiment_tag(experiment, key, value)


def results() -> dict[str, Any]:
    """A row a run, its folds below it: what it reached, and in how many seconds."""
    figures = [Metric.CV_TOP1_MEAN, Metric.CV_TOP1_STD, Metric.CV_TOP3_MEAN, Metric.CV_MACRO_F1, Metric.SECONDS]
    by_time = {"searchFilter": "", "orderByKey": "attributes.start_time", "orderByAsc": False}
    return by_time | _columns(figures) | _charts({**OF_RUNS, **CURVES})


def folds() -> dict[str, Any]:
    """A row a fold of any stage, the best first, which leaves them without their parents; its curves as charts."""
    figures = [Metric.BEST_TOP1, Metric.BEST_TOP3, Metric.BEST_EPOCH]
    best = {"searchFilter": 'tags.role = "fold"', "orderByKey": f"metrics.`{Metric.BEST_TOP1}`", "orderByAsc": False}
    return best | _columns(figures) | _charts(CURVES)


def _columns(figures: Sequence[str]) -> dict[str, Any]:
    shown = [*(f"metrics.`{name}`" for name in figures), DATASET]
    widths = WIDTHS | {column: FIGURE for column in shown if column != DATASET}
    return {"selectedColumns": shown, "columnOrder": [NAME, CREATED, *shown], "columnWidths": widths}


def _charts(sections: Charts) -> dict[str, Any]:
    """Sections that were moved once, which the UI doesn't sort by name."""
    by_uuid = {name: f"mmclf-{name}" for name in sections}
    moved = {"display": True, "isReordered": True, "deleted": False}
    charts = [
        {
            "uuid": f"{by_uuid[section]}-{name}",
            "type": "BAR" if section == "cv" else "LINE",
            "metricSectionId": by_uuid[section],
            "metricKey": f"{section}/{name}",
            "displayName": name,
            "isGenerated": True,
            "deleted": False,
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "useGlobalXaxisKey": True,
        }
        for section, names in sections.items()
        for name in names
    ]
    return {
        "compareRunSections": [{"uuid": uuid, "name": name} | moved for name, uuid in by_uuid.items()],
        "compareRunCharts": charts,
        "isAccordionReordered": True,
    }


def _view(name: str, state: Mapping[str, Any]) -> str:
    return json.dumps({"name": name, "createdAt": MADE, "updatedAt": MADE, "state": json.dumps(state)})
