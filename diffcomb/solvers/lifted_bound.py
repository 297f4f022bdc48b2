"""Lower bounds of lifted problems.

Without the constraint that base edges connect clusters, a lifted problem is the problem of eq. 2 over all edges, and a
bound of that holds for it as well. It is loose where attraction at a distance has no path that it pays for. Of small
problems, the linear programme with path and cut inequalities knows of these.
"""

from __future__ import annotations

import numpy as np

from .._interrupt import Interrupt
from ..lifted_problem import LiftedProblem
from .lower_bound import ROUNDING, Guide, bound_by_programme, finite, has_small_programme, lower_bound, scaled


def lifted_bound(lifted: LiftedProblem, guide: Guide, interrupt: Interrupt) -> float:
    """A proven lower bound of the optimum; `guide` and `interrupt` as for a problem that is not lifted."""
    relaxed = lower_bound(lifted.problem, guide, interrupt)
    if not has_small_programme(lifted.problem) or interrupt.check():
        return relaxed
    from .lifted_exact import LiftedProgramme  # scipy.optimize takes longer to import than all else

    problem, power = scaled(lifted.problem)
    problem, offset, group = finite(problem)
    value = bound_by_programme(LiftedProgramme(lifted.contracted(problem, group)), interrupt)
    total = np.abs(problem.node_costs).sum() + np.abs(problem.edge_costs).sum()
    with np.errstate(over="ignore"):  # a bound beyond the largest number is -inf
        return max(relaxed, float(np.ldexp(value + offset - ROUNDING * total, power)))
