"""The solver as an estimator sees it: instances with costs and solutions, and a way to solve more of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from .._arrays import Array
from .._implicit import explicit
from .._sums import dominating, inner, norm
from ..linear_solver import Differences
from .calling import WrappedSolver
from .parallel import Task, solve_all


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
    warm_differences : callable, optional
        ``f(grads, scales, weights)``: the solver's own way to the sum over scales λ of weight * [W(c + λ g) - W(c)]
        from the forward solution, in the space of the own costs; see :class:`diffcomb.LinearSolver`.
    scale : float
        What the own costs have been divided by.
    allowed : tuple of bool arrays or None, optional
        Which entries of the own costs a solution may have; None where all are.
    known : tuple of arrays, optional
        Costs that the solver adds to the own ones.
    constant_part : callable, optional
        f(w), where the solver minimises <c, w> + f(w) and f is no sum of known costs.
    labelled : tuple of bool arrays or None, optional
        Which entries of a loss' target are known; None where all are.
    apart : dict
        Keyword data of a loss that the solver does not take.
    """

    own_costs: tuple[Array, ...]
    solutions: tuple[Array, ...]
    auxiliary: tuple[Any, ...]
    data: dict[str, Any]
    lift: Any = None
    warm_differences: Differences | None = None
    scale: float = 1.0
    allowed: tuple[Array | None, ...] | None = None
    known: tuple[Array, ...] | None = None
    constant_part: Callable[[tuple[Array, ...]], float] | None = None
    labelled: tuple[Array | None, ...] | None = None
    apart: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def costs(self) -> tuple[Array, ...]:
        """The costs in the lifted space; made when they are first asked for."""
        costs: tuple[Array, ...] = self.own_costs if self.lift is None else self.lift.costs(self.own_costs)
        return costs

    @property
    def described_costs(self) -> tuple[Any, ...]:
        """The same, not kept, and only described where the lift can do that."""
        return self.costs if self.lift is None else self.lift.described_costs(self.own_costs)

    @cached_property
    def ordinary(self) -> tuple[Array, ...]:
        """The own costs, with known ones, and 0 for entries that are forbidden or dominate as constants for those do.

        Norms are taken of these: they do not depend on how large such constants are.
        """
        costs = self.own_costs
        if self.known is not None:
            costs = tuple(c + d for c, d in zip(costs, self.known, strict=True))
        masks = self.allowed or (None,) * len(costs)
        return tuple(_without_constants(c, m) for c, m in zip(costs, masks, strict=True))

    @cached_property
    def allowed_lifted(self) -> tuple[Array | None, ...]:
        """`allowed` in the lifted space."""
        return self._lifted(self.allowed)

    @cached_property
    def labelled_lifted(self) -> tuple[Array | None, ...]:
        """`labelled` in the lifted space."""
        return self._lifted(self.labelled)

    def _lifted(self, masks: tuple[Array | None, ...] | None) -> tuple[Array | None, ...]:
        if self.lift is None or masks is None:
            return masks or (None,) * len(self.own_costs)
        whole = [np.ones(c.shape) if m is None else m.astype(float) for c, m in zip(self.own_costs, masks, strict=True)]
        return tuple(m > 0 for m in self.lift.costs(tuple(whole)))

    def objective(self, costs: tuple[Array, ...], solutions: tuple[Array, ...]) -> float:
        """What the solver minimises, in the lifted space: <c, w>, and what it adds itself."""
        return inner(costs, solutions) + self.known_value(solutions)

    def known_value(self, solutions: tuple[Array, ...]) -> float:
        """What the solver adds to <c, w> itself."""
        if self.known is not None:
            return inner(self.known, solutions)
        return 0.0 if self.constant_part is None else self.constant_part(explicit(solutions))

    def pull_back(self, gradients: tuple[Any, ...]) -> tuple[Array, ...]:
        """Carry gradients with respect to `costs`, which may be only described, to gradients of `own_costs`."""
        pulled: tuple[Array, ...] = (
            explicit(gradients) if self.lift is None else self.lift.pull_back_described(gradients)
        )
        return pulled

    @cached_property
    def cost_norm(self) -> float:
        """The norm of the ordinary costs in the lifted space."""
        return norm(self.ordinary) if self.lift is None else float(self.lift.cost_norm(self.ordinary))

    def differences(self, grads: tuple[Array, ...], scales: Array, weights: Array) -> tuple[Array, ...]:
        """Weighted differences of warm-started solves, by the solver itself; see `warm_differences`."""
        assert self.warm_differences is not None
        return self.warm_differences(grads, scales * self.scale, weights)

    def scaled(self, scale: float) -> Instance:
        """Return the instance with costs divided by `scale`."""
        costs = tuple(np.divide(c, scale, dtype=np.float64).astype(c.dtype) for c in self.own_costs)
        return replace(self, own_costs=costs, scale=self.scale * scale)


def keep(arrays: tuple[Array, ...], masks: tuple[Array | None, ...]) -> tuple[Array, ...]:
    """Arrays with zeros where a mask is False."""
    return tuple(a if m is None else np.where(m, a, a.dtype.type(0)) for a, m in zip(arrays, masks, strict=True))


def _without_constants(costs: Array, mask: Array | None) -> Array:
    if mask is None:
        limit = dominating(costs)
        if limit == np.inf:
            return costs
        mask = np.abs(costs) < limit
    return keep((costs,), (mask,))[0]


@dataclass
class Job:
    """A solve to be done: which instance, a function that makes its costs (called in the thread), which start."""

    instance: int
    costs: Callable[[], tuple[Array, ...]]
    warm: bool = False


class Oracle:
    """What an estimator may ask: the instances of a batch, and solutions for other costs of theirs."""

    def __init__(self, solver: WrappedSolver, instances: list[Instance]) -> None:
        self.solver = solver
        self.instances = instances
        self.memory: Any = None  # what an estimator's forward pass leaves for its backward pass

    def solve_many(self, jobs: list[Job]) -> Iterator[tuple[Array, ...]]:
        """Solve all jobs, in parallel where that is allowed, or in one call of a vectorized solver; in order."""
        return map(explicit, self.solve_described(jobs))

    def solve_described(self, jobs: list[Job]) -> Iterator[tuple[Any, ...]]:
        """The same; one-hot solutions may be only described."""
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
        data = self.solver.adapter.perturbed_data(instance.data)
        if job.warm:
            init = (*instance.solutions, *instance.auxiliary)
            if not self.solver.adapter.trusted:  # it may improve in place what it is given
                init = tuple(w.copy() if isinstance(w, np.ndarray) else w for w in init)
            data = {**data, "init": init}
        return Task(job.costs, [w.shape for w in instance.solutions], data, job.instance, len(self.instances), True)

    def _solve_stacked(self, jobs: list[Job]) -> Iterator[tuple[Array, ...]]:
        if any(job.warm for job in jobs):
            raise ValueError("a vectorized solver cannot be warm-started; use start='cold'")
        costs = tuple(np.stack(parts) for parts in zip(*(job.costs() for job in jobs), strict=True))
        solutions, _ = self.solver(costs, self.instances[0].data, alone=True)
        return iter(list(zip(*solutions, strict=True)))
