"""The kernel of greedy contraction: a queue of edges, and for every cluster the list of those that are left.

To absorb a cluster, its edges must meet the parallel ones of the cluster that stays. Of a small cluster the neighbours
are marked for a moment; the few with many neighbours keep theirs in a hash table.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import njit
from ..._union_find import find
from ..levels.objective import cheapest_classes
from ..limits import KERNELS
from ..structures.edge_table import pair_find, pair_insert, pair_table
from ..structures.queue import queue_order, queue_pop, queue_push, queue_replace


@njit
def _argmin_sum(node_costs: Array, i: int, j: int) -> int:
    """k_ij: the best joint class of two clusters; the first of equals."""
    best = 0
    low = node_costs[i, 0] + node_costs[j, 0]
    for k in range(1, node_costs.shape[1]):
        cost = node_costs[i, k] + node_costs[j, k]
        if cost < low:
            low = cost
            best = k
    return best


@njit
def _similarity(node_costs: Array, classes: Array, i: int, j: int, cost: float) -> Any:
    """t(ij) of Algorithm 2: what joining i and j saves."""
    a, b = classes[i], classes[j]
    if a == b:
        return cost  # the common class stays the best one
    k = _argmin_sum(node_costs, i, j)
    return cost + node_costs[i, a] + node_costs[j, b] - (node_costs[i, k] + node_costs[j, k])


class Edges(NamedTuple):
    """The edges of a graph while it is contracted.

    Attributes
    ----------
    ends : int32 array, shape (m, 2)
        The clusters that an edge joins; -1 first once it is contracted, or part of a parallel one.
    costs : float64 array, shape (m,)
    first, last, link : int32 arrays, shapes (n,), (n,) and (2 m,)
        The edges of a cluster are a linked list of half-edges (2 e and 2 e + 1 of edge e), so that lists join in O(1);
        those of edges that are gone remain until somebody walks over them.
    degree : int32 array, shape (n,)
        How many edges a cluster has.
    """

    ends: Array
    costs: Array
    first: Array
    last: Array
    link: Array
    degree: Array


@njit
def num_edges(indptr: Array, neighbours: Array) -> int:
    """Edges of adjacency lists, each counted at its smaller end.

    They need not be half of all half-edges: contraction sums the two directions of an edge in different orders, and
    drops sums of 0, so that an edge whose costs cancel but for rounding may be left in one direction alone.
    """
    count = 0
    for i in range(len(indptr) - 1):
        for h in range(indptr[i], indptr[i + 1]):
            count += i < neighbours[h]
    return count


@njit
def _list_edges(indptr: Array, neighbours: Array, weights: Array) -> Edges:
    n, m = len(indptr) - 1, num_edges(indptr, neighbours)
    ends = np.empty((m, 2), np.int32)
    costs = np.empty(m, np.float64)
    first, last, link = np.full(n, -1, np.int32), np.full(n, -1, np.int32), np.full(2 * m, -1, np.int32)
    degree = np.zeros(n, np.int32)
    e = 0
    for i in range(n):
        for h in range(indptr[i], indptr[i + 1]):
            j = neighbours[h]
            if i < j:
                ends[e, 0], ends[e, 1] = i, j
                costs[e] = weights[h]
                append(first, last, link, i, 2 * e)
                append(first, last, link, j, 2 * e + 1)
                degree[i] += 1
                degree[j] += 1
                e += 1
    return Edges(ends, costs, first, last, link, degree)


@njit
def _list_base(indptr: Array, neighbours: Array, is_base: Any) -> Any:
    """Which edges may be contracted, in the order of `_list_edges`; None if all may."""
    if is_base is None:  # numba compiles one branch alone
        return None
    joins = np.empty(num_edges(indptr, neighbours), np.bool_)
    e = 0
    for i in range(len(indptr) - 1):
        for h in range(indptr[i], indptr[i + 1]):
            if i < neighbours[h]:
                joins[e] = is_base[h]
                e += 1
    return joins


@njit
def _joins(joins: Any, e: int) -> bool:
    """Whether edge e may be contracted."""
    if joins is None:
        return True
    return bool(joins[e])


@njit
def _share(joins: Any, e: int, parallel: int) -> None:
    """Let the edge that stays of two parallel ones be contracted if either may."""
    if joins is not None:
        joins[parallel] |= joins[e]


@njit
def append(first: Array, last: Array, link: Array, i: int, half: int) -> None:
    """Append a half-edge to the list of a cluster."""
    link[half] = -1
    if first[i] < 0:
        first[i] = half
    else:
        link[last[i]] = half
    last[i] = half


@njit
def _mark_neighbours(edges: Edges, i: int, mark: Array) -> None:
    """Note the edge to each neighbour of cluster i, and forget the half-edges of edges that are gone."""
    ends, _, first, last, link, _ = edges
    before = -1
    half = first[i]
    while half >= 0:
        following = link[half]
        f = half >> 1
        if ends[f, 0] >= 0:
            mark[ends[f, 1 - (half & 1)]] = f
            before = half
        elif before < 0:
            first[i] = following
        else:
            link[before] = following
        half = following
    last[i] = before


@njit
def _unmark_neighbours(edges: Edges, i: int, mark: Array) -> None:
    half = edges.first[i]
    while half >= 0:
        mark[edges.ends[half >> 1, 1 - (half & 1)]] = -1
        half = edges.link[half]


@njit
def _tabulate(edges: Edges, is_hub: Array, table_keys: Array, table_values: Array) -> int:
    """Enter all edges of hubs into an empty table; returns how many there are."""
    ends = edges.ends
    count = 0
    for e in range(len(ends)):
        if ends[e, 0] >= 0 and (is_hub[ends[e, 0]] or is_hub[ends[e, 1]]):
            count += pair_insert(table_keys, table_values, ends[e, 0], ends[e, 1], e)
    return count


@njit
def _tabulate_hub(edges: Edges, i: int, table_keys: Array, table_values: Array) -> int:
    count = 0
    half = edges.first[i]
    while half >= 0:
        f = half >> 1
        if edges.ends[f, 0] >= 0:
            count += pair_insert(table_keys, table_values, edges.ends[f, 0], edges.ends[f, 1], f)
        half = edges.link[half]
    return count


@njit
def contract_greedily(
    indptr: Array, neighbours: Array, weights: Array, node_costs: Array, is_base: Any
) -> tuple[Array, Array]:
    """Contract a graph without parallel edges; node_costs is changed. Returns cluster roots and their classes.

    `is_base` says of each half-edge whether it may be contracted, None that all may; parallel edges may if one may.
    """
    n, m = len(indptr) - 1, num_edges(indptr, neighbours)
    edges = _list_edges(indptr, neighbours, weights)
    joins = _list_base(indptr, neighbours, is_base)
    ends, costs, first, last, link, degree = edges
    classes = cheapest_classes(node_costs)
    parent = np.arange(n)
    mark = np.full(n, -1, np.int32)
    is_hub = np.zeros(n, np.bool_)
    table_keys, table_values = pair_table(KERNELS.min_hub)
    num_pairs = 0
    # Of the entries of an edge only the one with this key counts. Edges that nothing can be gained by have none.
    entered = np.empty(m, np.float64)
    room = m + m // 2 + 16
    keys, items = np.empty(room, np.float64), np.empty(room, np.int32)
    size = 0
    for e in range(m):
        entered[e] = _similarity(node_costs, classes, ends[e, 0], ends[e, 1], costs[e]) if _joins(joins, e) else -np.inf
        if entered[e] >= 0:
            keys[size], items[size] = entered[e], e
            size += 1
    queue_order(keys, items, size)
    while size > 0:
        e = items[0]
        i, j = ends[e, 0], ends[e, 1]
        if i < 0 or keys[0] != entered[e]:
            size = queue_pop(keys, items, size)
            continue
        key = _similarity(node_costs, classes, i, j, costs[e])
        if key < entered[e]:
            entered[e] = key
            if key >= 0:
                queue_replace(keys, items, size, 0, key, e)
            else:
                size = queue_pop(keys, items, size)
            continue
        size = queue_pop(keys, items, size)
        if degree[i] < degree[j]:
            i, j = j, i
        # The cluster of smaller degree, j, is absorbed by i.
        ends[e, 0] = -1
        degree[i] -= 1
        parent[j] = i
        if classes[i] != classes[j]:
            classes[i] = _argmin_sum(node_costs, i, j)
        for k in range(node_costs.shape[1]):
            node_costs[i, k] += node_costs[j, k]
        if degree[i] >= KERNELS.min_hub and not is_hub[i]:
            is_hub[i] = True
            if 2 * (num_pairs + degree[i]) > len(table_keys):
                table_keys, table_values = pair_table(2 * (num_pairs + degree[i]))
                num_pairs = _tabulate(edges, is_hub, table_keys, table_values)
            else:
                num_pairs += _tabulate_hub(edges, i, table_keys, table_values)
        if not is_hub[i]:
            _mark_neighbours(edges, i, mark)
        if 2 * (num_pairs + degree[j]) > len(table_keys):
            table_keys, table_values = pair_table(2 * (num_pairs + degree[j]))
            num_pairs = _tabulate(edges, is_hub, table_keys, table_values)
        if size + degree[j] > room:
            size = enter_all(ends, entered, keys, items)
        half = first[j]
        while half >= 0:
            following = link[half]
            f = half >> 1
            if ends[f, 0] >= 0:
                other = ends[f, 1 - (half & 1)]
                parallel = pair_find(table_keys, table_values, i, other) if is_hub[i] else mark[other]
                if parallel >= 0:
                    costs[parallel] += costs[f]
                    _share(joins, f, parallel)
                    ends[f, 0] = -1
                    degree[other] -= 1
                    f = parallel
                else:
                    ends[f, half & 1] = i
                    append(first, last, link, i, half)
                    degree[i] += 1
                    if is_hub[i] or is_hub[other]:
                        num_pairs += pair_insert(table_keys, table_values, i, other, f)
                key = _similarity(node_costs, classes, i, other, costs[f])
                if key >= 0 and key > entered[f] and _joins(joins, f):
                    entered[f] = key
                    size = queue_push(keys, items, size, key, f)
            half = following
        if not is_hub[i]:
            _unmark_neighbours(edges, i, mark)
    for i in range(n):
        parent[i] = find(parent, i)
    return parent, classes


@njit
def enter_all(ends: Array, entered: Array, keys: Array, items: Array) -> int:
    """Make the queue anew, with the entries that count alone; returns its size."""
    size = 0
    for e in range(len(entered)):
        if ends[e, 0] >= 0 and entered[e] >= 0:
            keys[size], items[size] = entered[e], e
            size += 1
    queue_order(keys, items, size)
    return size
