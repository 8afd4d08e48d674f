"""Pictures from files that anyone may have made: what is read, how large it may be, and what becomes of its pixels."""

import io
import math
import os
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageOps, UnidentifiedImageError

from ..config import MAX_MEGAPIXELS
from ..errors import PictureError
from . import jpeg

# those of the suffixes in picture_matching.py, and no others: Pillow would hand PostScript to Ghostscript
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# a picture more elongated than this would be resized to gigabytes before its crop
MAX_ELONGATION = 100
MAX_PIXELS = 178_956_970  # where Pillow refuses a decompression bomb; some packages switch its check off
MAX_BYTES = 2**29  # of a file; 50 megapixels take 400 million bytes with four channels of 16 bits
MAX_SCANS = 100  # of a progressive JPEG; encoders write 10 or so, and each goes over the whole picture
SMALLEST_SCAN = 16  # bytes, with its header
HARMLESS = 2 * 10**9  # pixels that scans may go over without being counted
STRIP = 2**20  # pixels that are laid on white at a time
TILE_SIDES = (322, 323)  # TIFF's tags TileWidth and TileLength
MILLION = 10**6


def read_file(path: Path) -> bytes:
    """The bytes of a picture file.

    Raises:
        PictureError: it can't be read, is too large, or no file.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PictureError(f"{path.name}: can't be read: is no regular file")
            if status.st_size > MAX_BYTES:
                raise PictureError(f"{path.name}: {status.st_size:,} bytes are too many (at most {MAX_BYTES:,})")
            return file.read()
    except OSError as error:
        raise PictureError(f"{path.name}: can't be read: {error.strerror}") from None


def decode_picture(
    content: bytes, name: str, *, draft: int | None = None, max_megapixels: int = MAX_MEGAPIXELS
) -> Image.Image:
    """Decode a picture to RGB, upright by its EXIF orientation, transparency on white; of several frames the first.

    Args:
        content: of the file.
        name: of the file, for messages.
        draft: a side in pixels. A JPEG whose shorter side is at least four times as long is decoded at a half, a
            quarter or an eighth of its size, but never to less than twice this side: several times faster, and a view
            of at most `draft` pixels made from it differs by less than a grey level on average (see the tests).
        max_megapixels: millions of pixels that are held in memory at most.

    Raises:
        PictureError: the content is damaged, no picture of FORMATS, or unreasonably large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about metadata that doesn't matter here
            with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
                is_jpeg = opened.format in ("JPEG", "MPO")
                _check_shape(opened)
                if is_jpeg:
                    _check_scans(opened, content, max_megapixels)
                _reduce(opened, draft)
                _check_size(opened, max_megapixels)
                opened.load()
                if is_jpeg and jpeg.ends_grey(opened):
                    _check_end(opened, content, draft)
                return _to_rgb(_upright(opened))
    except UnidentifiedImageError:
        raise PictureError(f"{name}: cannot identify image file ({', '.join(FORMATS)} are read)") from None
    # Pillow's plugins raise nearly anything on a damaged file
    except Exception as error:
        raise PictureError(f"{name}: {str(error) or type(error).__name__}") from None


def picture_size(content: bytes) -> tuple[int, int]:
    """Width and height in pixels by a picture's header, as they are stored; zeros where it can't be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
                return opened.size
    # see decode_picture
    except Exception:
        return 0, 0


def _open_without_waiting(path: str, flags: int) -> int:
    """For `open`: what has become a pipe since it was listed must not wait for its writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_shape(opened: Image.Image) -> None:
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels are too many (at most {MAX_PIXELS:,})")
    if max(width, height) > MAX_ELONGATION * min(width, height):
        raise ValueError(f"{width} x {height} pixels are too elongated to be a picture")


def _reduce(opened: Image.Image, draft: int | None) -> None:
    """Have a JPEG decoded at a fraction of its size, where that will do."""
    if draft is not None:
        width, height = opened.size
        scale = 2 * draft / min(width, height)
        opened.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))


def _check_size(opened: Image.Image, max_megapixels: int) -> None:
    """The pixels that are held in memory, and those of one tile of a TIFF, which may be larger than the picture."""
    tags = getattr(opened, "tag_v2", {})
    tile = (tags.get(TILE_SIDES[0], 0), tags.get(TILE_SIDES[1], 0))
    for width, height in (opened.size, tile):
        if width * height > max_megapixels * MILLION:
            raise ValueError(
                f"{width} x {height} pixels are too many (at most {max_megapixels} million by data.max_megapixels)"
            )


def _check_scans(opened: Image.Image, content: bytes, max_megapixels: int) -> None:
    """A JPEG of several scans is held in memory as a whole, and gone over again for each of them."""
    pixels = opened.width * opened.height
    most_work = pixels * len(content) // SMALLEST_SCAN
    if pixels <= max_megapixels * MILLION and most_work <= HARMLESS:
        return
    header = jpeg.read_header(content)
    if header is None or not header.is_buffered:
        return
    _check_size(opened, max_megapixels)
    scans = jpeg.count_scans(content, header)
    if scans > MAX_SCANS:
        raise ValueError(f"{scans:,} scans are too many (at most {MAX_SCANS})")


def _check_end(opened: Image.Image, content: bytes, draft: int | None) -> None:
    """Raises ValueError where noise behind the data changes the picture: libjpeg makes what is missing grey."""
    noisy = jpeg.with_noise(content)
    if noisy is None:
        return
    with Image.open(io.BytesIO(noisy), formats=FORMATS) as again:
        _reduce(again, draft)
        if ImageChops.difference(opened, again).getbbox() is not None:
            raise ValueError("image file is truncated: its last pixels are missing")


def _upright(picture: Image.Image) -> Image.Image:
    try:
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(picture) if turned else picture
    except Exception:  # damaged EXIF data in a PNG or WebP; the pixels are fine
        return picture


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip to white
        return Image.fromarray((np.asarray(picture, dtype=np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        return _on_white(picture)
    return picture.convert("RGB")


def _on_white(picture: Image.Image) -> Image.Image:
    """In strips: whole layers of a large picture would take four times its own memory."""
    found = Image.new("RGB", picture.size)
    rows = max(1, STRIP // picture.width)
    for top in range(0, picture.height, rows):
        strip = picture.crop((0, top, picture.width, min(top + rows, picture.height))).convert("RGBA")
        ground = Image.new("RGBA", strip.size, "white")
        found.paste(Image.alpha_composite(ground, strip).convert("RGB"), (0, top))
    return found
