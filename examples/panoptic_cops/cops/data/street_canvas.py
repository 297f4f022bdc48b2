"""What procedural streets are drawn with: a camera, and two pictures that are drawn together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from PIL import Image, ImageDraw

from .cityscapes import CATEGORIES

ID = {c.name: c.id for c in CATEGORIES}
DIVISOR = 1000  # a thing is this times its class, plus its number; a smaller value is a class without instances
Color = tuple[int, int, int]
Point = tuple[float, float]


class Camera(NamedTuple):
    """A pinhole camera: focal length in pixels, the point where the street vanishes, height in metres."""

    focal: float
    column: float
    horizon: float
    height: float

    def point(self, x: float, y: float, z: float) -> Point:
        """Where a point is seen."""
        return self.column + self.focal * x / z, self.horizon + self.focal * (self.height - y) / z


@dataclass
class Canvas:
    """Two pictures that are drawn together: values, and colours."""

    values: Image.Image
    colors: Image.Image
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._pens = ImageDraw.Draw(self.values), ImageDraw.Draw(self.colors)

    def number(self, name: str) -> int:
        """The value of a new instance."""
        self.counts[name] += 1
        return ID[name] * DIVISOR + self.counts[name] - 1

    def polygon(self, points: Sequence[Point], value: int, color: Color) -> None:
        """Fill a polygon in both pictures."""
        for pen, fill in zip(self._pens, (value, color), strict=True):
            pen.polygon(points, fill=fill)

    def ellipse(self, center: Point, radii: Point, value: int, color: Color | None) -> None:
        """Fill an ellipse; without a colour, in the values only, as the disc of a wheel with spokes is labelled."""
        (x, y), (a, b) = center, radii
        box = (x - a, y - b, x + a, y + b)
        self._pens[0].ellipse(box, fill=value)
        if color is not None:
            self._pens[1].ellipse(box, fill=color)

    def ring(self, center: Point, radii: Point, width: float, color: Color) -> None:
        """The outline of an ellipse, in the colours only."""
        (x, y), (a, b) = center, radii
        self._pens[1].ellipse((x - a, y - b, x + a, y + b), outline=color, width=max(1, round(width)))

    def line(self, points: Sequence[Point], width: float, value: int, color: Color) -> None:
        """A line in both pictures."""
        for pen, fill in zip(self._pens, (value, color), strict=True):
            pen.line(points, fill=fill, width=max(1, round(width)))
