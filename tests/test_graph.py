import copy
import pickle

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from diffcomb import Graph, Problem, amwc, grid_graph, make_problem, multicut
from diffcomb import graph as graph_module
from diffcomb.graph import as_graph

INF = np.inf


def test_csr_holds_every_edge_twice_and_no_loop():
    edges = [(0, 1), (2, 1), (1, 1), (0, 1)]
    indptr, neighbours, edge_ids = Graph(4, edges).csr
    assert indptr.tolist() == [0, 2, 5, 6, 6]
    found = {(i, int(neighbours[h]), int(edge_ids[h])) for i in range(4) for h in range(indptr[i], indptr[i + 1])}
    assert found == {(0, 1, 0), (1, 0, 0), (2, 1, 1), (1, 2, 1), (0, 1, 3), (1, 0, 3)}


def test_csr_is_cached_and_edges_are_read_only():
    graph = Graph(2, [(0, 1)])
    assert graph.csr is graph.csr
    with pytest.raises(ValueError, match="read-only"):
        graph.edges[0, 0] = 1
    for copied in (pickle.loads(pickle.dumps(graph)), copy.deepcopy(graph)):
        assert copied.edges.tolist() == [[0, 1]]
        with pytest.raises(ValueError, match="read-only"):
            copied.edges[0, 0] = 100_000_000


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("num_nodes", "edges", "error", "message"),
    [
        (2, [(0, 2)], ValueError, r"end points in 0\.\.1 .*got \(0, 2\) in row 0"),
        (2, [(0, 1), (-1, 0)], ValueError, r"\(-1, 0\) in row 1"),
        (2, [(0.0, 1.0)], TypeError, "integers, got dtype float64"),
        (2, [(0, 1, 1)], ValueError, r"shape \(m, 2\), got \(1, 3\)"),
        (2, [0, 1], ValueError, r"shape \(m, 2\), got \(2,\)"),
        (2, [[0, 1], [1]], ValueError, "rows of different lengths"),
        (-1, [], ValueError, "num_nodes"),
        (2.0, [], TypeError, "num_nodes must be an integer"),
        (0, [(0, 0)], ValueError, "end points"),
    ],
)
def test_bad_graphs_are_refused(num_nodes, edges, error, message):
    with pytest.raises(error, match=message):
        Graph(num_nodes, edges)


def test_more_edges_than_their_indices_can_count_are_refused(monkeypatch):
    monkeypatch.setattr(graph_module, "MAX_EDGES", 3)
    assert Graph(4, [(0, 1), (1, 2), (2, 3)]).num_edges == 3
    for make in (lambda: Graph(2, [(0, 1)] * 4), lambda: grid_graph((2, 2), [(0, 1), (1, 0), (1, 1)])):
        with pytest.raises(ValueError, match=r"edges must be at most 3, got [45]: solve_blockwise takes more"):
            make()


def test_grid_edges_match_a_plain_loop():
    shape, offsets = (4, 5), [(0, 1), (1, 0), (2, -1), (-1, 3), (0, 9)]
    graph = grid_graph(shape, offsets)
    expected = [
        (i * 5 + j, (i + a) * 5 + j + b)
        for a, b in offsets
        for i in range(4)
        for j in range(5)
        if 0 <= i + a < 4 and 0 <= j + b < 5
    ]
    assert graph.edges.tolist() == [list(e) for e in expected]
    assert [s.stop - s.start for s in graph.edge_slices] == [16, 15, 8, 6, 0]


