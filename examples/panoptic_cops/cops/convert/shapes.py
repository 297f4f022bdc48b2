"""What every annotation format is read into: images with shapes, and the instances that the shapes paint.

Coordinates are those of annotation tools: (0, 0) is the corner of the first pixel, (0.5, 0.5) its middle.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..data.samples import DataError
from ..scores.average_precision import mask_tools

Size = tuple[int, int]  # height and width
Mask = NDArray[np.bool_]
FARTHEST = 1e6  # pixels: a coordinate beyond is an error, not a shape that leaves the image


class Drawn(NamedTuple):
    """A shape in an image: the rows and columns that it may cover, and its mask within them."""

    part: tuple[slice, slice]
    mask: Mask


Draw = Callable[[Size], Drawn]  # draws a shape into an image of a size


class Instance(NamedTuple):
    """One instance of a class, or a crowd of them."""

    label: str
    iscrowd: bool = False


class Annotated(Protocol):
    """An image and what is annotated in it.

    Attributes
    ----------
    name : how the source names the image, perhaps with folders
    image : the image's file
    where : what names the annotation, for messages
    size : height and width that the annotation states; None if it states none
    """

    name: str
    image: Path
    where: str
    size: Size | None

    def labels(self) -> Counter[str]:
        """How many instances there are of every label."""
        ...

    def painted(self, size: Size, stuff: set[str]) -> tuple[NDArray[np.int64], list[Instance]]:
        """The number of the instance at every pixel of an image of that size, from 1 on; 0 where there is none."""
        ...


@dataclass(frozen=True)
class Shape:
    """One shape.

    Attributes
    ----------
    label : its class
    draw : gives its mask in an image of a size
    part_of : shapes of an image with the same value here are one instance; None for an instance of its own
    iscrowd : whether it covers many instances that were not annotated individually
    layer : shapes of higher layers cover those of lower ones, whatever their classes
    area : of two shapes of one layer that are both stuff or both things, the smaller one covers the larger one
    """

    label: str
    draw: Draw
    part_of: Hashable | None = None
    iscrowd: bool = False
    layer: float = 0.0
    area: float = 0.0

    def order(self, stuff: set[str]) -> tuple[float, bool, bool, float]:
        """What shapes are sorted by before they are painted: layers, then crowds, stuff and things, then areas."""
        return self.layer, not self.iscrowd, self.label not in stuff, -self.area


@dataclass(frozen=True)
class Shapes:
    """An `Annotated` image of shapes, painted in their `order`; what is equal there, in the order of the shapes."""

    name: str
    image: Path
    where: str
    size: Size | None
    shapes: Sequence[Shape] = field(repr=False)

    def labels(self) -> Counter[str]:
        return Counter(label for label, _ in dict.fromkeys((s.label, key) for key, s in self._keyed()))

    def painted(self, size: Size, stuff: set[str]) -> tuple[NDArray[np.int64], list[Instance]]:
        ids = np.zeros(size, np.int64)
        numbers: dict[Hashable, int] = {}
        instances: list[Instance] = []
        for key, shape in sorted(self._keyed(), key=lambda pair: pair[1].order(stuff)):
            if key not in numbers:
                instances.append(Instance(shape.label, shape.iscrowd))
                numbers[key] = len(instances)
            part, mask = shape.draw(size)
            ids[part][mask] = numbers[key]
        return ids, instances

    def _keyed(self) -> list[tuple[Hashable, Shape]]:
        """Every shape with what names its instance; a DataError if an instance has two classes."""
        keyed = [(("part", s.part_of) if s.part_of is not None else i, s) for i, s in enumerate(self.shapes)]
        label_of: dict[Hashable, str] = {}
        for key, shape in keyed:
            if label_of.setdefault(key, shape.label) != shape.label:
                raise DataError(
                    f"{self.where}: shapes of the group {shape.part_of} have the labels {label_of[key]!r} and "
                    f"{shape.label!r}: parts of one instance have one label"
                )
        return keyed


def polygon(points: Iterable[Sequence[float]], where: str) -> Draw:
    """A polygon as pycocotools draws it; what lies outside of the image is cut off.

    Raises
    ------
    DataError
        If it has fewer than three points, or coordinates that are not numbers of pixels.
    """
    corners = np.array([coordinates(point, where) for point in points]).reshape(-1, 2)
    if len(corners) < 3:
        raise DataError(f"{where}: a polygon needs at least three points, got {len(corners)}")

    def draw(size: Size) -> Drawn:
        part = _around(corners.min(0), corners.max(0), size)
        shape = _shape_of(part)
        if not all(shape):
            return Drawn(part, np.zeros(shape, bool))
        flat = (corners - [part[1].start, part[0].start]).ravel().tolist()
        return Drawn(part, _decoded(mask_tools().frPyObjects([flat], *shape)))

    return draw


def rectangle(a: Sequence[float], b: Sequence[float], where: str, degrees: float = 0.0) -> Draw:
    """The rectangle between two corners, turned clockwise around its middle."""
    (x, y), (right, bottom) = coordinates(a, where), coordinates(b, where)
    middle, turn = ((x + right) / 2, (y + bottom) / 2), _radians(degrees, where)
    corners = []
    for u, v in ((x, y), (right, y), (right, bottom), (x, bottom)):
        du, dv = u - middle[0], v - middle[1]
        corners.append((middle[0] + du * math.cos(turn) - dv * math.sin(turn),
                        middle[1] + du * math.sin(turn) + dv * math.cos(turn)))  # fmt: skip
    return polygon(corners, where)


def ellipse(centre: Sequence[float], radii: Sequence[float], where: str, degrees: float = 0.0) -> Draw:
    """The pixels whose middles lie in an ellipse, turned clockwise around its middle.

    Raises
    ------
    DataError
        If a radius is not positive, or a coordinate not a number of pixels.
    """
    (x, y), (a, b) = coordinates(centre, where), coordinates(radii, where)
    if min(a, b) <= 0:
        raise DataError(f"{where}: the radii of a circle or an ellipse must be positive, got {a} and {b}")
    turn, reach = _radians(degrees, where), max(a, b)

    def draw(size: Size) -> Drawn:
        part = _around(np.array([x - reach, y - reach]), np.array([x + reach, y + reach]), size)
        dy, dx = np.mgrid[part] + 0.5 - np.array([y, x])[:, None, None]
        u, v = dx * math.cos(turn) + dy * math.sin(turn), dy * math.cos(turn) - dx * math.sin(turn)
        return Drawn(part, (u / a) ** 2 + (v / b) ** 2 <= 1)

    return draw


def window(mask: Mask, left: int, top: int) -> Draw:
    """A mask with its upper left pixel at some place of the image; what lies outside is cut off.

    Its run lengths are kept alone, because all shapes of a data set are there at the same time.
    """
    end = top + mask.shape[0], left + mask.shape[1]
    code = mask_tools().encode(np.asfortranarray(mask, np.uint8)) if mask.size else None

    def draw(size: Size) -> Drawn:
        part = tuple(
            slice(min(max(0, s), n), min(max(0, e), n)) for s, e, n in zip((top, left), end, size, strict=True)
        )
        inner = tuple(slice(p.start - s, p.stop - s) for p, s in zip(part, (top, left), strict=True))
        seen = code is not None and all(_shape_of(part))
        return Drawn(part, _decoded([code])[inner] if seen else np.zeros(_shape_of(part), bool))

    return draw


def run_lengths(code: dict[str, object]) -> Draw:
    """Run lengths of a whole image as pycocotools packs them: {"size": [height, width], "counts": text}."""
    return lambda size: Drawn((slice(None), slice(None)), _decoded([code]))


def _around(low: NDArray[np.float64], high: NDArray[np.float64], size: Size) -> tuple[slice, slice]:
    """Rows and columns of an image that hold the points (x, y) from `low` to `high`, with a margin of a pixel."""
    (left, top), (right, bottom) = np.floor(low).astype(int) - 1, np.ceil(high).astype(int) + 1
    ends = ((top, bottom), (left, right))
    rows, columns = (slice(*(int(min(max(0, i), n)) for i in e)) for e, n in zip(ends, size, strict=True))
    return rows, columns


def _shape_of(part: Sequence[slice]) -> Size:
    return part[0].stop - part[0].start, part[1].stop - part[1].start


def _decoded(codes: list[dict[str, object]]) -> Mask:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools' arrays do not know numpy 2's copy=
        found: Mask = mask_tools().decode(codes).any(2)
    return found


def _radians(degrees: float, where: str) -> float:
    if not math.isfinite(degrees):
        raise DataError(f"{where}: a rotation must be a number of degrees, got {degrees}")
    return math.radians(degrees)


def coordinates(values: Sequence[object], where: str) -> tuple[float, float]:
    """Two coordinates, or a DataError that quotes them."""
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) <= FARTHEST]
    if len(numbers) != 2 or len(values) != 2:
        raise DataError(f"{where}: a point must be two numbers of pixels up to {FARTHEST:.0e}, got {values!r:.80}")
    return float(numbers[0]), float(numbers[1])
