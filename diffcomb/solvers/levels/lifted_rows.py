"""Adjacency of a lifted problem: base edges, along which clusters are connected, and lifted edges, which only cost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned
from ..._union_find import flatten, numbers, unite
from .partition import compact, members_of


class LiftedRows(NamedTuple):
    """Neighbours of node i stand at ``indptr[i]:indptr[i + 1]``, each once.

    Attributes
    ----------
    indptr : int64 array, shape (n + 1,)
    neighbours : int32 array
    weights : float64 array
        The summed costs of all edges to the neighbour.
    is_base : bool array
        Whether one of them is a base edge.
    """

    indptr: Array
    neighbours: Array
    weights: Array
    is_base: Array


@njit
def lifted_rows(csr: tuple[Array, Array, Array], costs: Array, num_base: int) -> LiftedRows:
    """Make them of the adjacency of all edges, of which the first `num_base` are base edges, in O(n + m)."""
    indptr, neighbours, edge_ids = csr
    weights = np.empty(len(neighbours), np.float64)
    is_base = np.empty(len(neighbours), np.bool_)
    for h in range(len(neighbours)):
        weights[h] = costs[unsigned(edge_ids[h])]
        is_base[h] = edge_ids[h] < num_base
    n = len(indptr) - 1
    return contract_lifted(LiftedRows(indptr, neighbours, weights, is_base), numbers(n), n)


@njit
def contract_lifted(rows: LiftedRows, group: Array, count: int) -> LiftedRows:
    """Contract the groups 0..M-1; costs of parallel edges add up, and those that cancel to 0 stay. In O(n + m)."""
    start, members = members_of(group, count)
    indptr = np.zeros(count + 1, np.int64)
    neighbours = np.empty(len(rows.neighbours), np.int32)
    weights = np.empty(len(rows.neighbours), np.float64)
    is_base = np.empty(len(rows.neighbours), np.bool_)
    place = np.full(count, -1, np.int64)
    used = 0
    for g in range(count):
        begin = used
        for t in range(start[g], start[g + 1]):
            i = unsigned(members[t])
            for h in range(rows.indptr[i], rows.indptr[i + 1]):
                other = unsigned(group[unsigned(rows.neighbours[h])])
                if other == g:
                    continue
                at = place[other]
                if at < begin:
                    place[other] = used
                    neighbours[used] = other
                    weights[used] = rows.weights[h]
                    is_base[used] = rows.is_base[h]
                    used += 1
                else:
                    weights[at] += rows.weights[h]
                    is_base[at] |= rows.is_base[h]
        indptr[g + 1] = used
    return LiftedRows(indptr, neighbours[:used].copy(), weights[:used].copy(), is_base[:used].copy())


@njit
def base_parts(rows: LiftedRows, z: Array, other: Array) -> tuple[Array, int]:
    """Groups 0..M-1 of the nodes that both labellings keep together and that base edges connect within them."""
    n = len(z)
    parent = numbers(n)
    for i in range(n):
        for h in range(rows.indptr[i], rows.indptr[i + 1]):
            j = unsigned(rows.neighbours[h])
            if j < i and rows.is_base[h] and z[i] == z[j] and other[i] == other[j]:
                unite(parent, i, j)
    flatten(parent)
    return compact(parent, n)
