"""The exact solver: an integer linear programme whose cycle inequalities are added when violated.

Variables are x (n, K) and y (m,), both binary. The coupling constraints of eq. 2 stand from the start; the
boundaries of eq. 1 are described by the cycle inequalities y_e <= sum of y over the rest of a cycle, found by
breadth-first search among the uncut edges. Of a multicut, what is certain is decided before, and what falls apart by
that is solved part by part. Small instances only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sparse
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse.csgraph import breadth_first_order, connected_components

from .._arrays import Array
from ..graph import Graph
from ..problem import Problem, Solution, make_solution
from .budget import Budget
from .multilevel import multilevel
from .persistency import persistent

LARGEST_COST = 1e6  # costs are scaled to this for HiGHS
ABSOLUTE_GAP = 1e-6  # of HiGHS, in scaled costs


def exact(problem: Problem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget) -> Solution:
    """Solve to optimality through ``scipy.optimize.milp`` (HiGHS); exponential in the worst case.

    Parameters
    ----------
    problem : Problem
    init : (node labels, clusters), optional
        Used with a time limit only: without one the result is optimal.
    rng : numpy.random.Generator
        Of the heuristic solution that a time limit may leave standing.
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
    n = problem.graph.num_nodes
    if n == 0:
        return make_solution(problem, np.empty(0, np.int64), np.empty(0, np.int64), 0.0)
    best = None
    if budget.time_limit is not None:
        best = multilevel(problem, init=init, rng=rng, budget=Budget(0, interrupt=budget.interrupt))
    if not problem.is_multicut:
        return _solve(problem, best, budget)
    return _solve_parts(problem, best, rng, budget)


def _solve_parts(problem: Problem, best: Solution | None, rng: np.random.Generator, budget: Budget) -> Solution:
    """Solve a multicut part by part; a part that the time does not suffice for keeps a heuristic solution."""
    smaller, group = persistent(problem)
    edges = smaller.graph.edges
    n = smaller.graph.num_nodes
    matrix = sparse.coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
    _, part = connected_components(matrix, directed=False)
    clusters = np.arange(n)
    gap = 0.0
    for nodes, inside in zip(_listed(part, part), _listed(part[edges[:, 0]], part), strict=True):
        if len(nodes) > 1:
            graph = Graph(len(nodes), np.searchsorted(nodes, edges[inside]))
            one = Problem(graph, np.zeros((len(nodes), 1)), smaller.edge_costs[inside], smaller.partitionable)
            known = None
            if best is not None:
                quick = Budget(0, interrupt=budget.interrupt)
                known = multilevel(one, init=None, rng=rng, budget=quick)
            solved = _solve(one, known, budget)
            clusters[nodes] = nodes[solved.clusters]  # fewer than nodes: some node stands for each
            gap += solved.gap
    found = make_solution(problem, np.zeros(len(group), np.int64), clusters[group])
    bound = found.objective - gap
    if best is not None and best.objective < found.objective:
        found = best
    return replace(found, lower_bound=bound)


def _listed(part: Array, parts: Array) -> list[Array]:
    """The places of every part in `part`, ascending."""
    order = np.argsort(part, kind="stable")
    return np.split(order, np.cumsum(np.bincount(part, minlength=parts.max() + 1))[:-1])


def _solve(problem: Problem, best: Solution | None, budget: Budget) -> Solution:
    """Solve in one piece; with a time limit `best` is what to return if the time is over before anything is found."""
    n = problem.graph.num_nodes
    programme = _Programme(problem)
    while best is None or not budget.spent():
        x, y, optimal = programme.solve(budget.left())
        if x is None or y is None:  # the time is over
            break
        uncut = programme.edges[y == 0]
        adjacency = sparse.coo_array((np.ones(len(uncut)), (uncut[:, 0], uncut[:, 1])), shape=(n, n))
        found = make_solution(problem, x, connected_components(adjacency, directed=False)[1])
        cycles = _violated_cycles(programme.edges, y, n, budget.spent)
        if optimal and not cycles:
            return replace(found, lower_bound=found.objective - programme.gap)
        if best is None or found.objective < best.objective:
            best = found
        programme.add_cycles(cycles)
        budget.spent()  # raises after Ctrl-C
    assert best is not None
    return replace(best, lower_bound=min(programme.bound, best.objective))


