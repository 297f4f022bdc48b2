"""What graphs are made from, and what they become: ids, networkx, scipy.sparse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ._arrays import Array, to_numpy
from ._matrices import check_symmetric, triples

if TYPE_CHECKING:
    import networkx


class Conversions:
    """The ways into and out of a :class:`~diffcomb.Graph`, which inherits them."""

    num_nodes: int
    edges: Array

    def __init__(self, num_nodes: int, edges: Any) -> None:
        raise NotImplementedError

    @classmethod
    def from_ids(cls, edges: Any, nodes: Any = None) -> tuple[Self, Array]:
        """Number the nodes of an edge list of any ids: 64-bit ids, ids with gaps, names.

        Parameters
        ----------
        edges : array_like of int or str, shape (m, 2)
        nodes : array_like of int or str, shape (n,), optional
            Ids of nodes that are there even if no edge ends at them.

        Returns
        -------
        graph : Graph
            With the edges in the order given.
        ids : numpy.ndarray, shape (n,)
            The id of every node, ascending: ``ids[graph.edges]`` are the edges given, and values of nodes, clusters for
            instance, belong to ``ids`` in its order.

        Raises
        ------
        TypeError
            If ids are neither integers nor strings.
        ValueError
            If `edges` does not have shape (m, 2).

        Examples
        --------
        >>> graph, ids = Graph.from_ids([(2**40, 7), (7, 900)])
        >>> ids.tolist(), graph.edges.tolist()
        ([7, 900, 1099511627776], [[2, 0], [0, 1]])
        """
        pairs = id_array(edges, "edges")
        if pairs.size == 0:
            pairs = pairs.reshape(0, 2)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"edges must have shape (m, 2), got {pairs.shape}")
        more = id_array([] if nodes is None else nodes, "nodes").ravel()
        if pairs.size and more.size and (pairs.dtype.kind in "iu") != (more.dtype.kind in "iu"):
            raise TypeError(f"nodes must be ids of the kind of edges, got {more.dtype} and {pairs.dtype}")
        ids, number = np.unique(_concatenated(pairs.ravel(), more), return_inverse=True)
        return cls(len(ids), number[: pairs.size].reshape(-1, 2)), ids

    @classmethod
    def from_networkx(cls, graph: networkx.Graph, weight: str | None = None) -> Any:
        """Convert a networkx graph; nodes are numbered in the order of ``graph.nodes``.

        Parameters
        ----------
        graph : networkx.Graph
            An undirected graph or multigraph.
        weight : str, optional
            An edge attribute to return as edge costs.

        Returns
        -------
        Graph or (Graph, numpy.ndarray of float64)
            The graph; with `weight`, also the costs of its edges in the order of ``Graph.edges``.

        Raises
        ------
        ValueError
            If the graph is directed, or an edge lacks the attribute `weight`.
        """
        if not hasattr(graph, "is_directed"):
            raise TypeError(f"from_networkx needs a networkx graph, got {type(graph).__name__}")
        if graph.is_directed():
            raise ValueError(
                "from_networkx needs an undirected graph, got a directed one; add the costs of opposite edges, "
                "for example by A = networkx.to_scipy_sparse_array(graph) and Graph.from_scipy(A + A.T), since "
                "to_undirected() would keep one of the two"
            )
        index = {node: i for i, node in enumerate(graph.nodes)}
        pairs = [(index[u], index[v]) for u, v in graph.edges()]
        result = cls(len(index), np.array(pairs, np.int64).reshape(-1, 2))
        if weight is None:
            return result
        costs = [value for _, _, value in graph.edges(data=weight)]
        if any(value is None for value in costs):
            u, v = list(graph.edges())[costs.index(None)]
            raise ValueError(f"weight={weight!r} is missing on edge ({u!r}, {v!r}) of the networkx graph")
        try:
            return result, np.array(costs, np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"weight={weight!r} must hold numbers: {error}") from error

    def to_networkx(self, edge_costs: Any = None, weight: str = "weight") -> networkx.MultiGraph:
        """Convert to a networkx multigraph, with `edge_costs` (m,) as the edge attribute `weight` if given."""
        import networkx

        graph = networkx.MultiGraph()
        graph.add_nodes_from(range(self.num_nodes))
        if edge_costs is None:
            graph.add_edges_from(self.edges.tolist())
        else:
            costs = to_numpy(edge_costs)
            if costs.shape != (len(self.edges),):
                raise ValueError(f"edge_costs must have shape (m,) = ({len(self.edges)},), got {costs.shape}")
            graph.add_weighted_edges_from(
                ((u, v, c) for (u, v), c in zip(self.edges.tolist(), costs.tolist(), strict=True)), weight=weight
            )
        return graph

    @classmethod
    def from_scipy(cls, matrix: Any) -> tuple[Self, Array]:
        """Convert a symmetric sparse matrix to a graph and its edge costs, one edge per stored pair i <= j.

        Parameters
        ----------
        matrix : scipy.sparse matrix or array, or dense array, shape (n, n)
            Either symmetric or triangular; stored zeros are edges of cost zero.

        Returns
        -------
        graph : Graph
        edge_costs : numpy.ndarray, shape (m,)

        Raises
        ------
        TypeError
            If the matrix does not hold real numbers.
        ValueError
            If the matrix is not square, holds NaN, or is neither triangular nor symmetric but for rounding.
        """
        row, col, costs, n = triples(matrix)
        if np.any(row > col) and np.any(row < col):
            check_symmetric(row, col, costs, n)
            upper = row <= col
            row, col, costs = row[upper], col[upper], costs[upper]
        return cls(n, np.stack([row, col], axis=1)), costs


def _concatenated(a: Array, b: Array) -> Array:
    """Both arrays of ids in one; integers stay exact (numpy would make floats of int64 and uint64)."""
    if a.size == 0 or b.size == 0:
        return b if a.size == 0 and b.size else a
    if np.result_type(a, b).kind == "f":
        signed, other = (a, b) if a.dtype.kind == "i" else (b, a)
        if signed.min() < 0 and other.max() > np.iinfo(np.int64).max:
            raise TypeError("ids must not be negative in one array and above 2^63 - 1 in the other")
        kind = np.int64 if signed.min() < 0 else np.uint64
        a, b = a.astype(kind), b.astype(kind)
    return np.concatenate([a, b])


def id_array(values: Any, name: str) -> Array:
    """Return ids as an array of integers or of strings, or say what is wrong with them."""
    try:
        array = to_numpy(values)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of ids, got rows of different lengths: {values!r:.80}") from error
    if array.dtype.kind == "O" and array.size and all(isinstance(v, str) for v in array.flat):
        array = array.astype(str)
    if array.size == 0:
        return array.astype(np.int64) if array.dtype.kind not in "iuU" else array
    if array.dtype.kind not in "iuU":
        raise TypeError(f"{name} must hold integers or strings, got dtype {array.dtype}")
    return array
