"""Joins of agglomeration whose order does not matter, many at a time.

Where a join never makes an interaction stronger than the stronger of the two that it replaces, as with averages,
maxima and minima, two clusters that are each other's strongest neighbour stay so until they join (reducibility,
Bruynooghe 1978). So all such pairs join at once, the graph is contracted, and so on, without lists, hash tables and
queues. A hub takes one neighbour a round: what is left when rounds bring little is for :mod:`.agglomerating`.
"""

from __future__ import annotations

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned
from ..._union_find import numbers
from ..limits import KERNELS
from .linkages import joint, priority


@njit
def join_reciprocal(
    csr: tuple[Array, Array, Array], costs: Array, sizes: Array, linkage: int, constrained: bool
) -> tuple[Array, int, Array, Array, Array]:
    """Join pairs of clusters that are each other's strongest neighbour, while a round joins enough of them.

    Parameters
    ----------
    csr : tuple of arrays
        Of the graph, without parallel edges.
    costs, sizes, linkage, constrained
        As in `agglomerated`. They do not change; sums are not a linkage for this.

    Returns
    -------
    group : int32 array, shape (n,)
        The cluster of every node, numbered from 0 by first appearance.
    num_clusters : int
    edges, costs, sizes
        The interactions of these clusters.
    """
    indptr, ends, edge_ids = csr[0].copy(), csr[1].copy(), csr[2]
    values, weights = costs[edge_ids], sizes[edge_ids]
    num_nodes = n = len(indptr) - 1
    group = numbers(n)
    # Two of each, which take turns: memory is touched once.
    indptr2, ends2, values2, weights2 = indptr.copy(), ends.copy(), values.copy(), weights.copy()
    while True:
        best, joins = _partners(n, indptr, ends, values, constrained)
        if joins * KERNELS.half_edges_a_join < indptr[n] or joins == 0:
            break
        number, members = _pairs(best, joins)
        for i in range(num_nodes):
            group[i] = number[unsigned(group[i])]
        _contract(indptr, ends, values, weights, number, members, linkage, indptr2, ends2, values2, weights2)
        n -= joins
        indptr, ends, values, weights, indptr2, ends2, values2, weights2 = (
            indptr2, ends2, values2, weights2, indptr, ends, values, weights,
        )  # fmt: skip
    return group, n, *_edges_of(n, indptr, ends, values, weights)


@njit
def _partners(n: int, indptr: Array, ends: Array, values: Array, constrained: bool) -> tuple[Array, int]:
    """The strongest neighbour of every node that it may join, or -1; and how many pairs are each other's.

    Of equal ones the first counts, so that there is always a pair.
    """
    best = np.empty(n, np.int32)
    for i in range(n):
        strongest = 0.0
        chosen = -1
        for h in range(indptr[i], indptr[i + 1]):
            key = priority(values[np.uint64(h)], constrained)
            if key < strongest:
                continue
            j = ends[np.uint64(h)]
            if key > strongest or 0 <= j < chosen:
                strongest = key
                chosen = j if values[np.uint64(h)] > 0 else -1
        best[i] = chosen
    joins = 0
    for i in range(n):
        j = best[i]
        if j > i and best[j] == i:
            joins += 1
    return best, joins


@njit
def _pairs(best: Array, joins: int) -> tuple[Array, Array]:
    """New numbers of all nodes, and the one or two nodes that each has."""
    n = len(best)
    number = np.empty(n, np.int32)
    members = np.full((n - joins, 2), -1, np.int32)
    count = 0
    for i in range(n):
        j = best[i]
        if 0 <= j < i and best[j] == i:
            number[i] = number[j]
            members[number[j], 1] = i
        else:
            number[i] = count
            members[count, 0] = i
            count += 1
    return number, members


@njit
def _contract(
    indptr: Array, ends: Array, values: Array, weights: Array, number: Array, members: Array, linkage: int,
    new_indptr: Array, new_ends: Array, new_values: Array, new_weights: Array,
) -> None:  # fmt: skip
    """Write the adjacency lists of the pairs, parallel edges joined as the linkage says."""
    n = len(members)
    place = np.full(n, -1, np.int64)  # of a neighbour in the list that is being written
    at = 0
    for g in range(n):
        begin = at
        for side in range(2):
            i = members[g, side]
            if i < 0:
                continue
            for h in range(indptr[i], indptr[i + 1]):
                other = unsigned(number[unsigned(ends[np.uint64(h)])])
                if other == g:
                    continue
                p = place[other]
                value, weight = values[np.uint64(h)], weights[np.uint64(h)]
                if p >= begin:
                    t = np.uint64(p)
                    new_values[t] = joint(new_values[t], new_weights[t], value, weight, linkage)
                    new_weights[t] += weight
                else:
                    t = np.uint64(at)
                    place[other] = at
                    new_ends[t], new_values[t], new_weights[t] = other, value, weight
                    at += 1
        new_indptr[g + 1] = at


@njit
def _edges_of(n: int, indptr: Array, ends: Array, values: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Every edge once."""
    edges = np.empty((indptr[n] // 2, 2), np.int32)
    costs, sizes = np.empty(len(edges)), np.empty(len(edges))
    e = 0
    for i in range(n):
        for h in range(indptr[i], indptr[i + 1]):
            if ends[h] > i:
                edges[e, 0], edges[e, 1] = i, ends[h]
                costs[e], sizes[e] = values[h], weights[h]
                e += 1
    return edges, costs, sizes
