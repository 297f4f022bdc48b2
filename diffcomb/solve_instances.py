"""From the checked arguments of a verb to solutions: a batch is split, solved in threads, and stacked again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._arrays import Array, like
from ._interrupt import Interrupt
from ._threads import thread_map
from .constraints import NO_CONSTRAINTS, Constraints
from .graph import Graph
from .problem import Problem, Solution, checked_problem
from .solvers import Solver, budget_of, check_time_limit, get_solver, prepare, solve
from .starts import Labelling, starts_of


@dataclass(frozen=True)
class Options:
    """What the three verbs have in common, checked."""

    solver: str | Solver
    init: Any
    seed: int
    effort: int | None
    time_limit: float | None
    constraints: Constraints = NO_CONSTRAINTS
    bound: bool = False

    def __post_init__(self) -> None:
        get_solver(self.solver)
        check_search(self)


def solve_instances(
    graph: Graph, nodes: Array, edges: Array, partitionable: Any, options: Options, reference: Any
) -> Solution:
    """Split a batch into instances, solve them in threads, stack the solutions."""
    if edges.shape[-1:] == (graph.num_edges,):  # _split says what is wrong with other shapes
        constrained, edges = options.constraints.added_to(graph, edges)
    else:
        constrained = graph
    problems, batched = _split(constrained, nodes, edges, partitionable)
    starts = starts_of(options.init, len(problems), batched, graph.num_nodes, nodes.shape[-1])
    prepare(constrained, budget_of(options.init, options.effort, options.time_limit))

    def one(numbered: tuple[int, tuple[Problem, Labelling | None]]) -> Solution:
        b, (problem, start) = numbered
        with with_instance(b, len(problems) if batched else None):
            o = options
            found = solve(problem, o.solver, start, o.seed, o.effort, o.time_limit, interrupt, o.bound)
            return replace(found, edge_labels=found.edge_labels[: graph.num_edges])

    with Interrupt(options.time_limit is not None, labelled=options.init is not None) as interrupt:
        solutions = thread_map(one, enumerate(zip(problems, starts, strict=True)))
        return stack(solutions, graph, reference) if batched else as_kind(solutions[0], reference)


def _split(graph: Graph, nodes: Array, edges: Array, partitionable: Any) -> tuple[list[Problem], bool]:
    """The instances, and whether there is a batch axis."""
    if edges.ndim not in (1, 2):
        raise ValueError(f"edge_costs must have shape (m,) or (B, m), got {edges.shape}")
    sizes = {len(a) for a, ndim in ((nodes, 3), (edges, 2)) if a.ndim == ndim}
    if not sizes:
        return [checked_problem(graph, nodes, edges, partitionable)], False
    if len(sizes) > 1:
        raise ValueError(
            f"node_costs and edge_costs must have the same batch size, got {nodes.shape} and {edges.shape}"
        )
    if sizes == {0}:  # shapes and classes are checked all the same
        n, m = graph.num_nodes, graph.num_edges
        checked_problem(graph, np.zeros((n, nodes.shape[-1])), np.zeros(m), partitionable)
    pairs = ((nodes[b] if nodes.ndim == 3 else nodes, edges[b] if edges.ndim == 2 else edges) for b in range(*sizes))
    return [checked_problem(graph, *pair, partitionable) for pair in pairs], True


def check_count(value: Any, name: str) -> None:
    """Raise a ValueError unless `value` is a non-negative integer."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"{name} must be a non-negative integer, got {value!r}")


def check_search(options: Any) -> None:
    """Check what the verbs of all problems have in common: seed, bound, effort and time limit."""
    check_count(options.seed, "seed")
    check_flag(options.bound, "bound")
    if options.effort is not None:
        check_count(options.effort, "effort")
    check_time_limit(options.solver, options.time_limit)


def check_flag(value: Any, name: str) -> None:
    """Raise a TypeError unless `value` is a truth value."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")


@contextmanager
def with_instance(number: int, count: int | None) -> Iterator[None]:
    """Let a ValueError say in which instance of a batch of `count` it was raised."""
    try:
        yield
    except ValueError as error:
        if count is not None:
            error.add_note(f"in instance {number} of a batch of {count}")
        raise


def as_kind(s: Solution, reference: Any) -> Solution:
    """A solution as tensors if the costs are tensors."""
    x, y, z = (like(a, reference) for a in (s.node_labels, s.edge_labels, s.clusters))
    return Solution(x, y, z, s.objective, s.lower_bound)


def stack(solutions: Sequence[Solution], graph: Graph, reference: Any) -> Solution:
    """The solutions of a batch as one, with a leading axis."""
    count, n, m = len(solutions), graph.num_nodes, graph.num_edges
    x = np.array([s.node_labels for s in solutions], np.int64).reshape(count, n)
    y = np.array([s.edge_labels for s in solutions], np.uint8).reshape(count, m)
    z = np.array([s.clusters for s in solutions], np.int64).reshape(count, n)
    objective = np.array([s.objective for s in solutions], np.float64)
    bounds = [s.lower_bound for s in solutions]
    bound = None if None in bounds else like(np.array(bounds, np.float64), reference)
    x, y, z, objective = (like(a, reference) for a in (x, y, z, objective))
    return Solution(x, y, z, objective, bound)
