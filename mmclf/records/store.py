"""MLflow's store, opened. What is found in it: runs.py. Apart from it: neither needs torch to be opened nor to fail."""

import logging

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ..errors import MmclfError, RunError
from ..runtime import environment
from .first_start import make_store
from .store_errors import cannot_open, store_name


def connect() -> MlflowClient:
    """The client of the configured store, which is made here if it doesn't exist yet.

    Any number of processes may start at once; the experiment that the environment names is made here too.

    Raises:
        RunError: the store can't be reached, made or read.
    """
    for name in ("mlflow", "alembic"):  # their notes about migrations and system metrics
        logging.getLogger(name).setLevel(logging.WARNING)
    # tracebacks of what is raised all the same, and of what is tried again
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    try:
        make_store(mlflow.get_tracking_uri())
        client = MlflowClient()
        client.search_experiments(max_results=1)
        if environment.EXPERIMENT_NAME.get() and not environment.RUN_ID.get():
            named_experiment(client, environment.EXPERIMENT_NAME.get())
    except MmclfError:
        raise
    except Exception as error:  # every backend raises its own
        raise RunError(cannot_open(error)) from None
    return client


def named_experiment(client: MlflowClient, name: str) -> str:
    """Id of the experiment of this name, which is made where there is none.

    Raises:
        RunError: it was deleted.
    """
    known = client.get_experiment_by_name(name)
    if known is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            known = client.get_experiment_by_name(name)
            if known is None:
                raise
            # another process was first
    if known.lifecycle_stage != "active":
        raise RunError(
            f"{environment.EXPERIMENT_NAME.name}: experiment {name!r} of the store {store_name()} was deleted; bring "
            f"it back by `mlflow experiments restore --experiment-id {known.experiment_id}`, or name another"
        )
    return str(known.experiment_id)
