"""What a visit to a node of local moving looks at: where its edges lead, and the best place for it but where it is.

Sums live in an array that is 0 between visits, so "seen before" needs no mark: a cluster whose sum passes
through 0 is merely listed twice. Pieces of the innermost loops are pasted where they are called.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import Array
from .._numba import inlined, njit
from ._adjacency import end, span
from ._label_costs import cheapest, cost

RELATIVE_TOLERANCE = 1e-12  # of sums over many edges
FEW_ROUNDINGS = 4e-15  # relative, what some additions make of a single cost


@njit
def max_degree(adjacency: Any, n: int) -> int:
    """The largest number of half-edges (or slots) of a node."""
    most = 0
    for i in range(n):
        low, high = span(adjacency, i)
        most = max(most, high - low)
    return most


@njit
def free_ids(z: Array, num_classes: int) -> tuple[Array, Array, int]:
    """Sizes of all clusters, and a stack of the unused ids of partitionable classes with its height."""
    n = len(z)
    size = np.zeros(n + num_classes, np.int32)
    for i in range(n):
        size[z[i]] += 1
    free = np.empty(n, np.int32)
    height = 0
    for c in range(n + num_classes - 1, num_classes - 1, -1):
        if size[c] == 0:
            free[height] = c
            height += 1
    return size, free, height


@inlined
def gather(adjacency: Any, i: int, z: Array, sums: Array, touched: Array) -> int:
    """Add the costs of the edges of i to the sums of the clusters they lead to; returns how many are listed."""
    count = 0
    low, high = span(adjacency, i)
    for h in range(low, high):
        c = z[end(adjacency, i, h)]
        before = sums[c]
        touched[count] = c
        count += before == 0
        sums[c] = before + adjacency.weights[h]
    return count


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


@inlined
def second_choice(
    node_costs: Any,
    best: Array,
    partitionable: Array,
    cluster_class: Array,
    i: int,
    a: int,
    alone: bool,
    sums: Array,
    touched: Array,
    count: int,
) -> tuple[float, int, int]:
    """The best place for i but where it is, cluster a: its score, its id, and its class.

    The id is -1 for a cluster without edges to i: a new one, or the one of a class that is not partitionable.
    Of those only the cheapest class counts, so that a visit takes no time that grows with K.
    """
    score = -np.inf
    target = -1
    for t in range(count):
        c = touched[t]
        s = sums[c] - cost(node_costs, i, cluster_class[c])
        if c != a and s > score:
            score = s
            target = c
    k = cheapest(node_costs, best, i, -score)
    if k >= 0:
        if not partitionable[k] and sums[k] < 0:
            k = cheapest_untouched(node_costs, i, partitionable, sums)
        if k >= 0 and -cost(node_costs, i, k) > score and (k != cluster_class[a] or (partitionable[k] and not alone)):
            score = -np.float64(cost(node_costs, i, k))
            target = -1
    return score, target, k


@njit
def rounding(adjacency: Any, node_costs: Any, z: Array, cluster_class: Array, i: int, target: int, k: int) -> float:
    """What rounding may make of the gain of moving node i to cluster `target`, or where that is -1 to class k.

    Only the costs that the move compares count: a gain of 1 is real among costs of 10, whatever other costs there are.
    """
    a = z[i]
    there = cluster_class[target] if target >= 0 else k
    single = abs(np.float64(cost(node_costs, i, cluster_class[a]))) + abs(np.float64(cost(node_costs, i, there)))
    total = 0.0
    low, high = span(adjacency, i)
    for h in range(low, high):
        c = z[end(adjacency, i, h)]
        if c == a or c == target:  # noqa: SIM109 (numba has no `in` for integers of two types)
            total += abs(np.float64(adjacency.weights[h]))
    return RELATIVE_TOLERANCE * total + FEW_ROUNDINGS * single


@inlined
def with_other_classes(loss: float, partitionable: bool, alone: bool, own: float) -> float:
    """What a node in its cheapest class loses at least, from the loss of its second choice and its edges inside.

    `second_choice` leaves out all classes but the cheapest. Another one is open to the node at the price of those edges
    and of the difference in class costs. Of a node alone the edges say nothing; then it is minus the loss.
    """
    return -abs(loss) if alone else (loss if partitionable else min(loss, own))
