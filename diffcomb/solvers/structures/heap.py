"""An indexed binary max-heap: every item is in it at most once, and its key can change in place."""

from __future__ import annotations

from ..._arrays import Array
from ..._numba import njit


@njit
def _sift_up(heap: Array, place: Array, keys: Array, at: int) -> int:
    item = heap[at]
    while at > 0:
        up = (at - 1) >> 1
        if keys[heap[up]] >= keys[item]:
            break
        heap[at] = heap[up]
        place[heap[at]] = at
        at = up
    heap[at] = item
    place[item] = at
    return at


@njit
def _sift_down(heap: Array, place: Array, keys: Array, size: int, at: int) -> None:
    item = heap[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and keys[heap[child + 1]] > keys[heap[child]]:
            child += 1
        if keys[item] >= keys[heap[child]]:
            break
        heap[at] = heap[child]
        place[heap[at]] = at
        at = child
    heap[at] = item
    place[item] = at


@njit
def heap_update(heap: Array, place: Array, keys: Array, size: int, item: int) -> None:
    """Restore the order after the key of an item in the heap changed."""
    _sift_down(heap, place, keys, size, _sift_up(heap, place, keys, place[item]))


@njit
def heap_remove(heap: Array, place: Array, keys: Array, size: int, item: int) -> int:
    """Remove an item; returns the new size."""
    at = place[item]
    place[item] = -1
    size -= 1
    if at < size:
        moved = heap[size]
        heap[at] = moved
        place[moved] = at
        heap_update(heap, place, keys, size, moved)
    return size


@njit
def heap_insert(heap: Array, place: Array, keys: Array, size: int, item: int) -> int:
    """Insert an item that is not in the heap; returns the new size."""
    heap[size] = item
    _sift_up(heap, place, keys, size)
    return size + 1
