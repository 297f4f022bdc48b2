"""Lifted multicut and lifted AMWC: feasibility, optimality on small instances, parity with the problems without lifting."""

import signal
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lifted_problems import SOLVERS, amwc_of, as_multicut, grid_instance, lifted_instances, multicut_of, optimum
from naive import components
from strategies import noisy_grid

from diffcomb import (
    Graph,
    amwc,
    lifted_amwc,
    lifted_multicut,
    multicut,
)
from diffcomb._interrupt import Interrupt
from diffcomb.lifted_problem import LiftedProblem, LiftedSolution, joined_graph
from diffcomb.problem import make_problem
from diffcomb.solvers import highs, programme
from diffcomb.solvers.budget import Budget
from diffcomb.solvers.levels.lifted_rows import base_parts, contract_lifted, lifted_rows
from diffcomb.solvers.lifted import lifted_multilevel
from diffcomb.solvers.lifted_exact import LiftedProgramme
from diffcomb.solvers.limits import changed


def check(instance, found):
    """That a solution is feasible and costs what it says."""
    n, edges, edge_costs, lifted, lifted_costs, node_costs, partitionable = instance
    x, z = found.node_labels, found.clusters
    assert found.edge_labels.tolist() == [int(z[u] != z[v]) for u, v in edges]
    assert found.lifted_labels.tolist() == [int(z[u] != z[v]) for u, v in lifted]
    part = components(n, edges, found.edge_labels)
    for c in np.unique(z):
        members = np.flatnonzero(z == c)
        assert len(set(x[members])) == 1
        if partitionable[x[members[0]]]:
            assert len({part[i] for i in members}) == 1, "base edges connect every cluster"
    for k in np.flatnonzero(~partitionable):
        assert len(set(z[x == k])) <= 1
    cost = node_costs[np.arange(n), x].sum() + edge_costs @ found.edge_labels + lifted_costs @ found.lifted_labels
    assert found.objective == pytest.approx(cost, abs=1e-4)


@pytest.mark.nojit
@pytest.mark.parametrize("solver", SOLVERS)
@given(instance=lifted_instances())
def test_lifted_multicut_is_feasible_and_never_below_the_optimum(instance, solver):
    instance = as_multicut(instance)
    found, best = multicut_of(instance, solver=solver), optimum(instance)
    check(instance, found)
    assert found.objective >= best - 1e-4
    if solver == "exact":
        assert found.objective == pytest.approx(best, abs=1e-4)
        assert found.lower_bound <= found.objective


@pytest.mark.nojit
@pytest.mark.parametrize("solver", SOLVERS)
@given(instance=lifted_instances(max_nodes=4, max_edges=5, max_lifted=4, max_classes=3))
def test_lifted_amwc_is_feasible_and_never_below_the_optimum(instance, solver):
    found, best = amwc_of(instance, solver=solver), optimum(instance)
    check(instance, found)
    assert found.objective >= best - 1e-4
    if solver == "exact":
        assert found.objective == pytest.approx(best, abs=1e-4)


@pytest.mark.nojit
@given(instance=lifted_instances(max_nodes=4, max_edges=5, max_lifted=4, max_classes=3), linear=st.booleans())
def test_bound_is_never_above_the_optimum(instance, linear):
    for one, verb in ((instance, amwc_of), (as_multicut(instance), multicut_of)):
        best = optimum(one)
        with changed(linear_variables=4096 if linear else 0):
            assert verb(one, bound=True).lower_bound <= best + 1e-6 * (1 + abs(best))


def test_bounds_of_small_problems_know_what_attraction_at_a_distance_pays_for():
    path = [(0, 1), (1, 2)], [-1.0, -1.0], [(0, 2)], [1.5]  # to join the ends costs 2 and saves 1.5
    assert lifted_multicut(*path, bound=True).lower_bound == pytest.approx(-0.5)
    relaxed = multicut([(0, 1), (1, 2), (0, 2)], [-1.0, -1.0, 1.5], bound=True).lower_bound
    assert relaxed == pytest.approx(-2.0)


