"""Graphs of other libraries, tables and matrices become graphs, or an error names what is wrong with them."""

from fractions import Fraction

import networkx
import numpy as np
import pytest
import torch

from diffcomb import Graph, multicut, region_graph


@pytest.mark.parametrize(
    ("u", "v", "kinds", "ids"),
    [
        ([1.0, 2.0], [2, 3], (float, int), [1, 2, 3]),
        ([1, 2], [2, 3], ("Int64", int), [1, 2, 3]),
        ([1, 2], [2, 3], ("Int64", "Float64"), [1, 2, 3]),
        ([1, 2.0], [2, 3], (object, "uint8"), [1, 2, 3]),
        ([1.0, 2.0], ["2", "x"], (float, object), ["1", "2", "x"]),
        (["x", "y"], ["y", "z"], ("category", "string"), ["x", "y", "z"]),
        ([2**64 - 1, 2], [2, 3], ("uint64", "int64"), [2, 3, 2**64 - 1]),
    ],
)
def test_nodes_of_a_table_do_not_depend_on_the_kind_of_column(u, v, kinds, ids):
    pandas = pytest.importorskip("pandas")
    columns = {name: pandas.Series(c, dtype=k) for name, c, k in zip("uv", (u, v), kinds, strict=True)}
    graph, costs, found = Graph.from_pandas(pandas.DataFrame({**columns, "cost": [1, -1]}))
    assert found.tolist() == ids
    assert costs.tolist() == [1, -1]
    assert found[graph.edges].shape == (2, 2)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        (dict(u=[1.5], v=[2], cost=[1]), TypeError, "'u' must hold integers of 64 bits or names, got 1.5 in row 0"),
        (dict(u=[1e20], v=[2], cost=[1]), TypeError, "'u' must hold integers of 64 bits or names"),
        (dict(u=[None], v=[2], cost=[1]), ValueError, "must not have empty cells"),
        (
            dict(u=[1, 2], v=[2, 3], cost=[1, np.nan]),
            ValueError,
            "'cost' must hold a number in every row, got none in row 1",
        ),
        (dict(u=[1], v=[2], cost=["x"]), TypeError, "'cost' must hold numbers"),
        (dict(u=[1], v=[2]), ValueError, "the table has no column 'cost'"),
    ],
)
def test_wrong_tables_are_refused(columns, error, message):
    pandas = pytest.importorskip("pandas")
    with pytest.raises(error, match=message):
        Graph.from_pandas(pandas.DataFrame(columns))


def test_correlations_of_rows_in_another_order_are_refused():
    pandas = pytest.importorskip("pandas")
    values = [[1.0, 0.9, 0.9], [0.9, 1.0, 0.9], [0.9, 0.9, 1.0]]
    for index, columns in ((list("yxz"), list("xyz")), (None, [2, 1, 0]), (list("abc"), list("xyz"))):
        with pytest.raises(ValueError, match="needs a table whose rows are labelled as its columns"):
            Graph.from_correlation(pandas.DataFrame(values, index=index, columns=columns))
    assert Graph.from_correlation(pandas.DataFrame(values))[2].tolist() == [0, 1, 2]
    unequal = pandas.DataFrame([[1.0, 0.1, 0.2], [0.1, 1.0, 0.3], [0.2, 0.3, 1.0]], list("abc"), list("abc"))
    with pytest.raises(ValueError, match="rows are labelled as its columns"):  # which makes it unsymmetric as well
        Graph.from_correlation(unequal.loc[["b", "a", "c"]])


def test_correlations_of_a_table_keep_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]], columns=["x", "y", "z"])
    graph, costs, names = Graph.from_correlation(frame, threshold=0.5)
    assert names.tolist() == ["x", "y", "z"]
    assert costs == pytest.approx([0.4, -0.4, -0.3])
    assert multicut(graph, costs).clusters.tolist() == [0, 0, 1]


