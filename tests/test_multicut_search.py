"""What finds multicuts of graphs that are no grids: persistency, greedy contraction with hubs, tabu search."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multicuts import MULTICUT, optimum, problem_of, random_multicut, rows_of, value
from strategies import hubs_in_turn, instances

from diffcomb import Graph, make_problem, multicut
from diffcomb.solvers.budget import Budget
from diffcomb.solvers.level import Level
from diffcomb.solvers.levels.contraction import contracted
from diffcomb.solvers.levels.costs import Costs, Rows
from diffcomb.solvers.levels.labels import Labels
from diffcomb.solvers.limits import LIMITS, changed
from diffcomb.solvers.moves.contracting import contract_greedily
from diffcomb.solvers.moves.plain import contract_plainly, move_plainly
from diffcomb.solvers.moves.polishing import greedy_clusters
from diffcomb.solvers.moves.tabu import cross, tabu
from diffcomb.solvers.persistency import persistent
from diffcomb.solvers.population import Population, is_dense


@pytest.mark.nojit
def test_edge_that_is_left_in_one_direction_alone_is_no_half_edge_too_many():
    """Two sums of the same costs in different orders: one is 0 and dropped, the other is 1e-16."""
    costs = np.array([-0.9, -0.3, 1.2, 1.2, -0.3, -0.9])
    rows = Rows(np.arange(7), np.array([5, 4, 3, 2, 1, 0], np.int32), costs)
    once = contracted(rows, np.array([0, 0, 0, 1, 1, 1], np.int32), 2)
    assert len(once.neighbours) == 1
    z = greedy_clusters(once, False)
    assert z.shape == (2,)


@pytest.mark.nojit
def test_costs_that_cancel_but_for_rounding_are_solved():
    rng = np.random.default_rng(1)
    for seed in range(6):
        edges = rng.integers(0, 47, (146, 2))
        costs = rng.normal(0, 1, 146).round(1)
        s = multicut(Graph(47, edges), costs, seed=seed)
        assert s.objective <= multicut(Graph(47, edges), costs, solver="greedy").objective + 1e-9


def complete(rng, n, integral=True):
    edges = np.stack(np.triu_indices(n, 1), axis=1)
    costs = rng.integers(-20, 21, len(edges)).astype(float) if integral else rng.normal(size=len(edges))
    return edges, costs


# Persistency


@pytest.mark.nojit
@given(instances(max_nodes=6, max_edges=12, max_classes=1))
def test_what_persistency_decides_agrees_with_an_optimum(instance):
    n, edges, _, costs, _ = instance
    problem = problem_of(n, edges, costs)
    if n == 0:
        return
    smaller, group = persistent(problem)
    edges = np.reshape(edges, (-1, 2))
    clusters = multicut(smaller.graph, smaller.edge_costs, solver="exact").clusters
    best = optimum(n, edges, costs)
    assert value(edges, problem.edge_costs, clusters[group]) == pytest.approx(best, rel=1e-5, abs=1e-5)


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("n", "edges", "costs", "group"),
    [
        (2, [(0, 1)], [1.0], [0, 0]),
        (2, [(0, 1)], [-1.0], [0, 1]),
        (3, [], [], [0, 1, 2]),
        # both edges of node 1 weigh half of all there: it may go to either side, not to both
        (3, [(0, 1), (1, 2), (0, 2)], [1.0, 1.0, -1.5], [0, 0, 1]),
        # a chain of ever heavier edges is joined from its thin end
        (4, [(0, 1), (1, 2), (2, 3)], [1.0, 2.0, 4.0], [0, 0, 0, 0]),
        # what no attractive edge reaches is alone, and its edges are gone
        (4, [(0, 1), (0, 2), (1, 3)], [3.0, -1.0, -1.0], [0, 0, 1, 2]),
    ],
)
def test_certain_joins_and_cuts_by_hand(n, edges, costs, group):
    smaller, found = persistent(problem_of(n, np.reshape(edges, (-1, 2)), costs))
    assert found.tolist() == group
    assert smaller.graph.num_nodes == max(group) + 1
    assert smaller.graph.num_edges == 0


def test_persistency_leaves_an_undecided_graph_as_it_is():
    edges, costs = complete(np.random.default_rng(0), 12, integral=False)
    smaller, group = persistent(problem_of(12, edges, costs))
    assert group.tolist() == list(range(12))
    assert sorted(smaller.edge_costs) == pytest.approx(sorted(costs))


# Greedy contraction


def gaec(n, edges, costs):
    """Greedy additive edge contraction on a matrix; costs without ties."""
    weights = np.zeros((n, n))
    weights[edges[:, 0], edges[:, 1]] = costs
    weights += weights.T
    z = np.arange(n)
    while True:
        i, j = np.unravel_index(np.argmax(weights), weights.shape)
        if weights[i, j] <= 0:
            return z
        z[z == j] = i
        weights[i] += weights[j]
        weights[:, i] = weights[i]
        weights[j] = weights[:, j] = 0
        weights[i, i] = 0


@pytest.mark.nojit
@pytest.mark.parametrize("n", [5, 40, 150])
@pytest.mark.parametrize("shape", ["complete", "sparse", "star", "hubs in turn"])
def test_greedy_contracts_as_a_matrix_does(n, shape):
    """The largest graph of the last shape has too many walks for marks, and turns to a table."""
    rng = np.random.default_rng(n)
    edges, costs = complete(rng, n, integral=False) if shape == "complete" else random_multicut(rng, n, 4 * n)
    if shape == "hubs in turn":
        edges, costs = hubs_in_turn(rng, 4, 2 * n)
        n = 2 * n + 4
    if shape == "star":
        spokes = np.stack([np.zeros(n - 1, int), np.arange(1, n)], axis=1)
        edges = np.unique(np.concatenate([edges, spokes]), axis=0)
        costs = rng.normal(size=len(edges))
    found = multicut(Graph(n, edges), costs, solver="greedy")
    assert found.objective == pytest.approx(value(edges, costs, gaec(n, edges, costs)))


@pytest.mark.nojit
@pytest.mark.parametrize("digits", [1, 15], ids=["ties", "no ties"])
@pytest.mark.parametrize("shape", [(2, 1), (9, 20), (40, 160), (30, 400)])
@pytest.mark.parametrize("seed", range(3))
def test_plain_kernels_find_what_the_general_ones_find(seed, shape, digits):
    n, m = shape
    rng = np.random.default_rng(seed)
    edges, costs = random_multicut(rng, n, m)
    rows = rows_of(n, edges, costs.round(digits))
    expected, _ = contract_greedily(*rows, np.zeros((n, 1)), None)
    assert contract_greedily(*rows, None, None)[0].tolist() == expected.tolist()
    assert contract_plainly(rows, False).tolist() == expected.tolist()
    level = Level(Costs(rows, np.zeros((n, 1)), np.zeros(n, np.int32), MULTICUT))
    for start in (np.arange(1, n + 1), rng.integers(1, n + 1, n), np.ones(n)):
        z, other = start.astype(np.int32), start.astype(np.int32)
        moves = level.move(Labels(other, np.zeros(n + 1, np.int32)))
        assert move_plainly(rows, z) == moves
        assert z.tolist() == other.tolist()


@pytest.mark.nojit
@pytest.mark.parametrize("seed", range(4))
def test_fair_contraction_divides_what_a_join_saves_by_the_sizes_of_both_clusters(seed):
    n = 12
    edges, costs = random_multicut(np.random.default_rng(seed), n, 40)
    clusters = [{i} for i in range(n)]

    def saved(a, b):
        return sum(
            c for (u, v), c in zip(edges.tolist(), costs, strict=True) if (u in a and v in b) or (u in b and v in a)
        )

    while True:
        pairs = [(a, b) for k, a in enumerate(clusters) for b in clusters[:k]]
        values = [saved(a, b) / np.sqrt(len(a) * len(b)) for a, b in pairs]
        if not pairs or max(values) <= 0:
            break
        a, b = pairs[int(np.argmax(values))]
        clusters = [c for c in clusters if c not in (a, b)] + [a | b]
    roots = contract_plainly(rows_of(n, edges, costs), True)
    assert {frozenset(np.flatnonzero(roots == r).tolist()) for r in roots} == set(map(frozenset, clusters))


def test_greedy_clusters_are_numbered_within_one_to_n():
    edges, costs = random_multicut(np.random.default_rng(0), 50, 120)
    z = greedy_clusters(rows_of(50, edges, costs), False)
    assert 1 <= z.min() <= z.max() <= 50


# Tabu search and populations


@pytest.mark.parametrize("seed", range(6))
def test_tabu_search_gains_what_it_says_and_finds_the_optimum_of_small_graphs(seed):
    rng = np.random.default_rng(seed)
    edges, costs = complete(rng, 8)
    matrix = np.zeros((8, 8), np.int32)
    matrix[edges[:, 0], edges[:, 1]] = costs
    matrix += matrix.T
    start = np.unique(rng.integers(0, 3, 8), return_inverse=True)[1].astype(np.int32)
    z, gain = tabu(matrix, start, 400, seed)
    assert gain == value(edges, costs, start) - value(edges, costs, z)
    assert value(edges, costs, z) == optimum(8, edges, costs)


@pytest.mark.nojit
@given(st.integers(1, 9), st.integers(0, 2**31 - 1))
def test_tabu_search_never_ends_worse(n, seed):
    rng = np.random.default_rng(seed)
    edges, costs = complete(rng, n)
    matrix = np.zeros((n, n), np.int32)
    matrix[edges[:, 0], edges[:, 1]] = costs
    matrix += matrix.T
    start = np.unique(rng.integers(0, n, n), return_inverse=True)[1].astype(np.int32)
    z, gain = tabu(matrix, start, 30, seed)
    assert gain == value(edges, costs, start) - value(edges, costs, z) >= 0


@pytest.mark.nojit
def test_a_crossing_takes_the_largest_cluster_of_either_parent_in_turn():
    one = np.array([0, 0, 0, 0, 1, 1, 2, 2], np.int32)
    two = np.array([0, 0, 1, 1, 1, 1, 1, 2], np.int32)
    z = cross(one, two, 1)
    assert len(set(z[:4])) == 1  # the largest of the first
    assert len(set(z[4:7])) == 1  # of what is left the largest of the second
    assert z[0] != z[4]
    assert 0 <= z.min() <= z.max() < 3


def test_a_round_of_a_population_is_never_worse_and_ends_where_all_agree():
    edges, costs = complete(np.random.default_rng(0), 60)
    rows = rows_of(60, edges, costs)
    assert is_dense(rows)
    population = Population(rows, np.random.default_rng(0))
    start = np.zeros(60, np.int32)
    before = value(edges, costs, start)
    for _ in range(4):
        z = population.round(start, Budget(1))
        after = value(edges, costs, z)
        assert after <= before
        before = after
    attractive = rows_of(60, edges, np.ones(len(edges)))
    easy = Population(attractive, np.random.default_rng(0))
    assert len(set(easy.round(start, Budget(1)))) == 1
    assert len(easy.members) == LIMITS.agreeing


def test_a_population_that_is_alike_begins_anew_and_keeps_its_best():
    edges, costs = complete(np.random.default_rng(1), 10)
    population = Population(rows_of(10, edges, costs), np.random.default_rng(0))
    with changed(population=3, agreeing=9):
        for _ in range(40):
            best = value(edges, costs, population.round(np.zeros(10, np.int32), Budget(1)))
    assert best == optimum(10, edges, costs)
    assert len(population.members) <= 3


# The whole


@pytest.mark.parametrize("n", [12, 70, 600])
def test_more_effort_is_never_worse_and_a_start_is_kept(n):
    rng = np.random.default_rng(n)
    edges, costs = random_multicut(rng, n, 5 * n)
    graph = Graph(n, edges)
    objectives = [multicut(graph, costs, effort=effort).objective for effort in (1, 2, 4)]
    assert objectives == sorted(objectives, reverse=True)
    start = rng.integers(0, 5, n)
    assert multicut(graph, costs, init=start, effort=2).objective <= value(edges, costs, start)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_dense_and_sparse_graphs_take_any_dtype_parallel_edges_and_ties(dtype):
    rng = np.random.default_rng(3)
    for n, m in ((9, 30), (30, 500), (200, 400)):
        edges = rng.integers(0, n, (m, 2))
        costs = rng.integers(-3, 4, m).astype(dtype)
        s = multicut(Graph(n, edges), costs)
        assert not make_problem(Graph(n, edges), np.zeros((n, 1)), costs, MULTICUT).violations(
            s.node_labels, s.edge_labels, s.clusters
        )
        assert s.objective == value(edges, costs.astype(float), s.clusters)


def test_same_seed_same_multicut_whatever_the_number_of_threads():
    rng = np.random.default_rng(5)
    for n, m in ((100, 4900), (300, 900), (3000, 9000)):
        edges, costs = random_multicut(rng, n, m)
        first, second = (multicut(Graph(n, edges), costs, seed=4).clusters for _ in range(2))
        assert np.array_equal(first, second)
