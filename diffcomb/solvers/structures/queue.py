"""A max-heap of (key, item) pairs in two arrays, with four children a node: an item may be in it more than once.

Nothing is removed but the top. Whoever uses it knows which of an item's entries counts, and drops the others when they
come up; that costs less than to keep track of where every item is.
"""

from __future__ import annotations

from ..._arrays import Array
from ..._numba import njit, unsigned


@njit
def queue_push(keys: Array, items: Array, size: int, key: float, item: int) -> int:
    """Enter an item; returns the new size. There must be room."""
    at = size
    while at > 0:
        up = (at - 1) >> 2
        if keys[unsigned(up)] >= key:
            break
        keys[unsigned(at)] = keys[unsigned(up)]
        items[unsigned(at)] = items[unsigned(up)]
        at = up
    keys[unsigned(at)] = key
    items[unsigned(at)] = item
    return size + 1


@njit
def queue_replace(keys: Array, items: Array, size: int, at: int, key: float, item: int) -> None:
    """Put an entry whose key is at most the one of the entry above it in the place `at`."""
    while 4 * at + 1 < size:
        child = 4 * at + 1
        largest = keys[unsigned(child)]
        for other in range(child + 1, min(child + 4, size)):
            if keys[unsigned(other)] > largest:
                child, largest = other, keys[unsigned(other)]
        if largest <= key:
            break
        keys[unsigned(at)] = largest
        items[unsigned(at)] = items[unsigned(child)]
        at = child
    keys[unsigned(at)] = key
    items[unsigned(at)] = item


@njit
def queue_lower(keys: Array, items: Array, size: int, key: float) -> int:
    """Enter the top again with a lower key, or drop it if that is negative; returns the new size."""
    if key < 0:
        return queue_pop(keys, items, size)
    queue_replace(keys, items, size, 0, key, items[0])
    return size


@njit
def queue_pop(keys: Array, items: Array, size: int) -> int:
    """Drop the top; returns the new size."""
    size -= 1
    if size > 0:
        queue_replace(keys, items, size, 0, keys[size], items[size])
    return size


@njit
def queue_order(keys: Array, items: Array, size: int) -> None:
    """Make a heap of entries in any order, in O(size)."""
    for at in range((size - 2) >> 2, -1, -1):
        queue_replace(keys, items, size, at, keys[at], items[at])
