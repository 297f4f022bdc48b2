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
from .paths import Halves, Search, find_path, new_search, usable_halves


class Cycles(NamedTuple):
    """Cycles that were packed.

    Attributes
    ----------
    start : int64 array, shape (C + 1,)
    nodes : int32 array
        Cycle c is the path ``nodes[start[c]:start[c + 1]]`` of attractive edges and the repulsive edge that closes it.
    edges : int32 array
        The edge from each of the nodes to the next one of its cycle.
    amounts : float64 array, shape (C,)
        What was taken from every edge of it.
    """

    start: Array
    nodes: Array
    edges: Array
    amounts: Array


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
    losing = _losing_edges(ends, costs, z, whole, smallest)
    search = new_search(len(csr[0]) - 1)
    halves = usable_halves(csr, costs, z, smallest)
    return Cycles(*_pack(halves, search, ends, costs, losing, lengths, smallest, most_looks)), int(search.looks[0])


@njit
def _losing_edges(ends: Array, costs: Array, z: Array, whole: Array, smallest: float) -> Array:
    """The edges that cost more in the clusters than alone: repulsive ones within them, attractive ones between two."""
    found = np.empty(len(costs), np.int32)
    count = 0
    for e in range(len(costs)):
        u, v = unsigned(ends[e, 0]), unsigned(ends[e, 1])
        found[count] = e
        count += costs[e] > smallest if z[u] != z[v] else costs[e] < -smallest and not whole[u]
    return found[:count]


@njit
def _pack(
    halves: Halves, search: Search, ends: Array, costs: Array, left: Array, lengths: Array, smallest: float,
    most_looks: int,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """Pack cycles of the edges `left`, which is used up; returns the fields of :class:`Cycles`."""
    start, amounts = np.zeros(1024, np.int64), np.empty(1024)
    nodes, edges = np.empty(4096, np.int32), np.empty(4096, np.int32)
    count, used, number = 0, 0, 0
    still_open = len(left)
    for longest in lengths:
        kept = 0
        for t in range(still_open):
            e = left[t]
            if search.looks[0] > most_looks:
                break
            length = 0
            while abs(costs[e]) > smallest:
                number += 1
                length = find_path(halves, smallest, ends[e, 0], ends[e, 1], longest, search, number)
                if length <= 0:
                    break
                if count + 2 > len(start):
                    start, amounts = _longer(start), _longer(amounts)
                while used + length > len(nodes):
                    nodes, edges = _longer(nodes), _longer(edges)
                amounts[count] = _take(halves, search, costs, e, length, nodes[used:], edges[used:])
                used += length
                count += 1
                start[count] = used
            if length == 0:  # where there is no path at all there will be none: costs only shrink
                left[kept] = e
                kept += 1
        still_open = kept
    return start[: count + 1], nodes[:used], edges[:used], amounts[:count]


@njit
def _take(halves: Halves, search: Search, costs: Array, e: int, length: int, nodes: Array, edges: Array) -> float:
    """Take what there is from edge e and the path between its ends, and write the cycle; returns how much.

    `nodes` and `edges` take it from behind its repulsive edge on, wherever that is.
    """
    _, to, left, edge_of, mates = halves
    path, path_halves = search.path, search.path_halves
    amount: float = abs(costs[e])
    repulsive = -1
    for at in range(length - 1):
        h = unsigned(path_halves[at])
        amount = min(amount, left[h])
        repulsive = at if to[h] < 0 else repulsive
    costs[e] -= amount if costs[e] > 0 else -amount
    for at in range(length - 1):
        h = unsigned(path_halves[at])
        left[h] -= amount
        left[unsigned(mates[h])] -= amount
        costs[unsigned(edge_of[h])] -= amount if at != repulsive else -amount
    for at in range(length):
        source = (repulsive + 1 + at) % length
        nodes[at] = path[source]
        edges[at] = edge_of[path_halves[source]] if source < length - 1 else e
    return amount


@njit
def _longer(array: Array) -> Any:
    longer = np.empty(2 * len(array), array.dtype)
    longer[: len(array)] = array
    return longer
