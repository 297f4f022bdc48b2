"""Linear and integer programmes over binary variables that grow by constraints: HiGHS, by way of two packages.

``highspy``, where it is installed, keeps the programme between solves: a linear one goes on from its last basis.
``scipy.optimize`` solves every one anew. Everything is in scaled costs; :class:`Programme` knows the scale.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from .._arrays import Array

LARGEST_COST = 1e6  # costs are scaled to this for HiGHS
ABSOLUTE_GAP = 1e-6  # of HiGHS, in scaled costs


@dataclass
class Constraints:
    """Rows ``lower <= values @ x[columns] <= upper``, row r at ``start[r]:start[r + 1]``."""

    start: Array
    columns: Array
    values: Array
    lower: Array
    upper: Array

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.lower)

    def matrix(self, width: int) -> Any:
        """The rows as a sparse matrix."""
        return sparse.csr_array((self.values, self.columns, self.start), shape=(self.count, width))


def rows_of(columns: Array, values: Array, lower: float = -np.inf, upper: float = np.inf) -> Constraints:
    """One constraint for each row of `columns` and `values`, which have the same shape."""
    count, width = columns.shape
    start = np.arange(count + 1) * width
    return Constraints(start, columns.ravel(), values.ravel(), np.full(count, lower), np.full(count, upper))


@dataclass
class Found:
    """What a solve found: values and their cost, or None, a proven bound, and whether nothing is left to prove.

    `duals` are those of the constraints of a linear programme.
    """

    values: Array | None
    bound: float
    optimal: bool
    duals: Array = field(default_factory=lambda: np.empty(0))


class Backend(Protocol):
    """One programme in one of the packages."""

    def add(self, rows: Constraints) -> None:
        """Add constraints."""

    def fix(self, lower: Array, upper: Array) -> None:
        """Set the bounds of all variables."""

    def relax(self, seconds: float) -> Found:
        """Solve without integrality."""
        ...

    def solve(self, seconds: float) -> Found:
        """Solve with integrality."""
        ...


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
        ours = self.rows
        self.rows = Constraints(
            np.concatenate([ours.start, ours.start[-1] + rows.start[1:]]),
            *(np.concatenate(pair) for pair in ((ours.columns, rows.columns), (ours.values, rows.values),
                                                (ours.lower, rows.lower), (ours.upper, rows.upper))),
        )  # fmt: skip
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


def make_backend(costs: Array, lower: Array, upper: Array) -> Backend:
    """The quicker of the packages that are installed."""
    if importlib.util.find_spec("highspy") is not None:
        return Incremental(costs, lower, upper)
    return Anew(costs, lower, upper)


class Anew:
    """scipy: every programme is solved from nothing."""

    def __init__(self, costs: Array, lower: Array, upper: Array) -> None:
        self.costs, self.lower, self.upper = costs, lower, upper
        self.rows: list[Constraints] = []

    def add(self, rows: Constraints) -> None:
        """Keep them."""
        self.rows.append(rows)

    def fix(self, lower: Array, upper: Array) -> None:
        """Keep the bounds."""
        self.lower, self.upper = lower, upper

    def _constraint(self) -> Any:
        matrix = sparse.vstack([rows.matrix(len(self.costs)) for rows in self.rows], format="csc")
        lower, upper = (np.concatenate([getattr(r, side) for r in self.rows]) for side in ("lower", "upper"))
        return matrix, lower, upper

    def relax(self, seconds: float) -> Found:
        """Solve by ``linprog``, which knows equations and upper bounds alone."""
        options = {"time_limit": seconds} if np.isfinite(seconds) else {}
        bounds = np.stack([self.lower, self.upper], axis=1)
        if not any(rows.count for rows in self.rows):
            result = linprog(self.costs, bounds=bounds, method="highs", options=options)
            return Found(result.x, -np.inf, result.status == 0)
        matrix, lower, upper = self._constraint()
        equal, below = lower == upper, np.isfinite(upper) & (lower != upper)
        above = np.isfinite(lower) & (lower != upper)
        left = sparse.vstack([matrix.tocsr()[below], -matrix.tocsr()[above]])
        right = np.concatenate([upper[below], -lower[above]])
        result = linprog(
            self.costs, left, right, matrix.tocsr()[equal], lower[equal], bounds, method="highs", options=options
        )
        duals = np.zeros(len(lower))
        if result.x is not None and result.status == 0:
            duals[equal] = result.eqlin.marginals
            marginals = result.ineqlin.marginals
            duals[below] = marginals[: below.sum()]
            duals[above] -= marginals[below.sum() :]
        return Found(result.x if result.status == 0 else None, -np.inf, result.status == 0, duals)

    def solve(self, seconds: float) -> Found:
        """Solve by ``milp``."""
        constraint = LinearConstraint(*self._constraint()) if any(rows.count for rows in self.rows) else None
        limit = {"time_limit": seconds} if np.isfinite(seconds) else {}
        result = milp(
            self.costs,
            integrality=np.ones(len(self.costs)),
            bounds=Bounds(self.lower, self.upper),
            constraints=constraint,
            options={"mip_rel_gap": 0.0, **limit},
        )
        bound = getattr(result, "mip_dual_bound", None)
        late = result.status == 1 and np.isfinite(seconds)
        if result.x is None and not late:
            raise RuntimeError(f"the exact solver failed: {result.message}")
        return Found(result.x, -np.inf if bound is None else float(bound), not late)


class Incremental:
    """highspy: the programme is kept, and a linear one goes on from its last basis."""

    def __init__(self, costs: Array, lower: Array, upper: Array) -> None:
        import highspy

        self.highspy, self.costs = highspy, costs
        self.model: Any = getattr(highspy._core, "_Highs", highspy.Highs)()  # Highs itself writes to the console
        for option, value in (
            ("output_flag", False),
            ("threads", 1),
            ("mip_rel_gap", 0.0),
            ("mip_abs_gap", ABSOLUTE_GAP),
        ):
            self.model.setOptionValue(option, value)
        count = len(costs)
        self.columns = np.arange(count, dtype=np.int32)
        self.model.addVars(count, lower, upper)
        self.model.changeColsCost(count, self.columns, costs)

    def add(self, rows: Constraints) -> None:
        """Add rows; infinity is HiGHS's own."""
        start, columns = rows.start[:-1].astype(np.int32), rows.columns.astype(np.int32)
        self.model.addRows(rows.count, rows.lower, rows.upper, len(columns), start, columns, rows.values)

    def fix(self, lower: Array, upper: Array) -> None:
        """Set the bounds."""
        self.model.changeColsBounds(len(lower), self.columns, lower, upper)

    def _run(self, seconds: float, kind: Any) -> Any:
        self.model.changeColsIntegrality(len(self.columns), self.columns, np.full(len(self.columns), kind))
        if kind == self.highspy.HighsVarType.kContinuous:  # its clock goes on; that of branch and cut begins anew
            seconds += self.model.getRunTime()
        self.model.setOptionValue("time_limit", float(min(seconds, 1e20)))
        self.model.run()
        return self.model.getModelStatus()

    def relax(self, seconds: float) -> Found:
        """Solve by the dual simplex method."""
        status = self._run(seconds, self.highspy.HighsVarType.kContinuous)
        solution = self.model.getSolution()
        if status != self.highspy.HighsModelStatus.kOptimal:
            return Found(None, -np.inf, False)
        return Found(np.array(solution.col_value), -np.inf, True, np.array(solution.row_dual))

    def solve(self, seconds: float) -> Found:
        """Solve by branch and cut; a start is not given, with which version 1.16 returns bounds that do not hold."""
        status = self._run(seconds, self.highspy.HighsVarType.kInteger)
        statuses = self.highspy.HighsModelStatus
        if status not in (statuses.kOptimal, statuses.kTimeLimit):
            raise RuntimeError(f"the exact solver failed: HiGHS ended with {status}")
        info = self.model.getInfo()
        feasible = info.primal_solution_status == 2  # kSolutionStatusFeasible
        values = np.array(self.model.getSolution().col_value) if feasible else None
        return Found(values, float(info.mip_dual_bound), status == statuses.kOptimal)


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
