"""The picture files of a folder, and what is named like one but is none, or lies elsewhere."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ..errors import PictureError
from .picture_matching import is_picture

NAMED = 3  # of what is left out
OUTSIDE = "a link out of the folder"


@dataclass(frozen=True)
class PictureFolder:
    """What a folder holds.

    Attributes:
        root: the folder.
        names: of its picture files, in no order.
        left_out: name of each other entry with the suffix of a picture, and what it is; sorted.
    """

    root: Path
    names: list[str]
    left_out: tuple[tuple[str, str], ...]

    def warning(self) -> str:
        """One line on what is left out; empty where nothing is."""
        if not self.left_out:
            return ""
        count = len(self.left_out)
        named = ", ".join(f"{name} ({what})" for name, what in self.left_out[:NAMED])
        more = f" and {count - NAMED:,} more" if count > NAMED else ""
        hint = "; data.follow_links=true follows links" if any(what == OUTSIDE for _, what in self.left_out) else ""
        entries = "1 entry named like a picture is" if count == 1 else f"{count:,} entries named like pictures are"
        return f"{self.root}: {entries} left out: {named}{more}{hint}"


def list_pictures(root: Path, *, follow_links: bool) -> PictureFolder:
    """List a folder, not searched below its first level; nothing in it is opened.

    Args:
        root: the folder.
        follow_links: symbolic links may lead out of it; those that stay in it are followed in any case.

    Raises:
        PictureError: no such folder.
    """
    names, left_out = [], []
    try:
        inside = root.resolve()
        with os.scandir(root) as entries:
            for entry in entries:
                if is_picture(entry.name):
                    what = _what_else(entry, inside, follow_links)
                    if what:
                        left_out.append((entry.name, what))
                    else:
                        names.append(entry.name)
    except FileNotFoundError:
        raise PictureError(f"{root}: no such folder; give the folder of pictures as --images") from None
    except NotADirectoryError:
        raise PictureError(f"{root}: is a file, not a folder of pictures") from None
    except OSError as error:
        raise PictureError(f"{root}: can't be listed: {error.strerror}") from None
    return PictureFolder(root, names, tuple(sorted(left_out)))


def _what_else(entry: "os.DirEntry[str]", inside: Path, follow_links: bool) -> str:
    """What an entry is, where it is no picture file; else empty."""
    try:
        if not entry.is_symlink():
            return "" if entry.is_file(follow_symlinks=False) else _kind(entry.stat(follow_symlinks=False).st_mode)
        target = Path(os.path.realpath(entry.path, strict=True))
        mode = target.stat().st_mode
    except OSError:  # a loop, or gone
        return "a link that leads nowhere"
    if not stat.S_ISREG(mode):
        return f"a link to {_kind(mode)}"
    return "" if follow_links or target.is_relative_to(inside) else OUTSIDE


def _kind(mode: int) -> str:
    names = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return names.get(stat.S_IFMT(mode), "a device")
