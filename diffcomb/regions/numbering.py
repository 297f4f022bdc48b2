"""Numbering: regions of any integer ids become 0..R-1, in the order of their ids."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import Array
from .._numba import njit, unsigned
from .._threads import thread_ranges

NOTHING = -1  # the number of voxels that belong to no region
_DENSE = 4  # ids are looked up in a table if their range is at most this many times the number of voxels
_SMALL_TABLE = 2**16  # entries that are always worth it
VOXELS_A_THREAD = 2**18


def numbered(labels: Array, background: int | None) -> tuple[Array, Array, Array]:
    """Number the regions of a label image.

    Parameters
    ----------
    labels : integer array, any shape
    background : int, optional
        An id that is no region.

    Returns
    -------
    ids : array of the labels' dtype, shape (R,)
        Ascending.
    numbers : int32 array, shape of `labels`
        The place of every voxel's id in `ids`, or `NOTHING`.
    sizes : int64 array, shape (R,)
        Voxels of every region.
    """
    flat = np.ascontiguousarray(labels).reshape(-1)
    numbers = np.empty(len(flat), np.int32)
    if len(flat) == 0:
        return flat[:0], numbers.reshape(labels.shape), np.empty(0, np.int64)
    low, high = int(flat.min()), int(flat.max())
    if high - low < max(_DENSE * len(flat), _SMALL_TABLE):
        ids = _number_by_table(flat, low, high, background, numbers)
    else:
        ids = _number_by_search(flat, background, numbers)
    return ids, numbers.reshape(labels.shape), _sizes(numbers, len(ids))


def _number_by_table(flat: Array, low: int, high: int, background: int | None, numbers: Array) -> Array:
    seen = np.zeros(high - low + 1, np.bool_)
    thread_ranges(lambda first, last: _see(flat[first:last], flat.dtype.type(low), seen), len(flat), VOXELS_A_THREAD)
    if background is not None and low <= background <= high:
        seen[background - low] = False
    places = np.flatnonzero(seen)
    table = np.full(len(seen), NOTHING, np.int32)
    table[places] = np.arange(len(places), dtype=np.int32)

    def look(first: int, last: int) -> None:
        _look_up(flat[first:last], flat.dtype.type(low), table, numbers[first:last])

    thread_ranges(look, len(flat), VOXELS_A_THREAD)
    ids: Array = places.astype(flat.dtype) + flat.dtype.type(low)
    return ids


def _number_by_search(flat: Array, background: int | None, numbers: Array) -> Array:
    """Ids are sparse: those where they change along the last axis are sorted, and looked for where they change."""
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    ids = np.unique(np.append(flat[changes], flat[-1]))
    if background is not None:
        ids = ids[ids != background]
    thread_ranges(lambda first, last: _search(flat[first:last], ids, numbers[first:last]), len(flat), VOXELS_A_THREAD)
    return ids


@njit
def _sizes(numbers: Array, count: int) -> Array:
    sizes = np.zeros(count, np.int64)
    for number in numbers:
        if number >= 0:
            sizes[unsigned(number)] += 1
    return sizes


@njit
def _see(flat: Array, low: Any, seen: Array) -> None:
    for i in range(len(flat)):
        seen[np.int64(flat[i] - low)] = True


@njit
def _look_up(flat: Array, low: Any, table: Array, numbers: Array) -> None:
    for i in range(len(flat)):
        numbers[i] = table[np.int64(flat[i] - low)]


@njit
def _search(flat: Array, ids: Array, numbers: Array) -> None:
    number = np.int32(NOTHING)
    for i in range(len(flat)):
        if i == 0 or flat[i] != flat[i - 1]:
            at = np.searchsorted(ids, flat[i])
            number = np.int32(at) if at < len(ids) and ids[unsigned(at)] == flat[i] else np.int32(NOTHING)
        numbers[i] = number