@pytest.mark.parametrize(
    ("n", "edges", "costs", "lifted", "lifted_costs", "best"),
    [
        (3, [(0, 1)], [1.0], [(0, 2)], [3.0], 3.0),
        (4, [(0, 1), (1, 2)], [1.0, -2.0], [(0, 2), (0, 3), (1, 3)], [-1.0, 2.0, 30.0], 29.0),
        (2, [], [], [(0, 1), (0, 1)], [1.56, -0.66], 0.9),
        (3, [(0, 1), (1, 2)], [-50.0, -1.0], [(0, 2)], [20.0], -31.0),
    ],
)
def test_exact_and_bound_know_that_costs_of_certain_cuts_are_paid(n, edges, costs, lifted, lifted_costs, best):
    arguments = Graph(n, edges), costs, lifted, lifted_costs
    for options in ({"solver": "exact"}, {"bound": True}):
        found = lifted_multicut(*arguments, **options)
        assert found.objective == pytest.approx(best)
        assert found.lower_bound == pytest.approx(best)


@pytest.mark.parametrize("seed", range(20))
def test_exact_proves_optima_of_costs_of_very_different_sizes(seed):
    rng = np.random.default_rng(seed)
    pairs = np.array([(u, v) for v in range(6) for u in range(v)])
    order, sizes = rng.permutation(len(pairs)), 10.0 ** rng.integers(-3, 4, len(pairs))
    costs = rng.normal(size=len(pairs)) * sizes
    base, far = order[: rng.integers(3, 9)], order[-5:]
    found = lifted_multicut(Graph(6, pairs[base]), costs[base], pairs[far], costs[far], solver="exact")
    assert found.gap <= 1e-5 * abs(found.objective) + 1e-6


def test_bounds_of_planted_grids_are_close_and_come_with_batches_and_tensors():
    graph, costs, lifted, lifted_costs = grid_instance((24, 32), noise=0.7)
    both = torch.tensor(np.stack([costs, 2 * costs])), lifted, torch.tensor(np.stack([lifted_costs, 2 * lifted_costs]))
    found = lifted_multicut(graph, *both, bound=True)
    assert found.lower_bound.shape == (2,)
    assert (found.gap >= 0).all()
    assert (found.gap <= 0.02 * found.objective.abs()).all()
    assert lifted_multicut(graph, costs, lifted, lifted_costs).lower_bound is None
    with pytest.raises(TypeError, match="bound must be True or False, got 'yes'"):
        lifted_multicut(graph, costs, lifted, lifted_costs, bound="yes")


@pytest.mark.nojit
@given(instance=lifted_instances(max_nodes=4, max_edges=5, max_lifted=4, max_classes=2))
def test_exact_finds_the_same_optimum_with_scipy_alone(instance):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programme, "make_backend", highs.Anew)
        found = amwc_of(instance, solver="exact")
    assert found.objective == pytest.approx(optimum(instance), abs=1e-4)


def test_multilevel_is_never_above_greedy_and_improves_with_effort():
    for seed in range(5):
        instance = grid_instance(noise=1.5, seed=seed)
        greedy = lifted_multicut(*instance, solver="greedy").objective
        objectives = [lifted_multicut(*instance, effort=effort).objective for effort in (1, 2, 4)]
        assert objectives[0] <= greedy + 1e-9
        assert objectives == sorted(objectives, reverse=True)


@pytest.mark.nojit
@pytest.mark.parametrize("noise", [0.5, 3.0])
def test_no_effort_at_all_is_not_above_greedy(noise):
    """Both where a descent is fused with greedy contraction and where the graph is too large for that."""
    for pieces in (0, 2048):
        with changed(max_pieces=pieces):
            arguments = grid_instance((8, 8), noise=noise, seed=2)
            greedy = lifted_multicut(*arguments, solver="greedy").objective
            assert lifted_multicut(*arguments, effort=0).objective <= greedy + 1e-9


