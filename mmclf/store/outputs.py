"""Folders that a user names for the results: tried before hours of work, filled when it is done."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import OutputError
from ..runtime.progress import say
from .failures import explain
from .files import atomic_path
from .scratch import scratch_folder


def try_folder(folder: str | Path, option: str = "--out") -> None:
    """Write a little file into a folder, and leave it as it was; a folder that doesn't exist is made for that.

    Args:
        folder: "" for none, which is right; so is a URI, which only Spark can try.
        option: that names it.

    Raises:
        OutputError: it can't be made or written.
    """
    if not str(folder) or "://" in str(folder):
        return
    place = Path(folder)
    made = [each for each in (place, *place.parents) if not each.exists()]
    try:
        place.mkdir(parents=True, exist_ok=True)
        _write_little(place)
    except OSError as error:
        raise OutputError(f"{option}: {_reason(error, place)}") from None
    finally:
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()


def _write_little(place: Path) -> None:
    try:
        handle, name = tempfile.mkstemp(prefix=".mmclf-", dir=place)
        os.close(handle)
        try:
            Path(name).write_bytes(bytes(4096))
        finally:
            Path(name).unlink()
    except OSError as error:  # the folder is what the user named
        raise OSError(error.errno, error.strerror, str(place)) from None


@dataclass
class Delivery:
    """Result files, and where they stay besides the folder that the user named.

    Attributes:
        folder: temporary; the files are written here.
        is_whole: all of them are written; from then on they go to the user's folder whatever else fails.
        kept: that they are safe, in words, once they are; "" until then.
    """

    folder: Path
    is_whole: bool = False
    kept: str = ""


@contextlib.contextmanager
def delivery(out: str = "", option: str = "--out") -> Iterator[Delivery]:
    """A temporary folder whose files are copied to `out`, where one is named, when the block ends well.

    Raises:
        OutputError: they can't be copied; says where they are all the same.
    """
    with scratch_folder() as folder:
        made = Delivery(folder)
        try:
            yield made
        except Exception:
            if out and made.is_whole:
                with contextlib.suppress(OSError):
                    _copy(made.folder, Path(out))
                    say(f"note: the result files are in {out} all the same")
            raise
        if not out:
            return
        try:
            _copy(made.folder, Path(out))
        except OSError as error:
            raise OutputError(f"{option}: {_reason(error, Path(out))}. {made.kept}".strip()) from None


def _copy(folder: Path, place: Path) -> None:
    for path in sorted(folder.iterdir()):
        with atomic_path(place / path.name) as draft:
            shutil.copyfile(path, draft)


def _reason(error: OSError, place: Path) -> str:
    return explain(error) or f"{place}: {error}"
