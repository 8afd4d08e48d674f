"""Files that a browser sends to be labelled: pictures, a table, archives of them. None of it is trusted.

A file is kept under the last part of its name alone, so no name leads out of the folder, be it sent or in an archive.
What unpacks is counted as it unpacks, against the same bounds as what is sent.
"""

import contextlib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..config import DataConfig
from ..data.catalog import join_text, match_pictures
from ..data.columns import choose_text_columns, read_ids
from ..data.picture_matching import is_picture, possible_owners
from ..data.rows import Rows
from ..data.table import Table, open_table
from ..errors import RowError, TableError, TooLargeError
from ..scoring.limits import MIB, Limits

TABLE, ARCHIVE = ".csv", ".zip"
NAME_BYTES = 200  # of a file's name; most file systems take 255
PART = 2**20  # bytes that are unpacked at a time
# of an archive's list of contents: Python makes ten times as much of it before anything can be counted
MOST_LISTED = 4 * MIB
END, END_SIZE, LARGE_END = b"PK\x05\x06", 22, b"PK\x06\x07"  # of the list; APPNOTE.TXT 4.3.15 and 4.3.16
LONGEST_COMMENT = 2**16
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 1  # a flag of an entry


@dataclass(frozen=True)
class Uploaded:
    """What is to be labelled.

    Attributes:
        rows: the products.
        notes: sentences on what was left out.
    """

    rows: Rows
    notes: tuple[str, ...]


