"""Single things of the procedural streets: vehicles, people, two-wheelers, poles, signs and trees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .street_canvas import ID, Camera, Canvas, Color, Point

STATIC = 4  # the id of Cityscapes for bins, boxes and the like, which the evaluation ignores
NEAREST, FARTHEST = 4.5, 120.0  # metres
# width, height, length in metres; height of the body where a cabin stands on it
SIZES = {
    "car": (1.8, 1.5, 4.3, 0.85), "truck": (2.5, 3.4, 8.0, 1.2), "bus": (2.5, 3.2, 11.0, 0.9),
    "train": (2.7, 3.6, 28.0, 1.0),
}  # fmt: skip


class Standing(NamedTuple):
    """Something at a distance, with the function that draws it."""

    z: float
    draw: Callable[[], None]


@dataclass
class Artist:
    """Draws single objects; each method draws its random numbers at once and returns what is drawn later."""

    rng: np.random.Generator
    camera: Camera
    canvas: Canvas

    def vehicle(self, name: str, x: float, z: float) -> Standing:
        """A box with a cabin, seen from behind and from the side that faces the middle of the street."""
        width, height, length, body = SIZES[name]
        height *= self.rng.uniform(0.95, 1.15 if name == "car" else 1.1)
        color = self._paint(name)
        lights = (200, 30, 30) if self.rng.random() < 0.6 else (235, 235, 215)

        def draw() -> None:
            value = self.canvas.number(name)
            x0, x1 = x - width / 2, x + width / 2
            glass: Color = (40, 48, 58)
            self._block(value, (x0, x1), (0.22, body), (z, z + length), color)
            slope = 0.18 * width if name == "car" else 0.0
            ends = (z + 0.12 * length, z + 0.75 * length) if name == "car" else (z, z + length)
            self._block(value, (x0 + slope / 2, x1 - slope / 2), (body, height), ends, color, slope)
            low, high = body + 0.06, height - (0.12 if name == "car" else 0.45 * (height - body))
            inset = 0.12 + slope / 2
            self._face(value, (x0 + inset, x1 - inset), (low, high), ends[0], glass, slope / 2)
            if name in ("bus", "train") or (name == "car"):
                self._flank(value, x0 + slope / 2, x1 - slope / 2, (low, high), (ends[0] + 0.3, ends[1] - 0.3), glass)
            for left in (x0 + 0.06, x1 - 0.36):
                self._face(value, (left, left + 0.3), (0.6 * body, 0.8 * body), z, lights)
                self._face(value, (left, left + 0.24), (0.0, 0.3), z, (18, 18, 20))
            self._face(value, (x - 0.26, x + 0.26), (0.42 * body, 0.56 * body), z, (225, 225, 220))
            side = x0 if x > 0 else x1
            if x0 > 0 or x1 < 0:
                for at in (z + 0.2 * length, z + 0.8 * length):
                    center = self.camera.point(side, 0.32, at)
                    across = (
                        abs(self.camera.point(side, 0, at - 0.32)[0] - self.camera.point(side, 0, at + 0.32)[0]) / 2
                    )
                    radii = max(across, 0.5), 0.32 * self.camera.focal / at
                    self.canvas.ellipse(center, radii, value, (18, 18, 20))

        return Standing(z, draw)

    def person(self, x: float, z: float, crowd: bool = False) -> Standing:
        """Someone who stands or walks."""
        z = float(np.clip(z, NEAREST, FARTHEST))
        tall, step = self.rng.normal(1.7, 0.12), self.rng.uniform(0.02, 0.28)
        colors = self._clothes()

        def draw() -> None:
            value = ID["person"] if crowd else self.canvas.number("person")
            self._body(value, x, z, tall, step, colors)

        return Standing(z, draw)

    def two_wheeler(self, name: str, x: float, z: float, ridden: bool = False, crowd: bool = False) -> Standing:
        """A bicycle or motorcycle; one that is ridden is seen from behind, another one from the side."""
        z = float(np.clip(z, NEAREST, FARTHEST))
        color, colors, tall = self._paint(name), self._clothes(), self.rng.normal(1.65, 0.08)
        turn = self.rng.uniform(0.15, 0.45) if ridden else self.rng.uniform(0.7, 1.0)

        def draw() -> None:
            value = ID[name] if crowd else self.canvas.number(name)
            if ridden:
                self._body(self.canvas.number("rider"), x, z, tall, 0.05, colors, lift=0.3)
            scale = self.camera.focal / z
            radius, apart = 0.34, 0.55 * turn
            thick = (0.05 if name == "bicycle" else 0.16) * scale
            wheels = [self.camera.point(x + d, radius, z) for d in (-apart, apart)]
            seat, bar = self.camera.point(x - 0.5 * apart, 0.85, z), self.camera.point(x + 0.7 * apart, 1.0, z)
            pedals = self.camera.point(x, 0.4, z)
            for wheel in wheels:
                radii = radius * scale * (0.2 + 0.8 * turn), radius * scale
                self.canvas.ellipse(wheel, radii, value, (25, 25, 28) if name == "motorcycle" else None)
                self.canvas.ring(wheel, radii, thick, (25, 25, 28))
            self.canvas.line([wheels[0], seat, pedals, wheels[0]], thick, value, color)
            self.canvas.line([seat, bar, wheels[1]], thick, value, color)
            self.canvas.line([pedals, bar], thick, value, color)
            if name == "motorcycle":
                self.canvas.polygon([wheels[0], seat, bar, wheels[1], pedals], value, color)

        return Standing(z, draw)

    def pole(self, x: float, z: float, side: int) -> Standing:
        """A lamp post, or a post with a traffic light or a sign."""
        kind = str(self.rng.choice(("lamp", "light", "sign"), p=(0.35, 0.3, 0.35)))
        high = self.rng.uniform(5, 8) if kind == "lamp" else self.rng.uniform(2.4, 3.4)
        thick, grey = self.rng.uniform(0.06, 0.1), int(self.rng.integers(70, 150))
        shape, color = int(self.rng.integers(3)), self._bright()

        def draw() -> None:
            self._face(ID["pole"], (x - thick, x + thick), (0, high), z, (grey, grey, grey))
            if kind == "lamp":
                ends = (x - 1.4, x) if side > 0 else (x, x + 1.4)
                self._face(ID["pole"], ends, (high - 0.14, high), z, (grey, grey, grey))
            elif kind == "light":
                self._face(ID["traffic light"], (x - 0.18, x + 0.18), (high - 0.9, high), z, (30, 32, 30))
                lamp = [(230, 40, 30), (240, 180, 30), (40, 220, 90)][shape]
                radius = 0.11 * self.camera.focal / z
                center = self.camera.point(x, high - 0.2 - 0.25 * shape, z)
                self.canvas.ellipse(center, (radius, radius), ID["traffic light"], lamp)
            else:
                self._sign(x, high - 0.35, z, shape, color)

        return Standing(z, draw)

    def tree(self, x: float, z: float) -> Standing:
        """A trunk and a crown of overlapping discs, all of it vegetation."""
        high, wide = self.rng.uniform(4, 9), self.rng.uniform(1.0, 2.4)
        offsets, shade = self.rng.normal(0, 0.45, (14, 2)), self.rng.normal(0, 10)

        def draw() -> None:
            value, scale = ID["vegetation"], self.camera.focal / z
            self._face(value, (x - 0.14, x + 0.14), (0, 0.6 * high), z, (70, 58, 46))
            for i, (a, b) in enumerate(offsets):
                center = self.camera.point(x + a * wide, 0.72 * high + b * 0.2 * high, z)
                color = tuple(int(np.clip(c + shade + 4 * (i - 7), 0, 255)) for c in (58, 80, 42))
                self.canvas.ellipse(center, (0.55 * wide * scale, 0.5 * wide * scale), value, color)  # type: ignore[arg-type]

        return Standing(z, draw)

    def box(self, x: float, z: float) -> Standing:
        """A bin or a box, which is void."""
        width, high, color = self.rng.uniform(0.4, 0.9), self.rng.uniform(0.7, 1.4), self._clothes()[0]
        return Standing(
            z, lambda: self._block(STATIC, (x - width / 2, x + width / 2), (0, high), (z, z + width), color)
        )

    def _body(
        self, value: int, x: float, z: float, tall: float, step: float, colors: Sequence[Color], lift: float = 0.0
    ) -> None:
        shirt, trousers, skin = colors
        hip, neck = lift + 0.48 * tall, lift + 0.84 * tall
        for foot in (-step, step):
            legs = [(x - 0.12, hip), (x + 0.12, hip), (x + foot + 0.08, lift), (x + foot - 0.08, lift)]
            self.canvas.polygon([self.camera.point(a, b, z) for a, b in legs], value, trousers)
        torso = [(x - 0.17, hip), (x - 0.25, neck - 0.06), (x, neck), (x + 0.25, neck - 0.06), (x + 0.17, hip)]
        self.canvas.polygon([self.camera.point(a, b, z) for a, b in torso], value, shirt)
        scale = self.camera.focal / z
        self.canvas.ellipse(self.camera.point(x, lift + 0.92 * tall, z), (0.1 * scale, 0.13 * scale), value, skin)

    def _sign(self, x: float, y: float, z: float, shape: int, color: Color) -> None:
        value, radius = ID["traffic sign"], 0.34 * self.camera.focal / z
        if shape == 0:
            self.canvas.ellipse(self.camera.point(x, y, z), (radius, radius), value, color)
            self.canvas.ellipse(self.camera.point(x, y, z), (0.7 * radius, 0.7 * radius), value, (240, 240, 240))
        elif shape == 1:
            corners = [self.camera.point(x + a, y + b, z) for a, b in ((-0.38, -0.3), (0.38, -0.3), (0, 0.38))]
            self.canvas.polygon(corners, value, color)
        else:
            self._face(value, (x - 0.4, x + 0.4), (y - 0.3, y + 0.3), z, color)

    def _block(self, value: int, x: Point, y: Point, z: Point, color: Color, slope: float = 0.0) -> None:
        """A box: its flank, its top if it lies below the camera, and its back."""
        self._flank(value, *x, y, z, _darker(color, 0.8))
        if y[1] < self.camera.height:
            corners = [(x[0], z[0]), (x[1], z[0]), (x[1], z[1]), (x[0], z[1])]
            self.canvas.polygon([self.camera.point(a, y[1], b) for a, b in corners], value, _darker(color, 1.12))
        self._face(value, x, y, z[0], color, slope / 2)

    def _flank(self, value: int, left: float, right: float, y: Point, z: Point, color: Color) -> None:
        """The side of a box that is seen from the middle of the street, if one is."""
        if left > 0 or right < 0:
            side = left if left > 0 else right
            corners = [(y[0], z[0]), (y[1], z[0]), (y[1], z[1]), (y[0], z[1])]
            self.canvas.polygon([self.camera.point(side, a, b) for a, b in corners], value, color)

    def _face(self, value: int, x: Point, y: Point, z: float, color: Color, slope: float = 0.0) -> None:
        """An upright rectangle, or a trapezium, that faces the camera."""
        corners = [(x[0], y[0]), (x[1], y[0]), (x[1] - slope, y[1]), (x[0] + slope, y[1])]
        self.canvas.polygon([self.camera.point(a, b, z) for a, b in corners], value, color)

    def _paint(self, name: str) -> Color:
        if name in ("bus", "train", "bicycle", "motorcycle") or self.rng.random() < 0.3:
            return self._bright()
        grey = int(self.rng.integers(20, 225))
        return grey, grey, min(255, grey + 6)

    def _bright(self) -> Color:
        color = self.rng.permutation(
            (self.rng.integers(120, 230), self.rng.integers(20, 160), self.rng.integers(10, 80))
        )
        return int(color[0]), int(color[1]), int(color[2])

    def _clothes(self) -> tuple[Color, Color, Color]:
        shirt = self.rng.integers(20, 220, 3)
        trousers = self.rng.integers(15, 110) + self.rng.integers(0, 25, 3)
        skin = np.array((225, 180, 150)) * self.rng.uniform(0.4, 1.0)
        a, b, c = (tuple(int(v) for v in color) for color in (shirt, trousers, skin))
        return a, b, c  # type: ignore[return-value]


def _darker(color: Color, factor: float) -> Color:
    r, g, b = (min(255, int(factor * c)) for c in color)
    return r, g, b
