"""The multilevel solver: its parts against dense oracles, and what its module promises of the result."""

import importlib
import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import instances, random_instance

from diffcomb import Graph, amwc, grid_graph, make_problem, multicut, mwc
from diffcomb.solvers._adjacency import Rows, Stencil, adjacency_of, end, span
from diffcomb.solvers._blocks import block_groups
from diffcomb.solvers._budget import Budget
from diffcomb.solvers._contraction import compact, contract, frontier, overlay
from diffcomb.solvers._labels import Labels, changed_nodes, from_labels
from diffcomb.solvers._level import finest_level
from diffcomb.solvers._search import Search, combine, descend, natural, v_cycle

module = importlib.import_module("diffcomb.solvers.multilevel")  # the package's attribute is the function


def noisy_grid(shape=(12, 16), K=4, noise=1.5, seed=0, offsets=((0, 1), (1, 0), (0, 4), (4, 0))):
    """A grid of square regions with noisy costs, as (problem arguments of amwc)."""
    rng = np.random.default_rng(seed)
    graph = grid_graph(shape, offsets)
    region = (np.arange(shape[0])[:, None] // 4 * 8 + np.arange(shape[1]) // 4).ravel()
    same = region[graph.edges[:, 0]] == region[graph.edges[:, 1]]
    edge_costs = np.where(same, 1.0, -1.0) + noise * rng.normal(size=graph.num_edges)
    node_costs = 0.5 * rng.normal(size=(graph.num_nodes, K)) - 0.5 * np.eye(K)[region % K]
    return graph, node_costs, edge_costs, np.arange(K) >= K // 2


def dense(adjacency, n):
    """The matrix of all edge costs, read through the two functions that kernels use."""
    matrix = np.zeros((n, n))
    for i in range(n):
        low, high = span(adjacency, i)
        for h in range(low, high):
            matrix[i, end(adjacency, i, h)] += adjacency.weights[h]
    return matrix


def dense_of_edges(graph, costs):
    matrix = np.zeros((graph.num_nodes,) * 2)
    for (u, v), c in zip(graph.edges.tolist(), costs, strict=True):
        if u != v:
            matrix[u, v] += c
            matrix[v, u] += c
    return matrix


@pytest.mark.parametrize(
    ("shape", "offsets"),
    [
        ((4, 5), [(0, 1), (1, 0)]),
        ((3, 4), [(1, -1), (-1, 0), (0, 2)]),
        ((4, 4), [(1, 0), (1, 0), (-1, 0)]),  # repeated offsets are parallel edges
        ((7,), [(1,), (3,)]),
        ((2, 3, 4), [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, -1)]),
        ((3, 3), [(0, 1), (5, 0)]),  # an offset without edges
        ((2, 9), [(0, 8), (1, 8)]),  # too few edges for a stencil
        ((0, 3), [(0, 1)]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adjacency_of_a_grid_has_all_edges(shape, offsets, dtype):
    graph = grid_graph(shape, offsets)
    costs = np.random.default_rng(0).normal(size=graph.num_edges).astype(dtype)
    problem = make_problem(graph, np.zeros((graph.num_nodes, 1), dtype), costs, [0])
    adjacency = adjacency_of(problem)
    assert isinstance(adjacency, Rows if shape in [(2, 9), (0, 3)] else Stencil)
    assert adjacency.weights.dtype == dtype
    assert np.allclose(dense(adjacency, graph.num_nodes), dense_of_edges(graph, costs), atol=1e-6)


@pytest.mark.parametrize(("n", "groups"), [(40, 7), (700, 400)])  # a matrix of the pairs, and lists
@pytest.mark.parametrize("grid", [False, True])
def test_contraction_adds_costs(n, groups, grid):
    rng = np.random.default_rng(n)
    graph = grid_graph((n // 10, 10), [(0, 1), (1, 0), (2, 1)]) if grid else Graph(n, rng.integers(0, n, (6 * n, 2)))
    node_costs, edge_costs = rng.normal(size=(n, 3)), rng.integers(-2, 3, graph.num_edges).astype(float)  # many zeros
    level = finest_level(make_problem(graph, node_costs, edge_costs, [0]))
    group, count = compact(rng.integers(0, groups, n).astype(np.int32), groups)
    coarse = level.contract(group, count)
    member = np.eye(count)[group]
    expected = member.T @ dense_of_edges(graph, edge_costs) @ member
    np.fill_diagonal(expected, 0)
    assert np.allclose(dense(coarse.adjacency, count), expected)
    assert np.allclose(coarse.node_costs, member.T @ node_costs)
    indptr, neighbours = coarse.adjacency.indptr, coarse.adjacency.neighbours
    rows = [neighbours[a:b].tolist() for a, b in itertools.pairwise(indptr)]
    assert all(len(set(row)) == len(row) and i not in row for i, row in enumerate(rows))


def test_contraction_to_no_groups():
    empty = Rows(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0))
    assert [len(a) for a in contract(empty, np.empty((0, 2)), np.empty(0, np.int32), 0)] == [1, 0, 0, 0]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=30))
def test_overlay_is_the_common_refinement(pairs):
    first, second = np.array(pairs, np.int32).reshape(-1, 2).T.copy()
    group, count = overlay(first, 5, second, 5)
    assert len(set(zip(pairs, group.tolist(), strict=True))) == len(set(pairs)) == count
    assert sorted(set(group.tolist())) == list(range(count))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20), st.data())
