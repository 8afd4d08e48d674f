"""What the speed of encoding depends on, as a phrase: features of one kind take as long a piece."""

from ..config import HF_HUB, LOCAL_DIR


def towers_used(name: str, pretrained: str | None, img_size: int, precision: str, *, compiled: bool = False) -> str:
    """Towers in use.

    Args:
        name: as BackboneIdentity has it.
        pretrained: the same.
        img_size: side of the pictures.
        precision: its name.
        compiled: whether they run through torch.compile.
    """
    return f"{towers_named(name, pretrained)} at {img_size} pixels in {precision}{', compiled' if compiled else ''}"


def towers_named(name: str, pretrained: str | None) -> str:
    """Towers by their name, and by their weights where the name doesn't say which."""
    return name if not pretrained or name.startswith((LOCAL_DIR, HF_HUB)) else f"{name} {pretrained}"


def picture_kind(towers: str, flips: int = 1) -> str:
    """Of pictures that are looked at so many times."""
    return f"pictures {f'{flips} times ' if flips > 1 else ''}through {towers}"


def text_kind(towers: str) -> str:
    """Of texts."""
    return f"texts through {towers}"
