"""The compiled core of `multilevel` against its twins in plain Python (naive.py), move by move.

Costs are multiples of 1/64, of which sums are exact in float32 and float64 in any order: the labellings, the numbers of
moves and of chains, objectives and losses have to be equal, not just close.
"""

import itertools

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcomb import Graph, grid_graph, make_problem
from diffcomb.solvers.level import finest_level
from diffcomb.solvers.levels.labels import Labels
from diffcomb.solvers.levels.slack import Slack

pytestmark = pytest.mark.nojit

CLASSES = {"multicut": [True], "mwc": [False] * 3, "amwc": [True, False, True, False], "all divisible": [True, True]}
seeds = st.integers(0, 2**31)
kinds = st.sampled_from(list(CLASSES))


def instance(rng, graph, kind, ties):
    """The same random costs as a `Level` and as `naive.Costs`; with ties they are small integers."""
    P, n = CLASSES[kind], graph.num_nodes

    def numbers(shape, shift=0.0):
        return rng.integers(-3, 4, shape) + 0.0 if ties else np.round(64 * rng.normal(shift, 1, shape)) / 64

    edge_costs = numbers(graph.num_edges, rng.choice([-0.5, 0, 0.5]))
    node_costs = np.zeros((n, 1)) if kind == "multicut" else numbers((n, len(P)))
    dtype = rng.choice([np.float32, np.float64])
    problem = make_problem(graph, node_costs.astype(dtype), edge_costs.astype(dtype), np.array(P))
    neighbours = [[] for _ in range(n)]
    for (u, v), c in zip(graph.edges.tolist(), edge_costs.tolist(), strict=True):
        if u != v:
            neighbours[u].append((v, c))
            neighbours[v].append((u, c))
    return finest_level(problem), naive.Costs(neighbours, node_costs.tolist(), P)


def random_graph(rng, n):
    """Few or many edges; some are parallel, some loops, some nodes isolated."""
    return Graph(n, rng.integers(0, n, (int(rng.integers(0, 5 * n)), 2)))


def random_clustering(rng, costs):
    """Nodes anywhere: in the first cluster of any class, and in further clusters of classes that can be divided."""
    n, K = len(costs.neighbours), len(costs.partitionable)
    divisible = np.flatnonzero(costs.partitionable)
    further = rng.choice(divisible, n).tolist() if len(divisible) else [0] * n
    z = rng.integers(0, K + (int(rng.integers(0, n)) if len(divisible) else 0), n).tolist()
    return naive.Clustering(z, [*range(K), *further])


def compiled(clustering):
    return Labels(np.array(clustering.z, np.int32), np.array(clustering.class_of, np.int32))


def assert_equal(labels, clustering):
    """Equal classes and clusters; the numbers of clusters mean nothing, and which one is taken for a new one is free."""
    assert labels.node_labels().tolist() == [clustering.class_of[c] for c in clustering.z]
    pairs = set(zip(labels.z.tolist(), clustering.z, strict=True))
    assert len(pairs) == len(set(labels.z.tolist())) == len(set(clustering.z))


def assert_same_slack(slack, losses, reached):
    for kept, expected in zip(slack, (losses, reached), strict=True):
        assert kept.tolist() == np.array([expected[i] for i in range(len(kept))], np.float32).tolist()


def move_both(level, costs, clustering, nodes=None):
    """Local moving by either; returns the labelling, the slack of the compiled one, and both parts of it of the twin."""
    n = level.num_nodes
    labels, slack = compiled(clustering), Slack(np.zeros(n, np.float32), np.zeros(n, np.float32))
    losses, reached = (dict.fromkeys(range(n), 0.0) for _ in range(2))
    moves = level.move(labels, nodes, slack)
    expected = naive.local_moving(costs, clustering, range(n) if nodes is None else nodes.tolist(), losses, reached)
    assert moves == len(expected)
    assert_equal(labels, clustering)
    assert_same_slack(slack, losses, reached)
    assert level.value(labels) == naive.value(costs, clustering)
    return labels, slack, losses, reached


