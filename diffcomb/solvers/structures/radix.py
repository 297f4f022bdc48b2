"""Sorting by counting digits: the order of floating-point numbers by size, in O(m) a digit."""

from __future__ import annotations

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned

BITS = 11  # of a digit; three make 32 bits


def order_by_size(values: Array) -> Array:
    """The order of values from the largest absolute value to the smallest; equal ones in the order given.

    The bits of a float that is not negative, read as an integer, grow with it.
    """
    order = np.arange(len(values), dtype=np.int32)
    if values.dtype == np.float32:
        return sorted_by(np.invert(np.abs(values).view(np.uint32)), order)
    keys = np.invert(np.abs(values).view(np.uint64))
    order = sorted_by(keys.astype(np.uint32), order)
    return sorted_by((keys >> np.uint64(32)).astype(np.uint32), order)


@njit
def sorted_by(keys: Array, order: Array) -> Array:
    """An order, sorted by keys of 32 bits and else left as it is; digits that all keys share are skipped.

    Keys move with the numbers that they belong to: what is read lies in a row, and only writing jumps.
    """
    m = len(keys)
    low, whole_index = np.uint64((1 << BITS) - 1), np.uint64(0xFFFFFFFF)
    pairs, other = np.empty(m, np.uint64), np.empty(m, np.uint64)
    count = np.zeros((3, 1 << BITS), np.int64)
    for t in range(m):
        key = np.uint64(keys[unsigned(order[t])])
        pairs[t] = (key << np.uint64(32)) | np.uint64(order[t])
        for digit in range(3):
            count[digit, unsigned((key >> np.uint64(BITS * digit)) & low)] += 1
    for digit in range(3):
        begins = count[digit]
        before = 0
        shared = False
        for value in range(len(begins)):
            here = begins[value]
            shared |= here == m
            begins[value] = before
            before += here
        if shared:
            continue
        shift = np.uint64(32 + BITS * digit)
        for t in range(m):
            value = unsigned((pairs[t] >> shift) & low)
            other[begins[value]] = pairs[t]
            begins[value] += 1
        pairs, other = other, pairs
    out = np.empty(m, np.int32)
    for t in range(m):
        out[t] = pairs[t] & whole_index
    return out
