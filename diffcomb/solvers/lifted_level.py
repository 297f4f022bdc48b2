"""One level of a lifted problem: its costs, and the operations that the search on it is written in."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from .._arrays import Array
from .levels.contraction import sums_of_groups
from .levels.costs import Rows
from .levels.labels import Labels, from_labels, labels_of_groups, project
from .levels.lifted_rows import LiftedRows, base_parts, contract_lifted
from .levels.objective import cheapest_classes, improvement, singletons
from .limits import LIMITS
from .moves.contracting import contract_greedily
from .moves.lifted_moving import move_lifted


class LiftedLevel:
    """The graph of a level and its costs.

    Parameters
    ----------
    rows : LiftedRows
    node_costs : array, shape (n, K)
    partitionable : bool array, shape (K,)
    """

    def __init__(self, rows: LiftedRows, node_costs: Array, partitionable: Array) -> None:
        self.rows, self.node_costs, self.partitionable = rows, node_costs, partitionable

    @property
    def num_nodes(self) -> int:
        """Number of nodes n."""
        return len(self.node_costs)

    @functools.cached_property
    def typical_cost(self) -> float:
        """The mean absolute cost of an edge."""
        weights = self.rows.weights
        return float(np.abs(weights[:: max(len(weights) // LIMITS.sample, 1)]).mean()) if len(weights) else 0.0

    def contract(self, group: Array, count: int) -> LiftedLevel:
        """The level in which every group 0..M-1 is one node."""
        sums = sums_of_groups(self.node_costs, group, count)
        return LiftedLevel(contract_lifted(self.rows, group, count), sums, self.partitionable)

    # Labellings from nothing

    def singletons(self) -> Labels:
        """Every node alone, in its cheapest class."""
        return Labels(*singletons(cheapest_classes(self.node_costs), self.partitionable))

    def of_one_class(self) -> Iterator[Labels]:
        """All nodes in one class that is not partitionable: single moves do not bring ends of a lifted edge there."""
        for k in np.flatnonzero(~self.partitionable):
            nodes = np.full(self.num_nodes, k, np.int64)
            yield from_labels(nodes, np.zeros(self.num_nodes, np.int64), self.partitionable)

    def greedy(self, noise: Array | None = None) -> Labels:
        """Greedy contraction along base edges: lifted GAEC, with classes COPS Algorithm 2."""
        indptr, neighbours, weights, is_base = self.rows
        costs = weights if noise is None else weights + noise
        root, classes = contract_greedily(indptr, neighbours, costs, self.node_costs.astype(np.float64), is_base)
        return from_labels(classes[root].astype(np.int64), root, self.partitionable)

    def descend(self) -> Labels:
        """Coarsen by local moving from singletons, level by level; refine on the way back."""
        levels, groups = [self], []
        while True:
            level = levels[-1]
            labels = level.singletons()
            level.move(labels)
            group, count = base_parts(level.rows, labels.z, labels.z)
            if count > LIMITS.min_shrink * level.num_nodes:
                break
            groups.append(group)
            levels.append(level.contract(group, count))
        for level, group in zip(levels[-2::-1], groups[::-1], strict=True):
            labels = project(labels, group, len(self.partitionable))
            level.move(labels)
        return labels

    # Moves, which change a labelling in place

    def move(self, labels: Labels) -> int:
        """Move single nodes to a local optimum; returns how many moves."""
        return move_lifted(self.rows, self.node_costs, self.partitionable, labels.z, labels.cluster_class)

    def polish(self, labels: Labels) -> Labels:
        """Alternate moves of single nodes and of whole connected clusters until neither gains."""
        K = len(self.partitionable)
        while True:
            self.move(labels)
            group, count = base_parts(self.rows, labels.z, labels.z)
            whole = self.contract(group, count)
            joined = labels_of_groups(labels, group, count, K)
            if not whole.move(joined):
                return labels
            labels = project(joined, group, K)

    # Two labellings

    def is_better(self, labels: Labels, other: Labels) -> bool:
        """Whether the other labelling costs less."""
        indptr, neighbours, weights, _ = self.rows
        costs = Rows(indptr, neighbours, weights), self.node_costs, None, self.partitionable
        return bool(improvement(costs, tuple(labels), tuple(other)) > 0)

    def fuse(self, labels: Labels, other: Labels) -> Labels:
        """The better parts of two feasible labellings; never worse than either."""
        K = len(self.partitionable)
        if self.is_better(labels, other):
            labels, other = other, labels
        group, count = base_parts(self.rows, labels.z, other.z)
        small = self.contract(group, count)
        best = before = labels_of_groups(labels, group, count, K)
        for start in (small.greedy(), labels_of_groups(other, group, count, K)):
            found = small.polish(start)
            if small.is_better(best, found):
                best = found
        return self.polish(project(best, group, K)) if best is not before else labels

    def split(self, labels: Labels) -> Labels:
        """Make the connected parts of every cluster of a partitionable class a cluster each."""
        group, _ = base_parts(self.rows, labels.z, labels.z)
        classes = labels.node_labels()
        return from_labels(classes, group.astype(np.int64), self.partitionable)
