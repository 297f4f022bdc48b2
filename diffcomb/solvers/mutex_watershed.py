"""The mutex watershed, and the semantic one as a solver of the asymmetric multiway cut (Wolf et al. 2018, 2020)."""

from __future__ import annotations

import numpy as np

from .._arrays import Array
from ..problem import Problem, Solution, solution_of_labels
from .budget import Budget
from .moves.mutex import watershed
from .structures.radix import order_by_size


def mutex_watershed(
    problem: Problem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget
) -> Solution:
    """Solve by one pass over the edges, the strongest first; in O(m log m).

    How strongly a node belongs to its cheapest class is by how much the next one costs more. The algorithm minimises
    another objective: take it for speed, or where only the order of the costs is to be trusted.

    Parameters
    ----------
    problem : Problem
    init, rng, budget
        Not used: the algorithm begins with single nodes, is deterministic and runs to its end.

    Returns
    -------
    Solution
    """
    n, K = problem.node_costs.shape
    if n == 0:
        return solution_of_labels(problem, np.empty(0, np.int64), np.empty(0, np.int64))
    if K == 1:
        root, _ = mutex_clusters(problem.graph.edges, problem.edge_costs, n)
        return solution_of_labels(problem, np.zeros(n, np.int64), root)
    lowest = np.partition(problem.node_costs, 1, axis=1)[:, :2]
    best = problem.node_costs.argmin(axis=1).astype(np.int32)
    root, classes = mutex_clusters(problem.graph.edges, problem.edge_costs, n, best, lowest[:, 1] - lowest[:, 0])
    return solution_of_labels(problem, classes, root)


def mutex_clusters(
    edges: Array, costs: Array, num_nodes: int, best: Array | None = None, strength: Array | None = None
) -> tuple[Array, Array]:
    """A root and the class of every node; the class is -1 where no classes are given."""
    order = order_by_size(costs)
    if best is None or strength is None:
        best, strength, node_order = np.zeros(num_nodes, np.int32), np.zeros(0, costs.dtype), np.zeros(0, np.int32)
    else:
        node_order = np.argsort(-strength, kind="stable").astype(np.int32)
    rows = edges.view(np.int64).take(order).view(np.int32).reshape(-1, 2)  # a row as one number: in a third of the time
    root, classes = watershed(rows, costs.take(order), best, strength, node_order)
    return root, classes.astype(np.int64)
