"""The adapters under which ``perturbed_grad`` sees the verbs of lifted problems.

Solves at perturbed costs begin at the forward solution, by the moves of which it is a local optimum. So a scale that
is too small to change anything gives exactly 0, and no difference points uphill.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ._arrays import Array
from ._implicit import OneHot
from ._threads import thread_map
from .graph import as_graph
from .lifted_cuts import graphs_of, lifted_amwc, lifted_multicut
from .lifting import labels_of
from .linear_solver import Arrays, Differences, LinearSolver, register

DATA = ("graph", "lifted_edges", "init", "solver", "seed", "effort", "time_limit")


class LiftedMulticut(LinearSolver):
    """`lifted_multicut` as (c_E, c_F) -> (y, y', clusters); `init` may be such a triple."""

    cost_ndims: ClassVar[tuple[int, ...] | None] = (1, 1)
    thread_safe = True
    trusted = True
    data_names: tuple[str, ...] = DATA

    def takes(self, name: str) -> bool:
        """Whether the verb has a keyword of that name."""
        return name in self.data_names

    def prepare(self, costs: Arrays, data: dict[str, Any]) -> dict[str, Any]:
        """Make Graphs of both edge lists."""
        missing = [name for name in ("graph", "lifted_edges") if name not in data]
        if missing:
            raise TypeError(f"lifted cuts need the keyword {missing[0]}=, a Graph or an edge array")
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
            init = init[-1]
        found = lifted_multicut(graph, edge_costs, lifted_edges, lifted_costs, init=init, **data)
        return (
            found.edge_labels.astype(edge_costs.dtype), found.lifted_labels.astype(lifted_costs.dtype), found.clusters
        )  # fmt: skip

    def warm_differences(
        self, costs: Arrays, outputs: tuple[Any, ...], lift: Any, data: dict[str, Any]
    ) -> Differences | None:
        """Differences of solves that begin at the forward solution; None where the options ask for a search."""
        searches = data.get("effort") or data.get("time_limit") is not None
        if data.get("solver", "multilevel") != "multilevel" or searches or lift is not None:
            return None
        here = tuple(np.asarray(output) for output in outputs[: len(costs)])

        def one(grads: Arrays, scale: float, weight: float) -> Arrays:
            perturbed = tuple(c + (scale * g).astype(c.dtype) for c, g in zip(costs, grads, strict=True))
            there = self.solve(*perturbed, **{**data, "init": outputs})[: len(costs)]
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
    data_names = (*DATA, "partitionable")

    def num_nodes(self, costs: Arrays) -> int:
        """As many as there are node costs."""
        return len(costs[0])

    def solve(  # type: ignore[override]
        self, node_costs: Any, edge_costs: Any, lifted_costs: Any, *, graph: Any, lifted_edges: Any, init: Any = None,
        **data: Any,
    ) -> tuple[OneHot, Array, Array, Array]:  # fmt: skip
        """Solve one instance; the class labels are only described as one-hot."""
        if isinstance(init, tuple):
            init = (labels_of(init[0]), init[-1])
        partitionable = data.pop("partitionable")
        graph = as_graph(graph, len(node_costs))
        found = lifted_amwc(
            graph, node_costs, edge_costs, partitionable, lifted_edges, lifted_costs, init=init, **data
        )  # fmt: skip
        x = OneHot(found.node_labels, node_costs.shape[1], node_costs.dtype)
        y, lifted = (labels.astype(edge_costs.dtype) for labels in (found.edge_labels, found.lifted_labels))
        return x, y, lifted, found.clusters


register(lifted_multicut, LiftedMulticut())
register(lifted_amwc, LiftedAsymmetricMultiwayCut())
