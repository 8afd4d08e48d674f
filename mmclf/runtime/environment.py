"""The environment variables that mmclf reads or sets: each is declared here, once, and listed in docs/configuration.md.

Those of MLflow, of the launchers (torchrun, `accelerate launch`) and of Spark keep their owners' names and meanings.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import ConfigError


@dataclass(frozen=True)
class Variable:
    """An environment variable.

    Attributes:
        name: as it is set.
        meaning: a phrase for the documentation.
        default: what counts where it is unset or blank; "" for nothing.
    """

    name: str
    meaning: str
    default: str = ""

    def get(self) -> str:
        """Its value without blanks around it, or the default."""
        return os.environ.get(self.name, "").strip() or self.default

    def integer(self) -> int:
        """Its value as a whole number.

        Raises:
            ConfigError: it is something else, or unset without a default.
        """
        try:
            return int(self.get())
        except ValueError:
            raise ConfigError(f"{self.name}: found {self.get()!r} in the environment; it is a whole number") from None

    def flag(self) -> bool:
        """Its value as `true` or `false`.

        Raises:
            ConfigError: it is something else.
        """
        if self.get() not in ("true", "false"):
            raise ConfigError(f"{self.name}: found {self.get()!r} in the environment; it is `true` or `false`")
        return self.get() == "true"

    def unset(self) -> None:
        """Take it away."""
        os.environ.pop(self.name, None)

    @contextlib.contextmanager
    def held(self, value: str) -> Iterator[None]:
        """Set it to `value` for a while, also for processes that are started meanwhile."""
        before = os.environ.get(self.name)
        os.environ[self.name] = value
        try:
            yield
        finally:
            os.environ.pop(self.name)
            if before is not None:
                os.environ[self.name] = before


TMPDIR = Variable("TMPDIR", "where temporary files go; an entry point's lie in a folder of their own there")

QUIET = Variable("MMCLF_QUIET", "`true`: print nothing but errors and the result; as `--quiet`", "false")
LOG_FILE = Variable("MMCLF_LOG_FILE", "a file that all lines are added to, with their times; as `--log-file`")

CACHE_DIR = Variable("MMCLF_CACHE_DIR", "the cache; else `mmclf` in `XDG_CACHE_HOME`")
CACHE_GIB = Variable("MMCLF_CACHE_GIB", "GiB that the cache may hold; `0` keeps nothing", "20")
XDG_CACHE_HOME = Variable("XDG_CACHE_HOME", "where programs keep their caches", "~/.cache")

TRACKING_URI = Variable("MLFLOW_TRACKING_URI", "MLflow's store", "sqlite:///mlflow.db")
RUN_ID = Variable("MLFLOW_RUN_ID", "a run that goes on, in place of a new one; `mlflow run` sets it")
EXPERIMENT_ID = Variable("MLFLOW_EXPERIMENT_ID", "experiment of new runs; `mlflow run` sets it")
EXPERIMENT_NAME = Variable("MLFLOW_EXPERIMENT_NAME", "the same by name; made where there is none")
SYSTEM_METRICS = Variable(
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "`true` records the load of the machine with each run", "false"
)
ARTIFACTS_BAR = Variable("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "set to `false` while files are recorded")

WORLD_SIZE = Variable("WORLD_SIZE", "processes that train one model; the launcher sets this and the next five", "1")
RANK = Variable("RANK", "number of this process")
LOCAL_RANK = Variable("LOCAL_RANK", "its number on this machine, which is that of its GPU")
LOCAL_WORLD_SIZE = Variable("LOCAL_WORLD_SIZE", "processes on this machine, which share its cores", "1")
MASTER_ADDR = Variable("MASTER_ADDR", "machine at which the processes meet")
MASTER_PORT = Variable("MASTER_PORT", "and its port")

SERVE_ROWS = Variable(
    "MMCLF_SERVE_ROWS", "most rows of a request to a server; `0` lifts this limit and each below", "1000"
)
SERVE_CHARACTERS = Variable("MMCLF_SERVE_CHARACTERS", "characters of one text", "20000")
SERVE_ALL_CHARACTERS = Variable("MMCLF_SERVE_ALL_CHARACTERS", "characters of all texts of a request", "2000000")
SERVE_PICTURES = Variable("MMCLF_SERVE_PICTURES", "pictures of a row", "16")
SERVE_PICTURE_MIB = Variable("MMCLF_SERVE_PICTURE_MIB", "MiB of a picture's file", "20")
SERVE_BODY_MIB = Variable("MMCLF_SERVE_BODY_MIB", "MiB of a request as it is sent", "64")
SERVE_REQUESTS = Variable("MMCLF_SERVE_REQUESTS", "requests at a time, those that wait included", "32")
SERVE_WAIT_SECONDS = Variable("MMCLF_SERVE_WAIT_SECONDS", "seconds until a request has its first turn", "10")
SERVE_SECONDS = Variable("MMCLF_SERVE_SECONDS", "seconds until it is given up, less than MLflow's own 60", "50")

OMP_NUM_THREADS = Variable("OMP_NUM_THREADS", "threads of a process; Spark's workers get 1 unless it is set")
PYSPARK_PYTHON = Variable("PYSPARK_PYTHON", "Python of Spark's workers; else the one that runs")
SPARK_CONF_DIR = Variable("SPARK_CONF_DIR", "settings of a Spark cluster; mmclf then leaves logging to them")
SPARK_LOCAL_IP = Variable("SPARK_LOCAL_IP", "address of a Spark on this machine; set to 127.0.0.1 unless it is set")


def declared() -> list[Variable]:
    """All of them, in the order of declaration."""
    return [value for value in globals().values() if isinstance(value, Variable)]
