"""The solver as an estimator sees it: instances with costs and solutions, and a way to solve more of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
import torch

from .._arrays import Array
from ._parallel import Task, solve_all
from ._solver import Solver


class Estimator(Protocol):
    """How to differentiate: anything with this method can be the `estimator` of `perturbed_grad`.

    It may have a method ``solutions(oracle, generator)`` as well, which returns the solutions of every instance that
    the forward pass is to return in place of W(c), in the lifted space, or None; it may leave things in
    ``oracle.memory``.
    """

    def gradients(
        self, oracle: Oracle, grads: list[tuple[Array, ...]], generator: torch.Generator | None
    ) -> list[tuple[Array, ...]]:
        """Return dL/dc for every instance of the oracle, given dL/dw.

        dL/dw and ``instance.costs`` lie in the lifted space, if there is a lift; dL/dc is that of the costs that the
        user gave: :meth:`Instance.pull_back` carries it there.
        """
        ...


@dataclass
class Instance:
    """One instance.

    Attributes
    ----------
    own_costs : tuple of arrays
        The costs that the user gave.
    solutions, auxiliary : tuples
        What the forward solve returned, in the lifted space if there is a lift.
    data : dict
        Keyword data of the (lifted) problem.
    lift : BoundLift or similar, optional
    again : callable, optional
        ``again(grads, scales, weights)``: the solver's own way to the sum over scales λ of
        weight * [W(c + λ g) - W(c)] from the forward solution, in the space of the own costs.
    scale : float
        What the own costs have been divided by.
    """

    own_costs: tuple[Array, ...]
    solutions: tuple[Array, ...]
    auxiliary: tuple[Any, ...]
    data: dict[str, Any]
    lift: Any = None
    again: Callable[[tuple[Array, ...], Array, Array], tuple[Array, ...]] | None = None
    scale: float = 1.0

    @cached_property
    def costs(self) -> tuple[Array, ...]:
        """The costs in the lifted space; made when they are first asked for."""
        costs: tuple[Array, ...] = self.own_costs if self.lift is None else self.lift.costs(self.own_costs)
        return costs

    def pull_back(self, gradients: tuple[Array, ...]) -> tuple[Array, ...]:
        """Carry gradients with respect to `costs` to gradients with respect to `own_costs`."""
        pulled: tuple[Array, ...] = gradients if self.lift is None else self.lift.pull_back(gradients)
        return pulled

    @property
    def can_revisit(self) -> bool:
        """Whether :meth:`revisit` may be called."""
        return self.again is not None

    def revisit(self, grads: tuple[Array, ...], scales: Array, weights: Array) -> tuple[Array, ...]:
        """Weighted differences of warm solves, by the solver itself; see `again`."""
        assert self.again is not None
        return self.again(grads, scales * self.scale, weights)

    def scaled(self, scale: float) -> Instance:
        """The same instance with costs divided by `scale`."""
        costs = tuple(np.divide(c, scale, dtype=np.float64).astype(c.dtype) for c in self.own_costs)
        return replace(self, own_costs=costs, scale=self.scale * scale)


@dataclass
class Job:
    """A solve to be done: which instance, a function that makes its costs (called in the thread), which start."""

    instance: int
    costs: Callable[[], tuple[Array, ...]]
    warm: bool = False


class Oracle:
    """What an estimator may ask: the instances of a batch, and solutions for other costs of theirs."""

    def __init__(self, solver: Solver, instances: list[Instance]) -> None:
        self.solver = solver
        self.instances = instances
        self.memory: Any = None  # what an estimator's forward pass leaves for its backward pass

    def solve_many(self, jobs: list[Job]) -> Iterator[tuple[Array, ...]]:
        """Solve all jobs, in parallel where that is allowed, or in one call of a vectorized solver; in order."""
        if not jobs:
            return iter(())
        if self.solver.vectorized:
            return self._solve_stacked(jobs)
        return (solutions for solutions, _ in solve_all(self.solver, [self._task(job) for job in jobs]))

    def solve_each(
        self, costs: Callable[[int], tuple[Array, ...]], instances: Iterable[int] | None = None
    ) -> Iterator[tuple[Array, ...]]:
        """Solve each instance (or each of those numbers) once, at the costs ``costs(b)``."""
        numbers = range(len(self.instances)) if instances is None else instances
        return self.solve_many([Job(b, partial(costs, b)) for b in numbers])

    def _task(self, job: Job) -> Task:
        instance = self.instances[job.instance]
        data = instance.data
        if self.solver.own and "init" in data:  # meant for the forward solve, in its space
            data = {key: value for key, value in data.items() if key != "init"}
        if job.warm:
            data = {**data, "init": (*instance.solutions, *instance.auxiliary)}
        return Task(job.costs, data, job.instance, len(self.instances), True)

    def _solve_stacked(self, jobs: list[Job]) -> Iterator[tuple[Array, ...]]:
        if any(job.warm for job in jobs):
            raise ValueError("a vectorized solver cannot be warm-started; use start='cold'")
        costs = tuple(np.stack(parts) for parts in zip(*(job.costs() for job in jobs), strict=True))
        solutions, _ = self.solver(costs, self.instances[0].data)
        return iter(list(zip(*solutions, strict=True)))
