"""What a labelling of a level costs, and the labelling to begin with.

Costs and labels are the fields of :class:`Costs` and :class:`Labels`, as plain tuples.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays import Array
from ..._numba import njit
from ..limits import KERNELS
from .costs import end, half_edges


@njit
def labelling_value(costs: tuple[Any, ...], labels: tuple[Array, ...]) -> Any:
    """The objective (eq. 2) of a labelling of one level, in O(n + m)."""
    adjacency, node_costs, _, _ = costs
    z, cluster_class = labels
    nodes = 0.0
    cut = 0.0
    for i in range(len(z)):
        nodes += np.float64(node_costs[i, cluster_class[z[i]]])
        for h in half_edges(adjacency, i):
            cut += np.float64(adjacency.weights[h]) if z[end(adjacency, i, h)] != z[i] else 0.0
    return nodes + 0.5 * cut


@njit
def improvement(costs: tuple[Any, ...], labels: tuple[Array, ...], other: tuple[Array, ...]) -> float:
    """By how much at least another labelling of one level is better, in O(n + m).

    Only costs that the two do not share are added up, and what rounding may make of those is taken off: huge costs that
    both pay hide nothing.
    """
    adjacency, node_costs, _, _ = costs
    z, cluster_class = labels
    new_z, new_class = other
    gain = 0.0
    total = 0.0
    for i in range(len(z)):
        old, new = cluster_class[z[i]], new_class[new_z[i]]
        if old != new:
            difference = np.float64(node_costs[i, old]) - np.float64(node_costs[i, new])
            gain += difference
            total += abs(difference)
        for h in half_edges(adjacency, i):
            j = end(adjacency, i, h)
            was = z[j] != z[i]
            if j < i and was != (new_z[j] != new_z[i]):
                w = np.float64(adjacency.weights[h])
                gain += w if was else -w
                total += abs(w)
    return gain - KERNELS.relative_tolerance * total


@njit
def cheapest_classes_of(node_costs: Array, first: int, last: int, best: Array) -> None:
    """Write the cheapest class of the nodes first..last-1 to `best`; the first of equals."""
    num_classes = node_costs.shape[1]
    for i in range(first, last):
        low = node_costs[i, 0]
        k_low = 0
        for k in range(1, num_classes):
            if node_costs[i, k] < low:
                low = node_costs[i, k]
                k_low = k
        best[i] = k_low


@njit
def cheapest_classes(node_costs: Array) -> Array:
    """The cheapest class of every node; the first of equals."""
    best = np.empty(len(node_costs), np.int32)
    cheapest_classes_of(node_costs, 0, len(best), best)
    return best


@njit
def singletons(best: Array, partitionable: Array) -> tuple[Array, Array]:
    """The labelling in which every node is alone, in its cheapest class."""
    n, num_classes = len(best), len(partitionable)
    z = np.empty(n, np.int32)
    cluster_class = np.empty(n + num_classes, np.int32)
    for k in range(num_classes):
        cluster_class[k] = k
    for i in range(n):
        k = best[i]
        z[i] = num_classes + i if partitionable[k] else k
        cluster_class[num_classes + i] = k
    return z, cluster_class