def test_above_its_limit_a_descent_gives_way_to_another_proposal():
    arguments = grid_instance((24, 24), noise=1.5, seed=0)
    with changed(fused_half_edges=0):
        with_descent = lifted_multicut(*arguments).objective
        with changed(descended_half_edges=0):
            without = lifted_multicut(*arguments).objective
    greedy = lifted_multicut(*arguments, effort=0).objective
    assert without < greedy
    assert without == pytest.approx(with_descent, rel=0.02)


def test_mean_gap_of_multilevel_to_exact_is_small():
    gaps = []
    for seed in range(6):
        instance = grid_instance((4, 5), noise=1.2, seed=seed)
        best = lifted_multicut(*instance, solver="exact").objective
        gaps.append((lifted_multicut(*instance).objective - best) / abs(best))
    assert -1e-9 <= np.mean(gaps) <= 0.005


@pytest.mark.nojit
def test_greedy_without_lifted_edges_is_greedy_contraction():
    graph, nodes, costs, partitionable = noisy_grid((10, 12))
    none = np.empty((0, 2), int), np.empty(0)
    assert lifted_multicut(graph, costs, *none, solver="greedy").objective == pytest.approx(
        multicut(graph, costs, solver="greedy").objective
    )
    assert lifted_amwc(graph, nodes, costs, partitionable, *none, solver="greedy").objective == pytest.approx(
        amwc(graph, nodes, costs, partitionable, solver="greedy").objective
    )


def test_ends_of_a_lifted_edge_change_together_into_a_class_that_needs_no_path():
    nodes = np.array([[-0.4, -1.6], [1.8, -0.3]])
    assert lifted_amwc(Graph(2, []), nodes, np.zeros(0), [1], [(0, 1)], [1423.0]).objective == pytest.approx(1.4)
    rng = np.random.default_rng(0)
    above = 0
    for _ in range(100):
        n, K, m, count = (int(rng.integers(low, high)) for low, high in ((2, 4), (2, 4), (0, 3), (1, 4)))
        edges, lifted = rng.integers(0, n, (m, 2)), rng.integers(0, n, (count, 2))
        costs = rng.normal(size=(n, K)), rng.normal(size=m), rng.random(K) < 0.5
        instance = Graph(n, edges), *costs, lifted, rng.normal(size=count) * 10 ** rng.uniform(-1, 3)
        best = lifted_amwc(*instance, solver="exact").objective
        above += lifted_amwc(*instance).objective > best + 1e-6 * (1 + abs(best))
    assert above <= 3


def test_lifted_edges_that_are_base_edges_add_up():
    graph, _, costs, _ = noisy_grid((8, 8))
    found = lifted_multicut(graph, 0.25 * costs, graph, 0.75 * costs)
    assert found.objective == pytest.approx(multicut(graph, costs, effort=4).objective, rel=1e-3)


def test_attraction_at_a_distance_joins_nothing_without_a_path():
    found = lifted_multicut(Graph(3, [(0, 1)]), [1.0], [(0, 2)], [5.0])
    assert found.clusters.tolist() == [0, 0, 1]
    assert found.objective == 5.0


@pytest.mark.nojit
@pytest.mark.parametrize("solver", SOLVERS)
def test_result_is_never_worse_than_init(solver):
    graph, costs, lifted, lifted_costs = grid_instance((4, 5) if solver == "exact" else (10, 10), noise=2.0)
    rng = np.random.default_rng(0)
    for _ in range(5):
        init = rng.integers(0, 3, graph.num_nodes)
        problem = LiftedProblem(
            make_problem(joined_graph(graph, lifted.edges), None, np.append(costs, lifted_costs)), graph.num_edges
        )
        given_objective = problem.solution(np.zeros(graph.num_nodes, int), init).objective
        found = lifted_multicut(graph, costs, lifted, lifted_costs, init=init, solver=solver)
        assert found.objective <= given_objective + 1e-9
    again = lifted_multicut(graph, costs, lifted, lifted_costs, init=found, solver=solver)
    assert again.objective <= found.objective + 1e-9


