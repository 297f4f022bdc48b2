"""The ground of a procedural scene: regions of sand, grass and water with textures, and what lies on them as stuff."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Image = NDArray[np.float32]  # (size, size), or (3, size, size): whole channels are quicker than whole pixels

SAND, GRASS, WATER = range(3)
_COLORS = np.array([[182, 158, 122], [102, 118, 68], [82, 110, 124]])
_TINTS = np.array([[22, 21, 18], [24, 27, 16], [13, 17, 19]])  # what one unit of texture adds


class Ground(NamedTuple):
    """Stuff without things on it.

    Attributes
    ----------
    labels : (size, size), the stuff class of every pixel
    colors : (3, size, size), its colours
    grain : (size, size), a fine texture of unit variance that things share
    """

    labels: NDArray[np.int64]
    colors: Image
    grain: Image


def make_ground(rng: np.random.Generator, size: int) -> Ground:
    """Draw one to three stuff regions with textures."""
    present = rng.permutation(3)[: rng.choice(3, p=[0.15, 0.5, 0.35]) + 1]
    height = np.full((3, size, size), -np.inf, np.float32)
    for k in present:
        height[k] = noise(rng, size, rng.uniform(40, 64)) + 0.09 * noise(rng, size, 7)
    labels = height.argmax(axis=0)
    share = np.exp(rng.uniform(14, 30) * (height - height.max(axis=0)))  # how abruptly one region turns into the other
    share /= share.sum(axis=0)
    grain = noise(rng, size, 1.3)
    colors = np.zeros((3, size, size), np.float32)
    for k in present:
        color = rng.uniform(0.85, 1.12) * _COLORS[k] + rng.normal(0, 4.5, 3)
        texture = _TEXTURES[k](rng, size, grain)
        for channel in range(3):
            colors[channel] += share[k] * (float(color[channel]) + float(_TINTS[k][channel]) * texture)
    return Ground(labels, colors, grain)


def noise(rng: np.random.Generator, size: int, cell: float | tuple[float, float]) -> Image:
    """A smooth random field of zero mean and unit variance, whose features are about `cell` pixels (high and wide)."""
    down, across = (_spline(size, round(c, 1)) for c in (cell if isinstance(cell, tuple) else (cell, cell)))
    white = rng.standard_normal((down.shape[1], across.shape[1]), np.float32)
    field: Image = (across @ (down @ white).T).T
    return field


@lru_cache(maxsize=1024)
def _spline(size: int, cell: float) -> csr_array:
    """Cubic B-splines at knots `cell` pixels apart, one a column, which make white noise smooth.

    The matrix is sparse, so that products with it use no threads of BLAS: scenes are drawn beside a network that
    needs the cores itself.
    """
    knots = np.arange(-1, int(size / cell) + 3)
    t = abs(np.arange(size)[:, None] / cell - knots)
    near, far = (4 - 6 * t**2 + 3 * t**3) / 6, np.clip(2 - t, 0, None) ** 3 / 6
    weights = np.where(t < 1, near, far)
    return csr_array((weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))).astype(np.float32))


def _sand(rng: np.random.Generator, size: int, grain: Image) -> Image:
    """Grains, shallow dunes, ripples of the wind, and round hollows that are no stones."""
    yy, xx = _places(size)
    texture = 0.35 * grain + 0.5 * noise(rng, size, 18)
    turn, pitch = rng.uniform(0, np.pi), rng.uniform(0.55, 0.9)
    phase = pitch * (xx * np.cos(turn) + yy * np.sin(turn)) + 1.2 * noise(rng, size, 16)
    texture += rng.uniform(0, 0.45) * np.sin(phase) * np.clip(noise(rng, size, 26) + 0.4, 0, 1.5)
    hollows = noise(rng, size, rng.uniform(4, 7))
    texture -= np.clip(2 * (hollows - 1.7), 0, 1.2)
    return np.asarray(texture, np.float32)


def _grass(rng: np.random.Generator, size: int, grain: Image) -> Image:
    """Blades, tufts and patches; small flowers in some of them."""
    lean = (rng.uniform(2.5, 5), rng.uniform(1.1, 1.8))
    patches = noise(rng, size, 20)
    texture = 0.6 * noise(rng, size, lean) + 0.45 * patches + 0.35 * noise(rng, size, 5) + 0.2 * grain
    flowers = (noise(rng, size, 1.1) > 2.2) & (patches > rng.uniform(0.3, 1.5))
    return np.asarray(np.where(flowers, 3.2, texture), np.float32)


def _water(rng: np.random.Generator, size: int, grain: Image) -> Image:
    """Waves, deep and shallow places, and streaks of light."""
    yy, xx = _places(size)
    turn, pitch = rng.normal(0, 0.5), rng.uniform(0.3, 0.7)
    phase = pitch * (yy * np.cos(turn) + xx * np.sin(turn)) + 1.8 * noise(rng, size, 12)
    texture = 0.5 * np.sin(phase) + 0.9 * noise(rng, size, 30) + 0.08 * grain
    streaks = noise(rng, size, (1.6, 7.0))
    return np.asarray(texture + np.clip(2.5 * (streaks - rng.uniform(1.5, 2.2)), 0, 3), np.float32)


_TEXTURES = (_sand, _grass, _water)


@lru_cache(maxsize=8)
def _places(size: int) -> tuple[Image, Image]:
    yy, xx = np.mgrid[:size, :size].astype(np.float32)
    return yy, xx