def test_changed_nodes_are_those_that_another_numbering_cannot_explain(pairs, data):
    P = np.array([False, False, True, True])
    x, z = np.array(pairs, np.int64).reshape(-1, 2).T
    before = from_labels(x, z, P)
    renumbering = np.array(data.draw(st.permutations(range(4))))
    order = np.array(data.draw(st.permutations(range(len(x)))), np.int64)
    assert not changed_nodes(before, from_labels(x, renumbering[z], P), order, 4).any()
    moved = data.draw(st.integers(0, len(x) - 1))
    x2, z2 = x.copy(), renumbering[z]
    z2[moved], x2[moved] = 9, 3  # a cluster of its own
    together = (x == x[moved]) & (z == z[moved]) if P[x[moved]] else np.ones(1)
    changed = changed_nodes(before, from_labels(x2, z2, P), order, 4)
    if together.sum() > 1 or x[moved] != 3:
        assert changed.any()
    assert not changed[(x != x[moved]) | (z != z[moved])].any()


def test_frontier_is_the_changed_groups_and_their_neighbours():
    graph, node_costs, edge_costs, P = noisy_grid()
    level = finest_level(make_problem(graph, node_costs, edge_costs, P))
    rng = np.random.default_rng(0)
    group = rng.integers(0, 50, graph.num_nodes).astype(np.int32)
    changed = rng.random(50) < 0.1
    inside = changed[group]
    expected = inside | (dense(level.adjacency, graph.num_nodes)[:, inside] != 0).any(1)
    assert frontier(level.adjacency, group, changed).tolist() == np.flatnonzero(expected).tolist()


