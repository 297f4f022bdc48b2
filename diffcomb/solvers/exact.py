"""The exact solver: an integer linear programme whose cycle inequalities are added when they are violated.

Variables are x (n, K) and y (m,), both binary. The coupling constraints of eq. 2 stand from the start; the boundaries
of eq. 1 are described by the cycle inequalities y_e <= sum of y over the rest of a cycle.

1. Of a multicut, what is certain is decided before, and what falls apart by that is solved part by part.
2. A heuristic solution says what to beat.
3. The linear programme is solved again and again, with the inequalities that its solution violates. Its bound may
   prove the heuristic solution optimal, and fixes the variables that nothing better can change.
4. What is left is an integer programme, solved again while its solution violates an inequality.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import connected_components

from .._arrays import Array
from ..graph import Graph
from ..problem import Problem, Solution, solution_of_labels
from .budget import Budget
from .highs import ABSOLUTE_GAP, Constraints, rows_of
from .multilevel import multilevel
from .persistency import persistent
from .programme import Programme
from .separation import violated_paths

SECONDS_A_ROW = 4e-6  # to set up the programme of classes, for an edge and a class
EDGES_AT_ONCE = 256  # for which paths are sought between two looks at the clock
VIOLATION = 1e-4  # of an inequality, from which it is added to a linear programme
Found = TypeVar("Found", bound=Solution)


def exact(problem: Problem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget) -> Solution:
    """Solve to optimality through HiGHS (``highspy`` if it is installed, else scipy); exponential in the worst case.

    Parameters
    ----------
    problem : Problem
    init : (node labels, clusters), optional
        Where the heuristic search for a solution to beat begins.
    rng : numpy.random.Generator
        Of that search.
    budget : Budget
        Without a time limit the search ends with the optimum. With one it ends in time, with the best solution and the
        best bound that were found until then; Ctrl-C is noticed when HiGHS returns.

    Returns
    -------
    Solution
        With `lower_bound` set to the bound that the integer programme proved. Differences below 1e-12 of the
        largest cost (unless it outweighs all smaller ones together) are below HiGHS's tolerance.

    Raises
    ------
    RuntimeError
        If HiGHS gives up.
    """
    if problem.graph.num_nodes == 0:
        return solution_of_labels(problem, np.empty(0, np.int64), np.empty(0, np.int64), 0.0)
    best = multilevel(problem, init=init, rng=rng, budget=budget.more(1))
    if not problem.is_multicut:
        if is_too_late(problem, budget):
            return with_simple_bound(problem, best)
        return improve(
            EdgeProgramme(problem, problem.graph.num_edges), best, partial(solution_of_labels, problem), budget
        )
    return _solve_parts(problem, best, budget)


def _solve_parts(problem: Problem, best: Solution, budget: Budget) -> Solution:
    """Solve a multicut part by part; a part that the time does not suffice for keeps its part of the best solution."""
    smaller, group = persistent(problem)
    _, first = np.unique(group, return_index=True)
    known_clusters = best.clusters[first]
    edges = smaller.graph.edges
    n = smaller.graph.num_nodes
    part = _components(n, edges)
    clusters = np.arange(n)
    gap = 0.0
    for nodes, inside in zip(_listed(part, part), _listed(part[edges[:, 0]], part), strict=True):
        if len(nodes) > 1:
            graph = Graph(len(nodes), np.searchsorted(nodes, edges[inside]))
            one = Problem(graph, np.zeros((len(nodes), 1)), smaller.edge_costs[inside], smaller.partitionable)
            known = solution_of_labels(one, np.zeros(len(nodes), np.int64), known_clusters[nodes])
            if budget.spent():
                solved = with_simple_bound(one, known)
            else:
                solved = improve(EdgeProgramme(one, graph.num_edges), known, partial(solution_of_labels, one), budget)
            clusters[nodes] = nodes[solved.clusters]  # fewer than nodes: some node stands for each
            gap += solved.gap
    found = solution_of_labels(problem, np.zeros(len(group), np.int64), clusters[group])
    bound = found.objective - gap
    if best.objective < found.objective:
        found = best
    return replace(found, lower_bound=min(bound, found.objective))


def _components(n: int, edges: Array) -> Array:
    matrix = sparse.coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
    number: Array = connected_components(matrix, directed=False)[1]
    return number


def _listed(part: Array, parts: Array) -> list[Array]:
    """The places of every part in `part`, ascending."""
    order = np.argsort(part, kind="stable")
    return np.split(order, np.cumsum(np.bincount(part, minlength=parts.max() + 1))[:-1])


class EdgeProgramme:
    """The integer programme of a problem, with the inequalities added so far.

    Parameters
    ----------
    problem : Problem
    num_base : int
        The first `num_base` edges connect clusters.
    """

    def __init__(self, problem: Problem, num_base: int) -> None:
        graph = problem.graph
        self.n, self.K, self.num_base = graph.num_nodes, problem.num_classes, num_base
        self.first = 0 if problem.is_multicut else self.n * self.K  # the variable of edge 0
        self.csr, self.edges = graph.csr, graph.edges
        loops = self.edges[:, 0] == self.edges[:, 1]
        edge_costs = np.where(loops, 0, problem.edge_costs)
        nodes = problem.node_costs.ravel() if self.first else np.empty(0)
        costs = np.concatenate([nodes, edge_costs]).astype(np.float64)
        self.constant = 0.0 if self.first else float(problem.node_costs.sum(dtype=np.float64))
        upper = np.ones(len(costs))
        upper[self.first :][loops] = 0
        self.programme = Programme(costs, upper)
        if self.first:
            rows = coupling(problem.partitionable, self.edges.astype(np.int64), self.n, self.K)
            self.programme.add(Constraints.joined(rows))
            self.programme.bound = simple_bound(problem)

    @property
    def bound(self) -> float:
        """The best lower bound so far."""
        return self.programme.bound + self.constant

    def take(self, clusters: Array, node_labels: Array) -> None:
        """Raise the bound by what a solution tells, where costs were clipped."""
        if self.programme.decisive < np.inf:
            self.programme.take(self.values(clusters, node_labels))

    def values(self, clusters: Array, node_labels: Array) -> Array:
        """What a solution makes of the variables."""
        x = np.zeros((self.n, self.K * bool(self.first)))
        if self.first:
            x[np.arange(self.n), node_labels] = 1
        y = clusters[self.edges[:, 0]] != clusters[self.edges[:, 1]]
        return np.concatenate([x.ravel(), y])

    def labels(self, values: Array) -> tuple[Array, Array]:
        """Node labels and the components of uncut base edges."""
        y = values[self.first : self.first + self.num_base]
        uncut = self.edges[: self.num_base][y < 0.5]
        x = np.zeros(self.n, np.int64)
        if self.first:
            x = values[: self.first].reshape(self.n, self.K).argmax(axis=1)
        return x, _components(self.n, uncut)

    def separate(self, values: Array, slack: float, spent: Callable[[], bool]) -> bool:
        """Add the cycle inequalities that these values violate; returns whether there are any.

        It ends once `spent` says so, and then there may be.
        """
        y = np.ascontiguousarray(values[self.first :])
        distance = np.full(self.n, np.inf)
        starts, paths, total = [np.zeros(1, np.int64)], [np.empty(0, np.int32)], 0
        for at in range(0, len(y), EDGES_AT_ONCE):
            if spent():
                return True
            last = min(at + EDGES_AT_ONCE, len(y))
            start, edges = violated_paths(self.csr, self.edges, y, slack, at, last, distance)
            starts.append(start[1:] + total)
            paths.append(edges)
            total += len(edges)
        if not total:
            return False
        start, edges = np.concatenate(starts), np.concatenate(paths)
        signs = np.full(total, -1.0)
        signs[start[:-1]] = 1.0
        count = len(start) - 1
        self.programme.add(
            Constraints(start, self.first + edges.astype(np.int64), signs, np.full(count, -np.inf), np.zeros(count))
        )
        return True


def improve(edge_programme: EdgeProgramme, best: Found, make: Callable[[Array, Array], Found], budget: Budget) -> Found:
    """Improve a solution to the optimum, or until the time is over; its lower bound is set."""
    programme = edge_programme.programme
    tolerance = 2 * ABSOLUTE_GAP * programme.scale if programme.costs.any() else 0.0

    def proved() -> bool:
        edge_programme.take(best.clusters, best.node_labels)
        return bool(edge_programme.bound >= best.objective - tolerance)

    while not proved() and not budget.spent():
        values = programme.relax(budget.left())
        if values is None:
            break
        if not edge_programme.separate(values, VIOLATION, budget.spent):
            if np.all(np.minimum(values, 1 - values) < VIOLATION):
                best = _better(best, make(*edge_programme.labels(values)))
            break
    if not proved() and not budget.spent():
        programme.fix_beyond(edge_programme.values(best.clusters, best.node_labels))
    while not proved() and not budget.spent():
        found = programme.solve(budget.left())
        if found.values is None:
            break
        best = _better(best, make(*edge_programme.labels(found.values)))
        if not edge_programme.separate(found.values, 0.5, budget.spent) and found.optimal:
            break
    edge_programme.take(best.clusters, best.node_labels)
    return replace(best, lower_bound=min(edge_programme.bound, best.objective))


def _better(best: Found, found: Found) -> Found:
    return found if found.objective < best.objective else best


def is_too_late(problem: Problem, budget: Budget) -> bool:
    """Whether the time does not even suffice to set up the programme."""
    return budget.spent() or budget.left() < SECONDS_A_ROW * problem.graph.num_edges * problem.num_classes


def with_simple_bound(problem: Problem, found: Found) -> Found:
    """A solution, with the bound that needs no programme."""
    return replace(found, lower_bound=min(simple_bound(problem), found.objective))


def simple_bound(problem: Problem) -> float:
    """Every node in its cheapest class, and every repulsive edge cut."""
    cheapest = float(problem.node_costs.min(axis=1).sum(dtype=np.float64))
    proper = problem.graph.edges[:, 0] != problem.graph.edges[:, 1]
    return cheapest + float(np.minimum(problem.edge_costs[proper], 0).sum(dtype=np.float64))


def coupling(partitionable: Array, edges: Array, n: int, K: int) -> list[Constraints]:
    """One class a node; y >= |x_i - x_j|; y = 0 inside a class that is not partitionable."""
    label = np.arange(n * K).reshape(n, K)
    rows = [rows_of(label, np.ones((n, K)), lower=1.0, upper=1.0)]
    proper = np.flatnonzero(edges[:, 0] != edges[:, 1])
    i, j = edges[proper].T
    cut = n * K + proper
    for k in range(K if len(proper) else 0):
        for a, b in ((i, j), (j, i)):
            columns = np.stack([cut, label[a, k], label[b, k]], axis=1)
            rows.append(rows_of(columns, np.tile([1.0, -1.0, 1.0], (len(proper), 1)), lower=0.0))
        if not partitionable[k]:
            columns = np.stack([cut, label[i, k], label[j, k]], axis=1)
            rows.append(rows_of(columns, np.ones((len(proper), 3)), upper=2.0))
    return rows
