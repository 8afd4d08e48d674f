"""Temporary folders that are found again when their process was killed."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..runtime import environment
from ..runtime.process import ProcessName, this_process

PREFIX = "mmclf-"
# PREFIX, number and start of the process, and what makes it unique
NAME = re.compile(rf"{PREFIX}(\d+)-(\d+)-\w+")

# where temporary files go, as long as those of this process have a folder of their own there
_outside: list[Path] = []


def make_scratch() -> Path:
    """A temporary folder whose name tells its process."""
    process = this_process()
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{process.pid}-{process.started}-"))


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """The same, deleted when the block ends."""
    folder = make_scratch()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def own_temporary_folder() -> Iterator[Path]:
    """All temporary files of this process, and of those that it starts, go below one folder while the block runs.

    So those of libraries too are deleted after a kill: see `sweep`.
    """
    before = tempfile.tempdir
    _outside.append(Path(tempfile.gettempdir()))
    with scratch_folder() as folder, environment.TMPDIR.held(str(folder)):
        tempfile.tempdir = str(folder)
        try:
            yield folder
        finally:
            tempfile.tempdir = before
            _outside.pop()


def sweep(folder: Path | None = None) -> list[Path]:
    """Delete what killed processes of this machine and user left; returns the folders.

    Args:
        folder: to look in; None for that of temporary files.
    """
    root = folder or next(iter(_outside), Path(tempfile.gettempdir()))
    found = []
    for path in root.glob(f"{PREFIX}*"):
        match = NAME.fullmatch(path.name)
        if match is None or path.is_symlink() or not path.is_dir():
            continue
        owner = ProcessName(this_process().host, int(match[1]), int(match[2]))
        if owner.is_alive or (hasattr(os, "getuid") and path.stat().st_uid != os.getuid()):
            continue
        shutil.rmtree(path, ignore_errors=True)
        found.append(path)
    return found