def test_same_seed_gives_the_same_solution_and_a_time_limit_is_kept():
    instance = grid_instance(noise=2.0)
    a, b = (lifted_multicut(*instance, seed=3, effort=2) for _ in range(2))
    assert (a.clusters == b.clusters).all()
    limited = lifted_multicut(*instance, time_limit=0.3)
    assert limited.objective <= lifted_multicut(*instance, effort=0).objective


def test_seconds_of_branch_and_cut_are_those_that_are_left():
    """HiGHS's clock goes on between linear programmes, and begins anew in branch and cut."""
    pytest.importorskip("highspy")
    backend = highs.Incremental(np.array([1.0, -1.0]), np.zeros(2), np.ones(2))
    for _ in range(3):
        backend.relax(5.0)
        assert backend.model.getOptionValue("time_limit")[1] >= 5.0
        backend.solve(7.0)
        assert backend.model.getOptionValue("time_limit")[1] == 7.0


def test_cycles_along_lifted_edges_strengthen_the_linear_programme():
    """A triangle of lifted edges that no base path is short enough to tell of."""
    base, lifted = [(i, i + 1) for i in range(6)], [(0, 3), (3, 6), (0, 6)]
    costs = np.full(6, -0.1)
    found = lifted_multicut(base, costs, lifted, [1.0, 1.0, -1.5], solver="exact", bound=True)
    assert found.gap == pytest.approx(0, abs=1e-6)
    graph = Graph(7, [*base, *lifted])
    p = LiftedProgramme(LiftedProblem(make_problem(graph, None, np.r_[costs, 1.0, 1.0, -1.5]), 6))
    values = np.r_[np.full(6, 0.5), 0.0, 0.0, 1.0]  # cuts 0-6 although 0-3 and 3-6 are joined
    assert p.separate(values, 1e-4, lambda: False)
    rows = p.programme.rows
    cycles = [set(rows.columns[a:b].tolist()) for a, b in zip(rows.start[:-1], rows.start[1:], strict=True)]
    assert {6, 7, 8} in cycles


def interrupted(interrupt, call):
    """The result of a call during which Ctrl-C is pressed."""
    with interrupt:
        threading.Timer(0.5, lambda: signal.raise_signal(signal.SIGINT)).start()
        return call()


def test_interrupt_ends_the_search_and_keeps_the_best_solution():
    graph, costs, lifted, lifted_costs = grid_instance(noise=2.0)
    joined = joined_graph(graph, lifted.edges)
    problem = LiftedProblem(make_problem(joined, None, np.append(costs, lifted_costs)), graph.num_edges)
    interrupt, rng = Interrupt(keeps_best=True), np.random.default_rng(0)
    budget = Budget(1, 60.0, interrupt)
    lifted_multilevel(problem, init=None, rng=np.random.default_rng(0), budget=Budget(0))  # compiled
    with pytest.warns(RuntimeWarning, match="search interrupted"):
        found = interrupted(interrupt, lambda: lifted_multilevel(problem, init=None, rng=rng, budget=budget))
    assert found.objective < 0
    assert budget.left() > 30


def test_batch_of_tensors_gives_tensors_with_a_batch_axis():
    graph, costs, lifted, lifted_costs = grid_instance((6, 6))
    batch = torch.tensor(np.stack([costs, -costs]))
    found = lifted_multicut(graph, batch, lifted, torch.tensor(lifted_costs))
    assert isinstance(found, LiftedSolution)
    assert found.edge_labels.shape == (2, graph.num_edges)
    assert found.lifted_labels.shape == (2, lifted.num_edges)
    one = lifted_multicut(graph, costs, lifted, lifted_costs)
    assert (found.clusters[0].numpy() == one.clusters).all()
    with pytest.raises(ValueError, match="edge_costs and lifted_costs must have the same batch size"):
        lifted_multicut(graph, batch, lifted, torch.zeros(3, lifted.num_edges))


