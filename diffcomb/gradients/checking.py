"""A gradient check for solvers: the black-box gradient against the slope of the interpolated loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .._arrays import is_tensor
from .._sums import inner, norm
from .blackbox import Blackbox
from .differences import Arrays
from .oracle import Instance, Job, Oracle
from .perturbed import Differentiable, perturbed_grad
from .schedules import Fixed


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
        With fixed scales. By default that of `solver`, or else ``Blackbox([0.1, 1, 10])``.
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
    ValueError
        If an upstream gradient is not finite.
    """
    rng = generator if generator is not None else torch.Generator().manual_seed(_SEED)
    f = (
        solver
        if isinstance(solver, Differentiable)
        else perturbed_grad(solver, estimator=estimator or Blackbox(_SCALES))
    )
    used = estimator or f.estimator
    if not hasattr(used, "points") or getattr(used, "rho", None) is not None:
        raise TypeError(f"gradcheck knows Blackbox, CentralDifference and LPGD without rho, got {used!r}")
    if f.options.normalize or not f.options.radial:
        raise TypeError("gradcheck compares whole gradients: it takes no normalize=True and no radial=False")
    schedule = getattr(used, "lambdas", getattr(used, "taus", None))
    if not isinstance(schedule, Fixed):
        raise TypeError(f"gradcheck needs fixed scales, got {schedule!r}")
    leaves = [
        (c.detach() if is_tensor(c) else torch.from_numpy(np.asarray(c))).double().clone().requires_grad_()
        for c in costs
    ]
    checked = Differentiable(solver, f.options, used)
    outputs = checked(*leaves, **data)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    solutions = outputs[: len(leaves)]
    if grads is None:
        grads = [torch.randn(w.shape, generator=rng, dtype=w.dtype) for w in solutions]
    upstream = [g.to(torch.float64) for g in (grads if isinstance(grads, (tuple, list)) else [grads])]
    if not all(bool(g.isfinite().all()) for g in upstream):
        raise ValueError("grads must be finite, got NaN or infinity")
    found = torch.autograd.grad(solutions, leaves, upstream, allow_unused=True)
    gradients = [torch.zeros_like(c) if g is None else g for g, c in zip(found, leaves, strict=True)]
    oracle, batched = _oracle_of(solutions)
    problem = _compare(used, schedule, oracle, batched, leaves, upstream, gradients, directions, eps, atol, rtol, rng)
    if problem and raise_exception:
        raise GradcheckError(problem)
    return not problem


class GradcheckError(RuntimeError):
    """A gradient check failed."""


_SCALES = (0.1, 1.0, 10.0)
_SEED = 20_211_206  # g must not be the noise that a user's costs are drawn from: c - g = 0 has no solution of its own


def _oracle_of(solutions: Any) -> tuple[Oracle, bool]:
    """The oracle that the forward pass left in the autograd graph."""
    run = solutions[0].grad_fn.run
    return run.oracle, run.batch.batched


def _compare(
    estimator: Any, schedule: Fixed, oracle: Oracle, batched: bool, costs: Any, grads: Any, gradients: Any,
    directions: int, eps: float, atol: float, rtol: float, rng: torch.Generator,
) -> str:  # fmt: skip
    """Say what is wrong, or return an empty string."""
    points = estimator.points(np.array(schedule.values))
    sign = -1 if oracle.solver.maximize else 1  # estimators see minimisation

    def part(tensors: Any, b: int, sign: int = 1) -> Arrays:
        return tuple(sign * (t[b] if batched else t).detach().numpy() for t in tensors)

    for b, instance in enumerate(oracle.instances):
        c, g, gradient = part(costs, b, sign), part(grads, b), part(gradients, b, sign)
        g = tuple(x[tuple(slice(n) for n in w.shape)] for x, w in zip(g, instance.solutions, strict=True))

        def at(scale: float, c: Arrays, instance: Instance = instance, g: Arrays = g) -> Arrays:
            lifted = c if instance.lift is None else instance.lift.costs(c)
            return tuple(x + scale * y for x, y in zip(lifted, g, strict=True))

        def value(c: Arrays, b: int = b, at: Any = at, instance: Instance = instance) -> float:
            scales = [p.scale for p in points]
            jobs = [Job(b, lambda s=s: at(s, c)) for s in (*scales, 0.0)]  # type: ignore[misc]
            *there, here = (
                instance.objective(at(s, c), w) for s, w in zip((*scales, 0.0), oracle.solve_many(jobs), strict=True)
            )
            return float(sum(p.weight * (v - here) for p, v in zip(points, there, strict=True)))

        worse = _not_exact(oracle, b, [at(p.scale, c) for p in points] + [at(0.0, c)])
        if worse:
            return worse
        step = eps * (norm(c) or 1.0)
        for _ in range(directions):
            v = tuple(torch.randn(x.shape, generator=rng, dtype=torch.float64).numpy() for x in c)
            ahead = value(tuple(x + step * y for x, y in zip(c, v, strict=True)))
            behind = value(tuple(x - step * y for x, y in zip(c, v, strict=True)))
            slope, expected = (ahead - behind) / (2 * step), inner(gradient, v)
            if abs(slope - expected) > atol * sum(abs(p.weight) for p in points) + rtol * abs(slope):
                return (
                    f"instance {b}: the estimated gradient has slope {expected:.6g} in a direction in which the "
                    f"interpolated loss has {slope:.6g} (finite differences, step {step:.1g})"
                )
    return ""


def _not_exact(oracle: Oracle, b: int, where: list[Arrays]) -> str:
    """Whether one of the solver's own solutions beats another for the other's costs."""
    jobs = [Job(b, lambda c=c: tuple(x.copy() for x in c)) for c in where]  # type: ignore[misc]
    found = list(oracle.solve_many(jobs))
    for number, c in enumerate(where):
        own = oracle.instances[b].objective(c, found[number])
        best = min(oracle.instances[b].objective(c, w) for w in found)
        if best < own - 1e-9 * (norm(c) + abs(own)):
            return (
                f"instance {b}: the solver is not exact, or does not minimise <c, w>: a solution that it found for "
                f"other costs has {best:.6g} for costs for which it returned one of {own:.6g}"
            )
    return ""
