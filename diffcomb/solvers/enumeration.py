"""Branch and bound for graphs of a handful of nodes, where local moves miss what an enumeration finds at once.

Two nodes that would have to go to a third class together are a local optimum of single moves, and on so small a graph
nothing else shakes them. Nodes are placed one after the other, into each cluster there is or a new one of each class.
Costs count from the least that each node and each edge can cost, so that none is negative, what is placed bounds every
completion, and huge costs that no good labelling pays hide nothing.
"""

from __future__ import annotations

import numpy as np

from .._arrays import Array
from .._numba import njit
from .level import Level
from .levels.contraction import between
from .levels.labels import Labels
from .limits import LIMITS


def enumerated(level: Level, labels: Labels) -> tuple[Labels, bool]:
    """The best labelling of a level of a handful of nodes, and whether it is proved to be the optimum.

    `labels` is a first one, which stands where the enumeration finds nothing better or takes too many steps.
    """
    n, K = level.num_nodes, level.num_classes
    costs = between(level.adjacency, np.arange(n, dtype=np.int32), n).T  # of a node and those before it
    nodes = level.node_costs.astype(np.float64)
    nodes -= nodes.min(axis=1, keepdims=True)
    z, classes, complete = _branch_and_bound(costs, nodes, level.partitionable, LIMITS.max_steps)
    if z[0] < 0:
        return labels, complete
    ids = np.where(level.partitionable[classes], K + np.arange(n), classes)
    cluster_class = np.zeros(n + K, np.int32)
    cluster_class[:K] = np.arange(K)
    cluster_class[ids] = classes
    found = Labels(ids[z].astype(np.int32), cluster_class)
    return found if level.improvement(labels, found) > 0 else labels, complete


@njit
def _branch_and_bound(
    costs: Array, node_costs: Array, partitionable: Array, max_steps: int
) -> tuple[Array, Array, bool]:
    """Cluster of every node and class of every cluster of the best labelling; -1 where there was no time for one.

    Node costs are not negative. Returns also whether all labellings were considered within the steps.
    """
    n, K = node_costs.shape
    limit = np.inf
    z = np.full(n, -1, np.int64)
    classes = np.zeros(n, np.int64)
    best_z, best_classes = z.copy(), classes.copy()
    option = np.zeros(n, np.int64)  # the next place to try: clusters first, then a new one of each class
    used = np.zeros(n + 1, np.int64)  # clusters of the nodes before each one
    value = np.zeros(n + 1, np.float64)
    steps = 0
    i = 0
    while i >= 0:
        place = option[i]
        if place == used[i] + K:
            i -= 1
            continue
        option[i] += 1
        steps += 1
        if steps > max_steps:
            return best_z, best_classes, False
        k = classes[place] if place < used[i] else place - used[i]
        if place >= used[i]:
            taken = False  # a class that is not partitionable has one cluster
            for c in range(used[i]):
                taken |= classes[c] == k and not partitionable[k]
            if taken:
                continue
        total = value[i] + node_costs[i, k]
        for j in range(i):
            total += max(costs[i, j], 0.0) if z[j] != place else max(-costs[i, j], 0.0)
        if total >= limit:
            continue
        if place < used[i]:
            z[i] = place
            used[i + 1] = used[i]
        else:
            z[i] = used[i]
            classes[used[i]] = k
            used[i + 1] = used[i] + 1
        if i == n - 1:
            limit = total
            best_z[:] = z
            best_classes[:] = classes
            continue
        i += 1
        value[i] = total
        option[i] = 0
    return best_z, best_classes, True
