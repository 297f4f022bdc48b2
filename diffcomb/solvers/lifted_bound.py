"""Lower bounds of lifted problems.

Without the constraint that base edges connect clusters, a lifted problem is the problem of eq. 2 over all edges, and a
bound of that holds for it as well, once what no base edges connect is paid for. It is loose where attraction at a
distance has no path that it pays for. Of small problems, the linear programme with path and cut inequalities knows of
these.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .._interrupt import Interrupt
from ..labelling import uncut_components
from ..lifted_problem import LiftedProblem
from .lower_bound import ROUNDING, Guide, bound_by_programme, finite, has_small_programme, lower_bound, scaled


def lifted_bound(lifted: LiftedProblem, guide: Guide, interrupt: Interrupt) -> float:
    """A proven lower bound of the optimum; `guide` and `interrupt` as for a problem that is not lifted."""
    lifted, certain = _without_certain_cuts(lifted)
    return certain + _bound(lifted, guide, interrupt)


def _without_certain_cuts(lifted: LiftedProblem) -> tuple[LiftedProblem, float]:
    """The problem in which lifted edges that no base edges connect cost nothing, and what they cost.

    Where a class is not partitionable, nodes may be in one cluster without a path.
    """
    problem, m = lifted.problem, lifted.num_base
    if not problem.partitionable.all():
        return lifted, 0.0
    edges, n = problem.graph.edges, problem.graph.num_nodes
    of_one = np.zeros(n, np.int64), np.ones(1, bool)
    u, v = uncut_components(edges[:m], np.zeros(m, np.uint8), *of_one)[edges].T
    costs = np.where(u != v, 0, problem.edge_costs)
    certain = problem.edge_costs[(u != v) & np.isfinite(problem.edge_costs)]
    return replace(lifted, problem=replace(problem, edge_costs=costs)), float(certain.sum(dtype=np.float64))


def _bound(lifted: LiftedProblem, guide: Guide, interrupt: Interrupt) -> float:
    relaxed = lower_bound(lifted.problem, guide, interrupt)
    if not has_small_programme(lifted.problem) or interrupt.check():
        return relaxed
    from .lifted_exact import LiftedProgramme  # scipy.optimize takes longer to import than all else

    problem, power = scaled(lifted.problem)
    problem, offset, group = finite(problem)
    guide = guide if group is None else guide.of_groups(group)
    value = bound_by_programme(LiftedProgramme(lifted.contracted(problem, group)), guide, interrupt)
    total = np.abs(problem.node_costs).sum() + np.abs(problem.edge_costs).sum()
    with np.errstate(over="ignore"):  # a bound beyond the largest number is -inf
        return max(relaxed, float(np.ldexp(value + offset - ROUNDING * total, power)))
