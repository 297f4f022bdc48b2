"""What clusters of one's own cost: :func:`evaluate`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arrays import Array
from ._labels import checked_clusters, checked_labels
from .lifted_problem import LiftedProblem
from .problem import Problem, Solution, solution_of_labels


def evaluate(problem: Problem | LiftedProblem, clusters: Any, node_labels: Any = None) -> Solution:
    """Return the solution that given clusters are, with its objective.

    Parameters
    ----------
    problem : Problem or LiftedProblem
        As :func:`make_problem` and :func:`make_lifted_problem` make them; ``make_problem(graph, None, edge_costs)`` for
        a multicut.
    clusters : array_like of int, shape (n,)
        Any integers; nodes of a partitionable class are together iff class and id agree and a path of such nodes joins
        them, along base edges in a lifted problem. A cluster in several pieces becomes several clusters: at the same
        objective, but that lifted edges between the pieces are cut.
    node_labels : array_like of int, shape (n,), optional
        Class of every node; may be left out where there is one class.

    Returns
    -------
    Solution
        Feasible, with clusters numbered 0..M-1 by first appearance; a LiftedSolution of a lifted problem.

    Raises
    ------
    TypeError
        If `problem` is neither a Problem nor a LiftedProblem, or labels are no integers.
    ValueError
        If shapes do not fit, a class is out of range, or a must-link or cannot-link is broken.

    Examples
    --------
    >>> from diffcomb import make_problem
    >>> problem = make_problem([(0, 1), (1, 2)], None, [1.0, -2.0])
    >>> evaluate(problem, [7, 7, 9]).objective
    -2.0
    """
    lifted = problem if isinstance(problem, LiftedProblem) else None
    problem = lifted.problem if lifted else problem
    if not isinstance(problem, Problem):
        raise TypeError(
            "problem must be a Problem or a LiftedProblem, as make_problem and make_lifted_problem make them, got "
            f"{type(problem).__name__}"
        )
    if node_labels is None:
        if problem.num_classes > 1:
            raise ValueError(f"node_labels must be given where there are several classes, here {problem.num_classes}")
        node_labels = np.zeros(problem.graph.num_nodes, np.int64)
    n = problem.graph.num_nodes
    x = checked_labels(node_labels, "node_labels", (n,), problem.num_classes)
    z = checked_clusters(clusters, n)
    if lifted:
        separate = lifted.solution(x, z)
        _check_links(problem, np.concatenate([separate.edge_labels, separate.lifted_labels]), lifted.num_base)
        return separate
    found = solution_of_labels(problem, x, z)
    _check_links(problem, found.edge_labels, len(found.edge_labels))
    return found


def _check_links(problem: Problem, edge_labels: Array, num_base: int) -> None:
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
        name = f"edge {e}" if e < num_base else f"lifted edge {e - num_base}"
        raise ValueError(
            f"clusters must keep must-links and cannot-links: {name} is a {kind}, but {u} and {v} are {state}"
        )
