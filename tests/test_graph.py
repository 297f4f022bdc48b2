import copy
import pickle

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from diffcomb import Graph, amwc, grid_graph, multicut


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


def test_three_dimensional_and_empty_grids():
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


def test_from_scipy_takes_symmetric_and_triangular_matrices():
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


def test_a_plain_edge_array_is_a_graph():
    edges = np.array([[0, 1], [1, 3]])
    assert multicut(edges, np.array([1.0, 1.0])).clusters.tolist() == [0, 0, 1, 0]
    assert amwc(edges, np.zeros((5, 1)), np.zeros(2), [0]).node_labels.shape == (5,)