@pytest.mark.parametrize("resolution", [0.5, 1.0, 2])
def test_resolution_makes_costs_of_the_modularity(resolution):
    """Against networkx for positive weights; with two signs, against the sum over all pairs."""
    rng = np.random.default_rng(0)
    matrix = np.abs(rng.normal(size=(9, 9)))
    matrix += matrix.T
    np.fill_diagonal(matrix, np.nan)  # is not read
    graph, costs, _ = Graph.from_correlation(matrix, resolution=resolution)
    weighted = networkx.from_numpy_array(np.nan_to_num(matrix))
    partitions = [rng.integers(0, 3, 9) for _ in range(6)]

    def within(z):
        return sum(c for (u, v), c in zip(graph.edges, costs, strict=True) if z[u] == z[v])

    def modularity(z):
        parts = [set(np.flatnonzero(z == c).tolist()) for c in np.unique(z)]
        return networkx.community.modularity(weighted, parts, resolution=resolution)

    total = np.nansum(matrix)
    first = partitions[0]
    for z in partitions[1:]:
        gained = 2 * (within(z) - within(first)) / total
        assert gained == pytest.approx(modularity(z) - modularity(first), abs=1e-9)
    signed = matrix - 2.0
    graph, costs, _ = Graph.from_correlation(signed, resolution=resolution)
    p, q = np.nan_to_num(signed).clip(min=0), np.nan_to_num(-signed).clip(min=0)
    for (u, v), cost in zip(graph.edges, costs, strict=True):
        expected = p[u].sum() * p[v].sum() / p.sum() - q[u].sum() * q[v].sum() / q.sum()
        assert cost == pytest.approx(signed[u, v] - resolution * expected)
    assert not Graph.from_correlation(np.zeros((3, 3)), resolution=1.0)[1].any()


def test_igraph_and_edge_index_become_graphs():
    igraph = pytest.importorskip("igraph", reason="igraph is not installed: from_igraph is not tried")
    graph, costs = Graph.from_igraph(igraph.Graph([(0, 1), (1, 2)], edge_attrs={"w": [1, -2]}), weight="w")
    assert (graph.edges.tolist(), costs.tolist()) == ([[0, 1], [1, 2]], [1.0, -2.0])
    with pytest.raises(ValueError, match="needs an undirected graph"):
        Graph.from_igraph(igraph.Graph([(0, 1)], directed=True))
    with pytest.raises(ValueError, match="weight='x' is no edge attribute"):
        Graph.from_igraph(igraph.Graph([(0, 1)]), weight="x")
    for value, error, message in (
        (None, ValueError, "missing on edge"),
        ("2", TypeError, "must hold numbers, got '2'"),
    ):
        with pytest.raises(error, match=f"weight='w' .*{message}"):
            Graph.from_igraph(igraph.Graph([(0, 1), (1, 2)], edge_attrs={"w": [1, value]}), weight="w")


def test_edge_index_lists_each_edge_once():
    graph, first = Graph.from_edge_index(np.array([[0, 1, 1, 2, 3], [1, 0, 2, 1, 3]]), num_nodes=5)
    assert graph.num_nodes == 5
    assert graph.edges.tolist() == [[0, 1], [1, 2], [3, 3]]
    assert first.tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Graph.from_correlation([[1.0, 2.0]]), ValueError, "needs a square matrix"),
        (lambda: Graph.from_correlation([[1.0, 2.0], [3.0, 1.0]]), ValueError, "needs a symmetric matrix"),
        (
            lambda: Graph.from_correlation([[1.0, np.nan], [np.nan, 1.0]]),
            ValueError,
            r"got 1 NaN or infinite, the first at \[0, 1\]",
        ),
        (lambda: Graph.from_correlation([[1.0, np.inf], [np.inf, 1.0]]), ValueError, "needs finite numbers"),
        (lambda: Graph.from_correlation(np.eye(2), "0.5"), TypeError, "threshold must be a finite number, got '0.5'"),
        (lambda: Graph.from_correlation(np.eye(2), np.eye(2)), TypeError, "threshold must be a finite number"),
        (lambda: Graph.from_correlation(np.eye(2), np.nan), ValueError, "threshold must be a finite number, got nan"),
        (lambda: Graph.from_correlation(np.eye(2), resolution=True), TypeError, "resolution must be a finite number"),
        (
            lambda: Graph.from_correlation(np.eye(2), 0.1, resolution=1),
            ValueError,
            "a threshold or a resolution, got 0.1",
        ),
        (lambda: Graph.from_pandas([(0, 1, 2.0)]), TypeError, r"frame must be a pandas\.DataFrame, got builtins\.list"),
        (lambda: Graph.from_edge_index([[0, 1]]), ValueError, r"edge_index must have shape \(2, E\)"),
        (lambda: Graph.from_edge_index([[0.0], [1.0]]), TypeError, "edge_index must hold integers"),
        (lambda: Graph.from_igraph([(0, 1)]), TypeError, "needs an igraph graph, got list"),
    ],
)
def test_wrong_graphs_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("value", [[1, 2], np.ones(1), 1 + 2j, np.complex128(1), np.datetime64("2020-01-01"), "1"])
def test_weights_that_are_no_numbers_are_refused(value):
    graph = networkx.Graph([(0, 1, {"w": 1.5}), (1, 2, {"w": value})])
    with pytest.raises(TypeError, match=r"weight='w' must hold numbers, got .* on edge \(1, 2\)"):
        Graph.from_networkx(graph, weight="w")


