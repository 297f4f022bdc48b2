"""Block-wise solves against solves in one piece, brute force, and the objective of eq. 2 itself."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcomb import amwc, evaluate, grid_graph, make_problem, multicut, probabilities_to_costs, region_graph
from diffcomb.blockwise import BlockwiseError, grids, solve_blockwise
from diffcomb.blockwise.blocks import Box, Tiling
from diffcomb.blockwise.grids import shell_of

OFFSETS = ((0, 1), (1, 0), (0, 3), (3, 0), (2, -2))
QUIET = dict(progress=False)


def cells(shape, seed, noise=1.0, offsets=OFFSETS):
    """Costs (C, *shape) of noisy Voronoi cells."""
    rng = np.random.default_rng(seed)
    seeds = rng.uniform(0, 1, (max(4, math.prod(shape) // 150), len(shape))) * shape
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    labels = ((places[..., None, :] - seeds) ** 2).sum(-1).argmin(-1)
    costs = np.zeros((len(offsets), *shape), np.float32)
    for c, offset in enumerate(offsets):
        costs[c] = 2 * (labels == np.roll(labels, [-d for d in offset], range(len(shape)))) - 1
    return (costs + rng.normal(0, noise, costs.shape)).astype(np.float32), labels


def whole(costs, offsets=OFFSETS):
    graph = grid_graph(costs.shape[1:], offsets)
    return graph, graph.edge_values(costs)


def objective_of(costs, clusters, offsets=OFFSETS):
    graph, edges = whole(costs, offsets)
    u, v = np.asarray(clusters).ravel()[graph.edges].T
    return float(edges[u != v].sum(dtype=np.float64))


def partitions(n):
    """All partitions of n nodes, as cluster ids."""
    if n == 0:
        return [()]
    return [(*z, k) for z in partitions(n - 1) for k in range(max(z, default=-1) + 2)]


@given(
    shape=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    block=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    halo=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    polish=st.booleans(),
    levels=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=25, deadline=None)
def test_solution_is_feasible_and_its_objective_is_that_of_its_clusters(shape, block, halo, polish, levels, seed):
    costs = np.random.default_rng(seed).normal(0.1, 1, (len(OFFSETS), *shape)).astype(np.float32)
    found = solve_blockwise(
        costs, offsets=OFFSETS, values="costs", block_shape=block, halo=halo, polish=polish, levels=levels,
        bound=True, **QUIET,
    )  # fmt: skip
    graph, edges = whole(costs)
    own = evaluate(make_problem(graph, None, edges), found.clusters.ravel())
    assert found.objective == pytest.approx(own.objective, abs=1e-4)
    assert found.num_clusters == own.num_clusters == len(np.unique(found.clusters))
    assert found.lower_bound <= found.objective
    assert found.lower_bound <= multicut(graph, edges).objective + 1e-4


@pytest.mark.parametrize("polish", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_halo_brings_blocks_to_the_solution_in_one_piece(seed, polish):
    costs, _ = cells((96, 112), seed)
    best = multicut(*whole(costs)).objective
    gaps = {}
    for halo in (0, 16):
        found = solve_blockwise(
            costs, offsets=OFFSETS, values="costs", block_shape=(32, 32), halo=(halo, halo), polish=polish, **QUIET
        )
        gaps[halo] = (found.objective - best) / abs(best)
    assert gaps[16] <= 1e-4
    assert gaps[0] <= 0.02
    assert gaps[16] <= max(gaps[0], 0.0) + 1e-9  # below 0, both beat the solve in one piece by chance


def test_polish_never_makes_it_worse_and_splits_what_blocks_joined():
    gains = []
    for seed in range(5):
        costs, _ = cells((64, 64), seed, noise=1.5)
        plain, polished = (
            solve_blockwise(
                costs, offsets=OFFSETS, values="costs", block_shape=(16, 16), halo=(0, 0), polish=polish, **QUIET
            ).objective
            for polish in (False, True)
        )
        gains.append(plain - polished)
    assert min(gains) >= -1e-3
    assert max(gains) > 1


def test_one_block_is_the_solve_in_one_piece():
    costs, _ = cells((40, 30), 0)
    found = solve_blockwise(costs, offsets=OFFSETS, values="costs", block_shape=(64, 64), **QUIET)
    assert found.objective <= multicut(*whole(costs), seed=0).objective + 1e-3


def test_probabilities_and_bytes_are_turned_into_costs():
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 1, (2, 20, 20)).astype(np.float32)
    offsets = ((0, 1), (1, 0))
    options = dict(offsets=offsets, block_shape=(8, 8), **QUIET)
    by_hand = np.asarray(probabilities_to_costs(p, bias=0.4, clip=0.01))
    one = solve_blockwise(p, bias=0.4, clip=0.01, **options)
    two = solve_blockwise(by_hand, values="costs", **options)
    assert one.objective == two.objective
    assert np.array_equal(one.clusters, two.clusters)
    levels = (p * 255).astype(np.uint8)
    assert (
        solve_blockwise(levels, **options).objective == solve_blockwise(levels / np.float32(255), **options).objective
    )


@pytest.mark.parametrize("outside", [np.nan, -1.0, 7.0])
def test_values_that_lead_out_of_the_volume_are_not_read(outside):
    p = np.random.default_rng(0).uniform(0, 1, (3, 11, 13)).astype(np.float32)
    offsets = ((0, 1), (1, 0), (-2, 3))
    options = dict(offsets=offsets, block_shape=(4, 5), halo=(1, 1), **QUIET)
    found = solve_blockwise(p, **options)
    p[0, :, -1] = p[1, -1] = p[2, :2] = p[2, :, -3:] = outside
    again = solve_blockwise(p, **options)
    assert again.objective == found.objective
    assert np.array_equal(again.clusters, found.clusters)


def test_volume_of_three_axes_with_a_remainder():
    offsets = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 4))
    costs, _ = cells((20, 17, 23), 1, offsets=offsets)
    found = solve_blockwise(costs, offsets=offsets, values="costs", block_shape=(8, 8, 8), halo=(3, 3, 3), **QUIET)
    best = multicut(*whole(costs, offsets)).objective
    assert found.objective == pytest.approx(objective_of(costs, found.clusters, offsets), abs=1e-3)
    assert found.objective <= best + 0.01 * abs(best)


@pytest.mark.parametrize("polish", [False, True])
def test_classes_that_are_partitionable_and_that_are_not(polish):
    rng = np.random.default_rng(2)
    costs, labels = cells((48, 48), 2)
    truth = labels % 3
    nodes = (rng.normal(0, 0.7, (3, 48, 48)) + (np.arange(3)[:, None, None] != truth)).astype(np.float32)
    found = solve_blockwise(
        costs, offsets=OFFSETS, values="costs", node_costs=nodes, partitionable=[2], block_shape=(16, 16),
        halo=(6, 6), polish=polish, bound=True, **QUIET,
    )  # fmt: skip
    graph, edges = whole(costs)
    one = amwc(graph, nodes.reshape(3, -1).T, edges, [2])
    problem = make_problem(graph, np.ascontiguousarray(nodes.reshape(3, -1).T), edges, [2])
    own = evaluate(problem, found.clusters.ravel(), found.node_labels.ravel().astype(np.int64))
    assert own.objective == pytest.approx(found.objective, abs=1e-3)
    assert found.objective <= one.objective + 0.005 * abs(one.objective)
    assert found.lower_bound <= one.objective


def test_region_graph_with_positions():
    rng = np.random.default_rng(3)
    _, labels = cells((120, 120), 3)
    fine = np.arange(120 * 120).reshape(120, 120) // 3
    regions = region_graph(fine)
    graph = regions.graph
    of_region = labels.ravel()[np.unique(fine, return_index=True)[1]]
    u, v = graph.edges.T
    costs = 2.0 * (of_region[u] == of_region[v]) - 1 + rng.normal(0, 1, graph.num_edges)
    positions = np.stack([np.unique(fine, return_index=True)[1] // 120, np.unique(fine, return_index=True)[1] % 120], 1)
    best = multicut(graph, costs)
    for levels in (1, 2):
        found = solve_blockwise(
            (graph, costs, positions), block_shape=(30, 30), halo=(8, 8), levels=levels, bound=True, **QUIET
        )
        own = evaluate(make_problem(graph, None, costs), found.clusters)
        assert found.objective == pytest.approx(own.objective)
        assert found.objective <= best.objective + 0.005 * abs(best.objective)
        assert found.lower_bound <= best.objective


@given(seed=st.integers(0, 2**16), n=st.integers(1, 7))
@settings(max_examples=20, deadline=None)
def test_bounds_of_blocks_add_up_to_a_bound_of_small_graphs(seed, n):
    rng = np.random.default_rng(seed)
    edges = np.array(list(itertools.combinations(range(n), 2)), np.int64).reshape(-1, 2)
    costs = rng.normal(0, 1, len(edges))
    found = solve_blockwise(
        (edges if len(edges) else np.empty((0, 2), int), costs, rng.uniform(0, 10, (n, 2))), block_shape=(4, 4),
        bound=True, **QUIET,
    )  # fmt: skip
    best = min(costs[np.array(z)[edges[:, 0]] != np.array(z)[edges[:, 1]]].sum() for z in partitions(n))
    assert found.lower_bound <= best + 1e-9
    assert found.objective >= best - 1e-9


@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 5)),
    reach=st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)),
)
def test_shell_holds_every_cell_that_an_offset_leads_out_of_once(shape, reach):
    count = np.zeros(shape, int)
    for box in shell_of(Box((0, 0, 0), shape), reach):
        count[box.slices] += 1
    inner = np.zeros(shape, bool)
    inner[tuple(slice(r, max(s - r, r)) for r, s in zip(reach, shape, strict=True))] = True
    assert np.array_equal(count, ~inner)


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)), block=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    reach=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)  # fmt: skip
def test_windows_lie_further_apart_than_any_offset_reaches(shape, block, reach):
    windows = Tiling(shape, block, (0, 0)).windows(reach)
    owner = np.full(shape, -1)
    for number, window in enumerate(windows):
        assert (owner[window.core.slices] == -1).all()
        owner[window.core.slices] = number
    for offset in itertools.product(range(reach[0] + 1), range(-reach[1], reach[1] + 1)):
        other = np.full(shape, -1)
        h, w = shape
        rows, columns = slice(max(offset[0], 0), h), slice(max(offset[1], 0), w + min(offset[1], 0))
        target = owner[rows, columns]
        other[: target.shape[0], max(-offset[1], 0) : max(-offset[1], 0) + target.shape[1]] = target
        assert ((other == owner) | (other == -1) | (owner == -1)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(offsets=None), "offsets must say"),
        (dict(offsets=[(0, 1)]), "one vector for each channel"),
        (dict(offsets=[(0, 0, 1)] * 5), "offsets must have 2 components"),
        (dict(block_shape=(4,)), "block_shape must be 2 integers"),
        (dict(block_shape=(0, 4)), "block_shape must be positive"),
        (dict(block_shape=4), "block_shape must have 2 numbers"),
        (dict(halo=(-1, 4)), "halo must not be negative"),
        (dict(levels=0), "levels must be at least 1"),
        (dict(levels=1025), "levels must be at most 64, got 1025"),
        (dict(levels=1.5), "levels must be a non-negative integer"),
        (dict(on_failure="ignore"), "on_failure must be"),
        (dict(values="logits"), "values must be"),
        (dict(solver=dict(rounds=3)), "solver must be a name"),
        (dict(solver="best"), "solver must be one of"),
        (dict(partitionable=[0]), "partitionable needs node_costs"),
        (dict(node_costs=np.zeros((2, 8, 9))), "node_costs must have shape"),
        (dict(client=3), "client must be None"),
        (dict(timeout=0), "timeout must be"),
        (dict(timeout="a"), "timeout must be"),
        (dict(bias=2.0), "bias must lie"),
        (dict(clip=None), "clip must lie"),
        (dict(bias=0.4), "bias and clip are of no use for values='costs', got bias=0.4"),
        (dict(clip=0.1), "bias and clip are of no use for values='costs', got bias=0.5 and clip=0.1"),
        (dict(offsets=3), "offsets must be a list"),
        (dict(store=5), "store must be the path"),
        (dict(store=""), "store must be the path"),
        (dict(solver=dict(effort=1.5)), "effort must be a non-negative integer"),
        (dict(polish="no"), "polish must be True or False"),
        (dict(store="somewhere", solver=lambda problem, **rest: None), "solver must be a name or a function"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = dict(offsets=OFFSETS, values="costs", block_shape=(4, 4), **QUIET)
    with pytest.raises((TypeError, ValueError), match=message):
        solve_blockwise(np.zeros((5, 8, 8), np.float32), **{**arguments, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(positions=np.zeros((3, 2))), "hold the node id 3, but there are values for 3 nodes"),
        (dict(positions=np.full((4, 2), np.nan)), "positions must be finite"),
        (dict(positions=np.zeros(4)), "positions must hold numbers"),
        (dict(costs=np.array([1.0, -np.inf, 1.0])), "edge_costs must be finite"),
        (dict(costs=np.zeros(2)), "edge_costs must have shape"),
        (dict(costs=np.full(3, 1e308)), "edge_costs and node_costs must have a finite sum"),
        (dict(options=dict(bias=0.4)), "bias must be left out for a graph"),
        (dict(options=dict(offsets=[(0, 1)])), "offsets must be left out for a graph"),
        (dict(options=dict(key="run")), "key must be left out for a graph"),
        (dict(block_shape=None), "block_shape must be given"),
        (dict(block_shape=(np.inf, 1.0)), "block_shape must be positive and finite"),
        (dict(block_shape=(1e-12, 1.0), positions=np.arange(8).reshape(4, 2)), "block_shape must not be so small"),
    ],
)
def test_bad_graphs_are_named(change, message):
    given = dict(costs=np.ones(3), positions=np.zeros((4, 2)), block_shape=(1, 1), options={}) | change
    graph = [(0, 1), (1, 2), (2, 3)], given["costs"], given["positions"]
    with pytest.raises((TypeError, ValueError), match=message):
        solve_blockwise(graph, block_shape=given["block_shape"], **given["options"], **QUIET)


def test_integers_are_no_probabilities():
    with pytest.raises(TypeError, match="floats in"):
        solve_blockwise(np.zeros((5, 8, 8), np.uint16), offsets=OFFSETS, **QUIET)


def test_blocks_far_smaller_than_halo_and_extent_take_no_time():
    rng = np.random.default_rng(0)
    edges, positions = [(i, i + 1) for i in range(39)], rng.random((40, 2)) * 1e6
    found = solve_blockwise((edges, np.ones(39), positions), block_shape=(10.0, 10.0), halo=(1e5, 1e5), **QUIET)
    assert found.num_clusters == 1


def test_all_blocks_failing_is_an_error_whatever_is_allowed():
    with pytest.raises(BlockwiseError, match="all 4 blocks failed"):
        solve_blockwise(
            np.full((5, 8, 8), np.nan, np.float32), offsets=OFFSETS, block_shape=(4, 4), on_failure="cut", retries=0,
            **QUIET,
        )  # fmt: skip


def test_values_that_are_no_probabilities_name_the_block():
    costs = np.full((len(OFFSETS), 16, 16), 0.5, np.float32)
    costs[0, 0, 0] = -3  # in one block alone: of several that fail, the one that ends first is named
    with pytest.raises(BlockwiseError, match=r"block 0_0 \(solve0\) failed after 1 tries: ValueError: probabilities"):
        solve_blockwise(costs, offsets=OFFSETS, block_shape=(8, 8), retries=0, **QUIET)


def test_no_cells_and_no_nodes():
    with pytest.raises(ValueError, match="must have cells"):
        solve_blockwise(np.zeros((5, 0, 4)), offsets=OFFSETS, **QUIET)
    empty = (np.empty((0, 2), int), np.empty(0), np.empty((0, 2)))
    found = solve_blockwise(empty, block_shape=(4, 4), **QUIET)
    assert found.objective == 0
    assert found.num_clusters == 0
    one = solve_blockwise((np.empty((0, 2), int), np.empty(0), np.zeros((1, 2))), block_shape=(4, 4), **QUIET)
    assert one.clusters.tolist() == [0]


def test_graph_with_one_class_and_node_costs_has_labels_as_a_volume_has():
    costs, _ = cells((8, 8), 0)
    graph, edges = whole(costs)
    positions = np.stack(np.unravel_index(np.arange(64), (8, 8)), axis=1)
    run = dict(node_costs=np.ones((64, 1)), partitionable=[0], block_shape=(4, 4), halo=(2, 2), **QUIET)
    assert solve_blockwise((graph, edges, positions), **run).node_labels.tolist() == [0] * 64
    assert solve_blockwise((graph, edges, positions), block_shape=(4, 4), **QUIET).node_labels is None


def test_cells_far_from_all_faces_do_not_move(monkeypatch):
    """A window's part of a face that lies outside of it is empty, and not counted from the other end of an array."""
    seen = []

    def looked_at(fixed, options, seed):
        seen.append(fixed.free.sum())
        return None

    monkeypatch.setattr(grids, "moved", looked_at)
    offsets = [(0, 1), (1, 0), (0, 6), (6, 0)]
    shape, block, halo = (64, 64), (16, 16), (2, 2)
    costs, _ = cells(shape, 0, offsets=offsets)
    solve_blockwise(costs, offsets=offsets, values="costs", block_shape=block, halo=halo, **QUIET)
    near = np.zeros(64, bool)
    near[[16 * k + d for k in (1, 2, 3) for d in range(-4, 4)]] = True  # a quarter of a block
    free = near[:, None] | near
    tiling = Tiling(shape, block, halo)
    assert sorted(seen) == sorted(free[w.core.slices].sum() for w in tiling.windows((6, 6)))
