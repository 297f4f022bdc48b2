"""A hash table from pairs of nodes to edges: linear probing, well-mixed keys, deletion without tombstones.

The mixing matters: with the pair itself as hash, the pairs of a dense graph form runs and probing becomes
linear in the number of edges.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays import Array
from ..._numba import njit

_EMPTY = np.int64(-1)


@njit
def pair_table(num_edges: int) -> tuple[Array, Array]:
    """An empty table for up to `num_edges` pairs at once, at most half full."""
    capacity = 4
    while capacity < 2 * num_edges:
        capacity *= 2
    return np.full(capacity, _EMPTY), np.empty(capacity, np.int64)


@njit
def _key(i: int, j: int) -> np.int64:
    low, high = (i, j) if i < j else (j, i)
    return (np.int64(low) << np.int64(32)) | np.int64(high)


@njit
def _slot(key: np.int64, mask: int) -> Any:
    # Multiply and shift on the halves, 31 bits each, so that no product overflows int64 (nor an int of numpy).
    low = np.int64(0x7FFFFFFF)
    h = (key ^ (key >> np.int64(29))) & np.int64(0x7FFFFFFFFFFFFFFF)
    a = ((h & low) * np.int64(0x45D9F3B)) & low
    b = (((h >> np.int64(31)) & low) * np.int64(0x119DE1F3)) & low
    h = a ^ (a >> np.int64(16)) ^ b ^ (b >> np.int64(15))
    h = ((h & low) * np.int64(0x45D9F3B)) & low
    return (h ^ (h >> np.int64(16))) & mask


@njit
def _position(table_keys: Array, key: np.int64) -> Any:
    mask = len(table_keys) - 1
    at = _slot(key, mask)
    while table_keys[at] != _EMPTY and table_keys[at] != key:
        at = (at + 1) & mask
    return at


@njit
def pair_find(table_keys: Array, table_values: Array, i: int, j: int) -> Any:
    """The edge between i and j, or -1."""
    at = _position(table_keys, _key(i, j))
    return table_values[at] if table_keys[at] != _EMPTY else -1


@njit
def pair_insert(table_keys: Array, table_values: Array, i: int, j: int, edge: int) -> None:
    """Enter an edge between i and j."""
    key = _key(i, j)
    at = _position(table_keys, key)
    table_keys[at] = key
    table_values[at] = edge


@njit
def pair_delete(table_keys: Array, table_values: Array, i: int, j: int) -> None:
    """Remove the edge between i and j, shifting back what probed past it."""
    mask = len(table_keys) - 1
    hole = _position(table_keys, _key(i, j))
    if table_keys[hole] == _EMPTY:
        return
    at = hole
    while True:
        at = (at + 1) & mask
        if table_keys[at] == _EMPTY:
            break
        home = _slot(table_keys[at], mask)
        # Move back only what may live at the hole: its home does not lie cyclically in (hole, at].
        if ((at - home) & mask) >= ((at - hole) & mask):
            table_keys[hole] = table_keys[at]
            table_values[hole] = table_values[at]
            hole = at
    table_keys[hole] = _EMPTY
