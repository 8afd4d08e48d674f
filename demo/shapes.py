"""Simple product drawings: each shape is a handful of polygons in a square from -1 to 1, y pointing down."""

import math
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .pen import Colour, Pen, arc, shade

COLOURS: dict[str, Colour] = {
    "red": (200, 45, 45),
    "orange": (232, 132, 40),
    "yellow": (228, 196, 50),
    "green": (60, 148, 74),
    "teal": (38, 150, 150),
    "blue": (50, 92, 190),
    "purple": (128, 66, 168),
    "pink": (228, 118, 166),
    "brown": (126, 80, 46),
    "black": (52, 52, 56),
}
GROUNDS: dict[str, Colour] = {
    "white": (242, 242, 240),
    "grey": (178, 180, 184),
    "cream": (240, 226, 194),
    "mint": (198, 228, 212),
    "sky": (190, 214, 238),
    "wooden": (206, 170, 126),
}

_WHITE: Colour = (246, 246, 242)
_STEEL: Colour = (150, 154, 160)
_COAL: Colour = (40, 42, 48)
_WOOD: Colour = (112, 74, 44)
_GLASS: Colour = (120, 170, 205)


def _mug(p: Pen, c: Colour) -> None:
    p.line(arc(0.35, 0.08, 0.42, 0.38, -90, 90), 0.17, shade(c, 0.75))
    p.box(-0.7, -0.6, 0.4, 0.75, c, 0.12)
    p.box(-0.56, -0.4, -0.42, 0.55, shade(c, 1.4), 0.06)
    p.oval(-0.15, -0.6, 0.55, 0.15, shade(c, 0.8))
    p.oval(-0.15, -0.59, 0.46, 0.1, shade(c, 0.4))


def _bowl(p: Pen, c: Colour) -> None:
    p.box(-0.35, 0.45, 0.35, 0.68, shade(c, 0.6))
    p.oval(0, -0.2, 0.95, 0.78, c, 0, 180)
    p.oval(0, -0.2, 0.95, 0.24, shade(c, 1.25))
    p.oval(0, -0.18, 0.82, 0.17, shade(c, 0.5))


def _lamp(p: Pen, c: Colour) -> None:
    p.oval(0, 0.85, 0.42, 0.12, shade(c, 0.5))
    p.box(-0.07, -0.05, 0.07, 0.85, shade(c, 0.5))
    p.oval(0, 0.02, 0.62, 0.1, (255, 240, 170))
    p.poly([(-0.34, -0.92), (0.34, -0.92), (0.74, 0), (-0.74, 0)], c)
    p.poly([(-0.24, -0.92), (-0.06, -0.92), (-0.14, 0), (-0.5, 0)], shade(c, 1.35))


def _chair(p: Pen, c: Colour) -> None:
    for x in (-0.5, 0.38):
        p.box(x, -0.95, x + 0.12, 0.75, shade(c, 0.6))
    p.box(-0.5, -0.92, 0.5, -0.66, c)
    p.box(-0.5, -0.48, 0.5, -0.3, c)
    for x in (-0.68, 0.55):
        p.box(x, 0.2, x + 0.13, 0.98, shade(c, 0.7))
    p.poly([(-0.5, 0), (0.5, 0), (0.7, 0.24), (-0.7, 0.24)], shade(c, 1.15))
    p.box(-0.7, 0.24, 0.7, 0.36, c)


def _table(p: Pen, c: Colour) -> None:
    for x in (-0.62, 0.54):
        p.box(x, 0, x + 0.08, 0.55, shade(c, 0.5))
    for x in (-0.92, 0.79):
        p.box(x, 0.05, x + 0.13, 0.85, shade(c, 0.7))
    p.poly([(-0.7, -0.38), (0.7, -0.38), (0.98, -0.02), (-0.98, -0.02)], shade(c, 1.15))
    p.box(-0.98, -0.02, 0.98, 0.12, c)


def _shirt(p: Pen, c: Colour) -> None:
    half = [(0.2, -0.75), (0.5, -0.68), (0.98, -0.2), (0.7, 0.05), (0.48, -0.15), (0.48, 0.85)]
    p.poly([*half, *((-x, y) for x, y in reversed(half))], c)
    p.oval(0, -0.76, 0.22, 0.2, shade(c, 0.55), 0, 180)
    for side in (-1, 1):
        p.line([(side * 0.48, 0.8), (side * 0.48, -0.15), (side * 0.42, -0.35)], 0.04, shade(c, 0.7))


