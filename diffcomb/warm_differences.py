"""Warm solves of many perturbations of one problem that visit only what the perturbation touched.

A black-box gradient asks what the solver would do at costs c + λ g, for several λ, starting from a solution for c.
Where that solution is a local optimum, node i cannot gain by moving before λ exceeds

    (loss of its second choice at c) / (g[i, label of i] - min_l g[i, l] + sum of |g_E| over its edges),

which one pass over the graph finds for all λ. Local moving then begins with the nodes below λ only. Perturbed node
costs are not made but computed where they are read, and of the solutions only the differences leave this module.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ._arrays import Array, float_array
from ._implicit import RowTable
from ._numba import njit
from ._threads import thread_map, thread_ranges
from .problem import Problem
from .solvers.level import Level, finest_level
from .solvers.levels.costs import Costs, LiftedCosts, PerturbedCosts, adjacency_of
from .solvers.levels.labels import Labels, from_labels
from .solvers.limits import LIMITS
from .solvers.moves.visit import best_neighbour, clear, gather, max_degree


class Start(NamedTuple):
    """A labelling to move from, preferably a local optimum for c.

    Attributes
    ----------
    labels : Labels
        With labels 0..J-1.
    classes : int array, shape (J,)
        The class of every label: the map m of the lift, or 0..K-1 if there is none.
    partitionable : bool array, shape (J,)
        The labels that may be split.
    """

    labels: Labels
    classes: Array
    partitionable: Array

    @classmethod
    def of(cls, node_labels: Array, clusters: Array, classes: Array, partitionable: Array) -> Start:
        """That of the label and the cluster of every node."""
        return cls(from_labels(node_labels, clusters, partitionable), np.asarray(classes, np.int32), partitionable)


class WarmDifferences:
    """Local moving from one labelling of a problem, at costs c + λ g for any λ > 0.

    Parameters
    ----------
    problem : Problem
        Costs of K classes.
    start : Start
    node_grad : float array, shape (n, J), or RowTable
    edge_grad : float array, shape (m,)
        g.
    settle : bool
        Whether to begin at the local optimum for c that the start leads to, where it may be none itself.

    Attributes
    ----------
    least : float64 array, shape (n,)
        No node gains by moving, as the first one, at any λ below this.
    """

    def __init__(
        self, problem: Problem, start: Start, node_grad: Array | RowTable, edge_grad: Array, settle: bool = False
    ) -> None:
        self.problem = problem
        self.start, self.classes, self.partitionable = start
        self.level = finest_level(problem).with_partitionable(start.partitionable)
        self.edge_grad = edge_grad if edge_grad.any() else None
        n = self.level.num_nodes
        if not isinstance(node_grad, RowTable):
            node_grad = RowTable(node_grad, np.arange(n, dtype=np.int32))
        table, rows = np.ascontiguousarray(node_grad.table), node_grad.index
        reach = np.zeros(n) if self.edge_grad is None else _edge_reach(problem.graph.edges, edge_grad, n)
        base_low = self.level.node_costs[np.arange(n), self.level.best]
        self.gradient = _Gradient(table, rows, _row_minima(table)[rows], reach, base_low)
        if settle:
            self.start = self._settled()
        self.least = self._least_scales()

    def _least_scales(self) -> Array:
        """For every node the smallest scale that may move it; in threads."""
        least = np.empty(self.level.num_nodes, np.float64)
        costs = self.level.costs._replace(node_costs=LiftedCosts(self.level.node_costs, self.classes))

        def part(first: int, last: int) -> None:
            _least_scales_of(costs, self.start, self.gradient, first, last, least)

        thread_ranges(part, len(least), LIMITS.look_nodes_a_thread)
        return least

    def at(self, scale: float) -> Labels:
        """The labelling for c + scale * g."""
        labels = self.start.copy()
        nodes = np.flatnonzero(self.least <= scale)
        if not len(nodes):
            return labels
        if not math.isfinite(scale * float(self.gradient.low.min())):
            raise ValueError("node_costs must be finite, got infinite values: a scale λ times the gradient overflows")
        Level(self._costs_at(float(scale))).move(labels, nodes)
        return labels

    def _settled(self) -> Labels:
        """The local optimum for c that the start leads to."""
        labels = self.start.copy()
        Level(self._costs_at(0.0)).move(labels)
        return labels

    def _costs_at(self, scale: float) -> Costs:
        adjacency, base, g = self.level.adjacency, self.level.node_costs, self.gradient
        if self.edge_grad is not None:
            costs = perturbed(self.problem.edge_costs, self.edge_grad, scale)
            adjacency = adjacency_of(replace(self.problem, edge_costs=costs))
        lifted = PerturbedCosts(base, g.base_low, self.classes, g.table, g.rows, g.low, scale)
        unknown = np.full(self.level.num_nodes, -1, np.int32)
        return Costs(adjacency, lifted, unknown, self.partitionable)

    def differences(self, scales: Array, weights: Array) -> tuple[Array, Array]:
        """Sum over scales of weight * [W(c + scale * g) - W(c)], in class space; the scales in threads.

        Returns
        -------
        (float array (n, K), float array (m,))
            Of the one-hot class labels, hence pulled back through the lift, and of the cut edges; in the dtypes of the
            costs. It takes O(n J + m) for the first look, and then what the moves take.
        """
        found = thread_map(self.at, [float(scale) for scale in scales])
        nodes = np.zeros_like(self.level.node_costs)
        edges = np.zeros_like(self.problem.edge_costs)
        before = self._node_classes(self.start)
        for labels, weight in zip(found, weights, strict=True):
            now = self._node_classes(labels)
            changed = np.flatnonzero(now != before)
            nodes[changed, now[changed]] += weight
            nodes[changed, before[changed]] -= weight
        after = np.stack([labels.z for labels in found], axis=1)
        _add_cut_differences(self.problem.graph.edges, self.start.z, after, weights, edges)
        return nodes, edges

    def _node_classes(self, labels: Labels) -> Array:
        return self.classes[labels.cluster_class[labels.z]]


class _Gradient(NamedTuple):
    """The gradient g at every node i: row ``rows[i]`` of a table, its smallest entry, the sum of |g_E| over its edges.

    ``base_low`` is the smallest of the node costs of i, which bounds what it may gain.
    """

    table: Array
    rows: Array
    low: Array
    reach: Array
    base_low: Array


def _row_minima(table: Array) -> Array:
    """The smallest entry of every row, in threads."""
    low = np.empty(len(table), table.dtype)

    def part(first: int, last: int) -> None:
        table[first:last].min(axis=1, out=low[first:last], initial=np.inf)

    thread_ranges(part, len(low), LIMITS.look_nodes_a_thread)
    return low


@njit
def _least_scales_of(costs: Costs, labels: Labels, g: _Gradient, first: int, last: int, least: Array) -> None:
    """The formula of the module's docstring, for the nodes first..last-1; costs are those of labels, at λ = 0."""
    adjacency, lifted = costs.adjacency, costs.node_costs
    base, classes = lifted
    z, cluster_class = labels
    table, rows, grad_low, reach, base_low = g
    sums = np.zeros(len(cluster_class), np.float64)
    touched = np.empty(max_degree(adjacency, len(z)) + 1, np.int32)
    for i in range(first, last):
        label = cluster_class[z[i]]
        slope = np.float64(table[rows[i], label]) - grad_low[i] + reach[i]
        if slope <= 0:
            least[i] = np.inf
            continue
        count = gather(adjacency, z, i, sums, touched)
        here = sums[z[i]] - base[i, classes[label]]
        neighbour, _ = best_neighbour(lifted, cluster_class, i, z[i], sums, touched, count)
        second = max(-np.float64(base_low[i]), neighbour)  # the first bounds all clusters without edges to i
        clear(sums, touched, count)
        least[i] = max(here - second, 0.0) / slope