def test_blocks_join_where_that_gains():
    graph = grid_graph((4, 6), [(0, 1), (1, 0), *[(0, 2), (0, 3)] * 3])
    u, v = graph.edges.T
    column = np.arange(24) % 6
    costs = np.where(np.maximum(column[u], column[v]) < 4, 1.0, -1.0)
    problem = make_problem(graph, np.zeros((24, 1)), costs, [0])
    group, count = block_groups(problem, np.zeros(24, np.int32))
    assert count == 4 + 8  # four attractive blocks; two repulsive ones fall into cells
    assert group.reshape(4, 6)[:2, :2].tolist() == [[0, 0], [0, 0]]
    node_costs = np.where(np.arange(2) == (np.arange(24) // 6 % 2)[:, None], 0.0, 9.0)  # rows differ in class
    problem = make_problem(graph, node_costs, costs, [0])
    assert block_groups(problem, finest_level(problem).best)[1] == 24
    graph = grid_graph((4, 6), [(0, 1), (1, 0), (0, 2)])  # most edges are inside blocks: they say all there is to know
    problem = make_problem(graph, np.zeros((24, 1)), np.ones(graph.num_edges), [0])
    assert block_groups(problem, np.zeros(24, np.int32))[1] == 24


@given(instance=instances(max_nodes=14, max_edges=40), seed=st.integers(0, 9))
@settings(max_examples=40)
def test_operators_of_the_search_never_lose_the_incumbent(instance, seed):
    n, edges, *costs = instance
    if n == 0:
        return
    level = finest_level(make_problem(Graph(n, edges), *costs))
    labels = descend(level, natural)
    value = level.value(labels)
    slack = 1e-6 * (1 + abs(value))
    assert level.value(v_cycle(level, labels, natural)) <= value + slack
    other = level.singletons()
    assert level.value(combine(level, labels, other)) <= value + slack
    search = Search(level, labels, np.random.default_rng(seed))
    for operator in ("anneal", "melt", "cycle", "restart"):
        before = search.value
        assert search.step(operator) == (search.value < before)
        assert level.value(search.labels) == search.value <= before


def objective(graph, node_costs, edge_costs, P, x, z):
    u, v = graph.edges.T
    cut = (x[u] != x[v]) | (P[x[u]] & (z[u] != z[v]))
    return node_costs[np.arange(len(x)), x].sum() + edge_costs[cut].sum()


def components(graph, edge_labels):
    label = np.arange(graph.num_nodes)
    u, v = graph.edges[np.asarray(edge_labels) == 0].T
    while True:
        low = np.minimum(label[u], label[v])
        new = label.copy()
        np.minimum.at(new, u, low)
        np.minimum.at(new, v, low)
        if (new == label).all():
            return label
        label = new


def assert_local_optimum(graph, node_costs, edge_costs, P, s, clusters=True):
    """No node (and no connected cluster) gains by going to another cluster, or to a new one of any class."""
    places = sorted(set(zip(s.node_labels.tolist(), s.clusters.tolist(), strict=True)))
    places += [(k, graph.num_nodes + 1) for k in range(len(P))]
    component = components(graph, s.edge_labels)
    groups = [np.array([i]) for i in range(graph.num_nodes)]
    groups += [np.flatnonzero(component == c) for c in np.unique(component)] if clusters else []
    for group in groups:
        for k, c in places:
            x, z = s.node_labels.copy(), s.clusters.copy()
            x[group], z[group] = k, c
            assert objective(graph, node_costs, edge_costs, P, x, z) >= s.objective - 1e-9


def shrink_kernels(monkeypatch):
    """Make the path of large graphs that of small ones."""
    for name, value in (("KERNEL_NODES", 24), ("KERNEL_HALF_EDGES", 64), ("MAX_PIECES", 24), ("MAX_COARSE", 12)):
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize("effort", [0, 1, 2])
@pytest.mark.parametrize("kernels", [False, True])
def test_a_local_optimum_under_moves_of_nodes_and_of_clusters(monkeypatch, effort, kernels):
    if kernels:
        shrink_kernels(monkeypatch)
    for seed in range(4):
        n, edges, *costs = random_instance(np.random.default_rng(seed), n=24, m=70)
        graph = Graph(n, edges)
        assert_local_optimum(graph, *costs, amwc(graph, *costs, effort=effort), effort > 0)
        graph, *costs = noisy_grid((8, 9), K=3, seed=seed)
        assert_local_optimum(graph, *costs, amwc(graph, *costs, effort=effort), effort > 0)


@pytest.mark.parametrize("kernels", [False, True])
def test_more_effort_is_no_worse(monkeypatch, kernels):
    if kernels:
        shrink_kernels(monkeypatch)
    better = 0
    for seed in range(6):
        graph, node_costs, edge_costs, _ = noisy_grid(seed=seed, noise=2.0)
        for solve in (
            lambda e, g=graph, c=edge_costs: multicut(g, c, effort=e, seed=3),
            lambda e, g=graph, nc=node_costs, c=edge_costs: mwc(g, nc, c, effort=e, seed=3),
        ):
            values = [solve(e).objective for e in range(4)]
            assert all(a >= b - 1e-9 for a, b in itertools.pairwise(values))
            better += values[-1] < values[0] - 1e-9
    assert better > 0


def test_kernels_give_feasible_solutions_and_improve_them(monkeypatch):
    graph, *costs = noisy_grid((20, 24), noise=2.0)
    shrink_kernels(monkeypatch)
    values = []
    for effort in (0, 1, 3, 5):
        s = amwc(graph, *costs, effort=effort)
        assert make_problem(graph, *costs).violations(s.node_labels, s.edge_labels, s.clusters) == []
        values.append(s.objective)
    assert values[0] > values[1] > values[2] > values[3]


def test_amwc_is_not_above_mwc_on_the_same_costs():
    for seed in range(8):
        graph, node_costs, edge_costs, P = noisy_grid(seed=seed, noise=2.0)
        best = mwc(graph, node_costs, edge_costs, seed=seed).objective
        assert amwc(graph, node_costs, edge_costs, P, seed=seed).objective <= best + 1e-9


def test_mean_gap_to_exact_is_below_a_tenth_of_a_percent():
    gaps = []
    for seed in range(40):
        n, edges, *costs = random_instance(np.random.default_rng(seed), n=12, m=30, K=3)
        best = amwc(Graph(n, edges), *costs, solver="exact").objective
        gaps.append((amwc(Graph(n, edges), *costs).objective - best) / abs(best))
    assert np.mean(gaps) <= 1e-3
    assert min(gaps) >= -1e-6


def test_settling_joins_clusters_that_no_single_node_would_leave():
    edges, costs = [(0, 1), (2, 3), (0, 2), (1, 3)], np.array([3.0, 3.0, 1.0, 1.0])
    problem = make_problem(Graph(4, edges), np.zeros((4, 1)), costs, [0])
    level = finest_level(problem)
    labels = from_labels(np.zeros(4, np.int64), np.array([0, 0, 1, 1]), problem.partitionable)
    assert level.move(labels) == 0
    state = module.Incumbent(level, labels, np.empty(4, np.float32))
    solution, whole = module._settle(problem, state, np.random.default_rng(0), Budget(1))
    assert solution.edge_labels.tolist() == [0, 0, 0, 0]
    assert whole.level.num_nodes == 1


def test_a_chain_of_two_class_changes_is_found_although_the_first_one_loses():
    graph = grid_graph((8, 16), [(0, 1), (1, 0)])
    left = np.arange(128) % 16 < 8
    node_costs = np.where(left[:, None], [0.0, 9.0, 1.0], [0.0, 5.0, 9.0])
    u, v = graph.edges.T
    edge_costs = np.where(left[u] == left[v], 100.0, -100.0)
    trap = np.where(left, 0, 1)  # the right half would rather be 0, where the left half is
    stuck = mwc(graph, node_costs, edge_costs, init=trap)
    assert stuck.node_labels.tolist() == trap.tolist()
    s = mwc(graph, node_costs, edge_costs, init=trap, effort=1)
    assert s.objective == mwc(graph, node_costs, edge_costs).objective == 64 - 800


def test_a_time_limit_ends_the_search():
    graph, *costs = noisy_grid((40, 40), noise=2.0)
    amwc(graph, *costs)  # compiled
    began = time.perf_counter()
    s = amwc(graph, *costs, time_limit=0.3)
    assert time.perf_counter() - began < 5
    assert s.objective <= amwc(graph, *costs, effort=0).objective
    assert amwc(graph, *costs, time_limit=1e-9).objective < 0
    improved = amwc(graph, *costs, init=amwc(graph, *costs, effort=0), time_limit=0.2)
    assert improved.objective <= amwc(graph, *costs, effort=0).objective


@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), float("inf"), "1", True])
def test_time_limit_must_be_a_positive_number_of_seconds(bad):
    with pytest.raises(ValueError, match="time_limit must be a positive number"):
        multicut([(0, 1)], np.ones(1), time_limit=bad)


