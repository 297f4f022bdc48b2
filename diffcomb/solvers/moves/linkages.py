"""Linkages: what the interaction of two clusters is, and whose turn is first."""

from __future__ import annotations

import numpy as np

from ..._numba import njit

LINKAGES = ("sum", "average", "maximum", "minimum")
SUM, AVERAGE, MAXIMUM, MINIMUM = range(4)


@njit
def priority(cost: float, constrained: bool) -> float:
    """The priority of an interaction; -inf if nothing is to be done about it."""
    if cost > 0:
        return cost
    return -cost if constrained and cost > -np.inf else -np.inf


@njit
def joint(a: float, size_a: float, b: float, size_b: float, linkage: int) -> float:
    """The interaction of two clusters along both of two parallel edges of these costs and sizes.

    A must-link, +inf, and a cannot-link, -inf, stay what they are; the two never meet.
    """
    if np.isinf(a):
        return a
    if np.isinf(b):
        return b
    if linkage == SUM:
        return a + b
    if linkage == AVERAGE:
        return (a * size_a + b * size_b) / (size_a + size_b)
    return max(a, b) if linkage == MAXIMUM else min(a, b)
