"""What a client of the registered model is told, as MLflow's exceptions, which its server turns into HTTP statuses."""

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    DEADLINE_EXCEEDED,
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    TEMPORARILY_UNAVAILABLE,
)

from ..errors import BusyError, DeadlineError, MmclfError, RowError, TooLargeError

# the first that fits; 400, 503, 504 and 500 to MLflow's server
CODES = (
    (RowError, INVALID_PARAMETER_VALUE),
    (BusyError, TEMPORARILY_UNAVAILABLE),
    (DeadlineError, DEADLINE_EXCEEDED),
    (MmclfError, INTERNAL_ERROR),  # the model itself is damaged
)


class TooLarge(MlflowException):
    """A request that is too large. None of MLflow's error codes stands for its status."""

    def get_http_status_code(self) -> int:
        """As HTTP has it."""
        return 413


class WrongKind(MlflowException):
    """A request of a kind that isn't taken."""

    def __init__(self, message: str) -> None:
        """What was found, and what would be taken."""
        super().__init__(message, error_code=INVALID_PARAMETER_VALUE)

    def get_http_status_code(self) -> int:
        """As HTTP has it."""
        return 415


def refusal(error: MmclfError) -> MlflowException:
    """An error of ours as one of MLflow's, with the same sentence."""
    kind = TooLarge if isinstance(error, TooLargeError) else MlflowException
    return kind(str(error), error_code=next(code for known, code in CODES if isinstance(error, known)))
