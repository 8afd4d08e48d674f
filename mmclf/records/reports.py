"""The report of a run in MLflow: artifacts, and the line of the description that leads to it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import mlflow
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from ..store.scratch import scratch_folder
from .addresses import run_page
from .notes import insert
from .vocabulary import Artifact, Tag

if TYPE_CHECKING:
    from ..reporting.report import Report


def log_report(run_id: str, report: "Report") -> None:
    """Store the page and its files, in place of former ones, and name it near the top of the run's description.

    Tables are CSV files, which the UI shows as tables: `mlflow.log_table` would add the rows to those of a former
    report, where folds of one run are trained by several processes.
    """
    with scratch_folder() as folder:
        report.write(folder)
        mlflow.log_artifacts(str(folder), run_id=run_id)
    client = MlflowClient()
    run = client.get_run(run_id)
    note = run.data.tags.get(Tag.NOTE, "")
    client.set_tag(run_id, str(Tag.NOTE), insert(note, report_line(_address(run))))


def report_line(address: str) -> str:
    """Markdown that leads to a report: a link, and where it lies."""
    return f"Report: [{Artifact.REPORT}]({address}), among the artifacts"


def note_of_check(run: Run, findings: Sequence[tuple[str, str]]) -> str:
    """The description of a check, Markdown.

    Args:
        run: of the check.
        findings: level and sentence of each.
    """
    page = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/{Artifact.CHECK}"
    lines = [f"- **{level.lower()}**: {sentence}" for level, sentence in findings] or ["Nothing was found."]
    return "\n".join([*lines, "", f"Artifacts → [{Artifact.CHECK}]({page})"])


def find_report(client: MlflowClient, run: Run) -> str:
    """The address of a run's report in MLflow's UI, from the UI's root; "" where it has none."""
    names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    return _address(run) if Artifact.REPORT in names else ""


def _address(run: Run) -> str:
    return run_page(run, "artifacts", Artifact.REPORT)
