"""Files and folders that are written whole or not at all, and the small JSON files that describe them."""

import contextlib
import hashlib
import json
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
DIGEST = "sha256"  # key of a description's digest in its file
MAX_HEADER = 2**24  # bytes of a description; one of 10,000 classes takes half a million


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
        with blame(path, draft):
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
    """Write a small description as JSON with its own digest; whole, or not at all."""
    tree = json.loads(header.model_dump_json())
    text = json.dumps(tree | {DIGEST: _digest(tree)}, indent=2, ensure_ascii=False)
    with atomic_path(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def read_header(path: Path, kind: type[Header], error: type[MmclfError], hint: str) -> Header:
    """Read what `write_header` wrote.

    Args:
        path: of the JSON file.
        kind: of the description.
        error: to raise.
        hint: a question or an advice for whoever finds no file there.

    Raises:
        MmclfError: `error`, where there is no such file, none that this version reads, or one that was changed since.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_HEADER + 1)
    except OSError as reason:
        raise error(f"{path}: can't be read ({reason.strerror}); {hint}") from None
    if len(content) > MAX_HEADER:
        raise error(f"{path}: is larger than {MAX_HEADER:,} bytes, so mmclf didn't write it")
    try:
        tree = json.loads(content.decode("utf-8"))
        digest = tree.pop(DIGEST, None)
        found = kind.model_validate_json(json.dumps(tree))
    except ValidationError as reason:
        first: Any = reason.errors()[0]
        where = [str(path), ".".join(map(str, first["loc"]))] if first["loc"] else [str(path)]
        raise error(f"{': '.join(where)}: {first['msg']}; written by another version of mmclf?") from None
    # neither UTF-8 nor JSON, too deep, a number of thousands of digits, or no mapping
    except (ValueError, RecursionError, AttributeError, TypeError) as reason:
        raise error(f"{path}: is damaged: {reason}") from None
    if digest is None:
        raise error(f"{path}: has no {DIGEST}, so damage wouldn't show; an older mmclf wrote it: make it anew")
    if digest != _digest(tree):
        raise error(f"{path}: was changed or damaged after it was written (its {DIGEST} differs)")
    return found


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hex digits.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _digest(tree: dict[str, Any]) -> str:
    """SHA-256 of a description's JSON, whatever its layout; the order in lists counts."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
