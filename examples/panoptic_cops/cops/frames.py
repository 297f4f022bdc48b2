"""What predict.py reads: image files, folders of them, and the frames of animations and videos."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError

from .coco import DataError, read_image

VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"}
ANIMATIONS = {".apng", ".gif", ".tif", ".tiff", ".webp"}


class Found(NamedTuple):
    """Files to read, and files that look like images or videos but cannot be read, each with the reason."""

    files: list[Path]
    left_out: list[tuple[Path, str]]


def files_of(given: Sequence[Path], outside: Path | None = None) -> Found:
    """The files named, and all images and videos in the folders named, but for those in `outside`."""
    found = Found([], [])
    for path in given:
        for p in sorted(path.rglob("*")) if path.is_dir() else [path]:
            hidden = any(part.startswith(".") for part in p.relative_to(path).parts)
            if p != path and (hidden or p.is_dir() or (outside and outside.resolve() in p.resolve().parents)):
                continue
            if p == path or p.suffix.lower() in set(Image.registered_extensions()) | VIDEOS:
                found.files.append(p)
            elif (mimetypes.guess_type(p.name)[0] or "").startswith(("image/", "video/")):
                found.left_out.append((p, "of a kind that is not read here: convert it to PNG or MP4"))
    return found


def frames_of(path: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Names and images (H, W, 3) of a file: one for a picture, one for each frame of an animation or a video.

    Raises
    ------
    DataError
        If the file is missing or cannot be read, or a video needs a package that is not installed.
    """
    suffix = path.suffix.lower()
    if suffix in VIDEOS:
        yield from _video(path)
    elif suffix in ANIMATIONS and path.exists() and _count(path) > 1:
        with Image.open(path) as file:
            for number, frame in enumerate(ImageSequence.Iterator(file)):
                yield f"{path.stem}_{number:05d}", np.array(frame.convert("RGB"))
    else:
        yield path.stem, read_image(path)


def _count(path: Path) -> int:
    try:
        with Image.open(path) as file:
            return getattr(file, "n_frames", 1)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error


def _video(path: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    if not path.exists():
        raise DataError(f"the file {path} is missing")
    try:
        import av
    except ImportError:
        raise DataError(f'{path} is a video, which needs a further package: pip install "diffcomb[video]"') from None
    try:
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                yield f"{path.stem}_{number:05d}", frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, IndexError) as error:
        raise DataError(f"{path} cannot be read as a video: {error}") from error
