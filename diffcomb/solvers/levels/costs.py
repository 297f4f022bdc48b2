"""The costs of a level in the forms that kernels take: adjacency with edge costs, and node costs, in two forms each.

Edge costs: :class:`Rows` stores the neighbours of every node (compressed rows). :class:`Stencil` is for grids: every
node has the same slots, one for each direction of each offset, so that a neighbour is an addition and only costs are
stored. A kernel that loops over ``half_edges(adjacency, i)`` and asks ``end(adjacency, i, h)`` is compiled for either.

Node costs: plain arrays (n, K), or :class:`PerturbedCosts`, those of the lifted problem plus λ g (COPS Algorithm 1,
line 1), of which a local search reads a few entries a node: never made, they cost no memory and no time. A kernel asks
``cost``, ``cheapest`` and ``lowest``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import njit, overload
from ..._room import room
from ..._threads import thread_ranges
from ...graph import Graph
from ...grid import GridGraph, shift_of
from ...problem import Problem
from ..limits import KERNELS, LIMITS


class Costs(NamedTuple):
    """What a level is made of.

    Attributes
    ----------
    adjacency : Rows or Stencil
    node_costs : float array, shape (n, K), or PerturbedCosts
    best : int32 array, shape (n,)
        The cheapest class of every node; of PerturbedCosts -1 where it is not known yet.
    partitionable : bool array, shape (K,)
    """

    adjacency: Any
    node_costs: Any
    best: Array
    partitionable: Array


class Rows(NamedTuple):
    """Neighbours and costs of node i stand at ``indptr[i]:indptr[i + 1]``."""

    indptr: Array
    neighbours: Array
    weights: Array


class Stencil(NamedTuple):
    """Node i has the slots ``i * len(shifts) + t``, to ``i + shifts[t]``; a slot of cost 0 has no edge."""

    shifts: Array
    weights: Array


def half_edges(adjacency: Any, i: int) -> range:
    """The half-edges of node i, which number the costs in ``adjacency.weights``."""
    if isinstance(adjacency, Rows):
        return range(adjacency.indptr[i], adjacency.indptr[i + 1])
    return range(i * len(adjacency.shifts), (i + 1) * len(adjacency.shifts))


def degree(adjacency: Any, i: int) -> int:
    """How many half-edges (or slots) node i has."""
    if isinstance(adjacency, Rows):
        return int(adjacency.indptr[i + 1] - adjacency.indptr[i])
    return len(adjacency.shifts)


def end(adjacency: Any, i: int, h: int) -> int:
    """The node at the other end of half-edge h of node i; an empty slot ends at i itself."""
    if isinstance(adjacency, Rows):
        return int(adjacency.neighbours[h])
    return i + int(adjacency.shifts[h - i * len(adjacency.shifts)]) if adjacency.weights[h] != 0 else i


# Implementations are lambdas because numba compares signatures, annotations included, with the typing function's.
_HALF_EDGES = {
    Rows: lambda adjacency, i: range(np.uint64(adjacency.indptr[i]), np.uint64(adjacency.indptr[i + 1])),
    Stencil: lambda adjacency, i: range(
        np.uint64(i * len(adjacency.shifts)), np.uint64((i + 1) * len(adjacency.shifts))
    ),
}
_DEGREE = {
    Rows: lambda adjacency, i: adjacency.indptr[i + 1] - adjacency.indptr[i],
    Stencil: lambda adjacency, i: len(adjacency.shifts),  # noqa: ARG005
}
_END = {
    Rows: lambda adjacency, i, h: np.uint32(adjacency.neighbours[h]),  # noqa: ARG005
    Stencil: lambda adjacency, i, h: np.uint32(
        i + adjacency.shifts[np.uint64(np.int64(h) - i * len(adjacency.shifts))] * (adjacency.weights[h] != 0)
    ),
}


@overload(half_edges)
def _half_edges(adjacency, i):  # type: ignore[no-untyped-def]
    return _HALF_EDGES[adjacency.instance_class]


@overload(degree)
def _degree(adjacency, i):  # type: ignore[no-untyped-def]
    return _DEGREE[adjacency.instance_class]


@overload(end)
def _end(adjacency, i, h):  # type: ignore[no-untyped-def]
    return _END[adjacency.instance_class]


def takes_stencil(graph: Graph) -> bool:
    """Whether the graph is a grid that fills its slots well enough to need no adjacency lists."""
    if not isinstance(graph, GridGraph) or graph.num_nodes < LIMITS.min_stencil_nodes:
        return False
    offsets = sum(part.stop > part.start for part in graph.edge_slices)
    return graph.num_edges > LIMITS.min_stencil_use * offsets * graph.num_nodes


def adjacency_of(problem: Problem) -> Any:
    """Gather the edge costs of a problem, in their own dtype, in O(n + m); self-loops are left out."""
    graph = problem.graph
    if isinstance(graph, GridGraph) and takes_stencil(graph):
        return _stencil_of(graph, problem.edge_costs)
    return rows_of(problem)


def rows_of(problem: Problem) -> Rows:
    """Gather the edge costs into adjacency lists, for any graph."""
    indptr, neighbours, edge_ids = problem.graph.csr
    return Rows(indptr, neighbours, problem.edge_costs[edge_ids])


class _Windows(NamedTuple):
    """Where the edges of the slots lie in a grid: slot t has one at every cell of a window.

    ``begins[t]`` is the first cell of the window, ``lengths[t]`` its size (ndim,), and ``starts[t]`` the edge of that
    cell. Edges come in row-major order of the cells.
    """

    begins: Array
    lengths: Array
    starts: Array


def _stencil_of(graph: GridGraph, edge_costs: Array) -> Stencil:
    """Fill the slots by arithmetic: to read where edges lead would take as long again."""
    used = [t for t, edges in enumerate(graph.edge_slices) if edges.stop > edges.start]
    ends = [end for t in used for end in graph.windows(t)]
    windows = _Windows(
        np.array([[axis.start for axis in window] for window in ends]),
        np.array([[axis.stop - axis.start for axis in window] for window in ends]),
        np.repeat([graph.edge_slices[t].start for t in used], 2),
    )
    forward = np.array([shift_of(graph.shape, graph.offsets[t]) for t in used])
    shifts = np.stack([forward, -forward], axis=1).ravel()
    weights = room(graph.num_nodes * len(shifts), edge_costs.dtype)
    shape = np.array(graph.shape)
    runs = graph.num_nodes // graph.shape[-1] * -(-graph.shape[-1] // KERNELS.nodes_at_once)

    def fill(first: int, last: int) -> None:
        _fill_slots(shape, windows, edge_costs, first, last, weights)

    thread_ranges(fill, runs, -(-LIMITS.nodes_a_thread * runs // graph.num_nodes))
    return Stencil(shifts, weights)


@njit
def _fill_slots(shape: Array, windows: _Windows, costs: Array, first: int, last: int, weights: Array) -> None:
    """Fill the slots of the runs first..last-1: a row along the last axis is one or several, that stay in a cache."""
    slots, axes = windows.begins.shape
    width = shape[axes - 1]
    runs_a_row = -(-width // KERNELS.nodes_at_once)
    place = np.empty(axes, np.int64)
    for run in range(first, last):
        row = run // runs_a_row
        left = row
        for axis in range(axes - 2, -1, -1):
            place[axis] = left % shape[axis]
            left //= shape[axis]
        low = run % runs_a_row * KERNELS.nodes_at_once
        high = min(low + KERNELS.nodes_at_once, width)
        weights[(row * width + low) * slots : (row * width + high) * slots] = 0
        for t in range(slots):
            begin, length = windows.begins[t], windows.lengths[t]
            edge = 0
            inside = True
            for axis in range(axes - 1):
                steps = place[axis] - begin[axis]
                inside = inside and 0 <= steps < length[axis]
                edge = edge * length[axis] + steps
            if inside:
                edge = windows.starts[t] + edge * length[axes - 1] - begin[axes - 1]
                for x in range(max(low, begin[axes - 1]), min(high, begin[axes - 1] + length[axes - 1])):
                    weights[np.uint64((row * width + x) * slots + t)] = costs[np.uint64(edge + x)]


class PerturbedCosts(NamedTuple):
    """The costs ``base[i, classes[l]] + scale * grad[rows[i], l]`` of node i and label l, in float64.

    They are those of the lift, of which column l is column ``classes[l]`` of the class costs `base`, plus λ times a
    gradient. ``base_low`` and ``grad_low`` (n,) are the smallest entries of row i of base (n, K) and of row
    ``rows[i]`` of grad.
    """

    base: Array
    base_low: Array
    classes: Array
    grad: Array
    rows: Array
    grad_low: Array
    scale: float


class LiftedCosts(NamedTuple):
    """The costs ``base[i, classes[l]]`` of node i and label l: PerturbedCosts at λ = 0, for `cost` only."""

    base: Array
    classes: Array


def cost(costs: Any, i: int, k: int) -> Any:
    """The cost of class (or label) k at node i."""
    if isinstance(costs, LiftedCosts):
        return costs.base[i, costs.classes[k]]
    if isinstance(costs, PerturbedCosts):
        return costs.base[i, costs.classes[k]] + costs.scale * costs.grad[costs.rows[i], k]
    return costs[i, k]


def cheapest(costs: Any, best: Array, i: int, limit: float) -> int:
    """The cheapest class (or label) of node i if it costs less than `limit`, else -1.

    `best` holds the cheapest class of every node. Of PerturbedCosts it is filled when needed: -1 is not known yet.
    """
    if isinstance(costs, PerturbedCosts):
        return _cheapest_perturbed(costs, best, i, limit)
    return int(best[i]) if costs[i, best[i]] < limit else -1


def lowest(costs: Any, best: Array, i: int) -> Any:
    """What the cheapest class (or label) of node i costs, or a little less: nothing is cheaper."""
    if isinstance(costs, PerturbedCosts):
        return costs.base_low[i] + costs.scale * costs.grad_low[i]
    return costs[i, best[i]]


@njit
def _cheapest_perturbed(costs: PerturbedCosts, best: Array, i: int, limit: float) -> int:
    if costs.base_low[i] + costs.scale * costs.grad_low[i] >= limit:
        return -1
    k = best[i]
    if k < 0:
        low = np.inf
        for t in range(len(costs.classes)):
            value = costs.base[i, costs.classes[t]] + costs.scale * costs.grad[costs.rows[i], t]
            if value < low:
                low = value
                k = t
        best[i] = k
    return k if costs.base[i, costs.classes[k]] + costs.scale * costs.grad[costs.rows[i], k] < limit else -1


_ARRAY = np.ndarray
_COST = {
    _ARRAY: lambda costs, i, k: costs[i, k],
    LiftedCosts: lambda costs, i, k: costs.base[i, costs.classes[k]],
    PerturbedCosts: lambda costs, i, k: costs.base[i, costs.classes[k]] + costs.scale * costs.grad[costs.rows[i], k],
}
_CHEAPEST = {
    _ARRAY: lambda costs, best, i, limit: best[i] if costs[i, best[i]] < limit else -1,
    PerturbedCosts: lambda costs, best, i, limit: _cheapest_perturbed(costs, best, i, limit),
}
_LOWEST = {
    _ARRAY: lambda costs, best, i: costs[i, best[i]],
    PerturbedCosts: lambda costs, best, i: costs.base_low[i] + costs.scale * costs.grad_low[i],  # noqa: ARG005
}


def _form(costs: Any) -> type:
    return getattr(costs, "instance_class", _ARRAY)


@overload(cost)
def _cost(costs, i, k):  # type: ignore[no-untyped-def]
    return _COST[_form(costs)]


@overload(cheapest)
def _cheapest(costs, best, i, limit):  # type: ignore[no-untyped-def]
    return _CHEAPEST[_form(costs)]


@overload(lowest)
def _lowest(costs, best, i):  # type: ignore[no-untyped-def]
    return _LOWEST[_form(costs)]