def _trousers(p: Pen, c: Colour) -> None:
    p.poly([(-0.42, -0.92), (0.42, -0.92), (0.6, 0.92), (0.16, 0.92), (0, -0.2), (-0.16, 0.92), (-0.6, 0.92)], c)
    p.box(-0.43, -0.94, 0.43, -0.78, shade(c, 0.55))
    p.box(-0.08, -0.95, 0.08, -0.77, _STEEL)
    for side in (-1, 1):
        p.line([(side * 0.25, -0.7), (side * 0.38, 0.9)], 0.04, shade(c, 0.75))


def _dress(p: Pen, c: Colour) -> None:
    half = [(0.12, -0.95), (0.28, -0.95), (0.4, -0.5), (0.24, -0.08), (0.82, 0.92)]
    p.poly([(0, -0.62), *half, *((-x, y) for x, y in reversed(half))], c)
    p.poly([(-0.25, -0.16), (0.25, -0.16), (0.28, 0), (-0.28, 0)], shade(c, 0.5))
    for x in (-0.45, 0, 0.45):
        p.line([(x * 0.35, 0.05), (x, 0.9)], 0.04, shade(c, 0.75))


def _hat(p: Pen, c: Colour) -> None:
    p.oval(0, 0.38, 0.98, 0.26, shade(c, 0.7))
    p.oval(0, 0.33, 0.98, 0.24, c)
    p.poly([*arc(0, -0.3, 0.5, 0.36, 180, 360), (0.56, 0.32), *arc(0, 0.32, 0.56, 0.1, 0, 180)], c)
    p.poly([(-0.55, 0.1), (0.55, 0.1), (0.56, 0.33), *arc(0, 0.33, 0.56, 0.1, 0, 180)], shade(c, 0.45))
    p.line([(-0.2, -0.58), (0.05, -0.42), (0.25, -0.56)], 0.05, shade(c, 0.65))


def _shoe(p: Pen, c: Colour) -> None:
    back = [(-0.88, 0.35), (-0.9, -0.3), (-0.75, -0.42), (-0.6, -0.24), (-0.3, -0.24), (-0.12, -0.45)]
    p.poly([*back, (0.3, -0.1), (0.75, 0.0), (0.94, 0.2), (0.94, 0.35)], c)
    p.oval(-0.45, -0.27, 0.24, 0.09, shade(c, 0.4))
    p.box(-0.94, 0.3, 0.98, 0.5, _WHITE, 0.08)
    p.line([(-0.92, 0.5), (0.95, 0.5)], 0.06, shade(c, 0.5))
    for x in (-0.05, 0.12, 0.29):
        p.line([(x - 0.1, 0.02), (x + 0.07, -0.24)], 0.06, _WHITE)
    p.line([(-0.7, 0.22), (-0.4, -0.05), (-0.25, 0.22)], 0.08, shade(c, 1.5))


def _boot(p: Pen, c: Colour) -> None:
    p.poly([(-0.5, -0.92), (0.14, -0.92), (0.16, 0.1), (0.7, 0.28), (0.84, 0.7), (-0.55, 0.7)], c)
    p.box(-0.54, -0.94, 0.18, -0.72, shade(c, 1.35), 0.06)
    p.poly([(-0.58, 0.68), (0.88, 0.68), (0.88, 0.84), (-0.2, 0.84), (-0.2, 0.95), (-0.58, 0.95)], _COAL)
    for y in (-0.5, -0.28, -0.06):
        p.line([(-0.05, y + 0.06), (0.16, y)], 0.06, shade(c, 0.4))


def _phone(p: Pen, c: Colour) -> None:
    p.box(-0.48, -0.95, 0.48, 0.95, c, 0.16)
    p.box(-0.4, -0.82, 0.4, 0.82, _COAL, 0.06)
    p.box(-0.33, -0.74, 0.33, -0.3, _GLASS)
    for row in range(3):
        for column in range(3):
            x, y = -0.33 + column * 0.25, -0.16 + row * 0.28
            p.box(x, y, x + 0.17, y + 0.17, _WHITE if (row + column) % 2 else shade(c, 1.4), 0.04)
    p.box(-0.13, -0.9, 0.13, -0.86, _COAL)


