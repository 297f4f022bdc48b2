"""Greedy edge contraction: COPS Algorithm 2, the reference; for the multicut it is GAEC.

All classes count as partitionable until the end, when every class that is not becomes one cluster.
A key is evaluated when its edge is touched by a contraction (edges of the absorbed cluster and parallel
edges) and again when it reaches the top of the heap: if it got worse meanwhile, because the surviving
cluster's node costs changed, it is put back. Keys of untouched edges that got *better* are noticed only
then; refreshing all keys of a cluster, to the letter of Algorithm 2, costs 20-100 times as much.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import Array
from .._numba import njit
from ..problem import Problem, Solution, make_solution
from .budget import Budget
from .level import finest_level
from .levels.labels import from_labels
from .levels.objective import cheapest_classes
from .levels.partition import compact
from .structures.edge_table import pair_delete, pair_find, pair_insert, pair_table
from .structures.heap import heap_build, heap_remove, heap_update


def greedy(problem: Problem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget) -> Solution:
    """Solve by greedy edge contraction (COPS Algorithm 2), in O(m (log m)^2 + m K log m).

    Parameters
    ----------
    problem : Problem
    init : (node labels, clusters), optional
        Clusters to start from instead of single nodes.
    rng, budget
        Not used: the algorithm is deterministic and runs to its end.

    Returns
    -------
    Solution
    """
    n = problem.graph.num_nodes
    if n == 0:
        return make_solution(problem, np.empty(0, np.int64), np.empty(0, np.int64))
    level = finest_level(problem)
    group = np.arange(n, dtype=np.int32)
    if init is not None:
        labels = from_labels(*init, problem.partitionable)
        group, count = compact(labels.z, labels.num_ids)
        level = level.contract(group, count)
    else:  # contraction by the identity adds up parallel edges
        level = level.contract(group, n)
    indptr, neighbours, weights = level.adjacency
    parent, classes = _contract_greedily(indptr, neighbours, weights, level.node_costs.copy())
    root = parent[group]
    return make_solution(problem, classes[root], root)


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


@njit
def _append(first: Array, last: Array, link: Array, node: int, half: int) -> None:
    """Append a half-edge to the list of a node."""
    link[half] = -1
    if first[node] < 0:
        first[node] = half
    else:
        link[last[node]] = half
    last[node] = half


@njit
def _contract_greedily(indptr: Array, neighbours: Array, weights: Array, node_costs: Array) -> tuple[Array, Array]:
    """Contract a graph without parallel edges; node_costs is changed. Returns cluster roots and their classes."""
    n = len(indptr) - 1
    m = len(neighbours) // 2
    ends = np.empty((m, 2), np.int32)
    costs = np.empty(m, np.float64)
    keys = np.empty(m, np.float64)
    # The edges of a cluster are a linked list of half-edges (2 e and 2 e + 1 of edge e), so lists join in O(1).
    first = np.full(n, -1, np.int64)
    last = np.full(n, -1, np.int64)
    link = np.full(2 * m, -1, np.int64)
    degree = indptr[1:] - indptr[:-1]
    classes = cheapest_classes(node_costs)
    table_keys, table_values = pair_table(m)
    e = 0
    for i in range(n):
        for h in range(indptr[i], indptr[i + 1]):
            j = neighbours[h]
            if i < j:
                ends[e, 0] = i
                ends[e, 1] = j
                costs[e] = weights[h]
                keys[e] = _similarity(node_costs, classes, i, j, weights[h])
                pair_insert(table_keys, table_values, i, j, e)
                _append(first, last, link, i, 2 * e)
                _append(first, last, link, j, 2 * e + 1)
                e += 1
    heap, place = heap_build(keys)
    size = m
    parent = np.arange(n)
    while size > 0:
        e = heap[0]
        if keys[e] < 0:
            break
        i, j = ends[e, 0], ends[e, 1]
        key = _similarity(node_costs, classes, i, j, costs[e])
        if key < keys[e]:
            keys[e] = key
            heap_update(heap, place, keys, size, e)
            continue
        if degree[i] < degree[j]:
            i, j = j, i
        # The cluster of smaller degree, j, is absorbed by i.
        size = heap_remove(heap, place, keys, size, e)
        pair_delete(table_keys, table_values, i, j)
        degree[i] -= 1
        parent[j] = i
        if classes[i] != classes[j]:
            classes[i] = _argmin_sum(node_costs, i, j)
        for k in range(node_costs.shape[1]):
            node_costs[i, k] += node_costs[j, k]
        half = first[j]
        while half >= 0:
            following = link[half]
            f = half >> 1
            if place[f] >= 0:  # neither contracted nor summed into a parallel edge
                other = ends[f, 1 - (half & 1)]
                pair_delete(table_keys, table_values, j, other)
                parallel = pair_find(table_keys, table_values, i, other)
                if parallel >= 0:
                    costs[parallel] += costs[f]
                    size = heap_remove(heap, place, keys, size, f)
                    degree[other] -= 1
                    f = parallel
                else:
                    ends[f, half & 1] = i
                    pair_insert(table_keys, table_values, i, other, f)
                    _append(first, last, link, i, half)
                    degree[i] += 1
                keys[f] = _similarity(node_costs, classes, ends[f, 0], ends[f, 1], costs[f])
                heap_update(heap, place, keys, size, f)
            half = following
    for i in range(n):
        root = i
        while parent[root] != root:
            root = parent[root]
        at = i
        while parent[at] != root:
            above = parent[at]
            parent[at] = root
            at = above
    return parent, classes
