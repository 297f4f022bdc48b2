"""Cycle packing: attractive paths that hold repulsive edges together, each at what it costs to cut it.

A repulsive edge of cost -c can be cut only if every attractive path between its ends is cut as well. For a path whose
edges all cost at least a, the cycle of both costs at least 0 whatever is cut, where the edges alone promise -a. So
edges of different cycles are taken from the costs, and the sum of what is negative in the rest is a lower bound of the
multicut. Short cycles first (iterative cycle packing, Lange, Karrenbauer and Andres 2018), and only where a solution
at hand shows that the bound loses something.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned
from ..limits import KERNELS


class Cycles(NamedTuple):
    """Cycles that were packed.

    Attributes
    ----------
    start : int64 array, shape (C + 1,)
    nodes : int32 array
        Cycle c is the path ``nodes[start[c]:start[c + 1]]`` of attractive edges and the repulsive edge that closes it.
    amounts : float64 array, shape (C,)
        What was taken from every edge of it.
    """

    start: Array
    nodes: Array
    amounts: Array


class _Search(NamedTuple):
    """Arrays of searches from both ends: who saw a node, from which node, along which edge, and both frontiers.

    `looks` is how many half-edges all searches have looked at, in an array of one element.
    """

    seen: Array
    parent: Array
    edge: Array
    front: Array
    back: Array
    path: Array
    path_edges: Array
    looks: Array


@njit
def pack_cycles(
    csr: tuple[Array, Array, Array], ends: Array, costs: Array, z: Array, whole: Array, lengths: Array, smallest: float,
    most_looks: int,
) -> tuple[Cycles, int]:  # fmt: skip
    """Pack cycles of up to ``lengths[0]`` edges besides the one that they begin at, then of up to ``lengths[1]``, etc.

    Parameters
    ----------
    csr : (indptr, neighbours, edge ids)
    ends : int32 array, shape (m, 2)
    costs : float64 array, shape (m,)
        Changed to what is left.
    z : int array, shape (n,)
        Clusters of a good solution. They say which edges a bound loses at: repulsive ones within clusters and
        attractive ones between them. All others, most of a graph, need no search.
    whole : bool array, shape (n,)
        Which nodes are of a class that is not partitionable: that repulsive edges within it are not cut no cycle says.
    lengths : int array
    smallest : float
        Costs up to this count as 0.
    most_looks : int
        Half-edges that all searches may look at; then no more are begun.

    Returns
    -------
    Cycles
    looks : int
        Half-edges that were looked at.
    """
    n = len(csr[0]) - 1
    start, nodes, amounts = np.zeros(1024, np.int64), np.empty(4096, np.int32), np.empty(1024)
    count, used = 0, 0
    search = _Search(
        np.zeros(n, np.int64), np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32),
        np.empty(n, np.int32), np.empty(n + 1, np.int32), np.empty(n + 1, np.int32), np.zeros(1, np.int64),
    )  # fmt: skip
    number = 0
    left = np.empty(len(costs), np.int32)
    open_edges = 0
    for e in range(len(costs)):
        if _loses(ends, costs, z, whole, e, smallest):
            left[open_edges] = e
            open_edges += 1
    for longest in lengths:
        kept = 0
        for t in range(open_edges):
            e = left[t]
            open_still = True
            if search.looks[0] > most_looks:
                return Cycles(start[: count + 1], nodes[:used], amounts[:count]), search.looks[0]
            while _loses(ends, costs, z, whole, e, smallest):
                number += 1
                length = _path(csr, costs, z, smallest, ends[e, 0], ends[e, 1], longest, search, number)
                if length <= 0:
                    open_still = length == 0  # where there is no path there will be none: costs only shrink
                    break
                amount = abs(costs[e])
                repulsive = -1
                for at in range(length - 1):
                    cost = costs[unsigned(search.path_edges[at])]
                    amount = min(amount, abs(cost))
                    repulsive = at if cost < 0 else repulsive
                costs[e] -= amount if costs[e] > 0 else -amount
                for at in range(length - 1):
                    costs[unsigned(search.path_edges[at])] -= amount if at != repulsive else -amount
                if count + 2 > len(start):
                    start, amounts = _longer(start), _longer(amounts)
                while used + length > len(nodes):
                    nodes = _longer(nodes)
                for at in range(length):  # from the repulsive edge on, wherever that is
                    nodes[used + at] = search.path[(repulsive + 1 + at) % length]
                used += length
                amounts[count] = amount
                count += 1
                start[count] = used
            if open_still and _loses(ends, costs, z, whole, e, smallest):
                left[kept] = e
                kept += 1
        open_edges = kept
    return Cycles(start[: count + 1], nodes[:used], amounts[:count]), search.looks[0]


@njit
def _loses(ends: Array, costs: Array, z: Array, whole: Array, e: int, smallest: float) -> bool:
    """Whether an edge costs more in the clusters than alone: it is repulsive within one, or attractive between two."""
    if z[ends[e, 0]] == z[ends[e, 1]]:
        return bool(costs[e] < -smallest and not whole[ends[e, 0]])
    return bool(costs[e] > smallest)


@njit
def _longer(array: Array) -> Any:
    longer = np.empty(2 * len(array), array.dtype)
    longer[: len(array)] = array
    return longer


@njit
def _path(
    csr: tuple[Array, Array, Array], costs: Array, z: Array, smallest: float, u: int, v: int, longest: int,
    search: _Search, number: int,
) -> int:  # fmt: skip
    """A shortest path of up to `longest` edges, written to the search's arrays; returns its number of nodes.

    Its edges are attractive and within clusters, but that between two clusters it takes one repulsive edge. 0 if there
    is none so short or the search took too long, -1 if no path at all joins the nodes. It searches from both ends at
    once, always from the side with fewer nodes. `number` is another one in every call.
    """
    if u == v:
        return -1
    seen, front, back = search.seen, search.front, search.back
    seen[u], seen[v] = 2 * number, 2 * number + 1
    search.parent[u] = search.parent[v] = -1
    front[0], back[0] = u, v
    first_front, last_front, first_back, last_back = 0, 1, 0, 1
    for _ in range(longest):
        if last_front - first_front <= last_back - first_back:
            met, edge, last = _widen(csr, costs, z, smallest, front, first_front, last_front, 2 * number, search)
            first_front, last_front = last_front, last
            empty = last == first_front
        else:
            met, edge, last = _widen(csr, costs, z, smallest, back, first_back, last_back, 2 * number + 1, search)
            first_back, last_back = last_back, last
            empty = last == first_back
        if met >= 0:
            return _read_path(csr, search, met, edge, 2 * number)
        if empty:
            return -1
        if last_front + last_back > KERNELS.max_path_search:
            return 0
    return 0


@njit
def _widen(
    csr: tuple[Array, Array, Array], costs: Array, z: Array, smallest: float, frontier: Array, first: int, last: int,
    side: int, search: _Search,
) -> tuple[int, int, int]:  # fmt: skip
    """Look one edge further; returns a half-edge's start and id where both sides meet, or -1, and the new end."""
    indptr, neighbours, edge_ids = csr
    seen, parent = search.seen, search.parent
    end = last
    for t in range(first, last):
        x = unsigned(frontier[t])
        search.looks[0] += indptr[x + 1] - indptr[x]
        for h in range(indptr[x], indptr[x + 1]):
            y = unsigned(neighbours[unsigned(h)])
            cost = costs[unsigned(edge_ids[unsigned(h)])]
            if z[x] != z[y]:
                if cost < -smallest and seen[y] == side ^ 1:
                    return x, h, end
                continue
            if cost <= smallest or seen[y] == side:
                continue
            if seen[y] == side ^ 1:
                return x, h, end
            seen[y] = side
            parent[y] = x
            search.edge[y] = edge_ids[h]
            frontier[end] = y
            end += 1
    return -1, -1, end


@njit
def _read_path(csr: tuple[Array, Array, Array], search: _Search, met: int, half: int, front: int) -> int:
    """Write the path through a half-edge that joins both sides, from the front's end on."""
    parent, edge, path, path_edges = search.parent, search.edge, search.path, search.path_edges
    x, y = met, csr[1][half]
    if search.seen[x] != front:
        x, y = y, x
    length = 0
    node = x
    while node >= 0:
        path[length] = node
        path_edges[length] = edge[node]  # to the node after it, once the order is turned
        length += 1
        node = parent[node]
    for t in range(length // 2):
        path[t], path[length - 1 - t] = path[length - 1 - t], path[t]
    for t in range((length - 1) // 2):
        path_edges[t], path_edges[length - 2 - t] = path_edges[length - 2 - t], path_edges[t]
    path_edges[length - 1] = csr[2][half]
    node = y
    while node >= 0:
        path[length] = node
        path_edges[length] = edge[node]
        length += 1
        node = parent[node]
    return length
