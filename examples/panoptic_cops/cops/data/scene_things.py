"""The things of a procedural scene: groups of stones, leaves, crates and logs, and how each of them is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .scene_ground import Image

STONE, LEAF, CRATE, LOG = range(3, 7)
_PALETTES = {
    STONE: [(132, 128, 122), (112, 104, 96), (150, 140, 124), (98, 104, 112), (140, 112, 98)],
    LEAF: [(170, 120, 48), (150, 78, 44), (134, 128, 52), (186, 150, 70), (122, 62, 52)],
    CRATE: [(164, 128, 84), (142, 104, 66), (104, 120, 128), (150, 86, 66), (178, 154, 116)],
    LOG: [(104, 80, 58), (126, 100, 74), (88, 74, 64), (164, 154, 140)],
}


@dataclass(frozen=True)
class Thing:
    """A thing before it is drawn: its class, its middle, the angle and the half lengths of its axes, and its look.

    `edge` is how much darker its outline is, which is all that may part it from its neighbours; `detail` how strong its
    own markings are, and `phase` where these begin.
    """

    category: int
    y: float
    x: float
    turn: float
    length: float
    width: float
    color: tuple[float, ...]
    edge: float
    detail: float
    phase: float


class Sun(NamedTuple):
    """Where the light comes from, and the shadows that it casts: how dark, and how long in pixels."""

    angle: float
    dark: float
    long: int


class Scene(NamedTuple):
    """What is drawn on: colours, segment ids, the fine texture that all things share, and the sun."""

    colors: Image
    ids: NDArray[np.int64]
    grain: Image
    sun: Sun


def make_things(rng: np.random.Generator, size: int) -> Iterator[Thing]:
    """Groups of things of one class; what comes later lies in front.

    Things have the same size in pixels in scenes of every size, but logs are at most about half as long as a scene.
    """
    for _ in range(round(size**2 / 16384 * rng.uniform(5, 9)) or 1):
        k = int(rng.choice([STONE, LEAF, CRATE, LOG], p=[0.3, 0.25, 0.22, 0.23]))
        y, x = rng.uniform(-2, size + 2, 2)
        color = np.array(_PALETTES[k][rng.integers(len(_PALETTES[k]))]) * rng.uniform(0.85, 1.15)
        edge, detail = rng.uniform(0.05, 0.4), rng.uniform(0.2, 1)
        spread = rng.uniform(2, 9)  # of the shade within a group
        for dy, dx, turn, length, width in _GROUPS[k](rng, size):
            shade = tuple((color + rng.normal(0, spread) + rng.normal(0, 2, 3)).tolist())
            yield Thing(k, y + dy, x + dx, turn, length, width, shade, edge, detail, rng.uniform(0, 2 * np.pi))


Places = Iterator[tuple[float, float, float, float, float]]  # y, x, turn, length and width


def _stones(rng: np.random.Generator, size: int) -> Places:
    """A stone, or a cluster in which each touches an earlier one."""
    radius = math.exp(rng.uniform(math.log(3.4), math.log(16)))
    places: list[tuple[float, float, float]] = []
    for _ in range(rng.integers(1, 3 + round(55 / radius))):
        r = radius * math.exp(rng.normal(0, 0.18))
        y = x = 0.0
        for _ in range(6 if places else 0):  # a free place beside one of the others, if there is one
            v, u, s = places[rng.integers(len(places))]
            angle = rng.uniform(0, 2 * np.pi)
            y, x = v + 0.93 * (r + s) * math.sin(angle), u + 0.93 * (r + s) * math.cos(angle)
            if all((y - a) ** 2 + (x - b) ** 2 > (0.8 * (r + c)) ** 2 for a, b, c in places):
                break
        places.append((y, x, r))
        yield y, x, rng.uniform(0, np.pi), r * rng.uniform(1, 1.25), r * rng.uniform(0.85, 1)


def _leaves(rng: np.random.Generator, size: int) -> Places:
    """A pile, whose leaves cover each other."""
    length = math.exp(rng.uniform(math.log(5), math.log(14)))
    count = rng.integers(1, 8)
    for _ in range(count):
        y, x = 0.55 * length * count**0.5 * rng.standard_normal(2)
        yield y, x, rng.uniform(0, 2 * np.pi), length * rng.uniform(0.8, 1.2), length * rng.uniform(0.38, 0.55)


def _crates(rng: np.random.Generator, size: int) -> Places:
    """Rows of equal boxes side by side."""
    width = math.exp(rng.uniform(math.log(4), math.log(14)))
    length = width * rng.uniform(1, 1.6)
    turn, slip = rng.uniform(0, np.pi), rng.uniform(0, 0.12)
    rows, columns = rng.integers(1, 3), rng.integers(1, 5)
    for i in range(rows):
        for j in range(columns):
            if rng.random() < 0.9:
                a, b = 2 * length * (i - (rows - 1) / 2), 2 * width * (j - (columns - 1) / 2)
                a, b = np.array([a, b]) + slip * width * rng.standard_normal(2)
                y, x = a * math.sin(turn) + b * math.cos(turn), a * math.cos(turn) - b * math.sin(turn)
                yield y, x, turn + 0.2 * slip * rng.standard_normal(), length, width


def _logs(rng: np.random.Generator, size: int) -> Places:
    """A log, or several side by side."""
    width = math.exp(rng.uniform(math.log(2.2), math.log(7)))
    length = min(width * rng.uniform(4, 9), size / 4)
    turn, count = rng.uniform(0, np.pi), 1 + rng.poisson(0.9)
    for j in range(count):
        b = 1.95 * width * (j - (count - 1) / 2)
        a = 0.12 * length * rng.standard_normal()
        y, x = a * math.sin(turn) + b * math.cos(turn), a * math.cos(turn) - b * math.sin(turn)
        tilt = 0.03 * rng.standard_normal()
        yield y, x, turn + tilt, length * rng.uniform(0.8, 1.1), width * rng.uniform(0.9, 1.1)


_GROUPS = {STONE: _stones, LEAF: _leaves, CRATE: _crates, LOG: _logs}


def draw(scene: Scene, thing: Thing, number: int) -> None:
    """Draw a thing and its shadow over what is there, as the segment of that number."""
    size, sun = len(scene.ids), scene.sun
    reach = math.hypot(thing.length, thing.width) + sun.long + 2
    rows, columns = (slice(max(0, int(c - reach)), max(0, min(size, int(c + reach) + 1))) for c in (thing.y, thing.x))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    colors = scene.colors[:, rows, columns]
    dy = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(thing.y)
    dx = np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(thing.x)
    c, s = np.float32(np.cos(thing.turn)), np.float32(np.sin(thing.turn))
    u, v = c * dx + s * dy, c * dy - s * dx
    depth, light = _SHAPES[thing.category](u, v, thing, sun.angle - thing.turn)
    cover = np.clip(depth + 0.5, 0, 1)
    light += 0.05 * scene.grain[rows, columns] - thing.edge * np.clip(1 - depth / 1.6, 0, 1)
    _cast(colors, cover, sun)
    colors += cover * (light * np.array(thing.color, np.float32)[:, None, None] - colors)
    scene.ids[rows, columns][depth > 0] = number


def _cast(colors: Image, cover: Image, sun: Sun) -> None:
    """Darken what lies in the shadow of a thing that covers these pixels."""
    dy, dx = round(-sun.long * math.sin(sun.angle)), round(-sun.long * math.cos(sun.angle))
    (to_y, from_y), (to_x, from_x) = _shift(dy), _shift(dx)
    colors[:, to_y, to_x] *= 1 - sun.dark * cover[from_y, from_x]


def _shift(d: int) -> tuple[slice, slice]:
    """Where a shift by `d` puts pixels, and where it takes them from."""
    return slice(max(0, d), min(0, d) or None), slice(max(0, -d), min(0, -d) or None)


def _stone(u: Image, v: Image, thing: Thing, sun: float) -> tuple[Image, Image]:
    """A round body with bumps."""
    p, q = u / thing.length, v / thing.width
    angle = np.arctan2(q, p)
    bumps = 1 + 0.05 * np.sin(2 * angle + thing.phase) + 0.04 * np.sin(3 * angle + 2 * thing.phase)
    radius = np.hypot(p, q) / bumps
    slope = np.float32(0.22 + 0.1 * thing.detail) * np.minimum(radius, 1)
    return thing.width * (1 - radius), 1 + slope * (p * math.cos(sun) + q * math.sin(sun))


def _leaf(u: Image, v: Image, thing: Thing, sun: float) -> tuple[Image, Image]:
    """A blade with two pointed ends, and a rib in the middle."""
    depth = thing.width * (1 - (u / thing.length) ** 2) - abs(v)
    light = 1 + 0.12 * thing.detail * np.sign(v) + 0.06 * np.sin(1.3 * (abs(v) + u))
    return depth, light - 0.28 * (abs(v) < 0.6)


def _crate(u: Image, v: Image, thing: Thing, sun: float) -> tuple[Image, Image]:
    """A box of planks."""
    depth = np.minimum(thing.length - abs(u), thing.width - abs(v))
    plank = (v + thing.width) * (max(2, round(thing.width / 2.2)) / (2 * thing.width))
    gaps = abs(plank - np.round(plank)) < 0.13
    light = 1 + 0.05 * np.sin(2.3 * np.floor(plank) + thing.phase) - 0.2 * thing.detail * gaps
    braces = abs(abs(u) - 0.72 * thing.length) < 0.09 * thing.length
    return depth, light + 0.14 * thing.detail * braces


def _log(u: Image, v: Image, thing: Thing, sun: float) -> tuple[Image, Image]:
    """A trunk with bark along it, cut at one end."""
    depth = np.minimum(thing.length - abs(u) - 0.3 * v**2 / thing.width, thing.width - abs(v))
    across = v / thing.width
    light = 1 - 0.3 * across**2 + 0.16 * across * math.sin(sun)
    light = light + 0.1 * thing.detail * np.sin(2.1 * v + 0.5 * np.sin(0.35 * u + thing.phase) + thing.phase)
    return depth, light + 0.35 * (thing.length - u < 0.7 * thing.width + 0.3 * v**2 / thing.width)


_SHAPES: dict[int, Callable[[Image, Image, Thing, float], tuple[Image, Image]]] = {
    STONE: _stone, LEAF: _leaf, CRATE: _crate, LOG: _log
}  # fmt: skip
