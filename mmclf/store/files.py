"""Files and folders that are written whole or not at all, and the small JSON files that describe them."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..errors import MmclfError
from .failures import blame

Header = TypeVar("Header", bound=BaseModel)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and goes away otherwise.

    Raises:
        OSError: of the disk, with a file name also where the block's own had none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    draft = Path(name)
    try:
        with blame(path):
            yield draft
        draft.chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        draft.replace(path)
    finally:
        with contextlib.suppress(OSError):  # a disk that has failed meanwhile; what failed first is what counts
            draft.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends well, and goes away otherwise.

    A former folder at this place is moved aside first and deleted last, so that one of the two is always whole.

    Raises:
        OSError: as `atomic_path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        with blame(path):
            yield draft
        draft.chmod(0o777 & ~_umask())
        former = draft.with_name(f"{draft.name}-former")
        if path.exists():
            path.replace(former)
        try:
            draft.replace(path)
        except OSError:
            if former.exists():
                former.replace(path)
            raise
        shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_header(path: Path, header: BaseModel) -> None:
    """Write a small description as JSON; whole, or not at all."""
    with atomic_path(path) as draft:
        draft.write_text(header.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_header(path: Path, kind: type[Header], error: type[MmclfError], hint: str) -> Header:
    """Read what `write_header` wrote.

    Args:
        path: of the JSON file.
        kind: of the description.
        error: to raise.
        hint: a question or an advice for whoever finds no file there.

    Raises:
        MmclfError: `error`, where there is no such file, or none that this version reads.
    """
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as reason:
        raise error(f"{path}: can't be read ({reason.strerror}); {hint}") from None
    except (ValidationError, UnicodeDecodeError) as reason:
        first: Any = reason.errors()[0] if isinstance(reason, ValidationError) else {"loc": (), "msg": "not UTF-8"}
        key = ".".join(map(str, first["loc"]))
        raise error(f"{path}: {key}: {first['msg']}; written by another version of mmclf?") from None


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def link(source: Path, target: Path) -> None:
    """The same file at another place, without a copy where the disk allows it."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
