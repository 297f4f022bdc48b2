"""Local moving: every node moves to the neighbouring cluster, class or new cluster that gains most.

Cluster ids: id k < K is *the* cluster of class k if that class is not partitionable; ids K..K+n-1 are
clusters of partitionable classes, whose class stands in ``cluster_class``. With S_c(i) the sum of the costs
of the edges from i into cluster c, moving i from a to b lowers the objective by

    [S_b(i) - c_V(i, class(b))] - [S_a(i) - c_V(i, class(a))],

so a visit costs O(degree), not O(K): of all clusters that i has no edge to, only the cheapest class matters.
"""

from __future__ import annotations

import numpy as np

from .._arrays import Array
from .._numba import njit


@njit
def cheapest_classes(node_costs: Array) -> Array:
    """The cheapest class of every node; the first of equals."""
    n, num_classes = node_costs.shape
    best = np.zeros(n, np.int32)
    for i in range(n):
        for k in range(1, num_classes):
            if node_costs[i, k] < node_costs[i, best[i]]:
                best[i] = k
    return best


@njit
def singletons(best: Array, partitionable: Array) -> tuple[Array, Array]:
    """The labelling in which every node is alone, in its cheapest class."""
    n, num_classes = len(best), len(partitionable)
    z = np.empty(n, np.int32)
    cluster_class = np.empty(n + num_classes, np.int32)
    cluster_class[:num_classes] = np.arange(num_classes)
    for i in range(n):
        k = best[i]
        z[i] = num_classes + i if partitionable[k] else k
        cluster_class[num_classes + i] = k
    return z, cluster_class


@njit
def _cheapest_untouched(node_costs: Array, i: int, partitionable: Array, stamp: Array, visit: int) -> int:
    """The cheapest class that i can join without any edge: a new cluster, or a class that i has no edge to."""
    best = -1
    low = np.inf
    for k in range(len(partitionable)):
        if (partitionable[k] or stamp[k] != visit) and node_costs[i, k] < low:
            low = node_costs[i, k]
            best = k
    return best


@njit
def local_moving(
    indptr: Array,
    neighbours: Array,
    weights: Array,
    node_costs: Array,
    partitionable: Array,
    fence: Array,
    z: Array,
    cluster_class: Array,
    order: Array,
    tolerance: float,
) -> int:
    """Move nodes until no single move gains; z and cluster_class change in place. Returns the number of moves.

    Parameters
    ----------
    indptr, neighbours, weights : arrays of shape (n + 1,), (h,), (h,)
        Adjacency in both directions, with the edge costs in its order.
    node_costs : float array, shape (n, K)
    partitionable : bool array, shape (K,)
    fence : int32 array, shape (n,) or (0,)
        Nodes only see neighbours with the same fence; an empty array means no fence.
    z, cluster_class : int32 arrays, shapes (n,) and (n + K,)
        The labelling, in the ids described above.
    order : int32 array, shape (n,)
        The order in which nodes are first visited; later visits are first in, first out.
    tolerance : float
        Gains up to this are rounding noise; it makes the loop finite.
    """
    n = len(z)
    num_classes = len(partitionable)
    fenced = len(fence) > 0
    best = cheapest_classes(node_costs)
    size = np.zeros(n + num_classes, np.int32)
    for i in range(n):
        size[z[i]] += 1
    free = np.empty(n, np.int32)
    num_free = 0
    for c in range(n + num_classes - 1, num_classes - 1, -1):
        if size[c] == 0:
            free[num_free] = c
            num_free += 1
    sums = np.zeros(n + num_classes, np.float64)
    stamp = np.zeros(n + num_classes, np.int64)
    touched = np.empty(n + num_classes, np.int32)
    queue = order.copy()
    queued = np.ones(n, np.bool_)
    head = 0
    waiting = n
    visit = 0
    moves = 0
    while waiting > 0:
        i = queue[head]
        head = head + 1 if head + 1 < n else 0
        waiting -= 1
        queued[i] = False
        visit += 1
        num_touched = 0
        for h in range(indptr[i], indptr[i + 1]):
            j = neighbours[h]
            if fenced and fence[j] != fence[i]:
                continue
            c = z[j]
            if stamp[c] != visit:
                stamp[c] = visit
                sums[c] = 0.0
                touched[num_touched] = c
                num_touched += 1
            sums[c] += weights[h]
        a = z[i]
        here = -np.float64(node_costs[i, cluster_class[a]])
        if stamp[a] == visit:
            here += sums[a]
        target = a
        high = here + tolerance
        for t in range(num_touched):
            c = touched[t]
            score = sums[c] - node_costs[i, cluster_class[c]]
            if score > high:
                high = score
                target = c
        # Candidates without an edge: a new cluster, or a class that i has no edge to.
        k = best[i]
        fresh = -1
        if -node_costs[i, k] > high:
            if not partitionable[k] and stamp[k] == visit and sums[k] < 0:
                k = _cheapest_untouched(node_costs, i, partitionable, stamp, visit)
            if k >= 0 and -node_costs[i, k] > high:
                fresh = k
        if fresh >= 0:
            if not partitionable[fresh]:
                target = fresh
            elif size[a] == 1 and a >= num_classes:
                cluster_class[a] = fresh  # alone already: only the class changes, so no neighbour is affected
                moves += 1
                continue
            else:
                num_free -= 1
                target = free[num_free]
                cluster_class[target] = fresh
        if target == a:
            continue
        size[a] -= 1
        if size[a] == 0 and a >= num_classes:
            free[num_free] = a
            num_free += 1
        size[target] += 1
        z[i] = target
        moves += 1
        for h in range(indptr[i], indptr[i + 1]):
            j = neighbours[h]
            if z[j] != target and not queued[j] and not (fenced and fence[j] != fence[i]):
                queued[j] = True
                tail = head + waiting
                queue[tail if tail < n else tail - n] = j
                waiting += 1
    return moves
