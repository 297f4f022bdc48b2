"""Persistency: what every search can take as decided in a multicut, since some optimum agrees with it.

Two criteria, applied in turn while they still find something (the first is the edge criterion of Lange, Andres and
Swoboda 2018, "Combinatorial persistency criteria for multicut and max-cut"):

- *Joins.* Where an attractive edge outweighs all other edges at one of its ends together, moving that end to the other
  one's cluster never costs anything, wherever the others are. The two are joined.
- *Cuts.* Between two nodes that no path of attractive edges joins, all edges are cut: a cluster of both would gain by
  coming apart.

Of any problem, a node without edges takes its cheapest class.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import Array
from .._numba import njit, unsigned
from .._union_find import flatten, numbers, unite
from ..graph import Graph
from ..grid import GridGraph
from ..problem import Problem
from .level import Level, finest_level
from .levels.costs import Rows, end, half_edges
from .levels.partition import compact, edges_within
from .limits import LIMITS


def persistent(problem: Problem) -> tuple[Problem, Array]:
    """Decide what is certain in a multicut.

    Parameters
    ----------
    problem : Problem
        Of one class, partitionable.

    Returns
    -------
    problem : Problem
        One node for all that are joined for certain, without the edges that are cut for certain. Every labelling of it
        is one of the problem that was given, and the best is an optimum there as well.
    group : int32 array, shape (n,)
        The node that each node became. A round takes O(n + m), and there are as many as still shrink the graph.
    """
    level = finest_level(problem)
    group = numbers(level.num_nodes)
    while True:
        before = len(level.adjacency.weights)
        ids, count = compact(_joined(level.adjacency, level.num_nodes), level.num_nodes)
        level = level.contract(ids, count)
        group = ids[group]
        rows = edges_within(level.adjacency, _attractive_parts(level.adjacency))
        level = Level(level.costs._replace(adjacency=rows))
        if len(rows.weights) == 0 or len(rows.weights) > LIMITS.min_shrink * before:
            return problem_of(rows, level.node_costs), group


def with_edges(problem: Problem) -> tuple[Problem, Array] | None:
    """The problem of the nodes that have edges, and which these are; None where few have none, as on grids."""
    graph = problem.graph
    if isinstance(graph, GridGraph) or graph.num_nodes <= LIMITS.max_greedy:
        return None
    has_edges = np.zeros(graph.num_nodes, np.bool_)
    _mark_ends(graph.edges, has_edges)
    kept = np.flatnonzero(has_edges)
    if graph.num_nodes - len(kept) <= max(LIMITS.isolated * graph.num_nodes, LIMITS.max_greedy):
        return None
    number = np.cumsum(has_edges) - 1
    inside = has_edges[graph.edges[:, 0]]  # all but loops of nodes that have nothing else
    edges = number[graph.edges[inside]]
    return Problem(
        Graph(len(kept), edges), problem.node_costs[kept], problem.edge_costs[inside], problem.partitionable
    ), kept


@njit
def _mark_ends(edges: Array, has_edges: Array) -> None:
    for e in range(len(edges)):
        if edges[e, 0] != edges[e, 1]:
            has_edges[unsigned(edges[e, 0])] = True
            has_edges[unsigned(edges[e, 1])] = True


def problem_of(rows: Rows, node_costs: Array) -> Problem:
    """A problem of one partitionable class, with each edge of the rows once."""
    count = len(node_costs)
    start = np.repeat(np.arange(count, dtype=np.int32), np.diff(rows.indptr))
    once = start < rows.neighbours
    graph = Graph(count, np.stack([start[once], rows.neighbours[once]], axis=1))
    return Problem(graph, node_costs, rows.weights[once], np.ones(node_costs.shape[1], bool))


@njit
def _joined(adjacency: Any, n: int) -> Array:
    """A root for all nodes that are joined for certain.

    Of every node only the heaviest edge is tried: of two edges that both weigh half of all, only one is certain.
    """
    parent = numbers(n)
    for i in range(n):
        most = 0.0
        total = 0.0
        best = -1
        for h in half_edges(adjacency, i):
            w = np.float64(adjacency.weights[h])
            total += abs(w)
            if w > most:
                most = w
                best = end(adjacency, i, h)
        if 2 * most >= total and best >= 0:
            unite(parent, i, best)
    flatten(parent)
    return parent


@njit
def _attractive_parts(rows: Rows) -> Array:
    """A root for all nodes that attractive edges connect."""
    indptr, neighbours, weights = rows
    parent = numbers(len(indptr) - 1)
    for i in range(len(parent)):
        for h in range(indptr[i], indptr[i + 1]):
            if weights[h] > 0 and neighbours[h] < i:
                unite(parent, i, neighbours[h])
    flatten(parent)
    return parent
