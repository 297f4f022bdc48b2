"""Fusing: of two labellings of a multicut the better parts, whether their overlay is solved as a graph or a matrix."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multicuts import optimum, random_multicut, rows_of, value
from strategies import instances

from diffcomb import Graph, multicut
from diffcomb.solvers.limits import changed
from diffcomb.solvers.moves.fusing import disputed, fuse_all, fuse_proposals, propose
from diffcomb.solvers.moves.overlaying import as_multicut, fused
from diffcomb.solvers.moves.polishing import polish

WAYS = pytest.mark.parametrize("as_a_matrix", [True, False], ids=["matrix", "lists"])


def made(n, edges, costs, as_a_matrix=True):
    """The multicut; overlays are never a matrix if that is not wanted."""
    rows = rows_of(n, edges, costs)
    problem = as_multicut(rows, float(np.median(np.abs(rows.weights))) if len(rows.weights) else 0.0)
    return problem if as_a_matrix else problem._replace(scale=0.0)


@pytest.mark.nojit
@given(instances(max_nodes=7, max_edges=14, max_classes=1), st.integers(0, 2**31 - 1), st.booleans())
def test_fusing_never_ends_worse_than_either_labelling(instance, seed, as_a_matrix):
    n, edges, _, costs, _ = instance
    if n == 0:
        return
    edges = np.reshape(edges, (-1, 2))
    rng = np.random.default_rng(seed)
    problem = made(n, edges, costs, as_a_matrix)
    costs = np.asarray(costs, float)
    one, two = (rng.integers(1, n + 1, n).astype(np.int32) for _ in range(2))
    rounding = 1e-9 * (1 + np.abs(costs).sum())
    better = fused(problem, one, two)
    if len(better):
        assert value(edges, costs, better) < value(edges, costs, one)
    assert value(edges, costs, better if len(better) else one) <= value(edges, costs, two) + rounding
    lineages = np.stack([one, two])
    fuse_proposals(problem, lineages, float(rng.random()), 5, int(rng.integers(2**31)))
    assert lineages.min() >= 1
    assert lineages.max() <= n
    assert value(edges, costs, lineages[0]) <= value(edges, costs, one) + rounding
    assert value(edges, costs, lineages[1]) <= value(edges, costs, two) + rounding
    best = min(value(edges, costs, z) for z in lineages)
    assert value(edges, costs, fuse_all(problem, lineages)) <= best + rounding


@pytest.mark.nojit
@WAYS
def test_a_fusion_takes_the_better_labelling_of_every_part_that_is_on_its_own(as_a_matrix):
    """Two components; either labelling is optimal on one of them and another local optimum on the other."""
    reached, tried = 0, 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        edges, costs = random_multicut(rng, 7, 14)
        best = (multicut(Graph(7, edges), costs, solver="exact").clusters + 1).astype(np.int32)
        local = rng.integers(1, 8, 7).astype(np.int32)
        polish(rows_of(7, edges, costs), local)
        if value(edges, costs, local) <= value(edges, costs, best) + 1e-9:
            continue
        tried += 1
        both, twice = np.concatenate([edges, edges + 7]), np.concatenate([costs, costs])
        one, two = np.concatenate([best, local + 7]), np.concatenate([local, best + 7])
        better = fused(made(14, both, twice, as_a_matrix), one, two)
        found = value(both, twice, better if len(better) else one)
        reached += found <= 2 * value(edges, costs, best) + 1e-9
    assert tried >= 5
    assert reached >= tried - 1


@pytest.mark.nojit
@WAYS
@pytest.mark.parametrize("seed", range(3))
def test_a_fusion_with_the_optimum_finds_it(seed, as_a_matrix):
    rng = np.random.default_rng(seed)
    edges, costs = random_multicut(rng, 60, 220)
    best = multicut(Graph(60, edges), costs, effort=16)
    better = fused(
        made(60, edges, costs, as_a_matrix), *(z.astype(np.int32) for z in (rng.integers(1, 61, 60), best.clusters + 1))
    )
    assert value(edges, costs, better) <= best.objective + 1e-9


@pytest.mark.nojit
def test_a_matrix_is_searched_from_either_labelling_for_the_optimum():
    found = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        edges, costs = random_multicut(rng, 8, 30)
        problem = made(8, edges, costs)
        z = np.ones(8, np.int32)
        polish(problem.rows, z)
        better = fused(problem, z, np.arange(1, 9, dtype=np.int32))  # nothing is kept together
        best = value(edges, costs, better if len(better) else z)
        found += best <= optimum(8, edges, costs) + 1e-9
    assert found >= 27


@WAYS
def test_proposals_reach_the_optimum_of_small_random_graphs(as_a_matrix):
    missed = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        edges, costs = random_multicut(rng, 8, 18)
        problem = made(8, edges, costs, as_a_matrix)
        lineages = np.empty((2, 8), np.int32)
        propose(problem.rows, lineages, 0.5, seed)
        fuse_proposals(problem, lineages, 0.5, 20, seed)
        missed += value(edges, costs, fuse_all(problem, lineages)) > optimum(8, edges, costs) + 1e-9
    assert missed == 0


@pytest.mark.nojit
def test_polishing_joins_clusters_and_moves_nodes():
    edges = np.array([(0, 1), (2, 3), (0, 2), (1, 3), (3, 4)])
    costs = np.array([5.0, 5.0, 1.0, 1.0, -1.0])
    z = np.array([1, 1, 2, 2, 2], np.int32)
    polish(rows_of(5, edges, costs), z)
    assert len(set(z[:4])) == 1
    assert z[4] != z[3]


@pytest.mark.nojit
def test_disputed_nodes_are_those_that_some_lineage_takes_apart():
    edges, costs = random_multicut(np.random.default_rng(0), 6, 14)
    problem = made(6, edges, costs)
    lineages = np.array([[1, 1, 1, 2, 2, 2], [4, 4, 3, 3, 5, 5], [2, 2, 2, 2, 1, 1]], np.int32)
    smaller, there, group = disputed(problem, lineages)
    together = [[bool((lineages[:, i] == lineages[:, j]).all()) for i in range(6)] for j in range(6)]
    assert (group[:, None] == group).tolist() == together
    assert (there[:, group][:, :, None] == there[:, group][:, None]).tolist() == (
        lineages[:, :, None] == lineages[:, None]
    ).tolist()
    assert there.min() >= 1
    assert there.max() <= len(smaller.rows.indptr) - 1
    ends = np.repeat(np.arange(len(smaller.rows.indptr) - 1), np.diff(smaller.rows.indptr))
    pairs = np.stack([ends, smaller.rows.neighbours], axis=1)
    for z, coarse in zip(lineages, there, strict=True):
        assert value(pairs, smaller.rows.weights, coarse) / 2 == pytest.approx(value(edges, costs, z))


def test_integer_costs_stay_integers_and_no_sum_of_them_overflows():
    edges = np.array([(0, 1), (1, 2), (0, 2)])
    assert made(3, edges, [3.0, -5.0, 1.0]).scale % 1 == 0
    for costs in ([0.25, -1e15, 1e15], [1e-300, 1e-300, 3e-300], [0.3, 0.2, -0.1]):
        problem = made(3, edges, costs)
        assert np.abs(problem.rows.weights * problem.scale).sum() <= 2.0**29


@pytest.mark.parametrize("costs", [[0.0, 0.0, 0.0], [1.0, 1e12, 1.0]])
def test_costs_that_integers_cannot_tell_apart_are_left_in_lists(costs):
    edges = np.array([(0, 1), (1, 2), (0, 2)])
    assert made(3, edges, costs).scale == 0


@pytest.mark.parametrize("seed", range(4))
def test_rounds_in_stages_reach_the_optimum_and_never_end_above_the_start(seed):
    rng = np.random.default_rng(seed)
    edges, costs = random_multicut(rng, 24, 80)
    graph = Graph(24, edges)
    start = rng.integers(0, 24, 24)
    least = optimum(24, edges, costs)
    for stages, effort in product((1, 3), (1, 4)):
        with changed(stages=stages):
            found = multicut(graph, costs, init=start, effort=effort).objective
        assert least - 1e-9 <= found <= value(edges, costs, start)
        assert found <= least + 1e-9 or effort == 1
