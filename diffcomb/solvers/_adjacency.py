"""Adjacency with edge costs in the two forms that kernels take, behind one pair of functions.

:class:`Rows` stores the neighbours of every node (compressed rows). :class:`Stencil` is for grids: every node has
the same slots, one for each direction of each offset, so that a neighbour is an addition and only costs are
stored. A kernel that loops over ``span(adjacency, i)`` and asks ``end(adjacency, i, h)`` is compiled for either.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._arrays import Array
from .._numba import njit, overload
from .._threads import thread_ranges
from ..graph import Graph, GridGraph
from ..problem import Problem

MIN_PART = 2**12  # nodes that are worth a thread
NODES_AT_ONCE = 512
MIN_STENCIL_NODES = 513  # searches need lists, and so small a grid is nothing but searched
MIN_STENCIL_USE = 0.5  # a grid that fills less of its slots (an offset nearly as long as the grid) takes rows


class Rows(NamedTuple):
    """Neighbours and costs of node i stand at ``indptr[i]:indptr[i + 1]``."""

    indptr: Array
    neighbours: Array
    weights: Array


class Stencil(NamedTuple):
    """Node i has the slots ``i * len(shifts) + t``, to ``i + shifts[t]``; a slot of cost 0 has no edge."""

    shifts: Array
    weights: Array


def span(adjacency: Any, i: int) -> tuple[int, int]:
    """Where the half-edges of node i begin and end."""
    if isinstance(adjacency, Rows):
        return adjacency.indptr[i], adjacency.indptr[i + 1]
    return i * len(adjacency.shifts), (i + 1) * len(adjacency.shifts)


def end(adjacency: Any, i: int, h: int) -> int:
    """The node at the other end of half-edge h of node i; an empty slot ends at i itself."""
    if isinstance(adjacency, Rows):
        return int(adjacency.neighbours[h])
    return i + int(adjacency.shifts[h - i * len(adjacency.shifts)]) if adjacency.weights[h] != 0 else i


# The implementations are lambdas because numba compares signatures, annotations included, with the typing function's.
_SPAN = {
    Rows: lambda adjacency, i: (adjacency.indptr[i], adjacency.indptr[i + 1]),
    Stencil: lambda adjacency, i: (i * len(adjacency.shifts), (i + 1) * len(adjacency.shifts)),
}
_END = {
    Rows: lambda adjacency, i, h: adjacency.neighbours[h],  # noqa: ARG005
    Stencil: lambda adjacency, i, h: i + adjacency.shifts[h - i * len(adjacency.shifts)] * (adjacency.weights[h] != 0),
}


@overload(span)
def _span(adjacency, i):  # type: ignore[no-untyped-def]
    return _SPAN[adjacency.instance_class]


@overload(end)
def _end(adjacency, i, h):  # type: ignore[no-untyped-def]
    return _END[adjacency.instance_class]


def takes_stencil(graph: Graph) -> bool:
    """Whether the graph is a grid that fills its slots well enough to need no adjacency lists."""
    if not isinstance(graph, GridGraph) or graph.num_nodes < MIN_STENCIL_NODES:
        return False
    offsets = sum(part.stop > part.start for part in graph.edge_slices)
    return graph.num_edges > MIN_STENCIL_USE * offsets * graph.num_nodes


def adjacency_of(problem: Problem) -> Any:
    """Gather the edge costs of a problem, in their own dtype, in O(n + m); self-loops are left out."""
    graph = problem.graph
    if isinstance(graph, GridGraph) and takes_stencil(graph):
        slices = [s for s in graph.edge_slices if s.stop > s.start]
        starts = np.array([s.start for s in slices])
        stops = np.array([s.stop for s in slices])
        first = graph.edges[starts].astype(np.int64)
        forward = first[:, 1] - first[:, 0]
        shifts = np.stack([forward, -forward], axis=1).ravel()
        weights = np.zeros(graph.num_nodes * len(shifts), problem.edge_costs.dtype)

        def fill(first: int, last: int) -> None:
            _fill_slots(graph.edges, problem.edge_costs, starts, stops, first, last, weights)

        thread_ranges(fill, graph.num_nodes, MIN_PART)
        return Stencil(shifts, weights)
    return rows_of(problem)


def rows_of(problem: Problem) -> Rows:
    """The same as adjacency lists, for any graph."""
    indptr, neighbours, edge_ids = problem.graph.csr
    return Rows(indptr, neighbours, problem.edge_costs[edge_ids])


@njit
def _fill_slots(edges: Array, costs: Array, starts: Array, stops: Array, first: int, last: int, weights: Array) -> None:
    """Fill the slots of the nodes first..last-1.

    Within an offset, edges are sorted by either end. A few nodes at a time, so that their slots stay in a cache.
    """
    slots = 2 * len(starts)
    at = np.empty(slots, np.int64)
    for t in range(slots):
        at[t] = _first_edge(edges[:, t % 2], starts[t // 2], stops[t // 2], first)
    for chunk in range(first, last, NODES_AT_ONCE):
        until = min(chunk + NODES_AT_ONCE, last)
        for t in range(slots):
            e = at[t]
            while e < stops[t // 2] and edges[e, t % 2] < until:
                weights[np.int64(edges[e, t % 2]) * slots + t] = costs[e]
                e += 1
            at[t] = e


@njit
def _first_edge(ends: Array, low: int, high: int, node: int) -> int:
    """The first of the edges low..high-1 whose end is not below `node`, by bisection."""
    while low < high:
        middle = (low + high) // 2
        if ends[middle] < node:
            low = middle + 1
        else:
            high = middle
    return low
