"""Agglomeration with and without constraints: GASP linkages, the mutex watershed and the semantic mutex watershed.

All of them take signed costs as the other verbs do: a positive cost says how strongly two nodes belong together, a
negative one how strongly they do not. They are quick and need no parameters but costs whose sizes can be compared.
Must-links are edges of cost +inf, which join first, and cannot-links of -inf, which keep apart for good.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._arrays import Array, float_array
from .constraints import make_constraints
from .graph import Graph, as_graph
from .problem import Problem, Solution, checked_problem, make_problem, solution_of_labels
from .solve_instances import as_kind, check_flag
from .solvers import budget_of, with_bound
from .solvers.levels.contraction import has_parallel_edges
from .solvers.moves.agglomerating import agglomerated
from .solvers.moves.linkages import LINKAGES
from .solvers.moves.reciprocal import join_reciprocal
from .solvers.mutex_watershed import mutex_clusters

LEAST_SIZE = 1e-200  # of an edge, as a part of the largest one


def agglomerate(
    graph: Any,
    edge_costs: Any,
    linkage: str = "average",
    *,
    constrained: bool = False,
    sizes: Any = None,
    must_link: Any = None,
    cannot_link: Any = None,
    seeds: Any = None,
    bound: bool = False,
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
    must_link, cannot_link, seeds, bound
        As in :func:`amwc`. Clusters that must be together join first, whatever lies between them; those that must be
        apart never do.

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
    >>> agglomerate([(0, 1), (1, 2), (0, 2)], [3.0, 2.0, -1.0], "sum", cannot_link=[(0, 1)]).clusters.tolist()
    [0, 1, 1]
    """
    asked = _checked(as_graph(graph), edge_costs, (must_link, cannot_link, seeds), bound)
    check_flag(constrained, "constrained")
    known = (*LINKAGES, "absolute_maximum")
    if linkage not in known:
        raise ValueError(f"linkage must be one of {', '.join(map(repr, known))}, got {linkage!r}")
    weights = np.ones(len(asked.costs))
    if sizes is not None:
        given = float_array(sizes, "sizes", "(m,)")
        if given.shape != (asked.num_edges,) or (len(given) and given.min() <= 0):
            raise ValueError(f"sizes must be {asked.num_edges} positive numbers, one for each edge, got {sizes!r:.80}")
        largest = float(given.max()) if len(given) else 1.0
        scaled = np.ldexp(given.astype(np.float64), -math.frexp(largest)[1])  # sums are finite
        weights[: asked.num_edges] = np.maximum(scaled, LEAST_SIZE)
    if linkage == "absolute_maximum":
        return _mutex_watershed(asked)
    simple, signed, weights = _without_parallels(asked.graph, asked.costs.astype(np.float64), weights, linkage)
    rule = LINKAGES.index(linkage), bool(constrained)
    if linkage == "sum":  # a join may make a sum larger, so that the order matters
        root = agglomerated(simple.num_nodes, simple.edges, signed, None, *rule)
    else:
        group, count, edges, signed, weights = join_reciprocal(simple.csr, signed, weights, *rule)
        root = agglomerated(count, edges, signed, weights, *rule)[group]
    return asked.multicut(root)


