"""CVAT: "CVAT for images 1.1", one XML file with polygons, boxes, ellipses and masks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ..data.samples import DataError, first_double, said
from .shapes import Draw, Shape, Shapes, coordinates, ellipse, polygon, rectangle, window
from .sources import Source, check_pixels, existing, file_name, name_of_label, stated_size

Element = ElementTree.Element
WITHOUT_AREA = {"points", "polyline", "tag"}


def read_cvat(path: Path, images: Path | None = None) -> Source:
    """All images of an XML file, those without a shape too.

    Parameters
    ----------
    path : path
        The file ``annotations.xml`` of an export.
    images : path, optional
        Where the images are; by default beside the file, or in the folder ``images`` beside it, as in an export.

    Raises
    ------
    DataError
        If the file is no such XML, an image or label is given twice, a shape is malformed, or an image is missing.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # of damage, or an unknown encoding
        raise DataError(f"{path} is not valid XML: {error}") from error
    if root.tag != "annotations" or root.find("track") is not None:
        raise DataError(f'{path} must be an export of the format "CVAT for images 1.1", got <{root.tag}> '
                        f"{'with tracks of a video' if root.find('track') is not None else ''}".rstrip())  # fmt: skip
    listed = [e for e in root.findall("meta//labels/label") if e.find("parent") is None]  # without points of skeletons
    labels = [name_of_label(e.findtext("name"), f"{path}, labels") for e in listed]
    names = [image.get("name", "") for image in root.iter("image")]
    for what, values in (("labels", labels), ("images", names)):
        if (twice := first_double(values)) is not None:
            raise DataError(f"{path}: two {what} have the name {twice!r}")
    if not names:
        raise DataError(f"{path} lists no image")
    source = Source(classes=labels)
    for element in source.progress(list(root.iter("image"))):
        source.add(_image(element, path, images, source))
    return source


def _image(element: Element, path: Path, images: Path | None, source: Source) -> Shapes:
    where = f"{path}, image {element.get('name')!r}"
    name = file_name(element.get("name"), "name", where)
    inner = path.parent / "images"
    beside = [path.parent / name, inner / name, inner / element.get("subset", "default") / name]
    image = existing([images / name] if images is not None else beside, where)
    shapes = []
    for number, entry in enumerate(element, start=1):
        place = f"{where}, shape {number} ({entry.tag})"
        if entry.tag in WITHOUT_AREA:
            source.skip(f"shapes without an area ({entry.tag})", place)
            continue
        if entry.tag not in DRAWING:
            raise DataError(f"{place} is not known: draw a polygon, box, ellipse or mask")
        label = name_of_label(entry.get("label"), place)
        if source.classes and label not in source.classes:
            raise DataError(f"{place}: the label {label!r} is not listed in the file")
        try:
            draw, layer = DRAWING[entry.tag](entry, place), int(entry.get("z_order", 0))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{place} is malformed: {said(error)}") from error
        group = entry.get("group_id")
        shapes.append(Shape(label, draw, None if group in (None, "0", "") else group, layer=layer))
    height, width = (_whole(element.get(key)) for key in ("height", "width"))
    return Shapes(Path(name).with_suffix("").as_posix(), image, where, stated_size(height, width, where), shapes)


def _polygon(entry: Element, where: str) -> Draw:
    return polygon([[float(v) for v in pair.split(",")] for pair in entry.attrib["points"].split(";")], where)


def _box(entry: Element, where: str) -> Draw:
    x, y, right, bottom = (float(entry.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
    return rectangle((x, y), (right, bottom), where, float(entry.get("rotation", 0)))


def _ellipse(entry: Element, where: str) -> Draw:
    x, y, a, b = (float(entry.attrib[key]) for key in ("cx", "cy", "rx", "ry"))
    return ellipse((x, y), (a, b), where, float(entry.get("rotation", 0)))


def _mask(entry: Element, where: str) -> Draw:
    """Run lengths of 0, 1, 0, ... along the rows of a window of the image."""
    corner, size = ([float(entry.attrib[key]) for key in keys] for keys in (("left", "top"), ("width", "height")))
    left, top, width, height = map(round, (*coordinates(corner, where), *coordinates(size, where)))
    check_pixels(height, width, where)
    counts = [int(v) for v in re.split(r"[,\s]+", entry.attrib["rle"].strip()) if v]
    if min(counts, default=-1) < 0:
        raise DataError(f"{where}: run lengths must be numbers from 0 on, got {entry.attrib['rle']!r:.80}")
    if width < 1 or height < 1 or sum(counts) > width * height:
        raise DataError(f"{where}: run lengths add up to {sum(counts)} pixels, but the window has {width}x{height}")
    values = np.zeros(width * height, bool)
    runs = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    values[: len(runs)] = runs  # the last run of zeros may be absent
    return window(values.reshape(height, width), left, top)


def _whole(value: str | None) -> Any:
    return int(value) if value is not None and value.isdecimal() and len(value) < 20 else value


DRAWING: dict[str, Callable[[Element, str], Draw]] = {
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}
