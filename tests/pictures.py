"""Pictures as several test files read them."""

from pathlib import Path

from PIL import Image

from mmclf.data.images import decode_picture, read_file


def load_picture(path: Path) -> Image.Image:
    """A picture file, decoded."""
    return decode_picture(read_file(path), path.name)
