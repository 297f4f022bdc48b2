"""Solvers for the asymmetric multiway cut problem, one file each, all with one signature.

A solver is a function ``(problem, *, init, rng, budget) -> Solution``: `init` is a pair (node labels, clusters) to
start from or None, `rng` a ``numpy.random.Generator``, `budget` a :class:`Budget` that says how long to search. It
gets a :class:`~diffcomb.Problem` with finite costs and returns a labelling as ``diffcomb.problem.make_solution`` makes
it. Whatever it does with `init`, :func:`solve` never returns anything worse. To add one, write its file and enter it
in ``SOLVERS``; users pass theirs as ``solver=``.

The files from the top down: algorithms (``multilevel``, ``kernighan_lin``, ``greedy``, ``mutex_watershed``, ``exact``,
``enumeration``) and those of lifted problems (``lifted``, ``lifted_exact``, by name in ``lifted_registry``);
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
from ..problem import Problem, Solution, labelling_objective, make_solution
from .budget import Budget
from .greedy import greedy
from .kernighan_lin import kernighan_lin
from .levels.costs import takes_stencil
from .limits import LIMITS
from .lower_bound import Guide, lower_bound
from .moves.local_moving import local_moving
from .multilevel import multilevel
from .mutex_watershed import mutex_watershed
from .reduction import reduce
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
    if callable(solver) and start is not None:
        start = start[0].copy(), start[1].copy()  # it may work in place on what it is given
    rng = np.random.default_rng(seed)
    found = get_solver(solver)(reduction.problem, init=start, rng=rng, budget=budget)
    if callable(solver):
        found = _checked(reduction.problem, found, solver)
    for more in LIMITS.second_tries if solver != "exact" else ():
        if not reduction.leaves_uncut(found):
            break
        start = None if more else (found.node_labels, found.clusters)  # first by moves alone, then by more search
        found = multilevel(reduction.problem, init=start, rng=rng, budget=Budget(more, interrupt=budget.interrupt))
    result = reduction.expand(found, partial(make_solution, problem))
    if init is not None and labelling_objective(problem, *init) < result.objective:
        result = replace(make_solution(problem, *init), lower_bound=result.lower_bound)
    return with_bound(problem, result, budget) if bound and result.lower_bound is None else result


def with_bound(problem: Problem, solution: Solution, budget: Budget) -> Solution:
    """The solution with a proven lower bound of its problem."""
    guide = Guide(solution.node_labels, solution.clusters)
    return replace(solution, lower_bound=min(lower_bound(problem, guide, budget.interrupt), solution.objective))


def _checked(problem: Problem, found: Any, solver: Solver) -> Solution:
    """What a solver of the user's returned, made feasible, with its own objective."""
    name = getattr(solver, "__name__", type(solver).__name__)
    if not isinstance(found, Solution):
        raise TypeError(f"solver {name} must return a Solution, got {type(found).__name__}; make_solution makes one")
    shape, classes = (problem.graph.num_nodes,), problem.num_classes
    for field in ("node_labels", "clusters"):
        array = getattr(found, field)
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind not in "iu":
            raise ValueError(
                f"solver {name} must return {field} as an integer array of shape {shape}, got {array!r:.80}"
            )
    if len(found.node_labels) and not 0 <= found.node_labels.min() <= found.node_labels.max() < classes:
        raise ValueError(f"solver {name} must return node_labels in 0..{classes - 1}, got {found.node_labels!r:.80}")
    return make_solution(problem, found.node_labels, found.clusters, found.lower_bound)
