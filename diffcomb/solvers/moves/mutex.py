"""The kernel of the mutex watershed: edges, from the strongest on, join clusters or keep them apart for good.

Which clusters are kept apart is a table of pairs; each cluster lists its own, so that of two clusters that join, that
with the shorter list enters it again under the name of the other. What is used together lies side by side in memory.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import njit
from ..._union_find import find, numbers
from ..structures.edge_table import pair_add, pair_is_in, pair_set, pairs_in_twice_the_room

NO_CLASS = -1


class _Apart(NamedTuple):
    """Lists of the clusters that every cluster is kept apart from; names of clusters that joined others stay in them.

    Attributes
    ----------
    heads : int32 array, shape (n, 2)
        How many entries a cluster has, and the newest.
    entries : int32 array, shape (e, 2)
        The other cluster, and the entry before; -1 for none.
    """

    heads: Array
    entries: Array


@njit
def watershed(edges: Array, costs: Array, best: Array, strength: Array, node_order: Array) -> tuple[Array, Array]:
    """Join and separate in the order of strength; returns a root and the class of every node.

    Parameters
    ----------
    edges, costs : arrays, shapes (m, 2) and (m,)
        From the largest absolute cost to the smallest. A positive cost joins its ends, unless they are kept apart or
        have different classes; a negative one keeps them apart, unless they are joined.
    best, strength, node_order : arrays, shape (n,)
        The strongest class of every node, how strong it is, and their order. A cluster takes the first class that one
        of its nodes brings. An empty order leaves all without a class.
    """
    n = len(best)
    parent = numbers(n)
    size = np.ones(n, np.int32)
    classes = np.full(n, NO_CLASS, np.int32)
    repulsive = 0
    for e in range(len(costs)):
        repulsive += costs[e] < 0
    lists = _Apart(np.full((n, 2), -1, np.int32), np.empty((2 * repulsive, 2), np.int32))
    heads = lists.heads
    heads[:, 0] = 0
    entries = 0
    apart = pair_set(repulsive)  # to make room later takes a quarter longer
    pairs = 0
    b = 0
    for e in range(len(costs)):
        while b < len(node_order) and strength[node_order[b]] >= abs(costs[e]):
            _take_class(parent, classes, node_order[b], best)
            b += 1
        u, v = find(parent, edges[e, 0]), find(parent, edges[e, 1])
        if u == v or costs[e] == 0:
            continue
        if costs[e] < 0:
            if 2 * (pairs + 1) > len(apart):
                apart = pairs_in_twice_the_room(apart)
            if pair_add(apart, u, v):
                pairs += 1
                _list(lists, entries, u, v)
                _list(lists, entries + 1, v, u)
                entries += 2
            continue
        if heads[u, 0] > 0 and heads[v, 0] > 0 and pair_is_in(apart, u, v):
            continue
        if classes[u] == NO_CLASS or classes[v] == NO_CLASS or classes[u] == classes[v]:
            if heads[u, 0] < heads[v, 0] or (heads[u, 0] == heads[v, 0] and size[u] < size[v]):
                u, v = v, u
            parent[v] = u
            size[u] += size[v]
            classes[u] = max(classes[u], classes[v])
            entry = heads[v, 1]
            while entry >= 0:
                after = lists.entries[entry, 1]
                if 2 * (pairs + 1) > len(apart):
                    apart = pairs_in_twice_the_room(apart)
                other = find(parent, lists.entries[entry, 0])
                if pair_add(apart, u, other):  # else the list of u has it
                    pairs += 1
                    _list(lists, entry, u, other)
                entry = after
    while b < len(node_order):
        _take_class(parent, classes, node_order[b], best)
        b += 1
    for i in range(n):
        parent[i] = find(parent, i)
    return parent, classes[parent]


@njit
def _take_class(parent: Array, classes: Array, i: int, best: Array) -> None:
    root = find(parent, i)
    if classes[root] == NO_CLASS:
        classes[root] = best[i]


@njit
def _list(lists: _Apart, entry: int, own: int, other: int) -> None:
    """Enter another cluster in the list of one."""
    lists.entries[entry, 0], lists.entries[entry, 1] = other, lists.heads[own, 1]
    lists.heads[own, 0] += 1
    lists.heads[own, 1] = entry
