"""A Spark session that suits pictures, files on any file system that Spark knows, and Spark's errors as sentences."""

import atexit
import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import BatchError
from ..runtime import environment
from ..store.scratch import make_scratch

# rows that a Python worker is given at a time: their pictures are in memory together
ARROW_ROWS = 128
LOG4J = """
rootLogger.level = error
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = spark: %c{1}: %m%n%ex
"""


def start_spark(master: str) -> Any:
    """A Spark session with settings that suit pictures.

    Args:
        master: such as `local[4]` or `spark://host:7077`; "" for that of spark-submit or `local[*]`.

    Raises:
        BatchError: Spark or Java isn't installed, or the cluster can't be reached.
    """
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError:
        raise BatchError("Apache Spark isn't installed; run `pip install '.[spark]'` in mmclf's folder") from None
    # one thread a task: Spark runs as many tasks as there are cores, and threads of many processes wait for each other
    threads, python = environment.OMP_NUM_THREADS.name, environment.PYSPARK_PYTHON.name
    surroundings = {threads: "1", python: sys.executable} | dict(os.environ)
    settings = {
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(ARROW_ROWS),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        # pictures are small: by default each would count as 4 MiB, and a task would get 32 of them
        "spark.sql.files.openCostInBytes": str(64 * 2**10),
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "64",
        f"spark.executorEnv.{threads}": surroundings[threads],
    }
    builder = SparkSession.builder.appName("mmclf batch")
    if master:
        builder = builder.master(master)
    if master.startswith("local") or not (master or environment.SPARK_CONF_DIR.get()):
        surroundings.setdefault(environment.SPARK_LOCAL_IP.name, "127.0.0.1")
        settings |= {"spark.driver.memory": "2g", "spark.ui.enabled": "false", "spark.driver.host": "localhost"}
    if not environment.SPARK_CONF_DIR.get():  # whose owner has decided what Spark says
        settings |= {"spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_quiet_log()}"}
    for key, value in settings.items():
        builder = builder.config(key, value)
    before = dict(os.environ)
    os.environ.update(surroundings)  # for the Java process, from which the Python workers have it
    try:
        return builder.getOrCreate()
    except (PySparkException, OSError) as error:
        if "JAVA" in str(error).upper():
            raise BatchError("Java isn't found; Spark needs Java 17 (on Debian: openjdk-17-jre-headless)") from None
        raise BatchError(f"Spark doesn't start: {_first_line(error)}") from None
    except Exception as error:  # py4j's own
        raise BatchError(f"--master: {master or 'default'}: Spark doesn't start: {_first_line(error)}") from None
    finally:
        os.environ.clear()
        os.environ.update(before)


def _quiet_log() -> str:
    """URI of a file that tells Spark to say nothing but errors; by default it greets with a dozen lines."""
    folder = make_scratch()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "log4j2.properties").write_text(LOG4J, encoding="utf-8")
    return (folder / "log4j2.properties").as_uri()


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Errors of Spark as one sentence."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        raise BatchError(f"Spark: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    text = str(error)
    # what failed in a worker stands last in its traceback
    inner = re.findall(r"^(?:[\w.]+(?:Error|Exception)): .+$", text, flags=re.M)
    lines = [line for line in text.splitlines() if line.strip()] or [type(error).__name__]
    return (inner[-1] if inner else lines[0])[:500]


class Store:
    """Small files and folders below `out`, on any file system that Spark knows."""

    def __init__(self, spark: Any, out: str) -> None:
        self._jvm = spark._jvm
        self._conf = spark._jsc.hadoopConfiguration()
        is_local = "://" not in out
        self._root = Path(out).expanduser().resolve().as_uri() if is_local else out.rstrip("/")

    def path(self, name: str) -> str:
        """Of something below the folder."""
        return f"{self._root}/{name}" if name else self._root

    def exists(self, name: str) -> bool:
        """Whether it is there."""
        path = self._path(self.path(name))
        return bool(path.getFileSystem(self._conf).exists(path))

    def names(self) -> list[str]:
        """What lies in the folder; nothing where there is none."""
        if not self.exists(""):
            return []
        path = self._path(self._root)
        return [str(status.getPath().getName()) for status in path.getFileSystem(self._conf).listStatus(path)]

    def stamp(self, uri: str) -> str:
        """Size and time of a file."""
        path = self._path(uri)
        status = path.getFileSystem(self._conf).getFileStatus(path)
        return f"{status.getLen()} {status.getModificationTime()}"

    def read(self, name: str) -> str:
        """A small text file."""
        path = self._path(self.path(name))
        stream = path.getFileSystem(self._conf).open(path)
        try:
            return str(self._jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))
        finally:
            stream.close()

    def write(self, name: str, text: str) -> None:
        """A small text file, whole or not at all."""
        draft, path = self._path(self.path(f"{name}.draft")), self._path(self.path(name))
        system = path.getFileSystem(self._conf)
        stream = system.create(draft, True)
        stream.write(bytearray(text.encode()))
        stream.close()
        system.rename(draft, path)

    def _path(self, uri: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(uri)
