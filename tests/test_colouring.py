"""Cannot-links between classes that are not partitionable: colouring finds starts, and a start that keeps them stays."""

import numpy as np
import pytest

from diffcomb import Graph, make_problem, mwc, solvers
from diffcomb.problem import make_solution
from diffcomb.solvers.colouring import coloured


def random_tree(n, rng):
    return np.array([(int(rng.integers(i)), i) for i in range(1, n)])


@pytest.mark.nojit
@pytest.mark.parametrize("seed", range(5))
def test_what_two_colours_suffice_for_is_coloured_with_the_cheapest_classes_first(seed):
    rng = np.random.default_rng(seed)
    n = 40
    side = rng.integers(2, size=n)
    pairs = rng.integers(n, size=(60, 2))
    pairs = pairs[side[pairs[:, 0]] != side[pairs[:, 1]]]
    costs = rng.normal(size=(n, 2))
    problem = make_problem(Graph(n, pairs), costs, np.zeros(len(pairs)), [])
    labels, clusters = coloured(problem, np.ones(len(pairs), bool))
    assert (labels[pairs[:, 0]] != labels[pairs[:, 1]]).all()
    alone = np.setdiff1d(np.arange(n), pairs)
    assert (labels[alone] == costs[alone].argmin(1)).all()
    assert len(set(clusters)) == n


@pytest.mark.nojit
def test_nodes_of_a_partitionable_class_may_share_it():
    problem = make_problem(Graph(3, [(0, 1), (1, 2)]), [[0.0, 1.0]] * 3, np.zeros(2), [0])
    assert coloured(problem, np.ones(2, bool))[0].tolist() == [0, 0, 0]
    whole = make_problem(Graph(3, [(0, 1), (1, 2)]), [[0.0, 1.0]] * 3, np.zeros(2), [])
    assert coloured(whole, np.ones(2, bool))[0].tolist() in ([0, 1, 0], [1, 0, 1])
    triangle = make_problem(Graph(3, [(0, 1), (1, 2), (0, 2)]), [[0.0, 1.0]] * 3, np.zeros(3), [])
    assert len(set(coloured(triangle, np.ones(3, bool))[0].tolist())) == 2  # as far as it goes


@pytest.mark.parametrize("solver", ["multilevel", "kernighan_lin", "greedy", "mutex_watershed"])
def test_chains_and_trees_of_cannot_links_are_separated(solver):
    rng = np.random.default_rng(0)
    for n in (60, 400):
        graph = Graph(n, rng.integers(n, size=(2 * n, 2)))
        chain = np.stack([np.arange(n - 1), np.arange(1, n)], axis=1)
        for apart in (chain, random_tree(n, rng)):
            found = mwc(graph, rng.normal(size=(n, 2)), rng.normal(size=2 * n), cannot_link=apart, solver=solver)
            assert (found.node_labels[apart[:, 0]] != found.node_labels[apart[:, 1]]).all()


def lazy(problem, *, init, rng, budget):
    everything = np.zeros(problem.graph.num_nodes, np.int64)
    return make_solution(problem, everything, everything)


@pytest.mark.parametrize("solver", ["multilevel", "greedy", "mutex_watershed", lazy])
def test_start_that_keeps_cannot_links_is_never_lost(solver):
    rng = np.random.default_rng(1)
    n = 200
    apart = random_tree(n, rng)
    start = np.zeros(n, np.int64)
    for u, v in apart:
        start[v] = 1 - start[u]
    graph, nodes, edges = Graph(n, rng.integers(n, size=(2 * n, 2))), rng.normal(size=(n, 2)), rng.normal(size=2 * n)
    given = make_problem(graph, nodes, edges, []).objective(start, start[graph.edges[:, 0]] != start[graph.edges[:, 1]])
    found = mwc(graph, nodes, edges, cannot_link=apart, init=start, solver=solver)
    assert (found.node_labels[apart[:, 0]] != found.node_labels[apart[:, 1]]).all()
    assert found.objective <= given + 1e-9


def test_small_graphs_with_cannot_links_end_no_higher_than_greedy_and_mostly_at_the_optimum():
    rng = np.random.default_rng(2)
    optimal = 0
    for _ in range(40):
        n = 16
        graph = Graph(n, [(i, i + 1) for i in range(n - 1)])
        nodes, edges = rng.normal(size=(n, 2)), rng.normal(size=n - 1)
        side = rng.integers(2, size=n)
        pairs = rng.integers(n, size=(4, 2))
        apart = pairs[side[pairs[:, 0]] != side[pairs[:, 1]]]
        value = {s: mwc(graph, nodes, edges, cannot_link=apart, solver=s).objective
                 for s in ("multilevel", "greedy", "exact")}  # fmt: skip
        assert value["exact"] - 1e-9 <= value["multilevel"] <= value["greedy"] + 1e-9
        optimal += value["multilevel"] <= value["exact"] + 1e-9
    assert optimal >= 36


def test_more_effort_is_never_worse_with_cannot_links():
    for seed in range(20, 40):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(15, 60))
        graph = Graph(n, rng.integers(n, size=(3 * n, 2)))
        nodes, edges = rng.normal(size=(n, 3)), rng.normal(size=3 * n)
        apart = rng.integers(n, size=(n // 3, 2))
        apart = apart[apart[:, 0] != apart[:, 1]]
        values = [mwc(graph, nodes, edges, cannot_link=apart, effort=effort).objective for effort in (0, 1, 2, 4)]
        assert (np.diff(values) <= 1e-9).all(), seed


def test_cannot_links_that_cannot_be_met_keep_to_the_time_limit(monkeypatch):
    efforts = []

    def searching(problem, *, init, rng, budget):
        efforts.append((budget.effort, budget.time_limit))
        return lazy(problem, init=init, rng=rng, budget=budget)

    monkeypatch.setattr(solvers, "multilevel", searching)
    triangle = make_problem(Graph(3, [(0, 1), (1, 2), (0, 2)]), np.zeros((3, 2)), np.full(3, -np.inf))
    with pytest.raises(ValueError, match="more effort or time may find one"):
        solvers.solve(triangle, lazy, time_limit=1e-9)
    assert efforts == [(0, None), (0, None)]  # moves alone
    efforts.clear()
    with pytest.raises(ValueError, match="no labelling was found that separates"):
        solvers.solve(triangle, lazy, time_limit=1000)
    assert [effort for effort, _ in efforts] == [0, 0, 4, 16]
    assert all(0 < limit <= 1000 for _, limit in efforts[2:])
