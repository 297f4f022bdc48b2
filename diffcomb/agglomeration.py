"""Agglomeration with and without constraints: GASP linkages, the mutex watershed and the semantic mutex watershed.

All of them take signed costs as the other verbs do: a positive cost says how strongly two nodes belong together, a
negative one how strongly they do not. They are quick and need no parameters but costs whose sizes can be compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arrays import Array, float_array
from .graph import Graph, as_graph
from .problem import Solution, checked_problem, make_problem, make_solution
from .solve_instances import as_kind
from .solvers.levels.contraction import has_parallel_edges
from .solvers.moves.agglomerating import agglomerated
from .solvers.moves.linkages import LINKAGES
from .solvers.moves.reciprocal import join_reciprocal
from .solvers.mutex_watershed import mutex_clusters


def agglomerate(
    graph: Any, edge_costs: Any, linkage: str = "average", *, constrained: bool = False, sizes: Any = None
) -> Solution:
    """Join clusters in the order of their interactions until none is positive (GASP, Bailoni et al. 2022).

    Parameters
    ----------
    graph : Graph or array_like of int, shape (m, 2)
    edge_costs : array_like or tensor, shape (m,)
        Finite; positive is attractive.
    linkage : {"sum", "average", "absolute_maximum", "maximum", "minimum"}
        The interaction of two clusters, of all edges between them: their sum (without constraints that is what
        ``solver="greedy"`` of :func:`multicut` does, which also joins clusters whose interaction is 0), their average,
        or the one of largest absolute value, of largest value (single linkage), of smallest (complete linkage).
    constrained : bool
        Whether a negative interaction that is the strongest left keeps its two clusters apart for good. With
        "absolute_maximum" that makes no difference: either way it is the mutex watershed.
    sizes : array_like, shape (m,), optional
        Weights of the edges in averages, positive: the lengths of common boundaries for instance.

    Returns
    -------
    Solution
        Of the multicut with these costs, whose objective tells how good the clusters are by that measure.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or range.

    Notes
    -----
    Takes O(m (log m)^2). In which order equal interactions go is not said, but it is the same in every run.

    Examples
    --------
    >>> agglomerate([(0, 1), (1, 2), (0, 2)], [3.0, 2.0, -4.0], "average").clusters.tolist()
    [0, 0, 1]
    >>> agglomerate([(0, 1), (1, 2), (0, 2)], [3.0, 2.0, -1.0], "sum").clusters.tolist()
    [0, 0, 0]
    """
    graph, costs = _checked(graph, edge_costs)
    known = (*LINKAGES, "absolute_maximum")
    if linkage not in known:
        raise ValueError(f"linkage must be one of {', '.join(map(repr, known))}, got {linkage!r}")
    weights = np.ones(len(costs)) if sizes is None else float_array(sizes, "sizes", "(m,)").astype(np.float64)
    if weights.shape != costs.shape or (len(weights) and weights.min() <= 0):
        raise ValueError(f"sizes must be {len(costs)} positive numbers, one for each edge, got {sizes!r:.80}")
    if linkage == "absolute_maximum":
        return mutex_watershed(graph, edge_costs)
    simple, signed, weights = _without_parallels(graph, costs.astype(np.float64), weights, linkage)
    rule = LINKAGES.index(linkage), bool(constrained)
    if linkage == "sum":  # a join may make a sum larger, so that the order matters
        root = agglomerated(simple.num_nodes, simple.edges, signed, None, *rule)
    else:
        group, count, edges, signed, weights = join_reciprocal(simple.csr, signed, weights, *rule)
        root = agglomerated(count, edges, signed, weights, *rule)[group]
    return _multicut_solution(graph, costs, root, edge_costs)


def mutex_watershed(graph: Any, edge_costs: Any) -> Solution:
    """Cluster by the mutex watershed (Wolf et al. 2018): edges join or separate for good, the strongest first.

    Parameters
    ----------
    graph : Graph or array_like of int, shape (m, 2)
    edge_costs : array_like or tensor, shape (m,)
        Finite. A positive cost joins two clusters unless they are kept apart already, a negative one keeps them apart
        unless they are one already.

    Returns
    -------
    Solution
        Of the multicut with these costs.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or range.

    Notes
    -----
    Takes O(m log m): sorting by digits, then one pass. Equal strengths go in the order of the edges.

    Examples
    --------
    >>> mutex_watershed([(0, 1), (1, 2), (0, 2)], [3.0, 1.0, -2.0]).clusters.tolist()
    [0, 0, 1]
    """
    graph, costs = _checked(graph, edge_costs)
    root, _ = mutex_clusters(graph.edges, costs, graph.num_nodes)
    return _multicut_solution(graph, costs, root, edge_costs)


def semantic_mutex_watershed(graph: Any, class_weights: Any, edge_costs: Any, partitionable: Any = None) -> Solution:
    """Cluster and classify by the semantic mutex watershed (Wolf et al. 2020).

    Parameters
    ----------
    graph : Graph or array_like of int, shape (m, 2)
    class_weights : array_like or tensor, shape (n, K)
        How strongly each node belongs to each class, comparable with the sizes of `edge_costs`: the larger the
        stronger. A cluster takes the first class that one of its nodes brings; two classes do not join.
    edge_costs : array_like or tensor, shape (m,)
        As in :func:`mutex_watershed`.
    partitionable : array_like of bool, shape (K,), or list of int, optional
        Classes that may have several clusters, by default all; the nodes of any other class become one cluster.

    Returns
    -------
    Solution
        Of the asymmetric multiway cut with node costs ``-class_weights``.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or range.

    Examples
    --------
    >>> s = semantic_mutex_watershed([(0, 1), (1, 2)], [[4.0, 0.0], [0.0, 0.5], [0.0, 3.0]], [2.0, 1.0])
    >>> s.node_labels.tolist(), s.clusters.tolist()
    ([0, 0, 1], [0, 0, 1])
    """
    weights = float_array(class_weights, "class_weights", "(n, K)")
    if weights.ndim != 2:
        raise ValueError(f"class_weights must have shape (n, K), got {weights.shape}")
    graph = as_graph(graph, len(weights))
    graph, costs = _checked(graph, edge_costs)
    classes = np.arange(weights.shape[1]) if partitionable is None else partitionable
    problem = checked_problem(graph, -weights, costs, classes)
    best = weights.argmax(axis=1).astype(np.int32) if len(weights) else np.empty(0, np.int32)
    strength = weights[np.arange(len(best)), best]
    root, found = mutex_clusters(graph.edges, costs, len(best), best, strength)
    return as_kind(make_solution(problem, found, root), edge_costs)


def _checked(graph: Any, edge_costs: Any) -> tuple[Graph, Array]:
    graph = as_graph(graph)
    costs = float_array(edge_costs, "edge_costs", "(m,)")
    if costs.shape != (graph.num_edges,):
        raise ValueError(f"edge_costs must have shape (m,) = ({graph.num_edges},), got {costs.shape}")
    return graph, costs


def _multicut_solution(graph: Graph, costs: Array, root: Array, reference: Any) -> Solution:
    problem = make_problem(graph, None, costs)
    return as_kind(make_solution(problem, np.zeros(graph.num_nodes, np.int64), root), reference)


def _without_parallels(graph: Graph, costs: Array, sizes: Array, linkage: str) -> tuple[Graph, Array, Array]:
    """Graph, costs and sizes without loops, parallel edges joined as the linkage says."""
    proper = graph.edges[:, 0] != graph.edges[:, 1]
    if proper.all() and not has_parallel_edges(*graph.csr[:2]):
        return graph, costs, sizes
    edges = np.sort(graph.edges[proper], axis=1)
    costs, sizes = costs[proper], sizes[proper]
    key = edges[:, 0].astype(np.int64) * graph.num_nodes + edges[:, 1]
    order = np.argsort(key, kind="stable")
    begins = np.flatnonzero(np.diff(key[order], prepend=-1))
    costs, sizes = costs[order], sizes[order]
    totals = np.add.reduceat(sizes, begins)
    if linkage == "average":
        joint = np.add.reduceat(costs * sizes, begins) / totals
    else:
        joint = {"sum": np.add, "maximum": np.maximum, "minimum": np.minimum}[linkage].reduceat(costs, begins)
    return Graph(graph.num_nodes, edges[order][begins]), joint, totals
