"""Names of the files that predict.py writes: one for every image, whatever folders the images come from."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .frames import VIDEOS

FRAMED = VIDEOS | {".apng", ".gif", ".mpo", ".tif", ".tiff", ".webp"}  # may hold frames, called NAME_00000, ...
_FRAME = re.compile(r"(.+)_\d{5,}")


class Name(NamedTuple):
    """What the results of an image are called, and as much of its path as tells it from the others."""

    name: str
    file_name: str


def absolute(path: Path) -> Path:
    """The path that names a file; links are not followed, they may be called otherwise than what they lead to."""
    return Path(os.path.abspath(path))


def output_names(
    files: Sequence[Path], earlier: Mapping[Path, str], taken: Callable[[str], bool] = lambda name: False
) -> dict[Path, Name]:
    """A name for each file: its own without the suffix, or a longer one where several files share that.

    Longer names are ``FOLDER_NAME``, ``NAME_SUFFIX``, ``FOLDER_NAME_SUFFIX``, ``PARENT_FOLDER_NAME``, ..., and at last
    ``NAME_HASH``, which no other path has. A file gets the first of them that it shares with none. All files that share
    a name get longer ones, so the names do not depend on the order of `files`. Upper and lower case count as the same,
    and NAME_00000 clashes with the first frame of a video NAME.

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
    return list(dict.fromkeys([*options, Name(f"{path.stem}_{digest}", "/".join([*folders, path.name]))]))


def _named(path: Path, name: str) -> Name:
    """The option of that name, which an earlier call chose."""
    return next((option for option in _options(path) if option.name == name), Name(name, path.name))
