"""A visit to a node: where its edges lead, the best place for it other than its own, and the move there.

Sums live in an array that is 0 between visits, so "seen before" needs no mark: a cluster whose sum passes through 0 is
merely listed twice. Pieces of the innermost loops are pasted where they are called. They take plain arrays: a kernel
takes bundles and unpacks them once, since to read a field of a bundle counts references, which makes a visit a third
slower.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays import Array
from ..._numba import inlined, njit, unsigned
from ..levels.costs import cheapest, cost, degree, end, half_edges
from ..limits import KERNELS


@njit
def count_members(z: Array, num_classes: int) -> tuple[Array, Array, Array]:
    """Sizes of all clusters (n + K,), and a stack ``free[:height[0]]`` of the unused ids of partitionable classes."""
    n = len(z)
    size = cluster_sizes(z, n + num_classes)
    free = np.empty(n, np.int32)
    height = np.zeros(1, np.int64)
    for c in range(n + num_classes - 1, num_classes - 1, -1):
        if size[c] == 0:
            free[height[0]] = c
            height[0] += 1
    return size, free, height


@njit
def cluster_sizes(z: Array, num_ids: int) -> Array:
    """How many nodes each id has."""
    size = np.zeros(num_ids, np.int32)
    for i in range(len(z)):
        size[unsigned(z[i])] += 1
    return size


@njit
def max_degree(adjacency: Any, n: int) -> int:
    """The largest number of half-edges (or slots) of a node."""
    most = 0
    for i in range(n):
        most = max(most, degree(adjacency, i))
    return most


@inlined
def look(
    adjacency: Any, node_costs: Any, best: Array, partitionable: Array, z: Array, cluster_class: Array, i: int,
    alone: bool, sums: Array, touched: Array,
) -> tuple[float, int, int, float]:  # fmt: skip
    """The best place for node i other than its own: its score, cluster, class; and the sum of i's edges in its own.

    The score is that sum for the other cluster, less the cost of its class. The cluster is -1 where i has no edges to
    it: a new one, or the one of a class that is not partitionable. `alone` says that i is the only node of a
    partitionable cluster.
    """
    count = gather(adjacency, z, i, sums, touched)
    a = z[i]
    own = sums[a]
    score, target = best_neighbour(node_costs, cluster_class, i, a, sums, touched, count)
    k = cheapest(node_costs, best, i, -score)
    if k >= 0:
        # Of places without edges to i only the cheapest class counts: a visit takes no time that grows with K.
        if not partitionable[k] and sums[k] < 0:
            k = cheapest_untouched(node_costs, i, partitionable, sums)
        if k >= 0 and -cost(node_costs, i, k) > score and (k != cluster_class[a] or (partitionable[k] and not alone)):
            score = -np.float64(cost(node_costs, i, k))
            target = -1
    clear(sums, touched, count)
    return score, target, k, own


@inlined
def gather(adjacency: Any, z: Array, i: int, sums: Array, touched: Array) -> int:
    """Add the costs of the edges of i to the sums of the clusters they lead to; returns how many are listed."""
    count = 0
    for h in half_edges(adjacency, i):
        c = unsigned(z[end(adjacency, i, h)])
        before = sums[c]
        touched[unsigned(count)] = c
        if before == 0:
            count += 1
        sums[c] = before + adjacency.weights[h]
    return count


@inlined
def best_neighbour(
    node_costs: Any, cluster_class: Array, i: int, a: int, sums: Array, touched: Array, count: int
) -> tuple[float, int]:
    """The best cluster other than a that i has edges to: its score and its id, -inf and -1 if there is none."""
    score = -np.inf
    target = -1
    for t in range(count):
        c = unsigned(touched[unsigned(t)])
        s = sums[c] - cost(node_costs, i, cluster_class[c])
        if c != a and s > score:
            score = s
            target = c
    return score, target


@inlined
def clear(sums: Array, touched: Array, count: int) -> None:
    """Set the sums back to 0."""
    for t in range(count):
        sums[unsigned(touched[unsigned(t)])] = 0.0


@njit
def cheapest_untouched(node_costs: Any, i: int, partitionable: Array, sums: Array) -> int:
    """The cheapest class that i can join without any edge: a new cluster, or a class that i has no edge to."""
    best = -1
    low = np.inf
    for k in range(len(partitionable)):
        if (partitionable[k] or sums[k] == 0) and cost(node_costs, i, k) < low:
            low = cost(node_costs, i, k)
            best = k
    return best


@njit
def rounding(adjacency: Any, node_costs: Any, z: Array, cluster_class: Array, i: int, target: int, k: int) -> float:
    """What rounding may make of the gain of moving node i to cluster `target`, or where that is -1 to class k.

    Only the costs that the move compares count: a gain of 1 is real among costs of 10, whatever other costs there are.
    """
    a = z[i]
    there = cluster_class[target] if target >= 0 else k
    single = abs(np.float64(cost(node_costs, i, cluster_class[a]))) + abs(np.float64(cost(node_costs, i, there)))
    total = 0.0
    for h in half_edges(adjacency, i):
        c = z[end(adjacency, i, h)]
        if c == a or c == target:  # noqa: SIM109 (numba has no `in` for integers of two types)
            total += abs(np.float64(adjacency.weights[h]))
    return KERNELS.relative_tolerance * total + KERNELS.few_roundings * single


@inlined
def move(
    partitionable: Array, z: Array, cluster_class: Array, size: Array, free: Array, height: Array, i: int, target: int,
    k: int,
) -> int:  # fmt: skip
    """Move node i to cluster `target`, or if that is -1 to one of class k without its neighbours; returns the cluster.

    A node alone that goes to another class of its own keeps its cluster, whose class changes for whoever might join as
    well.
    """
    a = z[i]
    own = a >= len(partitionable)  # an id that may be used again
    if target < 0:
        if not partitionable[k]:
            target = k
        elif size[a] == 1 and own:
            cluster_class[a] = k
            target = a
        else:
            height[0] -= 1
            target = free[height[0]]
            cluster_class[target] = k
    if target != a:
        size[a] -= 1
        if size[a] == 0 and own:
            free[height[0]] = a
            height[0] += 1
        size[target] += 1
        z[i] = target
    return target
