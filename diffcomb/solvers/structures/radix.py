"""Sorting by counting digits: the order of floating-point numbers by size, in O(m) a digit."""

from __future__ import annotations

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned

BITS = 11


def order_by_size(values: Array) -> Array:
    """The order of values from the largest absolute value to the smallest; equal ones in the order given.

    The bits of a float that is not negative, read as an integer, grow with it.
    """
    kind = np.uint32 if values.dtype == np.float32 else np.uint64
    keys: Array = np.abs(values).view(kind)
    return _order(np.invert(keys))


@njit
def _order(keys: Array) -> Array:
    """The stable ascending order of unsigned keys, digit by digit; digits that all keys share are skipped."""
    m = len(keys)
    order = np.arange(m).astype(np.int32)
    other = np.empty(m, np.int32)
    count = np.empty(1 << BITS, np.int64)
    mask = (1 << BITS) - 1
    for shift in range(0, 8 * keys.itemsize, BITS):
        count[:] = 0
        for i in range(m):
            count[unsigned((keys[i] >> np.uint64(shift)) & np.uint64(mask))] += 1
        before = 0
        whole = False
        for digit in range(len(count)):
            here = count[digit]
            whole |= here == m
            count[digit] = before
            before += here
        if whole:
            continue
        for t in range(m):
            i = unsigned(order[t])
            digit = unsigned((keys[i] >> np.uint64(shift)) & np.uint64(mask))
            other[count[digit]] = i
            count[digit] += 1
        order, other = other, order
    return order
