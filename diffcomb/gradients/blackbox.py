"""Black-box interpolation at one or many scales (Vlastelica et al. 2020; COPS eq. 3 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .._arrays import Array
from .oracle import Job, Oracle
from .schedules import Schedule, Uniform, as_schedule

STARTS = ("cold", "warm", "best")


@dataclass(frozen=True)
class Blackbox:
    """Mean over scales λ of [W(c + λ g) - W(c)] / λ, for the solver W, costs c and upstream gradient g.

    With one λ this is the gradient of the piecewise linear interpolation of Vlastelica et al. (ICLR 2020,
    arXiv 1912.02175; COPS eq. 3); the mean over several is COPS eq. 4.

    Parameters
    ----------
    lambdas : schedule, float or sequence of float
        The scales, drawn anew for every instance and backward pass; ``Uniform(1, 5000, 5)`` by default.
    start : {"cold", "warm", "best"}
        Where the perturbed solves start. "cold": from nothing, as in the paper. "warm": from the forward
        solution, which the solver takes as ``init=``; with a solver that never returns anything worse than
        `init`, the difference vanishes as λ does, and no perturbed solution is worse for the perturbed costs
        than the forward one. "best": both, keeping the better for the perturbed costs, at twice the price.

    Raises
    ------
    ValueError
        If a scale is not positive, or `start` is unknown.
    """

    lambdas: Schedule
    start: str

    def __init__(self, lambdas: Schedule | float | Sequence[float] | None = None, *, start: str = "cold") -> None:
        if start not in STARTS:
            raise ValueError(f"start must be one of {', '.join(map(repr, STARTS))}, got {start!r}")
        object.__setattr__(self, "lambdas", Uniform(1, 5000, 5) if lambdas is None else as_schedule(lambdas))
        object.__setattr__(self, "start", start)

    def gradients(
        self, oracle: Oracle, grads: list[tuple[Array, ...]], generator: torch.Generator | None
    ) -> list[tuple[Array, ...]]:
        """Return the gradient with respect to the costs of every instance; all solves in one threaded pass.

        An instance whose upstream gradient is zero is not solved again: its gradient is zero.
        """
        scales = self.lambdas.sample(
            np.array([_norm(instance.costs) for instance in oracle.instances]),
            np.array([_norm(g) for g in grads]),
            generator,
        )
        starts = ("cold", "warm") if self.start == "best" else (self.start,)
        plan = [(b, float(scale)) for b, g in enumerate(grads) if any(part.any() for part in g) for scale in scales[b]]

        def perturbed(b: int, scale: float) -> tuple[Array, ...]:
            return tuple(c + c.dtype.type(scale) * g for c, g in zip(oracle.instances[b].costs, grads[b], strict=True))

        jobs = [
            Job(b, lambda b=b, scale=scale: perturbed(b, scale), warm=start == "warm")  # type: ignore[misc]
            for b, scale in plan
            for start in starts
        ]
        solutions = oracle.solve_many(jobs)
        totals = [tuple(np.zeros_like(c) for c in instance.costs) for instance in oracle.instances]
        for b, scale in plan:
            candidates = [next(solutions) for _ in starts]
            if len(candidates) > 1:
                costs = perturbed(b, scale)
                candidates.sort(key=lambda w: _inner(costs, w))
            weight = 1 / (scale * scales.shape[1])
            for total, moved, start in zip(totals[b], candidates[0], oracle.instances[b].solutions, strict=True):
                total += (moved - start) * weight
        return totals


def _norm(arrays: tuple[Array, ...]) -> float:
    return float(np.sqrt(sum(np.vdot(a, a).astype(np.float64) for a in arrays)))


def _inner(costs: tuple[Array, ...], solutions: tuple[Array, ...]) -> float:
    return float(sum(np.vdot(c, w).astype(np.float64) for c, w in zip(costs, solutions, strict=True)))
