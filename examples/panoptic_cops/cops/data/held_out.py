"""Which images are held out: some at random, or the last ones with a gap, where neighbours in a stack look alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from .samples import ImageKey

RANDOM = "random"


def hold_out(images: Sequence[ImageKey], count: int, how: str = RANDOM, gap: int = 0) -> tuple[list[int], list[int]]:
    """Indices of the images that stay, and of those that are held out.

    Parameters
    ----------
    images : sequence of ImageKey
    count : int
        How many to hold out.
    how : {"random", "last"}
        Drawn from all, the same for every seed of a run; or the last ones in the order of their file names.
    gap : int
        With "last": so many images before them are in neither part.
    """
    if how == RANDOM:
        order = np.random.default_rng(0).permutation(len(images)).tolist()
        return order[count:], order[:count]
    order = in_order_of_names(images)
    first = len(order) - count
    return order[: max(0, first - gap)], order[first:]


def in_order_of_names(images: Sequence[ImageKey]) -> list[int]:
    """Indices in the order of the file names, in which numbers count as numbers: slice_9 stands before slice_10."""
    return sorted(range(len(images)), key=lambda i: _parts(images[i].file_name))


def _parts(name: str) -> list[str | int]:
    """Text and numbers of a name, by turns."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", name))]
