"""Pictures of predictions: overlays, outlines and instances under a legend, and what they are drawn with."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import maximum_filter, minimum_filter

from .samples import VOID, Category, Prediction, Segment

VIEWS = ("overlay", "outlines", "instances")
SHARE = 1 / 8  # of a picture that a legend in its corner may cover
LONGEST = 40  # letters of a class name in a legend
Color = tuple[int, int, int]


def colorize(ids: NDArray[np.int64], segments: Sequence[Segment], categories: Sequence[Category]) -> NDArray[np.uint8]:
    """Colour every segment: stuff by its class, things by their class, shaded by instance; void is black."""
    colors = np.zeros((int(ids.max(initial=0)) + 1, 3))
    for segment in segments:
        if segment.id < len(colors):
            category = categories[segment.category]
            shade = np.random.default_rng(segment.id).uniform(-45, 45, 3) if category.isthing else 0
            colors[segment.id] = np.array(category.color) + shade
    return np.clip(colors, 0, 255).astype(np.uint8)[ids]


def borders(ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour lies in another segment."""
    edge = np.zeros(ids.shape, bool)
    edge[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    edge[:-1] |= ids[:-1] != ids[1:]
    return edge


def overlay(
    image: NDArray[np.uint8], ids: NDArray[np.int64], segments: Sequence[Segment], categories: Sequence[Category]
) -> NDArray[np.uint8]:
    """The image under half-transparent segments with white borders."""
    mixed = blended(image, colorize(ids, segments, categories))
    mixed[borders(ids)] = 255
    return mixed


def outlines(
    image: NDArray[np.uint8], ids: NDArray[np.int64], segments: Sequence[Segment], categories: Sequence[Category]
) -> NDArray[np.uint8]:
    """The image with the outline of every segment in the colour of its class, thicker in larger images."""
    size = 2 * max(1, round(max(ids.shape) / 1000)) + 1
    small = ids.astype(np.int32)
    edge = maximum_filter(small, size, mode="nearest") != minimum_filter(small, size, mode="nearest")
    drawn = image.copy()
    drawn[edge] = class_colors(ids, segments, categories)[edge]
    drawn[edge & (ids == VOID)] = image[edge & (ids == VOID)]
    return drawn


def instances(
    image: NDArray[np.uint8], ids: NDArray[np.int64], segments: Sequence[Segment], categories: Sequence[Category]
) -> NDArray[np.uint8]:
    """The image under half-transparent things, neighbours in different colours; stuff is left as it is."""
    things = [s for s in segments if categories[s.category].isthing]
    colors = color_table(ids, {s.id: instance_color(s.id) for s in things})[ids]
    thing = color_table(ids, {s.id: (1, 1, 1) for s in things})[ids][..., 0] > 0
    mixed = blended(image, colors)
    mixed[~thing] = image[~thing]
    mixed[borders(np.where(thing, ids, VOID))] = 255
    return mixed


def class_colors(
    ids: NDArray[np.int64], segments: Sequence[Segment], categories: Sequence[Category]
) -> NDArray[np.uint8]:
    """Every segment in the colour of its class; void is black."""
    return color_table(ids, {s.id: categories[s.category].color for s in segments})[ids]


def instance_color(number: int) -> Color:
    """Bright colours, far apart for consecutive ids."""
    r, g, b = colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.7 + 0.3 * (number % 2), 1 - 0.25 * (number % 3 == 2))
    return round(255 * r), round(255 * g), round(255 * b)


