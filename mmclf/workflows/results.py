"""What the jobs return: figures, and the tables that they left, read when they are asked for."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..config import resolve_config
from ..records.vocabulary import Artifact

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from ..config import Config


@dataclass(frozen=True)
class Result:
    """Of a job.

    Attributes:
        run_id: of its MLflow run; of `register`, that of the run that was registered.
        figures: what the entry point prints.
    """

    run_id: str
    figures: dict[str, Any]

    def _path(self, name: str) -> "Path":
        from ..records import runs

        return runs.artifact_path(runs.get_run(runs.connect(), self.run_id), name)


@dataclass(frozen=True)
class CheckRun(Result):
    """A finished `check`."""

    @cached_property
    def findings(self) -> list[dict[str, Any]]:
        """Each with `key`, `level` (wrong, doubtful or note), `sentence`, `mend`, `rows`, `ids` and `table`."""
        import json

        found: list[dict[str, Any]] = json.loads(self._path("check.json").read_text(encoding="utf-8"))["findings"]
        return found

    @cached_property
    def groups(self) -> "pd.DataFrame":
        """`id` and `group`, strings: rows that must not be split over folds."""
        import pandas as pd

        return pd.read_csv(self._path(Artifact.GROUPS), dtype=str, keep_default_na=False)


@dataclass(frozen=True)
class StageRun(Result):
    """A finished stage 1 or stage 2; without figures in a process that isn't the first of several."""

    @cached_property
    def out_of_fold(self) -> "pd.DataFrame":
        """`id`, `fold`, `label`, and a column a class: each row scored by the fold that was not trained on it."""
        import pandas as pd

        return pd.read_parquet(self._path(Artifact.OOF))


@dataclass(frozen=True)
class TuneRun(Result):
    """A finished `tune`."""

    @cached_property
    def config(self) -> "Config":
        """The best configuration, which `stage1` takes as it is."""
        return resolve_config(self._path(Artifact.BEST_CONFIG))

    @cached_property
    def trials(self) -> "pd.DataFrame":
        """A row a trial: `trial`, `state`, `loss`, `top1`, `folds`, `seconds`, and a column a key that was tried."""
        import pandas as pd

        return pd.read_csv(self._path(Artifact.TRIALS))


@dataclass(frozen=True)
class ScoringRun(Result):
    """A finished `infer` or `ensemble`."""

    @cached_property
    def predictions(self) -> "pd.DataFrame":
        """`id` and `label`, strings, in the order of the table."""
        import pandas as pd

        found = pd.read_csv(self._path(Artifact.SUBMISSION), dtype=str, keep_default_na=False)
        return found.set_axis(["id", "label"], axis=1)

    @cached_property
    def probabilities(self) -> "pd.DataFrame":
        """`id`, and a column a class, float32."""
        import pandas as pd

        return pd.read_parquet(self._path(Artifact.PROBABILITIES))


@dataclass(frozen=True)
class Registration(Result):
    """A registered version.

    Attributes:
        model: its address, `models:/NAME/VERSION`.
    """

    model: str


@dataclass(frozen=True)
class BatchRun(Result):
    """A finished `batch`.

    Attributes:
        output: the folder of the result, as it was given.
    """

    output: str