def perturbed(costs: Array, grad: Array, scale: float) -> Array:
    """Return c + λ g in the dtype of c; λ may be too large for it where g is next to nothing."""
    with np.errstate(over="ignore"):  # what overflows is refused as an infinite cost
        whole = costs.astype(np.float64) + scale * grad.astype(np.float64)
        return float_array(whole.astype(costs.dtype), "edge_costs", "(m,)")


@njit
def _edge_reach(edges: Array, edge_grad: Array, num_nodes: int) -> Array:
    reach = np.zeros(num_nodes, np.float64)
    for e in range(len(edges)):
        reach[edges[e, 0]] += abs(edge_grad[e])
        reach[edges[e, 1]] += abs(edge_grad[e])
    return reach


@njit
def _add_cut_differences(edges: Array, before: Array, after: Array, weights: Array, out: Array) -> None:
    moved = np.zeros(len(before), np.bool_)
    for i in range(len(before)):
        for s in range(len(weights)):
            moved[i] |= after[i, s] != before[i]
    for e in range(len(edges)):
        u, v = edges[e, 0], edges[e, 1]
        if moved[u] or moved[v]:
            was = before[u] != before[v]
            for s in range(len(weights)):
                now = after[u, s] != after[v, s]
                if now != was:
                    out[e] += weights[s] if now else -weights[s]
