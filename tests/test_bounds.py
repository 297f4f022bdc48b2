"""Lower bounds hold: they are compared with brute force, with exact solutions and with published optima."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive import brute_force
from strategies import instances, noisy_grid, random_instance

from diffcomb import Graph, amwc, grid_graph, lifted_amwc, multicut, mwc
from diffcomb._interrupt import Interrupt
from diffcomb.problem import make_problem
from diffcomb.solvers.bounds.classes import class_bound, pass_class_messages
from diffcomb.solvers.bounds.cycles import pack_cycles
from diffcomb.solvers.bounds.triplets import Triplets, merged, pass_messages, triangulate, triplet_bound
from diffcomb.solvers.limits import changed
from diffcomb.solvers.lower_bound import Dual, Guide, lower_bound


@pytest.mark.nojit
@given(instances(max_nodes=5, max_edges=7, max_classes=3), st.booleans())
def test_bound_is_never_above_the_optimum(instance, linear):
    n, edges, node_costs, edge_costs, partitionable = instance
    best, _, _ = brute_force(n, edges, node_costs, edge_costs, partitionable)
    with changed(linear_variables=4096 if linear else 0):
        found = amwc(Graph(n, edges), node_costs, edge_costs, partitionable, bound=True)
    assert found.lower_bound <= best + 1e-6 * (1 + abs(best))


@given(instances(max_nodes=7, max_edges=16, max_classes=1), st.integers(0, 2**31))
def test_bound_holds_whatever_clusters_guide_it(instance, seed):
    n, edges, _, edge_costs, _ = instance
    if n == 0:
        return
    problem = make_problem(Graph(n, edges), None, edge_costs)
    best = multicut(Graph(n, edges), edge_costs, solver="exact").objective
    guide = Guide(np.zeros(n, np.int64), np.random.default_rng(seed).integers(0, 3, n))
    with changed(linear_variables=0):
        assert lower_bound(problem, guide, Interrupt(False)) <= best + 1e-6 * (1 + abs(best))


@pytest.mark.parametrize("linear", [0, 4096])
def test_bound_is_close_on_planted_clusters(limits, linear):
    limits(linear_variables=linear)
    graph, _, costs, _ = noisy_grid((16, 16), noise=0.8)
    found = multicut(graph, costs, bound=True)
    assert 0 <= found.gap <= 0.02 * abs(found.objective)


def test_bounds_with_classes_are_close_on_planted_clusters():
    graph, nodes, costs, partitionable = noisy_grid((16, 16), noise=0.8)
    for found in (amwc(graph, nodes, costs, partitionable, bound=True), mwc(graph, nodes, costs, bound=True)):
        assert 0 <= found.gap <= 0.05 * abs(found.objective)


def test_linear_programme_improves_the_bound_of_message_passing(limits):
    rng = np.random.default_rng(0)
    edges = np.stack(np.triu_indices(14, 1), 1)
    costs = rng.normal(size=len(edges))
    limits(linear_variables=0)
    messages = multicut(edges, costs, bound=True)
    limits(linear_variables=4096)
    linear = multicut(edges, costs, bound=True)
    best = multicut(edges, costs, solver="exact").objective
    assert messages.lower_bound < linear.lower_bound <= best + 1e-7


def test_odd_cycle_of_one_repulsive_edge_has_its_optimum_as_bound():
    found = multicut([(0, 1), (1, 2), (2, 3), (3, 0)], [3.0, 2.0, 5.0, -4.0], bound=True)
    assert found.objective == pytest.approx(found.lower_bound) == -2.0


def test_infinite_costs_and_constraints_keep_the_bound_valid():
    rng = np.random.default_rng(1)
    for _ in range(20):
        n, edges, _, costs, _ = random_instance(rng, n=8, m=18, K=1)
        pairs = rng.permutation(8)[:4].reshape(2, 2)
        graph = Graph(n, edges)
        best = multicut(graph, costs, must_link=pairs[:1], cannot_link=pairs[1:], solver="exact").objective
        found = multicut(graph, costs, must_link=pairs[:1], cannot_link=pairs[1:], bound=True)
        assert found.lower_bound <= best + 1e-9
        assert found.gap <= 0.5 * abs(best)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_bounds_of_tiny_and_huge_costs_are_those_of_usual_ones(scale):
    graph, nodes, costs, partitionable = noisy_grid((6, 6))
    usual = amwc(graph, nodes, costs, partitionable, bound=True)
    found = amwc(graph, scale * nodes, scale * costs, partitionable, bound=True)
    assert found.lower_bound / scale == pytest.approx(usual.lower_bound, rel=1e-6)


def test_batch_and_tensors_have_bounds():
    graph, nodes, costs, partitionable = noisy_grid((8, 8))
    found = amwc(graph, torch.tensor(nodes), torch.tensor(np.stack([costs, 2 * costs])), partitionable, bound=True)
    assert found.lower_bound.shape == (2,)
    assert (found.lower_bound <= found.objective).all()


@pytest.mark.nojit
def test_empty_and_tiny_problems_have_bounds():
    assert multicut(Graph(0, []), [], bound=True).lower_bound == 0
    assert multicut(Graph(3, []), [], bound=True).lower_bound == 0
    assert multicut([(0, 0)], [-1.0], bound=True).lower_bound == pytest.approx(0, abs=1e-9)
    assert amwc(Graph(1, []), [[2.0, 1.0]], [], [], bound=True).lower_bound == pytest.approx(1)


@pytest.mark.nojit
def test_bound_is_refused_where_there_is_none():
    with pytest.raises(ValueError, match="bound must be False with node_weights or a resolution"):
        multicut([(0, 1)], [1.0], resolution=1.0, bound=True)
    with pytest.raises(TypeError, match="bound must be True or False, got 1"):
        multicut([(0, 1)], [1.0], bound=1)


# Parts


@pytest.mark.nojit
def test_messages_of_triplets_never_lower_the_bound_and_lose_no_costs():
    rng = np.random.default_rng(0)
    edges = np.array([(0, 1, 2), (0, 3, 4), (1, 3, 5), (2, 4, 5)], np.int32)
    for _ in range(50):
        costs = rng.normal(size=6)
        triplets = Triplets(edges, rng.normal(size=(4, 3)))
        total = costs.copy()
        np.add.at(total, edges, triplets.costs)
        before = np.minimum(costs, 0).sum() + triplet_bound(triplets)
        for _ in range(5):
            pass_messages(triplets, costs, 1)
            after = np.minimum(costs, 0).sum() + triplet_bound(triplets)
            assert after >= before - 1e-12
            before = after
        again = costs.copy()
        np.add.at(again, edges, triplets.costs)
        assert np.allclose(again, total)


@pytest.mark.nojit
@pytest.mark.parametrize(("most_looks", "num_clusters"), [(10**9, 1), (400, 1), (10**9, 3)])
def test_packed_cycles_and_what_is_left_add_up_to_the_costs(most_looks, num_clusters):
    rng = np.random.default_rng(0)
    graph = grid_graph((6, 6), [(0, 1), (1, 0), (2, 2)])
    costs = rng.normal(size=graph.num_edges)
    left, z = costs.copy(), np.arange(36) % 6 * num_clusters // 6
    lengths = np.array([2, 3, 4, 8])
    cycles, looks = pack_cycles(graph.csr, graph.edges, left, z, np.zeros(36, bool), lengths, 1e-9, most_looks)
    packed = left.copy()
    assert (packed * costs >= -1e-12).all(), "no edge gives more than it has"
    number = {tuple(sorted(edge)): e for e, edge in enumerate(graph.edges.tolist())}
    assert len(cycles.amounts) > (5 if most_looks > 400 else 0)
    assert 300 < looks < (500 if most_looks == 400 else 5000), "all searches end when they have looked at so many"
    for first, last, amount in zip(cycles.start, cycles.start[1:], cycles.amounts, strict=False):
        nodes = cycles.nodes[first:last].tolist()
        assert len(set(nodes)) == len(nodes) >= 3
        edges = [number[tuple(sorted(pair))] for pair in itertools.pairwise([*nodes, nodes[0]])]
        assert cycles.edges[first:last].tolist() == edges
        assert (costs[edges[:-1]] > 0).all()
        assert costs[edges[-1]] < 0
        left[edges[:-1]] += amount
        left[edges[-1]] -= amount
    assert np.allclose(left, costs)
    ends, edges, shares = triangulate(cycles, graph.csr, graph.edges)
    assert len({tuple(sorted(pair)) for pair in ends.tolist()}) == len(ends) >= graph.num_edges
    for three in edges.tolist():
        assert len(set(ends[three].ravel().tolist())) == 3, "a triplet has three nodes"
    of_cycles = np.zeros(len(ends))
    for triplets in (Triplets(edges, shares), merged(Triplets(edges.copy(), shares.copy()))):
        of_cycles[:] = 0
        np.add.at(of_cycles, triplets.edges, triplets.costs)
        assert np.allclose(of_cycles[: graph.num_edges], costs - packed)
        assert np.allclose(of_cycles[graph.num_edges :], 0), "chords cost nothing"
    keys = triplets.edges.tolist()
    assert keys == sorted(keys)
    assert len({tuple(key) for key in keys}) == len(keys)


@pytest.mark.nojit
def test_messages_of_classes_lose_no_costs_and_find_the_optimum_of_a_tree():
    rng = np.random.default_rng(0)
    graph = Graph(6, [(0, 1), (1, 2), (1, 3), (3, 4), (3, 5)])
    for _ in range(20):
        nodes, costs = rng.normal(size=(6, 3)), rng.normal(size=5)
        partitionable = rng.random(3) < 0.5
        best, _, _ = brute_force(6, graph.edges.tolist(), nodes, costs, partitionable)
        left, shares = nodes.copy(), np.zeros((5, 2, 3))
        pass_class_messages(graph.csr, graph.edges, costs, partitionable, left, shares, 6)
        bound = class_bound(graph.edges, costs, partitionable, left, shares)
        assert bound == pytest.approx(best, abs=1e-9)
        np.add.at(left, graph.edges, shares)
        assert np.allclose(left, nodes)


@pytest.mark.nojit
def test_dual_of_a_packed_problem_is_above_the_trivial_bound():
    graph, _, costs, _ = noisy_grid((12, 12))
    problem = make_problem(graph, None, costs)
    found = multicut(graph, costs)
    dual = Dual(problem, Guide(found.node_labels, found.clusters))
    trivial = dual.value
    dual.improve(Interrupt(False))
    assert trivial < dual.value <= found.objective


def test_bounds_are_below_published_optima(data_root):
    for path in sorted((data_root / "small_with_optima").glob("*.npz")):
        data = np.load(path)
        for i in range(0, 25, 5):
            part = slice(data["edge_ptr"][i], data["edge_ptr"][i + 1])
            graph = Graph(int(data["num_nodes"][i]), data["edges"][part])
            found = multicut(graph, data["costs"][part], bound=True)
            assert found.lower_bound <= data["optimum"][i] + 1e-6 * (1 + abs(data["optimum"][i])), path.name


def test_exact_solvers_set_up_no_programme_that_they_have_no_time_for(monkeypatch):
    rng = np.random.default_rng(0)
    n, m = 1000, 4000
    graph, lifted = Graph(n, rng.integers(0, n, (m, 2))), Graph(n, rng.integers(0, n, (50, 2)))
    costs, node_costs = rng.normal(size=m), rng.normal(size=(n, 3))
    monkeypatch.setattr("diffcomb.solvers.exact.SECONDS_A_ROW", 1e9)

    def fails(*_):
        raise AssertionError("the programme was set up")

    monkeypatch.setattr("diffcomb.solvers.exact.EdgeProgramme.__init__", fails)
    for found in (
        amwc(graph, node_costs, costs, [0], solver="exact", time_limit=60.0),
        lifted_amwc(graph, node_costs, costs, [0], lifted, rng.normal(size=50), solver="exact", time_limit=60.0),
    ):
        assert -np.inf < found.lower_bound <= found.objective < np.inf
    monkeypatch.setattr("diffcomb.solvers.budget.Budget.spent", lambda budget: True)
    found = multicut(graph, costs, solver="exact", time_limit=60.0)
    assert -np.inf < found.lower_bound <= found.objective < np.inf
