"""The COCO panoptic format from disk: JSON, id PNGs (id = R + 256 G + 256² B), images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .id_colors import ids_of
from .images import check_one_page, opened, read_image, upright
from .normalize import FIXED
from .sample_files import SampleFiles
from .samples import (
    VOID,
    DataError,
    ImageKey,
    Note,
    Sample,
    Segment,
    first_double,
    flag,
    noted,
    parse_categories,
    refuse,
    said,
    unique,
    whole,
)

__all__ = ["CocoPanoptic", "DataError", "read_image"]
MAX_ID = 256**3 - 1
LOSSY = {"JPEG", "JPEG2000", "MPO"}  # formats that change the colours of pixels


@dataclass(frozen=True)
class _Annotation:
    """One image with its PNG and what the PNG's ids are."""

    image_id: int | str
    file_name: str
    image: Path
    label: Path
    segments: tuple[Segment, ...]


class CocoPanoptic:
    """A COCO panoptic split: ``annotations/panoptic_<split>.json`` with its PNG folder, images in ``<split>/``.

    The official year suffix is found by itself: split "val" also finds ``panoptic_val2017.json``.

    Parameters
    ----------
    root : path
        Folder that holds ``annotations/``.
    split : str
        Name of the split.
    normalize : str
        One of `NORMALIZE`, for the images.
    note : callable
        Gets the problems with single annotations and files; by default, the first one is raised.

    Raises
    ------
    DataError
        If a folder, the JSON or one of its fields is missing or malformed, or an id or a file is given twice. Images
        and PNGs are read when asked for.
    """

    def __init__(self, root: str | Path, split: str, normalize: str = FIXED, note: Note = refuse) -> None:
        self.root, self.normalize = Path(root), normalize
        self.json_path = _find_json(self.root, split)
        self.label_folder = self.json_path.with_suffix("")
        self.image_folder = self.root / self.json_path.stem.removeprefix("panoptic_")
        for folder in (self.label_folder, self.image_folder):
            if not folder.is_dir():
                raise DataError(f"the folder {folder} is missing: {self.json_path.name} refers to it")
        content = read_json(self.json_path)
        self.categories = parse_categories(list_field(content, "categories", self.json_path), self.json_path)
        index = {category.id: k for k, category in enumerate(self.categories)}
        images = self._images(list_field(content, "images", self.json_path))
        entries = list_field(content, "annotations", self.json_path)
        found = [noted(note, self._annotation, entry, images, index) for entry in entries]
        self._annotations: list[_Annotation] = [a for a in found if a is not None]
        for what, values in (
            ("image", [a.image_id for a in self._annotations]),
            ("PNG", [a.label.relative_to(self.label_folder).as_posix() for a in self._annotations]),
        ):
            if (twice := first_double(values)) is not None:
                note(f"{self.json_path}: two annotations name the {what} {twice!r}")
        for annotation in self._annotations:  # now, not after hours of training
            for path in (annotation.image, annotation.label):
                if not path.exists():
                    note(f"{self._where(annotation.image_id)}: the file {path} is missing")
        self._annotations = [a for a in self._annotations if a.image.exists() and a.label.exists()]

    def _images(self, entries: list[Any]) -> dict[int | str, str]:
        """File names by image ids."""
        try:
            pairs = [(image_id_of(e["id"]), file_name_of(e["file_name"])) for e in entries]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{self.json_path}: an image is malformed: {said(error)}") from error
        for what, values in (("id", [i for i, _ in pairs]), ("file_name", [name for _, name in pairs])):
            if (twice := first_double(values)) is not None:
                raise DataError(f"{self.json_path}: two images have the {what} {twice!r}")
        return dict(pairs)

    def _annotation(self, entry: Any, images: dict[int | str, str], index: Mapping[int, int]) -> _Annotation:
        image_id, name, infos = annotation_fields(entry, self.json_path)
        if image_id not in images:
            raise DataError(f"{self.json_path}: annotations name image ids that 'images' lacks, e.g. {image_id!r}")
        segments = parse_segments(infos, index, self._where(image_id))
        file_name = images[image_id]
        return _Annotation(image_id, file_name, self.image_folder / file_name, self.label_folder / name, segments)

    def _where(self, image_id: int | str) -> str:
        return f"{self.json_path.name}, annotation of image {image_id!r}"

    def __len__(self) -> int:
        return len(self._annotations)

    def __getitem__(self, index: int) -> Sample:
        sample = self.read(index, refuse)
        assert sample is not None
        return sample

    def read(self, index: int, note: Note) -> Sample | None:
        """The sample; `note` gets every problem with its files, and None is returned if they make no sample."""
        a = self._annotations[index]
        where = self._where(a.image_id)
        image = noted(note, read_image, a.image, where, self.normalize)
        ids = noted(note, read_ids, a.label, where)
        if image is None or ids is None or not same_size(ids, image, where, note):
            return None
        sample = Sample(a.image.stem, image, ids, a.segments, a.image_id, a.file_name)
        found: Sample | None = noted(note, numbered, sample, f"{where}: {a.label}")
        return found

    def image_keys(self) -> list[ImageKey]:
        """Image ids and file names, in the order of the annotations."""
        return [ImageKey(a.image_id, a.file_name) for a in self._annotations]

    def files(self) -> list[SampleFiles]:
        """The files of every sample; the JSON says what the ids in a PNG are."""
        return [SampleFiles(a.image, (a.label, self.json_path)) for a in self._annotations]


