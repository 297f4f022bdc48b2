"""What a file of a problem holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import Array, float_array
from ..graph import Graph


@dataclass(frozen=True, eq=False)
class Instance:
    """A graph with the costs of a multicut, multiway cut, asymmetric multiway cut or lifted multicut.

    Attributes
    ----------
    graph : Graph
    edge_costs : numpy.ndarray, shape (m,)
        Positive is attractive.
    ids : numpy.ndarray, shape (n,), optional
        Ids of the nodes in the file, integers or strings; None if they are 0..n-1.
    node_costs : numpy.ndarray, shape (n, K), optional
    partitionable : numpy.ndarray of bool, shape (K,), optional
        None: no class is.
    lifted_edges : numpy.ndarray, shape (m', 2), optional
    lifted_costs : numpy.ndarray, shape (m',), optional
    """

    graph: Graph
    edge_costs: Array
    ids: Array | None = None
    node_costs: Array | None = None
    partitionable: Array | None = None
    lifted_edges: Array | None = None
    lifted_costs: Array | None = None

    @property
    def node_ids(self) -> Array:
        """The id of every node."""
        return np.arange(self.graph.num_nodes) if self.ids is None else self.ids


def unless_plain(ids: Array) -> Array | None:
    """The ids of the nodes, or None if they are 0..n-1."""
    return None if np.array_equal(ids, np.arange(len(ids))) else ids


def as_instance(instance: Any, edge_costs: Any = None) -> Instance:
    """An Instance as it is, or one of a graph and its costs."""
    if isinstance(instance, Instance):
        return instance
    if not isinstance(instance, Graph):
        raise TypeError(f"instance must be an Instance or a Graph with edge_costs, got {type(instance).__name__}")
    costs = float_array(edge_costs, "edge_costs", "(m,)", infinite=True)
    if costs.shape != (instance.num_edges,):
        raise ValueError(f"edge_costs must have shape (m,) = ({instance.num_edges},), got {costs.shape}")
    return Instance(instance, costs)
