"""The solver as an estimator sees it: instances with costs and solutions, and a way to solve more of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
import torch

from .._arrays import Array, is_tensor, to_numpy
from .._threads import thread_imap


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


class Solver:
    """A user's callable with its conventions: which arrays it takes, and whether it takes a batch axis itself."""

    def __init__(self, function: Callable[..., Any], name: str, arrays: str, vectorized: bool) -> None:
        self.function = function
        self.name = name
        self.arrays = arrays
        self.vectorized = vectorized
        self.own = hasattr(function, "cost_ndims")  # a solver of this package

    def __call__(self, costs: tuple[Array, ...], data: dict[str, Any]) -> tuple[tuple[Array, ...], tuple[Any, ...]]:
        """Call the solver; returns (solutions of the costs' shapes and dtypes, auxiliary outputs).

        Raises
        ------
        ValueError
            If the solver returns fewer outputs than there are costs, or one of another shape, or not finite.
        """
        arguments = [torch.from_numpy(c) for c in costs] if self.arrays == "torch" else costs
        try:
            returned = self.function(*arguments, **data)
        except Exception as error:
            kind = "numpy arrays" if self.arrays == "numpy" else "torch tensors"
            shapes = ", ".join(str(c.shape) for c in costs)
            if not self.own:
                error.add_note(
                    f"perturbed_grad called {self.name} with {kind} of shape {shapes}; "
                    f"arrays='numpy' | 'torch', cost_ndims= and vectorized= change how it is called"
                )
            raise
        outputs = tuple(returned) if isinstance(returned, (tuple, list)) else (returned,)
        if len(outputs) < len(costs):
            raise ValueError(
                f"{self.name} must return one solution for each of its {len(costs)} costs, got {len(outputs)} output(s)"
            )
        solutions = []
        for number, (output, cost) in enumerate(zip(outputs, costs, strict=False)):
            solution = to_numpy(output)
            if solution.dtype.kind not in "fiub":
                raise TypeError(
                    f"{self.name} must return numeric solutions, got dtype {solution.dtype} in output {number}"
                )
            if solution.shape != cost.shape:
                raise ValueError(
                    f"{self.name} must return solutions of the shapes of its costs: "
                    f"expected {cost.shape} for output {number}, got {solution.shape}"
                )
            solution = solution.astype(cost.dtype, order="C", copy=not self.own)
            if not self.own and not np.isfinite(solution).all():
                raise ValueError(f"{self.name} returned NaN or infinity in solution {number}")
            solutions.append(solution)
        auxiliary = tuple(to_numpy(a) if is_tensor(a) else a for a in outputs[len(costs) :])
        return tuple(solutions), auxiliary


class Oracle:
    """What an estimator may ask: the instances of a batch, and solutions for other costs of theirs."""

    def __init__(self, solver: Solver, instances: list[Instance]) -> None:
        self.solver = solver
        self.instances = instances
        self.memory: Any = None  # what an estimator's forward pass leaves for its backward pass

    def solve_many(self, jobs: list[Job]) -> Iterator[tuple[Array, ...]]:
        """Solve all jobs in parallel threads, or in one call of a vectorized solver; solutions come in order."""
        if not jobs:
            return iter(())
        if self.solver.vectorized:
            return self._solve_stacked(jobs)
        return thread_imap(self._solve_one, jobs)

    def solve_each(
        self, costs: Callable[[int], tuple[Array, ...]], instances: Iterable[int] | None = None
    ) -> Iterator[tuple[Array, ...]]:
        """Solve each instance (or each of those numbers) once, at the costs ``costs(b)``."""
        numbers = range(len(self.instances)) if instances is None else instances
        return self.solve_many([Job(b, partial(costs, b)) for b in numbers])

    def _solve_one(self, job: Job) -> tuple[Array, ...]:
        instance = self.instances[job.instance]
        data = instance.data
        if self.solver.own and "init" in data:  # meant for the forward solve, in its space
            data = {key: value for key, value in data.items() if key != "init"}
        if job.warm:
            data = {**data, "init": (*instance.solutions, *instance.auxiliary)}
        return self.solver(job.costs(), data)[0]

    def _solve_stacked(self, jobs: list[Job]) -> Iterator[tuple[Array, ...]]:
        if any(job.warm for job in jobs):
            raise ValueError("a vectorized solver cannot be warm-started; use start='cold'")
        costs = tuple(np.stack(parts) for parts in zip(*(job.costs() for job in jobs), strict=True))
        solutions, _ = self.solver(costs, self.instances[0].data)
        return iter(list(zip(*solutions, strict=True)))
