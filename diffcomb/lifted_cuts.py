"""The verbs of lifted problems: :func:`lifted_multicut` and :func:`lifted_amwc`."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._arrays import Array, check_same_device, float_array, like
from ._interrupt import Interrupt
from ._threads import thread_map
from .constraints import make_constraints
from .graph import Graph, as_graph
from .lifted_problem import LiftedProblem, LiftedSolution, joined_graph
from .problem import checked_problem
from .solve_instances import as_kind, check_search, stack, with_instance
from .solvers import budget_of
from .solvers.lifted_registry import LiftedSolver, get_lifted_solver, solve_lifted
from .starts import cluster_starts, starts_of

_joined: weakref.WeakKeyDictionary[Graph, tuple[weakref.ref[Graph], Graph]] = weakref.WeakKeyDictionary()


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
    instance = _Instance(graph, edges, lifted_edges, lifted_costs, None, constraints)
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
    instance = _Instance(graph, edges, lifted_edges, lifted_costs, nodes.shape[-2], constraints)
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


class _Instance:
    """Base and lifted graph, the graph of all edges, must-links behind the base edges, and its costs (m,) or (B, m)."""

    def __init__(
        self, graph: Any, edges: Array, lifted_edges: Any, lifted_costs: Any, num_nodes: int | None,
        constraints: dict[str, Any],
    ) -> None:  # fmt: skip
        lifted = _lifted_costs(lifted_costs)
        self.graph, self.lifted = graphs_of(graph, lifted_edges, num_nodes)
        for name, costs, count in (
            ("edge_costs", edges, self.graph.num_edges),
            ("lifted_costs", lifted, self.lifted.num_edges),
        ):
            if costs.ndim not in (1, 2) or costs.shape[-1] != count:
                raise ValueError(
                    f"{name} must have shape ({count},) or (B, {count}), one for each edge, got {costs.shape}"
                )
        if edges.ndim == lifted.ndim == 2 and len(edges) != len(lifted):
            raise ValueError(
                f"edge_costs and lifted_costs must have the same batch size, got {edges.shape} and {lifted.shape}"
            )
        self.batch = next((len(costs) for costs in (edges, lifted) if costs.ndim == 2), None)
        links = make_constraints(self.graph.num_nodes, **constraints)
        base, edges = links.must_links.added_to(self.graph, edges)
        far, lifted = links.cannot_links.added_to(self.lifted, lifted)
        shape = () if self.batch is None else (self.batch,)
        parts = [np.broadcast_to(costs, (*shape, costs.shape[-1])) for costs in (edges, lifted)]
        self.costs = np.concatenate(parts, axis=-1)
        self.joined, self.num_base = join(base, far), base.num_edges

    def without_links(self, found: LiftedSolution) -> LiftedSolution:
        """A solution whose labels are those of the user's edges."""
        labels, lifted = found.edge_labels[: self.graph.num_edges], found.lifted_labels[: self.lifted.num_edges]
        return replace(found, edge_labels=labels, lifted_labels=lifted)


def _lifted_costs(value: Any) -> Array:
    """The costs of lifted edges, none of them a must-link."""
    costs = float_array(value, "lifted_costs", "(m',) or (B, m')", infinite=True)
    forced = np.argwhere(np.isposinf(costs))
    if len(forced):
        raise ValueError(
            f"lifted_costs must not be +inf, got {len(forced)} such value(s), first at index "
            f"{tuple(forced[0].tolist())}: a lifted edge connects nothing; name its ends in must_link=, which does"
        )
    return costs


def graphs_of(graph: Any, lifted_edges: Any, num_nodes: int | None) -> tuple[Graph, Graph]:
    """Both edge lists as graphs of the same nodes."""
    if num_nodes is None and not isinstance(graph, Graph):
        num_nodes = max(as_graph(graph).num_nodes, _lifted_graph(lifted_edges, None).num_nodes)
    base = as_graph(graph, num_nodes)
    lifted = _lifted_graph(lifted_edges, base.num_nodes)
    if lifted.num_nodes != base.num_nodes:
        raise ValueError(f"lifted_edges must have the graph's {base.num_nodes} nodes, got {lifted.num_nodes}")
    return base, lifted


def _lifted_graph(lifted_edges: Any, num_nodes: int | None) -> Graph:
    try:
        return as_graph(lifted_edges, num_nodes)
    except (TypeError, ValueError) as error:
        raise type(error)(f"lifted_edges must be pairs of nodes of the graph, shape (m', 2): {error}") from error


def join(base: Graph, lifted: Graph) -> Graph:
    """The graph of all edges; for two graphs that were joined last it is at hand."""
    known = _joined.get(base)
    if known is not None and known[0]() is lifted:
        return known[1]
    joined = joined_graph(base, lifted.edges)
    _joined[base] = weakref.ref(lifted), joined
    return joined


def _solve(
    instance: _Instance, nodes: Array, partitionable: Any, options: LiftedOptions, reference: Any
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
