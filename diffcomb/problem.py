"""The asymmetric multiway cut problem (COPS eq. 1 and 2): its data, its objective, its feasible set, a solution.

minimise   sum_i c_V(i, x_i) + sum_ij c_E(ij) y_ij   over class labels x and partition boundaries y,
such that  y_ij = 0 if x_i = x_j is not partitionable,  and  y_ij = 1 if x_i != x_j.

The multiway cut has no partitionable class; the multicut has one class, partitionable, and no node costs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._arrays import Array, float_array, to_numpy
from ._labels import checked_clusters, checked_labels, class_mask
from .graph import Graph, as_graph
from .labelling import cut_edges, number_clusters, sum_of_costs, uncut_components

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True, eq=False)
class Problem:
    """One instance of the asymmetric multiway cut problem; :func:`make_problem` makes it from any arrays.

    Attributes
    ----------
    graph : Graph
        n nodes and m edges.
    node_costs : numpy.ndarray of float32 or float64, shape (n, K)
        Cost of every class at every node.
    edge_costs : numpy.ndarray of float32 or float64, shape (m,)
        Cost of cutting an edge; positive is attractive (cutting it is paid), negative is repulsive. +inf is a
        must-link, which may not be cut, -inf a cannot-link, which must be cut.
    partitionable : numpy.ndarray of bool, shape (K,)
        The classes that may be split into several clusters (the set P).
    """

    graph: Graph
    node_costs: Array
    edge_costs: Array
    partitionable: Array

    def __post_init__(self) -> None:
        """Check shapes and dtypes, which kernels do not."""
        nodes, edges, graph = self.node_costs, self.edge_costs, self.graph
        if not all(isinstance(a, np.ndarray) for a in (nodes, edges, self.partitionable)):
            raise TypeError(
                "the costs and the mask of a Problem must be numpy arrays; make_problem takes what becomes one"
            )
        for name, costs in (("node_costs", nodes), ("edge_costs", edges)):
            if costs.dtype not in FLOATS:
                raise TypeError(f"{name} must be float32 or float64, got {costs.dtype}; make_problem converts others")
        if nodes.ndim != 2 or nodes.shape[0] != graph.num_nodes:
            raise ValueError(f"node_costs must have shape (n, K) with n={graph.num_nodes}, got {nodes.shape}")
        if nodes.shape[1] == 0 and graph.num_nodes:
            raise ValueError("node_costs must have at least one class, got shape " + str(nodes.shape))
        if edges.shape != (graph.num_edges,):
            raise ValueError(f"edge_costs must have shape (m,) = ({graph.num_edges},), got {edges.shape}")
        if self.partitionable.shape != nodes.shape[1:] or self.partitionable.dtype != np.bool_:
            raise ValueError(
                f"partitionable must be a boolean mask (K,) = ({nodes.shape[1]},), got {self.partitionable!r:.80}"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return int(self.node_costs.shape[1])

    def objective(self, node_labels: Array, edge_labels: Array) -> float:
        """Return the objective of eq. 2, summed in float64, in O(n + m).

        Must-links and cannot-links that are kept count nothing; a labelling that breaks one costs +inf.

        Parameters
        ----------
        node_labels, edge_labels : array_like of int or bool, shapes (n,) and (m,)
            Class labels x and cut indicators y.

        Raises
        ------
        TypeError
            If labels are not integers.
        ValueError
            If a shape does not fit, a class is out of range, or an edge label is neither 0 nor 1.
        """
        x = checked_labels(node_labels, "node_labels", (self.graph.num_nodes,), self.num_classes)
        return self.value(x, checked_labels(edge_labels, "edge_labels", (self.graph.num_edges,), 2))

    @property
    def is_multicut(self) -> bool:
        """Whether there is one class, which is partitionable; then node costs decide nothing."""
        return self.num_classes == 1 and bool(self.partitionable[0])

    def value(self, node_labels: Array, edge_labels: Array) -> float:
        """Return the objective of labels that are known to be valid arrays, as solvers make them."""
        with np.errstate(invalid="ignore"):  # 0 times an infinite cost: numba ignores it, Python warns
            total = sum_of_costs(self.node_costs, self.edge_costs, node_labels, edge_labels)
        if math.isfinite(total):
            return total
        must, cannot = np.isposinf(self.edge_costs), np.isneginf(self.edge_costs)
        if np.any(must & (edge_labels == 1)) or np.any(cannot & (edge_labels == 0)):
            return math.inf
        finite = np.where(must | cannot, 0, self.edge_costs)
        return sum_of_costs(self.node_costs, finite, node_labels, edge_labels)

    def violations(self, node_labels: Any, edge_labels: Any, clusters: Any = None) -> list[str]:
        """Say in words which constraints of eq. 1 and 2 a labelling breaks; an empty list means feasible.

        Parameters
        ----------
        node_labels, edge_labels : array_like of int, shapes (n,) and (m,)
            Class labels x and cut indicators y.
        clusters : array_like of int, shape (n,), optional
            Cluster ids z, checked for agreement with x and y.

        Returns
        -------
        list of str
        """
        x, y = to_numpy(node_labels), to_numpy(edge_labels)
        n, m, K = self.graph.num_nodes, self.graph.num_edges, self.num_classes
        if x.shape != (n,) or y.shape != (m,):
            return [f"shapes must be ({n},) and ({m},), got {x.shape} and {y.shape}"]
        z = x if clusters is None else to_numpy(clusters)
        if not all(a.dtype.kind in "iub" for a in (x, y, z)):
            return [f"labels and clusters must be integers, got dtypes {x.dtype}, {y.dtype} and {z.dtype}"]
        x, y, z = (a.astype(np.int64) for a in (x, y, z))
        found = []
        if n and (x.min() < 0 or x.max() >= K):
            return [f"node labels must lie in 0..{K - 1}, got {x.min()}..{x.max()}"]
        if not np.isin(y, (0, 1)).all():
            return ["edge labels must be 0 or 1"]
        u, v = self.graph.edges.T
        differ = x[u] != x[v]
        if np.any(differ & (y == 0)):
            found.append("an edge between two classes is not cut")
        if np.any(~differ & ~self.partitionable[x[u]] & (y == 1)):
            found.append("an edge inside a class that is not partitionable is cut")
        if np.any(np.isposinf(self.edge_costs) & (y == 1) & (u != v)):
            found.append("an edge of cost +inf (must-link) is cut")
        if np.any(np.isneginf(self.edge_costs) & (y == 0)):
            found.append("an edge of cost -inf (cannot-link) is not cut")
        component = uncut_components(self.graph.edges, y.astype(np.uint8), np.zeros(n, np.int64), np.ones(1, bool))
        if np.any((component[u] == component[v]) & (y == 1)):
            found.append("an edge is cut although a path of uncut edges joins its ends (eq. 1)")
        if clusters is not None:
            if z.shape != (n,):
                return [*found, f"clusters must have shape ({n},), got {z.shape}"]
            if np.any((z[u] == z[v]) != (y == 0)):
                found.append("clusters and edge labels disagree")
            ids = np.unique(z)
            if n and (ids[0] != 0 or ids[-1] != len(ids) - 1):
                found.append("cluster ids are not 0..M-1")
            order = np.argsort(z, kind="stable")
            if np.any((np.diff(z[order]) == 0) & (np.diff(x[order]) != 0)):
                found.append("a cluster holds two classes")
        return found


def make_problem(graph: Graph, node_costs: Any, edge_costs: Any, partitionable: Any = ()) -> Problem:
    """Validate one instance (no batch axis) and return it; see :class:`Problem` for shapes and `amwc` for errors.

    Node costs of None make a multicut: one class, partitionable, without costs.
    """
    edges = float_array(edge_costs, "edge_costs", "(m,)", infinite=True)
    if node_costs is None:
        graph = as_graph(graph)
        return checked_problem(graph, np.zeros((graph.num_nodes, 1), edges.dtype), edges, (0,))
    nodes = float_array(node_costs, "node_costs", "(n, K)")
    graph = as_graph(graph, len(nodes) if nodes.ndim == 2 else None)
    return checked_problem(graph, nodes, edges, partitionable)


def checked_problem(graph: Graph, nodes: Array, edges: Array, partitionable: Any) -> Problem:
    """Do the same for costs that have been through `float_array`: only shapes and classes are left to check."""
    if nodes.ndim != 2 or not (nodes.shape[1] or nodes.shape[0] == 0):
        return Problem(graph, nodes, edges, np.zeros(0, bool))  # which says what is wrong with the node costs
    return Problem(graph, nodes, edges, class_mask(partitionable, nodes.shape[1]))


def labelling_objective(problem: Problem, node_labels: Array, clusters: Array) -> float:
    """The objective of a (class, cluster id) labelling, in one pass and without making a Solution."""
    edges, x = problem.graph.edges, np.ascontiguousarray(node_labels)
    y = cut_edges(edges, x, np.ascontiguousarray(clusters), problem.partitionable)
    return problem.value(x, y)


@dataclass(frozen=True, eq=False)
class Solution:
    """A feasible labelling: numpy arrays, or tensors if the costs were tensors; a batch has a leading axis B.

    Attributes
    ----------
    node_labels : int64, shape (n,) or (B, n)
        Class x of every node.
    edge_labels : uint8, shape (m,) or (B, m)
        y: 1 where the edge is cut.
    clusters : int64, shape (n,) or (B, n)
        Panoptic labels z in 0..M-1, numbered by first appearance. A cluster of a partitionable class is a
        connected component of the uncut edges; a class that is not partitionable is one cluster, connected
        or not (Algorithm 2, lines 19-23).
    objective : float, or array of shape (B,)
        Value of eq. 2.
    lower_bound : float or array of shape (B,), optional
        A proven bound on the optimum, from solvers that have one.
    """

    node_labels: Any
    edge_labels: Any
    clusters: Any
    objective: Any
    lower_bound: Any = None

    @property
    def gap(self) -> Any:
        """Difference of objective and lower bound, or None without a bound."""
        return None if self.lower_bound is None else self.objective - self.lower_bound

    @property
    def num_clusters(self) -> Any:
        """Number of clusters M; of shape (B,) for a batch."""
        z = self.clusters
        if z.ndim == 1:
            return int(z.max()) + 1 if len(z) else 0
        if z.shape[1] == 0:
            return z.sum(1)
        return (z.max(1) if isinstance(z, np.ndarray) else z.amax(1)) + 1


def make_solution(problem: Problem, node_labels: Any, clusters: Any, lower_bound: float | None = None) -> Solution:
    """Turn any (class, cluster id) labelling into a feasible Solution, in O(n + m).

    Nodes of a partitionable class are together iff class and cluster id agree and a path joins them.

    Parameters
    ----------
    problem : Problem
    node_labels, clusters : array_like of int, shape (n,)
        Classes in 0..K-1, and any ids.
    lower_bound : float, optional
        A proven bound, to be kept in the solution.

    Raises
    ------
    TypeError, ValueError
        If labels are no integers, of another shape, or a class is out of range.
    """
    n = problem.graph.num_nodes
    x = checked_labels(node_labels, "node_labels", (n,), problem.num_classes)
    return solution_of_labels(problem, x, checked_clusters(clusters, n), lower_bound)


def solution_of_labels(
    problem: Problem, node_labels: Array, clusters: Array, lower_bound: float | None = None
) -> Solution:
    """The same for labels that are known to be valid, as those of solvers."""
    x = np.ascontiguousarray(node_labels, dtype=np.int64)
    y = cut_edges(problem.graph.edges, x, np.ascontiguousarray(clusters), problem.partitionable)
    # Of classes that are not partitionable no components are needed: each is one cluster.
    component = uncut_components(problem.graph.edges, y, x, problem.partitionable)
    return solution_of_components(problem, x, y, component, lower_bound)


def solution_of_components(
    problem: Problem, node_labels: Array, y: Array, component: Array, lower_bound: float | None = None
) -> Solution:
    """Put together a labelling of which the cut edges and a root of every node's component of the others are known."""
    z = number_clusters(component, node_labels, problem.partitionable)
    return Solution(node_labels, y, z, problem.value(node_labels, y), lower_bound)
