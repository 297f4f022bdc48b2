"""labelme: one JSON file for each image, with polygons, rectangles, circles and masks."""

from __future__ import annotations

import base64
import binascii
import io
import math
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..data.coco import read_json
from ..data.frames import images_in
from ..data.samples import DataError
from .shapes import Draw, Shape, Shapes, ellipse, polygon, rectangle, window
from .sources import Source, existing, name_of_label, stated_size

WITHOUT_AREA = {"point", "points", "line", "linestrip"}


def read_labelme(folder: Path, images: Path | None = None) -> Source:
    """All annotations of a folder and the folders in it.

    Parameters
    ----------
    folder : path
        Holds ``*.json``. A JSON object without "shapes" is refused.
    images : path, optional
        Where the images are, by their names; by default, where "imagePath" says.

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
    given, name = content.get("shapes"), content.get("imagePath")
    if not isinstance(given, list) or not isinstance(name, str) or not name:
        raise DataError(f"{path} lacks the list 'shapes' or the text 'imagePath' of a labelme annotation")
    parts = PureWindowsPath(name).parts  # which also splits at "/"
    places = [path.parent.joinpath(*parts)] if images is None else [images.joinpath(*parts), images / parts[-1]]
    image = existing(places, str(path))
    shapes = []
    for number, entry in enumerate(given, start=1):
        where = f"{path}, shape {number}"
        if not isinstance(entry, dict):
            raise DataError(f"{where}: a shape must be a JSON object, got {entry!r:.80}")
        kind = entry.get("shape_type", "polygon")
        if kind in WITHOUT_AREA:
            source.skip(f"shapes without an area ({kind})", where)
            continue
        label, group = name_of_label(entry.get("label"), where), entry.get("group_id")
        shapes.append(Shape(label, _draw(kind, entry, where), group))
    size = stated_size(content.get("imageHeight"), content.get("imageWidth"), str(path))
    relative = path.relative_to(folder)
    return Shapes(relative.with_suffix("").as_posix(), image, str(path), size, shapes)


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
        try:
            radius = math.dist(*points)
        except TypeError:
            radius = math.nan
        return ellipse(points[0], (radius, radius), where)
    return _mask(points[0], entry.get("mask"), where)


def _mask(corner: list[Any], text: Any, where: str) -> Draw:
    """A mask as a PNG in base64, with its upper left pixel at `corner`."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(text))) as file:
            mask = np.asarray(file.convert("L")) > 0
        return window(mask, round(corner[0]), round(corner[1]))
    except (TypeError, ValueError, binascii.Error, UnidentifiedImageError, OSError) as error:
        raise DataError(f"{where}: 'mask' must be a PNG in base64 at a corner of two numbers: {error}") from error
