"""Two graphs that make one lifted problem: base edges and lifted edges, their costs, and constraints.

A lifted problem holds one graph of all edges. What makes it of what users have stands here.
"""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import numpy as np

from ._arrays import Array, float_array
from .constraints import KEYWORDS, make_constraints
from .graph import Graph, as_graph
from .lifted_problem import LiftedProblem, LiftedSolution, joined_graph
from .problem import checked_problem

_joined: weakref.WeakKeyDictionary[Graph, tuple[weakref.ref[Graph], Graph]] = weakref.WeakKeyDictionary()


def make_lifted_problem(
    graph: Any, edge_costs: Any, lifted_edges: Any, lifted_costs: Any, node_costs: Any = None, partitionable: Any = ()
) -> LiftedProblem:
    """Validate one lifted instance (no batch axis) and return it, for solvers of one's own and for :func:`evaluate`.

    Parameters
    ----------
    graph, edge_costs, lifted_edges, lifted_costs
        As in :func:`lifted_multicut`.
    node_costs, partitionable : optional
        As in :func:`lifted_amwc`. Without them, this is a lifted multicut: one class, partitionable, without costs.

    Returns
    -------
    LiftedProblem

    Raises
    ------
    TypeError, ValueError
        As in :func:`lifted_multicut`.

    Examples
    --------
    >>> from diffcomb import evaluate
    >>> problem = make_lifted_problem([(0, 1), (1, 2)], [2.0, 1.0], [(0, 2)], [-3.0])
    >>> evaluate(problem, [5, 5, 6]).objective
    -2.0
    """
    edges = float_array(edge_costs, "edge_costs", "(m,)", infinite=True)
    nodes = None if node_costs is None else float_array(node_costs, "node_costs", "(n, K)")
    count = None if nodes is None or nodes.ndim != 2 else len(nodes)
    instance = LiftedInstance(graph, edges, lifted_edges, lifted_costs, count, dict.fromkeys(KEYWORDS))
    if instance.costs.ndim != 1:
        raise ValueError("edge_costs and lifted_costs must be of one instance, (m,) and (m',), got a batch")
    if nodes is None:
        nodes, partitionable = np.zeros((instance.graph.num_nodes, 1), edges.dtype), (0,)
    return LiftedProblem(checked_problem(instance.joined, nodes, instance.costs, partitionable), instance.num_base)


class LiftedInstance:
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
