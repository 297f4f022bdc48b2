"""Solvers for the asymmetric multiway cut problem, one file each, all with one signature.

A solver is a function ``(problem, *, init, rng, budget) -> Solution``: `init` is a pair (node labels, clusters) to
start from or None, `rng` a ``numpy.random.Generator``, `budget` a :class:`Budget` that says how long to search. It
gets a :class:`~diffcomb.Problem` with finite costs and returns a labelling as ``diffcomb.problem.make_solution`` makes
it. Whatever it does with `init`, :func:`solve` never returns anything worse. To add one, write its file and enter it
in ``SOLVERS``; users pass theirs as ``solver=``.

The files from the top down: algorithms (``multilevel``, ``kernighan_lin``, ``greedy``, ``mutex_watershed``, ``exact``,
``enumeration``) and those of lifted problems (``lifted``, ``lifted_exact``, by name in ``lifted_registry``);
``reduction`` and ``colouring``, what becomes of constraints;
``lower_bound`` and its ``bounds``; ``search``, ``hierarchy`` and ``level``, what they are made of; ``moves``, compiled
kernels that change a labelling; ``levels``, what a level is made of; ``structures``, ``limits`` and ``budget``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from .._arrays import Array
from .._interrupt import Interrupt
from .._numba import announce_compilation
from ..graph import Graph
from ..problem import Problem, Solution, labelling_objective, solution_of_labels
from .budget import Budget
from .colouring import coloured
from .greedy import greedy
from .kernighan_lin import kernighan_lin
from .levels.costs import takes_stencil
from .limits import LIMITS
from .lower_bound import Guide, lower_bound
from .moves.local_moving import local_moving
from .multilevel import multilevel
from .mutex_watershed import mutex_watershed
from .own_solver import Task, solve_with
from .reduction import Reduction, reduce, separated
from .run import is_searched_whole


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
    "mutex_watershed": mutex_watershed,
    "exact": _exact,
}


def get_solver(solver: str | Solver) -> Solver:
    """Return the solver of that name, or a solver of the user's; a ValueError lists the names there are."""
    if callable(solver) and not isinstance(solver, type):
        return solver
    if not isinstance(solver, str) or solver not in SOLVERS:
        names = ", ".join(map(repr, SOLVERS))
        raise ValueError(
            f"solver must be one of {names}, or a function (problem, *, init, rng, budget) -> Solution, got {solver!r}"
        )
    return SOLVERS[solver]


def budget_of(init: object, effort: int | None, time_limit: float | None, interrupt: Interrupt | None = None) -> Budget:
    """An `effort` of None is 1, and 0 where there is an `init`: a warm start is asked for to be quick."""
    rounds = effort if effort is not None else int(init is None)
    return Budget(rounds, time_limit, interrupt or Interrupt(False))


def check_time_limit(solver: Any, value: Any) -> None:
    """Raise a ValueError unless `value` is None, or a positive number of seconds that the solver can keep to."""
    if value is None:
        return
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):
        raise ValueError(f"time_limit must be a positive number of seconds or None, got {value!r}")
    if solver in ("greedy", "mutex_watershed"):
        raise ValueError(
            f"time_limit must be None for solver={solver!r}, which runs to its end; leave it out, or use 'multilevel'"
        )


def prepare(graph: Graph, budget: Budget) -> None:
    """Build what solvers cache of a graph and will use within a budget, so that threads need not."""
    if not takes_stencil(graph) or (budget.searches and is_searched_whole(graph)):
        _ = graph.csr


def solve(
    problem: Problem,
    solver: str | Solver,
    init: tuple[Array, Array] | None = None,
    seed: int = 0,
    effort: int | None = None,
    time_limit: float | None = None,
    interrupt: Interrupt | None = None,
    bound: bool = False,
) -> Solution:
    """Run one solver on one instance; the result is never worse than `init`.

    `effort`, `time_limit` and `interrupt` are those of `budget_of`; `bound` asks for a lower bound from any solver.
    """
    announce_compilation(local_moving)
    budget = budget_of(init, effort, time_limit, interrupt)
    reduction = reduce(problem)
    start = reduction.init(init)
    rng = np.random.default_rng(seed)
    found = _run(solver, reduction.problem, start, rng, budget)
    if reduction.offset and solver != "exact":
        found = reduction.or_start(found, start, partial(solution_of_labels, reduction.problem))
        if start is None and solver == "multilevel" and _is_small_with_whole_classes(reduction.problem):
            found = _from_other_starts(reduction, found, rng, budget)
        found = _separated(reduction, found, rng, budget)
    result = reduction.expand(found, partial(solution_of_labels, problem))
    if init is not None and labelling_objective(problem, *init) < result.objective:
        result = replace(solution_of_labels(problem, *init), lower_bound=result.lower_bound)
    return with_bound(problem, result, budget) if bound and result.lower_bound is None else result


def _run(
    solver: str | Solver, problem: Problem, start: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget
) -> Solution:
    """What a solver finds; of a solver of the user's, what is feasible of it."""
    chosen = get_solver(solver)
    if not callable(solver):
        return chosen(problem, init=start, rng=rng, budget=budget)
    make = partial(solution_of_labels, problem)
    task = Task(problem, problem.graph.num_nodes, problem.num_classes, make, Solution, "make_solution")
    found: Solution = solve_with(chosen, task, start, rng, budget)
    return found


def _is_small_with_whole_classes(problem: Problem) -> bool:
    return problem.graph.num_nodes <= LIMITS.max_coarse and not problem.partitionable.all()


def _from_other_starts(reduction: Reduction, best: Solution, rng: np.random.Generator, budget: Budget) -> Solution:
    """Of small graphs: search from other starts as well, since nodes that must be apart do not move one by one.

    Each start has random numbers of its own: where it ends must not depend on how many an earlier search has drawn.
    """
    problem = reduction.problem
    contracted = greedy(problem, init=None, rng=rng, budget=budget)
    starts = (contracted.node_labels, contracted.clusters), coloured(problem, reduction.apart)
    for start, own in zip(starts, rng.spawn(len(starts)), strict=True):
        if budget.spent():
            break
        found = multilevel(problem, init=start, rng=own, budget=budget)
        best = found if found.objective < best.objective else best
    return best


def _separated(reduction: Reduction, found: Solution, rng: np.random.Generator, budget: Budget) -> Solution:
    """Search on while cannot-links are not cut: from what was found, and from a colouring of them."""
    search = partial(multilevel, reduction.problem, rng=rng)
    starts = (lambda s: (s.node_labels, s.clusters)), (lambda _: coloured(reduction.problem, reduction.apart))
    return separated(reduction, found, search, starts, budget)


def with_bound(problem: Problem, solution: Solution, budget: Budget) -> Solution:
    """The solution with a proven lower bound of its problem."""
    guide = Guide(solution.node_labels, solution.clusters)
    return replace(solution, lower_bound=min(lower_bound(problem, guide, budget.interrupt), solution.objective))