def test_weights_may_be_numbers_of_any_kind():
    kinds = (1, 2.5, True, Fraction(1, 2), np.float32(0.25), np.int8(3), torch.tensor(4.0))
    graph = networkx.Graph([(i, i + 1, {"w": value}) for i, value in enumerate(kinds)])
    assert Graph.from_networkx(graph, weight="w")[1].tolist() == [1, 2.5, 1, 0.5, 0.25, 3, 4]


@pytest.mark.parametrize("cost", ["datetime64[ns]", "timedelta64[ns]", complex])
def test_columns_that_are_no_numbers_are_refused(cost):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: from_pandas is not tried")
    frame = pandas.DataFrame({"u": [0], "v": [1], "cost": np.array([3], np.int64).astype(cost)})
    with pytest.raises(TypeError, match="the column 'cost' must hold numbers, got dtype"):
        Graph.from_pandas(frame)


def test_empty_edge_index_has_no_edges():
    for empty in ([[], []], np.empty((2, 0)), torch.empty((2, 0), dtype=torch.int64)):
        graph, first = Graph.from_edge_index(empty, num_nodes=3)
        assert (graph.num_nodes, graph.num_edges, len(first)) == (3, 0, 0)


def test_correlations_of_any_size_have_expected_ones():
    matrix = np.array([[1, 0.9, -0.2], [0.9, 1, 0.4], [-0.2, 0.4, 1]])
    costs = Graph.from_correlation(matrix, resolution=1.0)[1]
    assert not Graph.from_correlation(matrix * 0 + 5e-324, resolution=1.0)[1].any()
    for scale in (2.0**1023, 2.0**-900):
        assert Graph.from_correlation(matrix * scale, resolution=1.0)[1].tolist() == (costs * scale).tolist()


def test_ids_of_lists_stay_exact_and_are_no_other_numbers():
    graph, ids = Graph.from_ids([(2**63 + 5, 7), (7, 9)])
    assert ids.tolist() == [7, 9, 2**63 + 5]
    assert ids[graph.edges].tolist() in ([[2**63 + 5, 7], [7, 9]], [[7, 2**63 + 5], [7, 9]])
    assert region_graph([2**63, 1]).graph.num_nodes == 2
    with pytest.raises(TypeError, match=r"edges must hold integers or strings, got 1\.5"):
        Graph.from_ids([("a", 1.5)])
    assert multicut([], [], seeds=[]).num_clusters == 0


def test_matrices_are_checked_for_masks_and_for_symmetry_at_any_scale():
    matrix = np.array([[0.0, 1.0], [1.0, 0.0]])
    masked = np.ma.array(matrix, mask=[[0, 1], [0, 0]])
    for convert in (Graph.from_scipy, Graph.from_correlation):
        with pytest.raises(TypeError, match="the matrix must not be a masked array"):
            convert(masked)
    with pytest.raises(ValueError, match="symmetric"):
        Graph.from_correlation(1e-9 * np.array([[0.0, 1.0], [-1.0, 0.0]]))
    assert Graph.from_scipy(matrix.astype(np.float16))[1].tolist() == [1.0]
    with pytest.raises(TypeError, match="edges must not be a masked array"):
        Graph.from_ids(np.ma.array([(0, 1)], mask=[(1, 0)]))
