"""Passes over costs and solutions that a backward pass makes for every perturbed solve, without temporaries."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import Array
from .._implicit import Columns, LabelDifferences, RowTable, as_table, explicit
from .._numba import njit


def perturbed(cost: Array | Columns, grad: Array | RowTable, scale: float) -> Array:
    """Return c + λ g, computed in float64, in the dtype of c; what overflows is infinite."""
    if grad.shape != cost.shape:  # the kernel does not look
        raise ValueError(f"a gradient must have the shape of its costs, {cost.shape}, got {grad.shape}")
    out = np.empty(cost.shape, cost.dtype)
    if isinstance(cost, Columns) or isinstance(grad, RowTable):
        _perturb_table(*as_table(cost), *as_table(grad), scale, out)
        return out
    _perturb(np.ascontiguousarray(cost).reshape(-1), np.ascontiguousarray(grad).reshape(-1), scale, out.reshape(-1))
    return out


def add_difference(total: Array | LabelDifferences, after: Any, before: Any, weight: float) -> None:
    """Add (after - before) * weight to `total`, a C-contiguous array, in place; most entries of both are equal."""
    if isinstance(total, LabelDifferences):
        total.add(after, before, weight)
        return
    after, before = explicit((after, before))
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
def _perturb_table(
    cost: Array, cost_rows: Array, cost_columns: Array, grad: Array, grad_rows: Array, grad_columns: Array,
    scale: float, out: Array,
) -> None:  # fmt: skip
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = cost[cost_rows[i], cost_columns[j]] + scale * grad[grad_rows[i], grad_columns[j]]


@njit
def _add_difference(total: Array, after: Array, before: Array, weight: float) -> None:
    for i in range(len(total)):
        if after[i] != before[i]:
            total[i] += (after[i] - before[i]) * weight
