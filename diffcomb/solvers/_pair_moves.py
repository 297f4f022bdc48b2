"""Kernighan-Lin updates of one pair of clusters: the best prefix of a chain of moves, or a join.

Within a pair only one number a node matters, what moving it to the other side gains, and a move changes it for
the neighbours alone. The node to move next comes from a heap; a linear scan of the border in its place is what
makes the published implementations take seconds on a large image.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._arrays import Array
from .._numba import njit
from ._adjacency import end, span
from ._heap import heap_insert, heap_remove, heap_update

OUTSIDE, FREE, MOVED = 0, 1, 2


class Clusters(NamedTuple):
    """A labelling whose clusters are linked lists: ``first[c]`` and ``following[i]``, -1 at their ends."""

    z: Array
    cluster_class: Array
    first: Array
    following: Array
    size: Array


class Scratch(NamedTuple):
    """Arrays over the nodes that one pair uses and leaves clean."""

    nodes: Array
    chain: Array
    keys: Array
    heap: Array
    place: Array
    state: Array


@njit
def linked_clusters(z: Array, cluster_class: Array) -> Clusters:
    """List the members of every cluster."""
    num_ids = len(cluster_class)
    first = np.full(num_ids, -1, np.int32)
    following = np.full(len(z), -1, np.int32)
    size = np.zeros(num_ids, np.int32)
    for i in range(len(z) - 1, -1, -1):
        following[i] = first[z[i]]
        first[z[i]] = i
        size[z[i]] += 1
    return Clusters(z, cluster_class, first, following, size)


@njit
def new_scratch(n: int) -> Scratch:
    """Scratch for graphs of n nodes."""
    return Scratch(
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.zeros(n, np.float64),
        np.empty(n, np.int64),
        np.full(n, -1, np.int64),
        np.zeros(n, np.int8),
    )


@njit
def _collect(
    adjacency: Any, node_costs: Array, clusters: Clusters, scratch: Scratch, a: int, b: int
) -> tuple[int, int, float, float]:
    """List the nodes of both clusters, with the gains of moving them; those at the border enter the heap.

    Returns the number of nodes, the size of the heap, and what joining everything in a, or in b, gains.
    """
    z, cluster_class = clusters.z, clusters.cluster_class
    class_a, class_b = cluster_class[a], cluster_class[b]
    count = 0
    size = 0
    join_a = 0.0
    join_b = 0.0
    for side in range(2):
        i = clusters.first[a] if side == 0 else clusters.first[b]
        while i >= 0:
            to_a = 0.0
            to_b = 0.0
            border = clusters.size[b] == 0
            low, high = span(adjacency, i)
            for h in range(low, high):
                c = z[end(adjacency, i, h)]
                if c == a:
                    to_a += adjacency.weights[h]
                    border = border or side == 1
                elif c == b:
                    to_b += adjacency.weights[h]
                    border = border or side == 0
            from_a_to_b = to_b - to_a + node_costs[i, class_a] - node_costs[i, class_b]
            if side == 0:
                join_a += to_b
                join_b += to_b + node_costs[i, class_a] - node_costs[i, class_b]
            else:
                join_a += node_costs[i, class_b] - node_costs[i, class_a]
            scratch.keys[i] = from_a_to_b if side == 0 else -from_a_to_b
            scratch.state[i] = FREE
            scratch.nodes[count] = i
            count += 1
            if border:
                size = heap_insert(scratch.heap, scratch.place, scratch.keys, size, i)
            i = clusters.following[i]
    return count, size, join_a, join_b


@njit
def _chain_of_moves(
    adjacency: Any, z: Array, scratch: Scratch, size: int, a: int, b: int, patience: int, tolerance: float
) -> tuple[int, float]:
    """Move the best free node again and again, also at a loss; undo all after the best point.

    Stops `patience` moves after the last best point. Returns how many moves stand and what they gain.
    """
    keys, state = scratch.keys, scratch.state
    gain = 0.0
    best = tolerance
    best_length = 0
    length = 0
    while size > 0 and length - best_length < patience:
        i = scratch.heap[0]
        size = heap_remove(scratch.heap, scratch.place, keys, size, i)
        gain += keys[i]
        state[i] = MOVED
        old = z[i]
        z[i] = b if old == a else a
        scratch.chain[length] = i
        length += 1
        if gain > best:
            best = gain
            best_length = length
        low, high = span(adjacency, i)
        for h in range(low, high):
            j = end(adjacency, i, h)
            if state[j] != FREE:
                continue
            keys[j] += 2 * np.float64(adjacency.weights[h]) * (1 if z[j] == old else -1)
            if scratch.place[j] < 0:
                size = heap_insert(scratch.heap, scratch.place, keys, size, j)
            else:
                heap_update(scratch.heap, scratch.place, keys, size, j)
    for t in range(best_length, length):
        i = scratch.chain[t]
        z[i] = b if z[i] == a else a
    for t in range(size):
        scratch.place[scratch.heap[t]] = -1
    return best_length, best


@njit
def update_pair(
    adjacency: Any,
    node_costs: Array,
    clusters: Clusters,
    scratch: Scratch,
    a: int,
    b: int,
    patience: int,
    tolerance: float,
) -> bool:
    """Do to clusters a and b whatever gains most: a chain of moves between them, or a join; b may be empty."""
    z = clusters.z
    splits = clusters.size[b] == 0
    count, size, join_a, join_b = _collect(adjacency, node_costs, clusters, scratch, a, b)
    length, gain = _chain_of_moves(adjacency, z, scratch, size, a, b, patience, tolerance)
    for t in range(count):
        scratch.state[scratch.nodes[t]] = OUTSIDE
    if not splits and max(join_a, join_b) > gain:
        target = a if join_a >= join_b else b
        for t in range(count):
            z[scratch.nodes[t]] = target
    elif length == 0:
        return False
    clusters.first[a] = clusters.first[b] = -1
    clusters.size[a] = clusters.size[b] = 0
    for t in range(count - 1, -1, -1):
        i = scratch.nodes[t]
        clusters.following[i] = clusters.first[z[i]]
        clusters.first[z[i]] = i
        clusters.size[z[i]] += 1
    return True
