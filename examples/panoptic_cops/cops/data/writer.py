"""A folder of predictions in the COCO panoptic format: id PNGs, and a JSON and a CSV that list all segments.

Every id PNG itself says in a text chunk what its ids mean. So the lists need not be written after every image: what a
kill keeps out of them, the next call reads from the PNGs.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import find_objects

from .coco import list_field, read_json
from .output_files import absolute, id_png, is_foreign, png, read_id_png, record_of, remove, write_file
from .pictures import VIEWS
from .samples import Category, DataError, Prediction, category_differences, parse_categories

COLUMNS = ("image", "id", "class", "isthing", "area", "left", "top", "width", "height", "score")
IDS = "_panoptic.png"
ELSEWHERE = "choose another folder for the results (--out or --dump)"
SECONDS, SHARE = 2.0, 0.05  # the lists are written no more often than so, and in no larger share of the time


class Entry(NamedTuple):
    """The lists' entry of one image: its part of `images`, its annotation and its CSV rows.

    Text takes a fraction of the memory of the objects, and of the time to write them again and again.
    """

    image: dict[str, Any]
    annotation: str
    rows: str


class PanopticWriter:
    """Adds predictions to a folder; see the module. Nothing is written before the first `add`.

    Parameters
    ----------
    folder : path
        Predictions of earlier calls that it holds stay listed.
    categories : sequence of Category
        Classes of the predictions.

    Attributes
    ----------
    entries : dict
        What is listed, by name; this call wrote those in `added`.

    Raises
    ------
    DataError
        If the folder holds a panoptic.json or a segments.csv that is not ours, or predictions of other classes.
    """

    def __init__(self, folder: Path, categories: Sequence[Category]) -> None:
        self.folder = folder
        self.json_path, self.csv_path = folder / "panoptic.json", folder / "segments.csv"
        self.entries: dict[str, Entry] = {}
        self.added: set[str] = set()
        self.categories = tuple(categories)
        self._categories = {c.id: c for c in categories}
        self._listed_categories = [
            {"id": c.id, "name": c.name, "isthing": int(c.isthing), "color": list(c.color)} for c in categories
        ]
        self._next_id = 0
        self._due = 0.0  # when the lists are to be written next
        if folder.is_dir():
            self._read_earlier()
        self._earlier: dict[str, set[str]] = defaultdict(set)  # names of earlier calls, by source
        for name, entry in self.entries.items():
            self._earlier[entry.image.get("source", "")].add(name)

    def names(self) -> dict[Path, str]:
        """Names that images have from earlier calls, by their absolute paths; frames of a video share one."""
        known = {}
        for name, entry in self.entries.items():
            if "source" in entry.image:
                frame = f"_{entry.image['frame']:05d}" if "frame" in entry.image else ""
                known[absolute(self.folder / entry.image["source"])] = name.removesuffix(frame)
        return known

    def taken(self, name: str, kinds: Iterable[str] = ()) -> bool:
        """Whether an image has that name, or its id PNG or another NAME_KIND.png would destroy a file not of ours."""
        files = [f"{name}{IDS}", *(f"{name}_{kind}.png" for kind in kinds)]
        return name in self.entries or any(is_foreign(self.folder / file) for file in files)

    def add(
        self,
        name: str,
        prediction: Prediction,
        image_id: int | str | None = None,
        *,
        file_name: str | None = None,
        source: Path | None = None,
        frame: int | None = None,
        pictures: Mapping[str, Image.Image] | None = None,
    ) -> Path:
        """Write the PNG (id = R + 256 G + 256² B, 0 is void) of one image; returns its path.

        Parameters
        ----------
        name : str
            Names the PNG; with "/" it lies in a folder. An earlier prediction of that name and `source` is replaced.
        prediction : Prediction
            Its segments.
        image_id : int or str, optional
            What the data set calls the image; images are numbered where it is None.
        file_name : str, optional
            The image's own file; NAME.png where it is None.
        source, frame : path and int, optional
            Where the image was read from.
        pictures : mapping, optional
            Further pictures by kind: NAME_KIND.png.

        Raises
        ------
        DiskFullError
            If there is no space.
        DataError
            If another image has that name.
        """
        path = self.folder / f"{name}{IDS}"
        height, width = prediction.ids.shape
        image = {"id": image_id, "file_name": file_name or f"{name}.png", "height": height, "width": width}
        if source is not None:
            image["source"] = _relative(source, self.folder)
        if frame is not None:
            image["frame"] = frame
        self._check_free(name, path, image)
        if image_id is None:
            image["id"] = self.entries[name].image["id"] if name in self.entries else self._next_id
        segments = [
            (segment.id, self.categories[segment.category].id, score)
            for segment, score in zip(prediction.segments, prediction.scores, strict=True)
        ]
        content = id_png(prediction.ids, image, segments, self._listed_categories)
        pictures = pictures or {}
        changed = path.exists() and path.read_bytes() != content
        for kind, picture in pictures.items():
            write_file(self.folder / f"{name}_{kind}.png", png(picture))
        write_file(path, content)
        for kind in (*VIEWS, "classes"):
            if changed and kind not in pictures:  # it shows the earlier prediction
                remove(self.folder / f"{name}_{kind}.png")
        self._list(name, image, segments_info(prediction.ids, segments))
        self.added.add(name)
        if time.monotonic() >= self._due:
            self._write_lists()
        return path

    def complete(self, source: Path) -> None:
        """Say that all frames of a file have been added: results of frames that it had before, and lacks now, go."""
        for name in self._earlier.pop(_relative(source, self.folder), set()) - self.added:
            del self.entries[name]
            for file in (f"{name}{IDS}", *(f"{name}_{kind}.png" for kind in (*VIEWS, "classes"))):
                remove(self.folder / file)

    def close(self) -> Path:
        """Write panoptic.json and segments.csv, if anything was added; returns the path of the JSON.

        Raises
        ------
        DiskFullError
            If there is no space. The PNGs are there, and the next call lists them.
        """
        if self.added:
            self._read_unlisted(strict=False)  # what another call has written at the same time
            self._write_lists()
        return self.json_path

    def _write_lists(self) -> None:
        began = time.monotonic()
        parts = {
            "images": [json.dumps(e.image) for e in self.entries.values()],
            "annotations": [e.annotation for e in self.entries.values()],
            "categories": [json.dumps(c) for c in self._listed_categories],
        }
        lists = [f'"{name}": [\n' + ",\n".join(lines) + "\n]" for name, lines in parts.items()]
        rows = _csv([COLUMNS]) + "".join(e.rows for e in self.entries.values())
        write_file(self.csv_path, rows.encode("utf-8", "surrogateescape"))
        # The JSON last: the CSV has all that it lists, whenever a kill comes.
        write_file(self.json_path, ("{" + ",\n".join(lists) + "}\n").encode())
        end = time.monotonic()
        self._due = end + max(SECONDS, (end - began) / SHARE)

    def _list(self, name: str, image: dict[str, Any], info: list[dict[str, Any]]) -> None:
        annotation = {"image_id": image["id"], "file_name": f"{name}{IDS}", "segments_info": info}
        rows = []
        for s in info:
            category, box = self._categories[s["category_id"]], s.get("bbox", [""] * 4)
            row = (name, s["id"], category.name, int(category.isthing), s.get("area", ""), *box, s.get("score", ""))
            rows.append(row)
        self.entries[name] = Entry(image, json.dumps(annotation), _csv(rows))
        if isinstance(image["id"], int):
            self._next_id = max(self._next_id, image["id"] + 1)

    def _check_free(self, name: str, path: Path, image: dict[str, Any]) -> None:
        """Raise a DataError if another image has that name, in the lists or, from a call at the same time, on disk."""
        there = self.entries[name].image if name in self.entries else (record_of(path) or {}).get("image")
        if there is not None and (there.get("source") != image.get("source") or "source" not in image):
            raise DataError(f"{path} belongs to another image, {there.get('source', name)}; {ELSEWHERE}")

    def _read_earlier(self) -> None:
        """Read the entries that the folder lists, and id PNGs that the list lacks."""
        heading = _csv([COLUMNS]).encode()
        if self.csv_path.exists() and not self.csv_path.read_bytes().startswith(heading):
            raise DataError(f"{self.csv_path} is no list of segments of this program; {ELSEWHERE}")
        if self.json_path.exists():
            self._read_json(self.json_path)
        self._read_unlisted(strict=True)

    def _read_json(self, path: Path) -> None:
        try:
            content = read_json(path)
            images, annotations, categories = (
                list_field(content, field, path) for field in ("images", "annotations", "categories")
            )
            self._check_categories(categories, path)
            by_id = {image["id"]: image for image in images}
            for annotation in annotations:
                name = annotation["file_name"].removesuffix(IDS)
                if name == annotation["file_name"]:
                    raise ValueError(f"{name} does not end in {IDS}")
                self._list(name, by_id[annotation["image_id"]], annotation["segments_info"])
        except DataError as error:
            raise DataError(f"{error}; {ELSEWHERE}") from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(f"{path} was not written by this program ({error!r}); {ELSEWHERE}") from error

    def _read_unlisted(self, strict: bool) -> None:
        """Take over id PNGs of ours that are newer than the list, or that it lacks; `strict` refuses other classes."""
        written = self.json_path.stat().st_mtime_ns if self.json_path.exists() else 0
        ids = {e.image["id"]: name for name, e in self.entries.items()}
        for path in sorted(self.folder.glob(f"*{IDS}")):
            name = path.name.removesuffix(IDS)
            listed = self.entries.get(name)
            if name in self.added or (listed is not None and path.stat().st_mtime_ns < written):
                continue
            record = record_of(path)
            if record is None or (record["categories"] != self._listed_categories and not strict):
                continue
            self._check_categories(record["categories"], path)
            image = {**record["image"], "id": listed.image["id"] if listed else record["image"]["id"]}
            if ids.get(image["id"], name) != name:
                image["id"] = self._next_id
            ids[image["id"]] = name
            self._list(name, image, segments_info(read_id_png(path), record["segments"]))

    def _check_categories(self, found: list[Any], path: Path) -> None:
        changed = category_differences(parse_categories(found, path), self.categories, path.name, "this model")
        if changed is not None:
            raise DataError(f"{path} is from a model with other classes ({changed}); {ELSEWHERE}")


def segments_info(ids: NDArray[np.int64], segments: Iterable[tuple[int, int, float]]) -> list[dict[str, Any]]:
    """Segments (id, category id, score) in the COCO panoptic format; those without pixels are left out.

    One pass over the pixels, however many segments there are.
    """
    areas, boxes = np.bincount(ids.ravel()), find_objects(ids)
    info = []
    for number, category, score in segments:
        box = boxes[number - 1] if number <= len(boxes) else None
        if box is not None:
            y, x = box
            bbox = [x.start, y.start, x.stop - x.start, y.stop - y.start]
            entry = {"id": number, "category_id": category, "area": int(areas[number]), "bbox": bbox, "iscrowd": 0}
            info.append({**entry, "score": score if math.isfinite(score) else None})
    return info


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _relative(path: Path, folder: Path) -> str:
    """The path as seen from the folder, so that both can be moved together."""
    try:
        return Path(os.path.relpath(absolute(path), absolute(folder))).as_posix()
    except ValueError:  # another drive
        return absolute(path).as_posix()
