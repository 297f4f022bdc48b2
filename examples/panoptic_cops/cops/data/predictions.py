"""Predictions that exist: a JSON in the COCO panoptic format and its id PNGs, from this program or from another one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .coco import (
    annotation_fields,
    file_name_of,
    image_id_of,
    list_field,
    numbered,
    parse_segments,
    read_ids,
    read_json,
)
from .samples import (
    SHOWN,
    Category,
    DataError,
    Dataset,
    ImageKey,
    Prediction,
    Sample,
    Segment,
    category_differences,
    first_double,
    parse_categories,
    said,
)

LIST = "panoptic.json"  # as `PanopticWriter` calls it
_NONE: NDArray[Any] = np.zeros(0)


@dataclass(frozen=True)
class _Found:
    """The prediction of one image: its PNG, and segments with scores; nan where there is none."""

    key: ImageKey
    png: Path
    segments: tuple[Segment, ...]
    scores: tuple[float, ...]


class Predictions:
    """Predictions for the images of a data set.

    Parameters
    ----------
    path : path
        A JSON file whose PNGs lie in the folder of its name without the suffix, or beside it; or the folder with the
        PNGs, in which ``panoptic.json`` or a single other JSON lies, or beside which FOLDER.json does.
    dataset : Dataset
        An image and its prediction have the same file name or, where the JSON lists no file names, the same image id.
    missing : {"error", "void"}
        What an image without a prediction is: an error, or an image in which nothing was found.
    extra : {"error", "ignore"}
        What a prediction for an image that the data set lacks is.

    Attributes
    ----------
    unscored : int
        Segments of things that have no score.

    Raises
    ------
    DataError
        If a file is missing or malformed, the categories are others, an image has two predictions, or images and
        predictions do not match. PNGs are read when asked for.
    """

    def __init__(self, path: Path, dataset: Dataset, missing: str = "error", extra: str = "error") -> None:
        self.json_path, self.folder = _find(path)
        content = read_json(self.json_path)
        entries = list_field(content, "annotations", self.json_path)
        if "categories" in content:
            _check_categories(list_field(content, "categories", self.json_path), self.json_path, dataset.categories)
        names = self._file_names(list_field(content, "images", self.json_path) if "images" in content else [])
        index = {category.id: k for k, category in enumerate(dataset.categories)}
        found = [self._annotation(entry, names, index) for entry in entries]
        self._found = self._matched(found, dataset.image_keys(), missing, extra)
        things = {k for k, category in enumerate(dataset.categories) if category.isthing}
        self.unscored = sum(
            segment.category in things and math.isnan(score)
            for f in self._found.values()
            for segment, score in zip(f.segments, f.scores, strict=True)
        )

    def __len__(self) -> int:
        """How many images of the data set have a prediction."""
        return len(self._found)

    def of(self, number: int, sample: Sample) -> Prediction:
        """The prediction for a sample, given its number in the data set; all void where there is none.

        Raises
        ------
        DataError
            If the PNG cannot be read, has another size than the image, or holds ids that the JSON lacks.
        """
        if number not in self._found:
            return Prediction(np.zeros_like(sample.ids), (), (), _NONE, _NONE, _NONE, _NONE)
        f = self._found[number]
        ids = read_ids(f.png)
        if ids.shape != sample.ids.shape:
            raise DataError(f"{f.png} has the size {ids.shape}, and its image {sample.name} has {sample.ids.shape}")
        plain = numbered(Sample(sample.name, sample.image, ids, f.segments), str(f.png))
        return Prediction(plain.ids, plain.segments, f.scores, _NONE, _NONE, _NONE, _NONE)

    def _file_names(self, images: list[Any]) -> dict[int | str, str]:
        """File names by image ids, where the JSON lists images."""
        try:
            return {image_id_of(e["id"]): file_name_of(e["file_name"]) for e in images if "file_name" in e}
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{self.json_path}: an image is malformed: {said(error)}") from error

    def _annotation(self, entry: Any, names: Mapping[int | str, str], index: Mapping[int, int]) -> _Found:
        image_id, name, infos = annotation_fields(entry, self.json_path)
        where = f"{self.json_path.name}, annotation of image {image_id!r}"
        segments = parse_segments(infos, index, where)
        png = self.folder / name
        if not png.exists():
            raise DataError(f"{where}: the file {png} is missing")
        scores = tuple(_score(info.get("score"), where) for info in infos)
        return _Found(ImageKey(image_id, names.get(image_id, "")), png, segments, scores)

    def _matched(
        self, found: Sequence[_Found], images: Sequence[ImageKey], missing: str, extra: str
    ) -> dict[int, _Found]:
        """Predictions by the numbers of their images in the data set."""
        number_of = _numbers(images)
        numbers = [number_of(f.key) for f in found]
        others = [f.key for f, number in zip(found, numbers, strict=True) if number is None]
        if others and extra == "error":
            raise DataError(
                f"{self.json_path} holds {len(others)} predictions for images that the data lack ({_shown(others)}): "
                f"is it of another split? --extra ignore scores the others"
            )
        known = [number for number in numbers if number is not None]
        if (twice := first_double(known)) is not None:
            raise DataError(f"{self.json_path} holds two predictions for the image {_shown([images[twice]])}")
        without = [images[i] for i in sorted(set(range(len(images))) - set(known))]
        if without and missing == "error":
            raise DataError(
                f"{self.json_path} lacks predictions for {len(without)} of {len(images)} images ({_shown(without)}); "
                f"--missing void scores them as images in which nothing was found"
            )
        return {number: f for f, number in zip(found, numbers, strict=True) if number is not None}


def _find(path: Path) -> tuple[Path, Path]:
    """The JSON and the folder of its PNGs."""
    if path.is_file():
        folder = path.with_suffix("")
        return path, folder if folder.is_dir() else path.parent
    if not path.is_dir():
        raise DataError(f"the predictions {path} do not exist")
    beside, inside = path.parent / f"{path.name}.json", sorted(path.glob("*.json"))
    for candidate in (path / LIST, beside, *(inside if len(inside) == 1 else ())):
        if candidate.is_file():
            return candidate, path
    names = ", ".join(p.name for p in inside) or "none"
    raise DataError(
        f"{path} must hold {LIST} or one other JSON file, or {beside} must exist; got {names}: give the file"
    )


def _check_categories(entries: list[Any], path: Path, categories: Sequence[Category]) -> None:
    """Raise a DataError if a JSON lists other categories; their order makes no difference, since segments name ids."""
    found, expected = (sorted(part, key=lambda c: c.id) for part in (parse_categories(entries, path), categories))
    changed = category_differences(found, expected, path.name, "the data")
    if changed is not None:
        raise DataError(f"{path} has other categories than the data: {changed}")


def _score(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DataError(f"{where}: a segment's 'score' must be a number, got {value!r:.80}")
    return float(value)


def _numbers(images: Sequence[ImageKey]) -> Callable[[ImageKey], int | None]:
    """Make a function that finds the number of an image in the data set.

    A file name decides, or its last part where only one image has it. An image id decides if no file name is listed, or
    if the listed one differs in folders and suffix only: integers of two lists may agree by chance.
    """
    by_file = {key.file_name: i for i, key in enumerate(images)}
    by_id = {key.image_id: i for i, key in enumerate(images) if key.image_id is not None}
    last = [PurePosixPath(key.file_name).name for key in images]
    count = Counter(last)
    by_last = {name: i for i, name in enumerate(last) if count[name] == 1}

    def number_of(key: ImageKey) -> int | None:
        name = PurePosixPath(key.file_name)
        if key.file_name in by_file:
            return by_file[key.file_name]
        same = by_id.get(key.image_id)
        if same is not None and (not key.file_name or isinstance(key.image_id, str)):
            return same
        if same is not None and name.stem == PurePosixPath(images[same].file_name).stem:
            return same
        return by_last.get(name.name)

    return number_of


def _shown(keys: Sequence[ImageKey]) -> str:
    names = ", ".join(key.file_name or repr(key.image_id) for key in keys[:SHOWN])
    return names + (", ..." if len(keys) > SHOWN else "")
