"""Linear and integer programmes over binary variables that grow by constraints, with bounds that hold for true costs.

HiGHS (:mod:`highs`) gets scaled costs; :class:`Programme` knows the scale.
"""

from __future__ import annotations

import numpy as np

from .._arrays import Array
from .highs import ABSOLUTE_GAP, Constraints, Found, make_backend

LARGEST_COST = 1e6  # costs are scaled to this for HiGHS


class Programme:
    """Minimise costs over binary variables under constraints that are added as they are found violated.

    Parameters
    ----------
    costs : float array, shape (N,)
    upper : float array, shape (N,)
        0 for variables that are 0.
    """

    def __init__(self, costs: Array, upper: Array) -> None:
        self.true_costs = costs
        self.costs, self.scale, self.decisive = tame(costs)
        # Clipped costs bound the true ones but where a negative one was clipped.
        self._clipped = float(np.minimum(costs - self.costs * self.scale, 0).sum())
        self._scaled_bound = -np.inf
        self.lower, self.upper = np.zeros(len(costs)), upper.copy()
        self.bound = float(np.minimum(costs, 0).sum())
        self.rows = Constraints(np.zeros(1, np.int64), np.empty(0, np.int64), *(np.empty(0) for _ in range(3)))
        self.backend = make_backend(self.costs, self.lower, self.upper)
        self._relaxed: tuple[float, Array] | None = None  # bound and reduced costs of the last linear programme

    def add(self, rows: Constraints) -> None:
        """Add constraints."""
        self.rows = Constraints.joined((self.rows, rows))
        self.backend.add(rows)

    def relax(self, seconds: float) -> Array | None:
        """The solution of the linear programme, or None if there is no time; it raises :attr:`bound`."""
        found = self.backend.relax(seconds)
        if len(found.duals) == self.rows.count and found.values is not None:
            self._relaxed = self._dual_value(found.duals)
            self.raise_bound(self._relaxed[0])
        return found.values

    def fix_beyond(self, values: Array) -> None:
        """Fix variables that no cheaper solution than these values has at the other value, by the last relaxation.

        What is cheaper is so in clipped costs as well: a difference of large true costs would have lost their digits.
        """
        if self._relaxed is None:
            return
        bound, reduced = self._relaxed  # which hold with more constraints as well
        slack = float(self.costs @ values) - bound + ABSOLUTE_GAP
        self.upper = np.where(reduced > slack, self.lower, self.upper)
        self.lower = np.where(-reduced > slack, self.upper, self.lower)
        self.backend.fix(self.lower, self.upper)

    def _dual_value(self, duals: Array) -> tuple[float, Array]:
        """A bound that holds for any duals: those of the wrong sign count as 0; and the reduced costs."""
        rows = self.rows
        duals = np.where((duals > 0) & np.isinf(rows.lower), 0.0, duals)
        duals = np.where((duals < 0) & np.isinf(rows.upper), 0.0, duals)
        sides = np.where(duals > 0, rows.lower, rows.upper)
        value = float((duals[duals != 0] * sides[duals != 0]).sum())
        reduced = self.costs - rows.matrix(len(self.costs)).T @ duals
        return value + float(np.minimum(reduced * self.lower, reduced * self.upper).sum()), reduced

    def solve(self, seconds: float) -> Found:
        """The best binary solution under the constraints so far, in true costs; `optimal` unless the time was over."""
        found = self.backend.solve(seconds)
        self.raise_bound(found.bound - ABSOLUTE_GAP)
        if found.values is not None:
            found.values = found.values.round()
        return found

    def raise_bound(self, scaled: float) -> None:
        """Take a bound in scaled costs."""
        if np.isfinite(scaled):
            self._scaled_bound = max(self._scaled_bound, scaled)
            self.bound = max(self.bound, self.scale * scaled + self._clipped)

    def take(self, values: Array) -> None:
        """Raise :attr:`bound` by what a solution tells: that of clipped costs may be far below that of the true ones.

        Whatever is better than it by more than the gap of the clipped costs would have to be better at a clipped cost;
        but these decide one after the other, so that the gap of clipped costs would not be smaller than `decisive`.
        """
        gap = self.scale * max(float(self.costs @ values) - self._scaled_bound, 0.0)
        if gap < self.decisive:
            self.bound = max(self.bound, float(self.true_costs @ values) - gap)


def tame(costs: Array) -> tuple[Array, float, float]:
    """Scale costs to where HiGHS resolves them; returns them, the factor back, and the least sum that was clipped to.

    HiGHS works to absolute tolerances, so one huge cost would drown all others. The largest costs decide
    lexicographically as long as each outweighs all smaller ones together, whatever their size; these are
    clipped to twice that sum, which is infinite if none is.
    """
    order = np.argsort(np.abs(costs), kind="stable")
    size = np.abs(costs)[order]
    below = np.cumsum(size) - size
    decides = np.logical_and.accumulate((size > 2 * below)[::-1])[::-1]
    first = len(size) - int(decides.sum())
    total, least = float(size[:first].sum()), np.inf
    for i in range(first, len(size)):
        if 0 < 2 * total < size[i]:
            size[i] = 2 * total
            least = min(least, total)
        total += size[i]
    clipped = np.empty_like(costs)
    clipped[order] = np.sign(costs[order]) * size
    scale = float(np.abs(clipped).max(initial=0.0)) / LARGEST_COST or 1.0
    return clipped / scale, scale, least
