"""How one cluster absorbs another: for every cluster the list of the edges that are left, and how parallel ones meet.

The edges of the cluster that goes must meet the parallel ones of the cluster that stays. Of a small cluster the
neighbours are marked for a moment; the few with many neighbours, *hubs*, keep theirs in a hash table.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import inlined, njit, unsigned
from ..limits import KERNELS
from ..structures.edge_table import pair_insert, pair_table
from ..structures.queue import queue_order


class Edges(NamedTuple):
    """The edges of a graph while it is contracted.

    Attributes
    ----------
    ends : int32 array, shape (m, 2)
        The clusters that an edge joins; -1 first once it is contracted, or part of a parallel one.
    first, last, link : int32 arrays, shapes (n,), (n,) and (2 m,)
        The edges of a cluster are a linked list of half-edges (2 e and 2 e + 1 of edge e), so that lists join in O(1);
        those of edges that are gone remain until somebody walks over them.
    degree : int32 array, shape (n,)
        How many edges a cluster has.
    """

    ends: Array
    first: Array
    last: Array
    link: Array
    degree: Array


@njit
def list_edges(ends: Array, num_nodes: int) -> Edges:
    """The lists of edges without loops and parallel ones; `ends` becomes part of them."""
    first, last = np.full(num_nodes, -1, np.int32), np.full(num_nodes, -1, np.int32)
    link, degree = np.full(2 * len(ends), -1, np.int32), np.zeros(num_nodes, np.int32)
    for e in range(len(ends) - 1, -1, -1):  # from behind, since the head of a list is at hand and its tail is not
        for side in range(2):
            i, half = unsigned(ends[e, side]), 2 * e + side
            if first[i] < 0:
                last[i] = half
            link[half] = first[i]
            first[i] = half
            degree[i] += 1
    return Edges(ends, first, last, link, degree)


@njit
def append(first: Array, last: Array, link: Array, i: int, half: int) -> None:
    """Append a half-edge to the list of a cluster."""
    link[unsigned(half)] = -1
    if first[i] < 0:
        first[i] = half
    else:
        link[unsigned(last[i])] = half
    last[i] = half


@njit
def enter_all(ends: Array, entered: Array, keys: Array, items: Array) -> int:
    """Make the queue of edges anew, with the entries that count alone; returns its size."""
    size = 0
    for e in range(len(entered)):
        if ends[e, 0] >= 0 and entered[e] >= 0:
            keys[size], items[size] = entered[e], e
            size += 1
    queue_order(keys, items, size)
    return size


# While a cluster that is no hub absorbs another, its neighbours are marked with their edges


@njit
def mark_neighbours(edges: Edges, i: int, mark: Array, stamp: int) -> None:
    """Note the edge to each neighbour of cluster i, and forget the half-edges of edges that are gone.

    The stamp is the cluster that i absorbs: since each goes once, notes of before need not be taken back.
    """
    ends, first, last, link, _ = edges
    high = np.int64(stamp) << 32
    before = -1
    half = first[i]
    while half >= 0:
        following = link[unsigned(half)]
        f = unsigned(half >> 1)
        if ends[f, 0] >= 0:
            mark[unsigned(ends[f, 1 - (half & 1)])] = high | (half >> 1)
            before = half
        elif before < 0:
            first[i] = following
        else:
            link[unsigned(before)] = following
        half = following
    last[i] = before


@njit
def marked(mark: Array, other: int, stamp: int) -> int:
    """The edge to a neighbour, or -1."""
    value = mark[unsigned(other)]
    return value & 0xFFFFFFFF if value >> 32 == stamp else -1


# Hubs keep their edges in a table


class Hubs(NamedTuple):
    """Clusters with many edges, and the table of these.

    Attributes
    ----------
    is_hub : bool array, shape (n,)
    keys, values : int64 arrays
        Of the table.
    pairs : int64 array, shape (1,)
        How many entries it has.
    """

    is_hub: Array
    keys: Array
    values: Array
    pairs: Array


@njit
def no_hubs(num_nodes: int) -> Hubs:
    """Before the first absorption."""
    keys, values = pair_table(KERNELS.min_hub)
    return Hubs(np.zeros(num_nodes, np.bool_), keys, values, np.zeros(1, np.int64))


@inlined
def is_crowded(degree: Any, is_hub: Any, keys: Any, pairs: Any, i: int, j: int) -> Any:
    """Whether `with_room` has anything to do, which is rare."""
    return (degree[i] >= KERNELS.min_hub and not is_hub[i]) or 2 * (pairs[0] + degree[j]) > len(keys)


@njit
def with_room(edges: Edges, hubs: Hubs, i: int, j: int) -> Hubs:
    """Make cluster i a hub if it has become one, and room in the table for the edges of cluster j."""
    is_hub, keys, values, pairs = hubs
    degree = edges.degree
    if degree[i] >= KERNELS.min_hub and not is_hub[i]:
        is_hub[i] = True
        if 2 * (pairs[0] + degree[i]) > len(keys):
            keys, values = pair_table(2 * (pairs[0] + degree[i]))
            pairs[0] = _tabulate(edges.ends, is_hub, keys, values)
        else:
            pairs[0] += _tabulate_hub(edges, i, keys, values)
    if 2 * (pairs[0] + degree[j]) > len(keys):
        keys, values = pair_table(2 * (pairs[0] + degree[j]))
        pairs[0] = _tabulate(edges.ends, is_hub, keys, values)
    return Hubs(is_hub, keys, values, pairs)


@njit
def _tabulate(ends: Array, is_hub: Array, keys: Array, values: Array) -> int:
    """Enter all edges of hubs into an empty table; returns how many there are."""
    count = 0
    for e in range(len(ends)):
        if ends[e, 0] >= 0 and (is_hub[ends[e, 0]] or is_hub[ends[e, 1]]):
            count += pair_insert(keys, values, ends[e, 0], ends[e, 1], e)
    return count


@njit
def _tabulate_hub(edges: Edges, i: int, keys: Array, values: Array) -> int:
    ends, first, _, link, _ = edges
    count = 0
    half = first[i]
    while half >= 0:
        f = half >> 1
        if ends[f, 0] >= 0:
            count += pair_insert(keys, values, ends[f, 0], ends[f, 1], f)
        half = link[half]
    return count
