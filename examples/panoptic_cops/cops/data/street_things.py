"""What stands on the procedural streets, and where: the sides of the street, and the traffic; far things first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .street_artist import FARTHEST, SIZES, Artist, Standing
from .street_canvas import Camera, Canvas

CROWD = 0.12  # share of groups that are drawn as one region without instances


def draw_things(
    rng: np.random.Generator,
    camera: Camera,
    canvas: Canvas,
    road: NDArray[np.float64],
    pavement: NDArray[np.float64],
) -> None:
    """Draw all that stands on a street, the farthest first."""
    artist = Artist(rng, camera, canvas)
    standing = [
        s for side in (-1, 1) for s in _along(rng, artist, side, road[(side + 1) // 2], pavement[(side + 1) // 2])
    ]
    standing += _traffic(rng, artist, road)
    for s in sorted(standing, key=lambda s: -s.z):
        s.draw()


def _along(rng: np.random.Generator, artist: Artist, side: int, road: float, pavement: float) -> Iterator[Standing]:
    """One side of the street: parked cars, people, bicycles, furniture and trees."""
    if rng.random() < 0.65:  # a row of parked cars, whose outlines touch
        z, end = rng.uniform(5, 30), rng.uniform(30, 70)
        while z < end:
            name = "truck" if rng.random() < 0.04 else "car"
            yield artist.vehicle(name, side * (road - 1.1 + rng.normal(0, 0.08)), z)
            z += SIZES[name][2] + rng.uniform(0.4, 2.5) + (8 if rng.random() < 0.2 else 0)
    middle = (road + pavement) / 2
    for _ in range(rng.poisson(1.9)):  # groups of people
        z, count = rng.uniform(6, 60), 1 + rng.poisson(1.5)
        crowd = rng.random() < CROWD
        for _ in range(count + 5 * crowd):
            x = side * (middle + rng.normal(0, 0.5 + 0.5 * crowd))
            yield artist.person(x, z + rng.normal(0, 0.7), crowd)
    if rng.random() < 0.5:  # parked bicycles, seen from the side
        z, crowd = rng.uniform(8, 50), rng.random() < CROWD
        for i in range(1 + rng.poisson(1.5) + 4 * crowd):
            yield artist.two_wheeler("bicycle", side * (pavement - 0.8) + 0.5 * i - 1.0, z + 0.3 * i, crowd=crowd)
    if rng.random() < 0.2:
        yield artist.two_wheeler("motorcycle", side * (road + 0.6), rng.uniform(7, 40))
    z = rng.uniform(6, 25)
    while z < FARTHEST:
        yield artist.pole(side * (road + 0.5), z, side)
        z += rng.uniform(10, 35)
    for _ in range(rng.poisson(3.5)):
        yield artist.tree(side * (pavement - rng.uniform(0.2, 1.0)), rng.uniform(9, 90))
    for _ in range(rng.poisson(0.8)):
        yield artist.box(side * (pavement - 0.7), rng.uniform(7, 50))


def _traffic(rng: np.random.Generator, artist: Artist, road: NDArray[np.float64]) -> Iterator[Standing]:
    """What moves on the road."""
    lanes = {-1: -0.45 * road[0], 1: 0.45 * road[1]}
    z = rng.uniform(8, 25)
    while z < FARTHEST:
        name = str(rng.choice(("car", "truck", "bus"), p=(0.84, 0.08, 0.08)))
        side = int(rng.choice((-1, 1)))
        yield artist.vehicle(name, lanes[side] + rng.normal(0, 0.3), z)
        z += SIZES[name][2] + rng.exponential(22)
    if rng.random() < 0.15:
        yield artist.vehicle("train", -road[0] + 1.6, rng.uniform(15, 60))
    for _ in range(rng.poisson(0.9)):
        side = int(rng.choice((-1, 1)))
        name = "bicycle" if rng.random() < 0.75 else "motorcycle"
        x = side * (0.8 * road[(side + 1) // 2]) + rng.normal(0, 0.5)
        yield artist.two_wheeler(name, x, rng.uniform(7, 60), ridden=True)
    if rng.random() < 0.35:  # people who cross
        z = rng.uniform(8, 45)
        for _ in range(1 + rng.poisson(1.5)):
            yield artist.person(rng.uniform(-road[0], road[1]), z + rng.normal(0, 0.8))
