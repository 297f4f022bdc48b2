"""Message passing between edges and triplets of nodes: the dual of the multicut's cycle relaxation.

A triplet may hold costs of its three edges of its own. What it costs at least is the cheapest of five cuts: none, two
edges, or all three. Costs of the edges plus those of all triplets are the costs of the problem, however they are
divided; the sum of the minima is a lower bound, and a step divides the costs of one triplet and its edges such that
none is lost (MPLP; for multicuts Swoboda and Andres 2017, Abbas and Swoboda 2022).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned
from ..structures.edge_table import pair_find, pair_insert, pair_table
from ..structures.radix import sorted_by
from .cycles import Cycles


class Triplets(NamedTuple):
    """Triplets of nodes: their three edges, int32 (T, 3), and their costs of these, float64 (T, 3)."""

    edges: Array
    costs: Array


@njit
def triangulate(cycles: Cycles, csr: tuple[Array, Array, Array], ends: Array) -> tuple[Array, Array, Array]:
    """Divide cycles into triplets, all with the cycle's first node, by chords.

    `csr` are the adjacency lists of the edges so far, whose ends are `ends`. Returns the ends of all edges, chords that
    are no edges appended; the edges of the triplets; and their costs, which add up to those of the cycles. A chord is
    looked for in the shorter of two lists, which the search for the cycle has looked at as well.
    """
    start, nodes, cycle_edges, amounts = cycles
    total = len(nodes) - 2 * len(amounts)
    keys, values = pair_table(total - len(amounts))
    num_edges = len(ends)
    all_ends = np.empty((num_edges + total, 2), np.int32)
    all_ends[:num_edges] = ends
    edges, costs = np.empty((total, 3), np.int32), np.empty((total, 3))
    t = 0
    for c in range(len(amounts)):
        u, last = nodes[start[c]], start[c + 1] - 1
        e = cycle_edges[start[c]]
        for at in range(start[c] + 1, last):
            edges[t, 0], edges[t, 1] = e, cycle_edges[at]
            if at == last - 1:
                e = cycle_edges[last]
            else:
                v = nodes[at + 1]
                e = _edge_between(csr, u, v)
                if e < 0:
                    e = pair_find(keys, values, u, v)
                if e < 0:
                    e = num_edges
                    all_ends[e, 0], all_ends[e, 1] = u, v
                    pair_insert(keys, values, u, v, e)
                    num_edges += 1
            edges[t, 2] = e
            costs[t, 0] = costs[t, 1] = amounts[c]
            costs[t, 2] = -amounts[c]
            t += 1
    return all_ends[:num_edges].copy(), edges, costs


@njit
def _edge_between(csr: tuple[Array, Array, Array], u: int, v: int) -> int:
    """The edge that joins two nodes, or -1."""
    indptr, neighbours, edge_ids = csr
    if indptr[v + 1] - indptr[v] < indptr[u + 1] - indptr[u]:
        u, v = v, u
    for h in range(indptr[u], indptr[u + 1]):
        if neighbours[unsigned(h)] == v:
            return int(edge_ids[unsigned(h)])
    return -1


@njit
def pass_messages(triplets: Triplets, costs: Array, sweeps: int) -> None:
    """Improve the bound by so many sweeps over all triplets, forwards and backwards; `costs` (m,) of edges change."""
    edges, shares = triplets
    for sweep in range(sweeps):
        for position in range(len(edges)):
            t = position if sweep % 2 == 0 else len(edges) - 1 - position
            e, f, g = unsigned(edges[t, 0]), unsigned(edges[t, 1]), unsigned(edges[t, 2])
            a, b, c = shares[t, 0] + costs[e], shares[t, 1] + costs[f], shares[t, 2] + costs[g]
            x = _marginal(a, b, c) / 3
            y = _marginal(b, a - x, c) / 2
            z = _marginal(c, a - x, b - y)
            a, b, c = a - x, b - y, c - z
            dx = _marginal(a, b, c) / 2
            a, x = a - dx, x + dx
            dy = _marginal(b, a, c)
            b, y = b - dy, y + dy
            dx = _marginal(a, b, c)
            a, x = a - dx, x + dx
            shares[t, 0], shares[t, 1], shares[t, 2] = a, b, c
            costs[e], costs[f], costs[g] = x, y, z


@njit
def _marginal(a: float, b: float, c: float) -> float:
    """By how much the cheapest cut of a triplet that cuts the edge of cost a costs more than the one that does not."""
    return a + min(b, c, b + c) - min(0.0, b + c)


@njit
def triplet_bound(triplets: Triplets) -> float:
    """What all triplets cost at least."""
    total = 0.0
    for t in range(len(triplets.costs)):
        a, b, c = triplets.costs[t, 0], triplets.costs[t, 1], triplets.costs[t, 2]
        total += min(0.0, a + b, a + c, b + c, a + b + c)
    return total


def merged(triplets: Triplets) -> Triplets:
    """Triplets of the same edges as one, in the order of their edges; the three of a triplet are sorted in place."""
    edges, costs = triplets
    if len(edges) == 0:
        return triplets
    _sort_each(edges, costs)
    order = np.arange(len(edges), dtype=np.int32)
    for column in (2, 1, 0):
        order = sorted_by(edges[:, column].astype(np.uint32), order)
    once, sums, count = _merged(edges, costs, order)
    return Triplets(once[:count], sums[:count])


@njit
def _merged(edges: Array, costs: Array, order: Array) -> tuple[Array, Array, int]:
    """Triplets in an order that has those of the same edges side by side, as one; and how many there are."""
    once, sums = np.empty_like(edges), np.empty_like(costs)
    count = 0
    for t in order:
        last = count - 1
        known = last >= 0
        for side in range(3):
            known = known and once[last, side] == edges[t, side]
        if not known:
            once[count] = edges[t]
            sums[count] = costs[t]
            count += 1
            continue
        for side in range(3):
            sums[last, side] += costs[t, side]
    return once, sums, count


@njit
def _sort_each(edges: Array, costs: Array) -> None:
    """Sort the three edges of every triplet, and their costs with them."""
    for t in range(len(edges)):
        for i, j in ((0, 1), (1, 2), (0, 1)):
            if edges[t, i] > edges[t, j]:
                edges[t, i], edges[t, j] = edges[t, j], edges[t, i]
                costs[t, i], costs[t, j] = costs[t, j], costs[t, i]
