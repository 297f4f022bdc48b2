"""The public verbs: :func:`amwc`, :func:`mwc` and :func:`multicut`. Each picks a solver and returns a Solution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ._arrays import Array, check_same_device, float_array, like, to_numpy
from ._interrupt import Interrupt
from ._threads import thread_map
from .graph import Graph, as_graph
from .lifting import BoundLift, labels_of
from .problem import Problem, Solution, checked_problem, class_mask
from .solvers import budget_of, check_time_limit, get_solver, prepare, solve
from .solvers.levels.labels import from_labels
from .warm_differences import WarmDifferences

F = TypeVar("F", bound=Callable[..., Any])


def _linear_face(face: Callable[..., Any], cost_ndims: tuple[int, ...]) -> Callable[[F], F]:
    """Attach the map "costs -> solutions, linear objective", under which a gradient estimator sees a solver.

    The face may have a method `revisit`: warm black-box differences at all scales at once, see :func:`_revisit`.
    """

    def attach(function: F) -> F:
        face.cost_ndims = cost_ndims  # type: ignore[attr-defined]
        face.revisit = _revisit  # type: ignore[attr-defined]
        function.linear_face = face  # type: ignore[attr-defined]
        return function

    return attach


def _amwc_face(
    node_costs: Any, edge_costs: Any, *, graph: Any, partitionable: Any, init: Any = None, **options: Any
) -> tuple[Array, Array, Array]:
    """`amwc` as (c_V, c_E) -> (x one-hot, y, clusters); `init` is such a triple."""
    if isinstance(init, tuple) and to_numpy(init[0]).ndim == 2:
        init = (labels_of(to_numpy(init[0])), init[2])
    solution = amwc(graph, node_costs, edge_costs, partitionable, init=init, **options)
    one_hot = np.zeros(node_costs.shape, node_costs.dtype)
    if len(one_hot):
        one_hot[np.arange(len(one_hot)), solution.node_labels] = 1
    return one_hot, solution.edge_labels.astype(edge_costs.dtype), solution.clusters


def _mwc_face(node_costs: Any, edge_costs: Any, *, graph: Any, **options: Any) -> tuple[Array, Array, Array]:
    return _amwc_face(node_costs, edge_costs, graph=graph, partitionable=(), **options)


def _multicut_face(edge_costs: Any, *, graph: Any, init: Any = None, **options: Any) -> tuple[Array, Array]:
    if isinstance(init, tuple) and len(init) == 2:
        init = init[1]
    solution = multicut(graph, edge_costs, init=init, **options)
    return solution.edge_labels.astype(edge_costs.dtype), solution.clusters


def _revisit(
    costs: tuple[Array, ...], outputs: tuple[Any, ...], lift: Any, data: dict[str, Any]
) -> Callable[[tuple[Array, ...], Array, Array], tuple[Array, ...]] | None:
    """Warm black-box differences from the forward solution `outputs`, or None where the options ask for a search."""
    searches = data.get("effort") or data.get("time_limit") is not None
    if data.get("solver", "multilevel") != "multilevel" or searches or not isinstance(lift, BoundLift | None):
        return None
    clusters, n = outputs[-1], len(outputs[-1])
    P: Any
    if len(costs) == 1:  # the multicut: one class without costs
        nodes, classes, labels, P = np.zeros((n, 1), costs[0].dtype), np.zeros(1, np.int64), np.zeros(n, np.int64), (0,)
    elif lift is None:
        nodes, classes, labels = costs[0], np.arange(costs[0].shape[1]), labels_of(outputs[0])
        P = data.get("partitionable", ())
    else:
        nodes, classes, labels, clusters, P = costs[0], lift.classes, lift.labels, lift.labels, ()
    problem = Problem(as_graph(data["graph"], n), nodes, costs[-1], class_mask(P, len(classes)))

    def again(grads: tuple[Array, ...], scales: Array, weights: Array) -> tuple[Array, ...]:
        node_grad = grads[0] if len(grads) == 2 else nodes
        start = from_labels(labels, clusters, problem.partitionable)
        return WarmDifferences(problem, start, classes, node_grad, grads[-1]).differences(scales, weights)[
            -len(costs) :
        ]

    return again


@_linear_face(_amwc_face, cost_ndims=(2, 1))
def amwc(
    graph: Any,
    node_costs: Any,
    edge_costs: Any,
    partitionable: Any,
    *,
    solver: str = "multilevel",
    init: Any = None,
    seed: int = 0,
    effort: int | None = None,
    time_limit: float | None = None,
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
    solver : {"multilevel", "kernighan_lin", "greedy", "exact"}
        `multilevel` is fast and good, `kernighan_lin` improves its solution (or `init`) a little more, `greedy` is
        Algorithm 2 of the paper, `exact` is for small instances.
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
        stops with its best solution and bound, `greedy` takes none. The same seed then need not give the same solution.
        Ctrl-C ends the search and keeps the best solution of every instance, with a RuntimeWarning; without a limit, or
        before there is any labelling, or pressed twice, it raises KeyboardInterrupt.

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
        If shapes do not fit, a cost is NaN, a node cost is infinite, must-links and cannot-links contradict each other,
        a class or node index is out of range, the costs lie on different devices, there is no solver of that name, or
        it takes no `time_limit`.

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
    options = Options(solver, init, seed, effort, time_limit)
    return _solve(as_graph(graph, nodes.shape[-2]), nodes, edges, partitionable, options, edge_costs)


@_linear_face(_mwc_face, cost_ndims=(2, 1))
def mwc(
    graph: Any,
    node_costs: Any,
    edge_costs: Any,
    *,
    solver: str = "multilevel",
    init: Any = None,
    seed: int = 0,
    effort: int | None = None,
    time_limit: float | None = None,
) -> Solution:
    """Solve a multiway cut problem: the asymmetric one in which no class is partitionable.

    All parameters, results and errors are those of :func:`amwc`, without `partitionable`.

    Examples
    --------
    >>> import numpy as np
    >>> mwc([(0, 1)], np.array([[0.0, 1.0], [1.0, 0.5]]), np.array([2.0])).node_labels.tolist()
    [0, 0]
    """
    options = Options(solver, init, seed, effort, time_limit)
    return amwc(graph, node_costs, edge_costs, (), **options._asdict())


@_linear_face(_multicut_face, cost_ndims=(1,))
def multicut(
    graph: Any,
    edge_costs: Any,
    *,
    solver: str = "multilevel",
    init: Any = None,
    seed: int = 0,
    effort: int | None = None,
    time_limit: float | None = None,
) -> Solution:
    """Solve a multicut (correlation clustering) problem: one class, partitionable, without node costs.

    Parameters
    ----------
    graph : Graph or array_like of int, shape (m, 2)
        Of a plain edge list the largest end point tells the number of nodes.
    edge_costs : array_like or tensor, shape (m,) or (B, m)
        Cost of cutting each edge: positive is attractive, negative is repulsive, infinite as in :func:`amwc`.
    solver, init, seed, effort, time_limit
        As in :func:`amwc`; a plain array as `init` holds cluster ids.

    Returns
    -------
    Solution
        Whose node labels are all 0.

    Examples
    --------
    >>> import numpy as np
    >>> multicut([(0, 1), (1, 2)], np.array([1.0, -1.0])).clusters.tolist()
    [0, 0, 1]
    """
    graph = as_graph(graph)
    edges = float_array(edge_costs, "edge_costs", "(m,) or (B, m)", infinite=True)
    nodes = np.zeros((graph.num_nodes, 1), edges.dtype)
    if init is not None and not isinstance(init, (Solution, tuple)) and not _is_list_of_labellings(init):
        clusters = to_numpy(init)
        init = (np.zeros_like(clusters), clusters)
    return _solve(graph, nodes, edges, (0,), Options(solver, init, seed, effort, time_limit), edge_costs)


class Options(NamedTuple):
    """What the three verbs have in common."""

    solver: str
    init: Any
    seed: int
    effort: int | None
    time_limit: float | None


def _solve(graph: Graph, nodes: Array, edges: Array, partitionable: Any, options: Options, reference: Any) -> Solution:
    """Split a batch into instances, solve them in threads, stack the solutions."""
    solver, init, seed, effort, time_limit = options
    get_solver(solver)
    check_count(seed, "seed")
    if effort is not None:
        check_count(effort, "effort")
    check_time_limit(solver, time_limit)
    if edges.ndim not in (1, 2):
        raise ValueError(f"edge_costs must have shape (m,) or (B, m), got {edges.shape}")
    batched = nodes.ndim == 3 or edges.ndim == 2
    sizes = {len(a) for a, ndim in ((nodes, 3), (edges, 2)) if a.ndim == ndim}
    if len(sizes) > 1:
        raise ValueError(
            f"node_costs and edge_costs must have the same batch size, got {nodes.shape} and {edges.shape}"
        )
    count = sizes.pop() if batched else 1
    problems = [
        checked_problem(
            graph, nodes[b] if nodes.ndim == 3 else nodes, edges[b] if edges.ndim == 2 else edges, partitionable
        )
        for b in range(count)
    ]
    if batched and not problems:
        checked_problem(graph, np.zeros((graph.num_nodes, nodes.shape[-1])), np.zeros(graph.num_edges), partitionable)
    inits = [_instance_init(init, b if batched else None, count, problem) for b, problem in enumerate(problems)]
    prepare(graph, budget_of(init, effort, time_limit))
    jobs = zip(problems, inits, strict=True)

    def one(numbered: tuple[int, Any]) -> Solution:
        b, (problem, start) = numbered
        try:
            return solve(problem, solver, start, seed, effort, time_limit, interrupt)
        except ValueError as error:
            if batched:
                error.add_note(f"in instance {b} of a batch of {count}")
            raise

    with Interrupt(time_limit is not None, labelled=init is not None) as interrupt:
        solutions = thread_map(one, enumerate(jobs))
        return _stack(solutions, graph, reference) if batched else _as_kind(solutions[0], reference)


def check_count(value: Any, name: str) -> None:
    """Raise a ValueError unless `value` is a non-negative integer."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"{name} must be a non-negative integer, got {value!r}")