def test_an_interruption_keeps_the_incumbent_if_there_is_a_time_limit(monkeypatch):
    graph, *costs = noisy_grid((10, 10))
    steps = []

    def step(self, operator):
        steps.append(operator)
        if len(steps) == 2:
            raise KeyboardInterrupt
        return original(self, operator)

    original = Search.step
    monkeypatch.setattr(Search, "step", step)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        s = amwc(graph, *costs, time_limit=60)
    assert make_problem(graph, *costs).violations(s.node_labels, s.edge_labels, s.clusters) == []
    assert len(steps) == 2
    steps.clear()
    with pytest.raises(KeyboardInterrupt):
        amwc(graph, *costs)


@pytest.mark.parametrize("solver", ["multilevel", "kernighan_lin"])
def test_one_huge_cost_does_not_end_the_search_elsewhere(solver):
    rng = np.random.default_rng(0)
    edges = np.stack(np.triu_indices(30, 1), axis=1)
    costs = rng.normal(size=len(edges))
    values = []
    for big in (1e6, 1e9, 1e13, 1e30):
        costs[0] = big
        values.append(multicut(edges, costs, solver=solver, seed=1).objective)
    assert max(values) - min(values) < 0.02 * abs(values[0])
    node_costs = rng.normal(size=(30, 3))
    node_costs[0] = [1e30, 1e30, 0]
    huge = amwc(edges, node_costs, costs[:] * (np.arange(len(edges)) > 0), [0], solver=solver).objective
    node_costs[0] = [1e3, 1e3, 0]
    usual = amwc(edges, node_costs, costs[:] * (np.arange(len(edges)) > 0), [0], solver=solver).objective
    assert huge == pytest.approx(usual, rel=0.02)


