"""Procedural streets in the classes of Cityscapes: ground, fronts, sky and void; street_things.py adds the rest.

A camera looks along a straight street. X is to the right of it, Y is height above the ground and Z the distance, in
metres. Every street is a function of its random generator and size alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter

from .street_canvas import DIVISOR, ID, Camera, Canvas
from .street_things import draw_things

EGO_VEHICLE = 1  # an id of Cityscapes that the evaluation ignores
SMALLEST = 24  # pixels of an image of 1024 rows; what is left of a thing joins the group of its class below that
SHORTEST = 32  # edge of an image in pixels
TILE = 512  # edge of the noise that textures are made of
SHADES = {  # colour, and the strength of the texture
    "road": ((92, 90, 94), 10), "sidewalk": ((150, 140, 142), 9), "building": ((130, 118, 106), 14),
    "wall": ((120, 112, 108), 12), "fence": ((118, 116, 112), 10), "vegetation": ((62, 82, 46), 26),
    "terrain": ((112, 120, 74), 18), "sky": ((196, 208, 222), 10),
}  # fmt: skip


class Street(NamedTuple):
    """An image (H, W, 3) uint8 and its instanceIds (H, W) uint16, as Cityscapes defines them."""

    image: NDArray[np.uint8]
    values: NDArray[np.uint16]


class Block(NamedTuple):
    """A piece of what lines the street: from a distance on, with the height and the shade of its front."""

    start: float
    kind: str
    height: float
    shade: NDArray[np.float64]


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of a text such as "1024x2048".

    Raises
    ------
    ValueError
        If it is none, or too small for a street.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if min(size) < SHORTEST:
        raise ValueError(
            f'size must be height and width of at least {SHORTEST} pixels, such as "1024x2048", got {text!r}'
        )
    return size


def make_street(rng: np.random.Generator, size: tuple[int, int]) -> Street:
    """Draw one street."""
    height, width = size
    camera = Camera(
        focal=1.05 * width,
        column=width * rng.uniform(0.42, 0.58),
        horizon=height * rng.uniform(0.4, 0.47),
        height=rng.uniform(1.3, 1.7),
    )
    road = rng.uniform(3.5, 7.5, 2)  # half widths, left and right
    pavement = road + rng.uniform(2.5, 6.0, 2)
    values = np.full(size, ID["sky"], np.int32)
    colors = np.empty((*size, 3), np.float32)
    _sky(rng, camera, colors)
    _far_end(rng, camera, values, colors)
    for side in (0, 1):
        _front(rng, camera, values, colors, pavement[side], side)
    _ground(rng, camera, values, colors, road, pavement)
    canvas = Canvas(Image.fromarray(values), Image.fromarray(np.clip(colors, 0, 255).astype(np.uint8)))
    draw_things(rng, camera, canvas, road, pavement)
    values = np.array(canvas.values)
    _bonnet(rng, values, canvas.colors)
    values = _join_small(values, max(1, round(SMALLEST * (height / 1024) ** 2)))
    return Street(_photograph(rng, canvas.colors, values), values)


def _sky(rng: np.random.Generator, camera: Camera, colors: NDArray[np.float32]) -> None:
    rows = _centers(int(camera.horizon) + 2)
    columns = _centers(colors.shape[1])
    down = np.clip(rows / camera.horizon, 0, 1).astype(np.float32)[:, None]
    tint = np.float32(np.array(SHADES["sky"][0]) + rng.normal(0, 8, 3))
    clouds = np.float32(SHADES["sky"][1]) * _screen_noise(rng, rows / 5, columns / 9)[..., None]
    colors[: len(rows)] = (0.82 + 0.18 * down)[..., None] * tint + clouds


def _far_end(rng: np.random.Generator, camera: Camera, values: NDArray[np.int32], colors: NDArray[np.float32]) -> None:
    """Trees or houses where the street ends, behind everything."""
    kind = "vegetation" if rng.random() < 0.6 else "building"
    height, width = values.shape
    rough = _screen_noise(rng, np.zeros(1), _centers(width) / 3)[0]
    top = camera.horizon - height * (rng.uniform(0.05, 0.14) + (0.02 if kind == "vegetation" else 0.0) * rough)
    rows = slice(max(0, int(top.min())), int(camera.horizon) + 2)
    y = _centers(height)[rows]
    mask = y[:, None] >= top
    values[rows][mask] = ID[kind]
    noise = SHADES[kind][1] * _screen_noise(rng, y, _centers(width))[mask]
    colors[rows][mask] = _shade(rng, kind) + noise[:, None]


def _front(
    rng: np.random.Generator,
    camera: Camera,
    values: NDArray[np.int32],
    colors: NDArray[np.float32],
    at: float,
    side: int,
) -> None:
    """Houses, walls, fences and hedges along one side, as a plane X = ±at that is seen at an angle."""
    first = 0 if side == 0 else int(camera.column) + 1
    columns = _centers(values.shape[1])[first : int(camera.column) if side == 0 else None]
    distance = camera.focal * at / np.abs(columns - camera.column)
    blocks = _blocks(rng)
    index = np.searchsorted([b.start for b in blocks], distance, side="right") - 1
    index[distance > rng.uniform(90, 160)] = -1
    rough = _noise(rng, distance * 12, np.zeros_like(distance))
    rows = _centers(len(values))
    for number in np.unique(index[index >= 0]):
        block = blocks[number]
        chosen = np.flatnonzero(index == number)
        z = distance[chosen]
        high = block.height * (1 + (0.25 if block.kind == "vegetation" else 0) * rough[chosen])
        top = camera.horizon + (camera.height - high) * camera.focal / z  # in rows of the image
        bottom = camera.horizon + camera.height * camera.focal / z
        window = slice(max(0, int(top.min())), int(bottom.max()) + 1), slice(first + chosen[0], first + chosen[-1] + 1)
        down = rows[window[0]][:, None]
        mask = (down >= top) & (down < bottom)
        y = camera.height - (down - camera.horizon) * (z / camera.focal)  # height above the ground
        noise = SHADES[block.kind][1] * _noise(rng, 40 * y, 40 * z)
        light = np.ones_like(y)
        if block.kind == "building":
            panes = (y % 3.2 > 1.1) & (y % 3.2 < 2.6) & (z % 2.9 > 1.2) & (y < block.height - 0.6)
            light[panes] = rng.uniform(0.4, 0.75)
        elif block.kind == "fence":
            light[:, z % 0.3 < 0.12] = 0.55
        values[window][mask] = ID[block.kind]
        colors[window][mask] = ((block.shade + noise[..., None]) * light[..., None])[mask]


def _blocks(rng: np.random.Generator) -> list[Block]:
    """Blocks from the camera to the end of the street."""
    found, start = [], 0.0
    kinds = ("building", "vegetation", "wall", "fence")
    heights = {"building": (8, 26), "vegetation": (2, 9), "wall": (1.2, 3), "fence": (1.0, 2.2)}
    while start < 170:
        kind = str(rng.choice(kinds, p=(0.62, 0.16, 0.11, 0.11)))
        found.append(Block(start, kind, rng.uniform(*heights[kind]), _shade(rng, kind)))
        start += rng.uniform(6, 24)
    return found


def _ground(
    rng: np.random.Generator,
    camera: Camera,
    values: NDArray[np.int32],
    colors: NDArray[np.float32],
    road: NDArray[np.float64],
    pavement: NDArray[np.float64],
) -> None:
    """Road with markings, sidewalks, and terrain on the verge and where the fronts leave some."""
    below = slice(int(camera.horizon) + 1, None)
    z = np.float32(camera.focal * camera.height) / (_centers(len(values))[below, None] - np.float32(camera.horizon))
    x = (_centers(values.shape[1]) - np.float32(camera.column)) * (z / np.float32(camera.focal))
    right, aside = x > 0, np.abs(x)
    verge = road + (pavement - road) * rng.uniform(0.3, 0.6)
    stretch, share, offset = rng.uniform(30, 90), rng.uniform(0.1, 0.5), rng.uniform(0, 90, 2)
    edge, far_edge, paved = (np.where(right, np.float32(v[1]), np.float32(v[0])) for v in (road, verge, pavement))
    green = np.where(right, (z + offset[1]) % stretch, (z + offset[0]) % stretch) < share * stretch
    kinds = np.full(x.shape, ID["sidewalk"], np.int32)
    kinds[(aside < far_edge) & green] = ID["terrain"]
    kinds[aside < edge] = ID["road"]
    outside = aside > paved + np.float32(0.3)
    kinds[outside] = np.where(values[below] == ID["sky"], ID["terrain"], values[below])[outside]
    ground = ~outside | (values[below] == ID["sky"])
    values[below] = kinds
    shades, strengths = np.zeros((100, 3), np.float32), np.zeros(100, np.float32)
    for kind in ("road", "sidewalk", "terrain"):
        shades[ID[kind]], strengths[ID[kind]] = _shade(rng, kind), SHADES[kind][1]
    light = strengths[kinds] * _noise(rng, 60 * z, 60 * x)
    light[(np.abs(aside - np.float32(0.45) * edge) < 0.07) & (z % 9 < 4.5) & (z < 90)] += 70  # markings
    light[(kinds == ID["sidewalk"]) & ((x % 0.9 < 0.06) | (z % 0.9 < 0.06)) & (z < 30)] -= 16  # tiles
    light[(np.abs(aside - edge) < 0.08) & (z < 60)] += 30  # curbs
    colors[below][ground] = (shades[kinds] + light[..., None])[ground]


def _bonnet(rng: np.random.Generator, values: NDArray[np.int32], colors: Image.Image) -> None:
    """The front of the camera's own car, which is void."""
    height, width = values.shape
    away = (_centers(width) - width / 2) / (0.62 * width)
    rise = height * rng.uniform(0.06, 0.13) * np.sqrt(np.clip(1 - away**2, 0, 1))
    mask = height - _centers(height)[:, None] < rise
    values[mask] = EGO_VEHICLE
    colors.paste(tuple(rng.integers(20, 70, 3).tolist()), mask=Image.fromarray(mask))


