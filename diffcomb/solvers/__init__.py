"""Solvers for the asymmetric multiway cut problem, one file each, all with one signature.

A solver is a function ``(problem, *, init, rng, budget) -> Solution``: `init` is a pair (node labels,
clusters) to start from or None, `rng` a ``numpy.random.Generator``, `budget` a :class:`Budget` that says how
long to search. Whatever a solver does with `init`, :func:`solve` never returns anything worse.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from .._arrays import Array
from .._interrupt import Interrupt
from .._numba import announce_compilation
from ..graph import Graph
from ..problem import Problem, Solution, labelling_objective, make_solution
from .budget import Budget
from .greedy import greedy
from .kernighan_lin import kernighan_lin
from .levels.costs import takes_stencil
from .limits import LIMITS
from .moves.local_moving import local_moving
from .multilevel import is_searched_whole, multilevel
from .reduction import reduce


class Solver(Protocol):
    """What a solver looks like."""

    def __call__(
        self, problem: Problem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """Solve one instance."""
        ...


def _exact(problem: Problem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget) -> Solution:
    """Import the integer programme when it is first used: ``scipy.optimize`` takes longer to import than all else."""
    from .exact import exact

    return exact(problem, init=init, rng=rng, budget=budget)


SOLVERS: dict[str, Solver] = {
    "multilevel": multilevel,
    "kernighan_lin": kernighan_lin,
    "greedy": greedy,
    "exact": _exact,
}


def get_solver(name: str) -> Solver:
    """Return the solver of that name; a ValueError lists the names there are."""
    if not isinstance(name, str) or name not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(map(repr, SOLVERS))}, got {name!r}")
    return SOLVERS[name]


def budget_of(init: object, effort: int | None, time_limit: float | None, interrupt: Interrupt | None = None) -> Budget:
    """An `effort` of None is 1, and 0 where there is an `init`: a warm start is asked for to be quick."""
    rounds = effort if effort is not None else int(init is None)
    return Budget(rounds, time_limit, interrupt or Interrupt(False))


def check_time_limit(solver: str, value: Any) -> None:
    """Raise a ValueError unless `value` is None, or a positive number of seconds that the solver can keep to."""
    if value is None:
        return
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):
        raise ValueError(f"time_limit must be a positive number of seconds or None, got {value!r}")
    if solver == "greedy":
        raise ValueError(
            "time_limit must be None for solver='greedy', which runs to its end; leave it out, or use 'multilevel'"
        )


def prepare(graph: Graph, budget: Budget) -> None:
    """Build what solvers cache of a graph and will use within a budget, so that threads need not."""
    if not takes_stencil(graph) or (budget.searches and is_searched_whole(graph)):
        _ = graph.csr


def solve(
    problem: Problem,
    solver: str,
    init: tuple[Array, Array] | None = None,
    seed: int = 0,
    effort: int | None = None,
    time_limit: float | None = None,
    interrupt: Interrupt | None = None,
) -> Solution:
    """Run one solver on one instance; the result is never worse than `init`.

    `effort`, `time_limit` and `interrupt` are those of `budget_of`.
    """
    announce_compilation(local_moving)
    budget = budget_of(init, effort, time_limit, interrupt)
    reduction = reduce(problem)
    start = reduction.init(init)
    rng = np.random.default_rng(seed)
    found = get_solver(solver)(reduction.problem, init=start, rng=rng, budget=budget)
    for more in LIMITS.second_tries if solver != "exact" else ():
        if not reduction.leaves_uncut(found):
            break
        start = None if more else (found.node_labels, found.clusters)  # first by moves alone, then by more search
        found = multilevel(reduction.problem, init=start, rng=rng, budget=Budget(more, interrupt=budget.interrupt))
    result = reduction.expand(found)
    if init is not None and labelling_objective(problem, *init) < result.objective:
        return replace(make_solution(problem, *init), lower_bound=result.lower_bound)
    return result
