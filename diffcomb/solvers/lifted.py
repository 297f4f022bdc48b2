"""Search for the lifted problem: greedy contraction, a descent, and fusion with noisy copies of the former.

Clusters must be connected along base edges, so moves of single nodes see only some of the ways to a better labelling:
what splits a cluster, or moves a part of it, comes from proposals. A *proposal* is the greedy contraction of the costs
with noise; the *fusion* with the incumbent contracts what both keep together and solves what is left (fusion moves,
Beier et al. 2016), so that it takes from each what is better.
"""

from __future__ import annotations

import numpy as np

from .._arrays import Array
from ..lifted_problem import LiftedProblem, LiftedSolution
from .budget import Budget
from .levels.labels import Labels, from_labels
from .levels.lifted_rows import lifted_rows
from .lifted_level import LiftedLevel
from .limits import LIMITS


def lifted_greedy(
    lifted: LiftedProblem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget
) -> LiftedSolution:
    """Contract greedily along base edges; lifted GAEC for one class (Keuper et al. 2015), in O(m (log m)^2)."""
    level = _level(lifted)
    labels = level.greedy()
    return _solution(lifted, level.fuse(labels, _begin(level, init)) if init is not None else labels)


def lifted_multilevel(
    lifted: LiftedProblem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget
) -> LiftedSolution:
    """Solve by greedy contraction and rounds of fusion; see the module's docstring.

    Parameters
    ----------
    lifted : LiftedProblem
    init : (node labels, clusters), optional
        A labelling to improve; parts of a cluster that base edges do not connect become clusters.
    rng : numpy.random.Generator
        Draws the noise of proposals.
    budget : Budget
        ``effort`` rounds of proposals, fewer in a round the larger the graph; 0 is the start alone.

    Returns
    -------
    LiftedSolution
        A local optimum under moves of single nodes that leave clusters connected, and of whole clusters.
    """
    level = _level(lifted)
    half_edges = max(len(level.rows.weights), 1)
    proposals = min(max(LIMITS.fused_half_edges // half_edges, 1), LIMITS.max_proposals)
    labels = level.polish(level.greedy() if init is None else _begin(level, init))
    budget.interrupt.labelled = True  # from here on there is something to keep
    if init is None:
        if half_edges > LIMITS.descended_half_edges:
            proposals += 1
        elif budget.searches or level.num_nodes <= LIMITS.max_pieces:
            labels = level.fuse(labels, level.polish(level.descend()))
        for start in level.of_one_class() if budget.searches and level.num_nodes <= LIMITS.max_coarse else ():
            labels = level.fuse(labels, level.polish(start))
    for _ in budget.rounds():
        for _ in range(proposals):
            if budget.spent():
                break
            noise = LIMITS.fused_noise * level.typical_cost * rng.uniform(-1, 1, len(level.rows.weights))
            proposal = level.greedy(noise)
            level.move(proposal)
            labels = level.fuse(labels, proposal)
    return _solution(lifted, labels)


def _level(lifted: LiftedProblem) -> LiftedLevel:
    problem = lifted.problem
    rows = lifted_rows(problem.graph.csr, problem.edge_costs, lifted.num_base)
    return LiftedLevel(rows, problem.node_costs, problem.partitionable)


def _begin(level: LiftedLevel, init: tuple[Array, Array]) -> Labels:
    return level.split(from_labels(*init, level.partitionable))


def _solution(lifted: LiftedProblem, labels: Labels) -> LiftedSolution:
    return lifted.solution(labels.node_labels(), labels.z.astype(np.int64))
