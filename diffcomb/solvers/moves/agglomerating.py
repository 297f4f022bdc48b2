"""The kernel of agglomeration: clusters join along the strongest interaction between two, however that is reckoned.

The interaction of two clusters is a function of the costs of all edges between them, the linkage. With constraints, a
negative interaction whose turn comes keeps its two clusters apart for good (GASP, Bailoni et al. 2022).
"""

from __future__ import annotations

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned
from ..._union_find import find, numbers
from ..structures.edge_table import pair_find, pair_insert
from ..structures.queue import queue_lower, queue_pop, queue_push
from .absorbing import (
    Hubs,
    append,
    enter_all,
    is_crowded,
    list_edges,
    mark_neighbours,
    marked,
    no_hubs,
    with_room,
)  # fmt: skip
from .linkages import joint, priority


@njit
def agglomerated(num_nodes: int, edges: Array, costs: Array, sizes: Array, linkage: int, constrained: bool) -> Array:
    """Join clusters until no interaction between two that may join is positive; returns a root of every node.

    Parameters
    ----------
    num_nodes : int
    edges : int32 array, shape (m, 2)
        Without loops and parallel edges.
    costs, sizes : float64 arrays, shape (m,)
        Changed. Sizes are the weights of averages.
    linkage : int
        Index into LINKAGES.
    constrained : bool
    """
    m = len(edges)
    parent = numbers(num_nodes)
    lists = list_edges(edges.copy(), num_nodes)
    ends, first, last, link, degree = lists
    mark = np.full(num_nodes, -1, np.int64)
    is_hub, table_keys, table_values, pairs = no_hubs(num_nodes)
    apart = np.zeros(m, np.bool_)
    room = m + m // 2 + 16
    keys, items = np.empty(room), np.empty(room, np.int32)
    # Of the entries of an edge only the one with this key counts, which is never below what the edge is worth now.
    entered = np.empty(m)
    for e in range(m):
        entered[e] = priority(costs[e], False, constrained)
    size = enter_all(ends, entered, keys, items)
    while size > 0:
        e = items[0]
        if keys[0] != entered[unsigned(e)]:
            size = queue_pop(keys, items, size)
            continue
        key = priority(costs[unsigned(e)], apart[unsigned(e)], constrained)
        if key < entered[unsigned(e)]:
            entered[unsigned(e)] = key
            size = queue_lower(keys, items, size, key)
            continue
        size = queue_pop(keys, items, size)
        entered[e] = -np.inf
        if costs[e] <= 0:
            apart[e] = True
            continue
        i, j = ends[e, 0], ends[e, 1]
        if degree[i] < degree[j]:
            i, j = j, i
        ends[e, 0] = -1
        parent[j] = i
        degree[i] -= 1
        if is_crowded(degree, is_hub, table_keys, pairs, i, j):
            _, table_keys, table_values, _ = with_room(lists, Hubs(is_hub, table_keys, table_values, pairs), i, j)
        if not is_hub[i]:
            mark_neighbours(lists, i, mark, j)
        if size + degree[j] > room:
            size = enter_all(ends, entered, keys, items)
        half = first[j]
        while half >= 0:
            following = link[unsigned(half)]
            f = half >> 1
            if ends[unsigned(f), 0] >= 0:
                other = ends[unsigned(f), 1 - (half & 1)]
                parallel = pair_find(table_keys, table_values, i, other) if is_hub[i] else marked(mark, other, j)
                stays, gone = parallel, f
                if parallel < 0 or entered[unsigned(f)] > entered[unsigned(parallel)]:
                    # Of two parallel edges that with the larger key stays: its entry need not be made anew.
                    stays, gone = f, parallel
                    ends[unsigned(f), half & 1] = i
                    append(first, last, link, i, half)
                    if is_hub[i] or is_hub[other]:
                        pairs[0] += pair_insert(table_keys, table_values, i, other, f)
                if parallel < 0:
                    degree[i] += 1
                else:
                    one, two = unsigned(stays), unsigned(gone)
                    costs[one] = joint(costs[one], sizes[one], costs[two], sizes[two], linkage)
                    sizes[one] += sizes[two]
                    apart[one] |= apart[two]
                    ends[two, 0] = -1
                    entered[two] = -np.inf
                    degree[other] -= 1
                    key = priority(costs[one], apart[one], constrained)
                    if key > entered[one]:
                        entered[one] = key
                        size = queue_push(keys, items, size, key, stays)
            half = following
    for i in range(num_nodes):
        parent[i] = find(parent, i)
    return parent
