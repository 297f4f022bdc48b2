"""Lower bounds: proofs of how much better than a solution anything could be.

1. Must-links are contracted, and of a multicut what is certain is decided.
2. *Cycle packing* takes repulsive edges together with attractive paths between their ends.
3. *Message passing* divides the costs between edges and the triplets that the cycles consist of, in turn with the
   packing of further cycles in what the edges have left.
4. With classes, what the edges have left and the node costs pass messages as well.
5. Of small problems the linear programme with all cycle inequalities is solved: message passing gets stuck above it.

Every step only divides costs anew, so each of them ends with a bound that holds.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._arrays import Array
from .._interrupt import Interrupt
from ..graph import Graph
from ..problem import Problem
from .bounds.classes import class_bound, pass_class_messages
from .bounds.cycles import pack_cycles
from .bounds.triplets import Triplets, merged, pass_messages, triangulate, triplet_bound
from .level import finest_level
from .limits import LIMITS
from .persistency import persistent, problem_of
from .reduction import without_must_links

if TYPE_CHECKING:
    from .exact import EdgeProgramme

ROUNDING = 1e-12  # of the sum of all absolute costs, by which a bound is lowered: what rounding may have made of it


class Guide(NamedTuple):
    """Class and cluster of every node in a good solution: where a bound loses something. It holds whatever they are."""

    classes: Array
    clusters: Array

    def of_groups(self, group: Array) -> Guide:
        """Those of some node of every group."""
        node = np.empty(int(group.max()) + 1, np.int64)
        node[group] = np.arange(len(group))
        return Guide(self.classes[node], self.clusters[node])


def lower_bound(problem: Problem, guide: Guide, interrupt: Interrupt) -> float:
    """A proven lower bound of the optimum, in O(rounds * m) for message passing.

    Parameters
    ----------
    problem : Problem
        With infinite costs as well: those of cannot-links may be any number in a bound, since all solutions pay them.
    guide : Guide
    interrupt : Interrupt
        Ends the improvement.
    """
    if problem.graph.num_nodes == 0:
        return 0.0
    problem, power = scaled(problem)
    problem, offset, group = finite(problem)
    guide = guide if group is None else guide.of_groups(group)
    total = np.abs(problem.node_costs).sum(dtype=np.float64) + np.abs(problem.edge_costs).sum(dtype=np.float64)
    problem, decided, guide = _decided(problem, guide)
    if len(problem.edge_costs) == 0:
        value = float(problem.node_costs.min(axis=1).sum())
    else:
        value = _bound_by_messages(problem, guide, interrupt)
        if has_small_programme(problem) and not interrupt.check():
            from .exact import EdgeProgramme  # scipy.optimize takes longer to import than all else

            value = max(value, bound_by_programme(EdgeProgramme(problem, problem.graph.num_edges), guide, interrupt))
    with np.errstate(over="ignore"):  # a bound beyond the largest number is -inf
        return float(np.ldexp(value + decided + offset - ROUNDING * total, power))


def scaled(problem: Problem) -> tuple[Problem, int]:
    """The problem in float64 with costs up to 1, and the power of two that takes a bound back: sums do not overflow."""
    nodes, edges = problem.node_costs.astype(np.float64), problem.edge_costs.astype(np.float64)
    finite = np.isfinite(edges)
    largest = max(np.abs(nodes).max(initial=0.0), np.abs(edges[finite]).max(initial=0.0))
    power = math.frexp(float(largest))[1]
    return replace(problem, node_costs=np.ldexp(nodes, -power), edge_costs=np.ldexp(edges, -power)), power


def finite(problem: Problem) -> tuple[Problem, float, Array | None]:
    """Contract must-links, and give cannot-links as much cost as an end of theirs has of attractive edges.

    Returns the problem, the constant to add to its bound, and the groups that became nodes, if any did.
    """
    if np.isfinite(problem.edge_costs).all():
        return problem, 0.0, None
    problem, group = without_must_links(problem)
    edges, costs = problem.graph.edges, problem.edge_costs.astype(np.float64)
    cannot = np.isneginf(costs)
    costs[cannot] = 0.0
    attraction = np.zeros(problem.graph.num_nodes)
    for ends in edges.T:
        np.add.at(attraction, ends, np.maximum(costs, 0))
    costs[cannot] = -attraction[edges[cannot]].min(axis=1, initial=np.inf)
    return replace(problem, edge_costs=costs), -float(costs[cannot].sum()), group


def _decided(problem: Problem, guide: Guide) -> tuple[Problem, float, Guide]:
    """A problem without parallel edges, and of a multicut without what is certain; and what is paid for that."""
    if not problem.is_multicut:
        level = finest_level(problem).without_parallel_edges()
        once = problem_of(level.adjacency, level.node_costs)
        return replace(once, partitionable=problem.partitionable), 0.0, guide
    smaller, group = persistent(problem)
    u, v = group[problem.graph.edges].T
    all_apart = float(problem.edge_costs[u != v].sum(dtype=np.float64) + problem.node_costs.sum(dtype=np.float64))
    smaller = replace(smaller, node_costs=np.zeros_like(smaller.node_costs))
    return smaller, all_apart - float(smaller.edge_costs.sum(dtype=np.float64)), guide.of_groups(group)


class Dual:
    """The costs of a problem, divided between nodes, edges and triplets.

    Parameters
    ----------
    problem : Problem
        Without parallel edges.
    guide : Guide

    Attributes
    ----------
    ends, costs : arrays, shapes (E, 2) and (E,)
        Edges, chords of packed cycles behind those of the problem, and what they have of the costs.
    triplets : Triplets
    """

    def __init__(self, problem: Problem, guide: Guide) -> None:
        self.problem, self.guide = problem, guide
        self.whole = ~problem.partitionable[guide.classes]
        self.ends: Array = problem.graph.edges
        self.costs = problem.edge_costs.astype(np.float64)
        self.triplets = Triplets(np.empty((0, 3), np.int32), np.empty((0, 3)))
        self.smallest = LIMITS.least_violation * float(np.abs(self.costs).max(initial=0.0))
        self.looks = LIMITS.looks_an_edge * len(self.costs)
        self._of_classes: tuple[Array, Array, Array, Array] | None = None  # what messages of classes have left

    @property
    def value(self) -> float:
        """What edges and triplets cost at least."""
        return float(np.minimum(self.costs, 0).sum()) + triplet_bound(self.triplets)

    def pack(self) -> bool:
        """Pack cycles in what the edges have left; returns whether there were any."""
        n = self.problem.graph.num_nodes
        csr = Graph(n, self.ends).csr
        lengths = np.array(LIMITS.path_lengths)
        cycles, looks = pack_cycles(
            csr, self.ends, self.costs, self.guide.clusters, self.whole, lengths, self.smallest, self.looks
        )
        self.looks -= looks
        if len(cycles.amounts) == 0:
            return False
        self.ends, edges, costs = triangulate(cycles, csr, self.ends)
        self.costs = np.concatenate([self.costs, np.zeros(len(self.ends) - len(self.costs))])
        mine = self.triplets
        self.triplets = merged(Triplets(np.concatenate([mine.edges, edges]), np.concatenate([mine.costs, costs])))
        return True

    def improve(self, interrupt: Interrupt) -> None:
        """Pack and pass messages in turn, while that improves the bound."""
        before = -np.inf
        most = LIMITS.triplets_an_edge * len(self.costs)
        for _ in range(LIMITS.bound_rounds):
            if interrupt.check() or self.looks <= 0 or not self.pack():
                return
            pass_messages(self.triplets, self.costs, LIMITS.bound_sweeps)
            after = self.value
            if after - before < LIMITS.bound_gain * abs(after) or len(self.triplets.edges) > most:
                return
            before = after

    def with_classes(self) -> float:
        """The bound with node costs, by messages along edges."""
        problem, again = self.problem, self._of_classes is not None
        if self._of_classes is None:
            self._of_classes = self._begin_classes()
        chosen, ends, node_costs, shares = self._of_classes
        costs = self.costs[chosen]
        csr = Graph(problem.graph.num_nodes, ends).csr
        sweeps = 2 if again else LIMITS.class_sweeps  # shares that were good before are hardly worse now
        pass_class_messages(csr, ends, costs, problem.partitionable, node_costs, shares, sweeps)
        rest = self.value - float(np.minimum(costs, 0).sum())
        return rest + class_bound(ends, costs, problem.partitionable, node_costs, shares)

    def _begin_classes(self) -> tuple[Array, Array, Array, Array]:
        """Edges that pass messages, their ends, what nodes have left of their costs, and what edges hold of these."""
        m, node_costs = len(self.problem.edge_costs), self.problem.node_costs.astype(np.float64)
        few = 2 * m * self.problem.num_classes <= LIMITS.class_shares
        chosen = np.arange(m) if few else self._loose(node_costs)
        return chosen, self.ends[chosen], node_costs, np.zeros((len(chosen), 2, self.problem.num_classes))

    def _loose(self, node_costs: Array) -> Array:
        """Edges of the problem that cost more between the cheapest classes of their ends than at least."""
        m, partitionable = len(self.problem.edge_costs), self.problem.partitionable
        costs = self.costs[:m]
        a, b = node_costs.argmin(axis=1)[self.ends[:m]].T
        there = np.where(a != b, costs, np.where(partitionable[a], np.minimum(costs, 0), 0))
        return np.flatnonzero(there - np.minimum(costs, 0) > self.smallest)


def _bound_by_messages(problem: Problem, guide: Guide, interrupt: Interrupt) -> float:
    dual = Dual(problem, guide)
    # Without a partitionable class, classes alone say most of the time what edges within them cost.
    value = -np.inf if problem.partitionable.any() else dual.with_classes()
    dual.improve(interrupt)
    if problem.is_multicut:
        return dual.value + float(problem.node_costs.sum())
    return max(value, dual.with_classes())


def has_small_programme(problem: Problem) -> bool:
    """Whether its linear programme takes no longer to solve than a user waits for a bound."""
    edges = len(problem.edge_costs)
    size = problem.node_costs.size * (not problem.is_multicut) + edges
    is_sparse = 2 * edges**2 <= LIMITS.linear_pairs * problem.graph.num_nodes
    return size <= LIMITS.linear_variables and is_sparse


def bound_by_programme(programme: EdgeProgramme, guide: Guide, interrupt: Interrupt) -> float:
    """The value of the linear programme with the inequalities that it violates."""
    from .exact import VIOLATION

    before = programme.programme.rows.count
    for _ in range(LIMITS.linear_rounds):
        if programme.programme.rows.count - before > LIMITS.linear_rows:
            break
        values = programme.programme.relax(np.inf)
        if values is None or interrupt.check() or not programme.separate(values, VIOLATION, interrupt.check):
            break
    programme.take(guide.clusters, guide.classes)
    return programme.bound
