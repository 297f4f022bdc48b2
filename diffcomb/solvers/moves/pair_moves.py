"""Kernighan-Lin updates of one pair of clusters: the best prefix of a chain of moves, or a join.

Within a pair only one number a node matters, what moving it to the other side gains, and a move changes it for
the neighbours alone. What holds a node in its own cluster is kept for all nodes, so that a pair takes time with the
edges of its smaller cluster and of the nodes that move: the centre of a star has as many pairs as leaves. The node to
move next comes from a heap; a linear scan of the border in its place is what makes the published implementations take
seconds on a large image.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import njit
from ..levels.costs import Costs, degree, end, half_edges
from ..levels.labels import Labels
from ..limits import KERNELS
from ..structures.heap import heap_insert, heap_remove, heap_update

OUTSIDE, FREE, MOVED = 0, 1, 2


class Clusters(NamedTuple):
    """A labelling whose clusters are lists, doubly linked: ``first[c]``, ``following[i]``, ``previous[i]``, -1 at ends.

    ``volume`` holds the half-edges of every cluster's members, ``own`` (n,) the costs of a node's edges within its
    cluster.
    """

    z: Array
    cluster_class: Array
    first: Array
    following: Array
    previous: Array
    size: Array
    volume: Array
    own: Array


class Scratch(NamedTuple):
    """Arrays over the nodes that one pair uses and leaves clean."""

    nodes: Array
    chain: Array
    keys: Array
    heap: Array
    place: Array
    state: Array


def linked_clusters(adjacency: Any, labels: Labels) -> Clusters:
    """List the members of every cluster; the labelling is that of the clusters from now on."""
    z, cluster_class = labels
    n, num_ids = len(z), len(cluster_class)
    # Made here and not in a kernel: numba 0.68 frees arrays of a named tuple that is built and used in one function.
    clusters = Clusters(
        z,
        cluster_class,
        np.full(num_ids, -1, np.int32),
        np.full(n, -1, np.int32),
        np.full(n, -1, np.int32),
        np.zeros(num_ids, np.int32),
        np.zeros(num_ids, np.int64),
        np.zeros(n, np.float64),
    )
    _fill(adjacency, clusters)
    return clusters


@njit
def _fill(adjacency: Any, clusters: Clusters) -> None:
    z = clusters.z
    for i in range(len(z) - 1, -1, -1):
        _link(adjacency, clusters, i)
        for h in half_edges(adjacency, i):
            if z[end(adjacency, i, h)] == z[i]:
                clusters.own[i] += adjacency.weights[h]


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
def _link(adjacency: Any, clusters: Clusters, i: int) -> None:
    """Put node i first in the list of its cluster."""
    c = clusters.z[i]
    after = clusters.first[c]
    clusters.following[i], clusters.previous[i] = after, -1
    if after >= 0:
        clusters.previous[after] = i
    clusters.first[c] = i
    clusters.size[c] += 1
    clusters.volume[c] += degree(adjacency, i)


@njit
def _unlink(adjacency: Any, clusters: Clusters, i: int, c: int) -> None:
    """Take node i out of the list of cluster c."""
    before, after = clusters.previous[i], clusters.following[i]
    if before >= 0:
        clusters.following[before] = after
    else:
        clusters.first[c] = after
    if after >= 0:
        clusters.previous[after] = before
    clusters.size[c] -= 1
    clusters.volume[c] -= degree(adjacency, i)


@njit
def _commit(adjacency: Any, clusters: Clusters, scratch: Scratch, count: int, a: int, b: int) -> None:
    """Bring lists and sums up to date after ``scratch.chain[:count]`` went to the other of the two clusters."""
    z, own, state = clusters.z, clusters.own, scratch.state
    for t in range(count):
        i = scratch.chain[t]
        state[i] = MOVED
        _unlink(adjacency, clusters, i, a if z[i] == b else b)
        _link(adjacency, clusters, i)
    for t in range(count):
        i = scratch.chain[t]
        own[i] = 0.0
        for h in half_edges(adjacency, i):
            j = end(adjacency, i, h)
            w = np.float64(adjacency.weights[h])
            if z[j] == z[i]:
                own[i] += w
            if state[j] != MOVED and (z[j] == a or z[j] == b):
                own[j] += w if z[j] == z[i] else -w
    for t in range(count):
        state[scratch.chain[t]] = OUTSIDE


@njit
def _enter(node_costs: Array, clusters: Clusters, scratch: Scratch, count: int, i: int, to: int) -> int:
    """Let node i take part, with what moving it to a class gains as if it had no edge there; returns the new count."""
    costs = node_costs[i]
    scratch.keys[i] = np.float64(costs[clusters.cluster_class[clusters.z[i]]]) - costs[to] - clusters.own[i]
    scratch.state[i] = FREE
    scratch.nodes[count] = i
    return count + 1


@njit
def _collect(costs: Costs, clusters: Clusters, scratch: Scratch, large: int, small: int) -> tuple[int, int, float]:
    """List the nodes of the small cluster and their neighbours in the large one; those at the border enter the heap.

    Of an empty cluster everything in the other one is a neighbour. Returns the number of nodes, the size of the heap,
    and the costs of all edges between the two, less what rounding may make of them.
    """
    adjacency, node_costs, z, keys = costs.adjacency, costs.node_costs, clusters.z, scratch.keys
    to_large, to_small = clusters.cluster_class[large], clusters.cluster_class[small]
    count = 0
    size = 0
    between = 0.0
    if clusters.size[small] == 0:
        i = clusters.first[large]
        while i >= 0:
            count = _enter(node_costs, clusters, scratch, count, i, to_small)
            i = clusters.following[i]
    i = clusters.first[small]
    while i >= 0:
        count = _enter(node_costs, clusters, scratch, count, i, to_large)
        border = False
        for h in half_edges(adjacency, i):
            j = end(adjacency, i, h)
            if z[j] == large:
                if scratch.state[j] == OUTSIDE:
                    count = _enter(node_costs, clusters, scratch, count, j, to_small)
                w = np.float64(adjacency.weights[h])
                keys[j] += w
                keys[i] += w
                between += w - KERNELS.relative_tolerance * abs(w)
                border = True
        if border:
            size = heap_insert(scratch.heap, scratch.place, keys, size, i)
        i = clusters.following[i]
    for t in range(count):
        i = scratch.nodes[t]
        if z[i] == large:
            size = heap_insert(scratch.heap, scratch.place, keys, size, i)
    return count, size, between


@njit
def _chain_of_moves(
    costs: Costs, clusters: Clusters, scratch: Scratch, count: int, size: int, a: int, b: int, patience: int
) -> tuple[int, int, float]:
    """Move the best free node again and again, also at a loss; undo all after the best point.

    Stops `patience` moves after the last best point. Returns how many nodes take part now, how many moves stand, and
    what they gain.
    """
    adjacency, node_costs = costs.adjacency, costs.node_costs
    z, keys, state, chain = clusters.z, scratch.keys, scratch.state, scratch.chain
    limit = KERNELS.min_degree + 4 * min(clusters.volume[a], clusters.volume[b])
    gain = 0.0
    noise = 0.0  # what rounding may make of the gain
    best = 0.0
    best_length = 0
    length = 0
    while size > 0 and length - best_length < patience:
        i = scratch.heap[0]
        size = heap_remove(scratch.heap, scratch.place, keys, size, i)
        if degree(adjacency, i) > limit:
            continue
        gain += keys[i]
        state[i] = MOVED
        old = z[i]
        z[i] = b if old == a else a
        chain[length] = i
        length += 1
        noise += KERNELS.relative_tolerance * abs(keys[i])
        for h in half_edges(adjacency, i):
            j = end(adjacency, i, h)
            noise += KERNELS.relative_tolerance * abs(np.float64(adjacency.weights[h]))
            if state[j] == MOVED or (z[j] != a and z[j] != b):
                continue
            if state[j] == OUTSIDE:
                count = _enter(node_costs, clusters, scratch, count, j, clusters.cluster_class[a if z[j] == b else b])
                # Its sums are those of before this move, of which only the edge to i counts.
            keys[j] += 2 * np.float64(adjacency.weights[h]) * (1 if z[j] == old else -1)
            if scratch.place[j] < 0:
                size = heap_insert(scratch.heap, scratch.place, keys, size, j)
            else:
                heap_update(scratch.heap, scratch.place, keys, size, j)
        if gain > max(best, noise):
            best = gain
            best_length = length
    for t in range(best_length, length):
        i = chain[t]
        z[i] = b if z[i] == a else a
    for t in range(size):
        scratch.place[scratch.heap[t]] = -1
    return count, best_length, best


@njit
def _class_change(node_costs: Array, clusters: Clusters, c: int, to: int) -> float:
    """What giving all of cluster c another class gains in node costs, less what rounding may make of it."""
    here = clusters.cluster_class[c]
    gain = 0.0
    if here != to:
        i = clusters.first[c]
        while i >= 0:
            difference = np.float64(node_costs[i, here]) - np.float64(node_costs[i, to])
            gain += difference - KERNELS.relative_tolerance * abs(difference)
            i = clusters.following[i]
    return gain


@njit
def update_pair(costs: Costs, clusters: Clusters, scratch: Scratch, a: int, b: int, patience: int) -> bool:
    """Do to clusters a and b whatever gains most: a chain of moves between them, or a join; one may be empty."""
    z, size, cluster_class = clusters.z, clusters.size, clusters.cluster_class
    small = b if size[b] == 0 or clusters.volume[b] <= clusters.volume[a] else a
    large = a if small == b else b
    count, heap_size, between = _collect(costs, clusters, scratch, large, small)
    into_large = between + _class_change(costs.node_costs, clusters, small, cluster_class[large])
    into_small = into_large
    if cluster_class[small] != cluster_class[large]:
        into_small = -np.inf
        if size[large] <= KERNELS.max_unlike * size[small]:
            into_small = between + _class_change(costs.node_costs, clusters, large, cluster_class[small])
    count, length, gain = _chain_of_moves(costs, clusters, scratch, count, heap_size, a, b, patience)
    for t in range(count):
        scratch.state[scratch.nodes[t]] = OUTSIDE
    if size[small] > 0 and max(into_large, into_small) > gain:
        for t in range(length):  # the join stands in the place of the chain
            i = scratch.chain[t]
            z[i] = b if z[i] == a else a
        moving, target = (small, large) if into_large >= into_small else (large, small)
        length = 0
        i = clusters.first[moving]
        while i >= 0:
            scratch.chain[length] = i
            length += 1
            z[i] = target
            i = clusters.following[i]
    _commit(costs.adjacency, clusters, scratch, length, a, b)
    return length > 0