def _as_kind(s: Solution, reference: Any) -> Solution:
    x, y, z = (like(a, reference) for a in (s.node_labels, s.edge_labels, s.clusters))
    return Solution(x, y, z, s.objective, s.lower_bound)


def _stack(solutions: list[Solution], graph: Graph, reference: Any) -> Solution:
    count, n, m = len(solutions), graph.num_nodes, graph.num_edges
    x = np.array([s.node_labels for s in solutions], np.int64).reshape(count, n)
    y = np.array([s.edge_labels for s in solutions], np.uint8).reshape(count, m)
    z = np.array([s.clusters for s in solutions], np.int64).reshape(count, n)
    objective = np.array([s.objective for s in solutions], np.float64)
    bounds = [s.lower_bound for s in solutions]
    bound = None if None in bounds else like(np.array(bounds, np.float64), reference)
    x, y, z, objective = (like(a, reference) for a in (x, y, z, objective))
    return Solution(x, y, z, objective, bound)


def _is_list_of_labellings(init: Any) -> bool:
    return isinstance(init, list) and len(init) > 0 and isinstance(init[0], (Solution, tuple))


def _init_array(value: Any) -> Array:
    try:
        array = to_numpy(value)
        return array if array.size else array.astype(np.int64)
    except ValueError as error:
        raise ValueError(f"init must hold arrays of integers, got {value!r:.80}") from error


