"""Folders that a user names for the results: tried before hours of work, filled when it is done."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import OutputError
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
        with tempfile.NamedTemporaryFile(prefix=".mmclf-", dir=place) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        raise OutputError(f"{option}: {_reason(error, place)}") from None
    finally:
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()


@dataclass
class Delivery:
    """Result files, and where they stay besides the folder that the user named.

    Attributes:
        folder: temporary; the files are written here.
        kept: that they are safe, in words, once they are; "" until then.
    """

    folder: Path
    kept: str = field(default="")


@contextlib.contextmanager
def delivery(out: str = "", option: str = "--out") -> Iterator[Delivery]:
    """A temporary folder whose files are copied to `out`, where one is named, when the block ends well.

    Raises:
        OutputError: they can't be copied; says where they are all the same.
    """
    with scratch_folder() as folder:
        made = Delivery(folder)
        yield made
        if not out:
            return
        place = Path(out)
        try:
            for path in sorted(made.folder.iterdir()):
                with atomic_path(place / path.name) as draft:
                    shutil.copyfile(path, draft)
        except OSError as error:
            raise OutputError(f"{option}: {_reason(error, place)}. {made.kept}".strip()) from None


def _reason(error: OSError, place: Path) -> str:
    return explain(error) or f"{place}: {error}"