@given(seeds, kinds, st.booleans())
def test_singletons_and_their_value_are_those_of_the_twin(seed, kind, ties):
    rng = np.random.default_rng(seed)
    level, costs = instance(rng, random_graph(rng, int(rng.integers(1, 20))), kind, ties)
    clustering = naive.singletons(costs)
    assert_equal(level.singletons(), clustering)
    assert level.value(level.singletons()) == naive.value(costs, clustering)


@given(seeds, kinds, st.booleans(), st.booleans())
def test_local_moving_makes_the_moves_of_the_twin(seed, kind, ties, alone):
    """From singletons and from anywhere; all nodes, and some of them in any order, with those that queue up."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 30))
    level, costs = instance(rng, random_graph(rng, n), kind, ties)
    nodes = None if alone else rng.permutation(n)[: rng.integers(0, n + 1)].astype(np.int32)
    move_both(level, costs, naive.singletons(costs) if alone else random_clustering(rng, costs), nodes)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("shape", [(5, 6), (20, 27)])  # lists of neighbours, and slots
def test_local_moving_on_grids_makes_the_moves_of_the_twin(kind, ties, shape):
    rng = np.random.default_rng(len(kind) + shape[0])
    graph = grid_graph(shape, [(0, 1), (1, 0), (2, -1)])
    level, costs = instance(rng, graph, kind, ties)
    if graph.num_nodes > 512:  # by offsets, forwards and backwards; an edge of cost 0 is none
        costs = costs._replace(neighbours=by_offsets(graph, costs))
    for clustering in (naive.singletons(costs), random_clustering(rng, costs)):
        move_both(level, costs, clustering)


def by_offsets(graph, costs):
    slot = {}
    for t, part in enumerate(graph.edge_slices):
        for u, v in graph.edges[part].tolist():
            slot[u, v], slot[v, u] = 2 * t, 2 * t + 1
    return [
        sorted((e for e in edges if e[1]), key=lambda e, i=i: slot[i, e[0]]) for i, edges in enumerate(costs.neighbours)
    ]


@given(seeds, kinds, st.booleans())
def test_contraction_adds_the_costs_that_the_twin_adds(seed, kind, ties):
    """And what is a node there moves as the group would: to the same value, by the same moves."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    level, costs = instance(rng, random_graph(rng, n), kind, ties)
    ids = rng.integers(0, rng.integers(1, n + 1), n)
    group = np.unique(ids, return_inverse=True)[1].reshape(n).astype(np.int32)
    count = int(group.max()) + 1
    coarse, expected = level.contract(group, count), naive.contract(costs, group.tolist(), count)
    indptr, neighbours, weights = (a.tolist() for a in coarse.adjacency)
    found = [[*zip(neighbours[a:b], weights[a:b], strict=True)] for a, b in itertools.pairwise(indptr)]
    assert found == expected.neighbours
    assert coarse.node_costs.tolist() == expected.node_costs
    labels, *_ = move_both(coarse, expected, naive.singletons(expected))
    finer = Labels(labels.z[group], np.append(labels.cluster_class, np.zeros(n - count, np.int32)))
    assert level.value(finer) == coarse.value(labels)


def chains_of_both(level, costs, clustering):
    labels, slack, losses, reached = move_both(level, costs, clustering)
    found = level.chains(labels, slack)
    assert found == naive.chains(costs, clustering, losses, reached)
    assert_equal(labels, clustering)
    assert_same_slack(slack, losses, reached)
    assert level.value(labels) == naive.value(costs, clustering)
    return found


@given(seeds, kinds, st.booleans())
def test_ejection_chains_make_the_moves_of_the_twin(seed, kind, ties):
    rng = np.random.default_rng(seed)
    level, costs = instance(rng, random_graph(rng, int(rng.integers(2, 30))), kind, ties)
    chains_of_both(level, costs, random_clustering(rng, costs))


@pytest.mark.parametrize("kind", CLASSES)
def test_ejection_chains_on_grids_make_the_moves_of_the_twin(kind):
    """Here chains do stand: the comparison is not one of chains that find nothing."""
    found = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        level, costs = instance(rng, grid_graph((6, 7), [(0, 1), (1, 0), (0, 2), (2, 0)]), kind, seed % 2 == 0)
        found += chains_of_both(level, costs, naive.singletons(costs))
    assert found > 0
