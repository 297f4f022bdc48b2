"""Estimators that do not ask the solver again: negative identity and straight-through."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._arrays import Array, to_numpy
from .differences import Arrays
from .oracle import Oracle, keep
from .schedules import check_positive

PROJECTIONS = ("none", "mean", "norm", "std")


@dataclass(frozen=True)
class NegativeIdentity:
    """-P'(c)^T g: the solver is treated as minus the identity behind a projection P (Sahoo et al., ICLR 2023).

    P says what the solver does not see: W(c) = W(P(c)). Without it, costs drift along those directions. No solves.

    Parameters
    ----------
    projection : {"std", "mean", "norm", "none"}
        "mean": P(c) = c - mean(c), for solutions whose sum is fixed. "norm": c / |c|, as every linear objective
        allows. "std": (c - mean(c)) / std(c), both. "none": P(c) = c. Of several cost tensors each is projected alone.
    axis : int or tuple of int, optional
        Axes of one instance over which means and norms are taken; all by default. ``axis=-1`` for node costs (n, K),
        of which every node's may be shifted.

    References
    ----------
    .. [1] arXiv 2205.15213, section 3.
    """

    projection: str = "std"
    axis: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.projection not in PROJECTIONS:
            raise ValueError(f"projection must be one of {', '.join(map(repr, PROJECTIONS))}, got {self.projection!r}")

    def gradients(self, oracle: Oracle, grads: list[Arrays], generator: torch.Generator | None) -> list[Arrays]:
        """Return the gradient with respect to the costs of every instance."""
        return [
            instance.pull_back(
                tuple(-self._pull_back(*p) for p in zip(instance.costs, grad, instance.allowed_lifted, strict=True))
            )
            for instance, grad in zip(oracle.instances, grads, strict=True)
        ]

    def _pull_back(self, c: Array, g: Array, mask: Array | None) -> Array:
        """P'(c)^T g; constant costs have no direction, so that only the mean is taken out of their gradient.

        Means and norms are those of the allowed entries.
        """
        if self.projection == "none" or not g.size:
            return g
        if mask is not None:
            c, g = keep((c, g), (mask, mask))
        total = functools.partial(np.sum, axis=self.axis, keepdims=True)
        count = np.maximum(total(np.ones(c.shape) if mask is None else mask), 1)

        def centred(x: Array) -> Array:
            return np.asarray(x - total(x) / count if mask is None else np.where(mask, x - total(x) / count, 0))

        if self.projection == "mean":
            return centred(g).astype(g.dtype, copy=False)
        dtype, rounding = g.dtype, 8 * np.finfo(c.dtype).eps  # what is left of costs that are all the same
        largest, exponents = np.frexp(np.abs(c).max(self.axis, keepdims=True).astype(np.float64))
        c, g = np.ldexp(c.astype(np.float64), -exponents), g.astype(np.float64)  # no square overflows or vanishes
        if self.projection == "std":
            c, g = centred(c), centred(g)
        share = count if self.projection == "std" else 1
        length = np.sqrt(total(np.square(c)) / share)
        varies = length > rounding * largest
        length = np.where(varies, length, 1)
        unit = np.where(varies, c / length, 0)
        projected = (g - unit * (total(g * unit) / share)) / length
        with np.errstate(over="ignore", under="ignore"):  # what overflows is refused as an infinite gradient
            return np.asarray(np.ldexp(projected, np.where(varies, -exponents, 0)), dtype)


@dataclass(frozen=True)
class StraightThrough:
    """The gradient of a relaxation r(c) in place of that of W(c) (Bengio et al. 2013, arXiv 1308.3432).

    The forward pass keeps the solver's discrete solution, the backward pass is r'(c)^T g. No solves.

    Parameters
    ----------
    relaxation : callable, optional
        Takes the cost tensors of one instance, returns as many tensors of their shapes, differentiably. By default
        the soft arg-min over the last axis, softmax(-c / temperature).
    temperature : float
        Of the default relaxation.
    """

    relaxation: Callable[..., Any] | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_positive(self.temperature, "temperature")
        if self.relaxation is not None and not callable(self.relaxation):
            raise TypeError(f"relaxation must be callable, got {self.relaxation!r}")

    def gradients(self, oracle: Oracle, grads: list[Arrays], generator: torch.Generator | None) -> list[Arrays]:
        """Return the gradient with respect to the costs of every instance."""
        return [
            instance.pull_back(self._vjp(instance.costs, grad, -1 if oracle.solver.maximize else 1))
            for instance, grad in zip(oracle.instances, grads, strict=True)
        ]

    def _vjp(self, costs: Arrays, grad: Arrays, sign: int) -> Arrays:
        leaves = [torch.from_numpy(c.copy()).requires_grad_() for c in costs]
        with torch.enable_grad():
            if self.relaxation is None:
                relaxed: Any = tuple(torch.softmax(-c / self.temperature, dim=-1) for c in leaves)
            else:
                relaxed = self.relaxation(*(sign * c for c in leaves))
            relaxed = tuple(relaxed) if isinstance(relaxed, (tuple, list)) else (relaxed,)
        for r, c in zip(relaxed, leaves, strict=False):
            if r.shape != c.shape or len(relaxed) != len(leaves):
                expected, shapes = [tuple(c.shape) for c in leaves], [tuple(r.shape) for r in relaxed]
                raise ValueError(f"relaxation must return tensors of the costs' shapes {expected}, got {shapes}")
        upstream = [torch.from_numpy(np.ascontiguousarray(g)) for g in grad]
        found = torch.autograd.grad(relaxed, leaves, upstream, allow_unused=True)
        return tuple(np.zeros_like(c) if f is None else to_numpy(f) for f, c in zip(found, costs, strict=True))
