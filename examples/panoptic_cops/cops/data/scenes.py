"""The embedded data set: procedural scenes with touching and overlapping things on textured stuff.

Every scene is a function of (seed, index) alone, so nothing is stored or downloaded. Two stuff
regions with a wavy border carry textures; clusters of discs, boxes and triangles, mostly of one class, lie on
them and cover each other; instances of a class differ only slightly in shade. Smudges without a label are void.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .samples import Category, ImageKey, Sample, Segment

CATEGORIES = (
    Category(1, "stripes", False, (120, 170, 90)),
    Category(2, "dots", False, (150, 120, 180)),
    Category(3, "disc", True, (220, 60, 50)),
    Category(4, "box", True, (50, 90, 220)),
    Category(5, "triangle", True, (240, 190, 40)),
)
_BASE = np.array([[96, 128, 80], [118, 104, 128], [150, 96, 88], [92, 104, 152], [158, 140, 92]], float)
_NUM_STUFF = 2


class Scenes:
    """Procedural scenes.

    Parameters
    ----------
    count : int
        Number of scenes.
    seed : int
        Scenes of different seeds are different.
    size : int
        Height and width in pixels.
    """

    categories = CATEGORIES

    def __init__(self, count: int, seed: int, size: int = 64) -> None:
        self.count = count
        self.seed = seed
        self.size = size
        self._cache: dict[int, Sample] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index} of {self.count}")
        if index not in self._cache:
            self._cache[index] = make_scene(np.random.default_rng([self.seed, index]), self.size, _name(index))
        return self._cache[index]

    def image_keys(self) -> list[ImageKey]:
        """The names of the files that a dump lists for the scenes."""
        return [ImageKey(None, f"{_name(index)}.png") for index in range(self.count)]


def _name(index: int) -> str:
    return f"scene{index:05d}"


def make_scene(rng: np.random.Generator, size: int, name: str) -> Sample:
    """Draw one scene."""
    yy, xx = np.mgrid[:size, :size].astype(float)
    labels, colors = _stuff(rng, yy, xx)
    ids = labels + 1
    segments = [Segment(k + 1, k) for k in range(_NUM_STUFF)]
    for _ in range(rng.integers(1, 4)):
        cluster_class = int(rng.integers(_NUM_STUFF, len(CATEGORIES)))
        center = rng.uniform(0.15 * size, 0.85 * size, 2)
        spread = rng.uniform(0.05, 0.16) * size
        for _ in range(rng.integers(1, 6)):
            k = cluster_class if rng.random() < 0.85 else int(rng.integers(_NUM_STUFF, len(CATEGORIES)))
            y, x = center + spread * rng.standard_normal(2)
            mask = _shape(rng, k, yy - y, xx - x, rng.uniform(0.06, 0.13) * size)
            if mask.sum() < 4:
                continue
            segment = Segment(len(segments) + 1, k)
            segments.append(segment)
            ids[mask] = segment.id
            shade = _BASE[k] + rng.normal(0, 9) + rng.normal(0, 4, 3)
            gradient = rng.normal(0, 0.35, 2)
            colors[mask] = shade + (gradient[0] * (yy - y) + gradient[1] * (xx - x))[mask][:, None]
    for _ in range(rng.poisson(0.6)):
        y, x = rng.uniform(0, size, 2)
        smudge = (yy - y) ** 2 / rng.uniform(1, 4) + (xx - x) ** 2 / rng.uniform(1, 4) < (0.05 * size) ** 2
        ids[smudge] = 0
        colors[smudge] = rng.uniform(60, 180, 3)
    image = _blur(colors) + rng.normal(0, 11, colors.shape)
    present = set(np.unique(ids).tolist())
    kept = tuple(s for s in segments if s.id in present)
    return Sample(name, np.clip(image, 0, 255).astype(np.uint8), ids.astype(np.int64), kept)


def _stuff(
    rng: np.random.Generator, yy: NDArray[np.float64], xx: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Stuff labels by a wavy line, and their textures."""
    size = len(yy)
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    along = (xx - size / 2) * np.cos(angle) + (yy - size / 2) * np.sin(angle)
    across = (yy - size / 2) * np.cos(angle) - (xx - size / 2) * np.sin(angle)
    wave = 0.08 * size * np.sin(along * rng.uniform(4, 10) / size + phase)
    labels = (across + wave > rng.uniform(-0.25, 0.25) * size).astype(np.int64)
    colors = _BASE[labels] + rng.normal(0, 8, (1, 1, 3))
    turn = rng.uniform(0, np.pi)
    stripes = np.sin((xx * np.cos(turn) + yy * np.sin(turn)) * rng.uniform(0.9, 1.5))
    dots = np.sin(xx * rng.uniform(0.9, 1.4)) * np.sin(yy * rng.uniform(0.9, 1.4))
    return labels, colors + 22 * np.where(labels == 0, stripes, 1.5 * dots)[..., None]


def _shape(
    rng: np.random.Generator, k: int, dy: NDArray[np.float64], dx: NDArray[np.float64], radius: float
) -> NDArray[np.bool_]:
    turn = rng.uniform(0, 2 * np.pi)
    u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    if CATEGORIES[k].name == "disc":
        inside = u**2 + (v * rng.uniform(1.0, 1.5)) ** 2 < radius**2
    elif CATEGORIES[k].name == "box":
        inside = (abs(u) < radius) & (abs(v) < radius * rng.uniform(0.5, 1.0))
    else:
        inside = (v > -0.6 * radius) & (v + 1.9 * abs(u) < 1.2 * radius)
    return np.asarray(inside)


def _blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average every pixel with its neighbours, so that borders are blurred."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    blurred: NDArray[np.float64] = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4
    return blurred
