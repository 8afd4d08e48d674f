"""Where runs are seen in MLflow's UI: addresses, and the command that opens the UI of a store without a server."""

from urllib.parse import quote

import mlflow
from mlflow.entities import Run

from .first_start import sqlite_file
from .store_errors import without_passwords
from .views import RESULTS

# the UI has a side of agents and prompts too, which it shows unless told
TRAINING = "workflowType=machine_learning"
# of `mlflow ui` where nothing else is said
LOCAL_UI = "http://127.0.0.1:5000"


def run_page(run: Run, *below: str) -> str:
    """The page of a run, from the UI's root.

    Args:
        run: see there.
        below: what is opened in it, as "artifacts", "report.html".
    """
    return "/".join([f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}", *map(quote, below)])


def table_page(run: Run) -> str:
    """The table of all runs beside a run, with the figures, from the UI's root."""
    return f"#/experiments/{run.info.experiment_id}/runs?viewStateShareKey={RESULTS}&{TRAINING}"


def ui_root(uri: str | None = None) -> tuple[str, str]:
    """Where the UI of a store is, and the command that opens it there.

    Args:
        uri: of the store; None for the tracking store.

    Returns:
        The address, "" where it isn't known; and the command, "" where a server runs.
    """
    uri = mlflow.get_tracking_uri() if uri is None else uri
    if uri.startswith(("http://", "https://")):
        return without_passwords(uri).rstrip("/"), ""
    if uri.startswith("databricks"):
        return "", ""
    file = sqlite_file(uri)
    store = without_passwords(uri) if file is None else f"sqlite:///{file.resolve()}"
    return LOCAL_UI, f"mlflow ui --backend-store-uri {store}"


def ways_to(run: Run) -> list[str]:
    """How a run and the table of all runs are seen, a line each; none where the UI's address isn't known."""
    root, command = ui_root()
    if not root:
        return []
    opened = [f"open MLflow's UI: {command}"] if command else []
    return [*opened, f"this run: {root}/{run_page(run)}?{TRAINING}", f"all runs: {root}/{table_page(run)}"]
