"""A gradient check for solvers: the black-box gradient against the slope of the interpolated loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._sums import inner, norm
from .batch import detached
from .call import Call
from .differences import Arrays, Point
from .estimators import Blackbox
from .interfaces import as_estimator
from .oracle import Job
from .wrapping import Differentiable, perturbed_grad


def gradcheck(
    solver: Any,
    /,
    *costs: Any,
    estimator: Any = None,
    grads: Any = None,
    directions: int = 8,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    generator: torch.Generator | None = None,
    raise_exception: bool = True,
    **data: Any,
) -> bool:
    """Check a solver's gradient against finite differences of its value function.

    For the linear loss L = <g, w> and V(c) = min_w <c, w>, black-box interpolation, central differences and LPGD
    without ρ are the exact gradients of sums of V(c + λ g): V is what a solver returns, and its derivative is its
    solution. A failure says that the solver is not exact (it found a solution that another of its own beats), that its
    objective is not <c, w>, that it maximises, or that the estimator is wrong. A solver that maximises, or that adds
    something to <c, w> itself, is wrapped with ``maximize=True``, `known_costs` or `value` first.

    Parameters
    ----------
    solver : callable or the result of `perturbed_grad`
        As in :func:`perturbed_grad`; its costs are checked in float64.
    *costs : tensors or arrays
        One instance or a batch.
    estimator : Blackbox, CentralDifference or LPGD, optional
        With fixed scales. By default ``Blackbox([0.1, 1, 10])``, or that of a wrapped `solver`, whose own default has
        relative scales and is refused.
    grads : tensors, optional
        The upstream gradient g, one for each cost; normal noise by default.
    directions : int
        Random directions along which derivatives are compared.
    eps, atol, rtol : float
        Step of the differences, relative to the norm of the costs, and what slopes may differ by: `rtol` times the
        slope plus `atol` times the mean of 1/λ.
    generator : torch.Generator, optional
        Of g and of the directions; always the same by default.
    raise_exception : bool
        Whether a failure raises or returns False.

    Returns
    -------
    bool

    Raises
    ------
    GradcheckError
        If the check fails; the message says how.
    TypeError, ValueError
        If the scales of the estimator are not fixed, an upstream gradient is not finite, or `directions`, `eps`, `atol`
        or `rtol` compare nothing.
    """
    _check_tolerances(directions, eps, atol, rtol)
    rng = generator if generator is not None else torch.Generator().manual_seed(_SEED)
    f = (
        solver
        if isinstance(solver, Differentiable)
        else perturbed_grad(solver, estimator=estimator or Blackbox(_SCALES))
    )
    if f.options.normalize or not f.options.radial:
        raise TypeError("gradcheck compares whole gradients: it takes no normalize=True and no radial=False")
    points = as_estimator(estimator or f.estimator).exact_points()
    leaves = [_on_host(c, f"costs[{i}]").clone().requires_grad_() for i, c in enumerate(costs)]
    outputs, call = Differentiable(solver, f.options, estimator or f.estimator).solved(*leaves, **data)
    solutions = outputs[: len(leaves)]
    if grads is None:
        grads = [torch.randn(w.shape, generator=rng, dtype=w.dtype) for w in solutions]
    given = grads if isinstance(grads, (tuple, list)) else [grads]
    upstream = [_on_host(g, "grads") for g in given]
    if not all(bool(g.isfinite().all()) for g in upstream):
        raise ValueError("grads must be finite, got NaN or infinity")
    found = torch.autograd.grad(solutions, leaves, upstream, allow_unused=True)
    gradients = [torch.zeros_like(c) if g is None else g for g, c in zip(found, leaves, strict=True)]
    check = _Check(call, points, directions, eps, atol, rtol, rng)
    problem = check.first_problem(leaves, upstream, gradients)
    if problem and raise_exception:
        raise GradcheckError(problem)
    return not problem


def _on_host(given: Any, name: str) -> torch.Tensor:
    """A tensor or an array as float64 on the CPU, where the differences are taken."""
    return detached(given, name).cpu().double()


def _check_tolerances(directions: Any, eps: Any, atol: Any, rtol: Any) -> None:
    """Raise an error for what no slope could fail by."""
    if not isinstance(directions, (int, np.integer)) or directions < 1:
        raise ValueError(f"directions must be a positive integer, got {directions!r}")
    for name, value in (("eps", eps), ("atol", atol), ("rtol", rtol)):
        if not isinstance(value, (int, float, np.integer, np.floating)):
            raise TypeError(f"{name} must be a number, got {value!r:.80}")
        if not (np.isfinite(value) and (value > 0 or (value == 0 and name != "eps"))):
            raise ValueError(
                f"{name} must be finite and {'positive' if name == 'eps' else 'not negative'}, got {value!r}"
            )


class GradcheckError(RuntimeError):
    """A gradient check failed."""


_SCALES = (0.1, 1.0, 10.0)
_SEED = 20_211_206  # g must not be the noise that a user's costs are drawn from: c - g = 0 has no solution of its own


@dataclass(frozen=True)
class _Check:
    """The gradient of V's interpolation at some points against its finite differences."""

    call: Call
    points: list[Point]
    directions: int
    eps: float
    atol: float
    rtol: float
    rng: torch.Generator

    def first_problem(self, costs: Any, grads: Any, gradients: Any) -> str:
        """Say what is wrong with the first instance where something is, or return an empty string."""
        batched = self.call.batch.batched
        sign = -1 if self.call.oracle.solver.maximize else 1  # estimators see minimisation

        def part(tensors: Any, b: int, sign: int = 1) -> Arrays:
            return tuple(sign * (t[b] if batched else t).detach().numpy() for t in tensors)

        for b, instance in enumerate(self.call.instances):
            g = part(grads, b)
            g = tuple(x[tuple(slice(n) for n in w.shape)] for x, w in zip(g, instance.solutions, strict=True))
            c, gradient = part(costs, b, sign), part(gradients, b, sign)
            problem = self._not_exact(b, c, g) or self._wrong_slope(b, c, g, gradient)
            if problem:
                return f"instance {b}: {problem}"
        return ""

    def _not_exact(self, b: int, c: Arrays, g: Arrays) -> str:
        """Whether one of the solver's own solutions beats another for the other's costs."""
        instance = self.call.instances[b]
        where = self._places(b, c, g)
        for _ in range(self.directions):  # other costs of the same size: the more there are, the fewer errors hide
            where += self._places(b, c, self._shuffled(g))[:-1]
        found = self._solve(b, where)
        for number, costs in enumerate(where):
            own = instance.objective(costs, found[number])
            best = min(instance.objective(costs, w) for w in found)
            if best < own - 1e-9 * (norm(costs) + abs(own)):
                return (
                    f"the solver is not exact, or does not minimise <c, w>: a solution that it found for "
                    f"other costs has {best:.6g} for costs for which it returned one of {own:.6g}"
                )
        return ""

    def _wrong_slope(self, b: int, c: Arrays, g: Arrays, gradient: Arrays) -> str:
        """Whether the gradient differs from a finite difference in a random direction."""
        step = self.eps * (norm(c) or 1.0)
        for _ in range(self.directions):
            v = tuple(torch.randn(x.shape, generator=self.rng, dtype=torch.float64).numpy() for x in c)
            ahead = self._value(b, tuple(x + step * y for x, y in zip(c, v, strict=True)), g)
            behind = self._value(b, tuple(x - step * y for x, y in zip(c, v, strict=True)), g)
            slope, expected = (ahead - behind) / (2 * step), inner(gradient, v)
            tolerance = self.atol * sum(abs(p.weight) for p in self.points) + self.rtol * abs(slope)
            if not abs(slope - expected) <= tolerance:
                return (
                    f"the estimated gradient has slope {expected:.6g} in a direction in which the "
                    f"interpolated loss has {slope:.6g} (finite differences, step {step:.1g})"
                )
        return ""

    def _shuffled(self, g: Arrays) -> Arrays:
        """The entries of an upstream gradient in another order: as large, and as positive, as the user's own."""
        orders = [torch.randperm(x.size, generator=self.rng).numpy() for x in g]
        return tuple(x.ravel()[order].reshape(x.shape) for x, order in zip(g, orders, strict=True))

    def _value(self, b: int, c: Arrays, g: Arrays) -> float:
        """The interpolated loss: the sum over the points of weight * [V(point) - V(c)]."""
        instance, where = self.call.instances[b], self._places(b, c, g)
        *there, here = (instance.objective(a, w) for a, w in zip(where, self._solve(b, where), strict=True))
        return float(sum(p.weight * (v - here) for p, v in zip(self.points, there, strict=True)))

    def _places(self, b: int, c: Arrays, g: Arrays) -> list[Arrays]:
        """The costs at all points, and the costs themselves, in the lifted space."""
        lift = self.call.instances[b].lift
        lifted = c if lift is None else lift.costs(c)
        scales = (*(p.scale for p in self.points), 0.0)
        return [tuple(x + scale * y for x, y in zip(lifted, g, strict=True)) for scale in scales]

    def _solve(self, b: int, where: list[Arrays]) -> list[Arrays]:
        # A solver may work in place on what it is given.
        jobs = [Job(b, lambda c=c: tuple(x.copy() for x in c)) for c in where]  # type: ignore[misc]
        return list(self.call.oracle.solve_many(jobs))
