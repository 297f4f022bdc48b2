"""Label images that hold class and instance in one number: class · divisor + instance, as those of Cityscapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from .coco import DataError
from .data import VOID, Category, Segment


def read_labels(path: Path) -> NDArray[np.int64]:
    """Values of a label image of one channel with 8, 16 or 32 bits, or of a palette's indices.

    Raises
    ------
    DataError
        If the file is missing, truncated, no image, or has colours.
    """
    try:
        with Image.open(path) as file:
            if file.mode in ("L", "P", "1") or file.mode.startswith("I"):
                return np.asarray(file).astype(np.int64)
            mode = file.mode
    except FileNotFoundError:
        raise DataError(f"the label {path} is missing") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"the label {path} cannot be read as an image: {error}") from error
    raise DataError(f"the label {path} must have one channel of 8, 16 or 32 bits, got an image of mode {mode}")


def decode(
    values: NDArray[np.int64], divisor: int, classes: Mapping[int, int], categories: tuple[Category, ...]
) -> tuple[NDArray[np.int64], tuple[Segment, ...]]:
    """Segment ids 1..S of the pixels, 0 for void, and the segments.

    Parameters
    ----------
    values : array, shape (H, W)
        v < divisor is class v as a whole: one segment of stuff, or a crowd of things. v >= divisor is instance
        v % divisor of class v // divisor; instances of stuff are joined.
    classes : mapping
        From class ids to indices of `categories`; all other classes are void.
    """
    present, inverse = np.unique(values, return_inverse=True)
    segments: list[Segment] = []
    number: dict[tuple[int, int], int] = {}
    table = np.full(len(present), VOID, np.int64)
    for i, value in enumerate(present.tolist()):
        label, instance = (value, -1) if value < divisor else divmod(value, divisor)
        if label not in classes:
            continue
        category = classes[label]
        key = (category, instance if categories[category].isthing else 0)
        if key not in number:
            number[key] = len(segments) + 1
            crowd = categories[category].isthing and instance < 0
            segments.append(Segment(number[key], category, crowd))
        table[i] = number[key]
    return table[inverse.reshape(values.shape)], tuple(segments)
