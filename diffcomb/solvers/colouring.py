"""Starts that keep cannot-links, found by colouring: where a heavy cost keeps two nodes apart, neither moves alone.

Two nodes of a cannot-link may not have the same class, unless it is partitionable. So classes are colours. The node
that has the fewest left takes its turn first (DSATUR, Brélaz 1979), which colours every graph that two colours suffice
for, and takes the cheapest that is left.
"""

from __future__ import annotations

import numpy as np

from .._arrays import Array
from .._numba import njit
from ..graph import Graph
from ..problem import Problem
from .levels.objective import cheapest_classes
from .structures.queue import queue_pop, queue_push


def coloured(problem: Problem, apart: Array) -> tuple[Array, Array]:
    """Node labels and clusters that cut the edges `apart`, as far as colouring finds them.

    Parameters
    ----------
    problem : Problem
    apart : bool array, shape (m,)

    Returns
    -------
    node_labels, clusters : int64 arrays, shape (n,)
        Every node is a cluster of its own where its class is partitionable. Takes O(n K + m log m).
    """
    n = problem.graph.num_nodes
    indptr, neighbours, _ = Graph(n, problem.graph.edges[apart]).csr
    classes = cheapest_classes(problem.node_costs)
    _colour(indptr, neighbours, problem.node_costs, problem.partitionable, classes)
    return classes.astype(np.int64), np.arange(n)


@njit
def _colour(indptr: Array, neighbours: Array, node_costs: Array, partitionable: Array, classes: Array) -> None:
    """Change the classes of those nodes that have neighbours, so that these differ wherever they can."""
    n, num_classes = node_costs.shape
    taken = np.zeros((n, num_classes), np.bool_)
    number_taken = np.zeros(n, np.int64)
    done = np.zeros(n, np.bool_)
    keys, items = np.empty(n + len(neighbours)), np.empty(n + len(neighbours), np.int32)
    size = 0
    for i in range(n):
        if indptr[i + 1] > indptr[i]:
            size = queue_push(keys, items, size, 0.0, i)
    while size > 0:
        i = items[0]
        size = queue_pop(keys, items, size)
        if done[i]:
            continue
        done[i] = True
        low = np.inf
        for k in range(num_classes):
            if not taken[i, k] and node_costs[i, k] < low:
                low = node_costs[i, k]
                classes[i] = k
        k = classes[i]
        for h in range(indptr[i], indptr[i + 1] if not partitionable[k] else indptr[i]):
            j = neighbours[h]
            if not done[j] and not taken[j, k]:
                taken[j, k] = True
                number_taken[j] += 1
                size = queue_push(keys, items, size, float(number_taken[j]), j)
