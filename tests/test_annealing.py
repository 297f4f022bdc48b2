"""Annealing of frustrated graphs: where it is used, what it finds, and that it never makes anything worse."""

import time
from itertools import product

import numpy as np
import pytest

from diffcomb import Graph, amwc, grid_graph, make_problem, multicut, mwc
from diffcomb.solvers.annealing import Annealer, annealer_for, is_frustrated, is_undecided
from diffcomb.solvers.budget import Budget
from diffcomb.solvers.level import finest_level
from diffcomb.solvers.levels.slack import new_slack
from diffcomb.solvers.limits import changed


def random_edges(rng, n, degree):
    edges = rng.integers(0, n, (n * degree // 2, 2))
    return np.unique(np.sort(edges[edges[:, 0] != edges[:, 1]], axis=1), axis=0)


def communities(n=600, degree=40, count=6, wrong=0.3, seed=0):
    """Edges, half of them near each other, that attract within communities and repel between them, but for so many."""
    rng = np.random.default_rng(seed)
    edges, truth = random_edges(rng, n, degree // 2), np.arange(n) * count // n
    within = rng.integers(0, n, n * degree // 4)
    place = rng.integers(0, n // count, len(within))
    edges = np.concatenate([edges, np.stack([within, within // (n // count) * (n // count) + place], axis=1) % n])
    edges = np.unique(np.sort(edges[edges[:, 0] != edges[:, 1]], axis=1), axis=0)
    agrees = truth[edges[:, 0]] == truth[edges[:, 1]]
    costs = np.where(agrees ^ (rng.random(len(edges)) < wrong), 1.0, -1.0)
    return edges, costs, truth


def value(edges, costs, z):
    return float(costs[z[edges[:, 0]] != z[edges[:, 1]]].sum())


def local_optimum(problem, clusters=None):
    level = finest_level(problem)
    labels, slack = level.singletons(), new_slack(level.num_nodes)
    if clusters is not None:
        labels.z[:] = clusters + 1
    level.move(labels, slack=slack)
    return level, labels, slack


@pytest.mark.parametrize("seed", range(3))
def test_communities_behind_noise_cost_no_more_than_the_true_ones(seed):
    edges, costs, truth = communities(seed=seed)
    assert multicut(Graph(600, edges), costs, seed=seed).objective <= value(edges, costs, truth)


def test_neither_annealing_nor_its_divisions_can_be_left_out():
    totals = {"as it is": 0.0, "frustrated": 0.0, "divisions": 0.0}
    largest = 1.0  # what annealing gains in a draw, as a factor
    for seed in range(6):
        edges, costs, truth = communities(n=2000, degree=60, count=10, wrong=0.35, seed=seed)
        for name, without in zip(totals, ({}, {"frustrated": 2.0}, {"divisions": 0}), strict=True):
            with changed(**without):
                found = multicut(Graph(2000, edges), costs, seed=1).objective
            totals[name] += found
            assert found <= value(edges, costs, truth) or without
            if name == "as it is":
                whole = found
            if name == "frustrated":
                largest = max(largest, whole / found)
    assert largest > 1.03
    assert totals["as it is"] < 1.02 * totals["frustrated"]
    assert totals["as it is"] < 1.004 * totals["divisions"]


@pytest.mark.nojit
def test_annealing_finds_optima_of_small_frustrated_graphs():
    optimal = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        edges = random_edges(rng, 24, 8)
        costs = rng.choice([-1.0, 1.0], len(edges))
        level, labels, _ = local_optimum(make_problem(Graph(24, edges), None, costs))
        annealer = Annealer(level, 1.5, rng)
        for _ in range(3):
            labels = annealer.round(labels, Budget(1))
        best = multicut(Graph(24, edges), costs, solver="exact").objective
        assert level.value(labels) >= best - 1e-9
        optimal += level.value(labels) <= best + 1e-9
    assert optimal >= 8


@pytest.mark.nojit
@pytest.mark.parametrize("classes", [1, 3])
def test_a_round_never_makes_a_labelling_worse_and_depends_on_the_seed_alone(classes):
    edges, costs, _ = communities(n=40, degree=10, count=3)
    rng = np.random.default_rng(0)
    problem = make_problem(Graph(40, edges), rng.normal(size=(40, classes)), costs, [classes - 1])
    level, labels, _ = local_optimum(problem)
    for loss, cool in product((1e-9, 1.0, 1e6), (False, True)):  # nothing is accepted, something, everything
        rounds = [Annealer(level, loss, np.random.default_rng(7), cool).round(labels, Budget(1)) for _ in range(2)]
        assert level.value(rounds[0]) <= level.value(labels) + 1e-9
        assert rounds[0].z.tolist() == rounds[1].z.tolist()


def test_rounds_get_longer_up_to_a_limit_and_colder():
    edges, costs, _ = communities(n=40)
    level, _, _ = local_optimum(make_problem(Graph(40, edges), None, costs))
    annealer = Annealer(level, 1.0, np.random.default_rng(0))
    cool = Annealer(level, 1.0, np.random.default_rng(0), cool=True)
    with changed(sweeps=10, max_doublings=2, reheated=0.5, coldest=0.2, cool=0.4, cool_doublings=1):
        rounds = [annealer._temperatures() for _ in range(5)]
        cool_rounds = [cool._temperatures() for _ in range(3)]
    assert [len(each) for each in cool_rounds] == [10, 20, 20]
    assert [each[0] for each in cool_rounds] == [0.4, 0.4, 0.4]
    assert [len(each) for each in rounds] == [10, 20, 40, 40, 40]
    assert [each[0] for each in rounds] == [1.0, 0.5, 0.5, 0.5, 0.5]
    assert all(each[-1] == pytest.approx(0.2) for each in rounds)


def test_annealing_is_tried_where_costs_contradict_each_other():
    edges, costs, truth = communities()
    noisy = make_problem(Graph(600, edges), None, costs)
    level, labels, slack = local_optimum(noisy)
    assert is_frustrated(level, labels)
    annealer = annealer_for(noisy, level, labels, slack, np.random.default_rng(0), Budget(1))
    assert annealer is not None
    assert not annealer.cool
    clear = np.where(truth[edges[:, 0]] == truth[edges[:, 1]], 1.0, -1.0)
    agreeing = make_problem(Graph(600, edges), None, clear)
    level, labels, slack = local_optimum(agreeing, truth)
    assert not is_frustrated(level, labels)
    assert annealer_for(agreeing, level, labels, slack, np.random.default_rng(0), Budget(1)) is None


def test_what_frustrated_means_by_hand():
    """A triangle of one repulsive edge and two attractive ones pays 1 of 3 for that, with or without classes."""
    edges, costs = [(0, 1), (1, 2), (0, 2)], [1.0, 1.0, -1.0]
    for node_costs in (None, np.full((3, 2), 7.0)):
        level, labels, slack = local_optimum(make_problem(Graph(3, edges), node_costs, costs, [0]))
        with changed(frustrated=1 / 3 - 1e-6):
            assert is_frustrated(level, labels)
        with changed(frustrated=1 / 3 + 1e-6):
            assert not is_frustrated(level, labels)
        slack.losses[:] = 0.0
        assert is_undecided(level, slack)
        slack.losses[1:] = 0.41 * 2  # of costs of 2 at each node; a third of the nodes loses nothing
        assert is_undecided(level, slack)
        slack.losses[0] = 0.1
        assert not is_undecided(level, slack)
        slack.losses[:] = 0.39
        assert is_undecided(level, slack)


@pytest.mark.parametrize("classes", [1, 3])
def test_noisy_grids_are_annealed_from_the_second_round_on_unless_they_are_large(classes):
    grid = grid_graph((48, 48), [(0, 1), (1, 0), (0, 4), (4, 0)])
    rng = np.random.default_rng(2)
    costs, node_costs = rng.normal(size=grid.num_edges), rng.normal(size=(grid.num_nodes, classes))

    def found(effort):
        return amwc(grid, node_costs, costs, [0], effort=effort).objective

    first, annealed = found(1), found(2)
    with changed(frustrated=2.0):
        assert found(1) == first
        assert annealed < 1.001 * (plain := found(2))
    with changed(annealed_grid=grid.num_edges):
        assert found(2) == plain > 0.999 * annealed


def test_after_a_short_annealing_that_gains_nothing_only_cool_ones_follow_and_in_small_graphs_none():
    edges, costs, _ = communities()
    best = multicut(Graph(600, edges), costs, effort=4)
    problem = make_problem(Graph(600, edges), None, costs)
    level, labels, slack = local_optimum(problem, best.clusters)
    annealer = annealer_for(problem, level, labels, slack, np.random.default_rng(0), Budget(1))
    assert annealer is not None
    assert annealer.cool
    with changed(max_coarse=600):
        assert annealer_for(problem, level, labels, slack, np.random.default_rng(0), Budget(1)) is None


def test_decided_nodes_of_a_frustrated_graph_are_annealed_cool_and_end_lower():
    rng = np.random.default_rng(0)
    edges = random_edges(rng, 2000, 8)
    costs = rng.normal(size=len(edges))
    graph = Graph(2000, edges)
    level, labels, slack = local_optimum(make_problem(graph, None, costs), multicut(graph, costs, effort=0).clusters)
    assert is_frustrated(level, labels)
    assert not is_undecided(level, slack)
    found = multicut(graph, costs, effort=4).objective
    with changed(frustrated=2.0):
        assert found < 1.002 * multicut(graph, costs, effort=4).objective


def test_a_time_limit_ends_it_between_two_looks_at_the_clock():
    edges, costs, _ = communities(n=2000, degree=60)
    with changed(sweeps=10**5, annealed_half_edges=2**18):
        found = multicut(Graph(2000, edges), costs, time_limit=0.3)
    start = multicut(Graph(2000, edges), costs, effort=0)
    assert found.objective <= start.objective
    problem = make_problem(Graph(2000, edges), None, costs)
    level, labels, _ = local_optimum(problem)
    over = Budget(1, 0.0)
    slack = new_slack(2000)
    level.move(labels, slack=slack)
    with changed(tried_sweeps=10**7, frustrated=0.0, little=2.0):
        annealer = annealer_for(problem, level, labels, slack, np.random.default_rng(0), over)
        assert annealer is not None
        assert annealer.cool
    for cool in (False, True):
        after = Annealer(level, 2.0, np.random.default_rng(0), cool).round(labels, over)
        assert level.value(after) <= level.value(labels)


def test_an_annealing_that_will_not_end_in_time_skips_temperatures():
    edges, costs, _ = communities(n=200)
    level, labels, _ = local_optimum(make_problem(Graph(200, edges), None, costs))
    annealer = Annealer(level, 2.0, np.random.default_rng(0))
    temperatures = []
    level.anneal = lambda _, some, __: temperatures.extend(some) or time.sleep(0.01 * len(some))
    with changed(annealed_half_edges=1):
        annealer.anneal(level, labels, np.linspace(1, 0.1, 1000), Budget(1, 0.5))
    assert len(temperatures) < 60
    assert temperatures[0] == 2.0
    assert temperatures[-1] < 0.5
    assert (np.diff(temperatures) < 0).all()


@pytest.mark.parametrize("partitionable", [[], [0], [0, 1, 2]])
def test_classes_of_a_frustrated_graph_are_never_worse_than_a_first_pass(partitionable):
    edges, costs, _ = communities()
    node_costs = np.random.default_rng(1).normal(size=(600, 3))
    graph = Graph(600, edges)
    found = amwc(graph, node_costs, costs, partitionable)
    assert found.objective < amwc(graph, node_costs, costs, partitionable, effort=0).objective
    assert found.objective <= mwc(graph, node_costs, costs).objective + 1e-9
