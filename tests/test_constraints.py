"""Must-links, cannot-links, seeds and ids of any kind."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive import components
from strategies import instances, noisy_grid, random_instance

from diffcomb import Graph, amwc, multicut, mwc, perturbed_grad


def best_partition(n, edges, costs, together, apart):
    """The least multicut objective over all partitions into connected parts that keep the constraints."""
    best = np.inf
    joined = np.concatenate([np.reshape(edges, (-1, 2)), np.reshape(together, (-1, 2))]).astype(int)
    for z in itertools.product(range(n), repeat=n):
        z = np.array(z)
        if any(z[u] != z[v] for u, v in together) or any(z[u] == z[v] for u, v in apart):
            continue
        if components(n, joined, [int(z[u] != z[v]) for u, v in joined]) != [list(z).index(c) for c in z]:
            continue
        best = min(best, sum(c for (u, v), c in zip(edges, costs, strict=True) if z[u] != z[v]))
    return best


@st.composite
def constrained(draw):
    n = draw(st.integers(2, 5))
    pairs = list(itertools.combinations(range(n), 2))
    m = draw(st.integers(0, 8))
    edges = np.array(draw(st.lists(st.sampled_from(pairs), min_size=m, max_size=m)), int).reshape(-1, 2)
    costs = np.array(draw(st.lists(st.integers(-3, 3), min_size=m, max_size=m)), float)
    planted = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))  # constraints that agree with one partition
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=4))
    together = [p for p in chosen if planted[p[0]] == planted[p[1]]]
    apart = [p for p in chosen if planted[p[0]] != planted[p[1]]]
    return n, edges, costs, together, apart


@given(constrained())
def test_exact_solution_with_constraints_is_the_best_partition_that_keeps_them(instance):
    n, edges, costs, together, apart = instance
    found = multicut(Graph(n, edges), costs, must_link=together, cannot_link=apart, solver="exact")
    assert found.objective == pytest.approx(best_partition(n, edges, costs, together, apart), abs=1e-6)
    assert found.edge_labels.shape == (len(edges),)


@pytest.mark.parametrize("solver", ["multilevel", "greedy", "kernighan_lin", "mutex_watershed", "exact"])
@given(instance=constrained())
def test_every_solver_keeps_constraints(instance, solver):
    n, edges, costs, together, apart = instance
    z = multicut(Graph(n, edges), costs, must_link=together, cannot_link=apart, solver=solver).clusters
    assert all(z[u] == z[v] for u, v in together)
    assert all(z[u] != z[v] for u, v in apart)


@given(instances(), st.integers(0, 2**31))
def test_seeds_join_equal_ids_and_separate_different_ones(instance, seed):
    n, edges, node_costs, edge_costs, partitionable = instance
    partitionable[:] = True
    seeds = np.random.default_rng(seed).integers(-3, 3, n)
    found = amwc(Graph(n, edges), node_costs, edge_costs, partitionable, seeds=seeds)
    for u, v in itertools.combinations(np.flatnonzero(seeds >= 0), 2):
        assert (found.clusters[u] == found.clusters[v]) == (seeds[u] == seeds[v])


def test_seeds_of_a_large_grid_divide_it_between_them():
    graph, _, edge_costs, _ = noisy_grid((40, 40))
    seeds = np.full(1600, -1)
    rng = np.random.default_rng(0)
    seeds[rng.choice(1600, 60, replace=False)] = np.arange(60) % 20
    free, kept = multicut(graph, edge_costs), multicut(graph, edge_costs, seeds=seeds)
    of_seed = [set(kept.clusters[seeds == i]) for i in range(20)]
    assert all(len(c) == 1 for c in of_seed)
    assert len(set.union(*of_seed)) == 20
    assert kept.objective >= free.objective


def test_constraints_are_shared_by_all_instances_of_a_batch():
    graph, node_costs, edge_costs, partitionable = noisy_grid()
    batch = torch.tensor(np.stack([edge_costs, -edge_costs]))
    found = amwc(graph, torch.tensor(node_costs), batch, partitionable, cannot_link=[(0, 1)], must_link=[(5, 90)])
    assert found.edge_labels.shape == batch.shape
    assert (found.clusters[:, 0] != found.clusters[:, 1]).all()
    assert (found.clusters[:, 5] == found.clusters[:, 90]).all()


def test_constraints_that_classes_cannot_meet_are_refused():
    with pytest.raises(ValueError, match="no labelling was found that separates nodes 0 and 1"):
        mwc([(0, 1)], np.zeros((2, 1)), [1.0], cannot_link=[(0, 1)])


def test_gradient_passes_through_a_constrained_multicut():
    n, edges, _, costs, _ = random_instance(np.random.default_rng(0))
    solver = perturbed_grad(multicut, generator=torch.Generator().manual_seed(0))
    costs = torch.tensor(costs, requires_grad=True)
    y, z = solver(costs, graph=Graph(n, edges), must_link=[(0, n - 1)])
    y.square().sum().backward()
    assert z[0] == z[n - 1]
    assert torch.isfinite(costs.grad).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"must_link": [(0, 3)]}, ValueError, r"must_link must hold nodes in 0\.\.2, got \(0, 3\) in row 0"),
        ({"must_link": [(0.0, 1.0)]}, TypeError, "must_link must be pairs of nodes"),
        ({"cannot_link": [0, 1]}, ValueError, r"cannot_link must be pairs of nodes, shape \(c, 2\)"),
        ({"cannot_link": [(1, 1)]}, ValueError, "nodes 1 and 1 must be apart .* but are the same node"),
        ({"must_link": [(0, 1), (1, 2)], "cannot_link": [(2, 0)]}, ValueError, "nodes 2 and 0 must be apart"),
        ({"seeds": [0, -1, 0], "cannot_link": [(2, 0)]}, ValueError, "remove one of the constraints"),
        ({"seeds": [0, 1]}, ValueError, r"seeds must have shape \(n,\) = \(3,\)"),
        ({"seeds": [0.0, 1.0, 2.0]}, TypeError, "seeds must be integers"),
        ({"seeds": [0, 1, 2], "resolution": 1.0}, ValueError, "must be None with node_weights or a resolution"),
    ],
)
def test_wrong_or_contradictory_constraints_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        multicut([(0, 1), (1, 2)], np.ones(2), **arguments)


def test_more_seeds_than_pairs_can_keep_apart_are_refused():
    with pytest.raises(ValueError, match="at most 4096 different ids"):
        multicut(Graph(5000, []), [], seeds=np.arange(5000))


# Ids


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1)), max_size=10))
def test_ids_are_numbered_in_ascending_order_and_carried_back(pairs):
    graph, ids = Graph.from_ids(np.array(pairs, np.int64).reshape(-1, 2))
    assert ids[graph.edges].tolist() == [list(p) for p in pairs]
    assert np.all(ids[1:] > ids[:-1])
    assert graph.num_nodes == len(ids)


def test_ids_may_be_unsigned_or_strings_and_include_isolated_nodes():
    graph, ids = Graph.from_ids(np.array([[2**64 - 1, 3]], np.uint64), nodes=[0, 3])
    assert ids.tolist() == [0, 3, 2**64 - 1]
    assert graph.edges.tolist() == [[2, 1]]
    graph, ids = Graph.from_ids([("b", "a"), ("c", "b")])
    assert ids.tolist() == ["a", "b", "c"]
    assert graph.edges.tolist() == [[1, 0], [2, 1]]
    assert Graph.from_ids([])[0].num_nodes == 0
    assert Graph.from_ids([], nodes=[7])[0].num_nodes == 1


@pytest.mark.parametrize(
    ("edges", "nodes", "error", "message"),
    [
        ([(0.5, 1.0)], None, TypeError, "edges must hold integers or strings, got dtype float64"),
        ([1, 2], None, ValueError, r"edges must have shape \(m, 2\), got \(2,\)"),
        ([(1, 2), (3,)], None, ValueError, "rows of different lengths"),
        ([("a", "b")], [1], TypeError, "nodes must be ids of the kind of edges"),
        (np.array([[2**63, 1]], np.uint64), [-1], TypeError, "must not be negative in one array"),
        ([(None, "a")], None, TypeError, "edges must hold integers or strings"),
    ],
)
def test_ids_that_are_no_ids_are_refused(edges, nodes, error, message):
    with pytest.raises(error, match=message):
        Graph.from_ids(edges, nodes)
