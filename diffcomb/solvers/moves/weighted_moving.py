"""Local moving with a cost of all pairs: -γ a_i a_j for any two nodes of a cluster, whether an edge joins them or not.

The sum A_c of the node weights a of every cluster is kept, so that a visit takes time with the degree of a node: the
pairs of node i with cluster c cost γ a_i A_c (constant Potts model, modularity, LambdaCC).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import njit
from ..levels.costs import Rows
from ..limits import KERNELS
from .visit import count_members


class Network(NamedTuple):
    """A graph with costs of edges and of all pairs.

    Attributes
    ----------
    rows : Rows
        n nodes; costs in float64.
    weights : float64 array, shape (n,)
        Not negative.
    resolution : float
        γ, not negative: clusters that no edge joins never gain by a join.
    """

    rows: Rows
    weights: Array
    resolution: float


@njit
def move_weighted(network: Network, z: Array, order: Array) -> int:
    """Move nodes in that order, and those that moves reach, until none gains; returns the number of moves.

    `z` (n,) holds cluster ids 0..n-1 and changes in place. A node sees clusters that it has an edge to, and an empty
    one.
    """
    rows, weights, resolution = network
    indptr, neighbours, costs = rows
    n = len(z)
    total = weights_of(weights, z, n)
    size, free, stack_height = count_members(z, 0)
    height = stack_height[0]
    sums = np.zeros(n, np.float64)
    queue, queued = order.copy(), np.ones(n, np.bool_)
    head, waiting = 0, n
    moves = 0
    visits = KERNELS.max_visits * n + 1024
    while waiting > 0 and visits > 0:
        visits -= 1
        i = queue[head]
        head = head + 1 if head + 1 < n else 0
        waiting -= 1
        queued[i] = False
        a = z[i]
        single = 0.0
        for h in range(indptr[i], indptr[i + 1]):
            sums[z[neighbours[h]]] += costs[h]
            single += abs(costs[h])
        price = resolution * weights[i]
        own = sums[a] - price * (total[a] - weights[i])
        best = own + KERNELS.relative_tolerance * (single + price * total[a])
        target = -1
        if size[a] > 1 and best < 0:
            best = 0.0
            target = n
        for h in range(indptr[i], indptr[i + 1]):
            c = z[neighbours[h]]
            score = sums[c] - price * total[c]
            if c != a and score > best:
                best = score
                target = c
        for h in range(indptr[i], indptr[i + 1]):
            sums[z[neighbours[h]]] = 0.0
        if target < 0:
            continue
        if target == n:
            height -= 1
            target = free[height]
        moves += 1
        size[a] -= 1
        total[a] -= weights[i]
        if size[a] == 0:
            total[a] = 0.0
            free[height] = a
            height += 1
        size[target] += 1
        total[target] += weights[i]
        z[i] = target
        for h in range(indptr[i], indptr[i + 1]):
            j = neighbours[h]
            if not queued[j] and z[j] != target:
                queued[j] = True
                tail = head + waiting
                queue[tail if tail < n else tail - n] = j
                waiting += 1
    return moves


@njit
def with_noise(rows: Rows, noise: float, seed: int) -> Rows:
    """The graph with noise on its costs, the same for either direction of an edge; uniform, and at most `noise`."""
    indptr, neighbours, costs = rows
    noisy = costs.copy()
    for i in range(len(indptr) - 1):
        for h in range(indptr[i], indptr[i + 1]):
            low, high = min(i, neighbours[h]), max(i, neighbours[h])
            state = (np.int64(low) * 16807 + np.int64(high) * 69621 + seed) % 2147483647
            for _ in range(3):
                state = (state * 48271 + 11) % 2147483647
            noisy[h] += noise * (2 * (state / 2147483647.0) - 1)
    return Rows(indptr, neighbours, noisy)


@njit
def weights_of(weights: Array, group: Array, count: int) -> Array:
    """The sum of the node weights of every group."""
    total = np.zeros(count, np.float64)
    for i in range(len(group)):
        total[group[i]] += weights[i]
    return total


@njit
def held(network: Network, z: Array) -> float:
    """What clusters 0..n-1 hold: their edges, less γ times the weights of their pairs and half of those of their nodes.

    The difference of two labellings is that of their objectives, with the other sign.
    """
    rows, weights, resolution = network
    indptr, neighbours, costs = rows
    edges = 0.0
    for i in range(len(z)):
        for h in range(indptr[i], indptr[i + 1]):
            edges += costs[h] if z[neighbours[h]] == z[i] else 0.0
    total = weights_of(weights, z, len(z))
    pairs = 0.0
    for c in range(len(total)):
        pairs += total[c] * total[c]
    return 0.5 * (edges - resolution * pairs)
