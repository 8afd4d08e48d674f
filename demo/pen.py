"""A pen for simple drawings: polygons in a square from -1 to 1, y pointing down."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` made darker (factor below 1) or lighter (above 1, towards white)."""
    if factor <= 1:
        red, green, blue = (round(channel * factor) for channel in colour)
    else:
        red, green, blue = (round(255 - (255 - channel) * (2 - factor)) for channel in colour)
    return red, green, blue


@dataclass(frozen=True)
class Pen:
    """Draws polygons given in product coordinates onto a canvas in pixels.

    `centre` and `radius` are in pixels, `angle` in radians; `flip` mirrors left and right.
    """

    canvas: ImageDraw.ImageDraw
    centre: Point
    radius: float
    angle: float = 0.0
    flip: bool = False
    stretch: float = 1.0

    def _place(self, point: Point) -> Point:
        x = point[0] * self.radius * self.stretch * (-1 if self.flip else 1)
        y = point[1] * self.radius
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.centre[0] + x * cos - y * sin, self.centre[1] + x * sin + y * cos

    def poly(self, points: Sequence[Point], fill: Colour) -> None:
        """A filled polygon."""
        self.canvas.polygon([self._place(point) for point in points], fill=fill)

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour, start: float = 0, end: float = 360) -> None:
        """A filled ellipse, or the part of it between two angles in degrees (clockwise from the right)."""
        self.poly(arc(x, y, rx, ry, start, end), fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour, round_by: float = 0.0) -> None:
        """A filled rectangle, its corners rounded by the radius `round_by`."""
        r = round_by
        if r == 0:
            self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)
            return
        corners = [(x1 - r, y0 + r, 270), (x1 - r, y1 - r, 0), (x0 + r, y1 - r, 90), (x0 + r, y0 + r, 180)]
        self.poly([p for x, y, a in corners for p in arc(x, y, r, r, a, a + 90, steps=5)], fill)

    def line(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """Straight lines from point to point, `width` in product coordinates."""
        pixels = max(1, round(width * self.radius))
        self.canvas.line([self._place(p) for p in points], fill=fill, width=pixels, joint="curve")


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float, steps: int = 28) -> list[Point]:
    """Points along an ellipse between two angles in degrees, clockwise from the right."""
    angles = (math.radians(start + (end - start) * i / steps) for i in range(steps + 1))
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]
