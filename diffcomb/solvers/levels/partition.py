"""Partitions of the nodes: groups that are numbered, listed, overlaid, or taken apart into what is connected."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned
from ..._threads import thread_ranges
from ..._union_find import flatten, numbers, unite
from ..limits import LIMITS
from .costs import Rows, end, half_edges


@njit
def compact(ids: Array, num_ids: int) -> tuple[Array, int]:
    """Renumber ids 0..num_ids-1 to 0..M-1 by first appearance; returns the new ids and M."""
    new_id = np.full(num_ids, -1, np.int32)
    group = np.empty(len(ids), np.int32)
    count = 0
    for i in range(len(ids)):
        c = unsigned(ids[i])
        if new_id[c] < 0:
            new_id[c] = count
            count += 1
        group[i] = new_id[c]
    return group, count


@njit
def members_of(group: Array, num_groups: int) -> tuple[Array, Array]:
    """The nodes of group g are ``members[start[g]:start[g + 1]]``, by counting."""
    start = np.zeros(num_groups + 1, np.int64)
    for i in range(len(group)):
        start[unsigned(group[i] + 1)] += 1
    for g in range(num_groups):
        start[g + 1] += start[g]
    fill = start[:-1].copy()
    members = np.empty(len(group), np.int32)
    for i in range(len(group)):
        g = unsigned(group[i])
        members[unsigned(fill[g])] = i
        fill[g] += 1
    return start, members


@njit
def overlay(first: Array, num_first: int, second: Array, num_second: int) -> tuple[Array, int]:
    """Groups of the nodes that agree in both labellings, numbered 0..M-1; in O(n), without hashing."""
    start, members = members_of(first, num_first)
    owner = np.full(num_second, -1, np.int32)
    number = np.empty(num_second, np.int32)
    group = np.empty(len(first), np.int32)
    count = 0
    for a in range(num_first):
        for t in range(start[a], start[a + 1]):
            i = unsigned(members[t])
            b = unsigned(second[i])
            if owner[b] != a:
                owner[b] = a
                number[b] = count
                count += 1
            group[i] = number[b]
    return group, count


def gathered(values: Array, index: Array) -> Array:
    """``values[index]``, by threads where there are many."""
    if len(index) <= LIMITS.min_parallel:
        return values[index]
    out = np.empty(len(index), values.dtype)
    thread_ranges(partial(_gather, values, index, out), len(index), LIMITS.min_parallel // 4)
    return out


@njit
def _gather(values: Array, index: Array, out: Array, first: int, last: int) -> None:
    for i in range(first, last):
        out[unsigned(i)] = values[unsigned(index[unsigned(i)])]


@njit
def clusters_of_groups(z: Array, group: Array, count: int) -> Array:
    """The clusters of groups whose members share one, numbered from 0; ids of `z` are 0..n."""
    ids, _ = compact(z, len(z) + 1)
    out = np.empty(count, np.int32)
    for i in range(len(z)):
        out[group[i]] = ids[i]
    return out


@njit
def connected_parts(adjacency: Any, z: Array) -> Array:
    """A root, the smallest node, for the connected part of its cluster that every node lies in."""
    parent = numbers(len(z))
    for i in range(len(z)):
        for h in half_edges(adjacency, i):
            j = end(adjacency, i, h)
            if j < i and z[j] == z[i]:
                unite(parent, i, j)
    flatten(parent)
    return parent


def edges_within(rows: Rows, part: Array) -> Rows:
    """The edges between nodes of one part."""
    start, neighbours, weights, count = _edges_within(rows, part)
    return Rows(start, neighbours[:count].copy(), weights[:count].copy())


@njit
def _edges_within(rows: Rows, part: Array) -> tuple[Array, Array, Array, int]:
    indptr, neighbours, weights = rows
    start = np.zeros_like(indptr)
    ends, costs = np.empty_like(neighbours), np.empty_like(weights)
    count = 0
    for i in range(len(part)):
        for h in range(indptr[i], indptr[i + 1]):
            if part[neighbours[h]] == part[i]:
                ends[count], costs[count] = neighbours[h], weights[h]
                count += 1
        start[i + 1] = count
    return start, ends, costs, count


def cut_components(edges: Array, z: Array) -> tuple[Array, Array]:
    """Y of a labelling that cuts exactly the edges between ids, and a root of every node's component of uncut edges.

    The first edges, a few for each node, join nearly all that there is to join. So threads look for the others that
    still join something.
    """
    y = np.zeros(len(edges), np.uint8)
    parent = numbers(len(z))
    few = min(2 * len(z), len(edges))
    _join_uncut(edges[:few], z, y, parent)
    left: list[Array] = []

    def look(first: int, last: int) -> None:
        part = slice(few + first, few + last)
        left.append(_joining(edges[part], z, y[part], parent))

    thread_ranges(look, len(edges) - few, LIMITS.half_edges_a_thread)
    for some in left:
        _join_uncut(some, z, y, parent)
    return y, parent


@njit
def _join_uncut(edges: Array, z: Array, y: Array, parent: Array) -> None:
    """Mark the edges between ids in y, and join the ends of the others; all nodes point at their roots then."""
    for e in range(len(edges)):
        u, v = unsigned(edges[e, 0]), unsigned(edges[e, 1])
        if z[u] != z[v]:
            y[e] = 1
        elif parent[u] != parent[v]:
            unite(parent, u, v)
    flatten(parent)


@njit
def _joining(edges: Array, z: Array, y: Array, parent: Array) -> Array:
    """Mark the edges between ids in y; returns those that are within an id and between trees."""
    found = np.empty(edges.shape, np.int32)
    count = 0
    for e in range(len(edges)):
        u, v = unsigned(edges[e, 0]), unsigned(edges[e, 1])
        if z[u] != z[v]:
            y[e] = 1
        elif parent[u] != parent[v]:
            found[count] = edges[e]
            count += 1
    return found[:count]
