"""Local moving: a node moves to the neighbouring cluster, class or new cluster that gains most.

With S_c(i) the sum of the costs of the edges from i into cluster c, moving i from a to b lowers the objective by

    [S_b(i) - c_V(i, class(b))] - [S_a(i) - c_V(i, class(a))],

so a visit costs O(degree), not O(K): of all clusters that i has no edge to, only the cheapest class matters.
Sums live in an array that is 0 between visits, so "seen before" needs no mark: a cluster whose sum passes
through 0 is merely listed twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import Array
from .._numba import inlined, njit
from ._adjacency import end, span
from ._label_costs import cheapest, cost

RELATIVE_TOLERANCE = 1e-12
MOST = 3e38  # losses are float32: larger ones are as good as this
MAX_VISITS = 64  # of a node, on average; a few are usual


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
    cluster_class[:num_classes] = np.arange(num_classes)
    for i in range(n):
        k = best[i]
        z[i] = num_classes + i if partitionable[k] else k
        cluster_class[num_classes + i] = k
    return z, cluster_class


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


@inlined
def with_other_classes(loss: float, partitionable: bool, alone: bool, own: float) -> float:
    """What a node in its cheapest class loses at least, from the loss of its second choice and its edges inside.

    `second_choice` leaves out all classes but the cheapest. Another one is open to the node at the price of those edges
    and of the difference in class costs. Of a node alone the edges say nothing; then it is minus the loss.
    """
    return -abs(loss) if alone else (loss if partitionable else min(loss, own))


@njit
def find_movers(
    adjacency: Any,
    node_costs: Any,
    best: Array,
    partitionable: Array,
    z: Array,
    cluster_class: Array,
    size: Array,
    nodes: Array,
    first: int,
    last: int,
    tolerance: float,
    losses: Array,
    moves: Array,
) -> None:
    """Say in `moves` which of ``nodes[first:last]`` would gain by moving, all else staying; `losses` as below.

    Nothing moves, so that threads may look at different nodes at the same time and find what one thread finds.
    """
    num_classes = len(partitionable)
    sums = np.zeros(len(cluster_class), np.float64)
    touched = np.empty(max_degree(adjacency, len(z)) + 1, np.int32)
    for t in range(first, last):
        i = nodes[t]
        count = gather(adjacency, i, z, sums, touched)
        a = z[i]
        alone = size[a] == 1 and a >= num_classes
        gain, _, _ = second_choice(node_costs, best, partitionable, cluster_class, i, a, alone, sums, touched, count)
        own = sums[a]
        here = own - cost(node_costs, i, cluster_class[a])
        noise = tolerance + RELATIVE_TOLERANCE * (abs(gain) + abs(here))
        gain -= here
        for s in range(count):
            sums[touched[s]] = 0.0
        if len(losses) > 0:
            losses[i] = min(-gain, MOST)
            if num_classes > 1 and best[i] == cluster_class[a]:
                losses[i] = with_other_classes(losses[i], partitionable[best[i]], alone, own)
        moves[t] = noise < gain < np.inf


@njit
def local_moving(
    adjacency: Any,
    node_costs: Any,
    best: Array,
    partitionable: Array,
    z: Array,
    cluster_class: Array,
    queue: Array,
    waiting: int,
    once: bool,
    tolerance: float,
    losses: Array,
) -> int:
    """Move nodes until no single move gains; z and cluster_class change in place. Returns the number of moves.

    Parameters
    ----------
    adjacency : Rows or Stencil
    node_costs : float array, shape (n, K), or LabelCosts
    best : int32 array, shape (n,)
        The cheapest class of every node.
    partitionable : bool array, shape (K,)
    z, cluster_class : int32 arrays, shapes (n,) and (n + K,)
        The labelling, in the ids of :class:`Labels`.
    queue : int32 array, shape (n,)
        The nodes to visit, in order: the first `waiting` of it, each at most once. It is used up.
    waiting : int
    once : bool
        Visit these nodes and no others; otherwise the neighbours of a node that moved queue up, first in, first out.
    tolerance : float
        Gains up to this, and up to 1e-12 of what is compared, are rounding noise.
    losses : float32 array, shape (n,) or (0,)
        If not empty, takes for every visited node what it would have lost by any move at its last visit, at least. A
        negative number says that nothing is known: of a node that moved there, it is minus what that gained.
    """
    n = len(z)
    num_classes = len(partitionable)
    size, free, num_free = free_ids(z, num_classes)
    sums = np.zeros(n + num_classes, np.float64)
    touched = np.empty(max_degree(adjacency, n) + 1, np.int32)
    queued = np.zeros(n, np.bool_)
    for t in range(waiting):
        queued[queue[t]] = True
    head = 0
    moves = 0
    # Huge costs that cancel leave sums of which nothing is true; then nothing else would end the loop.
    visits = MAX_VISITS * n + 1024
    while waiting > 0 and visits > 0:
        visits -= 1
        i = queue[head]
        head = head + 1 if head + 1 < n else 0
        waiting -= 1
        queued[i] = False
        count = gather(adjacency, i, z, sums, touched)
        a = z[i]
        alone = size[a] == 1 and a >= num_classes
        gain, target, k = second_choice(
            node_costs, best, partitionable, cluster_class, i, a, alone, sums, touched, count
        )
        own = sums[a]
        here = own - cost(node_costs, i, cluster_class[a])
        noise = tolerance + RELATIVE_TOLERANCE * (abs(gain) + abs(here))
        gain -= here
        for t in range(count):
            sums[touched[t]] = 0.0
        if len(losses) > 0:
            losses[i] = min(-gain, MOST)
            if num_classes > 1 and best[i] == cluster_class[a]:
                losses[i] = with_other_classes(losses[i], partitionable[best[i]], alone, own)
        if not noise < gain < np.inf:
            continue
        moves += 1
        if target < 0:
            if not partitionable[k]:
                target = k
            elif alone:
                cluster_class[a] = k  # only the class changes, for whoever might join as well
                target = a
            else:
                num_free -= 1
                target = free[num_free]
                cluster_class[target] = k
        if target != a:
            size[a] -= 1
            if size[a] == 0 and a >= num_classes:
                free[num_free] = a
                num_free += 1
            size[target] += 1
            z[i] = target
        if once:
            continue
        low, high = span(adjacency, i)
        for h in range(low, high):
            j = end(adjacency, i, h)
            if not queued[j] and (z[j] != target or adjacency.weights[h] < 0):
                queued[j] = True
                tail = head + waiting
                queue[tail if tail < n else tail - n] = j
                waiting += 1
    return moves


@njit
def pieces(adjacency: Any, fence: Array, order: Array, tolerance: float) -> Array:
    """Cluster the nodes within the fences in one pass, from singletons and by edge costs alone; returns ids < n."""
    n = len(fence)
    z = np.arange(n).astype(np.int32)
    sums = np.zeros(n, np.float64)
    touched = np.empty(max_degree(adjacency, n) + 1, np.int32)
    for t in range(n):
        i = order[t]
        count = 0
        low, high = span(adjacency, i)
        for h in range(low, high):
            j = end(adjacency, i, h)
            if fence[j] == fence[i]:
                c = z[j]
                before = sums[c]
                touched[count] = c
                count += before == 0
                sums[c] = before + adjacency.weights[h]
        target = z[i]
        most = sums[target] + tolerance + RELATIVE_TOLERANCE * abs(sums[target])
        for s in range(count):
            c = touched[s]
            if sums[c] > most:
                most = sums[c]
                target = c
        for s in range(count):
            sums[touched[s]] = 0.0
        z[i] = target
    return z


@njit
def labelling_value(adjacency: Any, node_costs: Array, z: Array, cluster_class: Array) -> Any:
    """The objective (eq. 2) of a labelling of one level, in O(n + m)."""
    nodes = 0.0
    cut = 0.0
    for i in range(len(z)):
        nodes += np.float64(node_costs[i, cluster_class[z[i]]])
        low, high = span(adjacency, i)
        for h in range(low, high):
            if z[end(adjacency, i, h)] != z[i]:
                cut += np.float64(adjacency.weights[h])
    return nodes + 0.5 * cut
