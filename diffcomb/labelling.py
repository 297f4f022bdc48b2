"""Labellings in arrays: what a labelling cuts, what that leaves connected, and what it costs."""

from __future__ import annotations

import numpy as np

from ._arrays import Array
from ._numba import njit, unsigned
from ._threads import thread_ranges
from ._union_find import flatten, numbers, unite

_TERMS = 2**18  # costs that are summed up in one go


def sum_of_costs(node_costs: Array, edge_costs: Array, x: Array, y: Array) -> float:
    """The objective of eq. 2. Sums of a fixed number of terms are added up in order, whichever thread made them."""
    sums = np.zeros((2, max(len(x), len(y)) // _TERMS + 1))

    def add(first: int, last: int) -> None:
        for part in range(first, last):
            low, high = part * _TERMS, (part + 1) * _TERMS
            sums[0, part] = _node_part(node_costs[low:high], x[low:high])
            sums[1, part] = _edge_part(edge_costs[low:high], y[low:high])

    thread_ranges(add, sums.shape[1], 2)
    nodes, cut = sums.tolist()
    return float(sum(nodes) + sum(cut))


def sum_of_sizes(costs: Array) -> float:
    """The sum of the absolute values of costs (m,), in the same order whatever the number of threads."""
    sums = np.zeros(len(costs) // _TERMS + 1)

    def add(first: int, last: int) -> None:
        for part in range(first, last):
            sums[part] = _sizes_part(costs[part * _TERMS : (part + 1) * _TERMS])

    thread_ranges(add, len(sums), 2)
    return float(sums.sum())


@njit
def _node_part(node_costs: Array, x: Array) -> float:
    total = 0.0
    for i in range(len(x)):
        total += np.float64(node_costs[i, unsigned(x[i])])
    return total


@njit
def _sizes_part(costs: Array) -> float:
    total = 0.0
    for e in range(len(costs)):
        total += abs(np.float64(costs[e]))
    return total


@njit
def _edge_part(edge_costs: Array, y: Array) -> float:
    total = 0.0
    for e in range(len(y)):
        total += y[e] * np.float64(edge_costs[e])
    return total


@njit
def cut_edges(edges: Array, x: Array, clusters: Array, partitionable: Array) -> Array:
    """Y of a labelling: cut between classes, and between clusters of a partitionable class."""
    y = np.zeros(len(edges), np.uint8)
    for e in range(len(edges)):
        u, v = edges[e, 0], edges[e, 1]
        if x[u] != x[v] or (partitionable[x[u]] and clusters[u] != clusters[v]):
            y[e] = 1
    return y


@njit
def uncut_components(edges: Array, y: Array, x: Array, of_class: Array) -> Array:
    """Component (its union-find root) of every node in the graph of the uncut edges within some classes."""
    parent = numbers(len(x))
    for e in range(len(edges)):
        u, v = edges[e, 0], edges[e, 1]
        if y[e] == 0 and of_class[x[u]] and parent[u] != parent[v]:
            unite(parent, u, v)
    flatten(parent)
    return parent


@njit
def number_clusters(component: Array, x: Array, partitionable: Array) -> Array:
    """Cluster ids 0..M-1 by first appearance; one cluster for each class that is not partitionable."""
    n = len(x)
    of_component = np.full(n, -1, np.int32)
    of_class = np.full(len(partitionable), -1, np.int32)
    z = np.empty(n, np.int64)
    count = 0
    for i in range(n):
        k = x[i]
        known = of_component[component[i]] if partitionable[k] else of_class[k]
        if known < 0:
            known = count
            count += 1
            if partitionable[k]:
                of_component[component[i]] = known
            else:
                of_class[k] = known
        z[i] = known
    return z
