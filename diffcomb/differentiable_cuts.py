"""Where cuts and gradients meet: the adapters under which ``perturbed_grad`` sees the verbs, and their warm starts.

Each is registered for its verb; :mod:`.cuts` knows nothing of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import constraints
from ._arrays import Array, to_numpy
from ._implicit import OneHot
from ._labels import class_mask
from .cuts import amwc, multicut, mwc
from .graph import as_graph
from .lifting import BoundLiftedMWC, labels_of
from .linear_solver import Arrays, Differences, LinearSolver, register
from .problem import Problem
from .warm_differences import Start, WarmDifferences

DATA = ("graph", "init", "solver", "seed", "effort", "time_limit", *constraints.KEYWORDS)  # keyword data of all verbs
PAIRS = ("node_weights", "resolution")  # of a multicut alone: a cost of all pairs of nodes


def searches(data: dict[str, Any]) -> bool:
    """Whether the options ask for a search at perturbed costs, too."""
    other = data.get("solver", "multilevel") != "multilevel"
    return other or bool(data.get("effort")) or data.get("time_limit") is not None


def is_constrained(data: dict[str, Any]) -> bool:
    """Whether there are must-links or cannot-links, of which moves of single nodes do not know."""
    return any(data.get(name) is not None for name in constraints.KEYWORDS)


class Cut(LinearSolver):
    """What the three verbs have in common."""

    thread_safe = True
    trusted = True
    data_names: tuple[str, ...] = DATA

    def takes(self, name: str) -> bool:
        """Whether the verb has a keyword of that name."""
        return name in self.data_names

    def perturbed_data(self, data: dict[str, Any]) -> dict[str, Any]:
        """Without `init`, which is meant for the forward solve, in its space."""
        return {key: value for key, value in data.items() if key != "init"}

    def warm_differences(
        self, costs: Arrays, outputs: tuple[Any, ...], lift: Any, data: dict[str, Any]
    ) -> Differences | None:
        """Differences by moves of single nodes from the forward solution; None where the options ask for a search."""
        if searches(data) or is_constrained(data):
            return None
        if not (lift is None or isinstance(lift, BoundLiftedMWC)):
            return None
        nodes, *labelling = self.labelling(costs, outputs, lift, data)
        graph = as_graph(data["graph"], len(nodes))
        problem = Problem(graph, nodes, costs[-1], np.zeros(nodes.shape[1], bool))  # the start says what may be split

        def differences(grads: Arrays, scales: Array, weights: Array) -> Arrays:
            node_grad = grads[0] if len(grads) == 2 else nodes
            warm = WarmDifferences(problem, Start.of(*labelling), node_grad, grads[-1])
            return warm.differences(scales, weights)[-len(costs) :]

        return differences

    def labelling(
        self, costs: Arrays, outputs: tuple[Any, ...], lift: BoundLiftedMWC | None, data: dict[str, Any]
    ) -> tuple[Array, Array, Array, Array, Array]:
        """Node costs (n, K), label and cluster of every node, class of every label (J,), and a mask of the labels."""
        if lift is not None:
            nothing = np.zeros(len(lift.classes), bool)
            return costs[0], lift.labels, lift.labels, lift.classes, nothing
        K = costs[0].shape[1]
        partitionable = class_mask(data.get("partitionable", ()), K)
        return costs[0], labels_of(outputs[0]), outputs[-1], np.arange(K), partitionable


class AsymmetricMultiwayCut(Cut):
    """`amwc` as (c_V, c_E) -> (x one-hot, y, clusters); `init` may be such a triple."""

    cost_ndims = (2, 1)
    data_names: tuple[str, ...] = (*DATA, "partitionable")

    def prepare(self, costs: Arrays, data: dict[str, Any]) -> dict[str, Any]:
        """Make a Graph of an edge list."""
        return {**data, "graph": as_graph(_graph_of(data), len(costs[0]))}

    def solve(self, node_costs: Any, edge_costs: Any, **data: Any) -> tuple[OneHot, Array, Array]:
        """Solve one instance; the class labels are only described as one-hot."""
        return self._described(amwc, node_costs, edge_costs, **data)

    def _described(
        self, verb: Any, node_costs: Any, edge_costs: Any, *, graph: Any, init: Any = None, **data: Any
    ) -> tuple[OneHot, Array, Array]:
        if isinstance(init, tuple) and init and (isinstance(init[0], OneHot) or to_numpy(init[0]).ndim == 2):
            one_hot = init[0] if isinstance(init[0], OneHot) else to_numpy(init[0])
            init = labels_of(one_hot), init[2]
        solution = verb(graph, node_costs, edge_costs, init=init, **data)
        x = OneHot(solution.node_labels, node_costs.shape[1], node_costs.dtype)
        return x, solution.edge_labels.astype(edge_costs.dtype), solution.clusters


class MultiwayCut(AsymmetricMultiwayCut):
    """`mwc`, likewise."""

    data_names = DATA

    def solve(self, node_costs: Any, edge_costs: Any, **data: Any) -> tuple[OneHot, Array, Array]:
        """Solve one instance."""
        return self._described(mwc, node_costs, edge_costs, **data)


class Multicut(Cut):
    """`multicut` as c_E -> (y, clusters); `init` may be such a pair."""

    cost_ndims = (1,)
    data_names = (*DATA, *PAIRS)

    def added(self, data: dict[str, Any]) -> list[str]:
        """What makes up a cost of all pairs of nodes."""
        return [name for name in PAIRS if data.get(name) is not None]

    def warm_differences(
        self, costs: Arrays, outputs: tuple[Any, ...], lift: Any, data: dict[str, Any]
    ) -> Differences | None:
        """None where all pairs of nodes cost something, too: moves of single nodes know of edges alone."""
        return None if self.added(data) else super().warm_differences(costs, outputs, lift, data)

    def prepare(self, costs: Arrays, data: dict[str, Any]) -> dict[str, Any]:
        """Make a Graph of an edge list."""
        return {**data, "graph": as_graph(_graph_of(data))}

    def solve(self, edge_costs: Any, *, graph: Any, init: Any = None, **data: Any) -> tuple[Array, Array]:
        """Solve one instance."""
        if isinstance(init, tuple) and len(init) == 2:
            init = init[1]
        solution = multicut(graph, edge_costs, init=init, **data)
        return solution.edge_labels.astype(edge_costs.dtype), solution.clusters

    def labelling(
        self, costs: Arrays, outputs: tuple[Any, ...], lift: BoundLiftedMWC | None, data: dict[str, Any]
    ) -> tuple[Array, Array, Array, Array, Array]:
        """One class, partitionable, without costs."""
        n = len(outputs[-1])
        no_costs, only_class = np.zeros((n, 1), costs[0].dtype), np.zeros(1, np.int64)
        return no_costs, np.zeros(n, np.int64), outputs[-1], only_class, np.ones(1, bool)


def _graph_of(data: dict[str, Any]) -> Any:
    if "graph" not in data:
        raise TypeError("cuts need the keyword graph=, a Graph or an edge array (m, 2)")
    return data["graph"]


register(amwc, AsymmetricMultiwayCut())
register(mwc, MultiwayCut())
register(multicut, Multicut())
