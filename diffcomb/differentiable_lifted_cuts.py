"""The adapters under which ``perturbed_grad`` sees the verbs of lifted problems.

Solves at perturbed costs begin at the forward solution, by the moves of which it is a local optimum. So a scale that
is too small to change anything gives exactly 0, and no difference points uphill.

With the lift of COPS Algorithm 1 no class is partitionable, hence nothing needs to be connected: lifted edges are edges
like all others. There the forward solution need not be a local optimum, since a far node may attract another one that
no path joins to it; differences count from the one that it leads to.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ._arrays import Array
from ._implicit import OneHot
from ._threads import thread_map
from .differentiable_cuts import DATA, is_constrained, searches
from .graph import as_graph
from .lifted_cuts import lifted_amwc, lifted_multicut
from .lifted_instance import graphs_of, join
from .lifting import BoundLiftedMWC, labels_of
from .linear_solver import Arrays, Differences, LinearSolver, register
from .problem import Problem
from .warm_differences import Start, WarmDifferences, perturbed


class LiftedMulticut(LinearSolver):
    """`lifted_multicut` as (c_E, c_F) -> (y, y', clusters); `init` may be such a triple."""

    cost_ndims: ClassVar[tuple[int, ...] | None] = (1, 1)
    thread_safe = True
    trusted = True
    data_names: tuple[str, ...] = (*DATA, "lifted_edges")
    needs: ClassVar[dict[str, str]] = dict.fromkeys(("graph", "lifted_edges"), "a Graph or an edge array")

    def takes(self, name: str) -> bool:
        """Whether the verb has a keyword of that name."""
        return name in self.data_names

    def prepare(self, costs: Arrays, data: dict[str, Any]) -> dict[str, Any]:
        """Make Graphs of both edge lists."""
        for name, what in self.needs.items():
            if name not in data:
                raise TypeError(f"lifted cuts need the keyword {name}=, {what}")
        graph, lifted = graphs_of(data["graph"], data["lifted_edges"], self.num_nodes(costs))
        return {**data, "graph": graph, "lifted_edges": lifted}

    def num_nodes(self, costs: Arrays) -> int | None:
        """Number of nodes, if the costs tell it."""
        return None

    def perturbed_data(self, data: dict[str, Any]) -> dict[str, Any]:
        """Without `init`, which is meant for the forward solve."""
        return {key: value for key, value in data.items() if key != "init"}

    def solve(
        self, edge_costs: Any, lifted_costs: Any, *, graph: Any, lifted_edges: Any, init: Any = None, **data: Any
    ) -> tuple[Array, Array, Array]:
        """Solve one instance."""
        if isinstance(init, tuple):
            init = init[2]
        found = lifted_multicut(graph, edge_costs, lifted_edges, lifted_costs, init=init, **data)
        return (
            found.edge_labels.astype(edge_costs.dtype), found.lifted_labels.astype(lifted_costs.dtype), found.clusters
        )  # fmt: skip

    def warm_differences(
        self, costs: Arrays, outputs: tuple[Any, ...], lift: Any, data: dict[str, Any]
    ) -> Differences | None:
        """Differences of solves that begin at the forward solution; None where the options ask for a search."""
        if lift is not None or searches(data):
            return None
        here = tuple(np.asarray(output) for output in outputs[: len(costs)])

        def one(grads: Arrays, scale: float, weight: float) -> Arrays:
            elsewhere = (perturbed(c, g, scale) for c, g in zip(costs, grads, strict=True))
            there = self.solve(*elsewhere, **{**data, "init": outputs})[: len(costs)]
            change = tuple(np.asarray(b, np.float64) - a for a, b in zip(here, there, strict=True))
            better = sum(float(np.vdot(c, d)) for c, d in zip(costs, change, strict=True)) < 0
            return tuple(0 * d if better else weight * d for d in change)  # then that is W(c) as well

        def differences(grads: Arrays, scales: Array, weights: Array) -> Arrays:
            parts = thread_map(
                lambda pair: one(grads, *pair), list(zip(scales.tolist(), weights.tolist(), strict=True))
            )
            return tuple(np.sum(terms, axis=0) for terms in zip(*parts, strict=True))

        return differences


class LiftedAsymmetricMultiwayCut(LiftedMulticut):
    """`lifted_amwc` as (c_V, c_E, c_F) -> (x one-hot, y, y', clusters)."""

    cost_ndims = (2, 1, 1)
    needs: ClassVar[dict[str, str]] = {**LiftedMulticut.needs, "partitionable": "the classes that may be split"}
    data_names = (*DATA, "lifted_edges", "partitionable")

    def num_nodes(self, costs: Arrays) -> int:
        """As many as there are node costs."""
        return len(costs[0])

    def solve(  # type: ignore[override]
        self, node_costs: Any, edge_costs: Any, lifted_costs: Any, *, graph: Any, lifted_edges: Any, partitionable: Any,
        init: Any = None, **data: Any,
    ) -> tuple[OneHot, Array, Array, Array]:  # fmt: skip
        """Solve one instance; the class labels are only described as one-hot."""
        if isinstance(init, tuple):
            init = labels_of(init[0]), init[3]  # behind them, a lift has its labels' classes
        graph = as_graph(graph, len(node_costs))
        found = lifted_amwc(
            graph, node_costs, edge_costs, partitionable, lifted_edges, lifted_costs, init=init, **data
        )  # fmt: skip
        x = OneHot(found.node_labels, node_costs.shape[1], node_costs.dtype)
        y, lifted = (labels.astype(edge_costs.dtype) for labels in (found.edge_labels, found.lifted_labels))
        return x, y, lifted, found.clusters

    def warm_differences(
        self, costs: Arrays, outputs: tuple[Any, ...], lift: Any, data: dict[str, Any]
    ) -> Differences | None:
        """With the lift of Algorithm 1, those of a multiway cut of all edges."""
        if not isinstance(lift, BoundLiftedMWC):
            return super().warm_differences(costs, outputs, lift, data)
        if is_constrained(data) or searches(data):
            return None
        nodes, edge_costs, lifted_costs = costs
        joined = join(data["graph"], data["lifted_edges"])
        nothing = np.zeros(len(lift.classes), bool)
        whole = np.zeros(nodes.shape[1], bool)
        problem = Problem(joined, nodes, np.concatenate([edge_costs, lifted_costs]), whole)

        def differences(grads: Arrays, scales: Array, weights: Array) -> Arrays:
            edge_grad = np.concatenate(grads[1:])
            start = Start.of(lift.labels, lift.labels, lift.classes, nothing)
            warm = WarmDifferences(problem, start, grads[0], edge_grad, settle=True)
            at_nodes, at_edges = warm.differences(scales, weights)
            return at_nodes, *np.split(at_edges, [len(edge_costs)])

        return differences


register(lifted_multicut, LiftedMulticut())
register(lifted_amwc, LiftedAsymmetricMultiwayCut())
