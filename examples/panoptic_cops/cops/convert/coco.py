"""COCO instances: one JSON file with images, categories, and annotations of polygons or run lengths."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from ..data.coco import list_field, read_json
from ..data.samples import DataError, first_double, flag, said
from ..scores.average_precision import mask_tools
from .shapes import Shape, Shapes, polygon, run_lengths
from .sources import Source, existing, name_of_label, stated_size


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
        If a field is malformed, an id, a file or a category name is given twice, an annotation names an unknown image
        or category, or an image is missing.
    """
    content = read_json(path)
    categories, entries = (_by_id(list_field(content, name, path), name, path) for name in ("categories", "images"))
    names = {number: name_of_label(c.get("name"), f"{path}, category {number}") for number, c in categories.items()}
    files = [entry.get("file_name") for entry in entries.values()]
    for what, values in (("categories have the name", list(names.values())), ("images have the file_name", files)):
        if (twice := first_double(values)) is not None:
            raise DataError(f"{path}: two {what} {twice!r}")
    shapes: dict[Any, list[Shape]] = defaultdict(list)
    source = Source(classes=list(names.values()))
    for number, entry in enumerate(source.progress(list_field(content, "annotations", path)), start=1):
        where = f"{path}, annotation {entry.get('id', f'number {number}') if isinstance(entry, dict) else number}"
        try:
            image, category = entry["image_id"], entry["category_id"]
            crowd = flag(entry.get("iscrowd", 0), "iscrowd")
            if image not in entries or category not in names:
                raise DataError(f"{where}: image {image!r} or category {category!r} is not listed in the file")
            segmentation, size = entry.get("segmentation"), (entries[image]["height"], entries[image]["width"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{where} is malformed: {said(error)}") from error
        shapes[image] += _shapes(segmentation, names[category], number, crowd, size, where)
    for number, entry in entries.items():
        where = f"{path}, image {number}"
        name = entry.get("file_name")
        if not isinstance(name, str) or not name:
            raise DataError(f"{where}: 'file_name' must be a text, got {name!r:.80}")
        places = [images / name] if images is not None else [path.parent / name, path.parent / "images" / name]
        size = stated_size(entry.get("height"), entry.get("width"), where)
        source.add(Shapes(Path(name).with_suffix("").as_posix(), existing(places, where), where, size, shapes[number]))
    return source


def _by_id(entries: list[Any], kind: str, path: Path) -> dict[Any, dict[str, Any]]:
    if not all(isinstance(entry, dict) and isinstance(entry.get("id"), (int, str)) for entry in entries):
        raise DataError(f"{path}: all {kind} must have an 'id'")
    if (twice := first_double([entry["id"] for entry in entries])) is not None:
        raise DataError(f"{path}: two {kind} have the id {twice!r}")
    return {entry["id"]: entry for entry in entries}


def _shapes(segmentation: Any, label: str, number: int, crowd: bool, size: tuple[int, int], where: str) -> list[Shape]:
    """The shapes of one annotation; `number` joins them to one instance."""
    if isinstance(segmentation, dict):
        code = _packed(segmentation, size, where)
        return [Shape(label, run_lengths(code, where), number, crowd, area=_area_of(code, where))]
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


def _packed(segmentation: dict[str, Any], size: tuple[int, int], where: str) -> dict[str, Any]:
    """Run lengths as pycocotools packs them."""
    counts, stated = segmentation.get("counts"), segmentation.get("size")
    if stated != list(size):
        raise DataError(f"{where}: run lengths are of the size {stated!r:.40}, but the image has {list(size)}")
    if isinstance(counts, str):
        return {"size": list(size), "counts": counts}
    if not isinstance(counts, list) or not all(isinstance(c, int) and c >= 0 for c in counts):
        raise DataError(f"{where}: 'counts' must be a text or a list of numbers, got {counts!r:.80}")
    if sum(counts) != size[0] * size[1]:
        raise DataError(f"{where}: run lengths add up to {sum(counts)} pixels, but the image has {size[0] * size[1]}")
    found: dict[str, Any] = mask_tools().frPyObjects({"size": list(size), "counts": counts}, *size)
    return found


def _area_of(code: dict[str, Any], where: str) -> float:
    try:
        return float(mask_tools().area(code))
    except (ValueError, TypeError, IndexError) as error:
        raise DataError(f"{where}: run lengths cannot be decoded: {error}") from error


def _area(points: list[list[float]]) -> float:
    """Area of a polygon, by the shoelace formula."""
    turned = [*points[1:], points[0]]
    return abs(sum(x * v - u * y for (x, y), (u, v) in zip(points, turned, strict=True))) / 2
