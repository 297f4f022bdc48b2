"""What predict.py reads: image files, folders of them, and the frames of animations and videos."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .images import FOREIGN, count_pages, opened, pages, readable, to_rgb
from .normalize import FIXED, PERCENTILE, stretched
from .samples import DataError

VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"}


class Found(NamedTuple):
    """Files to read, and files that look like images or videos but cannot be read, each with the reason."""

    files: list[Path]
    left_out: list[tuple[Path, str]]


def files_of(given: Sequence[Path], outside: Path | None = None) -> Found:
    """The files named, and all images and videos in the folders named and in the folders in them.

    Hidden files and folders (".name", such as the "._name" of macOS) are skipped.

    Parameters
    ----------
    given : sequence of path
        A file that is named is taken as it is; `frames_of` says what is wrong with it.
    outside : path, optional
        A folder that is left out wherever it lies, such as the one that results go to.

    Raises
    ------
    DataError
        If a folder holds no file that can be read.
    """
    files: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    for path in given:
        if not path.is_dir():
            files.append(path)
            continue
        found = images_in(path, VIDEOS, recursive=True, outside=outside)
        left_out += found.left_out
        files += found.files
        if not found.files:
            also = "".join(f"; {p} is {reason}" for p, reason in found.left_out[:1])
            raise DataError(f"the folder {path} holds no image or video that can be read{also}")
    return Found(files, left_out)


def images_in(
    folder: Path, more: set[str] | None = None, recursive: bool = False, outside: Path | None = None
) -> Found:
    """Files of a folder that Pillow reads or whose suffixes are in `more`, sorted; hidden ones are skipped."""
    known = readable() | (more or set())
    found = Found([], [])
    excluded = outside.resolve() if outside is not None else None
    for path in sorted(folder.rglob("*") if recursive else folder.iterdir()):
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
            continue
        if excluded is not None and excluded in path.resolve().parents:
            continue
        suffix = path.suffix.lower()
        if suffix in known:
            found.files.append(path)
        elif (reason := why_not(path)) is not None:
            found.left_out.append((path, reason))
    return found


def why_not(path: Path) -> str | None:
    """Why a file that looks like an image or a video is not read, after "it is"; None for any other file."""
    suffix = ".nii" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()
    if suffix in FOREIGN:
        return FOREIGN[suffix]
    kind = mimetypes.guess_type(path.name)[0] or ""
    if kind.startswith(("image/", "video/")):
        return f"of the kind {kind}, which is not read here: convert it to PNG or MP4"
    return None


def frames_of(path: Path, normalize: str = FIXED) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Names and images (H, W, 3) of a file: one for a picture, one for each page of a stack or frame of a video.

    Pages and frames are normalised one by one.

    Raises
    ------
    DataError
        If the file is missing or cannot be read, or a video needs a package that is not installed; frames before a
        damaged one may have been yielded by then.
    """
    if path.suffix.lower() in VIDEOS:
        for name, image in _video(path):
            yield name, stretched(image) if normalize == PERCENTILE else image
        return
    with opened(path) as file:
        single = count_pages(file) == 1
        for number, page in enumerate(pages(file)):
            yield path.stem if single else f"{path.stem}_{number:05d}", to_rgb(page, path, normalize)


def _video(path: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    if not path.exists():
        raise DataError(f"the file {path} is missing")
    try:
        import av
    except ImportError:
        raise DataError(f'{path} is a video, which needs a further package: pip install "diffcomb[video]"') from None
    number = 0
    try:
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(video=0), start=1):
                quarters = round(getattr(frame, "rotation", 0) / 90)  # counterclockwise, as players turn it
                image = np.rot90(frame.to_ndarray(format="rgb24"), quarters)
                yield f"{path.stem}_{number - 1:05d}", np.ascontiguousarray(image)
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a video: {error}") from error
    if not number:
        raise DataError(f"{path} cannot be read as a video: it holds no frame")
