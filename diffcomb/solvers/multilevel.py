"""Multilevel search: the default solver, told in the order in which it runs.

1. *Descent.* Coarsen in the relaxed problem in which every class may be partitioned (as Algorithm 2 does until
   its last lines): a grid first by blocks, then one pass of local moving a level. The coarsest nodes take labels
   of the true problem, and local moving at every level on the way back down repairs what coarsening decided wrongly.
   A warm start skips this and begins with local moving from the given labelling, hence is never worse than it.
2. *Rounds.* Most nodes are settled by then. Those that would lose least by moving stay single nodes, all others
   contract to pieces of their clusters; on that small *core graph* a :class:`Search` runs, and what it changes is
   refined in the full graph. Small graphs are their own core graph. Where costs contradict each other, an
   :class:`Annealer` comes first.
3. *Settling*, after each round. Ejection chains; then whole connected clusters are the nodes of a last level. Joins and
   changes of class of whole clusters alternate with chains and moves of single nodes until nothing gains.
4. *The multiway cut* of the same costs, where to have one cluster a class would cost little: it is feasible here as
well.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from .._arrays import Array
from ..problem import Problem, Solution, solution_of_labels
from .budget import Budget
from .enumeration import enumerated
from .fusion import is_fused
from .greedy import greedy
from .level import finest_level
from .levels.labels import from_labels
from .levels.objective import cheapest_classes
from .limits import LIMITS
from .persistency import persistent, with_edges
from .run import Run


def multilevel(
    problem: Problem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget
) -> Solution:
    """Solve by multilevel search; see the module's docstring.

    Parameters
    ----------
    problem : Problem
    init : (node labels, clusters), optional
        A labelling to improve.
    rng : numpy.random.Generator
        Draws visiting orders and the moves of annealing.
    budget : Budget
        ``effort`` rounds, or as many as the time allows. Round r searches a core graph 2^r times as large.

    Returns
    -------
    Solution
        A local optimum under moves of single nodes; with any effort but 0 also under joins of two clusters and
        changes of class of a whole connected cluster. Each pass takes O(n K + m), and there are few.
    """
    if problem.graph.num_nodes == 0:
        return solution_of_labels(problem, np.empty(0, np.int64), np.empty(0, np.int64))
    if init is not None:
        return _solve(problem, init, rng, budget)
    if budget.searches and is_fused(problem) and problem.graph.num_nodes > LIMITS.max_enumerated:
        smaller, group = persistent(problem)
        found = _solve_connected(smaller, rng, budget)
        return solution_of_labels(problem, np.zeros(len(group), np.int64), found.clusters[group])
    return _solve_connected(problem, rng, budget)


def _solve_connected(problem: Problem, rng: np.random.Generator, budget: Budget) -> Solution:
    """Solve without the nodes that have no edges, which take their cheapest class, if they are more than a few."""
    part = with_edges(problem)
    if part is None:
        return _solve(problem, None, rng, budget)
    connected, kept = part
    classes = cheapest_classes(problem.node_costs).astype(np.int64)
    clusters = np.arange(len(classes))
    if len(kept):
        found = _solve(connected, None, rng, budget)
        classes[kept], clusters[kept] = found.node_labels, len(classes) + found.clusters
    return solution_of_labels(problem, classes, clusters)


def _solve(problem: Problem, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget) -> Solution:
    run = Run(problem, finest_level(problem), rng, budget)
    if init is not None:
        run.begin_at(*init)
        return run.improve(budget)
    same_draws = None if problem.is_multicut else copy.deepcopy(rng)
    run.descend()
    if problem.graph.num_nodes <= LIMITS.max_greedy and _solve_small(run):
        return run.solution()
    solution = run.improve(budget)
    if same_draws is None or budget.spent() or not run.multiway_cut_may_be_better():
        return solution
    multiway = replace(problem, partitionable=np.zeros_like(problem.partitionable))
    other = multilevel(multiway, init=None, rng=same_draws, budget=budget)
    if other.objective >= solution.objective:
        return solution
    run.begin_at(other.node_labels, other.clusters)
    return run.improve(budget)


def _solve_small(run: Run) -> bool:
    """Improve the first labelling of a small graph by other means than moves; returns whether it is an optimum now.

    What greedy contraction finds is never missed: it can bring two clusters into a class that neither of them has.
    """
    if run.level.num_nodes <= LIMITS.max_enumerated:
        run.labels, complete = enumerated(run.level, run.labels)
        if complete:
            return True
    contracted = greedy(run.problem, init=None, rng=run.rng, budget=run.budget)
    labels = from_labels(contracted.node_labels, contracted.clusters, run.problem.partitionable)
    run.take(labels if run.level.improvement(run.labels, labels) > 0 else run.labels)
    return False
