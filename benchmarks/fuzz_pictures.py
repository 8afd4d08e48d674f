"""Damaged and hostile pictures by the thousand: each is decoded, or refused in a sentence.

    python -m benchmarks.fuzz_pictures --count 10000

Small pictures of every format that is read are mutated: bytes flipped, files cut, heads and tails of two files joined,
numbers in headers replaced, pieces shuffled and repeated. A seed and a number give the same file again. Ends with one
line, and with exit code 1 where a mutant raised anything but PictureError, took longer than 5 s, or where the process
grew by more than 1 GiB. A mutant that doesn't end within a minute ends the process with its traceback.
"""

import argparse
import faulthandler
import io
import random
import re
import resource
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image

from mmclf.data.decoding import decode_picture
from mmclf.errors import PictureError

SECONDS, MIB, HANGS = 5.0, 1024, 60.0
# sizes, offsets and counts at which programs go wrong
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
PNG_START = b"\x89PNG\r\n\x1a\n"

Mutation = Callable[[random.Random, Sequence[bytes]], bytes]


def originals() -> list[bytes]:
    """Encoded pictures of 96 x 72 pixels, each format in the variants that are decoded by code of their own."""
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    rgba = Image.fromarray(small).resize((96, 72), Image.Resampling.BICUBIC)
    rgb, grey = rgba.convert("RGB"), rgba.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [grey.quantize(9), rgb.quantize(99)]}
    made = [(rgb, "JPEG", {"exif": exif}), (rgb, "JPEG", {"progressive": True}), (grey, "JPEG", {})]
    made += [(rgb, "JPEG", {"restart_marker_blocks": 3, "subsampling": 0}), (rgb.convert("CMYK"), "JPEG", {})]
    made += [(rgb, "PNG", {"exif": exif}), (rgba, "PNG", {}), (deep, "PNG", {}), (grey.convert("1"), "PNG", {})]
    made += [(rgb.quantize(50), "PNG", {"transparency": 3}), (rgb.quantize(16), "PNG", frames)]
    made += [(rgb, "WEBP", {"exif": exif}), (rgba, "WEBP", {"lossless": True}), (rgba, "WEBP", frames)]
    made += [(rgb, "BMP", {}), (rgb.quantize(50), "BMP", {}), (rgb.quantize(50), "GIF", frames)]
    made += [(image, "TIFF", {"compression": how}) for image in (rgb, deep) for how in (None, "tiff_lzw", "packbits")]
    made += [(rgb, "TIFF", {"compression": "jpeg"}), (rgba, "TIFF", {"compression": "tiff_adobe_deflate"})]
    return [_encode(image, kind, options) for image, kind, options in made]


def mutants(seed: int, count: int) -> Iterator[bytes]:
    """The files; the same for the same seed, whatever the count."""
    files = originals()
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")  # noqa: S311 - no secret
        content = rng.choice(files)
        for _ in range(rng.choice((1, 1, 2, 3))):
            content = rng.choice(MUTATIONS)(rng, (content, rng.choice(files)))
        yield _with_checksums(content) if rng.random() < 0.5 else content


def attempt(content: bytes, number: int) -> bool:
    """Whether a mutant was decoded; else it was refused in a sentence.

    Raises:
        AssertionError: the sentence isn't one.
    """
    try:
        picture = decode_picture(content, "mutant", draft=16 if number % 2 else None)
    except PictureError as error:
        said = str(error)
        if not re.fullmatch(r"mutant: \S.*", said) or " at 0x" in said:
            raise AssertionError(f"what it says of mutant {number} is no sentence: {said!r}") from error
        return False
    if picture.mode != "RGB":
        raise AssertionError(f"mutant {number} is {picture.mode}")
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Decode them all; returns the exit code."""
    parser = argparse.ArgumentParser(description="decode damaged and hostile pictures")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    for content in originals():
        attempt(content, 0)  # what Pillow's plugins need anyway
    start, decoded, longest, slowest = _peak(), 0, 0.0, 0
    for number, content in enumerate(mutants(args.seed, args.count)):
        faulthandler.dump_traceback_later(HANGS, exit=True)
        before = time.perf_counter()
        decoded += attempt(content, number)
        seconds = time.perf_counter() - before
        if seconds > longest:
            longest, slowest = seconds, number
    faulthandler.cancel_dump_traceback_later()
    grown = _peak() - start
    print(
        f"{args.count:,} pictures of seed {args.seed}: {decoded:,} decoded, {args.count - decoded:,} refused; "
        f"longest {longest:.2f} s (number {slowest}); {grown:.0f} MiB of memory more than at the start"
    )
    return int(longest > SECONDS or grown > MIB)


def _flip(rng: random.Random, files: Sequence[bytes]) -> bytes:
    content = bytearray(files[0])
    for _ in range(rng.randint(1, 20)):
        if content:
            content[_place(rng, content)] = rng.randrange(256)
    return bytes(content)


def _cut(rng: random.Random, files: Sequence[bytes]) -> bytes:
    return files[0][: _place(rng, files[0])]


def _splice(rng: random.Random, files: Sequence[bytes]) -> bytes:
    """The head of one with the tail of another."""
    return files[0][: _place(rng, files[0])] + files[1][_place(rng, files[1]) :]


def _renumber(rng: random.Random, files: Sequence[bytes]) -> bytes:
    """A number of 2 or 4 bytes is another one; mostly near the front, where the headers are."""
    content = bytearray(files[0])
    for _ in range(rng.randint(1, 4)):
        size, order = rng.choice((2, 4)), rng.choice(("<", ">"))
        place = _place(rng, content)
        number = rng.choice((*NUMBERS, rng.randrange(0x4000))) & (256**size - 1)
        content[place : place + size] = struct.pack(order + ("H" if size == 2 else "I"), number)
    return bytes(content)


def _shuffle(rng: random.Random, files: Sequence[bytes]) -> bytes:
    """Pieces in another order, some twice, some not at all; the first bytes stay, so that the format is known."""
    content, start = files[0], min(12, len(files[0]))
    places = sorted(rng.randint(start, len(content)) for _ in range(rng.randint(2, 8)))
    pieces = [content[a:b] for a, b in zip([start, *places], [*places, len(content)], strict=True)]
    return content[:start] + b"".join(rng.choices(pieces, k=len(pieces)))


MUTATIONS: tuple[Mutation, ...] = (_flip, _cut, _splice, _renumber, _shuffle)


def _place(rng: random.Random, content: bytes | bytearray) -> int:
    """Half of the time in the first 64 bytes."""
    return rng.randrange(max(1, min(len(content), 64 if rng.random() < 0.5 else len(content))))


def _with_checksums(content: bytes) -> bytes:
    """A PNG whose chunks have the right checksums, so that what is in them is looked at."""
    if not content.startswith(PNG_START):
        return content
    found, at = [PNG_START], len(PNG_START)
    while at + 12 <= len(content):
        length = min(int.from_bytes(content[at : at + 4]), len(content) - at - 12)
        chunk = content[at + 4 : at + 8 + length]
        found += [struct.pack(">I", length), chunk, struct.pack(">I", zlib.crc32(chunk))]
        at += 12 + length
    return b"".join(found)


def _encode(image: Image.Image, kind: str, options: dict[str, object]) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **{key: value for key, value in options.items() if value is not None})
    return file.getvalue()


def _peak() -> float:
    """The most memory that the process had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**10 if sys.platform != "darwin" else 2**20)


if __name__ == "__main__":
    sys.exit(main())
