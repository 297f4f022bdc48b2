"""What clusters of one's own cost: :func:`evaluate`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arrays import Array, label_array
from .problem import Problem, Solution, checked_labels, make_solution


def evaluate(problem: Problem, clusters: Any, node_labels: Any = None) -> Solution:
    """Return the solution that given clusters are, with its objective.

    Parameters
    ----------
    problem : Problem
        As :func:`make_problem` makes it; ``make_problem(graph, None, edge_costs)`` for a multicut.
    clusters : array_like of int, shape (n,)
        Any integers; nodes of a partitionable class are together iff class and id agree and a path of such nodes joins
        them. A cluster in several pieces becomes several clusters, at the same objective.
    node_labels : array_like of int, shape (n,), optional
        Class of every node; may be left out where there is one class.

    Returns
    -------
    Solution
        Feasible, with clusters numbered 0..M-1 by first appearance.

    Raises
    ------
    TypeError
        If `problem` is no Problem or labels are no integers.
    ValueError
        If shapes do not fit, a class is out of range, or a must-link or cannot-link is broken.

    Examples
    --------
    >>> from diffcomb import make_problem
    >>> problem = make_problem([(0, 1), (1, 2)], None, [1.0, -2.0])
    >>> evaluate(problem, [7, 7, 9]).objective
    -2.0
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a Problem, as make_problem makes it, got {type(problem).__name__}")
    if node_labels is None:
        if problem.num_classes > 1:
            raise ValueError(f"node_labels must be given where there are several classes, here {problem.num_classes}")
        node_labels = np.zeros(problem.graph.num_nodes, np.int64)
    n = problem.graph.num_nodes
    x = checked_labels(node_labels, "node_labels", (n,), problem.num_classes)
    z = label_array(clusters, "clusters")
    if z.shape != (n,):
        raise ValueError(f"clusters must have shape (n,) = ({n},), got {z.shape}")
    found = make_solution(problem, x, z)
    _check_links(problem, found.edge_labels)
    return found


def _check_links(problem: Problem, edge_labels: Array) -> None:
    """Raise a ValueError that names the first must-link that is cut or cannot-link that is not."""
    costs, edges = problem.edge_costs, problem.graph.edges
    loop = edges[:, 0] == edges[:, 1]
    broken = np.flatnonzero(
        (np.isposinf(costs) & (edge_labels == 1) & ~loop) | (np.isneginf(costs) & (edge_labels == 0))
    )
    if len(broken):
        e = broken[0]
        u, v = edges[e].tolist()
        kind, state = ("must-link", "apart") if costs[e] > 0 else ("cannot-link", "together")
        raise ValueError(
            f"clusters must keep must-links and cannot-links: edge {e} is a {kind}, but {u} and {v} are {state}"
        )
