"""Weighted differences of perturbed solutions: what most estimators are made of.

An estimator names points c + λ g + shift and their weights; here they are solved, all instances and all points in
one threaded pass, and the differences W(point) - W(c) are added up. How the solves start, and whether the solutions
found are pooled, is common to all estimators of this kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch

from .._arrays import Array
from .._implicit import LabelDifferences, OneHot
from .._sums import inner, norm
from .fused import add_difference, perturbed
from .interfaces import Schedule
from .oracle import Instance, Job, Oracle
from .parallel import run_all

STARTS = ("auto", "cold", "warm", "best")
Arrays = tuple[Array, ...]


@dataclass(frozen=True)
class Point:
    """The costs ``c + scale * g + shift()`` of one instance, and the weight of W(there) - W(c) in its gradient.

    The shift is a function, so that noise is drawn from its seed where it is needed instead of being stored. Where
    the solution is known already, no solve is needed.
    """

    scale: float
    weight: float
    shift: Callable[[], Arrays] | None = None
    solution: Arrays | None = None


def check_start(start: str) -> str:
    """Return `start`, or raise a ValueError that lists the choices."""
    if start not in STARTS:
        raise ValueError(f"start must be one of {', '.join(map(repr, STARTS))}, got {start!r}")
    return start


def multi_scale(
    schedule: Schedule,
    points: Callable[[int, Array], list[Point]],
    oracle: Oracle,
    grads: list[Arrays],
    generator: torch.Generator | None,
    start: str,
    repair: bool,
) -> list[Arrays]:
    """Draw scales λ, take the differences at ``points(b, scales)`` of every instance b, tell the schedule of them."""
    scales = sample_scales(schedule, oracle, grads, generator)
    chosen = [points(b, row) for b, row in enumerate(scales)]
    results, changes = weighted_differences(oracle, grads, chosen, start, repair)
    if schedule.observes:
        # Warm differences of the solver itself tell no solutions: one scale counts the same, several are pooled.
        seen = changes if changes is not None else [
            float(sum(np.count_nonzero(part) for part in parts))
            for parts, g in zip(results, grads, strict=True)
            if any(part.any() for part in g)
        ]  # fmt: skip
        if seen:
            schedule.observe(float(np.mean(seen)))
    return results


def sample_scales(schedule: Schedule, oracle: Oracle, grads: list[Arrays], generator: torch.Generator | None) -> Array:
    """Draw the scales λ of every instance, shape (B, N); norms are taken only where the schedule looks at them."""
    if not schedule.relative:
        cost_norms = grad_norms = np.ones(len(grads))
    else:
        cost_norms = np.array([instance.cost_norm for instance in oracle.instances])
        grad_norms = np.array([norm(g) for g in grads])
    scales = np.asarray(schedule.sample(cost_norms, grad_norms, generator))
    if scales.ndim != 2 or len(scales) != len(grads) or not (scales > 0).all() or not np.isfinite(scales).all():
        raise ValueError(
            f"{schedule!r} must draw positive scales of shape (B, N) with B = {len(grads)}, got {scales!r:.80}"
        )
    return scales


def weighted_differences(
    oracle: Oracle, grads: list[Arrays], points: list[list[Point]], start: str = "cold", repair: bool = False
) -> tuple[list[Arrays], list[float] | None]:
    """Return, for every instance, the sum over its points of weight * [W(point) - W(c)], pulled back.

    The second list says, for every instance that was solved, how many entries of its solution a scale changed, on
    average; it is None where the solver itself took the differences.

    Parameters
    ----------
    oracle : Oracle
    grads : list of tuple of arrays
        g of every instance. Where it is zero, nothing is solved and the gradient is zero.
    points : list of list of Point
        Of every instance; all have the same number of them.
    start, repair
        As in :class:`Blackbox`.
    """
    if start == "auto":
        sampled = any(point.solution is not None for row in points for point in row)  # by a cold solve
        start = "warm" if not repair and not sampled and all(i.warm_differences for i in oracle.instances) else "cold"
    if start != "cold":  # both ends of a difference from the same start: two heuristics differ even where λ is 0
        points = [[replace(point, solution=None) for point in row] for row in points]
    if start == "warm" and not repair:
        found = _warm_differences(oracle, grads, points)
        if found is not None:
            return found, None
    starts = ("cold", "warm") if start == "best" else (start,)
    active = [b for b, g in enumerate(grads) if any(part.any() for part in g)]
    jobs = [
        Job(b, partial(_lifted_costs_at, oracle.instances[b], grads[b], point), warm=s == "warm")
        for b in active
        for point in points[b]
        if point.solution is None
        for s in starts
    ]
    solutions = oracle.solve_described(jobs)
    results = [tuple(np.zeros_like(c) for c in instance.own_costs) for instance in oracle.instances]
    changes = []
    for b in active:
        moved = [
            solution
            for point in points[b]
            for solution in (
                islice(solutions, len(starts)) if point.solution is None else [point.solution] * len(starts)
            )
        ]
        results[b], count = _sum_up(oracle.instances[b], grads[b], points[b], moved, repair)
        changes.append(count)
    return results, changes


def _warm_differences(oracle: Oracle, grads: list[Arrays], points: list[list[Point]]) -> list[Arrays] | None:
    """Let the solver itself take the differences, where it can: from the forward solution, at costs c + λ g."""
    if not all(i.warm_differences for i in oracle.instances) or any(p.shift is not None for ps in points for p in ps):
        return None

    def one(b: int) -> Arrays:
        total = None
        for sign in (1, -1):
            chosen = [p for p in points[b] if p.scale * sign > 0]
            if chosen:
                scales, weights = np.array([(p.scale * sign, p.weight) for p in chosen]).T
                grad = grads[b] if sign > 0 else tuple(-g for g in grads[b])
                part = oracle.instances[b].differences(grad, scales, weights)
                total = part if total is None else tuple(a + b for a, b in zip(total, part, strict=True))
        return total or tuple(np.zeros_like(c) for c in oracle.instances[b].own_costs)

    return run_all(oracle.solver, one, range(len(grads)))


def _sum_up(
    instance: Instance, grad: Arrays, points: list[Point], moved: list[tuple[Any, ...]], repair: bool
) -> tuple[Arrays, float]:
    """Add up the differences of one instance; `moved` holds its solutions, point by point."""
    choices = len(moved) // len(points)
    pool = [instance.solutions, *moved]
    picks = 1 + choices * np.arange(len(points))
    reference = 0
    origins: dict[int, int] = {}  # of points with a shift, if not the reference
    if repair or choices > 1:  # <c + λ g, w> = <c, w> + λ <g, w>, so two numbers a solution are enough
        costs = instance.described_costs if isinstance(pool[0][0], OneHot) else instance.costs
        value = np.array([instance.objective(costs, w) for w in pool])
        slope = np.array([inner(grad, w) for w in pool])
        if repair:
            reference = int(value.argmin())
        for number, point in enumerate(points):
            rivals = slice(None) if repair else slice(picks[number], picks[number] + choices)
            total = value[rivals] + point.scale * slope[rivals]
            if point.shift is not None:
                shift = point.shift()
                shifted = [inner(shift, w) for w in pool[rivals]]
                total += shifted
                if repair:  # both ends from the same costs but for λ g, so that their difference never points uphill
                    origins[number] = int((value + shifted).argmin())
            picks[number] = np.arange(len(pool))[rivals][int(total.argmin())]
    sums = tuple(_nothing(parts) for parts in zip(*pool, strict=True))
    for number, (point, pick) in enumerate(zip(points, picks, strict=True)):
        for part, after, before in zip(sums, pool[pick], pool[origins.get(number, reference)], strict=True):
            add_difference(part, after, before, point.weight)
    chosen = [pool[pick] for pick in picks]
    return instance.pull_back(sums), _changes(points, chosen, pool[reference])


def _changes(points: list[Point], solutions: list[Arrays], reference: Arrays) -> float:
    """How many entries a scale changes, on average: against the solution with the same noise, if there is one.

    That is the one of the opposite scale, or of none. Where all scales are negative, they are those that count.
    """
    pairs = list(zip(points, solutions, strict=True))
    sign = 1 if any(p.scale > 0 for p in points) else -1
    base = {(id(p.shift), sign * p.scale): w for p, w in pairs if p.shift is not None and sign * p.scale <= 0}

    def before(point: Point) -> Arrays:
        noise, scale = id(point.shift), sign * point.scale
        return base.get((noise, -scale), base.get((noise, 0.0), reference))

    counts = [sum(_differing(a, b) for a, b in zip(w, before(p), strict=True)) for p, w in pairs if sign * p.scale > 0]
    return float(sum(counts)) / max(len(counts), 1)


def _nothing(solutions: tuple[Any, ...]) -> Any:
    """A sum of differences of these solutions without terms."""
    first = solutions[0]
    if all(isinstance(w, OneHot) for w in solutions):
        return LabelDifferences(first.shape, first.dtype)
    return np.zeros(first.shape, first.dtype)


def _differing(one: Any, other: Any) -> int:
    """How many entries of two solutions differ."""
    if isinstance(one, OneHot) and isinstance(other, OneHot):
        return 2 * int(np.count_nonzero(one.labels != other.labels))
    return int(np.count_nonzero(np.asarray(one) != np.asarray(other)))


def _lifted_costs_at(instance: Instance, grad: Arrays, point: Point) -> Arrays:
    """The costs of a point in the lifted space, made where they are solved for."""
    return costs_at(instance.described_costs, grad, point)


def costs_at(costs: Arrays, grad: Arrays, point: Point) -> Arrays:
    """The costs of a point, in their own dtypes."""
    with np.errstate(over="ignore"):  # what overflows is refused as an infinite cost or gradient
        there = tuple(perturbed(c, g, point.scale) for c, g in zip(costs, grad, strict=True))
        if point.shift is None:
            return there
        return tuple((c + s).astype(c.dtype, copy=False) for c, s in zip(there, point.shift(), strict=True))
