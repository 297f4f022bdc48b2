"""Infinite costs are constraints, huge costs do not hide ordinary ones, and powers of two change no solution."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import instances, noisy_grid, random_instance

from diffcomb import Graph, amwc, grid_graph, make_problem, multicut, mwc, set_num_threads
from diffcomb._arrays import all_finite, largest_size
from diffcomb.solvers import SOLVERS
from diffcomb.solvers.level import finest_level
from diffcomb.solvers.levels.labels import from_labels
from diffcomb.solvers.levels.objective import improvement

# Compiled kernels do not warn of that; the nan is seen, and the value computed anew.
ZERO_TIMES_INFINITY = pytest.mark.filterwarnings("ignore:invalid value encountered in scalar multiply:RuntimeWarning")

INF = np.inf


def tracks(seed, count=40):
    """Tracks of must-linked nodes, cannot-links between some tracks, and finite integer costs between others."""
    rng = np.random.default_rng(seed)
    length = int(rng.integers(2, 6))
    edges = [(t * length + k, t * length + k + 1) for t in range(count) for k in range(length - 1)]
    hard = [1] * len(edges)
    for kind, number in ((0, 3 * count), (-1, count // 4)):
        for a, b in (rng.choice(count, 2, replace=False) for _ in range(number)):
            edges.append((a * length + rng.integers(length), b * length + rng.integers(length)))
            hard.append(kind)
    hard = np.array(hard)
    soft = np.where(hard == 0, rng.integers(-9, 10, len(hard)), 0).astype(float)
    return Graph(count * length, edges), hard, soft


def soft_cost(graph, hard, soft, clusters):
    cut = clusters[graph.edges[:, 0]] != clusters[graph.edges[:, 1]]
    assert not np.any(cut & (hard == 1))
    assert not np.any(~cut & (hard == -1))
    return soft[cut].sum()


@pytest.mark.parametrize("solver", ["multilevel", "kernighan_lin"])
@pytest.mark.parametrize("seed", range(3))
def test_huge_costs_give_solutions_as_good_as_infinite_costs(solver, seed):
    graph, hard, soft = tracks(seed)

    def costs_of(size):
        return np.where(hard == 0, soft, np.copysign(size, hard))

    def value(size):
        costs = costs_of(size)
        return soft_cost(graph, hard, soft, multicut(graph, costs, solver=solver).clusters)

    values = [value(size) for size in (1e6, 1e9, 1e12, 1e15)]
    assert len(set(values)) == 1
    assert value(INF) <= values[0] + 3  # the search draws other random numbers
    assert multicut(graph, costs_of(INF), solver=solver).objective == value(INF)


def test_ordinary_costs_still_decide_beside_huge_costs():
    assert multicut(Graph(4, [(0, 1), (2, 3)]), np.array([1e12, 1.0])).objective == 0
    s = mwc([(0, 1), (2, 3)], np.array([[0, 1e12], [1e12, 0], [0, 1.0], [1.0, 0]]), np.array([1e15, 0.5]))
    assert s.edge_labels.tolist() == [0, 1]


@ZERO_TIMES_INFINITY
@pytest.mark.nojit
@pytest.mark.parametrize("solver", SOLVERS)
def test_infinite_costs_are_obeyed_and_do_not_count(solver):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        n, pairs, nodes, edges, _ = random_instance(rng, n=6, m=9, K=2)
        graph, P = Graph(n, pairs), np.array([True, False])
        hard = np.zeros(len(edges))
        hard[0], hard[1] = INF, -INF
        u, v = graph.edges[:2].T
        if u[1] == v[1] or {u[0], v[0]} == {u[1], v[1]}:
            continue
        problem = make_problem(graph, nodes, edges + hard, P)
        s = amwc(graph, nodes, edges + hard, P, solver=solver)
        assert problem.violations(s.node_labels, s.edge_labels, s.clusters) == []
        assert np.isfinite(s.objective)
        assert s.objective == problem.objective(s.node_labels, s.edge_labels)
        big = np.where(np.isinf(hard), np.sign(hard) * 1e4, edges)
        exact = amwc(graph, nodes, big, P, solver="exact")
        optimum = exact.objective + 1e4 * exact.edge_labels[1]
        assert s.objective >= optimum - 1e-6
        if solver == "exact":
            assert s.objective == pytest.approx(optimum, abs=1e-6)
            assert s.lower_bound <= s.objective
            assert s.gap < 1e-3


def test_objective_of_a_labelling_that_breaks_a_constraint_is_infinite():
    problem = make_problem(Graph(3, [(0, 1), (1, 2)]), np.zeros((3, 1)), np.array([INF, -INF]), [0])
    x = np.zeros(3, int)
    assert problem.objective(x, [0, 1]) == 0
    assert problem.objective(x, [1, 1]) == problem.objective(x, [0, 0]) == INF
    assert problem.violations(x, [1, 1]) == ["an edge of cost +inf (must-link) is cut"]
    assert problem.violations(x, [0, 0]) == ["an edge of cost -inf (cannot-link) is not cut"]


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("edges", "costs", "message"),
    [
        ([(0, 1), (1, 2), (0, 2)], [INF, INF, -INF], "nodes 0 and 2 must be apart .* but must-links"),
        ([(0, 1), (1, 0)], [-INF, INF], "nodes 0 and 1 must be apart"),
        ([(1, 1)], [-INF], "nodes 1 and 1 must be apart .* the same node"),
    ],
)
def test_error_names_an_edge_of_contradicting_constraints(edges, costs, message):
    with pytest.raises(ValueError, match=message):
        multicut(edges, np.array(costs))


@ZERO_TIMES_INFINITY
@pytest.mark.nojit
def test_too_few_classes_for_the_cannot_links_is_an_error():
    triangle, costs = [(0, 1), (1, 2), (0, 2)], np.full(3, -INF)
    with pytest.raises(ValueError, match="no labelling was found that separates nodes"):
        mwc(triangle, np.zeros((3, 2)), costs)
    assert mwc(triangle, np.zeros((3, 3)), costs).objective == 0


@ZERO_TIMES_INFINITY
@pytest.mark.nojit
def test_init_and_batches_work_with_must_links_and_cannot_links():
    costs = np.array([[INF, 1.0, -2.0], [1.0, -INF, 5.0]])
    s = multicut([(0, 1), (1, 2), (2, 3)], costs, init=np.array([0, 1, 2, 3]))
    assert s.edge_labels.tolist() == [[0, 0, 1], [0, 1, 0]]
    assert s.objective.tolist() == [-2.0, 0.0]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("exponent", [-1000, -200, -65, 60, 130, 200, 1000])
def test_power_of_two_does_not_change_the_solution(solver, exponent):
    graph, nodes, edges, P = noisy_grid((4, 4) if solver == "exact" else (12, 12))
    expected = amwc(graph, nodes, edges, P, solver=solver)
    s = amwc(graph, np.ldexp(nodes, exponent), np.ldexp(edges, exponent), P, solver=solver)
    assert np.array_equal(s.clusters, expected.clusters)
    assert s.objective == np.ldexp(expected.objective, exponent)


def test_power_of_two_does_not_change_the_solution_of_float32_costs():
    graph, nodes, edges, P = noisy_grid((12, 12))
    nodes, edges = nodes.astype(np.float32), edges.astype(np.float32)
    expected = amwc(graph, nodes, edges, P).clusters
    for exponent in (-100, 100):
        s = amwc(graph, np.ldexp(nodes, exponent), np.ldexp(edges, exponent), P)
        assert np.array_equal(s.clusters, expected)


@pytest.mark.nojit
@given(instances(max_nodes=7), st.integers(0, 2**20))
def test_improvement_is_the_difference_of_the_objectives(instance, seed):
    n, pairs, nodes, edges, P = instance
    rng = np.random.default_rng(seed)
    level = finest_level(make_problem(Graph(n, pairs), nodes, edges, P))
    K = nodes.shape[1]
    first, second = (from_labels(rng.integers(0, K, n), rng.integers(0, 3, n), level.partitionable) for _ in range(2))
    found = improvement(tuple(level.costs), tuple(first), tuple(second))
    assert found == pytest.approx(level.value(first) - level.value(second), abs=1e-6)


def enumeration(graph, nodes, edges, P):
    """The optimum, found by trying all classes and clusters of all nodes."""
    n, K = nodes.shape
    best = INF
    problem = make_problem(graph, nodes, edges, P)
    for x in itertools.product(range(K), repeat=n):
        for z in itertools.product(range(n), repeat=n):
            if all(z[i] <= max(z[:i], default=-1) + 1 for i in range(n)):
                u, v = graph.edges.T
                a, b, c = np.array(x), np.array(z), np.asarray(P)
                y = (a[u] != a[v]) | (c[a[u]] & (b[u] != b[v]))
                best = min(best, problem.objective(a, y & (u != v)))
    return best


@pytest.mark.parametrize("effort", [0, 1])
def test_tiny_instances_are_solved_to_the_optimum(effort):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n, K = int(rng.integers(2, 5)), int(rng.integers(1, 4))
        graph = Graph(n, rng.integers(0, n, (int(rng.integers(1, 7)), 2)))
        nodes, edges = rng.normal(size=(n, K)), 2 * rng.normal(size=graph.num_edges)
        P = rng.random(K) < 0.5
        found = amwc(graph, nodes, edges, P, effort=effort).objective
        assert found == pytest.approx(enumeration(graph, nodes, edges, P), abs=1e-9)


def test_two_nodes_move_together_to_a_class_that_neither_prefers():
    nodes = np.array([[0.0, 3.0, 1.0], [3.0, 0.0, 1.0]])
    assert mwc([(0, 1)], nodes, np.array([2.5])).node_labels.tolist() == [2, 2]


@pytest.mark.parametrize("n", [9, 20, 64])
def test_default_is_never_above_greedy_on_small_graphs(n):
    for seed in range(25):
        rng = np.random.default_rng(seed)
        graph, K = Graph(n, rng.integers(0, n, (3 * n, 2))), int(rng.integers(1, 6))
        nodes, edges = rng.normal(size=(n, K)), rng.choice([0.3, 1, 3]) * rng.normal(size=3 * n)
        P = rng.random(K) < 0.5
        for options in ({}, {"effort": 0}):
            s, greedy = amwc(graph, nodes, edges, P, **options), amwc(graph, nodes, edges, P, solver="greedy")
            assert s.objective <= greedy.objective + 1e-9


@pytest.mark.nojit
def test_enumeration_stops_at_its_limit_and_keeps_the_start(limits):
    _, *instance = random_instance(np.random.default_rng(0), n=8, m=20, K=3)
    optimum = amwc(*instance).objective
    limits(max_steps=3)
    assert optimum - 1e-9 <= amwc(*instance).objective < 0


@pytest.mark.nojit
def test_grid_keeps_its_stencil_with_cannot_links(limits):
    limits(min_stencil_nodes=0)
    graph = grid_graph((10, 10), [(0, 1), (1, 0)])
    costs = np.ones(graph.num_edges)
    costs[0] = -INF
    s = multicut(graph, costs)
    assert s.edge_labels[0] == 1
    assert s.objective == 1  # the cut separates one corner


def test_enumeration_of_tiny_graphs_is_optimal_beside_huge_costs():
    nodes = np.array([[0, 9, 3], [9, 0, 3], [0, 1e13, 0]])
    assert mwc([(0, 1)], nodes, np.array([8.0])).objective == 6
    nodes = np.array([[0, 9, 3], [9, 0, 3], [0, 0, 0], [0, 0, 0.0]])
    assert mwc([(0, 1), (2, 3)], nodes, np.array([8.0, 1e13])).objective == 6
    for seed in range(30):
        rng = np.random.default_rng(seed)
        n, K = int(rng.integers(2, 5)), int(rng.integers(2, 4))
        graph = Graph(n, rng.integers(0, n, (5, 2)))
        nodes, edges, P = rng.normal(size=(n, K)), 2 * rng.normal(size=5), rng.random(K) < 0.5
        nodes[rng.integers(n), rng.integers(K)] = 1e12
        found, expected = amwc(graph, nodes, edges, P).objective, enumeration(graph, nodes, edges, P)
        assert found == pytest.approx(expected, abs=1e-9 if abs(expected) < 1e9 else 1)
        offset = nodes + np.where(np.arange(n) == 0, 2.0**40, 0)[:, None]  # the best labelling stays the same
        s = amwc(graph, offset, edges, P)
        assert make_problem(graph, nodes, edges, P).objective(s.node_labels, s.edge_labels) == pytest.approx(
            expected, abs=1e-3 if abs(expected) < 1e9 else 1
        )


def test_costs_near_the_largest_float_or_far_apart_are_supported():
    s = multicut([(0, 1), (1, 2)], np.array([-INF, 1.7e308]))
    assert s.edge_labels.tolist() == [1, 0]
    s = amwc([(0, 1)], np.full((2, 2), 1e308), np.array([INF]), [0])
    assert s.edge_labels.tolist() == [0]
    assert multicut([(0, 1), (1, 2)], np.array([1e300, 1e-30])).objective == 0
    assert multicut(Graph(3, []), np.zeros(0), solver="exact").gap == 0


@pytest.mark.parametrize("solver", ["multilevel", "greedy"])
def test_labelling_that_obeys_cannot_links_between_classes_is_found(solver):
    """Graphs with a known colouring: no class is partitionable, so few labellings obey all cannot-links."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        colour = rng.integers(0, 3, 12)
        u, v = np.triu_indices(12, 1)
        chosen = (colour[u] != colour[v]) & (rng.random(len(u)) < 0.3)
        edges = np.stack([u, v], 1)[chosen]
        s = mwc(Graph(12, edges), rng.normal(size=(12, 3)), np.full(len(edges), -INF), solver=solver)
        assert s.edge_labels.all()


