"""Union-find forests in arrays: every node points towards the root of its tree."""

from __future__ import annotations

import numpy as np

from ._arrays import Array
from ._numba import njit, unsigned


@njit
def numbers(n: int) -> Array:
    """0..n-1 as int32, every node its own root; a loop, because `arange` and a conversion take longer to compile."""
    out = np.empty(n, np.int32)
    for i in range(n):
        out[i] = i
    return out


@njit
def find(parent: Array, i: int) -> int:
    """The root of node i; the path to it is halved."""
    while parent[unsigned(i)] != i:
        parent[unsigned(i)] = parent[unsigned(parent[unsigned(i)])]
        i = parent[unsigned(i)]
    return i


@njit
def unite(parent: Array, a: int, b: int) -> None:
    """Join two trees under the smaller root."""
    a, b = find(parent, a), find(parent, b)
    parent[max(a, b)] = min(a, b)


@njit
def flatten(parent: Array) -> None:
    """Let every node point at its root; roots have the smallest index, so parents are final before children."""
    for i in range(len(parent)):
        parent[i] = parent[unsigned(parent[i])]
