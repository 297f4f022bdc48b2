"""Which regions touch: one pass over all pairs of neighbouring voxels, threads side by side."""

from __future__ import annotations

import numpy as np

from .._arrays import Array
from .._numba import njit
from .._threads import thread_ranges
from ..solvers.structures.edge_table import pair_insert, pair_table
from .numbering import VOXELS_A_THREAD

_FIRST_ROOM = 2**12  # pairs that a table has room for before it grows


def neighbouring_regions(numbers: Array) -> Array:
    """All pairs of regions with voxels that share a face.

    Parameters
    ----------
    numbers : int32 array, any shape
        Regions 0..R-1; negative ones are none.

    Returns
    -------
    int32 array, shape (E, 2)
        The smaller number first, in lexicographic order.
    """
    if numbers.size == 0:
        return np.empty((0, 2), np.int32)
    shape = np.array(numbers.shape or (1,), np.int64)
    rows = numbers.size // int(shape[-1])
    flat = numbers.reshape(-1)
    found: list[Array] = []
    least = -(-VOXELS_A_THREAD // int(shape[-1]))
    thread_ranges(lambda first, last: found.append(_pairs_of_rows(flat, shape, first, last)), rows, least)
    keys = np.unique(np.concatenate(found))
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1).astype(np.int32)


@njit
def _pairs_of_rows(flat: Array, shape: Array, first: int, last: int) -> Array:
    """Keys of the pairs between the rows first..last-1 (along the last axis), and from them to those that follow."""
    axes, width = len(shape), shape[-1]
    keys, values = pair_table(_FIRST_ROOM)
    count = 0
    for row in range(first, last):
        begin = row * width
        keys, values, count = _pairs_along(flat, begin, width - 1, 1, keys, values, count)
        left, stride = row, width
        for axis in range(axes - 2, -1, -1):
            if left % shape[axis] + 1 < shape[axis]:
                keys, values, count = _pairs_along(flat, begin, width, stride, keys, values, count)
            left //= shape[axis]
            stride *= shape[axis]
    return keys[keys >= 0]


@njit
def _pairs_along(
    flat: Array, begin: int, length: int, stride: int, keys: Array, values: Array, count: int
) -> tuple[Array, Array, int]:
    """Enter the pairs of the voxels begin..begin+length-1 with those `stride` behind; the table may be a larger one."""
    before_u, before_v = np.int32(-1), np.int32(-1)
    for p in range(begin, begin + length):
        u, v = flat[np.uint64(p)], flat[np.uint64(p + stride)]
        if u == v or u < 0 or v < 0 or (u == before_u and v == before_v):
            continue
        before_u, before_v = u, v
        if pair_insert(keys, values, u, v, 0):
            count += 1
            if 4 * count > len(keys):
                keys, values = _grown(keys)
    return keys, values, count


@njit
def _grown(keys: Array) -> tuple[Array, Array]:
    larger, values = pair_table(len(keys))
    for key in keys:
        if key >= 0:
            pair_insert(larger, values, key >> 32, key & 0xFFFFFFFF, 0)
    return larger, values
