"""``diagnose``: which scales λ give a useful gradient for a solver, its costs and a loss."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._arrays import Array, all_finite, is_tensor
from .._implicit import explicit
from .._sums import inner, norm
from .batch import detached
from .differences import Arrays, Point, check_start, costs_at
from .estimators import Blackbox
from .oracle import Instance, Job, keep
from .schedules import Fixed
from .wrapping import Differentiable, perturbed_grad

COLUMNS = {
    "scale": "λ, relative",
    "unchanged": "unchanged",
    "uphill": "uphill",
    "inversions": "inversions",
    "nonzeros": "non-zeros",
    "radial": "radial",
    "agreement": "agreement",
    "milliseconds": "ms a solve",
}


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found; printing it prints the table.

    Attributes
    ----------
    scale : float array, shape (N,)
        Relative scales α; instance b was perturbed with λ = α ‖c_b‖ / ‖g_b‖.
    unchanged : float array, shape (N,)
        Share of instances whose perturbed solution is the forward one: they give no gradient. Near 1, λ is too small.
    uphill : float array, shape (N,)
        Share of instances with <g, W(c + λ g) - W(c)> > 0. An exact solver has none; a heuristic's are noise.
    inversions : float array, shape (N,)
        Share of instances whose perturbed solution is better than the forward one for the *unperturbed* costs. What the
        solver adds to <c, w> itself counts if the wrapper names it (`known_costs`, `value`).
    nonzeros : float array, shape (N,)
        Mean number of entries of an instance's gradient that are not zero.
    radial : float array, shape (N,)
        Mean of <c, ∇> / (‖c‖ ‖∇‖) over instances that changed: the part of the step that only scales the costs. The
        true derivative is 0; black-box interpolation with an exact solver gives no negative value.
    agreement : float array, shape (N,)
        Mean cosine of an instance's gradient with that at the next smaller scale; near 1 the scales say the same.
    milliseconds : float array, shape (N,)
        Time of a perturbed solve.
    count : int
        Instances with a gradient that is not zero.
    """

    scale: Array
    unchanged: Array
    uphill: Array
    inversions: Array
    nonzeros: Array
    radial: Array
    agreement: Array
    milliseconds: Array
    count: int

    def __str__(self) -> str:
        rows = [list(COLUMNS.values())]
        for n in range(len(self.scale)):
            row = [f"{self.scale[n]:.3g}"]
            row += [f"{100 * getattr(self, name)[n]:.0f} %" for name in ("unchanged", "uphill", "inversions")]
            row += [f"{self.nonzeros[n]:.4g}", f"{self.radial[n]:.3f}", f"{self.agreement[n]:.2f}"]
            rows.append([*row, f"{self.milliseconds[n]:.3g}"])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([*lines, f"({self.count} instances with a gradient; λ = α ‖c‖ / ‖g‖)"])

    def plot(self) -> Any:
        """Draw shares and non-zeros over the scales; returns a matplotlib figure (extra ``examples``)."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 5), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True)
        for name in ("unchanged", "uphill", "inversions"):
            top.plot(self.scale, 100 * getattr(self, name), marker="o", label=name)
        top.set(ylabel="instances, %", xscale="log", ylim=(-5, 105))
        top.legend()
        bottom.plot(self.scale, self.nonzeros, marker="o", color="black", label="non-zeros")
        bottom.set(xlabel="λ ‖g‖ / ‖c‖", ylabel="non-zeros an instance")
        twin = bottom.twinx()
        twin.plot(self.scale, self.radial, marker="s", color="tab:red", label="radial share")
        twin.set(ylabel="<c, ∇> / (‖c‖ ‖∇‖)")
        return figure


def diagnose(
    solver: Any,
    /,
    *costs: Any,
    grads: Any,
    scales: float | Sequence[float] | None = None,
    start: str = "cold",
    verbose: bool = True,
    **data: Any,
) -> Diagnosis:
    """Sweep the scale λ of black-box interpolation on your costs and upstream gradients, and print a table.

    Parameters
    ----------
    solver : callable or the result of `perturbed_grad`
        As in :func:`perturbed_grad`.
    *costs : tensors or arrays
        One instance or, better, a batch.
    grads : tensor, sequence of tensors, or callable
        The upstream gradient g = dL/dw, one for each cost; or a function of the solver's outputs that returns the loss.
    scales : float or sequence of float, optional
        Relative scales α, λ = α ‖c‖ / ‖g‖ for each instance; 13 from 1e-3 to 1e3 by default.
    start : {"cold", "warm"}
        Where perturbed solves start, as in :class:`Blackbox`.
    verbose : bool
        Whether to print the table.

    Returns
    -------
    Diagnosis
        Whose ``plot()`` returns a figure.

    Raises
    ------
    ValueError
        If a scale is not positive, or the upstream gradient is zero everywhere.
    """
    alphas = np.geomspace(1e-3, 1e3, 13) if scales is None else np.sort(_positive(scales))
    if check_start(start) not in ("cold", "warm"):
        raise ValueError(f"start must be 'cold' or 'warm', got {start!r}")
    f = solver if isinstance(solver, Differentiable) else perturbed_grad(solver)
    f = Differentiable(solver, f.options, Blackbox(1.0))
    leaves = [detached(c, f"costs[{i}]").clone().requires_grad_() for i, c in enumerate(costs)]
    outputs, call = f.solved(*leaves, **data)
    for instance in call.instances:
        instance.solutions = explicit(instance.solutions)
    upstream = call.batch.upstream(_upstream(outputs, grads, len(leaves)), call.instances)
    upstream = [keep(g, i.allowed_lifted) for g, i in zip(upstream, call.instances, strict=True)]
    if not all(all_finite(part) for g in upstream for part in g):
        raise ValueError("grads must be finite, got NaN or infinity")
    together = enumerate(zip(call.instances, upstream, strict=True))
    pairs = [(b, i, g, (i.cost_norm or 1.0) / norm(g)) for b, (i, g) in together if norm(g) > 0]
    if not pairs:
        raise ValueError(f"grads must not be zero for every instance; there are {len(upstream)}")
    rows, before = [], [None] * len(pairs)
    for alpha in alphas:
        row, before = _sweep(call.oracle, pairs, float(alpha), start, before)
        rows.append(row)
    names = [name for name in COLUMNS if name != "scale"]
    found = Diagnosis(alphas, count=len(pairs), **dict(zip(names, np.array(rows).T, strict=True)))
    if verbose:
        print(found)
    return found


def _upstream(outputs: tuple[Any, ...], grads: Any, count: int) -> list[Any]:
    if callable(grads):
        leaves = [w.detach().requires_grad_() for w in outputs[:count]]
        with torch.enable_grad():
            loss = grads(*leaves, *outputs[count:])
            if not is_tensor(loss) or not loss.requires_grad or loss.numel() != 1:
                raise ValueError(f"grads must return a loss, a scalar that depends on the solutions, got {loss!r}")
            return list(torch.autograd.grad(loss, leaves, allow_unused=True))
    parts = list(grads) if isinstance(grads, (tuple, list)) else [grads]
    if len(parts) != count:
        raise ValueError(f"grads must hold one tensor for each of the {count} costs, got {len(parts)}")
    tensors = [None if g is None else detached(g, f"grads[{i}]") for i, g in enumerate(parts)]
    for number, (g, w) in enumerate(zip(tensors, outputs, strict=False)):
        if g is not None and g.shape != w.shape:
            raise ValueError(f"grads[{number}] must have shape {tuple(w.shape)}, got {tuple(g.shape)}")
    return tensors


def _sweep(
    oracle: Any, pairs: list[tuple[int, Instance, Arrays, float]], alpha: float, start: str, before: list[Any]
) -> tuple[list[float], list[Any]]:
    """One row of the table, and the differences of every instance."""
    points = [Point(alpha * ratio, 1.0) for *_, ratio in pairs]
    jobs = [
        Job(b, lambda i=i, g=g, p=p: costs_at(i.costs, g, p), warm=start == "warm")  # type: ignore[misc]
        for (b, i, g, _), p in zip(pairs, points, strict=True)
    ]
    began = time.perf_counter()
    found = list(oracle.solve_many(jobs))
    spent = time.perf_counter() - began
    stats, differences = [], []
    for (_, instance, g, _), w, last in zip(pairs, found, before, strict=True):
        difference = tuple(a - b for a, b in zip(w, instance.solutions, strict=True))
        uphill, along = inner(g, difference), inner(instance.costs, difference)
        here = instance.objective(instance.costs, instance.solutions)
        change = instance.objective(instance.costs, w) - here
        noise = 1e-6 * (norm(instance.costs) + abs(here))
        length, before_length = norm(difference), norm(last) if last is not None else 0.0
        radial = along / (norm(instance.costs) * length) if length else np.nan
        same = inner(difference, last) / (length * before_length) if length and before_length else np.nan
        nonzeros = sum(np.count_nonzero(part) for part in difference)
        stats.append((length == 0, uphill > 1e-6 * norm(g) * length, change < -noise, nonzeros, radial, same))
        differences.append(difference)
    columns = np.array(stats, np.float64).T
    means = [float(np.nanmean(c)) if np.isfinite(c).any() else np.nan for c in columns]
    return [*means, 1000 * spent / len(pairs)], differences


def _positive(scales: Any) -> tuple[float, ...]:
    try:
        return Fixed(scales).values
    except (TypeError, ValueError) as error:
        raise ValueError(f"scales must be positive numbers, got {scales!r:.80}") from error
