"""The kernel of agglomeration: clusters join along the strongest interaction between two, however that is reckoned.

The interaction of two clusters is a function of the costs of all edges between them, the linkage. With constraints, a
negative interaction whose turn comes becomes -inf, which keeps its two clusters apart for good (GASP, Bailoni et al.
2022).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned
from ..._union_find import find, numbers
from ..structures.edge_table import pair_find, pair_insert
from ..structures.queue import queue_lower, queue_pop, queue_push
from .absorbing import GONE, enter_all, list_edges, marked, met, no_meeting
from .linkages import joint, priority


@njit
def agglomerated(num_nodes: int, edges: Array, costs: Array, sizes: Any, linkage: int, constrained: bool) -> Array:
    """Join clusters until no interaction between two that may join is positive; returns a root of every node.

    Parameters
    ----------
    num_nodes : int
    edges : int32 array, shape (m, 2)
        Without loops and parallel edges.
    costs, sizes : float64 arrays, shape (m,)
        Changed. Sizes are the weights of averages; for sums they may be None. Costs of +inf are joined first, those
        of -inf never.
    linkage : int
        Index into LINKAGES.
    constrained : bool
    """
    m = len(edges)
    parent = numbers(num_nodes)
    lists, pool = list_edges(edges, num_nodes)
    between, start, length, _, degree, _ = lists
    mark, meeting = np.full(num_nodes, -1, np.int64), no_meeting()
    room = m + m // 2 + 16
    keys, items = np.empty(room), np.empty(room, np.int32)
    # Of the entries of an edge only the one with this key counts, which is never below what the edge is worth now.
    entered = np.empty(m)
    for e in range(m):
        entered[e] = priority(costs[e], constrained)
    size = enter_all(entered, keys, items)
    while size > 0:
        e = unsigned(items[0])
        if keys[0] != entered[e]:
            size = queue_pop(keys, items, size)
            continue
        key = priority(costs[e], constrained)
        if key < entered[e]:
            entered[e] = key
            size = queue_lower(keys, items, size, key)
            continue
        size = queue_pop(keys, items, size)
        entered[e] = -np.inf
        if costs[e] <= 0:
            costs[e] = -np.inf
            continue
        i = find(parent, edges[e, 0])
        j = between[e] ^ i
        if degree[i] < degree[j]:
            i, j = j, i
        stay, go = unsigned(i), unsigned(j)
        between[e] = GONE
        parent[go] = i
        degree[stay] -= 1
        degree[go] -= 1
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
            stays, gone = parallel, f
            if parallel < 0 or entered[unsigned(f)] > entered[unsigned(parallel)]:
                # Of two parallel edges that with the larger key stays: its entry need not be made anew.
                stays, gone = f, parallel
                between[unsigned(f)] = other ^ i
                pool[unsigned(at)] = f
                at += 1
                if has_table:
                    pairs[0] += pair_insert(table_keys, table_values, i, other, f)
                else:
                    mark[other] = np.int64(stamp) << 32 | f
            if parallel < 0:
                degree[stay] += 1
                continue
            one, two = unsigned(stays), unsigned(gone)
            if sizes is None:
                costs[one] += costs[two]
            else:
                costs[one] = joint(costs[one], sizes[one], costs[two], sizes[two], linkage)
                sizes[one] += sizes[two]
            between[two] = GONE
            entered[two] = -np.inf
            degree[other] -= 1
            key = priority(costs[one], constrained)
            if key > entered[one]:
                entered[one] = key
                size = queue_push(keys, items, size, key, stays)
        length[stay] = at - start[stay]
        degree[go] = 0
    for i in range(num_nodes):
        parent[i] = find(parent, i)
    return parent
