"""Room on a disk, looked at before much is written to it."""

from pathlib import Path

from ..runtime.progress import say
from .cache import GIB
from .failures import free_bytes

MIB = 2**20


def warn_if_short(needs: dict[str, tuple[Path, int]]) -> None:
    """Say so in one line where disks have less room than will be needed; what lies on one disk is added up.

    Args:
        needs: what will be written, in words: the folder that it goes to, and bytes.
    """
    disks: dict[int, list[str]] = {}
    for what, (folder, _) in needs.items():
        disks.setdefault(_disk(folder), []).append(what)
    short = []
    for names in disks.values():
        folder, needed = needs[names[0]][0], sum(needs[name][1] for name in names)
        free = free_bytes(folder)
        if free < needed:
            short.append(f"{folder} has {show_size(free)} left, and {' and '.join(names)} take {show_size(needed)}")
    if short:
        say(f"warning: {'; '.join(short)}; make room meanwhile, or start again on a larger disk")


def show_size(count: float) -> str:
    """Bytes as `3.1 GiB`, `20.0 MiB` or `12 KiB`."""
    if count >= GIB:
        return f"{count / GIB:.1f} GiB"
    return f"{count / MIB:.1f} MiB" if count >= MIB else f"{count / 1024:.0f} KiB"


def _disk(folder: Path) -> int:
    return next((place for place in (folder, *folder.parents) if place.exists()), Path.cwd()).stat().st_dev