def test_error_names_the_failing_instance_of_a_batch():
    with pytest.raises(ValueError, match="cannot-link") as found:
        multicut([(0, 1), (1, 0)], np.array([[1.0, 1.0], [INF, -INF]]))
    assert found.value.__notes__ == ["in instance 1 of a batch of 2"]


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_largest_size_is_that_of_numpy_and_tells_what_is_not_finite(dtype):
    info = np.finfo(dtype)
    for values in ([], [0.0, -0.0], [-3, 2], [info.tiny, -info.smallest_subnormal], [info.max, -info.max]):
        array = np.array(values, dtype)
        assert largest_size(array) == max(np.abs(array), default=0)
        assert all_finite(array)
        swapped = array.astype(array.dtype.newbyteorder())
        assert largest_size(swapped) == largest_size(array)
    assert largest_size(np.array([[1, 2], [-3, 4]], dtype)[:, ::2]) == 3
    assert largest_size(np.array([1, -np.inf], dtype)) == np.inf
    for value in (np.nan, -np.nan):
        assert np.isnan(largest_size(np.array([np.inf, value, 1], dtype)))
        assert not all_finite(np.array(value, dtype))
    assert all_finite(np.arange(3))
    assert all_finite(np.array([1.0, np.inf], np.float16)[:1])
    assert not all_finite(np.array([1, complex(0, np.inf)]))


def test_huge_costs_that_threads_look_at_give_no_warning():
    set_num_threads(2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert all_finite(np.full(2**21, 3e38, np.float32))
            assert not all_finite(np.full(2**21, -np.inf))
    finally:
        set_num_threads(None)


@pytest.mark.parametrize("tiny", [1e-300, 5e-324])
def test_tiny_edge_costs_beside_large_node_costs_are_no_error(tiny):
    rng = np.random.default_rng(0)
    graph = Graph(12, np.stack(np.triu_indices(12, 1), axis=1))
    costs = tiny * rng.integers(-3, 4, graph.num_edges)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = amwc(graph, np.ones((12, 1)), costs, [0])
    assert make_problem(graph, np.ones((12, 1)), costs, [0]).violations(found.node_labels, found.edge_labels) == []
