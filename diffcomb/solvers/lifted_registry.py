"""The solvers of lifted problems by name, and the call of one; what ``diffcomb.solvers`` is for the others.

A solver is a function ``(lifted_problem, *, init, rng, budget) -> LiftedSolution``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np

from .._arrays import Array
from ..lifted_problem import LiftedProblem, LiftedSolution
from .budget import Budget
from .lifted import lifted_greedy, lifted_multilevel
from .lifted_bound import lifted_bound
from .lower_bound import Guide
from .own_solver import Task, solve_with
from .reduction import reduce, separated


class LiftedSolver(Protocol):
    """What a solver of lifted problems looks like."""

    def __call__(
        self, lifted: LiftedProblem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget
    ) -> LiftedSolution:
        """Solve one instance."""
        ...


def _lifted_exact(
    lifted: LiftedProblem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget
) -> LiftedSolution:
    """Import the integer programme when it is first used: ``scipy.optimize`` takes longer to import than all else."""
    from .lifted_exact import lifted_exact

    return lifted_exact(lifted, init=init, rng=rng, budget=budget)


LIFTED_SOLVERS: dict[str, LiftedSolver] = {
    "multilevel": lifted_multilevel,
    "greedy": lifted_greedy,
    "exact": _lifted_exact,
}


def get_lifted_solver(solver: str | LiftedSolver) -> LiftedSolver:
    """Return the solver of that name, or a solver of the user's."""
    if callable(solver) and not isinstance(solver, type):
        return solver
    if not isinstance(solver, str) or solver not in LIFTED_SOLVERS:
        names = ", ".join(map(repr, LIFTED_SOLVERS))
        raise ValueError(
            f"solver must be one of {names}, or a function (lifted_problem, *, init, rng, budget) -> LiftedSolution, "
            f"got {solver!r}"
        )
    return LIFTED_SOLVERS[solver]


def solve_lifted(
    lifted: LiftedProblem, solver: str | LiftedSolver, init: tuple[Array, Array] | None, rng: np.random.Generator,
    budget: Budget, bound: bool = False,
) -> LiftedSolution:  # fmt: skip
    """Run one solver on one instance; the result is never worse than `init`. `bound` asks any solver for a bound."""
    if lifted.problem.graph.num_nodes == 0:
        return lifted.solution(np.empty(0, np.int64), np.empty(0, np.int64), 0.0 if bound else None)
    reduction = reduce(lifted.problem)
    smaller = lifted.contracted(reduction.problem, reduction.group)
    start = reduction.init(init)
    solved = _run(solver, smaller, start, rng, budget)
    solved = reduction.or_start(solved, start, smaller.solution)
    if solver != "exact":
        search = partial(lifted_multilevel, smaller, rng=rng)
        solved = separated(reduction, solved, search, [lambda _: None], budget)
    found = reduction.expand(solved, lifted.solution)
    if init is not None:
        given = lifted.solution(*init, found.lower_bound)
        if given.objective < found.objective:
            found = given
    if bound and found.lower_bound is None:
        proven = lifted_bound(lifted, Guide(found.node_labels, found.clusters), budget.interrupt)
        found = replace(found, lower_bound=min(proven, found.objective))
    return found


def _run(
    solver: str | LiftedSolver, lifted: LiftedProblem, start: tuple[Array, Array] | None, rng: np.random.Generator,
    budget: Budget,
) -> LiftedSolution:  # fmt: skip
    """What a solver finds; of a solver of the user's, what is feasible of it."""
    chosen = get_lifted_solver(solver)
    if not callable(solver):
        return chosen(lifted, init=start, rng=rng, budget=budget)
    nodes, classes = lifted.problem.node_costs.shape
    task = Task(lifted, nodes, classes, lifted.solution, LiftedSolution, "the method solution of the problem")
    found: LiftedSolution = solve_with(chosen, task, start, rng, budget)
    return found