def _instance_init(init: Any, b: int | None, batch_size: int, problem: Problem) -> tuple[Array, Array] | None:
    """The initial labelling of instance b as (node labels, clusters), checked."""
    if init is None:
        return None
    if _is_list_of_labellings(init):
        if b is None:
            raise ValueError("init is a list of labellings, but the costs have no batch axis")
        if len(init) != batch_size:
            raise ValueError(f"init must have one labelling for each of {batch_size} instances, got {len(init)}")
        return _instance_init(init[b], None, 1, problem)
    if isinstance(init, Solution):
        init = (init.node_labels, init.clusters)
    if isinstance(init, tuple):
        if len(init) != 2:
            raise ValueError(f"init must be a Solution or a pair (node labels, clusters), got {len(init)} items")
        labels, clusters = (_init_array(a) for a in init)
    else:
        labels = clusters = _init_array(init)
    n, K = problem.graph.num_nodes, problem.num_classes
    if b is not None and labels.ndim == 2:
        if not len(labels) == len(clusters) == batch_size:
            raise ValueError(
                f"init must have one labelling for each of {batch_size} instances, "
                f"got {labels.shape} and {clusters.shape}"
            )
        labels, clusters = labels[b], clusters[b]
    for name, array in (("node labels", labels), ("clusters", clusters)):
        if array.dtype.kind not in "iu":
            raise TypeError(f"init: {name} must be integers, got dtype {array.dtype}")
        if array.shape != (n,):
            raise ValueError(f"init: {name} must have shape (n,) = ({n},) for each instance, got {array.shape}")
    if n and (labels.min() < 0 or labels.max() >= K):
        raise ValueError(f"init: node labels must lie in 0..{K - 1}, got {labels.min()}..{labels.max()}")
    return labels.astype(np.int64), clusters.astype(np.int64)