def _laptop(p: Pen, c: Colour) -> None:
    p.box(-0.72, -0.75, 0.72, 0.2, c, 0.07)
    p.box(-0.63, -0.66, 0.63, 0.12, (36, 52, 84))
    p.poly([(-0.63, 0.12), (-0.63, -0.25), (-0.2, -0.05), (0.15, -0.4), (0.63, 0.12)], _GLASS)
    p.poly([(-0.72, 0.2), (0.72, 0.2), (0.98, 0.66), (-0.98, 0.66)], shade(c, 1.3))
    p.poly([(-0.6, 0.27), (0.6, 0.27), (0.7, 0.44), (-0.7, 0.44)], _COAL)
    p.poly([(-0.2, 0.49), (0.2, 0.49), (0.23, 0.61), (-0.23, 0.61)], shade(c, 0.7))
    p.poly([(-0.98, 0.66), (0.98, 0.66), (0.95, 0.74), (-0.95, 0.74)], shade(c, 0.6))


def _camera(p: Pen, c: Colour) -> None:
    p.poly([(-0.38, -0.4), (-0.25, -0.65), (0.25, -0.65), (0.38, -0.4)], shade(c, 0.7))
    p.box(-0.75, -0.53, -0.5, -0.38, _COAL)
    p.box(-0.92, -0.42, 0.92, 0.6, c, 0.12)
    p.box(-0.92, -0.18, 0.92, 0.4, shade(c, 0.6))
    p.oval(0, 0.1, 0.46, 0.46, _STEEL)
    p.oval(0, 0.1, 0.38, 0.38, _COAL)
    p.oval(0, 0.1, 0.24, 0.24, _GLASS)
    p.oval(-0.08, 0.02, 0.08, 0.08, _WHITE)
    p.box(0.55, -0.35, 0.8, -0.23, _WHITE)


def _watch(p: Pen, c: Colour) -> None:
    p.poly([(-0.3, -0.3), (-0.22, -0.98), (0.22, -0.98), (0.3, -0.3)], shade(c, 0.75))
    p.poly([(-0.3, 0.3), (-0.22, 0.98), (0.22, 0.98), (0.3, 0.3)], shade(c, 0.75))
    for y in (0.6, 0.72, 0.84):
        p.oval(0, y, 0.035, 0.035, _WHITE)
    p.box(0.45, -0.08, 0.62, 0.08, _STEEL)
    p.oval(0, 0, 0.52, 0.52, c)
    p.oval(0, 0, 0.41, 0.41, _WHITE)
    for angle in range(0, 360, 90):
        dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        p.line([(0.32 * dx, 0.32 * dy), (0.39 * dx, 0.39 * dy)], 0.06, _COAL)
    p.line([(-0.12, -0.2), (0, 0), (0.26, -0.06)], 0.06, _COAL)


def _guitar(p: Pen, c: Colour) -> None:
    p.oval(0, 0.56, 0.46, 0.4, c)
    p.oval(0, 0.1, 0.34, 0.28, c)
    p.box(-0.3, 0.2, 0.3, 0.45, c)
    p.oval(0, 0.25, 0.15, 0.15, _COAL)
    p.box(-0.07, -0.75, 0.07, 0.2, _WOOD)
    p.box(-0.14, -0.99, 0.14, -0.7, shade(_WOOD, 0.7), 0.04)
    p.box(-0.2, 0.62, 0.2, 0.71, shade(_WOOD, 0.6))
    for x in (-0.03, 0.03):
        p.line([(x, -0.72), (x, 0.66)], 0.02, _WHITE)


def _drum(p: Pen, c: Colour) -> None:
    p.line([(-0.3, -0.5), (0.55, -0.95)], 0.07, _WOOD)
    p.line([(0.3, -0.5), (-0.55, -0.95)], 0.07, _WOOD)
    p.oval(0, 0.55, 0.8, 0.26, shade(c, 0.6))
    p.box(-0.8, -0.3, 0.8, 0.55, c)
    p.oval(0, 0.5, 0.8, 0.24, c, 0, 180)
    zigzag = [(-0.8 + 0.2 * i, 0.0 if i % 2 else 0.52 + 0.14 * math.sin(math.pi * i / 8)) for i in range(9)]
    p.line(zigzag, 0.05, _WHITE)
    p.oval(0, -0.28, 0.8, 0.26, shade(c, 0.6))
    p.oval(0, -0.33, 0.8, 0.25, (240, 232, 214))


