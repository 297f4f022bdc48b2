"""The public verbs: :func:`amwc`, :func:`mwc` and :func:`multicut`. Each picks a solver and returns a Solution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._arrays import check_same_device, float_array
from ._interrupt import Interrupt
from .constraints import make_constraints
from .graph import Graph, as_graph
from .problem import Solution, checked_problem
from .solve_instances import Options, as_kind, solve_instances
from .solvers import Solver, budget_of
from .solvers.resolution import multicut_at_resolution
from .starts import cluster_starts, starts_of


def amwc(
    graph: Any,
    node_costs: Any,
    edge_costs: Any,
    partitionable: Any,
    *,
    solver: str | Solver = "multilevel",
    init: Any = None,
    seed: int = 0,
    effort: int | None = None,
    time_limit: float | None = None,
    must_link: Any = None,
    cannot_link: Any = None,
    seeds: Any = None,
    bound: bool = False,
) -> Solution:
    """Solve an asymmetric multiway cut problem (COPS eq. 2).

    Parameters
    ----------
    graph : Graph or array_like of int, shape (m, 2)
        The graph, or its plain edge list. Costs of parallel edges add up; self-loops are never cut.
    node_costs : array_like or tensor, shape (n, K) or (B, n, K)
        Cost of each class at each node; minimised. float32 and float64 are used as they are.
    edge_costs : array_like or tensor, shape (m,) or (B, m)
        Cost of cutting each edge: positive is attractive, negative is repulsive. +inf is a must-link, an edge that is
        never cut; -inf is a cannot-link, one that always is. Neither counts in the objective.
    partitionable : array_like of bool, shape (K,), or list of int
        The classes P that may be split into several clusters: a mask, or class indices.
    solver : {"multilevel", "kernighan_lin", "greedy", "mutex_watershed", "exact"} or callable
        `multilevel` is fast and good, `kernighan_lin` improves its solution (or `init`) a little more, `greedy` is
        Algorithm 2 of the paper, `mutex_watershed` goes by the order of the costs alone, `exact` proves the optimum:
        of small instances, and of larger ones that are nearly decided. Or a solver of yours: a function ``(problem, *,
        init, rng, budget) -> Solution`` as all of these are, see ``diffcomb.solvers``.
    init : Solution, or (node labels, clusters), or node labels, optional
        A labelling to start from; the result is never worse. Cluster ids are any integers; nodes of a
        partitionable class are together iff class and id agree. A batch takes a batch of them.
    seed : int
        Seed of the solver's random choices: the same seed gives the same solution.
    effort : int, optional
        Rounds of search of `multilevel` after its first pass; 0 is the fastest. By default 1, and 0 with an `init`.
        With the same seed a multicut or multiway cut gets no worse with more effort, an asymmetric one hardly ever.
    time_limit : float, optional
        Seconds for each instance, instead of `effort`: `multilevel` begins new rounds until they are over, `exact`
        stops with its best solution and bound, `kernighan_lin` gives `multilevel` half, `greedy` takes none. The same
        seed then need not give the same solution.
        Ctrl-C ends the search and keeps the best solution of every instance, with a RuntimeWarning; without a limit, or
        before there is any labelling, or pressed twice, it raises KeyboardInterrupt.
    must_link, cannot_link : array_like of int, shape (c, 2), optional
        Pairs of nodes that must, or must not, share a cluster, whether an edge joins them or not; the same for all
        instances of a batch.
    seeds : array_like of int, shape (n,), optional
        Nodes of one id must share a cluster, nodes of different ids must not; negative for nodes without a seed. S ids
        take S (S - 1) / 2 cannot-links; at most 4096.
    bound : bool
        Also prove a lower bound, ``Solution.lower_bound``: nothing is better than the solution by more than
        ``Solution.gap``. It takes a few times as long as `greedy`, and up to some seconds where
        a linear programme of up to 4,096 variables improves it; no `time_limit` counts that. ``solver="exact"`` proves
        one in any case.

    Returns
    -------
    Solution
        Arrays, or tensors on the device of the costs if those are tensors. With a batch axis B on either of
        the costs, every field has it, and the instances are solved in parallel threads.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If shapes do not fit, a cost is NaN, a node cost is infinite, constraints contradict each other or cannot be
        met, a class or node index is out of range, the costs lie on different devices, there is no solver of that
        name, or it takes no `time_limit`.

    Notes
    -----
    Where node costs have a batch axis and edge costs have none, or the other way round, the one without is
    shared by all instances.

    Examples
    --------
    Three nodes of one partitionable class; the repulsive edge is cut where that is cheapest:

    >>> import numpy as np
    >>> s = amwc([(0, 1), (1, 2), (0, 2)], np.zeros((3, 1)), np.array([1.0, 3.0, -2.0]), [0])
    >>> s.edge_labels.tolist(), s.clusters.tolist(), s.objective
    ([1, 0, 1], [0, 1, 1], -1.0)
    """
    check_same_device(node_costs=node_costs, edge_costs=edge_costs)
    nodes = float_array(node_costs, "node_costs", "(n, K) or (B, n, K)")
    edges = float_array(edge_costs, "edge_costs", "(m,) or (B, m)", infinite=True)
    if nodes.ndim not in (2, 3):
        raise ValueError(f"node_costs must have shape (n, K) or (B, n, K), got {nodes.shape}")
    graph = as_graph(graph, nodes.shape[-2])
    constraints = make_constraints(graph.num_nodes, must_link, cannot_link, seeds)
    options = Options(solver, init, seed, effort, time_limit, constraints, bound)
    return solve_instances(graph, nodes, edges, partitionable, options, edge_costs)


def mwc(
    graph: Any,
    node_costs: Any,
    edge_costs: Any,
    *,
    solver: str | Solver = "multilevel",
    init: Any = None,
    seed: int = 0,
    effort: int | None = None,
    time_limit: float | None = None,
    must_link: Any = None,
    cannot_link: Any = None,
    seeds: Any = None,
    bound: bool = False,
) -> Solution:
    """Solve a multiway cut problem: the asymmetric one in which no class is partitionable.

    All parameters, results and errors are those of :func:`amwc`, without `partitionable`.

    Examples
    --------
    >>> import numpy as np
    >>> mwc([(0, 1)], np.array([[0.0, 1.0], [1.0, 0.5]]), np.array([2.0])).node_labels.tolist()
    [0, 0]
    """
    return amwc(
        graph, node_costs, edge_costs, (), solver=solver, init=init, seed=seed, effort=effort, time_limit=time_limit,
        must_link=must_link, cannot_link=cannot_link, seeds=seeds, bound=bound,
    )  # fmt: skip


def multicut(
    graph: Any,
    edge_costs: Any,
    *,
    node_weights: Any = None,
    resolution: float | None = None,
    solver: str | Solver = "multilevel",
    init: Any = None,
    seed: int = 0,
    effort: int | None = None,
    time_limit: float | None = None,
    must_link: Any = None,
    cannot_link: Any = None,
    seeds: Any = None,
    bound: bool = False,
) -> Solution:
    """Solve a multicut (correlation clustering) problem: one class, partitionable, without node costs.

    Parameters
    ----------
    graph : Graph or array_like of int, shape (m, 2)
        Of a plain edge list the largest end point tells the number of nodes.
    edge_costs : array_like or tensor, shape (m,) or (B, m)
        Cost of cutting each edge: positive is attractive, negative is repulsive, infinite as in :func:`amwc`.
    node_weights : array_like, shape (n,), optional
        Weights a of the nodes, not negative; 1 by default if there is a resolution.
    resolution : float, optional
        γ >= 0: any two nodes of different clusters also save γ a_i a_j, whether an edge joins them or not. Those pairs
        are never listed: memory is O(n + m). 1 by default if there are node weights. With edge weights as costs, that
        is the constant Potts model; with the sum of its edges as the weight of a node and 1 / (sum of all of those) as
        resolution, modularity; with other weights, LambdaCC. One instance, `multilevel` alone, finite costs.
    solver, init, seed, effort, time_limit, must_link, cannot_link, seeds, bound
        As in :func:`amwc`; a plain array as `init` holds cluster ids. A resolution takes no constraints and no bound.

    Returns
    -------
    Solution
        Whose node labels are all 0.

    Examples
    --------
    >>> import numpy as np
    >>> multicut([(0, 1), (1, 2)], np.array([1.0, -1.0])).clusters.tolist()
    [0, 0, 1]

    Two triangles and an edge between them are two communities at resolution 1/2:

    >>> edges = [(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5), (2, 3)]
    >>> multicut(edges, np.ones(7), resolution=0.5).clusters.tolist()
    [0, 0, 0, 1, 1, 1]
    """
    graph = as_graph(graph)
    constraints = make_constraints(graph.num_nodes, must_link, cannot_link, seeds)
    options = Options(solver, cluster_starts(init), seed, effort, time_limit, constraints, bound)
    if node_weights is not None or resolution is not None:
        return _at_resolution(graph, edge_costs, node_weights, resolution, options)
    edges = float_array(edge_costs, "edge_costs", "(m,) or (B, m)", infinite=True)
    nodes = np.zeros((graph.num_nodes, 1), edges.dtype)
    return solve_instances(graph, nodes, edges, (0,), options, edge_costs)


def _at_resolution(graph: Graph, edge_costs: Any, node_weights: Any, resolution: Any, options: Options) -> Solution:
    """Check what a cost of all pairs needs, and solve."""
    if options.solver != "multilevel":
        raise ValueError(f"solver must be 'multilevel' with node_weights or a resolution, got {options.solver!r}")
    if len(options.constraints.costs):
        raise ValueError("must_link, cannot_link and seeds must be None with node_weights or a resolution")
    if options.bound:
        raise ValueError("bound must be False with node_weights or a resolution: no bound counts all pairs of nodes")
    edges = float_array(edge_costs, "edge_costs", "(m,) with node_weights or a resolution")
    if edges.ndim != 1:
        raise ValueError(f"edge_costs must have shape (m,) with node_weights or a resolution, got {edges.shape}")
    n = graph.num_nodes
    weights = np.ones(n) if node_weights is None else float_array(node_weights, "node_weights", "(n,)")
    if weights.shape != (n,) or (n and weights.min() < 0):
        raise ValueError(f"node_weights must be n={n} numbers that are not negative, got {weights!r:.80}")
    gamma = 1.0 if resolution is None else resolution
    number = isinstance(gamma, (int, float, np.integer, np.floating)) and not isinstance(gamma, bool)
    if not number or not 0 <= gamma < float("inf"):
        raise ValueError(f"resolution must be a finite number that is not negative, got {resolution!r}")
    total = float(weights.sum(dtype=np.float64))
    if not math.isfinite(total * total) or not math.isfinite(gamma * total * total):
        raise ValueError(
            f"the square of the sum of node_weights, and resolution times that, must be finite: the sum is {total:g}; "
            "divide the weights by a number, and multiply the resolution by its square"
        )
    problem = checked_problem(graph, np.zeros((n, 1), edges.dtype), edges, (0,))
    start = starts_of(options.init, 1, False, n, 1)[0]
    budget = budget_of(options.init, options.effort, options.time_limit)
    rng = np.random.default_rng(options.seed)
    with Interrupt(options.time_limit is not None, labelled=start is not None) as interrupt:
        budget.interrupt = interrupt
        found = multicut_at_resolution(
            problem, weights.astype(np.float64), float(gamma), init=start, rng=rng, budget=budget
        )
        return as_kind(found, edge_costs)
