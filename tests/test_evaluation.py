"""The objective of one's own clusters, of cuts and of lifted cuts."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifted_problems import SOLVERS, amwc_of, lifted_instances, optimum
from naive import components
from strategies import instances, noisy_grid

from diffcomb import Graph, LiftedSolution, amwc, evaluate, lifted_multicut, make_lifted_problem, make_problem


def lifted_problem_of(instance):
    n, edges, edge_costs, lifted, lifted_costs, node_costs, partitionable = instance
    return make_lifted_problem(Graph(n, edges), edge_costs, lifted, lifted_costs, node_costs, partitionable)


@given(instances(min_nodes=1), st.integers(0, 2**31))
def test_evaluate_returns_a_feasible_solution_with_the_objective_of_the_clusters(instance, seed):
    n, edges, node_costs, edge_costs, partitionable = instance
    problem = make_problem(Graph(n, edges), node_costs, edge_costs, partitionable)
    rng = np.random.default_rng(seed)
    x, z = rng.integers(0, len(partitionable), n), rng.integers(-2, 3, n)
    found = evaluate(problem, z, x)
    assert not problem.violations(found.node_labels, found.edge_labels, found.clusters)
    cut = [x[u] != x[v] or (partitionable[x[u]] and z[u] != z[v]) for u, v in edges]
    expected = node_costs[np.arange(n), x].sum(dtype=float) + edge_costs[np.array(cut, bool)].sum(dtype=float)
    assert found.objective == pytest.approx(expected, abs=1e-4)


def test_evaluate_agrees_with_the_solution_that_it_is_given():
    graph, node_costs, edge_costs, partitionable = noisy_grid()
    found = amwc(graph, node_costs, edge_costs, partitionable)
    problem = make_problem(graph, node_costs, edge_costs, partitionable)
    again = evaluate(problem, found.clusters, found.node_labels)
    assert again.objective == found.objective
    assert (again.clusters == found.clusters).all()


@pytest.mark.parametrize(
    ("costs", "clusters", "labels", "error", "message"),
    [
        ([1.0, np.inf], [0, 0, 1], None, ValueError, "edge 1 is a must-link, but 1 and 2 are apart"),
        ([-np.inf, 1.0], [0, 0, 1], None, ValueError, "edge 0 is a cannot-link, but 0 and 1 are together"),
        ([1.0, 1.0], [0, 0], None, ValueError, r"clusters must have shape \(n,\) = \(3,\), got \(2,\)"),
        ([1.0, 1.0], [0.0, 0.0, 0.0], None, TypeError, "clusters must be integers"),
        ([1.0, 1.0], [0, 0, 0], [0, 0, 1], ValueError, r"node_labels must lie in 0\.\.0, got 0\.\.1"),
    ],
)
def test_evaluate_refuses_what_is_no_clustering(costs, clusters, labels, error, message):
    with pytest.raises(error, match=message):
        evaluate(make_problem([(0, 1), (1, 2)], None, costs), clusters, labels)


def test_evaluate_asks_for_classes_where_there_are_several_and_for_a_problem():
    with pytest.raises(ValueError, match="node_labels must be given where there are several classes, here 2"):
        evaluate(make_problem([(0, 1)], np.zeros((2, 2)), [1.0]), [0, 0])
    with pytest.raises(TypeError, match="problem must be a Problem or a LiftedProblem"):
        evaluate([(0, 1)], [0, 0])


# Lifted problems


@given(lifted_instances(max_classes=2), st.integers(0, 2**31))
def test_clusters_of_a_lifted_problem_cost_what_base_and_lifted_edges_between_their_pieces_cost(instance, seed):
    n, edges, edge_costs, lifted, lifted_costs, node_costs, partitionable = instance
    rng = np.random.default_rng(seed)
    x, z = rng.integers(0, len(partitionable), n), rng.integers(-2, 3, n)
    found = evaluate(lifted_problem_of(instance), z, x)
    split = [x[u] != x[v] or (partitionable[x[u]] and z[u] != z[v]) for u, v in edges]
    part = components(n, edges, split)
    label = [part[i] + n if partitionable[x[i]] else -1 - x[i] for i in range(n)]
    expected = node_costs[np.arange(n), x].sum()
    for pairs, costs in ((edges, edge_costs), (lifted, lifted_costs)):
        expected += sum(c for (u, v), c in zip(pairs, costs, strict=True) if label[u] != label[v])
    assert isinstance(found, LiftedSolution)
    assert found.objective == pytest.approx(expected)
    assert found.objective >= optimum(instance) - 1e-9


@pytest.mark.parametrize("solver", SOLVERS)
@given(instance=lifted_instances(max_classes=2))
def test_solutions_of_lifted_problems_are_worth_what_solvers_say(solver, instance):
    solved = amwc_of(instance, solver=solver)
    found = evaluate(lifted_problem_of(instance), solved.clusters, solved.node_labels)
    assert found.objective == pytest.approx(solved.objective)
    for name in ("clusters", "edge_labels", "lifted_labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(solved, name))


def test_make_lifted_problem_without_classes_is_the_lifted_multicut():
    problem = make_lifted_problem([(0, 1), (1, 2)], [2.0, 1.0], [(0, 2)], [-3.0])
    assert (
        evaluate(problem, [0, 0, 1]).objective
        == lifted_multicut([(0, 1), (1, 2)], [2.0, 1.0], [(0, 2)], [-3.0]).objective
    )
    assert evaluate(problem, [4, 5, 4]).objective == 0  # 0 and 2 are two pieces, and all edges are cut: 2 + 1 - 3


@pytest.mark.parametrize(
    ("costs", "lifted_costs", "clusters", "message"),
    [
        ([np.inf, 1.0], [1.0], [0, 1, 1], "edge 0 is a must-link, but 0 and 1 are apart"),
        ([1.0, -np.inf], [1.0], [0, 0, 0], "edge 1 is a cannot-link, but 1 and 2 are together"),
        ([1.0, 1.0], [-np.inf], [0, 0, 0], ": lifted edge 0 is a cannot-link, but 0 and 2 are together"),
    ],
)
def test_evaluate_refuses_clusters_that_break_the_links_of_a_lifted_problem(costs, lifted_costs, clusters, message):
    with pytest.raises(ValueError, match=message):
        evaluate(make_lifted_problem([(0, 1), (1, 2)], costs, [(0, 2)], lifted_costs), clusters)


def test_make_lifted_problem_names_what_does_not_fit():
    with pytest.raises(ValueError, match="got a batch"):
        make_lifted_problem([(0, 1)], [1.0], [(0, 1)], [[1.0], [2.0]])
    with pytest.raises(ValueError, match=r"edge_costs must have shape \(1,\)"):
        make_lifted_problem([(0, 1)], [1.0, 2.0], [(0, 1)], [1.0])
    with pytest.raises(ValueError, match=r"node_costs must have shape \(n, K\)"):
        make_lifted_problem([(0, 1)], [1.0], [(0, 1)], [1.0], np.zeros(2), [0])
    with pytest.raises(ValueError, match=r"lifted_costs must not be \+inf"):
        make_lifted_problem([(0, 1)], [1.0], [(0, 1)], [np.inf])


def test_problem_of_a_list_of_edges_has_the_nodes_of_its_node_costs():
    arguments = [(0, 1)], np.zeros((3, 2)), [1.0], [0]
    problem = make_problem(*arguments)
    assert problem.graph.num_nodes == 3
    found = amwc(*arguments)
    assert problem.objective(found.node_labels, found.edge_labels) == found.objective


def test_solutions_do_not_change_with_the_labels_that_they_were_made_of():
    problem, labels = make_problem([(0, 1), (1, 2)], np.zeros((3, 2)), [1.0, -2.0], [1]), np.array([0, 1, 1])
    found = evaluate(problem, [0, 1, 2], labels)
    labels[0] = 1
    assert found.node_labels.tolist() == [0, 1, 1]
    with pytest.raises(TypeError, match="node_labels must not be a masked array"):
        evaluate(problem, [0, 1, 2], np.ma.array([0, 1, 1], mask=[1, 0, 0]))


def test_solutions_of_own_solvers_do_not_change_with_their_buffers():
    buffer = np.zeros(3, np.int64)

    def solver(problem, *, init, rng, budget):
        solution = evaluate(problem, [0, 1, 2], [0, 0, 0])
        return dataclasses.replace(solution, node_labels=buffer)

    found = amwc([(0, 1), (1, 2)], np.zeros((3, 2)), [1.0, -2.0], [1], solver=solver)
    buffer[:] = 1
    assert found.node_labels.tolist() == [0, 0, 0]
