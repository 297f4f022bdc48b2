"""The kernel of agglomeration: clusters join along the strongest interaction between two, however that is reckoned.

The interaction of two clusters is a function of the costs of all edges between them, the linkage. With constraints, a
negative interaction whose turn comes keeps its two clusters apart for good (GASP, Bailoni et al. 2022).
"""

from __future__ import annotations

import numpy as np

from ..._arrays import Array
from ..._numba import njit
from ..._union_find import find, numbers
from ..structures.edge_table import pair_find, pair_insert, pair_table
from ..structures.queue import queue_pop, queue_push
from .contracting import append, enter_all

LINKAGES = ("sum", "average", "maximum", "minimum")
SUM, AVERAGE, MAXIMUM, MINIMUM = range(4)


@njit
def agglomerated(num_nodes: int, edges: Array, costs: Array, sizes: Array, linkage: int, constrained: bool) -> Array:
    """Join clusters until no interaction between two that may join is positive; returns a root of every node.

    Parameters
    ----------
    num_nodes : int
    edges : int32 array, shape (m, 2)
        Without loops and parallel edges.
    costs, sizes : float64 arrays, shape (m,)
        Changed. Sizes are the weights of averages.
    linkage : int
        Index into LINKAGES.
    constrained : bool
    """
    m = len(edges)
    parent = numbers(num_nodes)
    ends = edges.copy()
    first, last, link = np.full(num_nodes, -1, np.int32), np.full(num_nodes, -1, np.int32), np.full(2 * m, -1, np.int32)
    degree = np.zeros(num_nodes, np.int32)
    apart = np.zeros(m, np.bool_)
    table = pair_table(m + 2)
    pairs = m
    room = 2 * m + 16
    keys, items = np.empty(room), np.empty(room, np.int32)
    entered = np.empty(m)
    for e in range(m):
        pair_insert(table[0], table[1], ends[e, 0], ends[e, 1], e)
        for side in range(2):
            append(first, last, link, ends[e, side], 2 * e + side)
            degree[ends[e, side]] += 1
        entered[e] = _key(costs[e], False, constrained)
    size = enter_all(ends, entered, keys, items)
    while size > 0:
        e = items[0]
        valid = ends[e, 0] >= 0 and keys[0] == entered[e]
        size = queue_pop(keys, items, size)
        if not valid:
            continue
        entered[e] = -np.inf
        if costs[e] <= 0:
            apart[e] = True
            continue
        i, j = ends[e, 0], ends[e, 1]
        if degree[i] < degree[j]:
            i, j = j, i
        ends[e, 0] = -1
        parent[j] = i
        degree[i] -= 1
        if 2 * (pairs + degree[j]) > len(table[0]):
            table = pair_table(2 * (m + degree[j]))
            pairs = _tabulate(ends, table)
        if size + degree[j] > room:
            size = enter_all(ends, entered, keys, items)
        half = first[j]
        while half >= 0:
            following = link[half]
            f = half >> 1
            if ends[f, 0] >= 0:
                other = ends[f, 1 - (half & 1)]
                parallel = pair_find(table[0], table[1], i, other)
                if parallel >= 0 and ends[parallel, 0] >= 0:
                    costs[parallel] = _joint(costs, sizes, parallel, f, linkage)
                    sizes[parallel] += sizes[f]
                    apart[parallel] |= apart[f]
                    ends[f, 0] = -1
                    degree[other] -= 1
                    key = _key(costs[parallel], apart[parallel], constrained)
                    if key != entered[parallel]:
                        entered[parallel] = key
                        if key >= 0:
                            size = queue_push(keys, items, size, key, parallel)
                else:
                    ends[f, half & 1] = i
                    pairs += pair_insert(table[0], table[1], i, other, f)
                    append(first, last, link, i, half)
                    degree[i] += 1
            half = following
    for i in range(num_nodes):
        parent[i] = find(parent, i)
    return parent


@njit
def _key(cost: float, apart: bool, constrained: bool) -> float:
    """The priority of an interaction; -inf if nothing is to be done about it."""
    if apart:
        return -np.inf
    if constrained:
        return abs(cost)
    return cost if cost > 0 else -np.inf


@njit
def _joint(costs: Array, sizes: Array, e: int, f: int, linkage: int) -> float:
    """The interaction of two clusters along both of two parallel edges."""
    a, b = costs[e], costs[f]
    if linkage == SUM:
        return float(a + b)
    if linkage == AVERAGE:
        return float((a * sizes[e] + b * sizes[f]) / (sizes[e] + sizes[f]))
    return float(max(a, b) if linkage == MAXIMUM else min(a, b))


@njit
def _tabulate(ends: Array, table: tuple[Array, Array]) -> int:
    """Enter all edges that are left into an empty table; returns how many there are."""
    count = 0
    for e in range(len(ends)):
        if ends[e, 0] >= 0:
            count += pair_insert(table[0], table[1], ends[e, 0], ends[e, 1], e)
    return count