def _racket(p: Pen, c: Colour) -> None:
    p.line([(-0.25, 0.0), (0, 0.35), (0.25, 0.0)], 0.09, shade(c, 0.7))
    p.oval(0, -0.42, 0.45, 0.54, c)
    p.oval(0, -0.42, 0.36, 0.45, _WHITE)
    for i in range(-2, 3):
        x, y = i * 0.12, -0.42 + i * 0.15
        reach_y = 0.45 * math.sqrt(1 - (x / 0.36) ** 2)
        reach_x = 0.36 * math.sqrt(1 - ((y + 0.42) / 0.45) ** 2)
        p.line([(x, -0.42 - reach_y), (x, -0.42 + reach_y)], 0.025, _STEEL)
        p.line([(-reach_x, y), (reach_x, y)], 0.025, _STEEL)
    p.box(-0.08, 0.28, 0.08, 0.98, _COAL, 0.04)


def _ball(p: Pen, c: Colour) -> None:
    p.oval(0, 0, 0.82, 0.82, c)
    p.oval(-0.3, -0.36, 0.2, 0.16, shade(c, 1.5))
    p.line([(-0.82, 0), (0.82, 0)], 0.06, shade(c, 0.4))
    p.line([(0, -0.82), (0, 0.82)], 0.06, shade(c, 0.4))
    p.line(arc(-1.0, 0, 0.62, 0.72, -49, 49), 0.06, shade(c, 0.4))
    p.line(arc(1.0, 0, 0.62, 0.72, 131, 229), 0.06, shade(c, 0.4))


def _book(p: Pen, c: Colour) -> None:
    p.poly([(-0.6, 0.72), (0.55, 0.72), (0.66, 0.92), (-0.5, 0.92)], _WHITE)
    p.poly([(0.55, -0.85), (0.66, -0.66), (0.66, 0.92), (0.55, 0.72)], shade(_WHITE, 0.8))
    p.poly([(-0.6, 0.72), (-0.5, 0.92), (0.66, 0.92), (0.66, 0.97), (-0.54, 0.97), (-0.64, 0.76)], shade(c, 0.5))
    p.box(-0.64, -0.85, 0.55, 0.74, c)
    p.box(-0.64, -0.85, -0.46, 0.74, shade(c, 0.6))
    p.box(-0.28, -0.6, 0.38, -0.2, shade(c, 1.6))
    p.line([(-0.2, -0.47), (0.3, -0.47)], 0.05, shade(c, 0.5))
    p.line([(-0.2, -0.33), (0.15, -0.33)], 0.05, shade(c, 0.5))


def _bottle(p: Pen, c: Colour) -> None:
    p.box(-0.14, -0.75, 0.14, -0.4, shade(c, 0.8))
    p.box(-0.19, -0.97, 0.19, -0.66, shade(c, 0.45), 0.05)
    p.poly([(-0.14, -0.55), (0.14, -0.55), (0.38, -0.25), (0.38, 0.2), (-0.38, 0.2), (-0.38, -0.25)], c)
    p.box(-0.38, -0.2, 0.38, 0.97, c, 0.1)
    p.box(-0.38, 0.0, 0.38, 0.58, _WHITE)
    p.oval(0, 0.29, 0.2, 0.2, shade(c, 1.3))
    p.box(-0.3, -0.2, -0.22, -0.03, shade(c, 1.5))


def _backpack(p: Pen, c: Colour) -> None:
    p.line(arc(0, -0.68, 0.22, 0.24, 180, 360), 0.1, shade(c, 0.5))
    for side in (-1, 1):
        p.line([(side * 0.6, -0.2), (side * 0.76, 0.15), (side * 0.62, 0.7)], 0.12, shade(c, 0.5))
    p.box(-0.62, -0.72, 0.62, 0.92, c, 0.3)
    p.line(arc(0, -0.12, 0.48, 0.42, 180, 360), 0.05, shade(c, 0.5))
    p.box(-0.46, 0.2, 0.46, 0.8, shade(c, 0.72), 0.1)
    p.line([(-0.36, 0.34), (0.36, 0.34)], 0.05, _STEEL)
    p.box(-0.07, -0.2, 0.07, 0.06, shade(c, 1.4))


