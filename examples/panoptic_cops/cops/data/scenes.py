"""The embedded data set: procedural scenes of a river bank from above, with things that touch and cover each other.

Every scene is a function of (seed, index) alone, so nothing is stored or downloaded. Sand, grass and water carry
textures and clutter; clusters of stones, piles of leaves, rows of crates and stacks of logs lie on them. Instances of a
group differ only slightly in shade, and the outlines between them may be faint. What lies in front cuts what lies
behind, sometimes into parts, which stay one segment. Mud without a label, and what is all but hidden, are void. A
camera adds uneven light, blur and noise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .samples import VOID, Category, ImageKey, Sample, Segment
from .scene_ground import Image, make_ground, noise
from .scene_things import Scene, Sun, draw, make_things

CATEGORIES = (  # stuff in the order of scene_ground, things in that of scene_things
    Category(1, "sand", False, (222, 196, 140)),
    Category(2, "grass", False, (104, 152, 70)),
    Category(3, "water", False, (78, 136, 176)),
    Category(4, "stone", True, (150, 110, 190)),
    Category(5, "leaf", True, (240, 160, 40)),
    Category(6, "crate", True, (214, 70, 70)),
    Category(7, "log", True, (60, 170, 160)),
)
VISIBLE = {False: 80, True: 24}  # stuff and things of which fewer pixels are seen are void
_NUM_STUFF = sum(not c.isthing for c in CATEGORIES)


class Scenes:
    """Procedural scenes.

    Parameters
    ----------
    count : int
        Number of scenes.
    seed : int
        Scenes of different seeds are different.
    size : int
        Height and width in pixels. A larger scene shows more things, not larger ones.
    """

    categories = CATEGORIES

    def __init__(self, count: int, seed: int, size: int = 128) -> None:
        self.count = count
        self.seed = seed
        self.size = size
        self._cache: dict[int, Sample] = {}  # with ids of 16 bits: a thousand scenes take 80 MB

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index} of {self.count}")
        if index not in self._cache:
            scene = make_scene(np.random.default_rng([self.seed, index]), self.size, _name(index))
            self._cache[index] = replace(scene, ids=scene.ids.astype(np.int16))
        return replace(self._cache[index], ids=self._cache[index].ids.astype(np.int64))

    def image_keys(self) -> list[ImageKey]:
        """The names of the files that a dump lists for the scenes."""
        return [ImageKey(None, f"{_name(index)}.png") for index in range(self.count)]


def _name(index: int) -> str:
    return f"scene{index:05d}"


def make_scene(rng: np.random.Generator, size: int, name: str) -> Sample:
    """Draw one scene."""
    ground = make_ground(rng, size)
    sun = Sun(rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.45), int(rng.integers(1, 4)))
    scene = Scene(ground.colors, ground.labels + 1, ground.grain, sun)
    categories = list(range(_NUM_STUFF))  # of the segments 1, 2, ...
    _spread_mud(rng, scene)
    for thing in make_things(rng, size):
        categories.append(thing.category)
        draw(scene, thing, len(categories))
    ids = scene.ids
    area = np.bincount(ids.ravel(), minlength=len(categories) + 1)[1:]
    seen = [n >= VISIBLE[CATEGORIES[k].isthing] for n, k in zip(area, categories, strict=True)]
    ids = np.where(np.array([False, *seen])[ids], ids, VOID)
    segments = tuple(Segment(i + 1, k) for i, k in enumerate(categories) if seen[i])
    return Sample(name, _photograph(rng, scene.colors, sun), ids, segments)


def _spread_mud(rng: np.random.Generator, scene: Scene) -> None:
    """Cover a part of some scenes with mud, which nobody labelled."""
    size = len(scene.ids)
    if rng.random() < 0.3:
        mud = noise(rng, size, rng.uniform(9, 14)) > rng.uniform(1.9, 2.4)
        scene.ids[mud] = VOID
        scene.colors[:, mud] = np.array([[1], [0.9], [0.78]]) * (78 + 12 * scene.grain[mud])


def _photograph(rng: np.random.Generator, colors: Image, sun: Sun) -> NDArray[np.uint8]:
    """Light that falls off, shadows of trees beside the scene, a colour cast, blur, and noise of the sensor."""
    size = colors.shape[1]
    y, x = np.linspace(-1, 1, size, dtype=np.float32)[:, None], np.linspace(-1, 1, size, dtype=np.float32)
    light = 1 + rng.uniform(0, 0.16) * (y * np.sin(sun.angle) + x * np.cos(sun.angle))
    if rng.random() < 0.45:
        trees = noise(rng, size, 22) + 0.25 * noise(rng, size, 6) + y * np.sin(sun.angle) + x * np.cos(sun.angle)
        light = light * (1 - rng.uniform(0.5, 1) * sun.dark / (1 + np.exp(7 * (trees + rng.uniform(0.3, 1.3)))))
    cast = (rng.uniform(0.9, 1.12) * rng.normal(1, 0.025, (3, 1, 1))).astype(np.float32)
    image = colors * (cast * light)
    for _ in range(rng.integers(1, 3)):
        image = _blurred(image, rng.uniform(0.15, 0.5))
    image += rng.uniform(3, 10) * rng.standard_normal(image.shape, np.float32)
    return np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def _blurred(image: Image, share: float) -> Image:
    """Average every pixel with its neighbours, which count `share` of it."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, 1:-1] + share * (padded[:, :-2] + padded[:, 2:])
    both = rows[..., 1:-1] + share * (rows[..., :-2] + rows[..., 2:])
    return np.asarray(both * (1 + 2 * share) ** -2)