@pytest.mark.parametrize("anchor", ["start", "center"])
@pytest.mark.parametrize("offset", [(0, 1), (0, 4), (3, 0), (2, 2), (1, -1), (0, 7), (-2, 0)])
def test_map_window_follows_equations_10_and_11(anchor, offset):
    H, W = 5, 6
    graph = grid_graph((H, W), [offset])
    where = np.arange(H * W).reshape(H, W)[graph.map_window(0, anchor)].ravel()
    assert len(where) == graph.num_edges
    for place, (u, v) in zip(where, graph.edges, strict=True):
        i, j = divmod(int(place), W)
        back = (0, 0) if anchor == "start" else tuple(-(-d // 2) for d in offset)
        forth = offset if anchor == "start" else tuple(d // 2 for d in offset)
        assert (i - back[0]) * W + j - back[1] == u
        assert (i + forth[0]) * W + j + forth[1] == v


@pytest.mark.parametrize(
    ("shape", "offsets", "message"),
    [
        ((3, 3), [(0, 0)], "zero"),
        ((3, 3), [(1,)], "2 components"),
        ((3, -1), [(0, 1)], "negative"),
        ((3, 3), [(0.5, 1)], "integers"),
        ((2**32, 2**32), [(0, 1)], "at most"),
        (3, [(0, 1)], "tuple of integers"),
    ],
)
def test_bad_grids_are_refused(shape, offsets, message):
    with pytest.raises((TypeError, ValueError), match=message):
        grid_graph(shape, offsets)


def test_three_dimensional_and_empty_grids_have_the_right_size():
    assert grid_graph((2, 3, 4), [(0, 0, 1), (1, 1, 0)]).num_edges == 2 * 3 * 3 + 1 * 2 * 4
    empty = grid_graph((0, 5), [(1, 0)])
    assert empty.num_nodes == empty.num_edges == 0


def test_networkx_round_trip_keeps_order_and_costs():
    graph = nx.Graph()
    graph.add_edge("b", "a", cost=2.0)
    graph.add_edge("a", "c", cost=-1.0)
    ours, costs = Graph.from_networkx(graph, weight="cost")
    assert ours.edges.tolist() == [[0, 1], [1, 2]]
    assert costs.tolist() == [2.0, -1.0]
    back = ours.to_networkx(costs)
    assert sorted(d["weight"] for *_, d in back.edges(data=True)) == [-1.0, 2.0]
    assert Graph.from_networkx(back).num_edges == 2
    with pytest.raises(ValueError, match="missing on edge"):
        Graph.from_networkx(graph, weight="nothing")
    with pytest.raises(ValueError, match="undirected"):
        Graph.from_networkx(nx.DiGraph())
    with pytest.raises(TypeError, match="networkx graph, got list"):
        Graph.from_networkx([(0, 1)])


def test_from_scipy_accepts_symmetric_and_triangular_matrices():
    dense = np.array([[0, 2.0, 0], [2.0, 0, -1.0], [0, -1.0, 0]])
    for matrix in (sp.csr_array(dense), sp.csr_array(np.triu(dense)), sp.coo_matrix(np.tril(dense))):
        graph, costs = Graph.from_scipy(matrix)
        assert sorted((*sorted(e), c) for e, c in zip(graph.edges.tolist(), costs, strict=True)) == [
            (0, 1, 2.0),
            (1, 2, -1.0),
        ]
    with pytest.raises(ValueError, match="neither"):
        Graph.from_scipy(sp.csr_array(np.array([[0, 1.0], [2.0, 0]])))
    assert Graph.from_scipy(dense)[0].num_edges == 2
    with pytest.raises(ValueError, match="square"):
        Graph.from_scipy(sp.csr_array(np.zeros((2, 3))))


def test_plain_edge_array_is_accepted_as_a_graph():
    edges = np.array([[0, 1], [1, 3]])
    assert multicut(edges, np.array([1.0, 1.0])).clusters.tolist() == [0, 0, 1, 0]
    assert amwc(edges, np.zeros((5, 1)), np.zeros(2), [0]).node_labels.shape == (5,)


def test_from_scipy_accepts_matrices_that_are_symmetric_up_to_rounding():
    for seed in range(20):
        matrix = np.corrcoef(np.random.default_rng(seed).normal(size=(20, 50)))
        graph, costs = Graph.from_scipy(matrix)
        assert (graph.num_nodes, graph.num_edges) == (20, 210)  # the diagonal gives 20 self-loops
        assert np.array_equal(costs, matrix[tuple(graph.edges.T)])
    assert Graph.from_scipy(np.array([[0, INF], [INF, 0]]))[1].tolist() == [INF]


@pytest.mark.parametrize(
    ("matrix", "error", "message"),
    [
        (np.array([[0, 127], [-128, 0]], np.int8), ValueError, r"neither: 127 at \[0, 1\] and -128 at \[1, 0\]"),
        (np.array([[0, 1], [255, 0]], np.uint8), ValueError, "neither: 1 at .* and 255"),
        (np.array([[0, 1.0], [1 + 1e-6, 0]]), ValueError, "neither"),
        (np.array([[0, INF], [1.0, 0]]), ValueError, "neither: inf at"),
        (np.array([[0, np.nan], [np.nan, 0]]), ValueError, r"got 2 NaN, the first at \[0, 1\]"),
        (np.arange(3.0), ValueError, r"square matrix \(n, n\), got shape \(3,\)"),
        (np.ones((2, 3)), ValueError, r"got shape \(2, 3\)"),
        (np.ones((2, 2)) * 1j, TypeError, "real numbers, got dtype complex128"),
    ],
)
def test_matrices_that_are_not_graphs_are_refused(matrix, error, message):
    with pytest.raises(error, match=message):
        Graph.from_scipy(matrix)
    if matrix.ndim == 2:
        with pytest.raises(error, match=message.split(" at ")[0]):
            Graph.from_scipy(sp.csr_array(matrix))


def test_from_networkx_says_how_to_keep_the_costs_of_a_directed_graph():
    directed = nx.DiGraph()
    directed.add_weighted_edges_from([(0, 1, 2.0), (1, 0, -5.0)])
    with pytest.raises(ValueError, match=r"Graph.from_scipy\(A \+ A.T\)"):
        Graph.from_networkx(directed)
    A = nx.to_scipy_sparse_array(directed)
    assert Graph.from_scipy(A + A.T)[1].tolist() == [-3.0]


@pytest.mark.parametrize("big", [10**8, 2**31, 10**12])
def test_error_for_sparse_ids_says_how_to_renumber_them(big):
    edges = np.array([(5, big), (big, 7)])
    with pytest.raises(ValueError, match=r"numpy.unique\(edges, return_inverse=True\)"):
        as_graph(edges)
    with pytest.raises(ValueError, match=r"numpy\.unique"):
        Graph(100, edges)
    ids, renumbered = np.unique(edges, return_inverse=True)
    assert as_graph(renumbered.reshape(-1, 2)).num_nodes == len(ids) == 3


@pytest.mark.parametrize("wrong", ["abc", None, 5, [[0, "a"]]])
def test_invalid_edge_arrays_are_refused(wrong):
    with pytest.raises(TypeError, match="edges must"):
        as_graph(wrong)
    for graph, name in ((nx.Graph([(0, 1)]), "from_networkx"), (sp.eye_array(2), "from_scipy")):
        with pytest.raises(TypeError, match=f"use Graph.{name}"):
            as_graph(graph)


def test_objective_refuses_labels_of_wrong_shape_or_range():
    problem = make_problem(Graph(2, [(0, 1)]), np.zeros((2, 1)), np.ones(1), [0])
    assert problem.objective([0, 0], [True]) == 1
    for x, y, error, message in (
        ([0, 3], [0], ValueError, r"node_labels must lie in 0\.\.0, got 0\.\.3"),
        ([0, 10**9], [0], ValueError, "node_labels must lie in"),
        ([0, -1], [0], ValueError, "node_labels must lie in"),
        ([0], [0], ValueError, r"node_labels must have shape \(2,\)"),
        ([0, 0], np.zeros(4000, np.uint8), ValueError, r"edge_labels must have shape \(1,\), got \(4000,\)"),
        ([0, 0], [2], ValueError, r"edge_labels must lie in 0\.\.1"),
        ([0.0, 0.5], [0], TypeError, "node_labels must be integers"),
    ):
        with pytest.raises(error, match=message):
            problem.objective(np.array(x), np.array(y))


def test_problem_refuses_arrays_that_do_not_fit():
    graph, nodes, edges, P = Graph(3, [(0, 1)]), np.zeros((3, 2)), np.zeros(1), np.zeros(2, bool)
    assert Problem(graph, nodes, edges, P).num_classes == 2
    for wrong, message in (
        ((graph, nodes[:2], edges, P), r"node_costs must have shape \(n, K\) with n=3, got \(2, 2\)"),
        ((graph, nodes[:, :0], edges, P[:0]), "at least one class"),
        ((graph, nodes, np.zeros(2), P), r"edge_costs must have shape \(m,\) = \(1,\), got \(2,\)"),
        ((graph, nodes, edges, np.zeros(2)), "partitionable must be a boolean mask"),
    ):
        with pytest.raises(ValueError, match=message):
            Problem(*wrong)


def test_one_huge_entry_does_not_hide_asymmetry():
    with pytest.raises(ValueError, match=r"neither: 5 at \[0, 2\] and 0 at \[2, 0\]"):
        Graph.from_scipy(np.array([[0, 1e16, 5.0], [1e16, 0, 0], [0, 7, 0]]))
    rng = np.random.default_rng(0)
    scales = np.array([1e6, 1.0, 1e-3])
    assert Graph.from_scipy(np.cov(scales[:, None] * rng.normal(size=(3, 50))))[0].num_edges == 6


def test_labels_of_every_integer_dtype_are_accepted_and_others_refused():
    problem = make_problem(Graph(2, [(0, 1)]), np.arange(6.0).reshape(2, 3), np.ones(1), [0])
    for x in ([True, False], np.array([1, 0], ">i8"), np.array([1, 0], np.uint8)):
        assert problem.objective(x, [1]) == 5
    assert problem.violations([0, 1], [1], [0, 10**13]) == ["cluster ids are not 0..M-1"]
    for x, y, z in (([0.0, 1.0], [1], None), (["a", "b"], [1], None), ([0, 1], [1], [0, 0.5])):
        assert "must be integers" in problem.violations(x, y, z)[0]
    with pytest.raises(TypeError, match="must be numpy arrays; make_problem"):
        Problem(Graph(2, [(0, 1)]), [[0.0], [0.0]], np.ones(1), np.ones(1, bool))
