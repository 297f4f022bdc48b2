"""What graphs are made from, and what they become: ids, matrices, tables, graphs of other libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ._arrays import Array, to_numpy
from ._ids import concatenated_ids, id_array
from ._matrices import check_symmetric, correlations, expected_correlations, triples
from ._tables import attribute_costs, check_same_labels, cost_column, end_ids

if TYPE_CHECKING:
    import networkx


class Conversions:
    """The ways into and out of a :class:`~diffcomb.Graph`, which inherits them."""

    num_nodes: int
    edges: Array

    if TYPE_CHECKING:

        def __init__(self, num_nodes: int, edges: Any) -> None: ...

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
        >>> from diffcomb import Graph
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
        ids, number = np.unique(concatenated_ids(pairs.ravel(), more), return_inverse=True)
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
        TypeError
            If it is no networkx graph, or an attribute `weight` is no number.
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
        return result, attribute_costs([value for _, _, value in graph.edges(data=weight)], weight, list(graph.edges()))

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

    @classmethod
    def from_igraph(cls, graph: Any, weight: str | None = None) -> Any:
        """Convert an igraph graph; nodes and edges keep their order.

        Parameters
        ----------
        graph : igraph.Graph
            Undirected.
        weight : str, optional
            An edge attribute to return as edge costs.

        Returns
        -------
        Graph or (Graph, numpy.ndarray of float64)

        Raises
        ------
        TypeError, ValueError
            If it is no igraph graph, is directed, or an edge lacks the attribute or has no number there.
        """
        if not hasattr(graph, "get_edgelist"):
            raise TypeError(f"from_igraph needs an igraph graph, got {type(graph).__name__}")
        if graph.is_directed():
            raise ValueError("from_igraph needs an undirected graph; graph.as_undirected(mode='collapse') makes one")
        result = cls(graph.vcount(), np.array(graph.get_edgelist(), np.int64).reshape(-1, 2))
        if weight is None:
            return result
        if weight not in graph.es.attributes():
            raise ValueError(f"weight={weight!r} is no edge attribute; there are {graph.es.attributes()}")
        return result, attribute_costs(graph.es[weight], weight, graph.get_edgelist())

    @classmethod
    def from_edge_index(cls, edge_index: Any, num_nodes: int | None = None) -> tuple[Self, Array]:
        """Convert the `edge_index` (2, E) of PyTorch Geometric, which lists an undirected edge in both directions.

        Parameters
        ----------
        edge_index : tensor or array_like of int, shape (2, E)
        num_nodes : int, optional
            By default the largest end point tells.

        Returns
        -------
        graph : Graph
            With each edge once.
        first : numpy.ndarray of int64, shape (m,)
            Where each edge stands in `edge_index` first: ``edge_attr[first]`` are the values of its edges.

        Raises
        ------
        TypeError, ValueError
            If it has another type or shape.
        """
        pairs = to_numpy(edge_index)
        if pairs.ndim != 2 or pairs.shape[0] != 2:
            raise ValueError(f"edge_index must have shape (2, E), got {pairs.shape}")
        if pairs.dtype.kind not in "iu" and pairs.size:
            raise TypeError(f"edge_index must hold integers, got dtype {pairs.dtype}")
        edges = np.sort(pairs.T.astype(np.int64), axis=1)
        _, first = np.unique(edges, axis=0, return_index=True)
        first = np.sort(first)
        count = int(edges.max(initial=-1)) + 1 if num_nodes is None else num_nodes
        return cls(count, edges[first]), first

    @classmethod
    def from_pandas(cls, frame: Any, u: str = "u", v: str = "v", cost: str = "cost") -> tuple[Self, Array, Array]:
        """Convert a table of edges; ids are integers or names.

        Whole numbers are integers in columns of floats too; if one column holds names, all ids are strings.

        Parameters
        ----------
        frame : pandas.DataFrame
        u, v, cost : str
            Columns of the end points and the costs.

        Returns
        -------
        graph : Graph
        edge_costs : numpy.ndarray of float64, shape (m,)
        ids : numpy.ndarray, shape (n,)
            The id of every node, as of :meth:`from_ids`.

        Raises
        ------
        TypeError, ValueError
            If a column is missing, or holds something else.
        """
        if not hasattr(frame, "columns") or not hasattr(frame, "isna"):
            raise TypeError(f"frame must be a pandas.DataFrame, got {type(frame).__module__}.{type(frame).__name__}")
        names = list(frame.columns)
        for name in (u, v, cost):
            if names.count(name) != 1:
                count = "no column" if name not in names else f"{names.count(name)} columns"
                raise ValueError(f"the table has {count} {name!r}; there are {names}")
        if frame[[u, v]].isna().to_numpy().any():
            raise ValueError(f"the columns {u!r} and {v!r} must not have empty cells")
        graph, ids = cls.from_ids(end_ids(frame[u], frame[v]))
        return graph, cost_column(frame[cost]), ids

    @classmethod
    def from_correlation(
        cls, matrix: Any, threshold: float | None = None, *, resolution: float | None = None
    ) -> tuple[Self, Array, Array]:
        """Convert a correlation matrix to the complete graph whose edges cost the correlation less what is expected.

        Parameters
        ----------
        matrix : pandas.DataFrame or array_like, shape (n, n)
            Symmetric.
        threshold : float, optional
            Finite, 0 by default; what is correlated more than this attracts.
        resolution : float, optional
            Instead of one threshold for all: what is correlated more than so many times what the sums of both nodes'
            correlations let expect attracts. Multicuts maximise the modularity then, for matrices with negative entries
            that of Gomez, Jensen and Arenas (2009): expected are ``p_i p_j / sum(p) - q_i q_j / sum(q)``, where p and q
            are the sums of the positive and of the absolute negative entries of the rows without the diagonal.

        Returns
        -------
        graph : Graph
        edge_costs : numpy.ndarray of float64, shape (n (n - 1) / 2,)
        names : numpy.ndarray, shape (n,)
            Of the columns; 0..n-1 if there are none.

        Raises
        ------
        TypeError, ValueError
            If the matrix is not square, not symmetric, does not hold finite numbers, or is a table whose rows are
            labelled in another order than its columns; or if the threshold or the resolution is no finite number, or
            both are given.
        """
        if threshold is not None and resolution is not None:
            raise ValueError(f"give a threshold or a resolution, got {threshold!r:.80} and {resolution!r:.80}")
        for value, name in ((threshold, "threshold"), (resolution, "resolution")):
            number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
            if value is not None and not (number and np.isfinite(value)):
                raise (ValueError if number else TypeError)(f"{name} must be a finite number, got {value!r:.80}")
        names = np.asarray(matrix.columns) if hasattr(matrix, "columns") else None
        if names is not None and len(names) == len(matrix):
            check_same_labels(matrix)
        values = correlations(matrix)
        n = len(values)
        i, j = np.triu_indices(n, 1)
        expected = threshold or 0.0 if resolution is None else resolution * expected_correlations(values)[i, j]
        return cls(n, np.stack([i, j], axis=1)), values[i, j] - expected, np.arange(n) if names is None else names
