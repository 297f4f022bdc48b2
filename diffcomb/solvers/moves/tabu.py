"""Tabu search for multicuts of dense graphs: always the best move of a node, be it a loss, and no way back for a while.

A matrix holds the sum of the costs from every node into every cluster (a *gain matrix*), so that a move changes two of
its rows and the best move is a maximum over all. Costs are integers of 32 bits, scaled so that no sum overflows:
processors take eight or sixteen of them at once, sums do not drift, and ties are ties.

References: Brusco and Köhn 2009 for the clique partitioning problem; the crossing is that of Galinier and Hao 1999 for
graph colouring.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays import Array
from ..._numba import njit
from ..limits import KERNELS

_MEMBER = 2**30  # taken off the sum of a node's own cluster, which is no place to move to


def integer_scale(costs: Array, largest: float) -> float:
    """What costs are multiplied by so that sums of up to `largest` take 29 bits; integers stay integers."""
    scale = 2.0**29 / max(largest, 2.0**-990) if largest > 0 else 1.0  # of less, no float holds it
    return float(np.floor(scale)) if scale >= 1 and np.array_equal(costs, np.rint(costs)) else scale


@njit
def tabu(costs: Array, start: Array, patience: int, seed: int) -> tuple[Array, int]:
    """Search from a labelling until nothing better is found for a number of moves.

    Parameters
    ----------
    costs : int32 array, shape (n, n)
        Symmetric, 0 on the diagonal; the absolute values of a row add up to less than 2^29.
    start : int32 array, shape (n,)
        Clusters 0..C-1, none of them empty.
    patience : int
        Moves without a new best.
    seed : int

    Returns
    -------
    z : int32 array, shape (n,)
        The best labelling met.
    gain : int
        What it is better by. A move takes O(n C), on n of them at once.
    """
    n = len(start)
    z, best_z = start.copy(), start.copy()
    sums, size, used = _sums_into_clusters(costs, z)
    free_again = np.zeros(n, np.int32)  # the number of the move from which on a node may move
    score, gains, own = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)
    for j in range(n):
        own[j] = sums[z[j], j] + _MEMBER
    gain, best = 0, 0
    state = seed % 2147483646 + 1
    last = 0
    number = 0
    while number - last < patience:
        number += 1
        score[:] = sums[used - 1]
        for c in range(0, used - 1, 3):
            _take_largest(score, sums[c], sums[min(c + 1, used - 1)], sums[min(c + 2, used - 1)])
        needed = np.int32(min(best - gain, _MEMBER))
        most = _gains_of(gains, score, own, free_again, np.int32(number), needed)
        if most <= -_MEMBER:
            continue
        state = state * 48271 % 2147483647
        i = _find(gains, np.int32(most), state % n)
        state = state * 48271 % 2147483647
        free_again[i] = number + KERNELS.min_tenure + state % max(n // KERNELS.nodes_a_tenure, 1)
        a = z[i]
        b = 0
        while sums[b, i] != score[i]:
            b += 1
        if size[a] == 1 and size[b] == 0:
            continue
        gain += most
        used = _move(costs, sums, own, z, size, used, i, b)
        if gain > best:
            best = gain
            best_z[:] = z
            last = number
    return best_z, best


@njit
def _sums_into_clusters(costs: Array, z: Array) -> tuple[Array, Array, int]:
    """The gain matrix, the sizes of clusters, and how many there are: the last one is empty, for a node on its own."""
    n = len(z)
    sums = np.zeros((n + 2, n), np.int32)
    size = np.zeros(n + 2, np.int32)
    used = 1
    for i in range(n):
        _add(sums[z[i]], costs[i])
        sums[z[i], i] -= _MEMBER
        size[z[i]] += 1
        used = max(used, z[i] + 2)
    return sums, size, used


@njit
def _move(costs: Array, sums: Array, own: Array, z: Array, size: Array, used: int, i: int, b: int) -> int:
    """Move node i to cluster b; returns the number of clusters then."""
    a = z[i]
    sums[a, i] += _MEMBER
    own[i] = sums[b, i]
    sums[b, i] -= _MEMBER
    z[i] = b
    size[a] -= 1
    size[b] += 1
    row = costs[i]
    _subtract(sums[a], row)
    _add(sums[b], row)
    _shift_own(own, row, z, np.int32(a), np.int32(b))
    if b == used - 1:
        sums[used] = 0
        used += 1
    if size[a] == 0:  # the last cluster but the empty one takes its place
        moved = used - 2
        if moved != a:
            sums[a] = sums[moved]
            size[a] = size[moved]
            for j in range(len(z)):
                z[j] = a if z[j] == moved else z[j]
        size[moved] = 0
        sums[moved] = 0
        used -= 1
    return used


@njit
def _add(to: Array, row: Array) -> None:
    for j in range(len(to)):
        to[j] += row[j]


@njit
def _subtract(to: Array, row: Array) -> None:
    for j in range(len(to)):
        to[j] -= row[j]


@njit
def _take_largest(to: Array, one: Array, two: Array, three: Array) -> None:
    """Three rows at once, since to read and write memory takes the time."""
    for j in range(len(to)):
        to[j] = max(max(to[j], one[j]), max(two[j], three[j]))


@njit
def _shift_own(own: Array, row: Array, z: Array, a: Any, b: Any) -> None:
    for j in range(len(own)):
        own[j] += (row[j] if z[j] == b else 0) - (row[j] if z[j] == a else 0)


@njit
def _gains_of(gains: Array, score: Array, own: Array, free_again: Array, number: Any, needed: Any) -> Any:
    """The gain of every node that may move, or whose move makes a new best; returns the largest."""
    most = np.int32(-_MEMBER)
    for j in range(len(gains)):
        gain = np.int32(score[j] - own[j])
        gain = gain if free_again[j] <= number or gain > needed else np.int32(-_MEMBER)
        gains[j] = gain
        most = max(most, gain)
    return most


@njit
def _find(gains: Array, value: Any, begin: int) -> int:
    """A node with that gain: the first in the first block from the one of `begin` on, around, that has any."""
    n = len(gains)
    blocks = (n + KERNELS.nodes_a_block - 1) // KERNELS.nodes_a_block
    for t in range(blocks):
        low = (begin // KERNELS.nodes_a_block + t) % blocks * KERNELS.nodes_a_block
        high = min(low + KERNELS.nodes_a_block, n)
        if _has(gains[low:high], value):
            for j in range(low, high):
                if gains[j] == value:
                    return j
    return -1


@njit
def _has(gains: Array, value: Any) -> bool:
    count = 0
    for j in range(len(gains)):
        count += gains[j] == value
    return count > 0


@njit
def cross(first: Array, second: Array, seed: int) -> Array:
    """A labelling of clusters of two others: of either in turn the largest that is left; the rest goes anywhere."""
    n = len(first)
    parents = (first.copy(), second.copy())
    count = max((first.max() + second.max() + 3) // 2, 1)
    z = np.full(n, -1, np.int32)
    size = np.zeros(n + 1, np.int32)
    for c in range(count):
        parent = parents[c % 2]
        size[:] = 0
        for i in range(n):
            if z[i] < 0:
                size[parent[i]] += 1
        largest = np.argmax(size)
        for i in range(n):
            if z[i] < 0 and parent[i] == largest:
                z[i] = c
    state = seed % 2147483646 + 1
    for i in range(n):
        if z[i] < 0:
            state = state * 48271 % 2147483647
            z[i] = state % count
    return z
