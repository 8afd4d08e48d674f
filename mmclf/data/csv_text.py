"""The text of a CSV: a regular file, plain or compressed, of a bounded size."""

import bz2
import contextlib
import csv
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import IO, Any

from ..errors import TableError

OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
ZIP = ".zip"
# a compressed text has a tenth of its size, a bomb a thousandth
MOST_RATIO, ALWAYS_READ = 100, 2**30


def check_file(path: Path, key: str) -> None:
    """It is one that can be read as often as needed; to open a pipe would be to wait for its writer.

    Args:
        path: of the table.
        key: the option that named it, for messages.

    Raises:
        TableError: it isn't there, or is a folder, a pipe or a device, or is compressed in another way.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise TableError(f"{path}: no such file; give the table as {key}") from None
    except (OSError, ValueError) as error:
        raise TableError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from None
    if S_ISDIR(mode):
        raise TableError(f"{path}: is a folder; give a CSV as {key}")
    if not S_ISREG(mode):
        raise TableError(f"{path}: is a pipe or a device, not a file; save the table as a file and give that as {key}")
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if {".tar", ".tgz", ".zst"} & set(suffixes):
        raise TableError(f"{path}: is compressed as {''.join(suffixes)}; the ways that are read: {_ways()}")


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[io.TextIOWrapper]:
    """Its text, without a byte order mark and with the line ends it has, decompressed if its name says so.

    Raises:
        TableError: an archive of several files, or one that decompresses to more than a text would.
        Exception: what each decompressor raises.
    """
    with contextlib.ExitStack() as stack:
        suffix = path.suffix.lower()
        if suffix == ZIP:
            archive = stack.enter_context(zipfile.ZipFile(path))
            if len(names := archive.namelist()) != 1:
                raise TableError(f"{path}: holds {len(names):,} files; a compressed table is one file alone")
            content: IO[bytes] = stack.enter_context(archive.open(names[0]))
        else:
            content = stack.enter_context(OPENERS[suffix](path) if suffix in OPENERS else path.open("rb"))
        yield stack.enter_context(io.TextIOWrapper(content, encoding="utf-8-sig", newline=""))


def measure(path: Path) -> tuple[int, int]:
    """Numbers of its lines, and of separators: commas and ends of lines.

    Raises:
        TableError: it is compressed, a hundred times as large as its file, and more than 1 GiB.
        Exception: what each decompressor raises.
    """
    most = max(ALWAYS_READ, MOST_RATIO * path.stat().st_size)
    size = commas = lines = 0
    last = b"\n"
    with open_text(path) as text:
        while part := bytes(text.buffer.read(2**20)):
            size += len(part)
            if size > most:
                raise TableError(f"{path}: decompresses to more than {most:,} bytes; is it a table?")
            commas += part.count(b",")
            lines += part.count(b"\n") + part.count(b"\r") - part.count(b"\r\n")
            last = part[-1:]
    lines += last not in b"\r\n"
    return lines, commas + lines


def split_records(text: Iterable[str]) -> Generator[list[str]]:
    """The fields of each record, of any length as in pandas; of a blank line none.

    Args:
        text: lines with their ends.
    """
    limit = csv.field_size_limit(2**31 - 1)
    try:
        yield from (fields if len(fields) > 1 or "".join(fields).strip() else [] for fields in csv.reader(text))
    finally:
        csv.field_size_limit(limit)


def _ways() -> str:
    return ", ".join((*OPENERS, ZIP))
