"""What a disk that is full, read-only or broken did to us, as a sentence that names the file and says what to do."""

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import MmclfError
from ..runtime import environment

FULL = (errno.ENOSPC, errno.EDQUOT)
ROOM = "make room there, or choose another disk (TMPDIR, MMCLF_CACHE_DIR), and give the same command again"
ALLOW = "change its permissions, or name another place"
MEND = {
    **dict.fromkeys(FULL, ROOM),
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), or name a place on another disk",
    errno.EROFS: "name a place on a disk that can be written",
    errno.EACCES: ALLOW,
    errno.EPERM: ALLOW,
    errno.EIO: "the disk may be failing; look into the system's log, and name a place on another disk",
    errno.ENOENT: "was it moved or deleted meanwhile?",
    errno.EEXIST: "delete or rename what is there, or name another place",
    errno.EISDIR: "a folder is in a file's place; delete or rename it, or name another place",
    errno.ENOTDIR: "a file is in a folder's place; delete or rename it, or name another place",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or use fewer data.num_workers",
    errno.ENFILE: "the system has too many open files; end other programs",
    errno.ENAMETOOLONG: "name a shorter path",
}
# no slip of the program looks like these, whatever file it was
UNMISTAKABLE = (errno.EROFS, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE)
# a disk with less room than this counts as full
LITTLE = 2**20


@contextlib.contextmanager
def blame(path: Path, draft: Path | None = None) -> Iterator[None]:
    """Name `path` in the failures of the block that name no file: those of writing to an open one, of safetensors.

    Args:
        path: that is written, for people.
        draft: what it is called meanwhile; failures that name this name `path` instead.
    """
    try:
        yield
    except MmclfError:
        raise
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        if draft is not None and str(draft) in (str(error.filename), str(error.filename2)):
            error.filename, error.filename2 = str(path), None
        raise
    except Exception as error:  # libraries in Rust have kinds of their own
        number = _number(str(error))
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def explain(error: BaseException) -> str | None:
    """A failure of the disk in one sentence.

    Returns:
        `<path>: what is the matter; what to do`, or None where the disk isn't the matter: that is an error of the
        program, or of something else.
    """
    if isinstance(error, shutil.Error):  # of a folder that was copied: what became of each of its files
        return _of_copies(error)
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        number = _number(str(error))
        if number not in FULL:  # any other number in some text may mean anything
            return None
    if isinstance(error, OSError) and error.filename is not None:
        named = error.filename2 if error.filename2 is not None else error.filename  # of a copy, the file written
        return _sentence(named if isinstance(named, str) else os.fsdecode(named), number)
    if number in FULL:
        return _sentence(full_places() or f"a disk ({str(error).splitlines()[0][:200]})", number)
    if number == errno.ENOENT:  # tempfile's
        return f"{error.strerror if isinstance(error, OSError) else error}; set TMPDIR to a folder that can be written"
    return _sentence("a file", number) if number in UNMISTAKABLE else None


def full_places() -> str:
    """The folders that mmclf writes to by itself and whose disks have next to no room left, with commas."""
    places = {"the temporary folder": _temporary_folder(), "the working folder": Path.cwd()}
    return ", ".join(f"{name} {folder}" for name, folder in places.items() if free_bytes(folder) < LITTLE)


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written below a folder, which needn't exist yet."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), Path.cwd())
    return shutil.disk_usage(there).free


def _sentence(place: str, number: int) -> str:
    what = "no space left" if number in FULL else os.strerror(number).lower()
    return f"{place}: {what}; {MEND[number]}" if number in MEND else f"{place}: {what}"


def _of_copies(error: shutil.Error) -> str:
    failed: Any = error.args[0]
    if isinstance(failed, str):  # the two are the same file, or one is a folder
        return failed
    _, target, reason = failed[0]
    number = _number(str(reason))
    return f"{target}: {reason}" if number is None else _sentence(str(target), number)


def _number(text: str) -> int | None:
    """The system's number of a failure, from the text of a library that keeps nothing else of it."""
    found = re.search(r"\[errno (\d+)\]|\(os error (\d+)\)", text, flags=re.IGNORECASE)
    if found:
        return int(found[1] or found[2])
    return errno.ENOSPC if os.strerror(errno.ENOSPC) in text else None


def _temporary_folder() -> Path:
    # gettempdir takes another folder where TMPDIR's is full
    return Path(environment.TMPDIR.get() or tempfile.gettempdir())