class _Programme:
    """The integer programme of a problem, with the cycle inequalities added so far.

    Attributes
    ----------
    edges : int64 array, shape (m, 2)
    bound : float
        The best lower bound of the problem so far.
    gap : float
        What the last solution may be above its optimum, as HiGHS says.
    """

    def __init__(self, problem: Problem) -> None:
        self.n, self.K = problem.graph.num_nodes, problem.num_classes
        self.edges = problem.graph.edges.astype(np.int64)
        loops = self.edges[:, 0] == self.edges[:, 1]
        costs = np.concatenate([problem.node_costs.ravel(), np.where(loops, 0, problem.edge_costs)]).astype(np.float64)
        self._costs, self._scale = _tame(costs)
        # Clipped costs bound the true ones but where a negative one was clipped.
        self._clipped = float(np.minimum(costs - self._costs * self._scale, 0).sum())
        edge_costs = costs[self.n * self.K :]
        self.bound = float(problem.node_costs.min(axis=1).sum(dtype=np.float64) + np.minimum(edge_costs, 0).sum())
        self.gap = np.inf
        self._rows = _Rows(len(costs))
        _couple(self._rows, problem.partitionable, self.edges, self.n, self.K)
        self._upper = np.ones(len(costs))
        self._upper[self.n * self.K :][loops] = 0

    def solve(self, seconds: float) -> tuple[Array | None, Array | None, bool]:
        """Node labels and edge labels of the best solution found in time, or None, and whether it is optimal."""
        result = milp(
            self._costs,
            integrality=np.ones(len(self._costs)),
            bounds=Bounds(0, self._upper),
            constraints=self._rows.constraint(),
            options={"mip_rel_gap": 0.0, **({"time_limit": seconds} if np.isfinite(seconds) else {})},
        )
        dual = getattr(result, "mip_dual_bound", None)
        if dual is not None and np.isfinite(dual):
            self.bound = max(self.bound, self._scale * (dual - ABSOLUTE_GAP) + self._clipped)
        late = result.status == 1 and np.isfinite(seconds)
        if result.x is None:
            if late:
                return None, None, False
            raise RuntimeError(f"the exact solver failed: {result.message}")
        error = max(0.0, float(result.fun - result.mip_dual_bound)) + ABSOLUTE_GAP
        self.gap = self._scale * error if self._costs.any() else 0.0
        labels = result.x[: self.n * self.K].reshape(self.n, self.K).argmax(axis=1)
        return labels, result.x[self.n * self.K :].round().astype(np.int64), not late

    def add_cycles(self, cycles: list[tuple[int, list[int]]]) -> None:
        """Add y_e <= sum of y over the path, for every edge and path."""
        for cut, path in cycles:
            columns = self.n * self.K + np.array([cut, *path])
            self._rows.add(columns[None], np.array([1.0] + [-1.0] * len(path))[None], upper=0.0)


def _tame(costs: Array) -> tuple[Array, float]:
    """Scale costs to where HiGHS resolves them; returns them and the factor back.

    HiGHS works to absolute tolerances, so one huge cost would drown all others. The largest costs decide
    lexicographically as long as each outweighs all smaller ones together, whatever their size; these are
    clipped to twice that sum.
    """
    order = np.argsort(np.abs(costs), kind="stable")
    size = np.abs(costs)[order]
    below = np.cumsum(size) - size
    decides = np.logical_and.accumulate((size > 2 * below)[::-1])[::-1]
    first = len(size) - int(decides.sum())
    total = float(size[:first].sum())
    for i in range(first, len(size)):
        if total > 0:
            size[i] = min(size[i], 2 * total)
        total += size[i]
    clipped = np.empty_like(costs)
    clipped[order] = np.sign(costs[order]) * size
    scale = float(np.abs(clipped).max(initial=0.0)) / LARGEST_COST or 1.0
    return clipped / scale, scale


class _Rows:
    """Linear constraints as they are collected."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._blocks: list[Any] = []
        self._lower: list[Array] = []
        self._upper: list[Array] = []

    def add(self, columns: Array, values: Array, lower: float = -np.inf, upper: float = np.inf) -> None:
        """Add one constraint for each row of `columns` and `values`."""
        count, width = columns.shape
        row = np.repeat(np.arange(count), width)
        self._blocks.append(sparse.coo_array((values.ravel(), (row, columns.ravel())), shape=(count, self.width)))
        self._lower.append(np.full(count, lower))
        self._upper.append(np.full(count, upper))

    def constraint(self) -> LinearConstraint:
        """All of them as one object for scipy."""
        matrix = sparse.vstack(self._blocks, format="csc")
        return LinearConstraint(matrix, np.concatenate(self._lower), np.concatenate(self._upper))


def _couple(rows: _Rows, partitionable: Array, edges: Array, n: int, K: int) -> None:
    """One class a node; y >= |x_i - x_j|; y = 0 inside a class that is not partitionable."""
    label = np.arange(n * K).reshape(n, K)
    rows.add(label, np.ones((n, K)), lower=1.0, upper=1.0)
    proper = np.flatnonzero(edges[:, 0] != edges[:, 1])
    if len(proper) == 0:
        return
    i, j = edges[proper].T
    cut = n * K + proper
    for k in range(K):
        for a, b in ((i, j), (j, i)):
            columns = np.stack([cut, label[a, k], label[b, k]], axis=1)
            rows.add(columns, np.tile([1.0, -1.0, 1.0], (len(proper), 1)), lower=0.0)
        if not partitionable[k]:
            columns = np.stack([cut, label[i, k], label[j, k]], axis=1)
            rows.add(columns, np.ones((len(proper), 3)), upper=2.0)


def _violated_cycles(edges: Array, y: Array, n: int, spent: Callable[[], bool]) -> list[tuple[int, list[int]]]:
    """For every cut edge whose ends are joined by uncut edges: the edge, and a shortest such path.

    Once `spent` says so, one is enough.
    """
    uncut = np.flatnonzero(y == 0)
    u, v = edges[uncut].T
    edge_of = {(int(a), int(b)): int(e) for e, a, b in zip(uncut, u, v, strict=True)}
    edge_of |= {(b, a): e for (a, b), e in edge_of.items()}
    adjacency = sparse.coo_array((np.ones(len(uncut)), (u, v)), shape=(n, n)).tocsr()
    _, component = connected_components(adjacency, directed=False)
    found: list[tuple[int, list[int]]] = []
    for e in np.flatnonzero(y == 1):
        if found and spent():
            break
        a, b = (int(node) for node in edges[e])
        if component[a] == component[b]:
            _, previous = breadth_first_order(adjacency, a, directed=False, return_predecessors=True)
            path = []
            while b != a:
                path.append(edge_of[int(previous[b]), b])
                b = int(previous[b])
            found.append((int(e), path))
    return found
