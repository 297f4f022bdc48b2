"""Label images that hold class and instance in one number: class · divisor + instance, as those of Cityscapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .coco import check_exact
from .data import VOID, Category, DataError, Segment
from .images import check_one_page, opened, upright, values_of


def read_labels(path: Path, bits: int = 8) -> NDArray[np.int64]:
    """Values of a label image of one channel with 8, 16 or 32 bits, or of a palette's indices.

    Parameters
    ----------
    path : path
    bits : int
        How many bits the values need at least.

    Raises
    ------
    DataError
        If the file is missing, damaged, no image, holds several pages, has colours, or too few bits.
    """
    with opened(path, kind="label") as file:
        check_one_page(file, path)
        check_exact(file, path)
        if file.mode not in ("L", "P", "1") and not file.mode.startswith("I"):
            raise DataError(
                f"the label {path} must have one channel of 8, 16 or 32 bits, got an image of mode {file.mode}"
            )
        if bits > 8 and not file.mode.startswith("I"):
            raise DataError(
                f"the label {path} has 8 bits (mode {file.mode}), which cannot hold its values: save it with {bits}"
            )
        return values_of(upright(file)).astype(np.int64)


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
