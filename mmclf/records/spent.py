"""What runs cost, as they recorded it."""

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from ..errors import RunError
from ..reporting.comparison import Spent
from . import runs
from .fusion import FUSION, read_pool
from .vocabulary import Metric, Tag


def spent_by(client: MlflowClient, run: Run) -> Spent:
    """What a finished run of a stage or a fusion cost.

    Args:
        client: of the store.
        run: the parent.
    """
    found = run.data.metrics
    peaks = [fold.data.metrics.get(Metric.MEMORY) for fold in runs.finished_folds(client, run.info.run_id)]
    spent = Spent(
        found.get(Metric.SECONDS, 0.0),
        found.get(Metric.FEATURES_SECONDS, 0.0),
        int(found.get(Metric.FEATURES_COMPUTED, 0)),
        int(found.get(Metric.FEATURES_REUSED, 0)),
        max((peak for peak in peaks if peak is not None), default=None),
    )
    if run.data.tags[Tag.STAGE] == FUSION:
        for run_id in read_pool(run).runs:
            try:
                spent += spent_by(client, runs.get_run(client, run_id))
            except RunError:  # was deleted
                continue
    return spent
