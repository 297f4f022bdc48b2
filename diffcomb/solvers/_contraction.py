"""Contraction: every cluster becomes one node; parallel edge costs and node costs add up."""

from __future__ import annotations

import numpy as np

from .._arrays import Array
from .._numba import njit


@njit
def compact(z: Array, num_ids: int) -> tuple[Array, Array]:
    """Renumber the ids in z to 0..M-1 by first appearance; also return the old id of every new one."""
    new_id = np.full(num_ids, -1, np.int32)
    old_id = np.empty(min(num_ids, len(z)), np.int32)
    group = np.empty(len(z), np.int32)
    count = 0
    for i in range(len(z)):
        c = z[i]
        if new_id[c] < 0:
            new_id[c] = count
            old_id[count] = c
            count += 1
        group[i] = new_id[c]
    return group, old_id[:count].copy()


@njit
def contract(
    indptr: Array, neighbours: Array, weights: Array, node_costs: Array, group: Array, num_groups: int
) -> tuple[Array, Array, Array, Array]:
    """Contract the groups 0..M-1 of nodes, in O(n K + m) and without sorting or hashing.

    Returns
    -------
    indptr, neighbours, weights, node_costs
        Adjacency and node costs of the contracted graph.
    """
    n, num_classes = node_costs.shape
    start = np.zeros(num_groups + 1, np.int64)
    for i in range(n):
        start[group[i] + 1] += 1
    for g in range(num_groups):
        start[g + 1] += start[g]
    fill = start[:-1].copy()
    members = np.empty(n, np.int32)
    for i in range(n):
        members[fill[group[i]]] = i
        fill[group[i]] += 1

    sums = np.zeros((num_groups, num_classes), np.float64)
    new_indptr = np.zeros(num_groups + 1, np.int64)
    new_neighbours = np.empty(len(neighbours), np.int32)
    new_weights = np.empty(len(neighbours), np.float64)
    place = np.full(num_groups, -1, np.int64)  # where the edge to a group lies, if at or after this group's start
    count = 0
    for g in range(num_groups):
        first = count
        for t in range(start[g], start[g + 1]):
            i = members[t]
            for k in range(num_classes):
                sums[g, k] += node_costs[i, k]
            for h in range(indptr[i], indptr[i + 1]):
                other = group[neighbours[h]]
                if other == g:
                    continue
                if place[other] < first:
                    place[other] = count
                    new_neighbours[count] = other
                    new_weights[count] = 0.0
                    count += 1
                new_weights[place[other]] += weights[h]
        new_indptr[g + 1] = count
    return new_indptr, new_neighbours[:count].copy(), new_weights[:count].copy(), sums
