"""A solver of the user's: it is given a copy of its start, and what it returns is checked and made feasible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .._arrays import Array
from ..problem import Solution
from .budget import Budget


class Task(NamedTuple):
    """What a solver is asked.

    Attributes
    ----------
    problem : Problem or LiftedProblem
    nodes, classes : int
        How many it has.
    make : callable
        Makes a feasible solution of classes and clusters.
    kind : type
        Of the solution.
    maker : str
        What users call to make one.
    """

    problem: Any
    nodes: int
    classes: int
    make: Callable[[Array, Array], Any]
    kind: type[Solution]
    maker: str


def solve_with(
    solver: Callable[..., Any], task: Task, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget
) -> Any:
    """The feasible solution of the classes and clusters that a solver returns, with its own objective.

    Raises
    ------
    TypeError, ValueError
        If it returns anything but a solution of its problem; the message names the solver.
    """
    start = None if init is None else (init[0].copy(), init[1].copy())  # it may work in place on what it is given
    found = solver(task.problem, init=start, rng=rng, budget=budget)
    name = getattr(solver, "__name__", type(solver).__name__)
    if not isinstance(found, task.kind):
        raise TypeError(
            f"solver {name} must return a {task.kind.__name__}, got {type(found).__name__}; {task.maker} makes one"
        )
    for field in ("node_labels", "clusters"):
        array = getattr(found, field)
        if not isinstance(array, np.ndarray) or array.shape != (task.nodes,) or array.dtype.kind not in "iu":
            raise ValueError(
                f"solver {name} must return {field} as an integer array of shape {(task.nodes,)}, got {array!r:.80}"
            )
    labels = found.node_labels
    if len(labels) and not 0 <= labels.min() <= labels.max() < task.classes:
        raise ValueError(f"solver {name} must return node_labels in 0..{task.classes - 1}, got {labels!r:.80}")
    solution, bound = task.make(labels.copy(), found.clusters), found.lower_bound  # it may write to them again
    return solution if bound is None else replace(solution, lower_bound=min(bound, solution.objective))
