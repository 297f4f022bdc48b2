"""Multicuts with a cost of all pairs: against the same pairs listed as edges, and on graphs whose communities are known."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcomb import Graph, make_problem, multicut
from diffcomb.solvers.hierarchy import natural
from diffcomb.solvers.levels.contraction import contracted
from diffcomb.solvers.levels.costs import rows_of
from diffcomb.solvers.moves.weighted_moving import Network, held
from diffcomb.solvers.resolution import _fused, _improved, _v_cycle


def listed(n, edges, costs, weights, resolution):
    """The same problem with an edge for every pair."""
    matrix = np.zeros((n, n))
    for (u, v), c in zip(edges, costs, strict=True):
        if u != v:
            matrix[min(u, v), max(u, v)] += c
    pairs = np.stack(np.triu_indices(n, 1), axis=1)
    return pairs, matrix[pairs[:, 0], pairs[:, 1]] - resolution * weights[pairs[:, 0]] * weights[pairs[:, 1]]


def value(pairs, costs, z):
    return float(np.sum(costs[z[pairs[:, 0]] != z[pairs[:, 1]]]))


@st.composite
def networks(draw):
    n = draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    edges = rng.integers(0, n, (draw(st.integers(0, 14)), 2))
    integral = draw(st.booleans())
    costs = rng.integers(-2, 4, len(edges)).astype(float) if integral else rng.normal(0.5, 1, len(edges))
    weights = rng.integers(0, 3, n).astype(float) if integral else rng.random(n)
    return n, edges, costs, weights, draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))


@pytest.mark.nojit
@given(networks())
def test_objective_is_that_of_the_listed_pairs_and_never_below_the_optimum(network):
    n, edges, costs, weights, resolution = network
    pairs, all_costs = listed(n, edges, costs, weights, resolution)
    s = multicut(Graph(n, edges), costs, node_weights=weights, resolution=resolution, effort=2)
    best = multicut(Graph(n, pairs), all_costs, solver="exact").objective
    assert s.objective == pytest.approx(value(pairs, all_costs, s.clusters), abs=1e-9)
    assert s.objective >= best - 1e-6


def test_small_networks_are_solved_to_the_optimum():
    missed = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        edges = np.unique(np.sort(rng.integers(0, 9, (20, 2)), axis=1), axis=0)
        costs, weights = rng.normal(0.5, 1, len(edges)), rng.random(9)
        pairs, all_costs = listed(9, edges, costs, weights, 0.7)
        s = multicut(Graph(9, edges), costs, node_weights=weights, resolution=0.7, effort=4)
        missed += s.objective > multicut(Graph(9, pairs), all_costs, solver="exact").objective + 1e-7
    assert missed == 0


def test_resolution_zero_is_the_plain_multicut():
    rng = np.random.default_rng(0)
    edges = np.unique(np.sort(rng.integers(0, 40, (120, 2)), axis=1), axis=0)
    costs = rng.normal(size=len(edges))
    s = multicut(Graph(40, edges), costs, resolution=0.0, effort=4)
    assert s.objective == pytest.approx(multicut(Graph(40, edges), costs, effort=4).objective, rel=0.01)


def test_modularity_of_the_karate_club_is_the_known_optimum():
    graph = nx.karate_club_graph()
    edges = np.array(graph.edges())
    degree = np.array([d for _, d in graph.degree()], float)
    s = multicut(Graph(34, edges), np.ones(len(edges)), node_weights=degree, resolution=1 / (2 * len(edges)), effort=4)
    communities = [set(np.flatnonzero(s.clusters == c).tolist()) for c in range(s.num_clusters)]
    assert nx.community.modularity(graph, communities, weight=None) == pytest.approx(0.41979, abs=1e-5)


@pytest.mark.nojit
def test_v_cycles_never_lose_and_move_pieces_where_neither_nodes_nor_clusters_gain():
    gained = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        edges = np.unique(np.sort(rng.integers(0, 120, (480, 2)), axis=1), axis=0)
        problem = make_problem(Graph(120, edges), None, np.ones(len(edges)))
        network = Network(contracted(rows_of(problem), natural(120), 120), np.ones(120), 0.1)
        z = _improved(network, rng.integers(0, 8, 120).astype(np.int32), natural)
        values = [held(network, z)]
        for _ in range(6):
            z = _v_cycle(network, z, lambda n, rng=rng: rng.permutation(n).astype(np.int32))
            values.append(held(network, z))
        assert (np.diff(values) >= -1e-9).all()
        gained += values[-1] > values[0] + 1e-9
    assert gained >= 3


def test_modularity_of_random_graphs_is_not_below_that_of_louvain_restarts():
    for seed in range(3):
        graph = nx.gnm_random_graph(400, 2000, seed=seed)
        edges, degree = np.array(graph.edges()), np.array([d for _, d in graph.degree()], float)
        s = multicut(Graph(400, edges), np.ones(len(edges)), node_weights=degree, resolution=1 / degree.sum())
        found = nx.community.modularity(graph, [set(np.flatnonzero(s.clusters == c)) for c in range(s.num_clusters)])
        louvain = (nx.community.louvain_communities(graph, seed=other) for other in range(10))
        assert found >= max(nx.community.modularity(graph, parts) for parts in louvain)


def test_more_effort_is_never_worse_and_a_start_is_kept():
    rng = np.random.default_rng(1)
    edges = np.unique(np.sort(rng.integers(0, 300, (1200, 2)), axis=1), axis=0)
    costs = np.ones(len(edges))
    values = [multicut(Graph(300, edges), costs, resolution=0.05, effort=e).objective for e in (0, 1, 3)]
    assert values == sorted(values, reverse=True)
    start = rng.integers(0, 20, 300)
    pairs, all_costs = listed(300, edges, costs, np.ones(300), 0.05)
    assert multicut(Graph(300, edges), costs, resolution=0.05, init=start).objective <= value(pairs, all_costs, start)
    first, second = (multicut(Graph(300, edges), costs, resolution=0.05, seed=3).clusters for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": -1.0}, "resolution must be a finite number"),
        ({"resolution": np.nan}, "resolution must be a finite number"),
        ({"resolution": "high"}, "resolution must be a finite number"),
        ({"node_weights": [1.0, -1.0, 1.0]}, "node_weights must be n=3 numbers"),
        ({"node_weights": [1.0, 1.0]}, "node_weights must be n=3 numbers"),
        ({"node_weights": [1.0, np.nan, 1.0]}, "node_weights"),
        ({"node_weights": [1e200, 1e200, 1.0]}, "square of the sum of node_weights"),
        ({"resolution": 0.5, "solver": "greedy"}, "solver must be 'multilevel'"),
    ],
)
def test_bad_input_says_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        multicut([(0, 1), (1, 2)], np.ones(2), **options)
    with pytest.raises(ValueError, match="edge_costs"):
        multicut([(0, 1), (1, 2)], np.array([np.inf, 1.0]), resolution=0.5)
    with pytest.raises(ValueError, match="edge_costs"):
        multicut([(0, 1), (1, 2)], np.ones((3, 2)), resolution=0.5)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny_and_edgeless_graphs(n):
    s = multicut(Graph(n, np.empty((0, 2), int)), np.empty(0), resolution=1.0)
    assert s.num_clusters == n
    assert s.objective == (-1.0 if n == 2 else 0.0)


@pytest.mark.nojit
def test_search_ends_between_passes_once_the_time_is_over():
    rng = np.random.default_rng(0)
    edges = np.unique(np.sort(rng.integers(0, 120, (480, 2)), axis=1), axis=0)
    problem = make_problem(Graph(120, edges), None, np.ones(len(edges)))
    network = Network(contracted(rows_of(problem), natural(120), 120), np.ones(120), 0.1)
    start = rng.integers(0, 8, 120).astype(np.int32)
    asked = []
    ended = _improved(network, start, natural, lambda: asked.append(1) or True)
    assert held(network, start) <= held(network, ended) <= held(network, _improved(network, ended, natural))
    assert 1 <= len(asked) <= 2
    z, value = _fused(network, (ended, held(network, ended)), start, natural, lambda: True)
    assert (z is ended, value) == (True, held(network, ended))
