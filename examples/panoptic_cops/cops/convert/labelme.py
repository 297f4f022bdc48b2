"""labelme: one JSON file for each image, with polygons, rectangles, circles and masks."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from ..data.coco import read_json
from ..data.frames import images_in
from ..data.samples import DataError
from .shapes import Draw, Shape, Shapes, coordinates, ellipse, polygon, rectangle, window
from .sources import Source, existing, file_name, name_of_label, stated_size

WITHOUT_AREA = ("point", "points", "line", "linestrip")


def read_labelme(folder: Path, images: Path | None = None) -> Source:
    """All annotations of a folder and the folders in it.

    Parameters
    ----------
    folder : path
        Holds ``*.json``. A JSON object without "shapes" is refused.
    images : path, optional
        Where the images are, by their names; by default where "imagePath" says. If that is an absolute path of another
        computer, an image of its name beside the JSON file is taken.

    Raises
    ------
    DataError
        If an annotation is malformed, or the image of one is missing.
    """
    paths = sorted(p for p in folder.rglob("*.json") if not p.name.startswith("."))
    if not paths:
        raise DataError(f"{folder} holds no labelme annotation (*.json)")
    source = Source()
    for path in source.progress(paths):
        source.add(_annotation(path, folder, images, source))
    used = {image.image.resolve() for image in source.images}
    for path in images_in(images or folder, recursive=True).files:
        if path.resolve() not in used:
            source.skip("images without an annotation file", str(path))
    return source


def _annotation(path: Path, folder: Path, images: Path | None, source: Source) -> Shapes:
    content = read_json(path)
    given = content.get("shapes")
    if not isinstance(given, list):
        raise DataError(f"{path} lacks the list 'shapes' of a labelme annotation")
    image = existing(_places(file_name(content.get("imagePath"), "imagePath", str(path)), path, images), str(path))
    shapes = []
    for number, entry in enumerate(given, start=1):
        where = f"{path}, shape {number}"
        if not isinstance(entry, dict):
            raise DataError(f"{where}: a shape must be a JSON object, got {entry!r:.80}")
        kind = entry.get("shape_type")
        kind = "polygon" if kind is None else kind
        if kind in WITHOUT_AREA:
            source.skip(f"shapes without an area ({kind})", where)
            continue
        label, group = name_of_label(entry.get("label"), where), entry.get("group_id")
        if not isinstance(group, (int, str, type(None))):
            raise DataError(f"{where}: 'group_id' must be an integer or a text, got {group!r:.80}")
        shapes.append(Shape(label, _draw(kind, entry, where), group))
    size = stated_size(content.get("imageHeight"), content.get("imageWidth"), str(path))
    relative = path.relative_to(folder)
    return Shapes(relative.with_suffix("").as_posix(), image, str(path), size, shapes)


def _places(name: str, path: Path, images: Path | None) -> list[Path]:
    """Where the image of an annotation may be, the likeliest place first."""
    given = PureWindowsPath(name)  # which also splits at "/"
    if given.anchor:  # absolute, perhaps on another computer
        return [*([images / given.name] if images is not None else []), Path(name), path.parent / given.name]
    inside = (images or path.parent).joinpath(*given.parts)
    return [inside] if images is None else [inside, images / given.name]


def _draw(kind: Any, entry: dict[str, Any], where: str) -> Draw:
    points = entry.get("points")
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise DataError(f"{where}: 'points' must be a list of pairs of numbers, got {points!r:.80}")
    if kind == "polygon":
        return polygon(points, where)
    if kind not in ("rectangle", "circle", "mask"):
        raise DataError(f"{where}: the shape type {kind!r} is not known: draw a polygon, rectangle, circle or mask")
    if len(points) == 4 and kind == "rectangle":  # newer versions write all corners
        return polygon(points, where)
    if len(points) != 2:
        raise DataError(f"{where}: a {kind} needs two points, got {len(points)}")
    if kind == "rectangle":
        return rectangle(*points, where)
    if kind == "circle":  # its middle, and a point on it
        radius = math.dist(*(coordinates(point, where) for point in points))
        return ellipse(points[0], (radius, radius), where)
    return _mask(coordinates(points[0], where), entry.get("mask"), where)


def _mask(corner: tuple[float, float], text: Any, where: str) -> Draw:
    """A mask as a PNG in base64, with its upper left pixel at `corner`."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(text))) as file:
            mask = np.asarray(file.convert("L")) > 0
    except Exception as error:  # damaged files raise nearly everything
        raise DataError(f"{where}: 'mask' must be a PNG in base64: {error}") from error
    return window(mask, round(corner[0]), round(corner[1]))
