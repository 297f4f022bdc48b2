"""What a solver gets in place of the user's problem: finite costs, of a size that every kernel resolves.

An edge of cost +inf is a must-link: its ends become one node. An edge of cost -inf is a cannot-link: its cost becomes a
finite one that outweighs all others together, so that no local optimum leaves it uncut if it can be cut at all. And
costs far from 1 are multiplied by a power of two, which is exact, because kernels keep losses in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from .._arrays import Array, largest_size
from .._ids import NodesError
from ..graph import Graph
from ..labelling import uncut_components
from ..problem import Problem, Solution
from .budget import Budget
from .limits import LIMITS

Labelling = tuple[Array, Array]  # node labels and clusters
S = TypeVar("S", bound=Solution)


@dataclass(frozen=True)
class Reduction:
    """A problem for a solver, and the way back.

    Attributes
    ----------
    original, problem : Problem
        What the user asked, and what the solver gets; the same object where nothing had to be done.
    group : int array, shape (n,), optional
        The node of `problem` that each node of `original` became, where there are must-links.
    exponent : int
        Costs of `problem` are those of `original` times 2 to minus this.
    cannot_link : float
        The cost of a cannot-link in `problem`.
    offset : float
        What all of them add to its objective.
    """

    original: Problem
    problem: Problem
    group: Array | None = None
    exponent: int = 0
    cannot_link: float = 0.0
    offset: float = 0.0

    def init(self, labelling: Labelling | None) -> Labelling | None:
        """A labelling of the original problem as one of the reduced problem; joined nodes take the first's label."""
        if labelling is None or self.group is None:
            return labelling
        _, first = np.unique(self.group, return_index=True)
        return labelling[0][first], labelling[1][first]

    @property
    def apart(self) -> Array:
        """Which edges of the reduced problem are cannot-links; a mask."""
        mask: Array = self.problem.edge_costs == self.cannot_link
        return mask if self.offset < 0 else np.zeros_like(mask)

    def leaves_uncut(self, solution: Solution) -> bool:
        """Whether a solution of the reduced problem leaves a cannot-link uncut."""
        return self.offset < 0 and bool(np.any(self.apart & ~_cut(self.problem, solution)))

    def or_start(self, found: S, start: Labelling | None, make: Callable[[Array, Array], S]) -> S:
        """A solution, or the start if that cuts all cannot-links and the solution does not."""
        if start is None or not self.leaves_uncut(found):
            return found
        given = make(*start)
        return found if self.leaves_uncut(given) else given

    def expand(self, solution: S, make: Callable[[Array, Array], S]) -> S:
        """A solution of the reduced problem as one of the original problem, which `make` makes of classes and clusters.

        Raises
        ------
        ValueError
            If a cannot-link is not cut; only classes that are not partitionable can force that.
        """
        if self.problem is self.original:
            return solution
        x, z = solution.node_labels, solution.clusters
        if self.group is not None:
            x, z = x[self.group], z[self.group]
        expanded = make(x, z)
        if solution.lower_bound is not None:  # to take the offset off rounds
            bound = float(_times_power(solution.lower_bound - self.offset, self.exponent))
            expanded = replace(expanded, lower_bound=min(bound, expanded.objective))
        if not self.offset:
            return expanded
        uncut = np.flatnonzero(np.isneginf(self.original.edge_costs) & ~_cut(self.original, expanded))
        if len(uncut):
            looked = solution.lower_bound is not None  # by integer programming
            advice = "" if looked else "; more effort or time may find one; solver='exact' tells for small instances"
            raise NodesError(
                "no labelling was found that separates nodes {} and {}, as a cost of -inf or a cannot-link demands: "
                "both are of one class that is not partitionable; allow more classes, or make one "
                f"partitionable{advice}",
                _ends(self.original.graph, uncut[0]),
            )
        return expanded


