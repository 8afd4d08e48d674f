"""What became of MLflow's store, as a sentence: MLflow, SQLAlchemy and requests each have errors of their own."""

import re
from collections.abc import Iterator

import mlflow
from mlflow.exceptions import MlflowException

from ..store import failures
from .first_start import half_made, sqlite_file

# what SQLite says, and what that means; the first that is found counts
SQLITE = {
    "database or disk is full": f"no space left; {failures.ROOM}",
    "readonly database": "can't be written: the file, its folder or the disk is read-only; allow writing, or name "
    "another store by MLFLOW_TRACKING_URI",
    "disk I/O error": "its disk fails to read or write (full, or broken?); make room or move the store to another disk",
    "unable to open database file": "can't be opened; does its folder exist, and may you write there?",
    "database is locked": "another process has held it for too long; wait for it, or use a server (`mlflow server`)",
    "malformed": "is damaged; move it away, and bring back a copy",
    "out-of-date database schema": "its tables are of another version of MLflow; copy the file, then run `mlflow db "
    "upgrade` with this address, or use that version",
    "locate revision": "its tables are of a newer MLflow; use that version, or name another store",
    "not a database": "is no SQLite file; check MLFLOW_TRACKING_URI",
}
OF_TABLES = ("no such table", "no such column", "already exists", "duplicate column", "migration expected")
# those of the surroundings; SQLAlchemy's and requests' others, and MLflow's other codes, are a program's mistakes
DATABASE = ("OperationalError", "DatabaseError", "InterfaceError", "InternalError", "TimeoutError")
CODES = (
    "ABORTED",
    "CANCELLED",
    "CUSTOMER_UNAUTHORIZED",
    "DATA_LOSS",
    "DEADLINE_EXCEEDED",
    "ENDPOINT_NOT_FOUND",
    "INTERNAL_ERROR",
    "PERMISSION_DENIED",
    "REQUEST_LIMIT_EXCEEDED",
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_EXHAUSTED",
    "TEMPORARILY_UNAVAILABLE",
    "UNAUTHENTICATED",
)
# as SQLAlchemy names them: of SQLite and MySQL, and of PostgreSQL
TWICE = ("IntegrityError", "UniqueViolation")
MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")


def store_name(uri: str | None = None) -> str:
    """The address of a store, of the tracking store by default, without a password."""
    return without_passwords(mlflow.get_tracking_uri() if uri is None else uri)


def without_passwords(text: str) -> str:
    """A text with the user and password of every address in it left out."""
    return re.sub(r"(?<=://)[^/\s]+@", "", text)


def is_missing(error: MlflowException) -> bool:
    """Whether MLflow says that what was asked for doesn't exist, or can't, by its name; else the store has failed."""
    return error.error_code in MISSING


def is_there_already(error: MlflowException) -> bool:
    """Whether a database refuses a row since another process stored the same one at the same time."""
    return any(name in str(error) for name in TWICE)


def explain(error: BaseException) -> str | None:
    """A failure of the store in one sentence.

    Returns:
        `MLflow: the store <address>: what is the matter`, or None where neither store nor disk is: that is an error
        of the program.
    """
    chain = list(_causes(error))
    for cause in chain:
        if not isinstance(cause, MlflowException) and (said := failures.explain(cause)) is not None:
            return said
    inner = chain[-1]
    if isinstance(error, MlflowException):
        is_known = isinstance(inner, MlflowException) or _is_of_surroundings(inner)
        if not is_known or (error.error_code not in CODES and not _is_of_surroundings(inner)):
            return None
    elif not _is_of_surroundings(inner):
        return None
    return f"MLflow: the store {store_name()}: {_meaning(str(error))}"


def cannot_open(error: BaseException) -> str:
    """Why a store can't be opened, in a sentence. Every backend raises its own, so any error counts."""
    return explain(error) or f"MLflow: the store {store_name()} can't be opened ({_meaning(str(error))})"


def _meaning(text: str) -> str:
    uri = mlflow.get_tracking_uri()
    file = sqlite_file(uri)
    if file is not None:
        for word, meaning in SQLITE.items():
            if word in text:
                return meaning
        if any(word in text for word in OF_TABLES):
            return half_made(file)
    first = (text.splitlines() or [""])[0]
    advice = "is the server up? Check MLFLOW_TRACKING_URI" if uri.startswith("http") else "check MLFLOW_TRACKING_URI"
    return f"{without_passwords(first)[:300]}; {advice}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on to the first."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _is_of_surroundings(error: BaseException) -> bool:
    """Whether a database or a connection failed, rather than the program that used it."""
    package = type(error).__module__.partition(".")[0]
    if package in ("sqlite3", "sqlalchemy"):
        return type(error).__name__ in DATABASE
    return package in ("requests", "urllib3") or isinstance(error, (ConnectionError, TimeoutError))