def mutex_watershed(
    graph: Any,
    edge_costs: Any,
    *,
    must_link: Any = None,
    cannot_link: Any = None,
    seeds: Any = None,
    bound: bool = False,
) -> Solution:
    """Cluster by the mutex watershed (Wolf et al. 2018): edges join or separate for good, the strongest first.

    Parameters
    ----------
    graph : Graph or array_like of int, shape (m, 2)
    edge_costs : array_like or tensor, shape (m,)
        Finite. A positive cost joins two clusters unless they are kept apart already, a negative one keeps them apart
        unless they are one already.
    must_link, cannot_link, seeds, bound
        As in :func:`amwc`; constraints go before all edges.

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
    return _mutex_watershed(_checked(as_graph(graph), edge_costs, (must_link, cannot_link, seeds), bound))


def semantic_mutex_watershed(
    graph: Any,
    class_weights: Any,
    edge_costs: Any,
    partitionable: Any = None,
    *,
    must_link: Any = None,
    cannot_link: Any = None,
    seeds: Any = None,
    bound: bool = False,
) -> Solution:
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
    must_link, cannot_link, seeds, bound
        As in :func:`amwc`; constraints go before all edges and classes. Classes are chosen without regard to
        cannot-links.

    Returns
    -------
    Solution
        Of the asymmetric multiway cut with node costs ``-class_weights``.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or range, or if two nodes that must be apart are of one class that is
        not partitionable.

    Examples
    --------
    >>> s = semantic_mutex_watershed([(0, 1), (1, 2)], [[4.0, 0.0], [0.0, 0.5], [0.0, 3.0]], [2.0, 1.0])
    >>> s.node_labels.tolist(), s.clusters.tolist()
    ([0, 0, 1], [0, 0, 1])
    """
    weights = float_array(class_weights, "class_weights", "(n, K)")
    if weights.ndim != 2:
        raise ValueError(f"class_weights must have shape (n, K), got {weights.shape}")
    asked = _checked(as_graph(graph, len(weights)), edge_costs, (must_link, cannot_link, seeds), bound)
    classes = np.arange(weights.shape[1]) if partitionable is None else partitionable
    problem = checked_problem(asked.graph, -weights, asked.costs, classes)
    best = weights.argmax(axis=1).astype(np.int32) if len(weights) else np.empty(0, np.int32)
    strength = weights[np.arange(len(best)), best]
    root, found = mutex_clusters(asked.graph.edges, asked.costs, len(best), best, strength)
    return asked.solution(problem, found, root)


@dataclass(frozen=True)
class _Asked:
    """What the user asked for, checked.

    Attributes
    ----------
    graph, costs
        With an edge of infinite cost for every constraint, behind those of the user.
    num_edges : int
        How many are the user's.
    bound : bool
    reference : array_like or tensor
        The costs as they were given.
    """

    graph: Graph
    costs: Array
    num_edges: int
    bound: bool
    reference: Any

    def multicut(self, root: Array) -> Solution:
        """Solution of a root of every node's cluster."""
        return self.solution(make_problem(self.graph, None, self.costs), np.zeros(len(root), np.int64), root)

    def solution(self, problem: Problem, classes: Array, root: Array) -> Solution:
        """Solution of classes and a root of every node's cluster, with a bound if one was asked for."""
        found = solution_of_labels(problem, classes, root)
        u, v = self.graph.edges[self.num_edges :].T
        wrong = np.flatnonzero(np.isneginf(self.costs[self.num_edges :]) & (found.edge_labels[self.num_edges :] == 0))
        if len(wrong):
            k = int(found.node_labels[u[wrong[0]]])
            raise ValueError(
                f"nodes {u[wrong[0]]} and {v[wrong[0]]} must be apart (cannot_link or different seeds), but both are "
                f"of class {k}, which is not partitionable; make it so, or use amwc, which weighs other classes"
            )
        if self.bound:
            found = with_bound(problem, found, budget_of(None, None, None))
        return as_kind(replace(found, edge_labels=found.edge_labels[: self.num_edges]), self.reference)


def _checked(graph: Graph, edge_costs: Any, constraints: tuple[Any, Any, Any], bound: bool) -> _Asked:
    costs = float_array(edge_costs, "edge_costs", "(m,)")
    if costs.shape != (graph.num_edges,):
        raise ValueError(f"edge_costs must have shape (m,) = ({graph.num_edges},), got {costs.shape}")
    check_flag(bound, "bound")
    constrained, costs = make_constraints(graph.num_nodes, *constraints).added_to(graph, costs)
    return _Asked(constrained, costs, graph.num_edges, bool(bound), edge_costs)


def _mutex_watershed(asked: _Asked) -> Solution:
    root, _ = mutex_clusters(asked.graph.edges, asked.costs, asked.graph.num_nodes)
    return asked.multicut(root)


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
        shares = sizes / np.repeat(totals, np.diff(begins, append=len(sizes)))
        joint = np.add.reduceat(costs * shares, begins)  # no sum is larger than the largest cost
    else:
        joint = {"sum": np.add, "maximum": np.maximum, "minimum": np.minimum}[linkage].reduceat(costs, begins)
    infinite = np.add.reduceat(np.where(np.isinf(costs), costs, 0.0), begins)
    joint = np.where(np.isinf(infinite), infinite, joint)  # constraints stay what they are
    return Graph(graph.num_nodes, edges[order][begins]), joint, totals
