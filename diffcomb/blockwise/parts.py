"""What blocks of any kind do: solve, keep the pieces that a core decides, and move single nodes between clusters.

A *piece* is a connected part of a cluster within one core. Pieces are the nodes of the next, smaller problem.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from .._arrays import Array
from .._interrupt import Interrupt
from ..constraints import MAX_SEEDS, Constraints
from ..graph import Graph
from ..labelling import cut_edges, number_clusters, uncut_components
from ..problem import Problem, Solution
from ..solve_instances import check_count
from ..solvers import Solver, check_time_limit, get_solver, solve
from ..solvers.level import finest_level
from ..solvers.lower_bound import Guide, lower_bound
from ..solvers.persistency import problem_of

OPTIONS = ("solver", "effort", "time_limit")


@dataclass(frozen=True)
class SolverOptions:
    """How a block is solved: the arguments of a verb."""

    solver: str | Solver = "multilevel"
    effort: int | None = None
    time_limit: float | None = None
    seed: int = 0
    bound: bool = False

    def __call__(self, problem: Problem, seed: int, init: tuple[Array, Array] | None = None) -> Solution:
        """Solve one problem."""
        effort = 1 if self.effort is None else self.effort
        with Interrupt(False) as interrupt:
            return solve(problem, self.solver, init, seed, effort, self.time_limit, interrupt)

    def named(self) -> dict[str, Any]:
        """What a run is told apart by."""
        name = getattr(self.solver, "__qualname__", type(self.solver).__qualname__)
        solver = self.solver if isinstance(self.solver, str) else f"{self.solver.__module__}.{name}"
        return {"solver": solver, "effort": self.effort, "time_limit": self.time_limit}

    def check_name(self) -> None:
        """Raise a ValueError if a store could not tell the solver from another one."""
        if not isinstance(self.solver, str) and "<" in getattr(self.solver, "__qualname__", "<"):
            raise ValueError(
                f"solver must be a name or a function of a module with store=, got {self.solver!r:.80}: a later run "
                "could not tell it from another"
            )

    def lower_bound(self, problem: Problem, classes: Array, clusters: Array) -> float:
        """A lower bound if one is asked for, else -inf."""
        if not self.bound:
            return -math.inf
        return lower_bound(problem, Guide(classes, clusters), Interrupt(False))


def solver_options(given: Any, seed: int, bound: bool) -> SolverOptions:
    """Check what `solve_blockwise` takes as `solver`, and return it."""
    if isinstance(given, str) or callable(given):
        given = {"solver": given}
    if not isinstance(given, dict) or not set(given) <= set(OPTIONS):
        raise ValueError(f"solver must be a name, a function or a dict with any of {OPTIONS}, got {given!r:.80}")
    options = SolverOptions(**given, seed=seed, bound=bound)
    get_solver(options.solver)
    check_time_limit(options.solver, options.time_limit)
    if options.effort is not None:
        check_count(options.effort, "effort")
    return options


@dataclass(frozen=True)
class Pieces:
    """The pieces of a labelling, and the problem in which each of them is one node.

    Attributes
    ----------
    group : int32 array, shape (n,)
        The piece of every node.
    problem : Problem
        Costs are summed in float64; edges within a piece are gone.
    node : int64 array, shape (pieces,)
        A node of every piece: its first.
    """

    group: Array
    problem: Problem
    node: Array

    @property
    def count(self) -> int:
        """Number of pieces."""
        return len(self.node)


def pieces_of(problem: Problem, node_labels: Array, clusters: Array) -> Pieces:
    """Contract the connected parts of the clusters of a labelling."""
    y = cut_edges(problem.graph.edges, node_labels, clusters, problem.partitionable)
    nothing, all_nodes = np.zeros(len(node_labels), np.int64), np.ones(1, bool)
    component = uncut_components(problem.graph.edges, y, nothing, all_nodes)
    group = number_clusters(component, nothing, all_nodes).astype(np.int32)
    node = np.flatnonzero(np.diff(np.maximum.accumulate(group), prepend=-1))  # numbered by first appearance
    return Pieces(group, contracted(problem, group, len(node)), node)


def contracted(problem: Problem, group: Array, count: int) -> Problem:
    """The problem in which every group is one node; its edges are none of them parallel."""
    level = finest_level(problem).contract(group, count)
    return replace(problem_of(level.adjacency, level.node_costs), partitionable=problem.partitionable)


class Fixed(NamedTuple):
    """Some nodes of a problem that are free to move, and others that keep cluster and class.

    Attributes
    ----------
    problem : Problem
    free : bool array, shape (n,)
    node_labels, clusters : int64 arrays, shape (n,)
    """

    problem: Problem
    free: Array
    node_labels: Array
    clusters: Array


def moved(fixed: Fixed, options: SolverOptions, seed: int) -> tuple[Array, Array, float] | None:
    """Move free nodes between the clusters of all others, or to clusters of their own.

    Returns
    -------
    node_labels, clusters, gain
        Of the free nodes, in their order, with new ids of clusters below 0: -2, -3, ...; and by how much they are
        better. None if nothing is.
    """
    fixed = _within_reach(fixed)
    free, z = fixed.free, fixed.clusters
    ids, terminal = np.unique(z[~free], return_inverse=True)
    if len(ids) > MAX_SEEDS or not free.any():
        return None
    num_free = int(free.sum())
    group = np.empty(len(free), np.int32)
    group[free], group[~free] = np.arange(num_free), num_free + terminal
    problem, classes = _with_terminals(fixed, group, num_free, len(ids))
    # The free nodes begin in the clusters that they have; those that no terminal has need other numbers than theirs.
    start = np.concatenate([z[free], ids])
    found = options(problem, seed, (classes, start))
    before = cut_edges(problem.graph.edges, classes, start, problem.partitionable)
    gain = problem.value(classes, before) - found.objective
    if not gain > 0:
        return None
    names = np.arange(found.num_clusters, dtype=np.int64)
    names = -2 - names
    names[found.clusters[num_free:]] = ids
    return found.node_labels[:num_free], names[found.clusters[:num_free]], float(gain)


def _within_reach(fixed: Fixed) -> Fixed:
    """Without the fixed nodes that have no edge to a free one: all clusters that are left are kept apart in pairs.

    Nodes of classes that are not partitionable remain, each class being one cluster, and those whose cluster a free
    node has.
    """
    free, x, z = fixed.free, fixed.node_labels, fixed.clusters
    u, v = fixed.problem.graph.edges.T
    near = free | ~fixed.problem.partitionable[x] | np.isin(z, z[free])
    across = free[u] != free[v]
    near[u[across]] = near[v[across]] = True
    if near.all():
        return fixed
    number = (np.cumsum(near) - 1).astype(np.int32)
    kept = (free[u] | free[v]) & near[u] & near[v]
    problem = replace(
        fixed.problem, graph=Graph(int(near.sum()), number[fixed.problem.graph.edges[kept]]),
        node_costs=fixed.problem.node_costs[near], edge_costs=fixed.problem.edge_costs[kept],
    )  # fmt: skip
    return Fixed(problem, free[near], x[near], z[near])


def _with_terminals(fixed: Fixed, group: Array, num_free: int, count: int) -> tuple[Problem, Array]:
    """The problem of the free nodes and one node a cluster of the others, kept apart; and the classes of all nodes."""
    problem = contracted(fixed.problem, group, num_free + count)
    classes = np.empty(num_free + count, np.int64)
    classes[group] = fixed.node_labels
    u, v = problem.graph.edges.T
    keeps = (u < num_free) | (v < num_free)  # what two clusters pay for each other does not change
    problem = replace(
        problem, graph=Graph(num_free + count, problem.graph.edges[keeps]), edge_costs=problem.edge_costs[keeps]
    )
    nodes = problem.node_costs
    if problem.num_classes > 1:  # no other class is worth the price
        price = 1 + 2 * (np.abs(nodes).sum() + np.abs(problem.edge_costs).sum())
        nodes[num_free:] = price
        nodes[np.arange(num_free, num_free + count), classes[num_free:]] = 0
    pairs = np.stack(np.triu_indices(count, 1), axis=1).astype(np.int32) + np.int32(num_free)
    apart = Constraints(pairs, np.full(len(pairs), -np.inf))
    graph, edge_costs = apart.added_to(problem.graph, problem.edge_costs)
    return replace(problem, graph=graph, edge_costs=edge_costs), classes