SHAPES: dict[str, Callable[[Pen, Colour], None]] = {
    "mug": _mug,
    "bowl": _bowl,
    "lamp": _lamp,
    "chair": _chair,
    "table": _table,
    "shirt": _shirt,
    "trousers": _trousers,
    "dress": _dress,
    "hat": _hat,
    "shoe": _shoe,
    "boot": _boot,
    "phone": _phone,
    "laptop": _laptop,
    "camera": _camera,
    "watch": _watch,
    "guitar": _guitar,
    "drum": _drum,
    "racket": _racket,
    "ball": _ball,
    "book": _book,
    "bottle": _bottle,
    "backpack": _backpack,
}


def _jitter(rng: random.Random, colour: Colour, by: int) -> Colour:
    red, green, blue = (min(255, max(0, channel + rng.randint(-by, by))) for channel in colour)
    return red, green, blue


def _clutter(rng: random.Random, canvas: ImageDraw.ImageDraw, side: int, ground: Colour) -> None:
    """A floor, and a few faint things lying about."""
    horizon = rng.uniform(0.45, 0.85) * side
    tilt = rng.uniform(-0.06, 0.06) * side
    floor = shade(ground, rng.uniform(0.82, 0.95))
    canvas.polygon([(0, horizon - tilt), (side, horizon + tilt), (side, side), (0, side)], fill=floor)
    for _ in range(rng.randint(0, 4)):
        tint = _jitter(rng, shade(ground, rng.uniform(0.7, 1.1)), 25)
        pen = Pen(
            canvas, (rng.uniform(0, side), rng.uniform(0, side)), rng.uniform(0.04, 0.14) * side, rng.uniform(0, 6.3)
        )
        if rng.random() < 0.5:
            pen.oval(0, 0, 1, rng.uniform(0.5, 1), tint)
        else:
            pen.box(-1, -0.5, 1, rng.uniform(-0.2, 0.5), tint)


def draw_picture(
    rng: random.Random,
    shape: str,
    colour: str,
    *,
    ground: str | None = None,
    size: int = 96,
    close_up: bool = False,
) -> Image.Image:
    """Draw one product photograph.

    Args:
        rng: decides position, size, rotation, clutter, light and noise; the same state draws the same picture.
        shape: a key of `SHAPES`.
        colour: a key of `COLOURS`.
        ground: a key of `GROUNDS`; None picks one.
        size: width and height in pixels.
        close_up: show only a blurred part of the product, so that it can hardly be told.

    Returns:
        An RGB picture of `size` x `size` pixels.

    Raises:
        KeyError: an unknown shape, colour or ground.
    """
    side = 2 * size  # drawn twice as large and halved below: Pillow's polygons have jagged edges
    ground_colour = _jitter(rng, GROUNDS[ground or rng.choice(list(GROUNDS))], 10)
    picture = Image.new("RGB", (side, side), ground_colour)
    canvas = ImageDraw.Draw(picture)
    _clutter(rng, canvas, side, ground_colour)

    radius = side * (rng.uniform(1.1, 1.5) if close_up else rng.uniform(0.32, 0.44))
    # A close-up is centred off the product; otherwise the product stays inside the frame.
    slack = 0.45 * side if close_up else max(0.0, 0.48 * side - radius)
    centre = (side / 2 + rng.uniform(-slack, slack), side / 2 + rng.uniform(-slack, slack))
    angle = rng.gauss(0, 0.12) if rng.random() < 0.85 else rng.uniform(-0.6, 0.6)
    pen = Pen(canvas, centre, radius, angle, rng.random() < 0.5, rng.uniform(0.88, 1.1))
    if not close_up:
        shadow = Pen(canvas, (centre[0], centre[1] + 0.9 * radius), radius)
        shadow.oval(0, 0, 0.85, 0.14, shade(ground_colour, 0.72))
    SHAPES[shape](pen, _jitter(rng, COLOURS[colour], 22))

    if close_up:
        picture = picture.filter(ImageFilter.GaussianBlur(side / 24))
    elif rng.random() < 0.15:
        picture = picture.filter(ImageFilter.GaussianBlur(side / 110))
    picture = picture.reduce(2)

    # Light falls off across the picture; then grain, as from a cheap sensor.
    noise = np.random.default_rng(rng.getrandbits(64))
    across = np.linspace(-1, 1, size, dtype=np.float32)
    light = rng.uniform(0.9, 1.06) + rng.uniform(-0.1, 0.1) * across[:, None] + rng.uniform(-0.1, 0.1) * across
    grain = noise.standard_normal((size, size, 3), dtype=np.float32) * rng.uniform(2, 10)
    pixels = np.asarray(picture, dtype=np.float32) * light[:, :, None] + grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
