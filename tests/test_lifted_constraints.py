"""Must-links, cannot-links and seeds in lifted problems: every solver keeps them, and `exact` finds the best that does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifted_problems import (
    SOLVERS,
    as_multicut,
    grid_instance,
    lifted_instances,
    multicut_of,
    optimum,
)
from naive import components

from diffcomb import Graph, lifted_amwc, lifted_multicut


@st.composite
def constrained_instances(draw, max_classes=1):
    """A lifted instance, and constraints that some labelling keeps, as keywords or as infinite costs."""
    instance = draw(lifted_instances(max_nodes=4, max_edges=5, max_lifted=4, max_classes=max_classes))
    n = instance[0]
    planted = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    node = st.integers(0, n - 1)
    chosen = draw(st.lists(st.tuples(node, node), max_size=4))
    together = [p for p in chosen if planted[p[0]] == planted[p[1]]]
    apart = [p for p in chosen if planted[p[0]] != planted[p[1]]]
    return instance, together, apart


def constrained_optimum(instance, together, apart):
    """The least objective if must-links connect and cannot-links are large repulsion, which is taken off again."""
    n, edges, edge_costs, lifted, lifted_costs, node_costs, partitionable = instance
    large = 1000.0
    edges = np.concatenate([edges, np.reshape(together, (-1, 2)).astype(int)])
    lifted = np.concatenate([lifted, np.reshape(apart, (-1, 2)).astype(int)])
    edge_costs = np.append(edge_costs, np.full(len(together), large))
    lifted_costs = np.append(lifted_costs, np.full(len(apart), -large))
    return optimum((n, edges, edge_costs, lifted, lifted_costs, node_costs, partitionable)) + large * len(apart)


@pytest.mark.nojit
@pytest.mark.parametrize("solver", SOLVERS)
@given(given_instance=constrained_instances())
def test_every_solver_keeps_constraints_and_exact_finds_the_best_that_does(given_instance, solver):
    instance, together, apart = given_instance
    instance = as_multicut(instance)
    found = multicut_of(instance, solver=solver, must_link=together, cannot_link=apart, bound=True)
    z = found.clusters
    assert all(z[u] == z[v] for u, v in together)
    assert all(z[u] != z[v] for u, v in apart)
    connected = (instance[0], np.concatenate([instance[1], np.reshape(together, (-1, 2)).astype(int)]))
    part = components(*connected, [int(z[u] != z[v]) for u, v in connected[1]])
    assert [list(z).index(c) for c in z] == part, "base edges and must-links connect every cluster"
    best = constrained_optimum(instance, together, apart)
    assert best - 1e-4 <= found.objective
    assert found.lower_bound <= best + 1e-4
    if solver == "exact":
        assert found.objective == pytest.approx(best, abs=1e-4)


@pytest.mark.nojit
@given(given_instance=constrained_instances(max_classes=2), data=st.data())
def test_infinite_costs_of_lifted_amwc_are_constraints(given_instance, data):
    instance, together, apart = given_instance
    partitionable = np.ones(len(instance[-1]), bool)  # then every constraint can be met
    n, edges, edge_costs, lifted, lifted_costs, node_costs, _ = instance
    hard = np.concatenate([edge_costs, np.full(len(together), np.inf)])
    far = np.concatenate([lifted_costs, np.full(len(apart), -np.inf)])
    all_edges = np.concatenate([edges, np.reshape(together, (-1, 2)).astype(int)])
    all_lifted = np.concatenate([lifted, np.reshape(apart, (-1, 2)).astype(int)])
    solver = data.draw(st.sampled_from(SOLVERS))
    found = lifted_amwc(Graph(n, all_edges), node_costs, hard, partitionable, all_lifted, far, solver=solver)
    assert not found.edge_labels[len(edges) :].any()
    assert found.lifted_labels[len(lifted) :].all()
    best = constrained_optimum((*instance[:-1], partitionable), together, apart)
    assert found.objective == pytest.approx(best, abs=1e-4) if solver == "exact" else found.objective >= best - 1e-4


@pytest.mark.nojit
def test_constraints_hold_in_batches_from_any_init_and_for_labels_of_the_users_edges_alone():
    graph, costs, lifted, lifted_costs = grid_instance((6, 6), noise=2.0)
    links = {"must_link": [(0, 35), (3, 20)], "cannot_link": [(0, 1), (7, 8)]}
    batch = np.stack([costs, -costs])
    for init in (None, np.zeros((2, 36), int), np.tile(np.arange(36), (2, 1))):
        found = lifted_multicut(graph, batch, lifted, lifted_costs, init=init, **links)
        assert found.edge_labels.shape == batch.shape
        assert found.lifted_labels.shape == (2, lifted.num_edges)
        joined = np.concatenate([graph.edges, links["must_link"]])
        for z in found.clusters:
            part = components(36, joined, [int(z[u] != z[v]) for u, v in joined])
            assert [z.tolist().index(c) for c in z] == part, "base edges and must-links connect every cluster"
            assert z[0] == z[35]
            assert z[3] == z[20]
            assert z[0] != z[1]
            assert z[7] != z[8]
        assert np.isfinite(found.objective).all()


@pytest.mark.nojit
@pytest.mark.parametrize("solver", SOLVERS)
def test_lifted_edges_connect_nothing_where_must_links_are_contracted(solver):
    path = Graph(4, [(0, 1), (1, 2), (2, 3)]), [np.inf, -1.0, -1.0]
    found = lifted_multicut(*path, [(0, 3)], [3.0], solver=solver)
    best = {"multilevel": 0.0, "exact": 0.0, "greedy": 1.0}  # greedy contraction joins nothing: both edges repel
    assert found.objective == best[solver]


def test_constraints_that_classes_cannot_meet_are_refused_in_lifted_problems():
    with pytest.raises(ValueError, match="no labelling was found that separates nodes 0 and 1"):
        lifted_amwc([(0, 1)], np.zeros((2, 1)), [1.0], [], [(0, 1)], [-np.inf])


def test_large_lifted_grid_with_seeds_is_divided_between_them():
    graph, costs, lifted, lifted_costs = grid_instance((40, 40))
    seeds = np.full(1600, -1)
    seeds[np.random.default_rng(0).choice(1600, 20, replace=False)] = np.arange(20)
    found = lifted_multicut(graph, costs, lifted, lifted_costs, seeds=seeds)
    assert len(set(found.clusters[seeds >= 0])) == 20
    assert found.objective >= lifted_multicut(graph, costs, lifted, lifted_costs, effort=4).objective - 1e-9


def test_start_that_keeps_cannot_links_is_never_lost():
    def lazy(lifted, *, init, rng, budget):
        return lifted.solution(np.zeros(4, np.int64), np.zeros(4, np.int64))

    chain = [(0, 1), (1, 2), (2, 3)]
    found = lifted_amwc(
        chain, np.zeros((4, 2)), np.ones(3), [], [(0, 2)], [0.5], cannot_link=chain, init=[1, 0, 1, 0], solver=lazy
    )
    assert found.node_labels.tolist() == [1, 0, 1, 0]
