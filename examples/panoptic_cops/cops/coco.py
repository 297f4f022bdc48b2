"""The COCO panoptic format from disk: JSON, id PNGs (id = R + 256 G + 256² B), images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from .data import VOID, Category, Sample, Segment


class DataError(Exception):
    """The data on disk are not as they should be; the message says which file, and what to do."""


class CocoPanoptic:
    """A COCO panoptic split: ``annotations/panoptic_<split>.json`` with its PNG folder, images in ``<split>/``.

    The official year suffix is found by itself: split "val" also finds ``panoptic_val2017.json``.

    Parameters
    ----------
    root : path
        Folder that holds ``annotations/``.
    split : str
        Name of the split.

    Raises
    ------
    DataError
        If a folder, the JSON or one of its fields is missing or malformed. Images and PNGs are read when asked for.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        self.root = Path(root)
        self.json_path = _find_json(self.root, split)
        self.label_folder = self.json_path.with_suffix("")
        self.image_folder = self.root / self.json_path.stem.removeprefix("panoptic_")
        for folder in (self.label_folder, self.image_folder):
            if not folder.is_dir():
                raise DataError(f"the folder {folder} is missing: {self.json_path.name} refers to it")
        content = read_json(self.json_path)
        try:
            self.categories = tuple(
                Category(int(c["id"]), str(c["name"]), bool(c["isthing"]), color_of(c))
                for c in list_field(content, "categories", self.json_path)
            )
            self._images = {image["id"]: image["file_name"] for image in list_field(content, "images", self.json_path)}
            self._annotations = [
                {key: a[key] for key in ("image_id", "file_name", "segments_info")}
                for a in list_field(content, "annotations", self.json_path)
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{self.json_path}: a category, image or annotation is malformed: {error!r}") from error
        self._index = {category.id: k for k, category in enumerate(self.categories)}
        unknown = {a["image_id"] for a in self._annotations} - set(self._images)
        if unknown:
            raise DataError(f"{self.json_path}: annotations name image ids that 'images' lacks, e.g. {min(unknown)}")
        for annotation in self._annotations:  # now, not after hours of training
            for path in self._paths(annotation):
                if not path.exists():
                    raise DataError(f"{self._where(annotation)}: the file {path} is missing")

    def __len__(self) -> int:
        return len(self._annotations)

    def _paths(self, annotation: dict[str, Any]) -> tuple[Path, Path]:
        """Image and PNG of an annotation."""
        name = self._images[annotation["image_id"]]
        return self.image_folder / name, self.label_folder / annotation["file_name"]

    def _where(self, annotation: dict[str, Any]) -> str:
        return f"{self.json_path.name}, annotation of image {annotation['image_id']}"

    def __getitem__(self, index: int) -> Sample:
        annotation = self._annotations[index]
        where = self._where(annotation)
        image_path, label_path = self._paths(annotation)
        image = read_image(image_path, where)
        ids = read_ids(label_path, where)
        check_sizes(ids, image, where)
        segments = []
        for info in annotation["segments_info"]:
            if not isinstance(info, dict) or not {"id", "category_id"} <= set(info):
                raise DataError(f"{where}: a segment lacks 'id' or 'category_id': {info!r:.80}")
            if info["category_id"] not in self._index:
                raise DataError(f"{where}: segment {info['id']} has the unknown category id {info['category_id']}")
            segments.append(Segment(int(info["id"]), self._index[info["category_id"]], bool(info.get("iscrowd", 0))))
        return numbered(Sample(image_path.stem, image, ids, tuple(segments), annotation["image_id"]), where)


def numbered(sample: Sample, where: str) -> Sample:
    """Number the segments 1..S in their order: raw ids go up to 2**24.

    Raises
    ------
    DataError
        If pixels hold an id that is no segment's.
    """
    values, inverse = np.unique(sample.ids, return_inverse=True)
    new = {VOID: VOID, **{s.id: i for i, s in enumerate(sample.segments, start=1)}}
    missing = set(values.tolist()) - set(new)
    if missing:
        raise DataError(f"{where}: the PNG holds ids that segments_info lacks, e.g. {min(missing)}")
    table = np.array([new[int(v)] for v in values], np.int64)
    segments = tuple(Segment(i, s.category, s.iscrowd) for i, s in enumerate(sample.segments, start=1))
    return replace(sample, ids=table[inverse.reshape(sample.ids.shape)], segments=segments)


def check_sizes(ids: NDArray[np.int64], image: NDArray[np.uint8], where: str) -> None:
    """Raise a DataError if a label and its image differ in size."""
    if ids.shape != image.shape[:2]:
        raise DataError(f"{where}: label {ids.shape} and image {image.shape[:2]} differ in size")


def read_ids(path: Path, where: str = "") -> NDArray[np.int64]:
    """Segment ids of a panoptic PNG: R + 256 G + 256² B."""
    rgb = read_image(path, where).astype(np.int64)
    return rgb[..., 0] + 256 * rgb[..., 1] + 256**2 * rgb[..., 2]


def read_image(path: Path, where: str = "") -> NDArray[np.uint8]:
    """Read an image file as RGB (H, W, 3) uint8; grey and 16-bit images are converted.

    Raises
    ------
    DataError
        If the file is missing, truncated or no image.
    """
    prefix = f"{where}: " if where else ""
    try:
        with Image.open(path) as file:
            if file.mode.startswith("I"):  # 16 bits: scale to the image's own range, microscopes use a part of it
                values = np.asarray(file, np.float64)
                low, high = values.min(), values.max()
                grey = ((values - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            return np.array(file.convert("RGB"))
    except FileNotFoundError:
        raise DataError(f"{prefix}the file {path} is missing") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"{prefix}{path} cannot be read as an image: {error}") from error


def _find_json(root: Path, split: str) -> Path:
    if not root.is_dir():
        raise DataError(f"the data folder {root} does not exist (--root)")
    found = sorted((root / "annotations").glob(f"panoptic_{split}*.json"))
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise DataError(
            f"{root / 'annotations'} must hold one panoptic_{split}*.json (COCO panoptic format), got {names}"
        )
    return found[0]


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def list_field(content: dict[str, Any], name: str, path: Path) -> list[Any]:
    if not isinstance(content.get(name), list):
        raise DataError(f"{path} lacks the list {name!r} of the COCO panoptic format")
    return list(content[name])


def color_of(category: dict[str, Any]) -> tuple[int, int, int]:
    if "color" in category:
        r, g, b = category["color"]
        return int(r), int(g), int(b)
    rng = np.random.default_rng(int(category["id"]))
    r, g, b = rng.integers(40, 230, 3).tolist()
    return r, g, b
