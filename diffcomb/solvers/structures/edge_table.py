"""A hash table from pairs of nodes to edges: linear probing, well-mixed keys, no deletion.

The mixing matters: with the pair itself as hash, the pairs of a dense graph form runs and probing becomes
linear in the number of edges. What is out of date stays in the table until it is made anew: whoever uses it never asks
for the pairs of a node that is gone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays import Array
from ..._numba import njit

_EMPTY = np.int64(-1)


@njit
def pair_table(num_pairs: int) -> tuple[Array, Array]:
    """An empty table for up to `num_pairs` pairs, then half full."""
    keys = pair_set(num_pairs)
    return keys, np.empty(len(keys), np.int64)


@njit
def _key(i: int, j: int) -> np.int64:
    low, high = (i, j) if i < j else (j, i)
    return (np.int64(low) << np.int64(32)) | np.int64(high)


@njit
def _position(table_keys: Array, key: np.int64) -> Any:
    """Where the key is, or the empty place where it belongs."""
    # Multiply and shift on the halves, 31 bits each, so that no product overflows int64 (nor an int of numpy).
    mask = len(table_keys) - 1
    low = np.int64(0x7FFFFFFF)
    h = (key ^ (key >> np.int64(29))) & np.int64(0x7FFFFFFFFFFFFFFF)
    a = ((h & low) * np.int64(0x45D9F3B)) & low
    b = (((h >> np.int64(31)) & low) * np.int64(0x119DE1F3)) & low
    h = a ^ (a >> np.int64(16)) ^ b ^ (b >> np.int64(15))
    h = ((h & low) * np.int64(0x45D9F3B)) & low
    at = (h ^ (h >> np.int64(16))) & mask
    while table_keys[at] != _EMPTY and table_keys[at] != key:
        at = (at + 1) & mask
    return at


@njit
def pair_find(table_keys: Array, table_values: Array, i: int, j: int) -> Any:
    """The edge between i and j, or -1."""
    at = _position(table_keys, _key(i, j))
    return table_values[at] if table_keys[at] != _EMPTY else -1


@njit
def pair_insert(table_keys: Array, table_values: Array, i: int, j: int, edge: int) -> bool:
    """Enter an edge between i and j; returns whether the pair is new."""
    key = _key(i, j)
    at = _position(table_keys, key)
    new = table_keys[at] == _EMPTY
    table_keys[at] = key
    table_values[at] = edge
    return bool(new)


# The same keys alone are a set of pairs


@njit
def pair_set(num_pairs: int) -> Array:
    """An empty set for up to `num_pairs` pairs, then half full."""
    capacity = 4
    while capacity < 2 * num_pairs:
        capacity *= 2
    return np.full(capacity, _EMPTY)


@njit
def pair_is_in(keys: Array, i: int, j: int) -> bool:
    """Whether a set has the pair."""
    return bool(keys[_position(keys, _key(i, j))] != _EMPTY)


@njit
def pair_add(keys: Array, i: int, j: int) -> bool:
    """Add a pair to a set; returns whether it is new. There must be room."""
    key = _key(i, j)
    at = _position(keys, key)
    new = keys[at] == _EMPTY
    keys[at] = key
    return bool(new)


@njit
def pairs_in_twice_the_room(keys: Array) -> Array:
    """The same set with room for as many again."""
    larger = np.full(2 * len(keys), _EMPTY)
    for at in range(len(keys)):
        if keys[at] != _EMPTY:
            larger[_position(larger, keys[at])] = keys[at]
    return larger
