"""A level: one graph of the hierarchy with its costs, and what can be done to a labelling of it.

The methods hand their work to kernels, which take named bundles: :class:`Costs` and :class:`Labels`, and what a kernel
needs beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np

from .._arrays import Array
from .._threads import thread_ranges
from ..problem import Problem
from .levels.contraction import contract, contract_cut, has_parallel_edges
from .levels.costs import Costs, Rows, Stencil, adjacency_of, rows_of
from .levels.labels import Labels
from .levels.objective import cheapest_classes_of, improvement, labelling_value, singletons
from .levels.slack import NO_SLACK, Slack, frontier, new_slack
from .limits import KERNELS, LIMITS
from .moves.ejection_chains import Chains, eject
from .moves.joining import joined
from .moves.local_moving import NO_TEMPERATURES, Survey, find_movers, local_moving
from .moves.visit import cluster_sizes


class Level:
    """A (contracted) graph with costs, in the form that the kernels take.

    Attributes
    ----------
    costs : Costs
    adjacency, node_costs, best, partitionable
        What they consist of.
    num_nodes, num_classes : int
        n and K.
    """

    def __init__(self, costs: Costs) -> None:
        self.costs = costs
        self.adjacency, self.node_costs, self.best, self.partitionable = costs
        self.num_nodes, self.num_classes = len(self.best), len(self.partitionable)
        # Kernels that are called thousands of times take plain tuples: numba needs 1 µs for those, 3 µs for named ones.
        self._bundle = tuple(costs)

    @cached_property
    def typical_cost(self) -> float:
        """The median absolute cost of an edge that is not 0, from a sample."""
        weights = self.adjacency.weights
        step = -(-len(weights) // LIMITS.sample) or 1
        while isinstance(self.adjacency, Stencil) and math.gcd(step, len(self.adjacency.shifts)) > 1:
            step += 1  # else only some of the offsets are seen
        sample = np.abs(weights[::step].astype(np.float64))
        sample = sample[sample > 0]
        return float(np.partition(sample, len(sample) // 2)[len(sample) // 2]) if len(sample) else 0.0

    # Other levels

    def contract(self, group: Array, count: int) -> Level:
        """Return the level in which every group 0..count-1 is one node."""
        return self._coarser(*contract(self.adjacency, self.node_costs, group, count))

    def contract_cut(self, problem: Problem, y: Array, group: Array, count: int) -> Level:
        """Return that level for the level of the problem itself, where `y` cuts all edges between groups."""
        if count > KERNELS.few_groups:
            return self.contract(group, count)
        return self._coarser(*contract_cut(problem, y, self.node_costs, group, count))

    def without_parallel_edges(self) -> Level:
        """The level with every edge once, none of cost 0, in float64; the level itself where it is all that."""
        rows = self.adjacency
        in_rows = isinstance(rows, Rows) and rows.weights.dtype == self.node_costs.dtype == np.float64
        if in_rows and rows.weights.all() and not has_parallel_edges(rows.indptr, rows.neighbours):
            return self
        return self.contract(np.arange(self.num_nodes, dtype=np.int32), self.num_nodes)

    def _coarser(self, rows: Rows, node_costs: Array) -> Level:
        return Level(Costs(rows, node_costs, _cheapest_classes(node_costs), self.partitionable))

    def in_rows(self, problem: Problem) -> Level:
        """The level of the problem itself with adjacency lists: the kernels that search are compiled for those only."""
        if isinstance(self.adjacency, Rows):
            return self
        return Level(self.costs._replace(adjacency=rows_of(problem)))

    def with_partitionable(self, partitionable: Array) -> Level:
        """The level with other partitionable classes."""
        return Level(self.costs._replace(partitionable=partitionable))

    # Labellings

    def singletons(self, partitionable: Array | None = None) -> Labels:
        """The labelling in which every node is alone, in its cheapest class."""
        return Labels(*singletons(self.best, self.partitionable if partitionable is None else partitionable))

    def value(self, labels: Labels) -> float:
        """The objective of a labelling."""
        return float(labelling_value(self._bundle, tuple(labels)))

    def improvement(self, labels: Labels, other: Labels) -> float:
        """By how much at least the other labelling is better."""
        return float(improvement(self._bundle, tuple(labels), tuple(other)))

    def joined(self, order: Array | None) -> Array:
        """Join nodes in one pass, in the given order or that of their numbers; returns an id < n for each node."""
        return joined(self.costs, order)

    def pieces(self, fence: Array, order: Array) -> Array:
        """Join nodes within the fences, by their edge costs alone; returns an id < n for each node."""
        free = np.zeros((self.num_nodes, 1), self.node_costs.dtype), np.zeros(self.num_nodes, np.int32)
        return joined(Costs(self.adjacency, *free, self.partitionable), order, fence)

    def frontier(self, group: Array, changed: Array, slack: Slack) -> Array:
        """The members of the changed groups, and those of their neighbours that may want to move because of them."""
        return frontier(self.adjacency, group, changed, slack)

    # Moves, which change a labelling in place

    def move(self, labels: Labels, nodes: Array | None = None, slack: Slack = NO_SLACK) -> int:
        """Local moving to a local optimum; returns the number of moves.

        It visits `nodes` (all by default) and whatever moves make it visit again; `slack` takes their losses.
        """
        queue = np.arange(self.num_nodes, dtype=np.int32) if nodes is None else np.empty(self.num_nodes, np.int32)
        nodes = queue if nodes is None else nodes
        if len(nodes) > LIMITS.min_parallel:
            slack = slack if len(slack.losses) else new_slack(self.num_nodes)
            nodes = self.movers(labels, nodes, slack)
        if nodes is not queue:
            queue[: len(nodes)] = nodes
        return self._visit(labels, queue, len(nodes), slack)

    def movers(self, labels: Labels, nodes: Array, slack: Slack) -> Array:
        """Those of the nodes that gain by moving: of many nodes few do, and threads find them without moving any.

        It is done with one thread as well, so that the number of threads does not change a solution.
        """
        size = cluster_sizes(labels.z, labels.num_ids)
        survey = Survey(nodes, size, LIMITS.enough * self.typical_cost, np.empty(len(nodes), np.bool_))

        def look(first: int, last: int) -> None:
            find_movers(self.costs, labels, slack, survey, first, last)

        thread_ranges(look, len(nodes), LIMITS.min_parallel // 4)
        return nodes[survey.moves]

    def anneal(self, labels: Labels, temperatures: Array, seed: int) -> None:
        """One sweep for each temperature."""
        order = np.arange(self.num_nodes, dtype=np.int32)
        self._visit(labels, order, len(order), NO_SLACK, temperatures, seed)

    def _visit(
        self, labels: Labels, queue: Array, waiting: int, slack: Slack, temperatures: Array = NO_TEMPERATURES,
        seed: int = 0,
    ) -> int:  # fmt: skip
        return local_moving(self._bundle, tuple(labels), queue, waiting, tuple(slack), temperatures, seed)

    def chains(self, labels: Labels, slack: Slack, spent: Callable[[], bool] = lambda: False) -> int:
        """Ejection chains of either kind until none gains; returns how many did.

        `slack`, as local moving left it, is kept up to date. No pass begins once `spent` says so.
        """
        limit = min(LIMITS.chain_starts * self.typical_cost, KERNELS.most)
        total = 0
        for apart in (False, True):
            near = np.arange(self.num_nodes, dtype=np.int32)
            for _ in range(LIMITS.max_passes):
                if spent():
                    return total
                found, near = self._chains_from(labels, slack.within(limit, near), slack, apart)
                if not found:
                    break
                total += found
        return total

    def some_chains(self, labels: Labels, slack: Slack) -> None:
        """One pass of ejection chains from the least decided nodes: most of the gain in a tenth of the time."""
        limit = min(LIMITS.chain_starts * self.typical_cost, KERNELS.most)
        starts = slack.undecided(min(max(int(LIMITS.some_starts * self.num_nodes), 1), self.num_nodes - 1))
        self._chains_from(labels, slack.within(limit, starts), slack, False)

    def _chains_from(self, labels: Labels, starts: Array, slack: Slack, apart: bool) -> tuple[int, Array]:
        """One pass, and moves of single nodes; returns how many chains gained, and the nodes near them."""
        changed = np.zeros(self.num_nodes, np.int8)
        allowance = LIMITS.chain_slack * self.typical_cost
        found = eject(self.costs, labels, Chains(starts, slack.losses, allowance, apart, changed))
        if not found:
            return 0, starts
        near = self.frontier(np.arange(self.num_nodes, dtype=np.int32), changed, slack)
        self.move(labels, near, slack)
        return found, near


def finest_level(problem: Problem) -> Level:
    """Make the level of a problem itself; costs keep their dtype."""
    best = _cheapest_classes(problem.node_costs)
    return Level(Costs(adjacency_of(problem), problem.node_costs, best, problem.partitionable))


def _cheapest_classes(node_costs: Array) -> Array:
    best = np.empty(len(node_costs), np.int32)
    worth_a_thread = LIMITS.min_parallel // 4
    thread_ranges(lambda first, last: cheapest_classes_of(node_costs, first, last, best), len(best), worth_a_thread)
    return best
