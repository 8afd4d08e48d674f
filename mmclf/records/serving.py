"""The registered model: a pyfunc (models-from-code) around a bundle. No pickle, no network, no path to a checkout.

The input has the text columns that the model was trained on, and `image`, `image_2` and so on. A picture is `bytes`, or
base64 of them in JSON; one cell may hold a list. Every column may be left out, and every cell empty.
"""

import sys
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array

from ..config import Config
from ..errors import MmclfError, RowError
from ..scoring.bundle import BUNDLE, NAME, open_bundle
from ..scoring.limits import CURRENT, Allowance, Limits
from ..scoring.requests import PICTURE_COLUMNS, TOP_K, RowScorer, as_frame, explain
from .refusals import refusal

MAX_BATCH = 4096
SERVER = "mlflow.pyfunc.scoring_server.app"  # a process that has imported it is a server
# what the packaged code imports, with what that needs at run time
PACKAGES = (
    "mlflow",
    "torch",
    "torchvision",
    "open_clip_torch",
    "timm",
    "transformers",
    "safetensors",
    "scikit-learn",
    "anyascii",
    "scipy",
    "numpy",
    "pandas",
    "pillow",
    "psutil",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "tqdm",
)


_last: dict[str, Any] = {}  # key and scorer of the model that was loaded last


class Prediction:
    """What ProductModel does; see `signature` for what goes in and comes out.

    A class of its own, since MLflow warns whoever loads a subclass of its PythonModel that has a `predict` without type
    hints, and makes a schema of type hints, which knows neither cells that may be empty nor bytes beside base64.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Open the bundle; weights are read with the first rows.

        Spark loads the model anew for each task of a worker process: the last scorer is kept for that. In MLflow's
        server the weights are read now, and requests are limited (docs/serving.md).

        Raises:
            BundleError, CheckpointError: the model is damaged.
            ConfigError: a variable of the environment isn't a whole number.
        """
        folder = Path(context.artifacts[BUNDLE]).resolve()
        key = folder, (folder / NAME).stat().st_mtime_ns
        if _last.get("key") != key:
            _last.update(key=key, scorer=_open(folder))
        self._scorer: RowScorer = _last["scorer"]
        self._limits = Limits()
        if SERVER in sys.modules:
            from . import guard  # of the server's packages, which nobody else needs

            self._limits = Limits.of_server()
            guard.install(self._limits, tuple(default_params(self._scorer.config)))
            self._scorer.warm_up()

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Label, confidence and the best labels of each row.

        Args:
            context: of MLflow; not used.
            model_input: a data frame with the columns of the signature; None and nan are "not there".
            params: top_k, tta, batch_size; `errors`: "raise", or "column" for a column `error` in the result; and
                `precision`: rows that are less sure than that share of right answers asks for become "unassigned".

        Returns:
            A data frame with one row for each row, in the same order and with the same index.

        Raises:
            MlflowException: rows that can't be scored, each named by its number; a client's mistake (status 400). In
                a server also: too many rows (413), too much to do (503), not done in time (504).
        """
        allowance = CURRENT.get() or Allowance(self._limits)
        given = {**default_params(self._scorer.config), **(params or {})}
        try:
            _check_params(given)
            least = self._scorer.mixture.least_confidence(float(given["precision"]), "params: precision")
            frame = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame(model_input)
            scored = self._scorer.score(
                frame, tta=bool(given["tta"]), batch_size=int(given["batch_size"]), allowance=allowance
            )
            if scored.problems and given["errors"] == "raise":
                raise RowError(explain(scored.problems, len(frame)))
        except MmclfError as error:
            raise refusal(error) from None
        except Exception as error:  # a client gets no traceback; the log of the server has it
            traceback.print_exc(file=sys.stderr)
            message = f"the model failed ({type(error).__name__}); its server's log says where"
            raise MlflowException(message, error_code=INTERNAL_ERROR) from None
        found = as_frame(scored.probabilities, self._scorer.classes, int(given["top_k"]), frame.index, least)
        if given["errors"] == "column":
            sentences = [scored.problems.get(row) for row in range(len(frame))]
            found["error"] = pd.Series(sentences, frame.index, dtype=object)
        return found


class ProductModel(Prediction, PythonModel):
    """Classifies products."""


def _open(folder: Path) -> RowScorer:
    bundle = open_bundle(folder)
    return RowScorer(bundle.mixture)


def default_params(config: Config) -> dict[str, Any]:
    """The parameters of `predict` where a caller gives none."""
    return {
        "top_k": TOP_K,
        "tta": config.infer.tta,
        "batch_size": config.infer.batch_size,
        "errors": "raise",
        "precision": 0.0,
    }


def signature(text_cols: tuple[str, ...], config: Config) -> ModelSignature:
    """Columns, parameters and result of the model.

    To MLflow a picture is a string, base64, and it lets bytes and lists pass as well. As `binary` it would be decoded
    by MLflow, which refuses a cell without a picture and takes what isn't base64 for an empty file (docs/adr/0013).
    """
    texts = [ColSpec(DataType.string, column, required=False) for column in text_cols]
    pictures = [ColSpec(DataType.string, column, required=False) for column in PICTURE_COLUMNS]
    params = default_params(config)
    kinds = {bool: DataType.boolean, int: DataType.long, float: DataType.double, str: DataType.string}
    return ModelSignature(
        inputs=Schema([*texts, *pictures]),
        outputs=Schema(
            [
                ColSpec(DataType.string, "label"),
                ColSpec(DataType.double, "confidence"),
                ColSpec(Array(DataType.string), "top_labels"),
                ColSpec(Array(DataType.double), "top_confidences"),
            ]
        ),
        params=ParamSchema([ParamSpec(name, kinds[type(value)], value) for name, value in params.items()]),
    )


def requirements() -> list[str]:
    """What the model needs, at the versions that are installed here."""
    return [f"{package}=={version(package).partition('+')[0]}" for package in PACKAGES]


def log_model(bundle: Path, metadata: dict[str, Any]) -> Any:
    """Log a bundle as the model of the active run; returns MLflow's ModelInfo."""
    opened = open_bundle(bundle)
    here = Path(__file__).resolve().parent
    return mlflow.pyfunc.log_model(
        name="model",
        python_model=str(here / "pyfunc_model.py"),
        artifacts={BUNDLE: str(bundle)},
        code_paths=[str(here.parent)],
        pip_requirements=requirements(),
        signature=signature(opened.text_cols, opened.config),
        metadata=metadata,
    )


def _check_params(given: dict[str, Any]) -> None:
    for name, value in given.items():
        if value is None:
            raise RowError(f"params: {name}: found null; leave it out for its default")
    for name, least, most in (("top_k", 1, 10**6), ("batch_size", 1, MAX_BATCH)):
        if not least <= int(given[name]) <= most:
            raise RowError(f"params: {name}: found {given[name]}; it should be from {least} to {most:,}")
    if given["errors"] not in ("raise", "column"):
        raise RowError(f"params: errors: found {given['errors']!r}; it should be 'raise' or 'column'")
