"""What becomes of pictures that anyone may have made.

python -m pytest tests/data/test_decoding.py
"""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mmclf.data import jpeg
from mmclf.data.decoding import MAX_SCANS, decode_picture
from mmclf.errors import PictureError
from tests.pictures import BLACK, BLUE, RED, WHITE, far, halves, load_picture, noise

UNKNOWN = "cannot identify image file (JPEG, PNG, WEBP, BMP, GIF, TIFF are read)"


def encoded(picture, kind, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(width, height, *chunks, kind=2) -> bytes:
    """A file that claims this size and these chunks before its pixels, which are missing."""
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    whole = [(b"IHDR", header), *chunks, (b"IDAT", b""), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in whole]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def refusal(content, **options) -> str:
    with pytest.raises(PictureError) as caught:
        decode_picture(content, "a", **options)
    return str(caught.value)


# decoding


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tif", "jpg", "jpeg", "webp"])
def test_common_formats_are_decoded_to_rgb(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    halves().save(path)
    picture = load_picture(path)
    assert (picture.mode, picture.size) == ("RGB", (40, 20))
    for x, colour in [(5, RED), (35, BLUE)]:
        assert far(picture, (x, 10), colour) <= 6


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, suffix, orientation):
    upright = Image.new("RGB", (48, 32), BLACK)
    upright.paste(RED, (0, 0, 24, 16))
    upright.paste(BLUE, (24, 16, 48, 32))
    stored_as = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # a viewer turns it 90 degrees clockwise
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    (upright if stored_as is None else upright.transpose(stored_as)).save(path, exif=exif, quality=95)
    picture = load_picture(path)
    assert picture.size == (48, 32)
    for point, colour in [((8, 6), RED), ((40, 26), BLUE), ((40, 6), BLACK), ((8, 26), BLACK)]:
        assert far(picture, point, colour) <= 8


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("exif", [b"Exif\0\0garbagegarbage", b"Exif\0\0II*\0", b"not exif at all"])
def test_damaged_exif_data_do_not_cost_the_picture(tmp_path, suffix, exif):
    path = tmp_path / f"a.{suffix}"
    halves().save(path, exif=exif)
    assert load_picture(path).size == (40, 20)


def test_transparency_is_laid_on_white(tmp_path):
    picture = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        picture.putpixel((x, 0), (0, 0, 0, alpha))
    picture.save(tmp_path / "a.png")
    assert [load_picture(tmp_path / "a.png").getpixel((x, 0)) for x in range(3)] == [WHITE, (127, 127, 127), BLACK]


def test_grey_with_transparency_is_laid_on_white(tmp_path):
    picture = Image.new("LA", (2, 1), (90, 255))
    picture.putpixel((0, 0), (90, 0))
    picture.save(tmp_path / "a.png")
    assert [load_picture(tmp_path / "a.png").getpixel((x, 0)) for x in range(2)] == [WHITE, (90, 90, 90)]


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_palette_with_transparency_is_laid_on_white(tmp_path, suffix):
    picture = Image.new("P", (2, 1))
    picture.putpalette([*RED, *BLUE])
    picture.putpixel((1, 0), 1)
    path = tmp_path / f"a.{suffix}"
    picture.save(path, transparency=0)
    assert [load_picture(path).getpixel((x, 0)) for x in range(2)] == [WHITE, BLUE]


def test_transparent_colour_of_an_rgb_picture_becomes_white(tmp_path):
    halves().save(tmp_path / "a.png", transparency=RED)
    assert load_picture(tmp_path / "a.png").getpixel((5, 5)) == WHITE
    assert load_picture(tmp_path / "a.png").getpixel((35, 5)) == BLUE


@pytest.mark.parametrize("name", ["a.png", "a.tif", "transparent.png"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, name):
    values = np.array([[0, 0x1234, 0x8000, 0xFFFF]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / name, transparency=7 if name == "transparent.png" else None)
    picture = load_picture(tmp_path / name)
    assert [picture.getpixel((x, 0)) for x in range(4)] == [BLACK, (0x12,) * 3, (0x80,) * 3, WHITE]


def test_grey_one_bit_and_cmyk_become_rgb(tmp_path):
    Image.new("L", (4, 4), 77).save(tmp_path / "grey.jpg")
    assert load_picture(tmp_path / "grey.jpg").getpixel((0, 0)) == (77, 77, 77)
    Image.new("1", (4, 4), 1).save(tmp_path / "bit.png")
    assert load_picture(tmp_path / "bit.png").getpixel((0, 0)) == WHITE
    Image.new("RGB", (16, 16), (200, 10, 10)).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert far(load_picture(tmp_path / "print.jpg"), (8, 8), (200, 10, 10)) <= 6


# pictures that can't be used


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "bmp", "tif"])
def test_truncated_file_is_named(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    noise(64, 64).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PictureError, match=rf"^a\.{suffix}: \w"):
        load_picture(path)


@pytest.mark.parametrize("content", [b"", b"this is no picture", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_file_that_is_no_picture_is_named(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(PictureError) as caught:
        load_picture(path)
    assert str(caught.value) == f"a.jpg: {UNKNOWN}"


def test_missing_file_and_folder_are_named(tmp_path):
    for path in (tmp_path / "no.jpg", tmp_path):
        with pytest.raises(PictureError, match=rf"^{path.name}: "):
            load_picture(path)


@pytest.mark.parametrize("size", [(2020, 20), (20, 2020), (202, 2)])
def test_elongated_picture_is_refused(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "a.png")
    with pytest.raises(PictureError) as caught:
        load_picture(tmp_path / "a.png")
    assert str(caught.value) == f"a.png: {size[0]} x {size[1]} pixels are too elongated to be a picture"


# pictures that were made to do harm


def test_postscript_is_no_picture_whatever_its_name(tmp_path):
    """Pillow would have it drawn by Ghostscript, a program that runs programs."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n%%EOF\n")
    with Image.open(path) as opened:
        assert opened.format == "EPS"
    with pytest.raises(PictureError, match=r"^a\.jpg: cannot identify image file \(JPEG, "):
        load_picture(path)


@pytest.mark.parametrize("kind", ["PPM", "TGA", "ICO", "JPEG2000", "AVIF", "PCX"])
def test_formats_without_a_suffix_of_ours_are_not_read(kind):
    assert refusal(encoded(halves(), kind)) == f"a: {UNKNOWN}"


def test_a_phones_jpeg_with_a_second_picture_in_it_is_a_jpeg():
    content = encoded(halves(), "MPO", save_all=True, append_images=[halves(BLUE, RED)])
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.format == "MPO"
    assert far(decode_picture(content, "a"), (5, 5), RED) <= 6


def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch):
    assert "decompression bomb" in refusal(png(15000, 12000))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as some packages do
    assert refusal(png(15000, 12000)) == "a: 15000 x 12000 pixels are too many (at most 178,956,970)"
    said = "a: 13300 x 13300 pixels are too many (at most 50 million by data.max_megapixels)"
    assert refusal(png(13300, 13300, kind=6)) == said


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_the_limit_counts_pixels_in_memory(kind):
    content = encoded(noise(1200, 1000), kind)
    assert decode_picture(content, "a", max_megapixels=2).size == (1200, 1000)
    expected = "a: 1200 x 1000 pixels are too many (at most 1 million by data.max_megapixels)"
    assert refusal(content, max_megapixels=1) == expected
    if kind == "JPEG":  # decoded at half of its size it is small enough
        assert decode_picture(content, "a", draft=250, max_megapixels=1).size == (600, 500)
    else:
        assert refusal(content, draft=250, max_megapixels=1) == expected


def test_a_progressive_jpeg_is_held_in_memory_as_a_whole():
    content = encoded(noise(1200, 1000), "JPEG", progressive=True)
    assert decode_picture(content, "a", draft=250, max_megapixels=2).size == (600, 500)
    assert refusal(content, draft=250, max_megapixels=1).startswith("a: 1200 x 1000 pixels are too many")


def test_a_tile_of_a_tiff_may_not_be_larger_than_a_picture():
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: 30000, 323: 30000, 324: 134, 325: 4}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    content = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + b"data"
    assert refusal(content).startswith("a: 30000 x 30000 pixels are too many")


def test_scans_of_a_jpeg_are_counted():
    picture = encoded(noise(700, 700), "JPEG", progressive=True)
    header = jpeg.read_header(picture)
    assert header is not None
    assert jpeg.count_scans(picture, header) == 10
    last = picture[picture.rindex(b"\xff\xda") : -2]
    many = picture[:-2] + last * 5000 + picture[-2:]
    assert refusal(many) == f"a: 5,010 scans are too many (at most {MAX_SCANS})"
    assert decode_picture(picture[:-2] + last * 20 + picture[-2:], "a").size == (700, 700)


@pytest.mark.parametrize("chunk", [b"iCCP", b"zTXt"])
def test_metadata_that_unfold_to_gigabytes_are_refused(chunk):
    packed = zlib.compress(bytes(20_000_000), 9)
    assert "too large" in refusal(png(8, 8, (chunk, b"name\0\0" + packed)))
    texts = [(b"zTXt", b"name\0\0" + zlib.compress(bytes(10**6), 9))] * 80
    assert "Too much memory used in text chunks" in refusal(png(8, 8, *texts))


def test_exif_data_whose_entries_all_claim_the_whole_of_it_are_passed_over():
    size = 60_000
    entries = b"".join(struct.pack("<HHII", 1000 + n, 7, size - 8, 8) for n in range(4000))
    exif = (b"II*\0" + struct.pack("<IH", 8, 4000) + entries).ljust(size, b"\0")
    assert decode_picture(encoded(halves(), "JPEG", exif=b"Exif\0\0" + exif), "a").size == (40, 20)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_taken(kind):
    frames = [halves(RED, RED), halves(BLUE, BLUE), halves(BLACK, BLACK)]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert far(decode_picture(content, "a"), (5, 5), RED) <= 3


# JPEGs that end before their last pixel


def claim(content, height) -> bytes:
    """The same data under a header with another height."""
    place = next(found for marker in (b"\xff\xc0", b"\xff\xc2") if (found := content.find(marker)) > 0)
    return content[: place + 5] + struct.pack(">H", height) + content[place + 7 :]


@pytest.mark.parametrize("restarts", [0, 1, 3])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("draft", [None, 40])
def test_a_jpeg_that_claims_more_pixels_than_it_holds_is_unreadable(restarts, progressive, mode, draft):
    options = {"progressive": progressive, "restart_marker_blocks": restarts}
    content = encoded(noise(208, 160).convert(mode), "JPEG", **options)
    decode_picture(content, "a", draft=draft)
    for height in (176, 320):
        with Image.open(io.BytesIO(claim(content, height))) as opened:
            opened.load()  # without a word
        expected = "a: image file is truncated: its last pixels are missing"
        assert refusal(claim(content, height), draft=draft) == expected


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"subsampling": 0}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_picture_that_is_really_grey_at_its_end_is_read(options, mode):
    grey = Image.new(mode, (100, 90), {"RGB": (128,) * 3, "L": 128, "CMYK": (127,) * 4}[mode])
    mixed = noise(100, 90).convert(mode)
    mixed.paste(grey, (0, 48))
    for picture in (grey, mixed):
        content = encoded(picture, "JPEG", **options)
        with Image.open(io.BytesIO(content)) as opened:
            assert jpeg.ends_grey(opened)
        decode_picture(content, "a")
        decode_picture(content + b"what some cameras add", "a")


# files that are none


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(PictureError, match=r"^a\.jpg: can't be read: is no regular file$"):
        load_picture(tmp_path / "a.jpg")


def test_a_file_of_gigabytes_is_not_read(tmp_path):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    with pytest.raises(PictureError, match=r"^a\.jpg: 1,099,511,627,776 bytes are too many \(at most 536,870,912\)$"):
        load_picture(tmp_path / "a.jpg")


# transparency is laid on white in strips


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "RGB"])
def test_strips_do_not_show(monkeypatch, kind):
    picture = noise(60, 50).convert("RGBA")
    picture.putalpha(noise(60, 50, seed=1).convert("L"))
    if kind == "P":
        content = encoded(picture.convert("RGB").quantize(20), "PNG", transparency=bytes(range(0, 200, 10)))
    elif kind == "RGB":
        content = encoded(halves(), "PNG", transparency=RED)
    else:
        content = encoded(picture.convert(kind), "PNG")
    whole = decode_picture(content, "a")
    with Image.open(io.BytesIO(content)) as opened:
        layer = opened.convert("RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    assert np.array_equal(np.asarray(whole), np.asarray(expected))
    monkeypatch.setattr("mmclf.data.decoding.STRIP", 7 * 60)
    assert np.array_equal(np.asarray(decode_picture(content, "a")), np.asarray(expected))


def test_an_error_without_a_message_is_named_by_its_kind(monkeypatch):
    def load(self):
        raise EOFError

    content = encoded(halves(), "BMP")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    assert refusal(content) == "a: EOFError"