def _join_small(values: NDArray[np.int32], smallest: int) -> NDArray[np.uint16]:
    """What covers a thing may leave a few pixels of it; these join the group of its class, as far things do."""
    areas = np.bincount(values.ravel())
    table = np.arange(len(areas))
    small = (areas < smallest) & (table >= DIVISOR)
    table[small] //= DIVISOR
    return table.astype(np.uint16)[values]


def _photograph(rng: np.random.Generator, colors: Image.Image, values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Texture of things and trees, light, blur and the noise of a sensor."""
    blurred = colors.filter(ImageFilter.GaussianBlur(0.6 * len(values) / 1024))
    image = np.asarray(blurred).astype(np.float32)
    strengths = np.zeros(int(values.max()) + 1, np.float32)
    strengths[DIVISOR:], strengths[ID["vegetation"]] = 7, 12
    image += (strengths[values] * _screen_noise(rng, *(3 * _centers(n) for n in values.shape)))[..., None]
    image *= (rng.uniform(0.75, 1.1) * rng.normal(1, 0.03, 3)).astype(np.float32)
    image += np.float32(rng.normal(0, 4))
    image += np.float32(4) * rng.standard_normal(image.shape, np.float32)
    return np.clip(image, 0, 255, out=image).astype(np.uint8)


def _shade(rng: np.random.Generator, kind: str) -> NDArray[np.float32]:
    return np.float32(np.array(SHADES[kind][0]) + rng.normal(0, 14) + rng.normal(0, 6, 3))


def _centers(count: int) -> NDArray[np.float32]:
    return np.arange(count, dtype=np.float32) + np.float32(0.5)


def _noise(rng: np.random.Generator, a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Smooth noise of unit strength at two coordinates, which are broadcast; it repeats itself after TILE."""
    row, column = rng.integers(TILE, size=2)
    found: NDArray[np.float32] = _TILE[(a.astype(np.int32) + row) % TILE, (b.astype(np.int32) + column) % TILE]
    return found


def _screen_noise(
    rng: np.random.Generator, rows: NDArray[np.float32], columns: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Smooth noise where every row and every column has one coordinate."""
    return _noise(rng, rows[:, None], columns)


def _make_tile() -> NDArray[np.float32]:
    """Noise of several sizes on a torus."""
    rng = np.random.default_rng(0)
    tile = sum(
        scale * gaussian_filter(rng.standard_normal((TILE, TILE)), scale, mode="wrap") for scale in (1.0, 4.0, 16.0)
    )
    return np.asarray(tile / np.std(tile), np.float32)


_TILE = _make_tile()
