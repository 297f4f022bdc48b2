"""Multilevel local moving: the default solver.

A cold start coarsens in the relaxed problem in which every class may be partitioned (as Algorithm 2 does until
its last lines): local moving from singletons, contraction, and again, until nothing moves. The coarsest nodes
then take labels of the true problem, and local moving at every level on the way back down repairs what
coarsening decided wrongly. Every further V-cycle coarsens *within* the clusters of the incumbent, as the Leiden
algorithm does, so that pieces of a cluster (also of a class that is not partitionable, which would otherwise
be one node) can move as a whole. A warm start is a V-cycle from the given labelling, hence never worse than it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._arrays import Array
from ..problem import Problem, Solution, make_solution
from ._contraction import compact, contract
from ._labels import Labels, from_labels, labels_of_groups, project
from ._local_moving import cheapest_classes, local_moving, singletons

RELATIVE_TOLERANCE = 1e-12
MIN_SHRINK = 0.95  # a level that keeps more than this share of its nodes is not worth having
_NO_FENCE = np.empty(0, np.int32)


@dataclass(frozen=True)
class Level:
    """A (contracted) graph with costs, in the form that the kernels take."""

    indptr: Array
    neighbours: Array
    weights: Array
    node_costs: Array
    tolerance: float

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return len(self.indptr) - 1

    def contract(self, group: Array, count: int) -> Level:
        """Return the level in which every group is one node."""
        parts = contract(self.indptr, self.neighbours, self.weights, self.node_costs, group, count)
        return Level(*parts, self.tolerance)

    def move(self, labels: Labels, partitionable: Array, order: Array | None = None) -> int:
        """Local moving in place; returns the number of moves."""
        return local_moving(
            self.indptr, self.neighbours, self.weights, self.node_costs, partitionable, _NO_FENCE,
            labels.z, labels.cluster_class, _natural(self.num_nodes) if order is None else order, self.tolerance,
        )  # fmt: skip

    def split(self, fence: Array) -> tuple[Array, int]:
        """Cluster the nodes within the fences by their edge costs alone; returns groups and their number."""
        n = self.num_nodes
        z = np.arange(1, n + 1, dtype=np.int32)
        cluster_class = np.zeros(n + 1, np.int32)
        local_moving(
            self.indptr, self.neighbours, self.weights, np.zeros((n, 1)), np.ones(1, np.bool_), fence,
            z, cluster_class, _natural(n), self.tolerance,
        )  # fmt: skip
        group, old = compact(z, n + 1)
        return group, len(old)


def _natural(n: int) -> Array:
    return np.arange(n, dtype=np.int32)


def finest_level(problem: Problem) -> Level:
    """Gather the costs of a problem into the order of its adjacency."""
    indptr, neighbours, edge_ids = problem.graph.csr
    weights = problem.edge_costs.astype(np.float64, copy=False)[edge_ids]
    scale = max(_largest(problem.edge_costs), _largest(problem.node_costs))
    return Level(indptr, neighbours, weights, problem.node_costs, RELATIVE_TOLERANCE * scale)


def _largest(array: Array) -> float:
    return float(max(array.max(), -array.min())) if array.size else 0.0


def multilevel(
    problem: Problem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: int
) -> Solution:
    """Solve by multilevel local moving; see the module's docstring.

    Parameters
    ----------
    problem : Problem
    init : (node labels, clusters), optional
        A labelling to improve.
    rng : numpy.random.Generator
        Draws the visiting order of the nodes.
    budget : int
        Number of V-cycles after the first descent; they end early when one finds nothing.

    Returns
    -------
    Solution
        A local optimum under moves of single nodes. Each cycle takes O(passes * (n K + m)), with few passes.
    """
    if problem.graph.num_nodes == 0:
        return make_solution(problem, np.empty(0, np.int64), np.empty(0, np.int64))
    level = finest_level(problem)
    P = problem.partitionable
    if init is None:
        labels = _descend(level, P, rng)
    else:
        labels = from_labels(*init, P)
        level.move(labels, P)
    for _ in range(budget):
        labels, moves = _v_cycle(level, labels, P)
        if moves == 0:
            break
    return make_solution(problem, labels.node_labels(), labels.z)


def _descend(level: Level, partitionable: Array, rng: np.random.Generator) -> Labels:
    """Coarsen in the relaxed problem from singletons, label the coarsest nodes, refine back down."""
    relaxed = np.ones_like(partitionable)
    K = len(partitionable)
    levels, groups = [level], []
    while True:
        level = levels[-1]
        labels = Labels(*singletons(cheapest_classes(level.node_costs), relaxed))
        order = _block_shuffled(level.num_nodes, rng)
        level.move(labels, relaxed, order)
        group, old = compact(labels.z, level.num_nodes + K)
        if len(old) == level.num_nodes:
            break
        groups.append(group)
        levels.append(level.contract(group, len(old)))
        if len(old) > MIN_SHRINK * level.num_nodes:
            break
    labels = Labels(*singletons(cheapest_classes(levels[-1].node_costs), partitionable))
    return _refine(levels, groups, labels, partitionable)[0]


def _v_cycle(level: Level, labels: Labels, partitionable: Array) -> tuple[Labels, int]:
    """Coarsen within the clusters, moving the pieces at every level, up to whole clusters; refine back down."""
    levels, groups = [level], []
    moves = 0
    while True:
        level = levels[-1]
        group, count = level.split(labels.z)
        whole = count > MIN_SHRINK * level.num_nodes
        if whole:  # what is left to try are whole clusters: joins and changes of class
            group, old = compact(labels.z, len(labels.cluster_class))
            count = len(old)
        labels = labels_of_groups(labels, group, count, len(partitionable))
        groups.append(group)
        levels.append(level.contract(group, count))
        if whole:
            break
        moves += levels[-1].move(labels, partitionable)
    labels, refined = _refine(levels, groups, labels, partitionable)
    return labels, moves + refined


def _refine(levels: list[Level], groups: list[Array], labels: Labels, partitionable: Array) -> tuple[Labels, int]:
    """Local moving from the coarsest level down to the finest."""
    moves = levels[-1].move(labels, partitionable)
    for level, group in zip(levels[-2::-1], groups[::-1], strict=True):
        labels = project(labels, group, len(partitionable))
        moves += level.move(labels, partitionable)
    return labels, moves


def _block_shuffled(n: int, rng: np.random.Generator, block: int = 64) -> Array:
    """Visiting order: shuffled within blocks of consecutive nodes, so that memory is still read in order."""
    padded = np.arange(-(-n // block) * block, dtype=np.int32).reshape(-1, block)
    order = rng.permuted(padded, axis=1).ravel()
    return order[order < n]
