"""Greedy contraction and local moving of multicuts: what they are without classes, losses, temperatures and hubs.

Fusion makes hundreds of both on graphs of a hundred nodes, where the general kernels take two to four times as long,
most of it for what a multicut does not have. Both find what those find.
"""

from __future__ import annotations

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned
from ..._union_find import find, numbers
from ..levels.costs import Rows
from ..limits import KERNELS
from ..structures.queue import queue_lower, queue_order, queue_pop, queue_push
from .absorbing import enter_all
from .contracting import num_edges
from .visit import clear, cluster_sizes, gather


@njit
def contract_plainly(rows: Rows, fairly: bool) -> Array:
    """Cluster roots of greedy contraction, as `contract_greedily` finds them; for small graphs.

    If it is done fairly, what a join saves is divided by the geometric mean of both sizes: small clusters go first. A
    cluster that absorbs another walks over all of its own edges, which a star of n leaves makes n^2 steps of.
    """
    indptr, neighbours, weights = rows
    n, m = len(indptr) - 1, num_edges(indptr, neighbours)
    # An edge is two half-edges, 2 e and 2 e + 1; those of a cluster are a linked list.
    ends, link = np.empty((m, 2), np.int32), np.full(2 * m, -1, np.int32)
    first, last, degree = np.full(n, -1, np.int32), np.full(n, -1, np.int32), np.zeros(n, np.int32)
    costs, entered = np.empty(m), np.empty(m)  # of an edge's entries in the queue only that with this key counts
    room = m + m // 2 + 16
    keys, items = np.empty(room), np.empty(room, np.int32)
    size, e = 0, 0
    for i in range(n):
        for h in range(indptr[i], indptr[i + 1]):
            j = neighbours[h]
            if i < j:
                ends[e, 0], ends[e, 1] = i, j
                for side in range(2):
                    at, half = unsigned(ends[e, side]), 2 * e + side
                    if first[at] < 0:
                        first[at] = half
                    else:
                        link[unsigned(last[at])] = half
                    last[at] = half
                    degree[at] += 1
                costs[e] = entered[e] = weights[h]
                if weights[h] >= 0:
                    keys[size], items[size] = weights[h], e
                    size += 1
                e += 1
    queue_order(keys, items, size)
    parent, mark = numbers(n), np.full(n, -1, np.int64)
    nodes, share = np.ones(n), np.ones(n)
    while size > 0:
        e = items[0]
        i, j = ends[unsigned(e), 0], ends[unsigned(e), 1]
        if i < 0 or keys[0] != entered[unsigned(e)]:
            size = queue_pop(keys, items, size)
            continue
        key = costs[unsigned(e)] * share[unsigned(i)] * share[unsigned(j)]
        if key < entered[unsigned(e)]:
            entered[unsigned(e)] = key
            size = queue_lower(keys, items, size, key)
            continue
        size = queue_pop(keys, items, size)
        if degree[unsigned(i)] < degree[unsigned(j)]:
            i, j = j, i
        # The cluster of smaller degree, j, is absorbed by i.
        stays, goes = unsigned(i), unsigned(j)
        ends[unsigned(e), 0] = -1
        degree[stays] -= 1
        parent[goes] = i
        if fairly:
            nodes[stays] += nodes[goes]
            share[stays] = 1 / np.sqrt(nodes[stays])
        stamp = np.int64(j) << 32
        before = -1
        half = first[stays]
        while half >= 0:
            following = link[unsigned(half)]
            f = half >> 1
            if ends[unsigned(f), 0] >= 0:
                mark[unsigned(ends[unsigned(f), 1 - (half & 1)])] = stamp | f
                before = half
            elif before < 0:
                first[stays] = following
            else:
                link[unsigned(before)] = following
            half = following
        last[stays] = before
        if size + degree[goes] > room:
            for f in range(m):
                entered[f] = entered[f] if ends[f, 0] >= 0 else -np.inf
            size = enter_all(entered, keys, items)
        half = first[goes]
        while half >= 0:
            following = link[unsigned(half)]
            f = half >> 1
            if ends[unsigned(f), 0] >= 0:
                other = unsigned(ends[unsigned(f), 1 - (half & 1)])
                if mark[other] >> 32 == j:
                    parallel = np.int32(mark[other] & 0x7FFFFFFF)
                    costs[unsigned(parallel)] += costs[unsigned(f)]
                    ends[unsigned(f), 0] = -1
                    degree[other] -= 1
                    f = parallel
                else:
                    ends[unsigned(f), half & 1] = i
                    link[unsigned(half)] = -1
                    if first[stays] < 0:
                        first[stays] = half
                    else:
                        link[unsigned(last[stays])] = half
                    last[stays] = half
                    degree[stays] += 1
                key = costs[unsigned(f)] * share[stays] * share[other]
                if key >= 0 and key > entered[unsigned(f)]:
                    entered[unsigned(f)] = key
                    size = queue_push(keys, items, size, key, f)
            half = following
    for i in range(n):
        parent[i] = find(parent, i)
    return parent


@njit
def move_plainly(rows: Rows, z: Array) -> int:
    """Move single nodes until none gains, as `local_moving` does; changes `z`, ids 1..n, and returns how many moved."""
    indptr, neighbours, weights = rows
    n = len(z)
    size = cluster_sizes(z, n + 1)
    free = np.empty(n, np.int32)
    unused = 0
    most = 0
    for c in range(n, 0, -1):
        most = max(most, indptr[c] - indptr[c - 1])
        if size[c] == 0:
            free[unused] = c
            unused += 1
    sums, touched = np.zeros(n + 1), np.empty(most + 1, np.int32)
    queue, queued = numbers(n), np.ones(n, np.bool_)
    head, waiting, moves = 0, n, 0
    visits = KERNELS.max_visits * n + 1024
    while waiting > 0 and visits > 0:
        visits -= 1
        i = unsigned(queue[unsigned(head)])
        head = head + 1 if head + 1 < n else 0
        waiting -= 1
        queued[i] = False
        a = z[i]
        count = gather(rows, z, i, sums, touched)
        own = sums[unsigned(a)]
        score, target = -np.inf, -1
        for t in range(count):
            c = touched[unsigned(t)]
            if c != a and sums[unsigned(c)] > score:
                score, target = sums[unsigned(c)], c
        clear(sums, touched, count)
        if score < 0 and size[unsigned(a)] > 1:
            score, target = 0.0, -1
        gain = score - own
        if not (0 < gain < np.inf):
            continue
        total = 0.0  # what rounding may make of it
        for h in range(indptr[i], indptr[i + 1]):
            c = z[unsigned(neighbours[h])]
            if c == a or c == target:  # noqa: SIM109 (numba has no `in` for integers of two types)
                total += abs(weights[h])
        if not gain > KERNELS.relative_tolerance * total:
            continue
        moves += 1
        if target < 0:
            unused -= 1
            target = free[unsigned(unused)]
        size[unsigned(a)] -= 1
        if size[unsigned(a)] == 0:
            free[unsigned(unused)] = a
            unused += 1
        size[unsigned(target)] += 1
        z[i] = target
        for h in range(indptr[i], indptr[i + 1]):
            j = unsigned(neighbours[h])
            if not queued[j] and (z[j] != target or weights[h] < 0):
                queued[j] = True
                tail = head + waiting
                queue[unsigned(tail if tail < n else tail - n)] = j
                waiting += 1
    return moves