class Upload:
    """Files on their way into a folder."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """
        Args:
            folder: exists, and belongs to this upload alone.
            limits: `body_bytes` of all files together, packed or unpacked; `picture_bytes`; `rows` and the rest.
        """
        self._folder, self._limits = folder, limits
        self._pictures = folder / "pictures"
        self._pictures.mkdir()
        self._table: Path | None = None
        self._archives: list[Path] = []
        self._bytes = 0
        self._left_out = 0

    @contextlib.contextmanager
    def receive(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """A file by its parts; it is kept when the block ends well.

        Args:
            name: of a picture, a CSV or a zip archive; of a path the last part.

        Raises:
            RowError: it is none of them, has no usable name, or is there already.
            TooLargeError: it is, or all files together are.
        """
        last = last_part(name)
        suffix = Path(last).suffix.lower()
        if suffix not in (TABLE, ARCHIVE) and not is_picture(last):
            raise RowError(f"{last:.80}: is neither a picture, a {TABLE} nor a {ARCHIVE}")
        place = self._pictures / last if is_picture(last) else self._folder / last
        if place.exists():
            raise RowError(f"{last}: is there twice, perhaps in two folders; give each file a name of its own")
        if suffix == TABLE and self._table is not None:
            raise RowError(f"{last}: is a second table beside {self._table.name}; send one at a time")
        most = self._limits.picture_bytes if is_picture(last) else self._limits.body_bytes
        size = 0
        try:
            with place.open("xb") as file:

                def write(part: bytes) -> None:
                    nonlocal size
                    size += len(part)
                    if size > most:
                        raise TooLargeError(f"{last}: is larger than {most / MIB:g} MiB; send a smaller one")
                    self._count(len(part))
                    file.write(part)

                yield write
        except BaseException:
            place.unlink(missing_ok=True)
            self._bytes -= size
            raise
        if suffix == TABLE:
            self._table = place
        elif suffix == ARCHIVE:
            self._archives.append(place)

    def read(self, data: DataConfig, text_cols: tuple[str, ...]) -> Uploaded:
        """The products: rows of the table, or one for each picture where there is no table.

        Args:
            data: how a table is read.
            text_cols: of the model.

        Raises:
            RowError, TableError, PictureError: it can't be used.
            TooLargeError: it is too large.
        """
        for archive in self._archives:
            self._unpack(archive)
        self._archives.clear()
        names = sorted(path.name for path in self._pictures.iterdir())
        notes = [f"{self._left_out:,} files of the archive were left out: no pictures"] if self._left_out else []
        if self._table is not None:
            table = open_table(self._table)
        else:
            table, nameless = _one_row_each(names, data.id_col, text_cols)
            if nameless:
                notes.append(f"{nameless:,} pictures were left out: without a table, one is a .jpg, .png or .webp")
        found = self._rows(table, bool(names), data, text_cols)
        self._check(found)
        owned = sum(map(len, found.pictures))
        if self._table is not None and owned < len(names):
            notes.append(f"{len(names) - owned:,} pictures belong to no row")
        return Uploaded(found, tuple(notes))

    def clean(self, message: str) -> str:
        """A message without the folder's path, which is nobody's business."""
        return message.replace(f"{self._folder}/", "").replace(str(self._folder), "the upload")

    def _count(self, size: int) -> None:
        most = self._limits.body_bytes
        self._bytes += size
        if self._bytes > most:
            raise TooLargeError(f"all files together are larger than {most / MIB:g} MiB; send fewer at a time")

    def _unpack(self, path: Path) -> None:
        name = path.name
        _check_list(path)
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    last = entry.filename.replace("\\", "/").rpartition("/")[2]
                    wanted = is_picture(last) or last.lower().endswith(TABLE)
                    if not last or last.startswith(".") or "__MACOSX/" in entry.filename:
                        continue  # a folder, or what an operating system adds
                    if not wanted:
                        self._left_out += 1
                        continue
                    if entry.flag_bits & ENCRYPTED or entry.compress_type not in METHODS:
                        raise RowError(f"{name}: {last:.80} is encrypted or packed in an unusual way; pack it anew")
                    with archive.open(entry) as packed, self.receive(last) as write:
                        while part := packed.read(PART):
                            write(part)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
            raise RowError(f"{name}: can't be unpacked ({error!s:.120}); is it a whole zip archive?") from None
        path.unlink()

    def _rows(self, table: Table, has_pictures: bool, data: DataConfig, text_cols: tuple[str, ...]) -> Rows:
        ids = read_ids(table, data.id_col)
        if len(ids) > self._limits.rows:
            raise TooLargeError(f"{len(ids):,} rows are too many (at most {self._limits.rows:,}); send fewer at a time")
        fields = [table.frame[column].tolist() for column in choose_text_columns(table, text_cols, None)]
        texts = [join_text(row) for row in zip(*fields, strict=True)] if fields else [""] * len(ids)
        titles = [join_text([field]) for field in fields[0]] if len(fields) > 1 else None
        pictures: list[tuple[str, ...]] = [()] * len(ids)
        if has_pictures:
            pictures = match_pictures(self._pictures, ids)
        return Rows(ids, texts, pictures, self._pictures, titles)

    def _check(self, rows: Rows) -> None:
        limits = self._limits
        for row, (text, pictures) in enumerate(zip(rows.texts, rows.pictures, strict=True), start=1):
            if len(text) > limits.characters:
                raise TooLargeError(
                    f"row {row}: {len(text):,} characters of text are too many (at most {limits.characters:,})"
                )
            if len(pictures) > limits.pictures:
                raise TooLargeError(f"row {row}: {len(pictures):,} pictures are too many (at most {limits.pictures:,})")
        characters = sum(map(len, rows.texts))
        if characters > limits.all_characters:
            raise TooLargeError(
                f"{characters:,} characters are too many (at most {limits.all_characters:,}); send fewer rows"
            )


def last_part(name: str) -> str:
    """Of a path with either kind of slash, what can be the name of a file here.

    Raises:
        RowError: nothing is left of it.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    if not last.strip(". ") or not last.isprintable() or len(last.encode("utf-8", "replace")) > NAME_BYTES:
        raise RowError(f"{last!r:.80}: can't be the name of a file here; rename it")
    return last


def _one_row_each(names: list[str], id_col: str, text_cols: tuple[str, ...]) -> tuple[Table, int]:
    """A table with a row for each picture, by its name; and how many have a name that no row can find."""
    owners = {name: next(iter(possible_owners(name)), "") for name in names}
    ids = list(dict.fromkeys(owner for owner in owners.values() if owner))
    if not ids:
        raise TableError("there is neither a table nor a picture in it; send a CSV, pictures, or a zip of them")
    frame = pd.DataFrame({column: ids if column == id_col else [""] * len(ids) for column in (id_col, *text_cols)})
    return open_table(frame), sum(not owner for owner in owners.values())


def _check_list(path: Path) -> None:
    """The list of an archive's contents is of a bounded size; it is read as a whole when the archive is opened."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - END_SIZE - LONGEST_COMMENT))
        tail = file.read()
    end = tail.rfind(END)
    if end < 0 or len(tail) < end + END_SIZE:
        raise RowError(f"{path.name}: is no zip archive, or its end is missing")
    listed = int.from_bytes(tail[end + 12 : end + 16], "little")
    if listed > MOST_LISTED or LARGE_END in tail[max(0, end - 20) : end]:
        raise RowError(f"{path.name}: lists too many files; send fewer at a time")
