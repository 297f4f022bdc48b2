"""GASP linkages, the mutex watershed and the semantic mutex watershed, against their definitions in plain Python."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import hubs_in_turn, instances, noisy_grid, random_instance

from diffcomb import Graph, agglomerate, amwc, multicut, mutex_watershed, semantic_mutex_watershed
from diffcomb.agglomeration import _without_parallels
from diffcomb.solvers.moves.agglomerating import agglomerated
from diffcomb.solvers.moves.linkages import LINKAGES as LINKAGE_NUMBERS
from diffcomb.solvers.moves.reciprocal import join_reciprocal
from diffcomb.solvers.structures.radix import order_by_size

LINKAGES = ("sum", "average", "absolute_maximum", "maximum", "minimum")


def interaction(values, linkage):
    if linkage == "absolute_maximum":
        return max(values, key=abs)
    return {"sum": sum, "average": np.mean, "maximum": max, "minimum": min}[linkage](values)


def gasp(n, edges, costs, linkage, constrained, must_link=(), cannot_link=()):
    """GASP to the letter: every round recomputes every interaction from all edges between two clusters."""
    cluster = list(range(n))
    for u, v in must_link:
        cluster = [cluster[u] if c == cluster[v] else c for c in cluster]
    apart = {frozenset((cluster[u], cluster[v])) for u, v in cannot_link}
    while True:
        between = {}
        for (u, v), c in zip(edges, costs, strict=True):
            if cluster[u] != cluster[v]:
                between.setdefault(frozenset((cluster[u], cluster[v])), []).append(c)
        found = [(interaction(v, linkage), pair) for pair, v in between.items() if pair not in apart]
        if not constrained:
            found = [(value, pair) for value, pair in found if value > 0]
        if not found:
            return cluster  # those that must be together are, joined by edges or not
        value, pair = max(found, key=lambda item: abs(item[0]))
        if value <= 0:
            apart.add(pair)
            continue
        a, b = pair
        cluster = [a if c == b else c for c in cluster]
        apart = {frozenset(a if c == b else c for c in pair) for pair in apart}


def semantic(n, edges, costs, weights):
    """The semantic mutex watershed to the letter."""
    cluster, classes, apart = list(range(n)), [None] * n, set()
    events = [(abs(c), "edge", e) for e, c in enumerate(costs)]
    events += [(w, "class", (i, k)) for i, row in enumerate(weights) for k, w in enumerate(row)]
    for _, kind, what in sorted(events, key=lambda event: -event[0]):
        if kind == "class":
            i, k = what
            if classes[cluster[i]] is None:
                classes[cluster[i]] = k
            continue
        a, b = (cluster[i] for i in edges[what])
        if a == b:
            continue
        if costs[what] < 0:
            apart.add(frozenset((a, b)))
        elif frozenset((a, b)) not in apart and (None in (classes[a], classes[b]) or classes[a] == classes[b]):
            classes[a] = classes[b] if classes[a] is None else classes[a]
            cluster = [a if c == b else c for c in cluster]
            apart = {frozenset(a if c == b else c for c in pair) for pair in apart}
    return cluster, [classes[c] for c in cluster]


def same_clusters(a, b):
    return all((a[i] == a[j]) == (b[i] == b[j]) for i, j in itertools.combinations(range(len(a)), 2))


@pytest.mark.nojit
@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("linkage", LINKAGES)
def test_agglomeration_is_gasp_to_the_letter(linkage, constrained):
    rng = np.random.default_rng(0)
    for _ in range(30):
        n, edges, _, costs, _ = random_instance(rng, n=10, m=24, K=1)
        found = agglomerate(Graph(n, edges), costs, linkage, constrained=constrained)
        assert same_clusters(
            found.clusters, gasp(n, edges, costs, linkage, constrained or linkage == "absolute_maximum")
        )


def random_constraints(rng, n):
    """Pairs that agree with a random partition, so that they do not contradict each other."""
    part = rng.integers(0, 3, n)
    u, v = rng.integers(0, n, (2, 5))
    pairs = np.stack([u, v], axis=1)
    return pairs[part[u] == part[v]], pairs[part[u] != part[v]]


@pytest.mark.nojit
@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("linkage", LINKAGES)
def test_agglomeration_with_constraints_is_gasp_that_begins_with_them(linkage, constrained):
    rng = np.random.default_rng(2)
    for _ in range(30):
        n, edges, _, costs, _ = random_instance(rng, n=10, m=24, K=1)
        must, cannot = random_constraints(rng, n)
        found = agglomerate(
            Graph(n, edges), costs, linkage, constrained=constrained, must_link=must, cannot_link=cannot
        )
        rule = linkage, constrained or linkage == "absolute_maximum"
        assert same_clusters(found.clusters, gasp(n, edges, costs, *rule, must, cannot))
        assert found.edge_labels.shape == (len(edges),)


@pytest.mark.nojit
def test_seeds_are_kept_apart_and_equal_ones_join():
    graph, _, costs, _ = noisy_grid((10, 10))
    seeds = np.full(100, -1)
    seeds[[0, 99]], seeds[[9, 90]] = 3, 7
    for found in (
        mutex_watershed(graph, costs, seeds=seeds),
        agglomerate(graph, costs, seeds=seeds),
        semantic_mutex_watershed(graph, np.zeros((100, 1)), costs, seeds=seeds),
    ):
        z = found.clusters
        assert (z[0], z[9]) == (z[99], z[90])
        assert z[0] != z[9]


def test_parallel_edges_and_constraints_beside_edges_agree():
    """Maximum and minimum of parallel edges must not hide that one of them is a constraint."""
    edges = [(0, 1), (1, 0), (1, 2)]
    for linkage in LINKAGES:
        apart = agglomerate(edges, [5.0, 1.0, 1.0], linkage, cannot_link=[(1, 0)])
        assert apart.clusters.tolist() == [0, 1, 1]
        together = agglomerate(edges, [-5.0, -1.0, 1.0], linkage, must_link=[(1, 0)])
        assert together.clusters.tolist() == [0, 0, 0]


@pytest.mark.nojit
def test_bound_of_agglomeration_is_that_of_the_multicut():
    graph, _, costs, _ = noisy_grid((6, 6))
    best = multicut(graph, costs, solver="exact").objective
    for found in (agglomerate(graph, costs, bound=True), mutex_watershed(graph, costs, bound=True)):
        assert found.lower_bound <= best + 1e-6 <= found.objective + 2e-6
        assert found.gap == found.objective - found.lower_bound
    weights = np.random.default_rng(0).uniform(size=(36, 2))
    classed = semantic_mutex_watershed(graph, weights, costs, bound=True)
    assert classed.lower_bound <= amwc(graph, -weights, costs, [0, 1], solver="exact").objective + 1e-6
    assert agglomerate(graph, costs).lower_bound is None


@pytest.mark.nojit
@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("linkage", ["average", "maximum", "minimum"])
def test_joins_one_by_one_give_the_clusters_of_many_joins_at_a_time(linkage, constrained):
    rng = np.random.default_rng(1)
    rule = LINKAGE_NUMBERS.index(linkage), constrained
    joins = 0
    for size in (10, 10, 10, 60):
        n, edges, _, costs, _ = random_instance(rng, n=size, m=4 * size, K=1)
        costs, sizes = costs.astype(np.float64), rng.uniform(0.5, 2, len(costs))
        graph, joint, totals = _without_parallels(Graph(n, edges), costs, sizes, linkage)
        one_by_one = agglomerated(n, graph.edges, joint.copy(), totals.copy(), *rule)
        group, count, *left = join_reciprocal(graph.csr, joint, totals, *rule)
        joins += n - count
        assert same_clusters(agglomerated(count, *left, *rule)[group], one_by_one)
        if size == 10 and linkage != "average":  # the definition knows no sizes
            assert same_clusters(one_by_one, gasp(n, edges, costs, linkage, constrained))
    assert joins > (4 if constrained else 20)


@pytest.mark.nojit
@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("linkage", ["sum", "average"])
def test_hubs_that_take_turns_are_joined_to_the_letter(linkage, constrained):
    """So many walks along their lists are too many for marks, and a table takes their place."""
    edges, costs = hubs_in_turn(np.random.default_rng(0), 4, 220)
    rule = LINKAGE_NUMBERS.index(linkage), constrained
    found = agglomerated(224, edges.astype(np.int32), costs.copy(), np.ones(len(costs)), *rule)
    assert same_clusters(found, gasp(224, edges, costs, linkage, constrained))


def test_hub_does_not_take_its_leaves_one_a_round():
    """A star of so many leaves would take a minute."""
    leaves = 100_000
    edges = np.stack([np.zeros(leaves, np.int64), np.arange(1, leaves + 1)], axis=1)
    costs = np.random.default_rng(0).uniform(1, 2, leaves)
    assert agglomerate(edges, costs, "average").num_clusters == 1


@pytest.mark.parametrize("linkage", LINKAGES)
def test_agglomeration_of_a_large_graph_agrees_with_itself_in_another_order_of_edges(linkage):
    rng = np.random.default_rng(0)
    n, edges, _, costs, _ = random_instance(rng, n=2000, m=30_000, K=1)
    order = rng.permutation(len(edges))
    a = agglomerate(Graph(n, edges), costs, linkage, constrained=True)
    b = agglomerate(Graph(n, edges[order][:, ::-1]), costs[order], linkage, constrained=True)
    assert (a.clusters == b.clusters).mean() > (0.99 if linkage in ("sum", "average") else 0.999)  # rounding of sums


def test_sum_without_constraints_is_greedy_contraction():
    rng = np.random.default_rng(0)
    for _ in range(20):
        n, edges, _, costs, _ = random_instance(rng, n=30, m=90, K=1)
        greedy = multicut(Graph(n, edges), costs, solver="greedy")
        assert agglomerate(Graph(n, edges), costs, "sum").objective == pytest.approx(greedy.objective)


def test_sizes_weigh_averages():
    edges, costs = [(0, 1), (0, 2), (1, 2)], [5.0, 3.0, -1.0]
    assert agglomerate(edges, costs, "average").num_clusters == 1
    assert agglomerate(edges, costs, "average", sizes=[1, 1, 4]).clusters.tolist() == [0, 0, 1]
    twice = [(0, 1), (0, 1), (1, 2)]
    for size in (1e308, 1e-308):
        assert agglomerate(twice, [3.0, -1.0, -1.0], sizes=[size] * 3).clusters.tolist() == [0, 0, 1]


@pytest.mark.nojit
@given(instances(max_classes=1, min_nodes=1), st.sampled_from(LINKAGES), st.booleans())
def test_clusters_of_any_instance_are_feasible(instance, linkage, constrained):
    n, edges, _, costs, _ = instance
    found = agglomerate(Graph(n, edges), costs, linkage, constrained=constrained)
    assert found.clusters.shape == (n,)
    assert ((found.clusters[edges[:, 0]] != found.clusters[edges[:, 1]]) == (found.edge_labels == 1)).all()


@pytest.mark.nojit
def test_semantic_mutex_watershed_is_its_definition_to_the_letter():
    rng = np.random.default_rng(0)
    for _ in range(40):
        n, edges, _, costs, _ = random_instance(rng, n=9, m=20, K=1)
        weights = np.abs(rng.normal(size=(n, 3)))
        found = semantic_mutex_watershed(Graph(n, edges), weights, costs)
        clusters, classes = semantic(n, edges.tolist(), costs, weights)
        assert found.node_labels.tolist() == classes
        assert same_clusters(found.clusters, clusters)


def test_classes_that_are_not_partitionable_become_one_cluster():
    weights = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = semantic_mutex_watershed(Graph(4, [(0, 1), (2, 3)]), weights, [-2.0, -2.0], partitionable=[1])
    assert found.clusters.tolist() == [0, 0, 1, 2]


@pytest.mark.nojit
def test_mutex_watershed_is_a_solver_of_every_verb():
    graph, nodes, costs, partitionable = noisy_grid((10, 10))
    assert (multicut(graph, costs, solver="mutex_watershed").clusters == mutex_watershed(graph, costs).clusters).all()
    found = amwc(graph, nodes, costs, partitionable, solver="mutex_watershed")
    assert found.objective < 0
    with pytest.raises(ValueError, match="time_limit must be None for solver='mutex_watershed'"):
        multicut(graph, costs, solver="mutex_watershed", time_limit=1)


def test_tensors_give_tensors_and_float32_the_same_clusters():
    graph, _, costs, _ = noisy_grid((10, 10))
    found = mutex_watershed(graph, torch.tensor(costs, dtype=torch.float32))
    assert isinstance(found.clusters, torch.Tensor)
    assert (found.clusters.numpy() == mutex_watershed(graph, costs.astype(np.float32)).clusters).all()


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_order_by_size_is_a_stable_sort(dtype):
    rng = np.random.default_rng(0)
    for values in (
        rng.normal(size=3000),
        rng.integers(-3, 4, 500),
        np.zeros(5),
        rng.normal(size=200) * 1e-300,
        np.zeros(0),
    ):
        values = values.astype(dtype)
        assert order_by_size(values).tolist() == np.argsort(-np.abs(values), kind="stable").tolist()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: agglomerate([(0, 1)], [1.0], "median"), ValueError, "linkage must be one of 'sum', 'average'"),
        (lambda: agglomerate([(0, 1)], [1.0], sizes=[0.0]), ValueError, "sizes must be 1 positive numbers"),
        (
            lambda: agglomerate([(0, 1)], [1.0, 2.0]),
            ValueError,
            r"edge_costs must have shape \(m,\) = \(1,\), got \(2,\)",
        ),
        (
            lambda: mutex_watershed([(0, 1), (1, 2)], [1.0, 1.0], must_link=[(0, 2)], cannot_link=[(2, 0)]),
            ValueError,
            "nodes 2 and 0 must be apart",
        ),
        (lambda: agglomerate([(0, 1)], [1.0], constrained="no"), TypeError, "constrained must be True or False"),
        (lambda: agglomerate([(0, 1)], [1.0], bound=1), TypeError, "bound must be True or False, got 1"),
        (
            lambda: semantic_mutex_watershed([(0, 1)], [[1.0], [1.0]], [1.0], partitionable=[], cannot_link=[(0, 1)]),
            ValueError,
            "nodes 0 and 1 must be apart .* both are of class 0, which is not partitionable",
        ),
        (lambda: mutex_watershed([(0, 1)], [np.inf]), ValueError, "edge_costs must be finite"),
        (
            lambda: semantic_mutex_watershed([(0, 1)], [1.0, 2.0], [1.0]),
            ValueError,
            r"class_weights must have shape \(n, K\)",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_empty_and_tiny_graphs_are_clustered():
    for linkage in LINKAGES:
        assert agglomerate(Graph(0, []), [], linkage).num_clusters == 0
        assert agglomerate(Graph(2, [(0, 0)]), [1.0], linkage).clusters.tolist() == [0, 1]
    for classes in (0, 2):
        assert semantic_mutex_watershed(Graph(0, []), np.zeros((0, classes)), []).num_clusters == 0


def test_sizes_may_have_any_range():
    """Sums of sizes, and averages of costs, stay within the range of numbers."""
    edges, costs = [(0, 1), (1, 2), (0, 2), (3, 4)], [3.0, 2.0, -4.0, 1.0]
    expected = agglomerate(edges, costs).clusters
    for kind, sizes in (
        (np.float32, [1e-30, 1e-30, 1e-30, 1e30]),
        (np.float64, [5e-324] * 4),
        (np.float64, [1e-300, 1e-300, 1e-300, 1e300]),
    ):
        assert np.array_equal(agglomerate(edges, costs, sizes=np.array(sizes, kind)).clusters, expected)
    sizes = np.array([1e-30, 1e-30, 1e30], np.float32)
    assert agglomerate([(0, 1), (0, 1), (1, 2)], [1.0, 2.0, 1.0], sizes=sizes).num_clusters == 1
    _, joint, _ = _without_parallels(Graph(2, [(0, 1), (0, 1)]), np.full(2, 1.7e308), np.ones(2), "average")
    assert joint.tolist() == [1.7e308]
