"""Negative identity: the solver is not asked again (Sahoo et al., ICLR 2023)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from ..._arrays import Array
from ..differences import Arrays
from ..interfaces import Estimator
from ..oracle import Oracle, keep

PROJECTIONS = ("none", "mean", "norm", "std")


@dataclass(frozen=True)
class NegativeIdentity(Estimator):
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
