"""Greedy edge contraction: COPS Algorithm 2, the reference; for the multicut it is GAEC.

All classes count as partitionable until the end, when every class that is not becomes one cluster.
A key is evaluated when its edge is touched by a contraction (edges of the absorbed cluster and parallel
edges) and again when it reaches the top of the queue: if it got worse meanwhile, because a parallel edge is
repulsive or the surviving cluster's node costs changed, it is put back. Keys of untouched edges that got *better*
are noticed only then; refreshing all keys of a cluster, to the letter of Algorithm 2, costs 20-100 times as much.
"""

from __future__ import annotations

import numpy as np

from .._arrays import Array
from ..problem import Problem, Solution, solution_of_labels
from .budget import Budget
from .level import finest_level
from .levels.labels import from_labels
from .levels.partition import compact
from .moves.contracting import contract_greedily


def greedy(problem: Problem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget) -> Solution:
    """Solve by greedy edge contraction (COPS Algorithm 2), in O(m (log m)^2 + m K log m).

    Parameters
    ----------
    problem : Problem
    init : (node labels, clusters), optional
        Clusters to start from instead of single nodes.
    rng, budget
        Not used: the algorithm is deterministic and runs to its end.

    Returns
    -------
    Solution
    """
    n = problem.graph.num_nodes
    if n == 0:
        return solution_of_labels(problem, np.empty(0, np.int64), np.empty(0, np.int64))
    level = finest_level(problem)
    group = np.arange(n, dtype=np.int32)
    if init is not None:
        labels = from_labels(*init, problem.partitionable)
        group, count = compact(labels.z, labels.num_ids)
        level = level.contract(group, count)
    else:
        level = level.without_parallel_edges()
    indptr, neighbours, weights = level.adjacency
    node_costs = None if problem.is_multicut else level.node_costs.copy()
    parent, classes = contract_greedily(indptr, neighbours, weights, node_costs, None)
    root = parent[group]
    return solution_of_labels(problem, classes[root], root)
