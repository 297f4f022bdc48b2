"""What predict.py reads: image files, folders of them, and the frames of animations and videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError

from .coco import DataError, read_image

VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"}
ANIMATIONS = {".apng", ".gif", ".tif", ".tiff", ".webp"}


def files_of(given: Sequence[Path]) -> list[Path]:
    """The files named, and all images and videos in the folders named."""
    return [p for path in given for p in (sorted(_readable(path)) if path.is_dir() else [path])]


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


def _readable(folder: Path) -> list[Path]:
    known = set(Image.registered_extensions()) | VIDEOS
    return [p for p in folder.iterdir() if p.suffix.lower() in known]


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
