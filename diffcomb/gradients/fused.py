"""Passes over costs and solutions that a backward pass makes for every perturbed solve, without temporaries."""

from __future__ import annotations

import numpy as np

from .._arrays import Array
from .._numba import njit


def perturbed(cost: Array, grad: Array, scale: float) -> Array:
    """Return c + λ g, computed in float64, in the dtype of c; what overflows is infinite."""
    if grad.shape != cost.shape:  # the kernel does not look
        raise ValueError(f"a gradient must have the shape of its costs, {cost.shape}, got {grad.shape}")
    out = np.empty(cost.shape, cost.dtype)
    _perturb(np.ascontiguousarray(cost).reshape(-1), np.ascontiguousarray(grad).reshape(-1), scale, out.reshape(-1))
    return out


def add_difference(total: Array, after: Array, before: Array, weight: float) -> None:
    """Add (after - before) * weight to `total`, a C-contiguous array, in place; most entries of both are equal."""
    if not total.shape == after.shape == before.shape:
        raise ValueError(f"solutions must have shape {total.shape}, got {after.shape} and {before.shape}")
    _add_difference(
        total.reshape(-1), np.ascontiguousarray(after).reshape(-1), np.ascontiguousarray(before).reshape(-1), weight
    )


@njit
def _perturb(cost: Array, grad: Array, scale: float, out: Array) -> None:
    for i in range(len(cost)):
        out[i] = cost[i] + scale * grad[i]


@njit
def _add_difference(total: Array, after: Array, before: Array, weight: float) -> None:
    for i in range(len(total)):
        if after[i] != before[i]:
            total[i] += (after[i] - before[i]) * weight
