"""The verbs of lifted problems: :func:`lifted_multicut` and :func:`lifted_amwc`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._arrays import Array, check_same_device, float_array, like
from ._interrupt import Interrupt
from ._threads import thread_map
from .lifted_instance import LiftedInstance
from .lifted_problem import LiftedProblem, LiftedSolution
from .problem import checked_problem
from .solve_instances import as_kind, check_search, stack, with_instance
from .solvers import budget_of
from .solvers.lifted_registry import LiftedSolver, get_lifted_solver, solve_lifted
from .starts import cluster_starts, starts_of


def lifted_multicut(
    graph: Any,
    edge_costs: Any,
    lifted_edges: Any,
    lifted_costs: Any,
    *,
    solver: str | LiftedSolver = "multilevel",
    init: Any = None,
    seed: int = 0,
    effort: int | None = None,
    time_limit: float | None = None,
    must_link: Any = None,
    cannot_link: Any = None,
    seeds: Any = None,
    bound: bool = False,
) -> LiftedSolution:
    """Solve a lifted multicut problem (Keuper et al. 2015).

    Clusters are connected components of uncut edges of `graph`. A lifted edge costs its cost if its ends are in
    different clusters, but it connects nothing: long-range costs, positive or negative, say which nodes belong together
    without joining what no path of edges joins.

    Parameters
    ----------
    graph : Graph or array_like of int, shape (m, 2)
        The base graph. Of a plain edge list the largest end point, lifted edges included, tells the number of nodes.
    edge_costs : array_like or tensor, shape (m,) or (B, m)
        Cost of cutting each base edge. Positive is attractive, negative is repulsive; +inf is a must-link, -inf a
        cannot-link, and neither counts in the objective.
    lifted_edges : Graph or array_like of int, shape (m', 2)
        Pairs of nodes of the graph; a pair that is an edge as well, or stands twice, adds up. Of two Graphs, what
        solvers make of them is kept for the next call without constraints.
    lifted_costs : array_like or tensor, shape (m',) or (B, m')
        Like `edge_costs`, but not +inf: a lifted edge connects nothing.
    solver : {"multilevel", "greedy", "exact"} or callable
        `multilevel` is a descent and rounds of fusion moves, `greedy` contracts along base edges, `exact` is for small
        instances. Or a function ``(lifted_problem, *, init, rng, budget) -> LiftedSolution``.
    init : Solution, or cluster ids, optional
        Clusters to start from; parts that no base edges connect become clusters. The result is never worse.
    seed, effort, time_limit, cannot_link, seeds
        As in :func:`amwc`.
    must_link : array_like of int, shape (c, 2), optional
        Pairs of nodes that must share a cluster. A must-link connects them as a base edge does that is never cut; so do
        equal `seeds`.
    bound : bool
        Also prove a lower bound, as in :func:`amwc`: that of the problem in which lifted edges connect as well, and
        for small problems that of the linear programme with path and cut inequalities.

    Returns
    -------
    LiftedSolution
        A :class:`Solution` with ``lifted_labels`` (m',) besides ``edge_labels`` (m,).

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or range, a cost is NaN or a lifted one +inf, or constraints contradict
        each other.

    Examples
    --------
    The ends of a path repel each other; it is cut where that is cheapest:

    >>> s = lifted_multicut([(0, 1), (1, 2)], [2.0, 1.0], [(0, 2)], [-3.0])
    >>> s.clusters.tolist(), s.edge_labels.tolist(), s.lifted_labels.tolist(), s.objective
    ([0, 0, 1], [0, 1], [1], -2.0)

    A positive lifted cost holds nodes together only if that pays for the path between them:

    >>> lifted_multicut([(0, 1), (1, 2)], [-1.0, -1.0], [(0, 2)], [1.0]).clusters.tolist()
    [0, 1, 2]
    """
    check_same_device(edge_costs=edge_costs, lifted_costs=lifted_costs)
    edges = float_array(edge_costs, "edge_costs", "(m,) or (B, m)", infinite=True)
    constraints = {"must_link": must_link, "cannot_link": cannot_link, "seeds": seeds}
    instance = LiftedInstance(graph, edges, lifted_edges, lifted_costs, None, constraints)
    nodes = np.zeros((instance.graph.num_nodes, 1), edges.dtype)
    options = LiftedOptions(solver, cluster_starts(init), seed, effort, time_limit, bound)
    return _solve(instance, nodes, (0,), options, edge_costs)


def lifted_amwc(
    graph: Any,
    node_costs: Any,
    edge_costs: Any,
    partitionable: Any,
    lifted_edges: Any,
    lifted_costs: Any,
    *,
    solver: str | LiftedSolver = "multilevel",
    init: Any = None,
    seed: int = 0,
    effort: int | None = None,
    time_limit: float | None = None,
    must_link: Any = None,
    cannot_link: Any = None,
    seeds: Any = None,
    bound: bool = False,
) -> LiftedSolution:
    """Solve a lifted asymmetric multiway cut problem: classes as in :func:`amwc`, lifted edges as in `lifted_multicut`.

    Clusters of partitionable classes must be connected along base edges; a class that is not partitionable is one
    cluster, connected or not.

    Parameters
    ----------
    graph, edge_costs, lifted_edges, lifted_costs, solver, seed, effort, time_limit, bound
        As in :func:`lifted_multicut`.
    node_costs : array_like or tensor, shape (n, K) or (B, n, K)
        Cost of each class at each node.
    partitionable : array_like of bool, shape (K,), or list of int
    init : Solution, or (node labels, clusters), or node labels, optional
    must_link, cannot_link, seeds
        As in :func:`lifted_multicut`.

    Returns
    -------
    LiftedSolution

    Raises
    ------
    TypeError, ValueError
        As in :func:`lifted_multicut`; also if a node cost is infinite, or classes cannot meet the constraints.

    Examples
    --------
    >>> import numpy as np
    >>> s = lifted_amwc([(0, 1), (1, 2)], np.zeros((3, 1)), [2.0, 1.0], [0], [(0, 2)], [-3.0])
    >>> s.clusters.tolist()
    [0, 0, 1]
    """
    check_same_device(node_costs=node_costs, edge_costs=edge_costs, lifted_costs=lifted_costs)
    nodes = float_array(node_costs, "node_costs", "(n, K) or (B, n, K)")
    if nodes.ndim not in (2, 3):
        raise ValueError(f"node_costs must have shape (n, K) or (B, n, K), got {nodes.shape}")
    edges = float_array(edge_costs, "edge_costs", "(m,) or (B, m)", infinite=True)
    constraints = {"must_link": must_link, "cannot_link": cannot_link, "seeds": seeds}
    instance = LiftedInstance(graph, edges, lifted_edges, lifted_costs, nodes.shape[-2], constraints)
    options = LiftedOptions(solver, init, seed, effort, time_limit, bound)
    return _solve(instance, nodes, partitionable, options, edge_costs)


@dataclass(frozen=True)
class LiftedOptions:
    """What both verbs have in common, checked."""

    solver: str | LiftedSolver
    init: Any
    seed: int
    effort: int | None
    time_limit: float | None
    bound: bool

    def __post_init__(self) -> None:
        get_lifted_solver(self.solver)
        check_search(self)


def _solve(
    instance: LiftedInstance, nodes: Array, partitionable: Any, options: LiftedOptions, reference: Any
) -> LiftedSolution:
    """Split a batch into instances, solve them in threads, stack the solutions."""
    sizes = {size for size in (instance.batch, len(nodes) if nodes.ndim == 3 else None) if size is not None}
    if len(sizes) > 1:
        raise ValueError(
            f"node_costs must have the batch size of the edge costs, got {nodes.shape} and {instance.batch}"
        )
    count = sizes.pop() if sizes else None
    costs = instance.costs
    if count == 0:  # shapes and classes are checked all the same
        edges = np.zeros(instance.joined.num_edges)
        checked_problem(instance.joined, np.zeros(nodes.shape[-2:]), edges, partitionable)
    pairs = [
        (nodes[b] if nodes.ndim == 3 else nodes, costs[b] if costs.ndim == 2 else costs)
        for b in range(1 if count is None else count)
    ]
    problems = [
        LiftedProblem(checked_problem(instance.joined, *pair, partitionable), instance.num_base) for pair in pairs
    ]
    starts = starts_of(options.init, len(problems), count is not None, instance.graph.num_nodes, nodes.shape[-1])
    _ = instance.joined.csr  # here, so that threads need not

    with Interrupt(options.time_limit is not None, labelled=options.init is not None) as interrupt:

        def one(b: int) -> LiftedSolution:
            budget = budget_of(starts[b], options.effort, options.time_limit, interrupt)
            with with_instance(b, count):
                rng = np.random.default_rng(options.seed)
                found = solve_lifted(problems[b], options.solver, starts[b], rng, budget, bool(options.bound))
                return instance.without_links(found)

        found = thread_map(one, range(len(problems)))
    if count is None:
        one_kind = as_kind(found[0], reference)
        return LiftedSolution(**vars(one_kind), lifted_labels=like(found[0].lifted_labels, reference))
    lifted_labels = np.array([s.lifted_labels for s in found], np.uint8).reshape(count, instance.lifted.num_edges)
    return LiftedSolution(**vars(stack(found, instance.graph, reference)), lifted_labels=like(lifted_labels, reference))
