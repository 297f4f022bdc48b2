"""One programme in HiGHS, by way of two packages: rows are added and bounds set between solves.

``highspy``, where it is installed, keeps the programme between solves: a linear one goes on from its last basis.
``scipy.optimize`` solves every one anew.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from .._arrays import Array

ABSOLUTE_GAP = 1e-6  # of HiGHS, in the costs that it is given


@dataclass
class Constraints:
    """Rows ``lower <= values @ x[columns] <= upper``, row r at ``start[r]:start[r + 1]``."""

    start: Array
    columns: Array
    values: Array
    lower: Array
    upper: Array

    @classmethod
    def joined(cls, parts: Iterable[Constraints]) -> Constraints:
        """Those of all parts, one behind the other."""
        starts, *others = zip(*((p.start, p.columns, p.values, p.lower, p.upper) for p in parts), strict=True)
        before = np.cumsum([0, *(start[-1] for start in starts)])
        start = [np.zeros(1, np.int64), *(own[1:] + first for own, first in zip(starts, before[:-1], strict=True))]
        return cls(np.concatenate(start), *map(np.concatenate, others))

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
