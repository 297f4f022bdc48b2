"""What a file of a problem holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import Array, float_array, to_numpy
from .._ids import id_array
from .._labels import class_mask
from ..graph import Graph


def check_sums(costs: Array) -> None:
    """Raise a ValueError if the sum of the costs of parallel edges is NaN, which no reader would take back."""
    if np.isnan(costs).any():
        raise ValueError("edge_costs must not make a pair of nodes both a must-link (inf) and a cannot-link (-inf)")


@dataclass(frozen=True, eq=False)
class Instance:
    """A graph with the costs of a multicut, multiway cut, asymmetric multiway cut or lifted multicut.

    Attributes
    ----------
    graph : Graph
    edge_costs : numpy.ndarray, shape (m,)
        Positive is attractive.
    ids : numpy.ndarray, shape (n,), optional
        Ids of the nodes in the file, integers or strings, each once; None if they are 0..n-1.
    node_costs : numpy.ndarray, shape (n, K), optional
    partitionable : numpy.ndarray of bool, shape (K,), optional
        Class indices are taken as well; None: no class is.
    lifted_edges : numpy.ndarray, shape (m', 2), optional
    lifted_costs : numpy.ndarray, shape (m',), optional

    Raises
    ------
    TypeError, ValueError
        If the arrays do not fit the graph or each other, or hold NaN.
    """

    graph: Graph
    edge_costs: Array
    ids: Array | None = None
    node_costs: Array | None = None
    partitionable: Array | None = None
    lifted_edges: Array | None = None
    lifted_costs: Array | None = None

    def __post_init__(self) -> None:
        """Check what files and users give, once for all formats and problems."""
        self._set("edge_costs", _costs(self.edge_costs, "edge_costs", "(m,)", self.graph.num_edges))
        if self.ids is not None:
            self._set("ids", _checked_ids(self.ids, self.graph.num_nodes))
        if self.node_costs is not None:
            self._check_classes(float_array(self.node_costs, "node_costs", "(n, K)"))
        if (self.lifted_edges is None) != (self.lifted_costs is None):
            given, missing = ("edges", "costs") if self.lifted_costs is None else ("costs", "edges")
            raise ValueError(f"lifted_{given} need lifted_{missing}, which are missing")
        if self.lifted_edges is not None:
            self._check_lifted(to_numpy(self.lifted_edges))

    @property
    def node_ids(self) -> Array:
        """The id of every node."""
        return np.arange(self.graph.num_nodes) if self.ids is None else self.ids

    def _set(self, name: str, value: Array) -> None:
        object.__setattr__(self, name, value)  # the class is frozen for its users

    def _check_classes(self, node_costs: Array) -> None:
        n = self.graph.num_nodes
        if node_costs.ndim != 2 or len(node_costs) != n or node_costs.shape[1] == 0:
            raise ValueError(f"node_costs must have shape (n, K) with n = {n} and K > 0, got {node_costs.shape}")
        self._set("node_costs", node_costs)
        if self.partitionable is not None:
            self._set("partitionable", class_mask(self.partitionable, node_costs.shape[1]))

    def _check_lifted(self, edges: Array) -> None:
        try:
            count = Graph(self.graph.num_nodes, edges).num_edges
        except (TypeError, ValueError) as error:
            raise ValueError(f"lifted_edges are wrong: {error}") from error
        self._set("lifted_edges", edges)
        self._set("lifted_costs", _costs(self.lifted_costs, "lifted_costs", "(m',)", count))


def unless_plain(ids: Array) -> Array | None:
    """The ids of the nodes, or None if they are 0..n-1."""
    return None if np.array_equal(ids, np.arange(len(ids))) else ids


def as_instance(instance: Any, edge_costs: Any = None) -> Instance:
    """An Instance as it is, or one of a graph and its costs."""
    if isinstance(instance, Instance):
        if edge_costs is not None:
            raise ValueError(
                "edge_costs must be left out with an Instance, which has its own; dataclasses.replace(instance, "
                "edge_costs=...) changes them"
            )
        return instance
    if not isinstance(instance, Graph):
        raise TypeError(f"instance must be an Instance or a Graph with edge_costs, got {type(instance).__name__}")
    return Instance(instance, edge_costs)


def _costs(values: Any, name: str, shape: str, count: int) -> Array:
    costs = float_array(values, name, shape, infinite=True)
    if costs.shape != (count,):
        raise ValueError(f"{name} must have shape {shape} = ({count},), got {costs.shape}")
    return costs


def _checked_ids(values: Any, n: int) -> Array:
    ids = id_array(values, "ids")
    if ids.shape != (n,):
        raise ValueError(f"ids must have shape (n,) = ({n},), got {ids.shape}")
    if not np.all(ids[1:] > ids[:-1]):  # ascending ids, as of Graph.from_ids, need no sorting
        found, times = np.unique(ids, return_counts=True)
        if len(found) < n:
            raise ValueError(f"ids must differ, got {found[times > 1][0]!r} for {times.max()} nodes")
    return ids
