"""The kernel of greedy contraction: the ends of the edge that saves most become one cluster, again and again."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned
from ..._union_find import find, numbers
from ..levels.objective import cheapest_classes
from ..structures.edge_table import pair_find, pair_insert
from ..structures.queue import queue_lower, queue_pop, queue_push
from .absorbing import GONE, enter_all, list_edges, marked, met, no_meeting


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
def _similarity(node_costs: Any, classes: Array, i: int, j: int, cost: float) -> Any:
    """t(ij) of Algorithm 2: what joining i and j saves."""
    if node_costs is None:  # numba compiles one branch alone
        return cost
    a, b = classes[i], classes[j]
    if a == b:
        return cost  # the common class stays the best one
    k = _argmin_sum(node_costs, i, j)
    return cost + node_costs[i, a] + node_costs[j, b] - (node_costs[i, k] + node_costs[j, k])


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
def _once(indptr: Array, neighbours: Array, weights: Array) -> tuple[Array, Array]:
    """The ends and the costs of the edges of adjacency lists, each once."""
    m = num_edges(indptr, neighbours)
    ends, costs = np.empty((m, 2), np.int32), np.empty(m, np.float64)
    e = 0
    for i in range(len(indptr) - 1):
        for h in range(indptr[i], indptr[i + 1]):
            if i < neighbours[h]:
                ends[e, 0], ends[e, 1], costs[e] = i, neighbours[h], weights[h]
                e += 1
    return ends, costs


@njit
def _list_base(indptr: Array, neighbours: Array, is_base: Any) -> Any:
    """Which edges may be contracted, in the order of `_once`; None if all may."""
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
def contract_greedily(
    indptr: Array, neighbours: Array, weights: Array, node_costs: Any, is_base: Any
) -> tuple[Array, Array]:
    """Contract a graph without parallel edges; node_costs is changed. Returns cluster roots and their classes.

    Node costs of None are those of a multicut: one class, and no costs.
    `is_base` says of each half-edge whether it may be contracted, None that all may; parallel edges may if one may.
    """
    n = len(indptr) - 1
    ends, costs = _once(indptr, neighbours, weights)
    m = len(ends)
    joins = _list_base(indptr, neighbours, is_base)
    lists, pool = list_edges(ends, n)
    between, start, length, _, degree, _ = lists
    classes = np.zeros(n, np.int32) if node_costs is None else cheapest_classes(node_costs)
    parent = numbers(n)
    mark, meeting = np.full(n, -1, np.int64), no_meeting()
    # Of the entries of an edge only the one with this key counts. Edges that nothing can be gained by have none.
    entered = np.empty(m, np.float64)
    room = m + m // 2 + 16
    keys, items = np.empty(room, np.float64), np.empty(room, np.int32)
    for e in range(m):
        entered[e] = _similarity(node_costs, classes, ends[e, 0], ends[e, 1], costs[e]) if _joins(joins, e) else -np.inf
    size = enter_all(entered, keys, items)
    while size > 0:
        e = unsigned(items[0])
        if keys[0] != entered[e]:
            size = queue_pop(keys, items, size)
            continue
        i = find(parent, ends[e, 0])
        j = between[e] ^ i
        key = _similarity(node_costs, classes, i, j, costs[e])
        if key < entered[e]:
            entered[e] = key
            size = queue_lower(keys, items, size, key)
            continue
        size = queue_pop(keys, items, size)
        if degree[i] < degree[j]:
            i, j = j, i
        stay, go = unsigned(i), unsigned(j)  # the cluster of smaller degree is absorbed
        between[e] = GONE
        entered[e] = -np.inf
        degree[stay] -= 1
        degree[go] -= 1
        parent[go] = i
        if node_costs is not None:
            if classes[stay] != classes[go]:
                classes[stay] = _argmin_sum(node_costs, i, j)
            for k in range(node_costs.shape[1]):
                node_costs[stay, k] += node_costs[go, k]
        pool, meeting = met(lists, pool, mark, meeting, i, j)
        _, stamp, _, has_table, table_keys, table_values, pairs = meeting
        if size + degree[go] > room:
            size = enter_all(entered, keys, items)
        at = start[stay] + length[stay]
        for t in range(start[go], start[go] + length[go]):
            f = pool[unsigned(t)]
            both = between[unsigned(f)]
            if both == GONE:
                continue
            other = unsigned(both ^ j)
            parallel = pair_find(table_keys, table_values, i, other) if has_table else marked(mark, other, stamp)
            if parallel >= 0:
                costs[unsigned(parallel)] += costs[unsigned(f)]
                _share(joins, f, parallel)
                between[unsigned(f)] = GONE
                entered[unsigned(f)] = -np.inf
                degree[other] -= 1
                f = parallel
            else:
                between[unsigned(f)] = other ^ i
                pool[unsigned(at)] = f
                at += 1
                degree[stay] += 1
                if has_table:
                    pairs[0] += pair_insert(table_keys, table_values, i, other, f)
                else:
                    mark[other] = np.int64(stamp) << 32 | f
            key = _similarity(node_costs, classes, i, other, costs[unsigned(f)])
            if key >= 0 and key > entered[unsigned(f)] and _joins(joins, f):
                entered[unsigned(f)] = key
                size = queue_push(keys, items, size, key, f)
        length[stay] = at - start[stay]
        degree[go] = 0
    for i in range(n):
        parent[i] = find(parent, i)
    return parent, classes
