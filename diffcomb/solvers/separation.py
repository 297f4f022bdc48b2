"""Violated cycle inequalities of fractional edge labels, found by shortest paths.

A path between the ends of an edge forbids to cut the edge alone: y_e <= sum of y over the path. The path that violates
it most is a shortest one for edge lengths y (Chopra and Rao 1993), searched no further than y_e.
"""

from __future__ import annotations

import numpy as np

from .._arrays import Array
from .._numba import njit, unsigned
from .structures.queue import queue_pop, queue_push


@njit
def violated_paths(
    csr: tuple[Array, Array, Array],
    ends: Array,
    y: Array,
    slack: float,
    first: int,
    last: int,
    distance: Array,
) -> tuple[Array, Array]:
    """For the edges first..last-1 that are longer than a path between their ends by more than `slack`, such a path.

    Parameters
    ----------
    csr : (indptr, neighbours, edge ids)
        Of all edges.
    ends : int32 array, shape (m, 2)
    y : float64 array, shape (m,)
    slack : float
    first, last : int
    distance : float64 array, shape (n,)
        Infinite, before and after.

    Returns
    -------
    start, edges
        ``edges[start[c]:start[c + 1]]`` is the edge and then its path. Of the paths with the fewest edges among the
        shortest one is taken.
    """
    indptr, neighbours, edge_ids = csr
    n = len(indptr) - 1
    before, along = np.empty(n, np.int32), np.empty(n, np.int32)
    touched = np.empty(n, np.int32)
    room = len(neighbours) + 1
    keys, items = np.empty(room, np.float64), np.empty(room, np.int32)
    start, edges = [0], [np.int32(0) for _ in range(0)]
    hop = 1e-9  # of paths of one length the one with fewer edges
    for e in range(first, last):
        u, v = unsigned(ends[e, 0]), unsigned(ends[e, 1])
        if u == v or y[e] <= slack:
            continue
        limit = y[e] - slack
        distance[u] = 0.0
        touched[0] = u
        count = 1
        size = queue_push(keys, items, 0, 0.0, u)
        while size > 0:
            d, i = -keys[0], unsigned(items[0])
            size = queue_pop(keys, items, size)
            if i == v:
                break
            if d > distance[i]:
                continue
            for h in range(indptr[i], indptr[i + 1]):
                f = unsigned(edge_ids[h])
                j = unsigned(neighbours[h])
                if f == e:
                    continue
                longer = d + max(y[f], 0.0) + hop
                if longer < limit and longer < distance[j]:
                    if distance[j] == np.inf:
                        touched[count] = j
                        count += 1
                    distance[j] = longer
                    before[j], along[j] = i, f
                    size = queue_push(keys, items, size, -longer, j)
        if distance[v] < np.inf:
            edges.append(np.int32(e))
            i = v
            while i != u:
                edges.append(along[i])
                i = unsigned(before[i])
            start.append(len(edges))
        for t in range(count):
            distance[unsigned(touched[t])] = np.inf
    return np.array(start), np.array(edges)