@pytest.mark.nojit
def test_solver_of_the_user_is_called_and_checked():
    graph, costs, lifted, lifted_costs = grid_instance((4, 4))

    def all_alone(lifted_problem, *, init, rng, budget):
        n = lifted_problem.problem.graph.num_nodes
        return lifted_problem.solution(np.zeros(n, int), np.arange(n))

    assert lifted_multicut(graph, costs, lifted, lifted_costs, solver=all_alone).num_clusters == 16
    with pytest.raises(TypeError, match="must return a LiftedSolution, got int"):
        lifted_multicut(graph, costs, lifted, lifted_costs, solver=lambda *_, **__: 1)

    def answers(labels, clusters):
        made = LiftedSolution(labels, np.zeros(0), clusters, 0.0)
        return lambda problem, *, init, rng, budget: made

    for labels, clusters, message in (
        (np.zeros(3, int), np.zeros(16, int), r"must return node_labels as an integer array of shape \(16,\)"),
        (np.zeros(16, int), np.zeros(16), r"must return clusters as an integer array of shape \(16,\)"),
        (np.full(16, 7), np.zeros(16, int), r"must return node_labels in 0\.\.0"),
    ):
        with pytest.raises(ValueError, match=message):
            lifted_multicut(graph, costs, lifted, lifted_costs, solver=answers(labels, clusters))


@pytest.mark.nojit
def test_lifted_solver_of_the_user_that_changes_its_start_changes_nobody_else_s():
    graph, costs, lifted, lifted_costs = grid_instance((4, 4))
    best = lifted_multicut(graph, costs, lifted, lifted_costs)
    seen = []

    def worst(lifted_problem, *, init, rng, budget):
        seen.append(init[1].tolist())
        init[1][:] = np.arange(16)
        return lifted_problem.solution(*init)

    start = best.clusters.copy()
    found = lifted_multicut(graph, np.tile(costs, (2, 1)), lifted, lifted_costs, solver=worst, init=start)
    assert seen == [best.clusters.tolist()] * 2
    assert start.tolist() == best.clusters.tolist()
    assert (found.objective == best.objective).all()


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lifted_edges": [(0, 9)]}, ValueError, r"lifted_edges must be pairs of nodes of the graph"),
        (
            {"graph": [(0, 1), (1, 2)], "lifted_edges": [(0, -2)]},
            ValueError,
            "lifted_edges must be pairs of nodes of the graph",
        ),
        ({"graph": [(0, 1), (1, 2)], "lifted_edges": [(0, 1.5)]}, TypeError, "lifted_edges must be pairs of nodes"),
        ({"lifted_edges": Graph(5, [(0, 1)])}, ValueError, "lifted_edges must have the graph's 3 nodes, got 5"),
        ({"lifted_costs": [1.0, 2.0]}, ValueError, r"lifted_costs must have shape \(1,\) or \(B, 1\)"),
        ({"edge_costs": [1.0]}, ValueError, r"edge_costs must have shape \(2,\) or \(B, 2\)"),
        (
            {"lifted_costs": [np.inf]},
            ValueError,
            r"lifted_costs must not be \+inf, .* first at index \(0,\): .* must_link=",
        ),
        ({"edge_costs": [np.nan, 0.0]}, ValueError, "edge_costs must not be NaN"),
        ({"must_link": [(0, 2)], "cannot_link": [(2, 0)]}, ValueError, "nodes 2 and 0 must be apart"),
        (
            {"edge_costs": [np.inf, np.inf], "lifted_costs": [-np.inf]},
            ValueError,
            "nodes 0 and 2 must be apart",
        ),
        ({"seeds": [0, 1]}, ValueError, r"seeds must have shape \(n,\) = \(3,\)"),
        ({"solver": "kl"}, ValueError, "solver must be one of 'multilevel', 'greedy', 'exact'"),
        ({"seed": -1}, ValueError, "seed must be a non-negative integer"),
        ({"time_limit": 0}, ValueError, "time_limit must be a positive number of seconds"),
    ],
)
def test_bad_input_is_named(change, error, message):
    good = {
        "graph": Graph(3, [(0, 1), (1, 2)]),
        "edge_costs": [1.0, 1.0],
        "lifted_edges": [(0, 2)],
        "lifted_costs": [1.0],
    }
    with pytest.raises(error, match=message):
        lifted_multicut(**{**good, **change})


