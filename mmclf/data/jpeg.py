"""What a JPEG says of itself before it is decoded, and whether it held as much as it said.

The layout of the segments is that of ITU-T T.81, annex B.
"""

import re
from dataclasses import dataclass

from PIL import Image

SCAN, ARITHMETIC = 0xDA, 0xC9  # the marker of a scan, and the first of a frame with arithmetic coding
NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # tables and a reserved one, among the markers of frames
WITHOUT_LENGTH = (0x00, 0x01, *range(0xD0, 0xDA))
# a marker that ends the data of a scan: no stuffed byte, no restart, no filling
END_OF_SCAN = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
# libjpeg makes missing blocks mid-grey; Adobe's CMYK is inverted
GREY = {127, 128}
# data that no encoder wrote, with all restart markers: what goes on reading finds it whatever it expects next
NOISE = b"".join(bytes(range(0x35, 0xFE, 7)) * 8 + bytes([0xFF, 0xD0 + number]) for number in range(8))


@dataclass(frozen=True)
class Header:
    """What comes before the first scan's data.

    Attributes:
        start: where that data begins.
        is_buffered: the coefficients of the whole picture are held in memory, since each scan brings a part of them.
        is_arithmetic: not coded by Huffman.
    """

    start: int
    is_buffered: bool
    is_arithmetic: bool


def read_header(content: bytes) -> Header | None:
    """The header of a JPEG; None where there is none that could be decoded."""
    at, frame, components = 2, 0, 0
    try:
        while True:
            at = content.index(b"\xff", at)
            marker = content[at + 1]
            if marker == 0xFF:  # filling
                at += 1
                continue
            if marker in WITHOUT_LENGTH:
                at += 2
                continue
            end = at + 2 + int.from_bytes(content[at + 2 : at + 4])
            if marker == SCAN:
                is_buffered = frame & 3 == 2 or content[at + 4] < components
                return Header(end, is_buffered, frame >= ARITHMETIC)
            if 0xC0 <= marker <= 0xCF and marker not in NOT_FRAMES:
                frame, components = marker, content[at + 9]
            at = max(end, at + 2)
    except (IndexError, ValueError):
        return None


def count_scans(content: bytes, header: Header) -> int:
    """How many scans a picture is made of."""
    found, at = 1, header.start
    while (end := END_OF_SCAN.search(content, at)) is not None:
        if end[1] == b"\xd9":
            break
        found += end[1][0] == SCAN
        at = end.end() + int.from_bytes(content[end.end() : end.end() + 2])
    return found


def ends_grey(picture: Image.Image) -> bool:
    """Whether the last pixel, as it is stored, is what libjpeg makes of missing data; rarely so where none is."""
    last = picture.getpixel((picture.width - 1, picture.height - 1))
    return GREY.issuperset(last if isinstance(last, tuple) else (last,))


def with_noise(content: bytes) -> bytes | None:
    """The same picture with noise after the data of its first scan, which no decoder reads unless data is missing.

    None where that can't be said: what follows arithmetic coding is read as zeros.
    """
    header = read_header(content)
    if header is None or header.is_arithmetic:
        return None
    end = END_OF_SCAN.search(content, header.start)
    place = len(content) if end is None else end.start()
    return content[:place] + NOISE + content[place:]
