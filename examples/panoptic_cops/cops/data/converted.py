"""COCO panoptic folders that the converters write: resumable, and tidy where the source has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy.ndimage import find_objects
from tqdm import tqdm

from ..files import write_json, writing
from .coco import list_field, read_ids, read_json
from .id_colors import colors_of
from .images import opened
from .samples import DataError, category_differences, parse_categories

SOURCE = "diffcomb source"  # name of the text in label PNGs that holds the hash of what they were made of


@dataclass(frozen=True)
class Item:
    """One image of a data set that is converted.

    Attributes
    ----------
    name : str
        Names the image and its label: NAME.png.
    source : str
        Hash of all that the image and its label are made of; another one has them written again.
    read : callable
        Returns the image (H, W) or (H, W, 3) uint8 and its segment ids (H, W) int64, 0 for void.
    """

    name: str
    source: str
    read: Callable[[], tuple[NDArray[np.uint8], NDArray[np.int64]]]


def write_folder(
    out: Path,
    splits: Mapping[str, Sequence[Item]],
    categories: Sequence[dict[str, Any]],
    category_of: Callable[[NDArray[np.int64]], NDArray[np.int64]],
) -> None:
    """Write the splits of a data set; images that an earlier call has finished are written only if they have changed.

    Images that an earlier call wrote and that no longer belong to a split are removed. Other files are left alone.

    Parameters
    ----------
    out : path
        The folder.
    splits : mapping
        Images of "train" and "val".
    categories : sequence of dict
        As the JSON lists them.
    category_of : callable
        Category ids of an array of segment ids.

    Raises
    ------
    DataError
        If the folder holds a data set of other classes, or the source of an image is malformed.
    """
    for split in splits:
        _check_categories(out / "annotations" / f"panoptic_{split}.json", categories)
    for split, items in splits.items():
        _write_split(out, split, items, categories, category_of)


def hash_of(paths: Iterable[Path], *settings: object) -> str:
    """Hash of the names and contents of files, and of settings."""
    found = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        found.update(f"{path.name}\0{len(content)}\0".encode())
        found.update(content)
    for setting in settings:
        found.update(f"\0{setting!r}".encode())
    return found.hexdigest()


def _check_categories(path: Path, categories: Sequence[dict[str, Any]]) -> None:
    if not path.exists():
        return
    there = parse_categories(list_field(read_json(path), "categories", path), path)
    different = category_differences(there, parse_categories(categories, path), path.name, "what would be written")
    if different is not None:
        raise DataError(f"{path} belongs to another data set ({different}): choose another --out")


def _write_split(
    out: Path,
    split: str,
    items: Sequence[Item],
    categories: Sequence[dict[str, Any]],
    category_of: Callable[[NDArray[np.int64]], NDArray[np.int64]],
) -> None:
    labels = out / "annotations" / f"panoptic_{split}"
    for folder in (labels, out / split):
        folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, item in enumerate(tqdm(items, desc=split), start=1):
        label_path, image_path = labels / f"{item.name}.png", out / split / f"{item.name}.png"
        if source_of(label_path) == item.source and image_path.exists():
            ids = read_ids(label_path)
        else:
            image, ids = item.read()
            _write(image, ids, item.source, image_path, label_path)
        height, width = ids.shape
        images.append({"id": number, "file_name": image_path.name, "height": height, "width": width})
        segments = segments_of(ids, category_of)
        annotations.append({"image_id": number, "file_name": label_path.name, "segments_info": segments})
    content = {"images": images, "annotations": annotations, "categories": list(categories)}
    write_json(content, out / "annotations" / f"panoptic_{split}.json")
    kept = {item.name for item in items}
    for label_path in sorted(labels.glob("*.png")):
        if label_path.stem not in kept and source_of(label_path) is not None:
            label_path.unlink()
            (out / split / label_path.name).unlink(missing_ok=True)


def _write(image: NDArray[np.uint8], ids: NDArray[np.int64], source: str, image_path: Path, label_path: Path) -> None:
    """Write an image, and its label last: it says that the image is finished, and what it was made of."""
    partial, text = label_path.with_suffix(".partial"), PngInfo()
    text.add_text(SOURCE, source)
    with writing(image_path):
        Image.fromarray(image).save(image_path)
    with writing(label_path):
        Image.fromarray(colors_of(ids)).save(partial, format="PNG", pnginfo=text)
        partial.replace(label_path)


def source_of(label_path: Path) -> str | None:
    """What a label PNG says of what it was made of; None if there is none, or if it is not of these programs."""
    try:
        with opened(label_path, kind="label") as file:
            return file.info.get(SOURCE)
    except DataError:  # missing or damaged
        return None


def segments_of(
    ids: NDArray[np.int64],
    category_of: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    is_crowd: Callable[[NDArray[np.int64]], NDArray[np.bool_]] = np.zeros_like,
) -> list[dict[str, Any]]:
    """The segments of an image as the JSON lists them; 0 is void.

    Parameters
    ----------
    ids : array, shape (H, W)
    category_of, is_crowd : callable
        From an array of segment ids to their category ids, and to whether they are groups.
    """
    values, inverse, areas = np.unique(ids, return_inverse=True, return_counts=True)
    boxes = find_objects(inverse.reshape(ids.shape) + 1)
    return [
        {
            "id": int(value),
            "category_id": int(category),
            "area": int(area),
            "bbox": [x.start, y.start, x.stop - x.start, y.stop - y.start],
            "iscrowd": int(crowd),
        }
        for value, category, crowd, area, (y, x) in zip(
            values, category_of(values), is_crowd(values), areas, boxes, strict=True
        )
        if value
    ]
