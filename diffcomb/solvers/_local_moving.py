"""Local moving: a node moves to the neighbouring cluster, class or new cluster that gains most.

With S_c(i) the sum of the costs of the edges from i into cluster c, moving i from a to b lowers the objective by

    [S_b(i) - c_V(i, class(b))] - [S_a(i) - c_V(i, class(a))],

so a visit costs O(degree), not O(K): of all clusters that i has no edge to, only the cheapest class matters.
Annealing is the same but that a node may also move at a loss, the less the colder it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import Array
from .._numba import njit
from ..problem import numbers
from ._adjacency import end, span
from ._label_costs import cost, lowest
from ._visits import (
    RELATIVE_TOLERANCE,
    free_ids,
    gather,
    max_degree,
    rounding,
    second_choice,
    with_other_classes,
)

MOST = 3e38  # losses are float32: larger ones are as good as this
MAX_VISITS = 64  # of a node, on average; a few are usual
NEVER = 16.0  # a loss of this many temperatures is accepted once in 9 million visits: do not draw for it


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
    enough: float,
    losses: Array,
    moves: Array,
) -> None:
    """Say in `moves` which of ``nodes[first:last]`` would gain by moving, all else staying; `losses` as below.

    Nothing moves, so that threads may look at different nodes at the same time and find what one thread finds.
    No other place attracts a node more than all attractive edges out of its cluster together: where that leaves a loss
    above `enough`, edges are not told apart by where they lead, which takes a third of the time.
    """
    num_classes = len(partitionable)
    sums = np.zeros(len(cluster_class), np.float64)
    touched = np.empty(max_degree(adjacency, len(z)) + 1, np.int32)
    for t in range(first, last):
        i = nodes[t]
        a = z[i]
        at_least = np.float64(lowest(node_costs, best, i)) - cost(node_costs, i, cluster_class[a])
        total = 0.0
        low, high = span(adjacency, i)
        for h in range(low, high):
            w = np.float64(adjacency.weights[h])
            at_least += w if z[end(adjacency, i, h)] == a else min(-w, 0.0)
            total += abs(w)
        if enough + RELATIVE_TOLERANCE * total < at_least < np.inf:
            moves[t] = False
            if len(losses) > 0:
                losses[i] = min(at_least, MOST)
            continue
        count = gather(adjacency, i, z, sums, touched)
        alone = size[a] == 1 and a >= num_classes
        gain, target, k = second_choice(
            node_costs, best, partitionable, cluster_class, i, a, alone, sums, touched, count
        )
        own = sums[a]
        gain -= own - cost(node_costs, i, cluster_class[a])
        for s in range(count):
            sums[touched[s]] = 0.0
        if len(losses) > 0:
            losses[i] = min(-gain, MOST)
            if num_classes > 1 and best[i] == cluster_class[a]:
                losses[i] = with_other_classes(losses[i], partitionable[best[i]], alone, own)
        moves[t] = 0 < gain < np.inf and gain > rounding(adjacency, node_costs, z, cluster_class, i, target, k)


@njit
def _uniform(state: int) -> tuple[Any, Any]:
    """The next state and a number in (0, 1] of a 31-bit multiplicative generator (Park and Miller 1988)."""
    state = state * 48271 % 2147483647
    return state, state / 2147483647.0


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
    losses: Array,
    temperatures: Array,
    seed: int,
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
    losses : float32 array, shape (n,) or (0,)
        If not empty, takes for every visited node what it would have lost by any move at its last visit, at least. A
        negative number says that nothing is known: of a node that moved there, it is minus what that gained.
    temperatures : float64 array
        If not empty, there are as many passes over the same nodes, fewer than 64 (`once` must be set, and no losses are
        kept), and the best move of a node is also made with probability exp(-loss / temperature) if it loses.
    seed : int
        Of what decides that.
    """
    n = len(z)
    num_classes = len(partitionable)
    size, free, num_free = free_ids(z, num_classes)
    sums = np.zeros(n + num_classes, np.float64)
    touched = np.empty(max_degree(adjacency, n) + 1, np.int32)
    queued = np.zeros(n, np.bool_)
    for t in range(waiting):
        queued[queue[t]] = True
    in_a_pass = waiting
    sweep = 0
    state = seed % 2147483646 + 1
    temperature = temperatures[0] if len(temperatures) > 0 else 0.0
    head = 0
    moves = 0
    # Huge costs that cancel leave sums of which nothing is true; then nothing else would end the loop.
    visits = MAX_VISITS * n + 1024
    while visits > 0:
        if waiting == 0:
            sweep += 1
            if sweep >= len(temperatures):
                break
            temperature = temperatures[sweep]
            head = 0
            waiting = in_a_pass
            continue
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
        gain -= own - cost(node_costs, i, cluster_class[a])
        for t in range(count):
            sums[touched[t]] = 0.0
        if len(losses) > 0:
            losses[i] = min(-gain, MOST)
            if num_classes > 1 and best[i] == cluster_class[a]:
                losses[i] = with_other_classes(losses[i], partitionable[best[i]], alone, own)
        gains = 0 < gain < np.inf and gain > rounding(adjacency, node_costs, z, cluster_class, i, target, k)
        if not gains:
            if temperature == 0 or not gain > -NEVER * temperature:
                continue
            if gain <= 0:
                state, u = _uniform(state)
                if gain <= temperature * np.log(u):
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
def pieces(adjacency: Any, fence: Array, order: Array) -> Array:
    """Cluster the nodes within the fences in one pass, from singletons and by edge costs alone; returns ids < n."""
    n = len(fence)
    z = numbers(n)
    sums = np.zeros(n, np.float64)
    touched = np.empty(max_degree(adjacency, n) + 1, np.int32)
    for t in range(n):
        i = order[t]
        count = 0
        total = 0.0
        low, high = span(adjacency, i)
        for h in range(low, high):
            j = end(adjacency, i, h)
            if fence[j] == fence[i]:
                c = z[j]
                before = sums[c]
                touched[count] = c
                count += before == 0
                sums[c] = before + adjacency.weights[h]
                total += abs(np.float64(adjacency.weights[h]))
        target = z[i]
        most = sums[target] + RELATIVE_TOLERANCE * total
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
            cut += np.float64(adjacency.weights[h]) if z[end(adjacency, i, h)] != z[i] else 0.0
    return nodes + 0.5 * cut


@njit
def improvement(
    adjacency: Any, node_costs: Array, z: Array, cluster_class: Array, new_z: Array, new_class: Array
) -> float:
    """By how much at least a second labelling of one level is better than a first one, in O(n + m).

    Only costs that the two do not share are added up, and what rounding may make of those is taken off: huge costs that
    both pay hide nothing.
    """
    gain = 0.0
    total = 0.0
    for i in range(len(z)):
        old, new = cluster_class[z[i]], new_class[new_z[i]]
        if old != new:
            difference = np.float64(node_costs[i, old]) - np.float64(node_costs[i, new])
            gain += difference
            total += abs(difference)
        low, high = span(adjacency, i)
        for h in range(low, high):
            j = end(adjacency, i, h)
            was = z[j] != z[i]
            if j < i and was != (new_z[j] != new_z[i]):
                w = np.float64(adjacency.weights[h])
                gain += w if was else -w
                total += abs(w)
    return gain - RELATIVE_TOLERANCE * total
