"""Guarantees of the multilevel solver: local optima, effort, time limits, hard graphs."""

import importlib
import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import instances, noisy_grid, random_instance

from diffcomb import Graph, amwc, grid_graph, make_problem, multicut, mwc, set_num_threads
from diffcomb.solvers.budget import Budget
from diffcomb.solvers.level import finest_level
from diffcomb.solvers.levels.labels import from_labels
from diffcomb.solvers.levels.slack import new_slack
from diffcomb.solvers.search import Search

module = importlib.import_module("diffcomb.solvers.multilevel")  # the package's attribute is the function


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
    """Check that no node and no connected cluster gains by moving to another cluster or to a new one of any class."""
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


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_solution_does_not_depend_on_the_number_of_threads(limits, threads):
    """If all that threads do is done by them, the result is a local optimum, the same for any number of threads."""
    limits(
        min_parallel=8,
        min_part=4,
        max_part=4,
        half_edges_a_thread=16,
        nodes_a_thread=4,
        edges_a_sum=16,
        nodes_a_sum=8,
        min_chains=4,
        few_chains=0.5,
    )
    limits(min_stencil_nodes=0)
    expected = []
    for number in (threads, 1):
        set_num_threads(number)
        for seed in range(4):
            graph, *costs = noisy_grid((8, 9), K=3, seed=seed)
            s = amwc(graph, *costs)
            assert_local_optimum(graph, *costs, s)
            expected.append(s.clusters.tolist())
    set_num_threads(None)
    assert expected[:4] == expected[4:]


SMALL_CORE = dict(core_nodes=24, core_half_edges=64, max_pieces=24, max_coarse=12)  # what large graphs have


@pytest.mark.parametrize("effort", [0, 1, 2])
@pytest.mark.parametrize("small_core", [False, True])
def test_solution_is_a_local_optimum_under_moves_of_nodes_and_clusters(limits, effort, small_core):
    if small_core:
        limits(**SMALL_CORE)
    for seed in range(4):
        n, edges, *costs = random_instance(np.random.default_rng(seed), n=24, m=70)
        graph = Graph(n, edges)
        assert_local_optimum(graph, *costs, amwc(graph, *costs, effort=effort), effort > 0)
        graph, *costs = noisy_grid((8, 9), K=3, seed=seed)
        assert_local_optimum(graph, *costs, amwc(graph, *costs, effort=effort), effort > 0)


@pytest.mark.parametrize("small_core", [False, True])
def test_more_effort_never_gives_a_worse_solution(limits, small_core):
    if small_core:
        limits(**SMALL_CORE)
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


@pytest.mark.parametrize(
    ("shape", "efforts"), [((20, 24), (0, 1, 3, 5)), pytest.param((10, 12), (0, 1), marks=pytest.mark.nojit)]
)
def test_rounds_give_feasible_solutions_and_improve_them(limits, shape, efforts):
    limits(**SMALL_CORE)
    values = np.empty((4, len(efforts)))
    for seed in range(4):
        graph, *costs = noisy_grid(shape, noise=2.0, seed=seed)
        for column, effort in enumerate(efforts):
            s = amwc(graph, *costs, effort=effort)
            assert make_problem(graph, *costs).violations(s.node_labels, s.edge_labels, s.clusters) == []
            values[seed, column] = s.objective
    assert (np.diff(values, axis=1) <= 1e-9).all()
    assert (np.diff(values.mean(0)) < 0).all()


