"""Files of results, written whole or not at all; PNGs say that they are ours, and what the ids in them mean."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from .checkpoints import replacing

SOFTWARE = "diffcomb panoptic_cops"
RECORD = "panoptic"  # the text chunk of an id PNG: JSON with the keys below
KEYS = {"image", "segments", "categories"}


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
    """A picture as PNG that says that it is ours."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", SOFTWARE)
    if record is not None:
        info.add_text(RECORD, json.dumps(record))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def id_png(ids: NDArray[np.int64], image: dict[str, Any], segments: Sequence[Any], categories: Sequence[Any]) -> bytes:
    """Ids as R + 256 G + 256² B, with a text chunk that says what they mean."""
    height, width = ids.shape
    rgb = np.ascontiguousarray(ids.astype("<u4").view(np.uint8).reshape(height, width, 4)[..., :3])
    return png(Image.fromarray(rgb), {"image": image, "segments": segments, "categories": categories})


def is_foreign(path: Path) -> bool:
    """Whether there is a file of that name that this program has not written."""
    return path.exists() and _chunk(path, "Software") != SOFTWARE


def remove(path: Path) -> None:
    """Remove a PNG if it is ours."""
    if path.exists() and not is_foreign(path):
        with contextlib.suppress(OSError):
            path.unlink()


def record_of(path: Path) -> dict[str, Any] | None:
    """What an id PNG says of itself; None if there is none, or it is not ours."""
    try:
        record = json.loads(_chunk(path, RECORD) or "null")
    except ValueError:
        return None
    return record if isinstance(record, dict) and set(record) >= KEYS else None


def ids_of(path: Path) -> NDArray[np.int64]:
    """The ids of an id PNG of ours."""
    with Image.open(path) as file:
        rgb = np.asarray(file).astype(np.int64)
    return rgb[..., 0] + 256 * rgb[..., 1] + 256**2 * rgb[..., 2]


def _chunk(path: Path, name: str) -> str | None:
    try:
        with Image.open(path) as file:
            return file.info.get(name)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None
