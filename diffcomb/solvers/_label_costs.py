"""Node costs in the two forms that local moving takes, behind one pair of functions.

Plain arrays (n, K); or :class:`LabelCosts`, the perturbed costs of the lifted problem (COPS Algorithm 1, line 1), of
which a local search reads a few entries a node: never made, they cost no memory and no time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from .._arrays import Array
from .._numba import njit, overload


class LabelCosts(NamedTuple):
    """The costs ``base[i, classes[l]] + scale * grad[rows[i], l]`` of node i and label l, in float64.

    ``base_low`` and ``grad_low`` (n,) are the smallest entries of row i of base (n, K) and of row ``rows[i]`` of grad.
    """

    base: Array
    base_low: Array
    classes: Array
    grad: Array
    rows: Array
    grad_low: Array
    scale: float


def cost(costs: Any, i: int, k: int) -> Any:
    """The cost of class (or label) k at node i."""
    if isinstance(costs, LabelCosts):
        return costs.base[i, costs.classes[k]] + costs.scale * costs.grad[costs.rows[i], k]
    return costs[i, k]


def cheapest(costs: Any, best: Array, i: int, limit: float) -> int:
    """The cheapest class (or label) of node i if it costs less than `limit`, else -1.

    `best` holds the cheapest class of every node. Of LabelCosts it is filled when needed: -1 is not known yet.
    """
    if isinstance(costs, LabelCosts):
        return _cheapest_label(costs, best, i, limit)
    return int(best[i]) if costs[i, best[i]] < limit else -1


def lowest(costs: Any, best: Array, i: int) -> Any:
    """What the cheapest class (or label) of node i costs, or a little less: nothing is cheaper."""
    if isinstance(costs, LabelCosts):
        return costs.base_low[i] + costs.scale * costs.grad_low[i]
    return costs[i, best[i]]


@njit
def _cheapest_label(costs: LabelCosts, best: Array, i: int, limit: float) -> int:
    if costs.base_low[i] + costs.scale * costs.grad_low[i] >= limit:
        return -1
    k = best[i]
    if k < 0:
        low = np.inf
        for t in range(len(costs.classes)):
            value = costs.base[i, costs.classes[t]] + costs.scale * costs.grad[costs.rows[i], t]
            if value < low:
                low = value
                k = t
        best[i] = k
    return k if costs.base[i, costs.classes[k]] + costs.scale * costs.grad[costs.rows[i], k] < limit else -1


# The implementations are lambdas because numba compares signatures, annotations included, with the typing function's.
_COST = {
    True: lambda costs, i, k: costs[i, k],
    False: lambda costs, i, k: costs.base[i, costs.classes[k]] + costs.scale * costs.grad[costs.rows[i], k],
}
_CHEAPEST = {
    True: lambda costs, best, i, limit: best[i] if costs[i, best[i]] < limit else -1,
    False: lambda costs, best, i, limit: _cheapest_label(costs, best, i, limit),
}


_LOWEST = {
    True: lambda costs, best, i: costs[i, best[i]],
    False: lambda costs, best, i: costs.base_low[i] + costs.scale * costs.grad_low[i],  # noqa: ARG005
}


@overload(cost)
def _cost(costs, i, k):  # type: ignore[no-untyped-def]
    return _COST[isinstance(costs, numba.types.Array)]


@overload(cheapest)
def _cheapest(costs, best, i, limit):  # type: ignore[no-untyped-def]
    return _CHEAPEST[isinstance(costs, numba.types.Array)]


@overload(lowest)
def _lowest(costs, best, i):  # type: ignore[no-untyped-def]
    return _LOWEST[isinstance(costs, numba.types.Array)]