@pytest.mark.parametrize(("noise", "sizes"), [(0.1, (40, 800)), (0.9, (72, 800)), (2.0, (800, 1600))])
def test_first_core_graph_is_small_where_few_nodes_are_near_undecided(limits, noise, sizes):
    limits(core_nodes=400, core_half_edges=64, min_core=40, core_costs=3.0)
    graph = grid_graph((40, 40), [(0, 1), (1, 0), (0, 3), (3, 0)])
    region = np.add.outer(np.arange(40) // 20 * 2, np.arange(40) // 20).ravel()
    same = region[graph.edges[:, 0]] == region[graph.edges[:, 1]]
    costs = np.where(same, 1.0, -1.0) + noise * np.random.default_rng(0).normal(size=graph.num_edges)
    problem = make_problem(graph, np.zeros((1600, 1)), costs, [0])
    run = module.Run(problem, finest_level(problem), np.random.default_rng(0), Budget(2))
    run.descend()
    near = np.count_nonzero(np.abs(run.slack.losses) <= 3 * run.level.typical_cost)
    assert sizes[0] in (40, near, 800)  # the least number, as many as are near, or half where many are undecided
    assert tuple(run._num_core_nodes(round_) for round_ in range(2)) == sizes


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


@pytest.mark.nojit
def test_settling_joins_clusters_that_single_moves_and_chains_keep_apart():
    pairs = [(i, j) for i in range(6) for j in range(i)]
    edges = [*pairs, *((i + 6, j + 6) for i, j in pairs), *((i, i + 6) for i in range(6))]
    costs = np.array([30.0] * 30 + [1.0] * 6)
    problem = make_problem(Graph(12, edges), np.zeros((12, 1)), costs, [0])
    level = finest_level(problem)
    labels = from_labels(np.zeros(12, np.int64), np.arange(12) // 6, problem.partitionable)
    run = module.Run(problem, level, np.random.default_rng(0), Budget(1))
    run.labels, run.slack = labels, new_slack(12)
    assert level.move(labels, slack=run.slack) == level.chains(labels, run.slack) == 0
    solution = run._settle(Budget(1))
    assert not solution.edge_labels.any()
    assert run._settled.level.num_nodes == 1


def test_chain_of_two_class_changes_is_found_although_the_first_loses():
    graph = grid_graph((8, 16), [(0, 1), (1, 0)])
    left = np.arange(128) % 16 < 8
    node_costs = np.where(left[:, None], [0.0, 9.0, 1.0], [0.0, 5.0, 9.0])
    u, v = graph.edges.T
    edge_costs = np.where(left[u] == left[v], 100.0, -100.0)
    trap = np.where(left, 0, 1)  # the right half prefers class 0, which the left half has
    stuck = mwc(graph, node_costs, edge_costs, init=trap)
    assert stuck.node_labels.tolist() == trap.tolist()
    s = mwc(graph, node_costs, edge_costs, init=trap, effort=1)
    assert s.objective == mwc(graph, node_costs, edge_costs).objective == 64 - 800


def test_time_limit_ends_the_search():
    graph, *costs = noisy_grid((40, 40), noise=2.0)
    amwc(graph, *costs)  # so that compilation does not count
    began = time.perf_counter()
    s = amwc(graph, *costs, time_limit=0.3)
    assert time.perf_counter() - began < 5
    assert s.objective <= amwc(graph, *costs, effort=0).objective
    assert amwc(graph, *costs, time_limit=1e-9).objective < 0
    improved = amwc(graph, *costs, init=amwc(graph, *costs, effort=0), time_limit=0.2)
    assert improved.objective <= amwc(graph, *costs, effort=0).objective


@pytest.mark.nojit
@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), float("inf"), "1", True])
def test_time_limit_must_be_a_positive_number_of_seconds(bad):
    with pytest.raises(ValueError, match="time_limit must be a positive number"):
        multicut([(0, 1)], np.ones(1), time_limit=bad)


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


def test_search_terminates_for_huge_costs_that_cancel():
    rng = np.random.default_rng(0)
    edges = np.stack(np.triu_indices(40, 1), axis=1)
    costs = rng.normal(size=len(edges)) + 1e17 * rng.integers(-1, 2, len(edges))
    for solver in ("multilevel", "kernighan_lin"):
        s = multicut(edges, costs, solver=solver)
        assert (
            make_problem(Graph(40, edges), np.zeros((40, 1)), costs, [0]).violations(s.node_labels, s.edge_labels) == []
        )


def test_many_rounds_do_no_harm():
    edges, costs = [(0, 1), (1, 2), (0, 2)], np.array([1.0, 3.0, -2.0])
    assert multicut(edges, costs, effort=2000).objective == -1
    assert multicut(edges, costs, effort=np.uint8(7), solver="kernighan_lin").objective == -1


def test_kernighan_lin_keeps_cluster_ids_consistent():
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


@pytest.mark.nojit
@pytest.mark.parametrize("effort", [0, 1])
def test_large_grids_need_no_adjacency_lists(limits, effort):
    limits(**SMALL_CORE)
    graph = grid_graph((24, 30), [(0, 1), (1, 0), (2, 2)])
    multicut(graph, np.random.default_rng(0).normal(size=graph.num_edges), effort=effort)
    assert "csr" not in vars(graph)


@pytest.mark.parametrize("init", [None, "alone"])
def test_stars_with_very_many_leaves_are_solved_exactly(init):
    """At the optimum exactly the repulsive edges are cut."""
    n = 9000
    edges = np.stack([np.zeros(n - 1, np.int64), np.arange(1, n)], axis=1)
    costs = np.random.default_rng(0).normal(size=n - 1)
    for solver in ("multilevel", "kernighan_lin"):
        start = None if init is None else np.arange(n)
        s = multicut(Graph(n, edges), costs, solver=solver, init=start)
        assert s.objective == pytest.approx(costs[costs < 0].sum(), rel=1e-12)
        assert s.edge_labels.tolist() == (costs < 0).astype(int).tolist()


def test_kernighan_lin_improves_bad_starts_with_several_classes():
    """From bad starts its solutions are feasible and close to the optimum, never below it."""
    gaps = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        n, edges, *costs = random_instance(rng, n=10, m=24, K=3)
        graph = Graph(n, edges)
        start = (rng.integers(0, 3, n), rng.integers(0, n, n))
        s = amwc(graph, *costs, init=start, solver="kernighan_lin")
        problem = make_problem(graph, *costs)
        assert problem.violations(s.node_labels, s.edge_labels, s.clusters) == []
        best = amwc(graph, *costs, solver="exact").objective
        assert s.objective >= best - 1e-6
        gaps.append((s.objective - best) / abs(best))
    assert np.median(gaps) < 0.2