def view(name: str, image: NDArray[np.uint8], prediction: Prediction, categories: Sequence[Category]) -> Image.Image:
    """One of `VIEWS` of a prediction, with a legend: the classes, and how many instances of each thing."""
    ids, segments = prediction.ids, prediction.segments
    draw = {"overlay": overlay, "outlines": outlines, "instances": instances}[name]
    found = [[s.id for s in segments if s.category == k] for k in range(len(categories))]
    entries: list[tuple[list[Color], str]] = []
    for category, members in zip(categories, found, strict=True):
        if members and (category.isthing or name != "instances"):
            colors = [instance_color(i) for i in members[:4]] if name == "instances" else [category.color]
            label = category.name if len(category.name) <= LONGEST else category.name[: LONGEST - 1] + "…"
            entries.append((colors, f"{label}: {len(members)}" if category.isthing else label))
    if name == "overlay" and (ids == VOID).any():
        entries.append(([(0, 0, 0)], "void"))
    return with_legend(Image.fromarray(draw(image, ids, segments, categories)), entries or [([], "nothing found")])


def with_legend(picture: Image.Image, entries: Sequence[tuple[Sequence[Color], str]]) -> Image.Image:
    """The picture with rows of colours and texts: in a corner, or below it where they would hide too much.

    The text grows with the picture. A legend in the corner leaves the picture's size as it is, pixel for pixel; below,
    small pictures also get a white margin on the right, so that the text is legible.
    """
    size = int(np.clip(round((picture.width * picture.height) ** 0.5 / 50), 12, 96))
    widths = [_width(text, size) for _, text in entries]
    width, height = max(widths) + size // 2, round((0.5 + 1.5 * len(entries)) * size)
    fits = max(width / picture.width, height / picture.height) < 0.7
    if fits and width * height <= SHARE * picture.width * picture.height:
        drawn, corner = picture.copy(), (0, picture.height - height)
        covered = picture.crop((*corner, width, picture.height))
        box = Image.blend(covered, Image.new("RGB", covered.size, "white"), 0.8)
        _draw_entries(box, [(size // 2, round((0.5 + 1.5 * k) * size)) for k in range(len(entries))], entries, size)
        drawn.paste(box, corner)
        return drawn
    below = legend(entries, max(picture.width, 14 * size, *(w + size for w in widths)), size)
    canvas = Image.new("RGB", (below.width, picture.height + below.height), "white")
    canvas.paste(picture)
    canvas.paste(below, (0, picture.height))
    return canvas


def legend(entries: Sequence[tuple[Sequence[Color], str]], width: int, size: int) -> Image.Image:
    """Colours and texts of a size, side by side on white, and in further rows where the width is used up."""
    places, x, y = [], size // 2, size // 2
    for w in (_width(text, size) for _, text in entries):
        if x + w > width:
            x, y = size // 2, y + round(1.5 * size)
        places.append((x, y))
        x += w
    canvas = Image.new("RGB", (width, y + round(1.7 * size)), "white")
    _draw_entries(canvas, places, entries, size)
    return canvas


def _width(text: str, size: int) -> int:
    """Pixels that an entry of a legend takes."""
    return round(2.2 * size + ImageFont.load_default(size).getlength(text))


def _draw_entries(
    canvas: Image.Image, places: Sequence[tuple[int, int]], entries: Sequence[tuple[Sequence[Color], str]], size: int
) -> None:
    """Draw a square of the colours and a text at each place."""
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size)
    for (left, top), (colors, text) in zip(places, entries, strict=True):
        for k, color in enumerate(colors):
            a, b = (left + round(size * (k + i) / len(colors)) for i in (0, 1))
            pen.rectangle((a, top, b, top + size), fill=color)
        if colors:
            pen.rectangle((left, top, left + size, top + size), outline="gray")
        pen.text((left + round(1.3 * size), top + size // 2), text, fill="black", font=font, anchor="lm")


def blended(image: NDArray[np.uint8], colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image under half-transparent colours."""
    return np.array(Image.blend(Image.fromarray(image), Image.fromarray(colors), 0.55))


def color_table(ids: NDArray[np.int64], colors: Mapping[int, Color]) -> NDArray[np.uint8]:
    """A colour for every id; black for ids without one."""
    table = np.zeros((int(ids.max(initial=0)) + 1, 3), np.uint8)
    for number, color in colors.items():
        if number < len(table):
            table[number] = color
    return table