def parse_segments(infos: Any, index: Mapping[int, int], where: str) -> tuple[Segment, ...]:
    """Segments of a list "segments_info"; `index` leads from category ids to indices.

    Raises
    ------
    DataError
        If an entry is malformed, of an unknown category, or has the id of another one.
    """
    if not isinstance(infos, list):
        raise DataError(f"{where}: 'segments_info' must be a list, got {infos!r:.80}")
    segments = []
    for info in infos:
        if not isinstance(info, dict) or not {"id", "category_id"} <= set(info):
            raise DataError(f"{where}: a segment lacks 'id' or 'category_id': {info!r:.80}")
        try:
            number, category = whole(info["id"], "id"), whole(info["category_id"], "category_id")
            crowd = flag(info.get("iscrowd", 0), "iscrowd")
        except ValueError as error:
            raise DataError(f"{where}: a segment is malformed: {error}, in {info!r:.120}") from error
        if category not in index:
            raise DataError(f"{where}: segment {number} has the unknown category id {category!r}")
        segments.append(Segment(number, index[category], crowd))
    if (twice := first_double([s.id for s in segments])) is not None:
        raise DataError(f"{where}: two segments have the id {twice}")
    return tuple(segments)


def numbered(sample: Sample, where: str) -> Sample:
    """Number the segments 1..S in their order, with pixels or without: raw ids go up to 2**24.

    Raises
    ------
    DataError
        If pixels hold an id that is no segment's, or a segment has an id that pixels cannot hold.
    """
    for segment in sample.segments:
        if not VOID < segment.id <= MAX_ID:
            raise DataError(f"{where}: segment ids must lie between 1 and {MAX_ID} (0 is void), got {segment.id}")
    values, inverse = unique(sample.ids)
    new = {VOID: VOID, **{s.id: i for i, s in enumerate(sample.segments, start=1)}}
    missing = set(values.tolist()) - set(new)
    if missing:
        raise DataError(f"{where} holds ids that segments_info lacks, e.g. {min(missing)} (id = R + 256 G + 256² B)")
    table = np.array([new[int(v)] for v in values], np.int64)
    segments = tuple(Segment(i, s.category, s.iscrowd) for i, s in enumerate(sample.segments, start=1))
    return replace(sample, ids=table[inverse], segments=segments)


def same_size(ids: NDArray[np.int64], image: NDArray[np.uint8], where: str, note: Note) -> bool:
    """Whether a label and its image have one size; if not, `note` gets the problem."""
    same = ids.shape == image.shape[:2]
    if not same:
        note(f"{where}: label {ids.shape} and image {image.shape[:2]} differ in size")
    return same


def read_ids(path: Path, where: str = "") -> NDArray[np.int64]:
    """Segment ids of a panoptic PNG: R + 256 G + 256² B.

    Raises
    ------
    DataError
        If the file is missing, damaged, no image, holds several pages, or is not RGB to the last bit.
    """
    prefix = f"{where}: " if where else ""
    with opened(path, where, "label") as file:
        check_one_page(file, path)
        if file.mode != "RGB":
            raise DataError(f"{prefix}{path} must be an RGB image, got mode {file.mode}: id = R + 256 G + 256² B")
        check_exact(file, path)
        return ids_of(np.asarray(upright(file)))


def check_exact(file: Any, path: Path) -> None:
    """Raise a DataError if the format of a label changes its pixels."""
    if file.format in LOSSY:
        raise DataError(f"the label {path} is {file.format}, which changes ids: save labels as PNG")


def annotation_fields(entry: Any, path: Path) -> tuple[int | str, str, Any]:
    """Image id, file name and segments of an annotation; a DataError names the JSON file if one is missing or wrong."""
    try:
        return image_id_of(entry["image_id"]), file_name_of(entry["file_name"]), entry["segments_info"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: an annotation is malformed: {said(error)}") from error


def image_id_of(value: Any) -> int | str:
    """The value if it is an integer or a string, else a ValueError that quotes it."""
    return value if isinstance(value, str) else whole(value, "image id")


def file_name_of(value: Any) -> str:
    """The value if it is a file name, else a ValueError that quotes it."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"'file_name' must be a string, got {value!r}")
    return value


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
    """Return the object that a JSON file holds; a DataError names the file if it holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # also of letters that are no UTF-8, and of numbers of 5,000 digits
        raise DataError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def list_field(content: dict[str, Any], name: str, path: Path) -> list[Any]:
    """Return a field of a JSON object that must be a list."""
    if not isinstance(content.get(name), list):
        raise DataError(f"{path} lacks the list {name!r} of the COCO panoptic format")
    return list(content[name])
