"""A level: one graph of the hierarchy with its costs, and what can be done to a labelling of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from .._arrays import Array
from .._threads import get_num_threads, thread_ranges
from ..problem import Problem
from ._adjacency import Rows, Stencil, adjacency_of, rows_of
from ._chains import Costs, eject
from ._contraction import FEW, MIN_PART, contract, contract_cut, contract_in_threads, frontier
from ._labels import Labels
from ._local_moving import (
    MOST,
    cheapest_classes_of,
    find_movers,
    improvement,
    labelling_value,
    local_moving,
    pieces,
    singletons,
)

SAMPLE = 4096
CHAIN_STARTS = 3.0  # typical edge costs: nodes that lose no more by moving begin a chain
CHAIN_SLACK = 1.0  # typical edge costs: how much more than it gains from the move before it a node of a chain may lose
ENOUGH = 6.0  # typical edge costs: of a node that loses more by any move it does not matter how much
MAX_PASSES = 64  # of chains; a few are usual
MIN_PARALLEL = 2**15  # of more nodes to visit, all threads look for those that gain first
_NO_TEMPERATURES = np.empty(0)
_NO_LOSSES = np.empty(0, np.float32)


@dataclass(frozen=True)
class Level:
    """A (contracted) graph with costs, in the form that the kernels take.

    Attributes
    ----------
    adjacency : Rows or Stencil
    node_costs : float array, shape (n, K)
    best : int32 array, shape (n,)
        The cheapest class of every node.
    partitionable : bool array, shape (K,)
    """

    adjacency: Any
    node_costs: Array
    best: Array
    partitionable: Array

    @property
    def num_nodes(self) -> int:
        """Number of nodes n."""
        return len(self.best)

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.partitionable)

    def contract(self, group: Array, count: int) -> Level:
        """Return the level in which every group 0..count-1 is one node."""
        many = count > FEW and len(self.adjacency.weights) >= 2 * MIN_PART and get_num_threads() > 1
        how = contract_in_threads if many else contract
        return self._coarser(*how(self.adjacency, self.node_costs, group, count))

    def contract_cut(self, problem: Problem, y: Array, group: Array, count: int) -> Level:
        """The same for the level of the problem itself, where `y` cuts all edges between groups."""
        if count > FEW:
            return self.contract(group, count)
        edges, edge_costs = problem.graph.edges, problem.edge_costs
        return self._coarser(*contract_cut(edges, edge_costs, y, self.node_costs, group, count))

    def _coarser(self, indptr: Array, neighbours: Array, weights: Array, node_costs: Array) -> Level:
        rows, best = Rows(indptr, neighbours, weights), _cheapest_classes(node_costs)
        return Level(rows, node_costs, best, self.partitionable)

    def in_rows(self, problem: Problem) -> Level:
        """The level of the problem itself with adjacency lists: the kernels that search are compiled for those only."""
        return self if isinstance(self.adjacency, Rows) else replace(self, adjacency=rows_of(problem))

    def singletons(self, partitionable: Array | None = None) -> Labels:
        """The labelling in which every node is alone, in its cheapest class."""
        return Labels(*singletons(self.best, self.partitionable if partitionable is None else partitionable))

    def move(self, labels: Labels, nodes: Array | None = None, losses: Array | None = None) -> int:
        """Local moving to a local optimum, in place; returns the number of moves.

        It visits `nodes` (all by default) and whatever moves make it revisit; `losses`, float32 (n,), takes what the
        second choice of each visited node would have cost; see `local_moving`.
        """
        queue = np.empty(self.num_nodes, np.int32)
        if nodes is None:
            nodes = np.arange(self.num_nodes, dtype=np.int32)
        if len(nodes) > MIN_PARALLEL:
            nodes = self._movers(labels, nodes, losses)
        queue[: len(nodes)] = nodes
        return self._local_moving(labels, self.partitionable, queue, len(nodes), False, losses)

    def _movers(self, labels: Labels, nodes: Array, losses: Array | None) -> Array:
        """Those of the nodes that gain by moving: of many nodes few do, and threads find them without moving any.

        It is done with one thread as well, so that the number of threads does not change a solution.
        """
        size = np.bincount(labels.z, minlength=labels.num_ids)
        moves = np.empty(len(nodes), np.bool_)
        kept = _NO_LOSSES if losses is None else losses

        def look(first: int, last: int) -> None:
            find_movers(
                self.adjacency, self.node_costs, self.best, self.partitionable, *labels, size, nodes, first, last,
                ENOUGH * self.typical_cost, kept, moves,
            )  # fmt: skip

        thread_ranges(look, len(nodes), MIN_PARALLEL // 4)
        return nodes[moves]

    def sweep(self, labels: Labels, partitionable: Array, order: Array) -> int:
        """One pass of local moving in the given order, in place, with other partitionable classes."""
        return self._local_moving(labels, partitionable, order.copy(), len(order), True, None)

    def _local_moving(
        self, labels: Labels, partitionable: Array, queue: Array, count: int, once: bool, losses: Array | None,
        temperatures: Array = _NO_TEMPERATURES, seed: int = 0,
    ) -> int:  # fmt: skip
        return local_moving(
            self.adjacency, self.node_costs, self.best, partitionable, *labels, queue, count, once,
            _NO_LOSSES if losses is None else losses, temperatures, seed,
        )  # fmt: skip

    def anneal(self, labels: Labels, temperatures: Array, seed: int) -> None:
        """One sweep for each temperature, in place."""
        n = self.num_nodes
        order = np.arange(n, dtype=np.int32)
        self._local_moving(labels, self.partitionable, order, n, True, None, temperatures, seed)

    def chains(self, labels: Labels, losses: Array, reached: Array, spent: Callable[[], bool] = lambda: False) -> int:
        """Ejection chains of either kind until none gains, in place; returns how many did.

        `losses`, float32 (n,), as local moving left them, and `reached`, see `frontier`, are kept up to date. No pass
        begins once `spent` says so.
        """
        unit = self.typical_cost
        limit = min(CHAIN_STARTS * unit, MOST)
        costs = Costs(self.adjacency, self.node_costs, self.best, self.partitionable)
        everything = np.arange(self.num_nodes, dtype=np.int32)
        total = 0
        for alone in (False, True):
            near = everything
            for _ in range(MAX_PASSES):
                if spent():
                    return total
                starts = near[np.abs(losses[near]) <= limit]
                changed = np.zeros(self.num_nodes, np.int8)
                found = eject(costs, *labels, starts, losses, CHAIN_SLACK * unit, alone, changed)
                if not found:
                    break
                total += found
                near = self.frontier(everything, changed, losses, reached)
                self.move(labels, near, losses)
        return total

    @cached_property
    def typical_cost(self) -> float:
        """The median absolute cost of an edge that is not 0, from a sample."""
        weights = self.adjacency.weights
        step = -(-len(weights) // SAMPLE) or 1
        while isinstance(self.adjacency, Stencil) and math.gcd(step, len(self.adjacency.shifts)) > 1:
            step += 1  # else only some of the offsets are seen
        sample = np.abs(weights[::step].astype(np.float64))
        sample = sample[sample > 0]
        return float(np.partition(sample, len(sample) // 2)[len(sample) // 2]) if len(sample) else 0.0

    def pieces(self, fence: Array, order: Array) -> Array:
        """Cluster the nodes within the fences by their edge costs alone; returns an id < n for each node."""
        return pieces(self.adjacency, fence, order)

    def frontier(self, group: Array, changed: Array, losses: Array, reached: Array) -> Array:
        """The members of the changed groups, and those of their neighbours that may want to move because of them."""
        return frontier(self.adjacency, group, changed, losses, reached)

    def value(self, labels: Labels) -> float:
        """The objective of a labelling."""
        return float(labelling_value(self.adjacency, self.node_costs, *labels))

    def improvement(self, labels: Labels, other: Labels) -> float:
        """By how much at least the other labelling is better."""
        return float(improvement(self.adjacency, self.node_costs, *labels, *other))


def finest_level(problem: Problem) -> Level:
    """Make the level of a problem itself; costs keep their dtype."""
    best = _cheapest_classes(problem.node_costs)
    return Level(adjacency_of(problem), problem.node_costs, best, problem.partitionable)


def _cheapest_classes(node_costs: Array) -> Array:
    best = np.empty(len(node_costs), np.int32)
    thread_ranges(lambda first, last: cheapest_classes_of(node_costs, first, last, best), len(best), MIN_PARALLEL // 4)
    return best