def reduce(problem: Problem) -> Reduction:
    """Make the problem that a solver gets, in O(n K + m).

    Raises
    ------
    ValueError
        If must-links and cannot-links contradict each other; the message names an edge.
    """
    largest = max(largest_size(problem.node_costs), largest_size(problem.edge_costs))
    reduced, group, cannot_link = problem, None, 0.0
    hard = not math.isfinite(largest)
    if hard:
        finite = problem.edge_costs[np.isfinite(problem.edge_costs)]
        largest = max(largest_size(problem.node_costs), largest_size(finite))
    power = math.frexp(largest)[1]
    # No further than needed: the smallest costs may be as far from the largest as float64 allows.
    exponent = power - max(-LIMITS.max_exponent, min(LIMITS.max_exponent, power))
    if exponent:
        nodes, edges = (_times_power(c.astype(np.float64), -exponent) for c in (problem.node_costs, problem.edge_costs))
        reduced = replace(problem, node_costs=nodes, edge_costs=edges)
    if hard:
        reduced, group = without_must_links(reduced)
        reduced, cannot_link = _without_cannot_links(reduced)
    offset = cannot_link * np.count_nonzero(reduced.edge_costs == cannot_link) if cannot_link < 0 else 0.0
    return Reduction(problem, reduced, group, exponent, cannot_link, offset)


def separated(
    reduction: Reduction, found: S, search: Callable[..., S], starts: Iterable[Callable[[S], Labelling | None]],
    budget: Budget,
) -> S:  # fmt: skip
    """Search on while cannot-links are not cut: by moves alone from some starts, then by more and more search.

    Moves alone are quick, and are tried even if the time is over.
    """
    least, *efforts = LIMITS.second_tries
    for start in starts:
        if reduction.leaves_uncut(found):
            found = search(init=start(found), budget=Budget(least, interrupt=budget.interrupt))
    for effort in efforts:
        if reduction.leaves_uncut(found) and not budget.spent():
            found = search(init=None, budget=budget.more(effort))
    return found


def _times_power(values: Any, exponent: int) -> Any:
    """Values times a power of two; what overflows is infinite."""
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(values, exponent)


def without_must_links(problem: Problem) -> tuple[Problem, Array | None]:
    """Contract the edges of cost +inf; edges within a contracted node are never cut and go."""
    graph, costs = problem.graph, problem.edge_costs
    must = np.isposinf(costs)
    cannot = np.isneginf(costs)
    n = graph.num_nodes
    apart = (~must).astype(np.uint8)
    root = uncut_components(graph.edges, apart, np.zeros(n, np.int64), np.ones(1, bool))
    u, v = root[graph.edges].T
    contradicted = np.flatnonzero(cannot & (u == v))
    if len(contradicted):
        a, b = ends = _ends(graph, contradicted[0])
        why = "they are the same node" if a == b else "must-links (or edges of cost +inf) join them"
        raise NodesError(
            f"nodes {{}} and {{}} must be apart (a cost of -inf, or a cannot-link), but {why}: remove one of them", ends
        )
    if not must.any():
        return problem, None
    roots, group = np.unique(root, return_inverse=True)
    node_costs = np.zeros((len(roots), problem.num_classes))
    np.add.at(node_costs, group, problem.node_costs)
    between = np.flatnonzero(u != v)
    contracted = Graph(len(roots), group[graph.edges[between]])
    return Problem(contracted, node_costs, costs[between], problem.partitionable), group


def _without_cannot_links(problem: Problem) -> tuple[Problem, float]:
    """Give the edges of cost -inf a finite cost that outweighs all other costs together."""
    cannot = np.isneginf(problem.edge_costs)
    if not cannot.any():
        return problem, 0.0
    edge_costs = np.where(cannot, 0.0, problem.edge_costs.astype(np.float64))
    total = float(np.abs(edge_costs).sum() + np.ptp(problem.node_costs.astype(np.float64), axis=1).sum())
    weight = 2.0 ** (math.frexp(total)[1] + 1)
    edge_costs[cannot] = -weight
    return replace(problem, edge_costs=edge_costs), -weight


def _cut(problem: Problem, solution: Solution) -> Array:
    """Which edges join different clusters, those of a lifted problem included."""
    u, v = problem.graph.edges.T
    cut: Array = solution.clusters[u] != solution.clusters[v]
    return cut


def _ends(graph: Graph, edge: int) -> tuple[int, int]:
    """The nodes of an edge of which the user may have no number: constraints are edges as well."""
    u, v = graph.edges[edge].tolist()
    return u, v
