"""A visit to a node: where its edges lead, the best place for it other than its own, and the move there.

Sums live in an array that is 0 between visits, so "seen before" needs no mark: a cluster whose sum passes through 0 is
merely listed twice. Pieces of the innermost loops are pasted where they are called.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import inlined, njit
from ..levels.costs import Costs, cheapest, cost, end, span
from ..levels.labels import Labels
from ..limits import KERNELS


class Places(NamedTuple):
    """How full the clusters are: ``size`` (n + K,) of every id, and a stack ``free[:height[0]]`` of the unused ids.

    Ids of classes that are not partitionable are never on the stack.
    """

    size: Array
    free: Array
    height: Array


def places_of(labels: Labels, num_classes: int) -> Places:
    """Count the members of all clusters."""
    # Made here and not in a kernel: numba 0.68 may free the arrays of a named tuple that is built and used in one
    # function.
    return Places(*_places(labels.z, num_classes))


@njit
def _places(z: Array, num_classes: int) -> tuple[Array, Array, Array]:
    n = len(z)
    size = np.zeros(n + num_classes, np.int32)
    for i in range(n):
        size[z[i]] += 1
    free = np.empty(n, np.int32)
    height = np.zeros(1, np.int64)
    for c in range(n + num_classes - 1, num_classes - 1, -1):
        if size[c] == 0:
            free[height[0]] = c
            height[0] += 1
    return size, free, height


@njit
def max_degree(adjacency: Any, n: int) -> int:
    """The largest number of half-edges (or slots) of a node."""
    most = 0
    for i in range(n):
        low, high = span(adjacency, i)
        most = max(most, high - low)
    return most


@inlined
def look(
    costs: Costs, labels: Labels, i: int, alone: bool, sums: Array, touched: Array
) -> tuple[float, int, int, float]:
    """The best place for node i other than its own: its score, cluster, class; and the sum of i's edges in its own.

    The score is that sum for the other cluster, less the cost of its class. The cluster is -1 where i has no edges to
    it: a new one, or the one of a class that is not partitionable. `alone` says that i is the only node of a
    partitionable cluster.
    """
    count = gather(costs, labels, i, sums, touched)
    own = sums[labels.z[i]]
    score, target = best_neighbour(costs.node_costs, labels, i, sums, touched, count)
    k = cheapest(costs.node_costs, costs.best, i, -score)
    if k >= 0:
        # Of places without edges to i only the cheapest class counts, so that a visit takes no time that grows with K.
        if not costs.partitionable[k] and sums[k] < 0:
            k = cheapest_untouched(costs.node_costs, i, costs.partitionable, sums)
        if k >= 0 and -cost(costs.node_costs, i, k) > score:
            stays = k == labels.cluster_class[labels.z[i]] and not (costs.partitionable[k] and not alone)
            if not stays:
                score = -np.float64(cost(costs.node_costs, i, k))
                target = -1
    clear(sums, touched, count)
    return score, target, k, own


@inlined
def gather(costs: Costs, labels: Labels, i: int, sums: Array, touched: Array) -> int:
    """Add the costs of the edges of i to the sums of the clusters they lead to; returns how many are listed."""
    count = 0
    low, high = span(costs.adjacency, i)
    for h in range(low, high):
        c = labels.z[end(costs.adjacency, i, h)]
        before = sums[c]
        touched[count] = c
        count += before == 0
        sums[c] = before + costs.adjacency.weights[h]
    return count


@inlined
def best_neighbour(
    node_costs: Any, labels: Labels, i: int, sums: Array, touched: Array, count: int
) -> tuple[float, int]:
    """The best other cluster that i has edges to: its score and its id, -inf and -1 if there is none."""
    score = -np.inf
    target = -1
    for t in range(count):
        c = touched[t]
        s = sums[c] - cost(node_costs, i, labels.cluster_class[c])
        if c != labels.z[i] and s > score:
            score = s
            target = c
    return score, target


@inlined
def clear(sums: Array, touched: Array, count: int) -> None:
    """Set the sums back to 0."""
    for t in range(count):
        sums[touched[t]] = 0.0


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
def rounding(costs: Costs, labels: Labels, i: int, target: int, k: int) -> float:
    """What rounding may make of the gain of moving node i to cluster `target`, or where that is -1 to class k.

    Only the costs that the move compares count: a gain of 1 is real among costs of 10, whatever other costs there are.
    """
    adjacency, node_costs = costs.adjacency, costs.node_costs
    a = labels.z[i]
    there = labels.cluster_class[target] if target >= 0 else k
    single = abs(np.float64(cost(node_costs, i, labels.cluster_class[a]))) + abs(np.float64(cost(node_costs, i, there)))
    total = 0.0
    low, high = span(adjacency, i)
    for h in range(low, high):
        c = labels.z[end(adjacency, i, h)]
        if c == a or c == target:  # noqa: SIM109 (numba has no `in` for integers of two types)
            total += abs(np.float64(adjacency.weights[h]))
    return KERNELS.relative_tolerance * total + KERNELS.few_roundings * single


@inlined
def move(costs: Costs, labels: Labels, places: Places, i: int, target: int, k: int) -> int:
    """Move node i to cluster `target`, or if that is -1 to one of class k without its neighbours; returns the cluster.

    A node alone that goes to another class of its own keeps its cluster, whose class changes for whoever might join as
    well.
    """
    size, free, height = places.size, places.free, places.height
    a = labels.z[i]
    own = a >= len(costs.partitionable)  # an id that may be used again
    if target < 0:
        if not costs.partitionable[k]:
            target = k
        elif size[a] == 1 and own:
            labels.cluster_class[a] = k
            target = a
        else:
            height[0] -= 1
            target = free[height[0]]
            labels.cluster_class[target] = k
    if target != a:
        size[a] -= 1
        if size[a] == 0 and own:
            free[height[0]] = a
            height[0] += 1
        size[target] += 1
        labels.z[i] = target
    return target
