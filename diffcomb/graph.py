"""Graphs: an edge list in the user's order, with the adjacency structure that solvers need cached beside it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ._arrays import Array, to_numpy
from ._numba import njit
from .conversions import Conversions

MAX_NODES = MAX_EDGES = 2**31 - 1  # node and edge indices are int32 in the kernels
MAX_GAPS = 64  # nodes of a plain edge list for each edge, above MANY nodes: the ids must be those of something else
MANY = 2**20
RENUMBER = "ids, edges = numpy.unique(edges, return_inverse=True); edges.reshape(-1, 2) numbers nodes without gaps"


@njit
def _build_csr(num_nodes: int, edges: Array) -> tuple[Array, Array, Array]:
    """Both directions of every edge, sorted by node by counting; self-loops are left out."""
    indptr = np.zeros(num_nodes + 1, np.int64)
    for e in range(len(edges)):
        u, v = edges[e, 0], edges[e, 1]
        if u != v:
            indptr[u + 1] += 1
            indptr[v + 1] += 1
    for i in range(num_nodes):
        indptr[i + 1] += indptr[i]
    fill = indptr[:-1].copy()
    neighbours = np.empty(indptr[-1], np.int32)
    edge_ids = np.empty(indptr[-1], np.int32)
    for e in range(len(edges)):
        u, v = edges[e, 0], edges[e, 1]
        if u != v:
            neighbours[fill[u]] = v
            edge_ids[fill[u]] = e
            fill[u] += 1
            neighbours[fill[v]] = u
            edge_ids[fill[v]] = e
            fill[v] += 1
    return indptr, neighbours, edge_ids


class Graph(Conversions):
    """An undirected graph with nodes 0..n-1 and edges in the order given.

    Structure is validated and built once; every solve on the graph passes only costs.

    Parameters
    ----------
    num_nodes : int
        Number of nodes n; zero and isolated nodes are allowed.
    edges : array_like of int, shape (m, 2)
        End points. A repeated edge stays an edge of its own, so costs of parallel edges add up. A self-loop
        is never cut and never costs anything.

    Attributes
    ----------
    num_nodes, num_edges : int
        n and m.
    edges : numpy.ndarray of int32, shape (m, 2)
        The edge list, in the order given, read-only.

    Raises
    ------
    TypeError
        If `num_nodes` is not an integer or `edges` holds anything but integers.
    ValueError
        If `edges` does not have shape (m, 2), are more than 2^31 - 1, or an end point lies outside 0..n-1.

    Examples
    --------
    >>> graph = Graph(3, [(0, 1), (1, 2)])
    >>> graph
    Graph(num_nodes=3, num_edges=2)
    """

    def __init__(self, num_nodes: int, edges: Any) -> None:
        if isinstance(num_nodes, bool) or not isinstance(num_nodes, (int, np.integer)):
            raise TypeError(f"num_nodes must be an integer, got {num_nodes!r}")
        if not 0 <= num_nodes <= MAX_NODES:
            raise ValueError(f"num_nodes must lie in 0..{MAX_NODES}, got {num_nodes}")
        array = edge_array(edges)
        if len(array) and (array.min() < 0 or array.max() >= num_nodes):
            row = int(np.flatnonzero(((array < 0) | (array >= num_nodes)).any(axis=1))[0])
            raise ValueError(
                f"edges must have end points in 0..{num_nodes - 1} (num_nodes={num_nodes}), "
                f"got {tuple(array[row].tolist())} in row {row}; {RENUMBER}"
            )
        self._set_edges(int(num_nodes), np.array(array, np.int32, order="C"))

    def _set_edges(self, num_nodes: int, edges: Array) -> None:
        """Take an int32 array of valid edges that nobody else changes."""
        if len(edges) > MAX_EDGES:
            raise ValueError(f"edges must be at most {MAX_EDGES}, got {len(edges)}: solve_blockwise takes more")
        self.num_nodes = num_nodes
        self.edges = edges
        self.edges.flags.writeable = False

    @property
    def num_edges(self) -> int:
        """Number of edges m, parallel edges and self-loops included."""
        return len(self.edges)

    @functools.cached_property
    def csr(self) -> tuple[Array, Array, Array]:
        """Adjacency ``(indptr (n + 1,), neighbours (2m,), edge ids (2m,))``, self-loops left out, in O(n + m)."""
        return _build_csr(self.num_nodes, self.edges)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_nodes={self.num_nodes}, num_edges={self.num_edges})"

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "csr"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.edges = self.edges.copy()
        self.edges.flags.writeable = False  # the kernels rely on its being valid


def edge_array(edges: Any) -> Array:
    """Return `edges` as an integer array of shape (m, 2), or say what is wrong with it."""
    try:
        array = to_numpy(edges)
    except ValueError as error:
        raise ValueError(f"edges must have shape (m, 2), got rows of different lengths: {edges!r:.80}") from error
    if array.ndim == 0 or array.dtype.kind == "O":
        raise TypeError(f"edges must be an integer array of shape (m, 2), got {edges!r:.80}")
    if array.size == 0:
        return np.empty((0, 2), np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"edges must hold integers, got dtype {array.dtype}")
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"edges must have shape (m, 2), got {array.shape}")
    return array


def as_graph(graph: Any, num_nodes: int | None = None) -> Graph:
    """Return `graph` itself, or the :class:`Graph` of a plain (m, 2) edge array.

    Without `num_nodes` the number of nodes is one more than the largest end point.
    """
    if isinstance(graph, Graph):
        return graph
    if hasattr(graph, "is_directed") or hasattr(graph, "tocoo"):
        name = "from_networkx" if hasattr(graph, "is_directed") else "from_scipy"
        kind = f"{type(graph).__module__}.{type(graph).__name__}"
        raise TypeError(f"graph must be a Graph or an edge array (m, 2), got a {kind}; use Graph.{name}")
    edges = edge_array(graph)
    if num_nodes is None:
        num_nodes = int(edges.max()) + 1 if len(edges) else 0
        if num_nodes > max(MANY, MAX_GAPS * len(edges)):
            raise ValueError(
                f"edges hold the node id {num_nodes - 1} but only {len(edges)} edges; {RENUMBER}, or give "
                f"Graph(num_nodes, edges) if all nodes up to that id are meant"
            )
    elif len(edges) and edges.max() >= num_nodes:
        raise ValueError(
            f"edges hold the node id {edges.max()}, but there are values for {num_nodes} nodes alone: check the shape "
            f"of what is given for every node, as (n, K) of node costs; else {RENUMBER}"
        )
    return Graph(num_nodes, edges)