@pytest.mark.parametrize("effort", [0, 1])
def test_disconnected_cluster_is_taken_apart_where_a_node_gains(effort):
    """These two of 6,000 instances have a node that gains by joining one component of a cluster, but not the whole."""
    for seed in (5126, 5794):
        graph, node_costs, edge_costs, _ = noisy_grid((8, 9), K=4, seed=seed)
        costs = node_costs, edge_costs, np.array([True, True, True, False])
        assert_local_optimum(graph, *costs, amwc(graph, *costs, effort=effort, seed=seed), effort > 0)


def test_loss_bounds_hold_for_nodes_of_every_class():
    """Edges and class costs are weak, so nodes in their cheapest class have neighbours that change their class."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        side = int(rng.integers(6, 16))
        graph = grid_graph((side, side), [(0, 1), (1, 0)] + [(2, 2)] * (seed % 2))
        node_costs, edge_costs = rng.normal(size=(side * side, 3)), rng.normal(size=graph.num_edges)
        P = np.array([seed % 3 == 0, False, False])
        s = amwc(graph, node_costs, edge_costs, P)
        level = finest_level(make_problem(graph, node_costs, edge_costs, P))
        assert level.move(from_labels(s.node_labels, s.clusters, P)) == 0


@settings(max_examples=60)
@given(instances(max_nodes=12, max_edges=40), st.integers(0, 2), st.integers(0, 2))
def test_amwc_of_tiny_graphs_is_never_above_mwc(instance, seed, effort):
    n, edges, node_costs, edge_costs, partitionable = instance
    costs = Graph(n, edges), node_costs, edge_costs
    other = mwc(*costs, seed=seed, effort=effort).objective
    assert amwc(*costs, partitionable, seed=seed, effort=effort).objective <= other + 1e-9 * (1 + abs(other))


@pytest.mark.parametrize(("seed", "effort"), [(0, 1), (13, 1), (2, 0), (3, 0)])
def test_amwc_is_not_above_mwc_where_most_nodes_are_undecided(seed, effort):
    """On grids of this size amwc tries the multiway cut only if many nodes are undecided; otherwise it ended above."""
    rng = np.random.default_rng(seed)
    offsets = [(0, 1), (1, 0), (0, 4), (4, 0), (0, 16), (16, 0), (0, 32), (32, 0), (8, 8), (8, 0), (0, 8), (2, 2)]
    graph = grid_graph((100, 110), offsets)
    region = (np.arange(100)[:, None] // 20 * 8 + np.arange(110) // 20).ravel()
    same = region[graph.edges[:, 0]] == region[graph.edges[:, 1]]
    edge_costs = (0.25 * (np.where(same, 1, -1) + 2 * rng.normal(size=graph.num_edges))).astype(np.float32)
    node_costs = (rng.normal(size=(graph.num_nodes, 10)) - 0.5 * np.eye(10)[region % 10]).astype(np.float32)
    a = amwc(graph, node_costs, edge_costs, np.arange(10) > 5, effort=effort).objective
    assert a <= mwc(graph, node_costs, edge_costs, effort=effort).objective


def test_search_is_skipped_if_coarsening_hardly_shrinks_the_graph(monkeypatch):
    """Without attractive edges, coarsening ends with many nodes; searching them would take most of the time."""
    steps = []
    step = Search.step
    monkeypatch.setattr(Search, "step", lambda self, o: steps.append(self.level.num_nodes) or step(self, o))
    graph = grid_graph((100, 110), [(d, e) for d in range(4) for e in range(4) if d + e])
    costs = np.random.default_rng(0).normal(-3, 1, graph.num_edges)
    s = multicut(graph, costs, effort=0)
    assert s.num_clusters > 2000
    assert steps == []


def test_chains_from_many_leaves_do_not_rescan_their_hub():
    """If a chain from every one of 10,000 leaves looked at all edges of the hub, that would be 10^8 looks."""
    n = 10_000
    edges = np.array([(0, i) for i in range(1, n)])
    node_costs = np.zeros((n, 2))
    node_costs[1], node_costs[2] = [0, 50], [50, 0]
    node_costs[3:, 0] = np.where(np.arange(n - 3) % 2, 0.4, 0.0)
    node_costs[3:, 1] = 0.4 - node_costs[3:, 0]
    costs = np.where(np.arange(n - 1) < 2, 20.0, 1.0)
    s = amwc(Graph(n, edges), node_costs, costs, [0, 1])
    assert s.objective == pytest.approx(20 + node_costs[3:, 0].sum())


def test_costs_near_the_largest_float32_do_not_overflow():
    s = multicut([(0, 1), (1, 2), (2, 3)], np.array([2e38, -2e38, 2e38], np.float32))
    assert s.edge_labels.tolist() == [0, 1, 0]
    assert multicut([(0, 1), (0, 1), (1, 2)], np.array([1e308, 1e308, -1.0])).objective == -1  # 2e308 overflows
