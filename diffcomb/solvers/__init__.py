"""Solvers for the asymmetric multiway cut problem, one file each, all with one signature.

A solver is a function ``(problem, *, init, rng, budget) -> Solution``: `init` is a pair (node labels,
clusters) to start from or None, `rng` a ``numpy.random.Generator``, `budget` a non-negative integer that
buys quality with time. Whatever a solver does with `init`, :func:`solve` never returns anything worse.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from .._arrays import Array
from ..problem import Problem, Solution, make_solution
from .exact import exact
from .greedy import greedy
from .multilevel import multilevel


class Solver(Protocol):
    """What a solver looks like."""

    def __call__(
        self, problem: Problem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: int
    ) -> Solution:
        """Solve one instance."""
        ...


SOLVERS: dict[str, Solver] = {"multilevel": multilevel, "greedy": greedy, "exact": exact}


def get_solver(name: str) -> Solver:
    """Return the solver of that name; a ValueError lists the names there are."""
    if not isinstance(name, str) or name not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(map(repr, SOLVERS))}, got {name!r}")
    return SOLVERS[name]


def solve(problem: Problem, solver: str, init: tuple[Array, Array] | None, seed: int, budget: int) -> Solution:
    """Run one solver on one instance; the result is never worse than `init`."""
    result = get_solver(solver)(problem, init=init, rng=np.random.default_rng(seed), budget=budget)
    if init is not None:
        start = make_solution(problem, *init)
        if start.objective < result.objective:
            return Solution(start.node_labels, start.edge_labels, start.clusters, start.objective, result.lower_bound)
    return result
