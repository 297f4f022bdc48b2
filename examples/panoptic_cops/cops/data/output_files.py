"""Files of results: their names, and PNGs that record which program wrote them and what their ids mean."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ..files import replacing
from .frames import VIDEOS
from .id_colors import colors_of, ids_of

FRAMED = VIDEOS | {".apng", ".gif", ".mpo", ".tif", ".tiff", ".webp"}  # may hold frames, called NAME_00000, ...
_FRAME = re.compile(r"(.+)_\d{5,}")
SOFTWARE = "diffcomb panoptic_cops"
RECORD = "panoptic"  # the text chunk of an id PNG: JSON with the keys below
KEYS = {"image", "segments", "categories"}
LONGEST = 200  # bytes of a name, so that with frame, kind and suffix a file system takes it


class Name(NamedTuple):
    """The name of an image's results, and the part of its path that tells it from the others."""

    name: str
    file_name: str


def absolute(path: Path) -> Path:
    """The absolute path of a file; links are not followed, because their targets may have other names."""
    return Path(os.path.abspath(path))


def output_names(
    files: Sequence[Path], earlier: Mapping[Path, str], taken: Callable[[str], bool] = lambda name: False
) -> dict[Path, Name]:
    """A name for each file: its own without the suffix, or a longer one where several files share that.

    Longer names are ``FOLDER_NAME``, ``NAME_SUFFIX``, ``FOLDER_NAME_SUFFIX``, ``PARENT_FOLDER_NAME``, ..., and at last
    ``NAME_HASH``, which no other path has, and for which NAME is cut if it is too long. A file gets the first of them
    that it shares with none. All files that share a name get longer ones, so the names do not depend on the order of
    `files`. Upper and lower case count as the same, and NAME_00000 clashes with the first frame of a video NAME.

    Parameters
    ----------
    files : sequence of path
        A file given twice is named once.
    earlier : mapping
        Names that earlier calls gave, by absolute path; a file keeps its name, and no other file gets it.
    taken : callable
        Whether a name cannot be used for another reason.
    """
    paths = dict.fromkeys(absolute(p) for p in files)
    open_ = {path: _options(path) for path in paths if path not in earlier}
    level = dict.fromkeys(open_, 0)
    while True:
        names = {**earlier, **{path: options[level[path]].name for path, options in open_.items()}}
        owners: dict[str, set[Path]] = defaultdict(set)
        framed = {name.casefold() for path, name in names.items() if path.suffix.lower() in FRAMED}
        for path, name in names.items():
            owners[name.casefold()].add(path)
            frame = _FRAME.fullmatch(name.casefold())
            if frame and frame[1] in framed:
                owners[frame[1]].add(path)
        clashing = {path for group in owners.values() if len(group) > 1 for path in group}
        clashing |= {path for path in open_ if taken(names[path])}
        longer = [path for path in clashing & set(open_) if level[path] + 1 < len(open_[path])]
        if not longer:
            break
        for path in longer:
            level[path] += 1
    return {path: open_[path][level[path]] if path in open_ else _named(path, earlier[path]) for path in paths}


def _options(path: Path) -> list[Name]:
    """Names from the shortest to one that no other path has."""
    folders = path.parts[1:-1]
    ending = f"_{path.suffix[1:].lower()}" if path.suffix else ""

    def option(depth: int, ending: str = "") -> Name:
        shown = max(depth, 1) if ending else depth
        above, there = (folders[max(0, len(folders) - n) :] for n in (depth, shown))
        return Name("_".join([*above, path.stem]) + ending, "/".join([*there, path.name]))

    depths = range(len(folders) + 1)
    options = [option(0), *(option(1) for _ in depths[1:2]), *(option(d, e) for d in depths for e in ("", ending))]
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    last = Name(f"{_cut(path.stem, LONGEST - 13)}_{digest}", "/".join([*folders, path.name]))
    return list(dict.fromkeys([*(o for o in options if o.name == _cut(o.name, LONGEST)), last]))


def _cut(name: str, size: int) -> str:
    """The name, or of one with more bytes as many characters as fit."""
    while len(os.fsencode(name)) > size:
        name = name[: size if len(name) > size else -1]
    return name


def _named(path: Path, name: str) -> Name:
    """The option of that name, which an earlier call chose."""
    return next((option for option in _options(path) if option.name == name), Name(name, path.name))


def write_file(path: Path, content: bytes) -> None:
    """Write a file, and its folder where there is none; an older file stays whole until the new one is on disk.

    Raises
    ------
    DiskFullError
        If there is no space.
    """
    with replacing(path, "wb") as file:
        file.write(content)


def png(picture: Image.Image, record: dict[str, Any] | None = None) -> bytes:
    """A picture as PNG, marked as written by this program."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", SOFTWARE)
    if record is not None:
        info.add_text(RECORD, json.dumps(record))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def id_png(ids: NDArray[np.int64], image: dict[str, Any], segments: Sequence[Any], categories: Sequence[Any]) -> bytes:
    """Ids as R + 256 G + 256² B, with a text chunk that records what the ids mean."""
    return png(Image.fromarray(colors_of(ids)), {"image": image, "segments": segments, "categories": categories})


def is_foreign(path: Path) -> bool:
    """Whether a file of that name exists that this program has not written."""
    return path.exists() and _chunk(path, "Software") != SOFTWARE


def remove(path: Path) -> None:
    """Remove a PNG if this program wrote it."""
    if path.exists() and not is_foreign(path):
        with contextlib.suppress(OSError):
            path.unlink()


def record_of(path: Path) -> dict[str, Any] | None:
    """The record in an id PNG; None if there is no such file, or another program wrote it."""
    try:
        record = json.loads(_chunk(path, RECORD) or "null")
    except ValueError:
        return None
    return record if isinstance(record, dict) and set(record) >= KEYS else None


def read_id_png(path: Path) -> NDArray[np.int64]:
    """The ids of an id PNG that this program wrote."""
    with Image.open(path) as file:
        return ids_of(np.asarray(file))


def _chunk(path: Path, name: str) -> str | None:
    try:
        with Image.open(path) as file:
            return file.info.get(name)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None
