"""Black-box interpolation at one or many scales (Vlastelica et al. 2020; COPS eq. 3 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch

from .._arrays import Array
from ._fused import add_difference, perturbed
from .oracle import Instance, Job, Oracle
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
        `init`, no perturbed solution is worse for the perturbed costs than the forward one. "best": both,
        keeping the better for the perturbed costs, at twice the price.
    repair : bool
        Use all solutions found in one backward pass, the forward one among them, as a pool: W(c) is the best
        of the pool for c, and W(c + λ g) the best of it for c + λ g. An exact solver is not affected. With a
        heuristic, <g, W(c + λ g) - W(c)> <= 0 then holds by construction, so the estimate never points
        uphill, and it is exactly 0 once λ is small enough.

    Raises
    ------
    ValueError
        If a scale is not positive, or `start` is unknown.
    """

    lambdas: Schedule
    start: str
    repair: bool

    def __init__(
        self,
        lambdas: Schedule | float | Sequence[float] | None = None,
        *,
        start: str = "cold",
        repair: bool = False,
    ) -> None:
        if start not in STARTS:
            raise ValueError(f"start must be one of {', '.join(map(repr, STARTS))}, got {start!r}")
        object.__setattr__(self, "lambdas", Uniform(1, 5000, 5) if lambdas is None else as_schedule(lambdas))
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "repair", bool(repair))

    def gradients(
        self, oracle: Oracle, grads: list[tuple[Array, ...]], generator: torch.Generator | None
    ) -> list[tuple[Array, ...]]:
        """Return the gradient with respect to the costs of every instance; all solves in one threaded pass.

        An instance whose upstream gradient is zero is not solved again: its gradient is zero.
        """
        instances = oracle.instances
        scales = self.lambdas.sample(
            np.array([_norm(instance.costs) for instance in instances]),
            np.array([_norm(g) for g in grads]),
            generator,
        )
        active = [b for b, g in enumerate(grads) if any(part.any() for part in g)]
        starts = ("cold", "warm") if self.start == "best" else (self.start,)
        jobs = [
            Job(b, partial(_perturbed, instances[b].costs, grads[b], scale), warm=start == "warm")
            for b in active
            for scale in scales[b]
            for start in starts
        ]
        solutions = oracle.solve_many(jobs)
        totals = [tuple(np.zeros(c.shape, c.dtype) for c in instance.costs) for instance in instances]
        for b in active:
            moved = list(islice(solutions, len(scales[b]) * len(starts)))
            self._accumulate(totals[b], instances[b], grads[b], scales[b], moved)
        return totals

    def _accumulate(
        self,
        total: tuple[Array, ...],
        instance: Instance,
        grad: tuple[Array, ...],
        scales: Array,
        moved: list[tuple[Array, ...]],
    ) -> None:
        """Add the mean of the differences of one instance to `total`; `moved` holds its solutions, λ by λ."""
        reference = instance.solutions
        choices = len(moved) // len(scales)
        if self.repair or choices > 1:  # <c + λ g, w> = <c, w> + λ <g, w>, so two numbers a solution are enough
            pool = [reference, *moved]
            value = np.array([_inner(instance.costs, w) for w in pool])
            slope = np.array([_inner(grad, w) for w in pool])
        if self.repair:
            reference = pool[int(value.argmin())]
        for number, scale in enumerate(scales):
            found = moved[number * choices]
            if self.repair or choices > 1:
                rivals = slice(None) if self.repair else slice(1 + number * choices, 1 + (number + 1) * choices)
                found = pool[rivals][int((value + scale * slope)[rivals].argmin())]
            for part, after, before in zip(total, found, reference, strict=True):
                add_difference(part, after, before, 1 / (scale * len(scales)))


def _perturbed(costs: tuple[Array, ...], grad: tuple[Array, ...], scale: float) -> tuple[Array, ...]:
    with np.errstate(over="ignore"):  # what overflows is refused as an infinite cost or gradient
        return tuple(perturbed(c, g, scale) for c, g in zip(costs, grad, strict=True))


def _norm(arrays: tuple[Array, ...]) -> float:
    largest = max((float(np.abs(a).max(initial=0.0)) for a in arrays), default=0.0)
    if largest == 0.0:
        return 0.0
    return largest * float(np.sqrt(sum(np.square(a / largest, dtype=np.float64).sum() for a in arrays)))


def _inner(costs: tuple[Array, ...], solutions: tuple[Array, ...]) -> float:
    return float(sum(np.vdot(c.astype(np.float64, copy=False), w) for c, w in zip(costs, solutions, strict=True)))
