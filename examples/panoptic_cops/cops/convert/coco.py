"""COCO instances: one JSON file with images, categories, and annotations of polygons or run lengths."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from ..data.coco import list_field, read_json
from ..data.samples import DataError, first_double, flag, said
from ..scores.average_precision import mask_tools
from .shapes import Shape, Shapes, Size, polygon, run_lengths
from .sources import Source, existing, file_name, name_of_label, stated_size

DIGITS = 7  # of a number in a text of run lengths; they hold 35 bits, and a number is below the pixels of an image


class _Image(NamedTuple):
    """What the file says about an image."""

    name: str
    size: Size


def read_coco(path: Path, images: Path | None = None) -> Source:
    """All images of a JSON file, those without an annotation too.

    Parameters
    ----------
    path : path
        The JSON file.
    images : path, optional
        Where the images are; by default beside the file, or in a folder ``images`` beside it.

    Raises
    ------
    DataError
        If a field is malformed, an id, a file or a category name is given twice, run lengths are damaged, an annotation
        names an unknown image or category, or an image is missing.
    """
    content = read_json(path)
    categories, entries = (_by_id(list_field(content, name, path), name, path) for name in ("categories", "images"))
    names = {number: name_of_label(c.get("name"), f"{path}, category {number}") for number, c in categories.items()}
    listed = {number: _image(entry, f"{path}, image {number}") for number, entry in entries.items()}
    annotations = list_field(content, "annotations", path)
    for what, values in (
        ("categories have the name", list(names.values())),
        ("images have the file_name", [image.name for image in listed.values()]),
        ("annotations have the id", [a["id"] for a in annotations if isinstance(a, dict) and _is_id(a.get("id"))]),
    ):
        if (twice := first_double(values)) is not None:
            raise DataError(f"{path}: two {what} {twice!r}")
    shapes: dict[Any, list[Shape]] = defaultdict(list)
    source = Source(classes=list(names.values()))
    for number, entry in enumerate(source.progress(annotations), start=1):
        where = f"{path}, annotation {entry.get('id', f'number {number}') if isinstance(entry, dict) else number}"
        try:
            image, category = entry["image_id"], entry["category_id"]
            crowd = flag(entry.get("iscrowd", 0), "iscrowd")
            if image not in listed or category not in names:
                raise DataError(f"{where}: image {image!r} or category {category!r} is not listed in the file")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{where} is malformed: {said(error)}") from error
        shapes[image] += _shapes(entry.get("segmentation"), names[category], number, crowd, listed[image].size, where)
    for number, (name, size) in listed.items():
        where = f"{path}, image {number}"
        places = [images / name] if images is not None else [path.parent / name, path.parent / "images" / name]
        source.add(Shapes(Path(name).with_suffix("").as_posix(), existing(places, where), where, size, shapes[number]))
    return source


def _by_id(entries: list[Any], kind: str, path: Path) -> dict[Any, dict[str, Any]]:
    if not all(isinstance(entry, dict) and _is_id(entry.get("id")) for entry in entries):
        raise DataError(f"{path}: all {kind} must have an 'id'")
    if (twice := first_double([entry["id"] for entry in entries])) is not None:
        raise DataError(f"{path}: two {kind} have the id {twice!r}")
    return {entry["id"]: entry for entry in entries}


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str))


def _image(entry: dict[str, Any], where: str) -> _Image:
    size = stated_size(entry.get("height"), entry.get("width"), where)
    if size is None:
        raise DataError(f"{where}: 'height' and 'width' are missing")
    return _Image(file_name(entry.get("file_name"), "file_name", where), size)


def _shapes(segmentation: Any, label: str, number: int, crowd: bool, size: tuple[int, int], where: str) -> list[Shape]:
    """The shapes of one annotation; `number` joins them to one instance."""
    if isinstance(segmentation, dict):
        counts = _counts(segmentation, size, where)
        code: dict[str, Any] = mask_tools().frPyObjects({"size": [*size], "counts": counts}, *size)
        return [Shape(label, run_lengths(code), number, crowd, area=sum(counts[1::2]))]
    if not isinstance(segmentation, list) or not segmentation:
        raise DataError(f"{where} has no 'segmentation': boxes alone do not say which pixels belong to an instance")
    polygons = []
    for flat in segmentation:
        if not isinstance(flat, list) or len(flat) % 2:
            raise DataError(f"{where}: a polygon must be a list of coordinates x, y, x, y, ..., got {flat!r:.80}")
        polygons.append([flat[i : i + 2] for i in range(0, len(flat), 2)])
    drawn = [polygon(points, where) for points in polygons]
    area = sum(_area(points) for points in polygons)
    return [Shape(label, draw, number, crowd, area=area) for draw in drawn]


def _counts(segmentation: dict[str, Any], size: Size, where: str) -> list[int]:
    """The lengths of the runs of 0, 1, 0, ... down the columns of a whole image."""
    counts, stated = segmentation.get("counts"), segmentation.get("size")
    if stated != list(size):
        raise DataError(f"{where}: run lengths are of the size {stated!r:.40}, but the image has {list(size)}")
    if isinstance(counts, str):
        try:
            counts = unpacked(counts)
        except ValueError as error:
            raise DataError(f"{where}: run lengths cannot be decoded, the text is damaged: {error}") from error
    if not isinstance(counts, list) or not all(isinstance(c, int) and c >= 0 for c in counts):
        raise DataError(f"{where}: 'counts' must be a text or a list of numbers, got {counts!r:.80}")
    if sum(counts) != size[0] * size[1]:
        raise DataError(f"{where}: run lengths add up to {sum(counts)} pixels, but the image has {size[0] * size[1]}")
    return counts


def unpacked(text: str) -> list[int]:
    """Run lengths of a text of pycocotools, which decodes any text to some mask.

    A letter holds 5 bits of a number, lowest first, and whether more follow. The highest bit of the last letter is the
    sign. From the fourth number on, each is the difference to the last but one.

    Raises
    ------
    ValueError
        If there is another letter, a number is cut off, longer than any image needs, or negative.
    """
    counts: list[int] = []
    value = bits = 0
    for place, letter in enumerate(text, start=1):
        digit = ord(letter) - ord("0")
        if not 0 <= digit < 64 or bits >= 5 * DIGITS:
            raise ValueError(f"letter {place}, {letter!r}, is wrong")
        value += (digit & 31) << bits
        bits += 5
        if digit < 32:
            value -= (digit >= 16) << bits
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            if counts[-1] < 0:
                raise ValueError(f"at letter {place}, a run has the length {counts[-1]}")
            value = bits = 0
    if bits:
        raise ValueError("its last number is cut off")
    return counts


def _area(points: list[list[float]]) -> float:
    """Area of a polygon, by the shoelace formula."""
    turned = [*points[1:], points[0]]
    return abs(sum(x * v - u * y for (x, y), (u, v) in zip(points, turned, strict=True))) / 2