def test_empty_batch_is_checked_like_others():
    arguments = Graph(3, [(0, 1)]), np.zeros((0, 3, 2)), np.zeros((0, 1))
    assert lifted_amwc(*arguments, [1], [(0, 2)], np.zeros((0, 1))).clusters.shape == (0, 3)
    with pytest.raises(ValueError, match="partitionable"):
        lifted_amwc(*arguments, [7], [(0, 2)], np.zeros((0, 1)))


@pytest.mark.nojit
def test_empty_and_tiny_instances_are_solved():
    none = np.empty((0, 2), int), np.empty(0)
    for solver in SOLVERS:
        assert lifted_multicut(Graph(0, []), [], *none, solver=solver).objective == 0
        assert lifted_multicut(Graph(1, []), [], *none, solver=solver).clusters.tolist() == [0]
        assert lifted_multicut(Graph(2, []), [], [(0, 1)], [-1.0], solver=solver).objective == -1
        assert lifted_multicut([], [], [(0, 1)], [1.0], solver=solver).clusters.tolist() == [0, 1]


# Parts


@pytest.mark.nojit
def test_contraction_adds_up_costs_and_keeps_base_edges_whose_costs_cancel():
    graph = Graph(4, [(0, 1), (1, 2), (0, 2), (2, 3), (1, 3)])
    rows = lifted_rows(graph.csr, np.array([1.0, 2.0, -2.0, 5.0, 3.0]), 2)
    small = contract_lifted(rows, np.array([0, 0, 1, 2], np.int32), 3)
    found = {
        (i, int(small.neighbours[h])): (float(small.weights[h]), bool(small.is_base[h]))
        for i in range(3)
        for h in range(small.indptr[i], small.indptr[i + 1])
    }
    assert found == {(0, 1): (0.0, True), (1, 0): (0.0, True), (0, 2): (3.0, False), (2, 0): (3.0, False),
                     (1, 2): (5.0, False), (2, 1): (5.0, False)}  # fmt: skip


@pytest.mark.nojit
def test_parts_of_a_cluster_are_what_base_edges_connect():
    rows = lifted_rows(Graph(4, [(0, 1), (2, 3), (1, 2)]).csr, np.ones(3), 2)
    z = np.zeros(4, np.int32)
    group, count = base_parts(rows, z, z)
    assert (group.tolist(), count) == ([0, 0, 1, 1], 2)


def test_exact_is_optimal_where_one_cost_outweighs_all_others():
    """What can no longer be better was told from true costs, of which large ones left too few digits."""
    nodes = [[-1.45, -1.17], [0.51, -0.93], [0.6, -1.0]]
    found = lifted_amwc([(1, 0), (1, 2)], nodes, [-1e7, -1000.0], [], [(2, 1), (1, 0)], [1.0, 0.0], solver="exact")
    assert found.objective == pytest.approx(-10001000.78)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        edges, pairs = rng.integers(0, 4, (4, 2)), rng.integers(0, 4, (3, 2))
        costs, lifted, nodes = (rng.normal(size=shape).round(2) for shape in (4, 3, (4, 3)))
        costs[0] = -1e7
        exact = lifted_amwc(edges, nodes, costs, [], pairs, lifted, solver="exact")
        assert exact.objective <= lifted_amwc(edges, nodes, costs, [], pairs, lifted, effort=4).objective + 1e-6
        assert exact.gap <= 1e-3