def test_huge_costs_that_cancel_end():
    rng = np.random.default_rng(0)
    edges = np.stack(np.triu_indices(40, 1), axis=1)
    costs = rng.normal(size=len(edges)) + 1e17 * rng.integers(-1, 2, len(edges))
    for solver in ("multilevel", "kernighan_lin"):
        s = multicut(edges, costs, solver=solver)
        assert (
            make_problem(Graph(40, edges), np.zeros((40, 1)), costs, [0]).violations(s.node_labels, s.edge_labels) == []
        )


def test_many_rounds_and_long_limits_are_no_harm():
    edges, costs = [(0, 1), (1, 2), (0, 2)], np.array([1.0, 3.0, -2.0])
    assert multicut(edges, costs, effort=2000).objective == -1
    assert multicut(edges, costs, effort=np.uint8(7), solver="kernighan_lin").objective == -1


def test_kernighan_lin_keeps_account_of_its_ids():
    edges = [(0, 1), (0, 2), (0, 3), (1, 2), (2, 3)]
    costs = np.array([0.23043, -1.79671, 0.13050, 0.31824, -0.68028])
    best = multicut(edges, costs, solver="exact").objective
    for _ in range(20):
        s = multicut(edges, costs, init=np.arange(4), solver="kernighan_lin", effort=0)
        assert s.objective >= best - 1e-9
    rng = np.random.default_rng(0)
    for _ in range(60):
        n = int(rng.integers(4, 60))
        edges, costs = rng.integers(0, n, (3 * n, 2)), rng.normal(0.1, 1, 3 * n)
        problem = make_problem(Graph(n, edges), np.zeros((n, 1)), costs, [0])
        s = multicut(Graph(n, edges), costs, init=np.arange(n), solver="kernighan_lin", effort=0)
        assert problem.violations(s.node_labels, s.edge_labels, s.clusters) == []


def test_grids_need_no_adjacency_lists():
    graph = grid_graph((6, 7), [(0, 1), (1, 0)])
    multicut(graph, np.ones(graph.num_edges))
    assert "csr" not in vars(graph)


def test_ids_of_clusters_may_be_any_integers():
    x, P = np.array([0, 1, 1, 0]), np.array([True, False])
    for z in ([5, 5, 5, 5], [-7, 0, 1, -7], [2**62, -(2**62) - 9, 0, 2**62], [-(2**63), 2**63 - 1, 0, -(2**63)]):
        labels = from_labels(x, np.array(z), P)
        assert isinstance(labels, Labels)
        assert labels.node_labels().tolist() == [0, 1, 1, 0]
        assert labels.z[1] == labels.z[2] == 1  # the class that is not partitionable
        assert labels.z[0] == labels.z[3] >= 2
