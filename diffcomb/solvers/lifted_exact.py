"""The exact solver of lifted problems: cycle and path inequalities, and cut inequalities.

A path between the ends of an edge e forbids to cut e alone: y_e <= sum of y over the path. Paths along lifted edges
say nothing new of whole labellings, but make the linear programme stronger. And a set of base edges that separates the
ends of a lifted edge f forbids to leave f uncut if all of them are cut: 1 - y_f <= sum of 1 - y over the set
(Hornakova, Lange and Andres 2017), unless both ends are in one class that is not partitionable.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from .._arrays import Array
from ..lifted_problem import LiftedProblem, LiftedSolution
from .budget import Budget
from .exact import EdgeProgramme, improve, is_too_late, with_simple_bound
from .highs import Constraints
from .lifted import lifted_multilevel

PRECISION = 10**6  # units of flow for an edge that is not cut at all
CUT_VIOLATION = 1e-3  # of a cut inequality, from which it is added


def lifted_exact(
    lifted: LiftedProblem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget
) -> LiftedSolution:
    """Solve to optimality, as :func:`~diffcomb.solvers.exact.exact` does."""
    best = lifted_multilevel(lifted, init=init, rng=rng, budget=budget.more(1))
    if is_too_late(lifted.problem, budget):
        return with_simple_bound(lifted.problem, best)
    return improve(LiftedProgramme(lifted), best, lifted.solution, budget)


class LiftedProgramme(EdgeProgramme):
    """The integer programme of a lifted problem."""

    def __init__(self, lifted: LiftedProblem) -> None:
        super().__init__(lifted.problem, lifted.num_base)
        self.whole = np.flatnonzero(~lifted.problem.partitionable)

    def separate(self, values: Array, slack: float, spent: Callable[[], bool]) -> bool:
        """Add cycle, path and cut inequalities that these values violate; returns whether there are any."""
        found = super().separate(values, slack, spent)
        return self._separate_cuts(values, spent) or found

    def _separate_cuts(self, values: Array, spent: Callable[[], bool]) -> bool:
        """The smallest cut between the ends of every lifted edge that is less cut than it must be."""
        m = self.num_base
        y = np.clip(values[self.first :], 0, 1)
        base, lifted = self.edges[:m], self.edges[m:]
        capacity = np.rint((1 - y[:m]) * PRECISION).astype(np.int32)
        both_ways = np.concatenate([base, base[:, ::-1]])
        network = sparse.csr_array((np.tile(capacity, 2), both_ways.T), shape=(self.n, self.n), dtype=np.int32)
        rows: list[tuple[Array, Array]] = []
        for f in np.flatnonzero((y[m:] < 1 - CUT_VIOLATION) & (lifted[:, 0] != lifted[:, 1])):
            if spent():
                return True
            u, v = (int(node) for node in lifted[f])
            classes = u * self.K + self.whole if self.first else np.empty(0, np.int64)
            allowed = 1 - y[m + f] - values[classes].sum()
            flow = maximum_flow(network, u, v)
            if flow.flow_value / PRECISION > allowed - CUT_VIOLATION:
                continue
            residual = sparse.csr_array((network - flow.flow) > 0)
            inside = np.zeros(self.n, bool)
            inside[breadth_first_order(residual, u, return_predecessors=False)] = True
            around = np.flatnonzero(inside[base[:, 0]] != inside[base[:, 1]])
            # y_f - sum of y >= 1 - |set| - sum over whole classes of x_ik
            columns = np.concatenate([[self.first + m + f], self.first + around, classes]).astype(np.int64)
            rows.append((columns, np.concatenate([[1.0], -np.ones(len(around)), np.ones(len(classes))])))
        if not rows:
            return False
        start = np.concatenate([[0], np.cumsum([len(columns) for columns, _ in rows])])
        columns, signs = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        lower = np.array([1.0 - np.sum(s == -1.0) for _, s in rows])
        self.programme.add(Constraints(start, columns, signs, lower, np.full(len(rows), np.inf)))
        return True
