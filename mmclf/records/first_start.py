"""A store in a SQLite file is made whole or not at all, however many processes start at once.

MLflow makes its tables one by one in the file itself: processes that start together trip over each other's tables,
and a kill meanwhile leaves a file that no later start can use. So it is made aside here and put into its place by a
hard link, which replaces nothing: whoever comes second uses what the first one made. See docs/adr/0024.
"""

import contextlib
import glob
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from ..errors import RunError

# a file that MLflow is filling doesn't stay as it is for so many seconds
SETTLED = 5.0


def make_store(uri: str) -> None:
    """Make the SQLite file that an address names, where there is none; any other store is left to MLflow.

    Raises:
        RunError: MLflow left the file half made; says what to do.
        OSError: the folder can't be written.
    """
    path = sqlite_file(uri)
    if path is None or _is_used(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _turn(path.parent) as is_alone:
        if not path.exists():
            _make(path, is_alone=is_alone)
        elif not _is_used(path) and _is_left(path):
            if path.stat().st_size == 0:
                _make(path, is_alone=is_alone)
            else:
                _finish(uri, path)


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store; None where the store is something else."""
    if not uri.startswith("sqlite"):
        return None
    from sqlalchemy import make_url

    name = make_url(uri).database or ""
    return None if name in ("", ":memory:") or name.startswith("file:") else Path(name)


def count_runs(path: Path) -> int | None:
    """The number of runs in a SQLite store; None where that can't be read."""
    with contextlib.suppress(sqlite3.Error), _opened(path) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        return int(database.execute("SELECT COUNT(*) FROM runs").fetchone()[0]) if "runs" in tables else 0
    return None


def _is_used(path: Path) -> bool:
    """Whether the file was finished once, as the default experiment shows, which comes last.

    What can't be read counts as finished: MLflow says why.
    """
    if not path.exists() or path.stat().st_size == 0:
        return False
    try:
        return _state(path)[-1] > 0
    except sqlite3.Error:
        return True


def _state(path: Path) -> tuple[list[str], list[str], int]:
    """Tables, revisions of the schema, and number of experiments."""
    with _opened(path) as database:

        def rows(query: str) -> list[str]:
            return [str(row[0]) for row in database.execute(query)]

        tables = rows("SELECT name FROM sqlite_master ORDER BY name")
        revisions = rows("SELECT version_num FROM alembic_version") if "alembic_version" in tables else []
        return tables, revisions, len(rows("SELECT 1 FROM experiments LIMIT 1")) if "experiments" in tables else 0


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    # mode=rw makes no file; a disk that can only be read is read
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=20)) as database:
        yield database


def _is_left(path: Path) -> bool:
    """Whether a file was left unfinished; waits as long as another program, such as `mlflow server`, is making it."""
    seen, since = None, time.monotonic()
    while not _is_used(path):
        now = None
        if path.stat().st_size:
            with contextlib.suppress(sqlite3.Error):  # locked, by whoever makes it
                now = _state(path)
        if now != seen:
            seen, since = now, time.monotonic()
        if time.monotonic() - since > SETTLED:
            return True
        time.sleep(0.1)
    return False


def _make(path: Path, *, is_alone: bool) -> None:
    if is_alone:  # what killed processes left
        for left in path.parent.glob(f".{glob.escape(path.name)}-*.draft*"):
            left.unlink(missing_ok=True)
    draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}.draft")
    try:
        draft.touch()  # MLflow tries for minutes where it can't make a file
        _fill(f"sqlite:///{draft}")
        if path.exists() and path.stat().st_size == 0:
            draft.replace(path)
            return
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        except OSError:  # a disk without hard links
            if not path.exists():
                draft.replace(path)
    finally:
        for left in path.parent.glob(f"{glob.escape(draft.name)}*"):
            left.unlink(missing_ok=True)


def _fill(uri: str) -> None:
    """Let MLflow make the tables and the default experiment."""
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(uri, DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH)  # type: ignore[no-untyped-call]
    store.engine.dispose()


def _finish(uri: str, path: Path) -> None:
    """Let MLflow go on with a file that it left half made, which it sometimes can."""
    try:
        _fill(uri)
    except Exception:  # alembic's, SQLAlchemy's and MLflow's own
        raise RunError(f"{path}: {half_made(path)}") from None


def half_made(path: Path) -> str:
    """What to do with a file whose tables aren't those of a store."""
    runs = count_runs(path)
    cause = "MLflow left it half made: killed meanwhile, or started by several commands at once"
    if runs == 0:
        return f"{cause}; no run is in it: delete the file, and give the same command again"
    kept = "its runs can't be counted" if runs is None else f"runs in it: {runs:,}"
    return f"{cause}; {kept}. Copy the file, then try `mlflow db upgrade`, or move it away to begin a new store"


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[bool]:
    """One process at a time, where system and disk can do that; says whether. It spares work: all holds without it.

    The folder is what is locked, so no file is left behind.
    """
    try:
        import fcntl
    except ImportError:  # not POSIX
        yield False
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        is_locked = False
        with contextlib.suppress(OSError):  # a disk in the network
            fcntl.flock(handle, fcntl.LOCK_EX)
            is_locked = True
        yield is_locked
    finally:
        os.close(handle)
