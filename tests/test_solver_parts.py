"""The parts of the multilevel solver agree with oracles on dense matrices or in plain Python."""

import itertools

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from strategies import instances, noisy_grid, random_instance

from diffcomb import Graph, grid_graph, labelling, make_problem, set_num_threads
from diffcomb import _threads as threads_module
from diffcomb.solvers.hierarchy import natural
from diffcomb.solvers.level import finest_level
from diffcomb.solvers.levels.contraction import contract
from diffcomb.solvers.levels.costs import Rows, Stencil, adjacency_of, end, half_edges
from diffcomb.solvers.levels.grid_coarsening import block_groups
from diffcomb.solvers.levels.labels import Labels, changed_nodes, from_labels
from diffcomb.solvers.levels.partition import compact, connected_parts, cut_components, gathered, overlay
from diffcomb.solvers.levels.slack import NO_SLACK, Slack, frontier, new_slack
from diffcomb.solvers.limits import KERNELS, changed
from diffcomb.solvers.moves.joining import joined
from diffcomb.solvers.moves.pair_moves import linked_clusters, new_scratch, update_pair
from diffcomb.solvers.search import Search, combine, descend, v_cycle


def dense(adjacency, n):
    """The matrix of all edge costs, read through the two functions that kernels read adjacency with."""
    matrix = np.zeros((n, n))
    for i in range(n):
        for h in half_edges(adjacency, i):
            matrix[i, end(adjacency, i, h)] += adjacency.weights[h]
    return matrix


def dense_of_edges(graph, costs):
    matrix = np.zeros((graph.num_nodes,) * 2)
    for (u, v), c in zip(graph.edges.tolist(), costs, strict=True):
        if u != v:
            matrix[u, v] += c
            matrix[v, u] += c
    return matrix


@pytest.mark.nojit
@pytest.mark.parametrize(
    ("shape", "offsets"),
    [
        ((4, 5), [(0, 1), (1, 0)]),
        ((3, 4), [(1, -1), (-1, 0), (0, 2)]),
        ((4, 4), [(1, 0), (1, 0), (-1, 0)]),  # repeated offsets are parallel edges
        ((7,), [(1,), (3,)]),
        ((2, 3, 4), [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, -1)]),
        ((3, 3), [(0, 1), (5, 0)]),  # an offset without edges
        ((2, 9), [(0, 8), (1, 8)]),  # too few edges for a stencil
        ((0, 3), [(0, 1)]),
        ((41, 30), [(0, 1), (-1, 3), (17, -2)]),  # so many nodes that they are filled in parts
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adjacency_of_a_grid_has_all_edges(limits, shape, offsets, dtype):
    limits(min_stencil_nodes=0, nodes_a_thread=100)  # so that several threads fill it
    graph = grid_graph(shape, offsets)
    costs = np.random.default_rng(0).normal(size=graph.num_edges).astype(dtype)
    problem = make_problem(graph, np.zeros((graph.num_nodes, 1), dtype), costs, [0])
    adjacency = adjacency_of(problem)
    assert isinstance(adjacency, Rows if shape in [(2, 9), (0, 3)] else Stencil)
    assert adjacency.weights.dtype == dtype
    assert np.allclose(dense(adjacency, graph.num_nodes), dense_of_edges(graph, costs), atol=1e-6)


@pytest.mark.nojit
@pytest.mark.parametrize(("n", "groups"), [(40, 7), (700, 400)])  # few groups take a matrix of pairs, many take lists
@pytest.mark.parametrize("grid", [False, True])
def test_contraction_adds_costs(limits, n, groups, grid):
    limits(min_stencil_nodes=0)
    rng = np.random.default_rng(n)
    graph = grid_graph((n // 10, 10), [(0, 1), (1, 0), (2, 1)]) if grid else Graph(n, rng.integers(0, n, (6 * n, 2)))
    node_costs, edge_costs = rng.normal(size=(n, 3)), rng.integers(-2, 3, graph.num_edges).astype(float)  # with zeros
    level = finest_level(make_problem(graph, node_costs, edge_costs, [0]))
    group, count = compact(rng.integers(0, groups, n).astype(np.int32), groups)
    coarse = level.contract(group, count)
    member = np.eye(count)[group]
    expected = member.T @ dense_of_edges(graph, edge_costs) @ member
    np.fill_diagonal(expected, 0)
    assert np.allclose(dense(coarse.adjacency, count), expected)
    assert np.allclose(coarse.node_costs, member.T @ node_costs)
    indptr, neighbours = coarse.adjacency.indptr, coarse.adjacency.neighbours
    rows = [neighbours[a:b].tolist() for a, b in itertools.pairwise(indptr)]
    assert all(len(set(row)) == len(row) and i not in row for i, row in enumerate(rows))


@pytest.mark.nojit
@pytest.mark.parametrize("change", ["none", "parallel", "zero", "float32"])
def test_a_level_without_parallel_edges_is_what_contraction_by_the_identity_makes(change):
    """And it is the level itself only where contraction would change nothing."""
    rng = np.random.default_rng(0)
    edges = np.array([(i, j) for i in range(20) for j in range(i) if rng.random() < 0.3] + [(3, 3)])  # and a loop
    if change == "parallel":
        edges = np.concatenate([edges, edges[:2, ::-1]])
    costs, nodes = rng.normal(size=len(edges)), rng.normal(size=(20, 2))
    costs[5] *= change != "zero"
    if change == "float32":
        costs, nodes = costs.astype(np.float32), nodes.astype(np.float32)
    level = finest_level(make_problem(Graph(20, edges), nodes, costs, [0]))
    found, expected = level.without_parallel_edges(), level.contract(natural(20), 20)
    assert (found is level) == (change == "none")
    for a, b in zip((*found.adjacency, found.node_costs), (*expected.adjacency, expected.node_costs), strict=True):
        assert a.dtype == b.dtype
        assert a.tolist() == b.tolist()


@pytest.mark.nojit
@pytest.mark.parametrize("groups", [9, 300])
def test_contraction_from_cut_edges_equals_contraction_from_all_edges(groups):
    rng = np.random.default_rng(groups)
    graph = grid_graph((30, 20), [(0, 1), (1, 0), (3, 2)])
    problem = make_problem(graph, rng.normal(size=(600, 3)), rng.normal(size=graph.num_edges), [0])
    level = finest_level(problem)
    group, count = compact(rng.integers(0, groups, 600).astype(np.int32), groups)
    u, v = graph.edges.T
    found = level.contract_cut(problem, (group[u] != group[v]).astype(np.uint8), group, count)
    expected = level.contract(group, count)
    assert np.allclose(dense(found.adjacency, count), dense(expected.adjacency, count))
    assert np.allclose(found.node_costs, expected.node_costs)
    assert found.best.tolist() == expected.best.tolist()


@pytest.mark.nojit
@pytest.mark.parametrize("enough", [0.0, 2.0, np.inf])
@pytest.mark.parametrize("grid", [True, False])
def test_nodes_that_gain_are_found_and_loss_bounds_hold_for_all_others(limits, enough, grid):
    """The oracle evaluates every labelling that one move makes, with and without the bound that spares a closer look."""
    limits(min_stencil_nodes=0, enough=enough)
    rng = np.random.default_rng(int(grid))
    for partitionable in ([True, True, False], [False, False, False]):
        graph = grid_graph((5, 4), [(0, 1), (1, 0), (2, 1)]) if grid else Graph(20, rng.integers(0, 20, (60, 2)))
        P = np.array(partitionable)
        node_costs, edge_costs = rng.normal(size=(20, 3)), rng.normal(0.5, 1, graph.num_edges)
        level = finest_level(make_problem(graph, node_costs, edge_costs, P))
        labels = level.singletons()
        level.move(labels)
        labels.z[rng.integers(0, 20, 3)] = labels.z[rng.integers(0, 20, 3)]
        slack = new_slack(20)
        movers = level.movers(labels, np.arange(20, dtype=np.int32), slack)
        for i in range(20):
            loss = min(level.value(other) for other in single_moves(labels, i, P)) - level.value(labels)
            assert (i in movers) == (loss < -1e-9)
            if i not in movers:
                assert slack.losses[i] <= loss + 1e-5


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_annealing_makes_a_losing_move_with_its_probability(temperature):
    """Of two nodes joined by an edge of cost 1, one leaves with probability p; the other follows, or else leaves with p."""
    pairs = 2000
    graph = Graph(2 * pairs, np.arange(2 * pairs).reshape(pairs, 2))
    level = finest_level(make_problem(graph, np.zeros((2 * pairs, 1)), np.ones(pairs), [0]))
    labels = level.singletons()
    level.move(labels)
    assert level.value(labels) == 0
    level.anneal(labels, np.array([temperature]), seed=1)
    p = np.exp(-1 / temperature)
    apart = p * (1 - p)
    assert abs(level.value(labels) / pairs - apart) < 4 * np.sqrt(apart * (1 - apart) / pairs)
    level.anneal(labels, np.array([1e-3]), seed=2)
    assert level.value(labels) == 0


def single_moves(labels, i, partitionable):
    """All labellings in which node i has another place."""
    used = set(labels.z.tolist())
    unused = next(c for c in range(len(partitionable), labels.num_ids) if c not in used)
    for c in used | set(range(len(partitionable))):
        if c != labels.z[i]:
            other = labels.copy()
            other.z[i] = c
            yield other
    for k in np.flatnonzero(partitionable):
        other = labels.copy()
        other.z[i], other.cluster_class[unused] = unused, k
        yield other


@pytest.mark.nojit
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("isolated", [0, 3])
@pytest.mark.parametrize("heavy", [0, 600])  # nodes of one group; 600 are more than a thread's share
@pytest.mark.parametrize("backwards", [False, True])
def test_contraction_in_threads_is_the_same_to_the_last_bit(limits, monkeypatch, threads, isolated, heavy, backwards):
    limits(half_edges_a_thread=100)
    if backwards:  # threads may finish in any order
        monkeypatch.setattr(threads_module, "thread_map", lambda f, items: [f(i) for i in reversed(items)])
    rng = np.random.default_rng(threads)
    n = 1200 + isolated  # groups without edges: isolated nodes at the end, and node 250
    graph = Graph(n, rng.integers(0, 1200, (6000, 2)))
    costs = rng.normal(size=graph.num_edges) * (graph.edges != 250).all(axis=1)
    level = finest_level(make_problem(graph, rng.normal(size=(n, 2)), costs, [0]))
    ids = np.r_[rng.integers(0, 800, 250), 800, rng.integers(0, 800, n - 251)]
    ids[300 : 300 + heavy] = 7
    group, count = compact(ids.astype(np.int32), 801)
    assert count > KERNELS.few_groups
    set_num_threads(threads)
    try:
        rows, sums = contract(level.adjacency, level.node_costs, group, count)
    finally:
        set_num_threads(None)
    limits(half_edges_a_thread=2**18)  # which is more than there are, so that it is written in one go
    expected, expected_sums = contract(level.adjacency, level.node_costs, group, count)
    for a, b in zip((*rows, sums), (*expected, expected_sums), strict=True):
        assert a.dtype == b.dtype
        assert a.tolist() == b.tolist()


@pytest.mark.nojit
def test_contraction_to_no_groups_gives_empty_arrays():
    empty = Rows(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0))
    rows, sums = contract(empty, np.empty((0, 2)), np.empty(0, np.int32), 0)
    assert [len(a) for a in (*rows, sums)] == [1, 0, 0, 0]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=30))
def test_overlay_is_the_common_refinement(pairs):
    first, second = np.array(pairs, np.int32).reshape(-1, 2).T.copy()
    group, count = overlay(first, 5, second, 5)
    assert len(set(zip(pairs, group.tolist(), strict=True))) == len(set(pairs)) == count
    assert sorted(set(group.tolist())) == list(range(count))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20), st.data())
def test_changed_nodes_ignore_new_numbers_of_unchanged_clusters(pairs, data):
    P = np.array([False, False, True, True])
    x, z = np.array(pairs, np.int64).reshape(-1, 2).T
    before = from_labels(x, z, P)
    renumbering = np.array(data.draw(st.permutations(range(4))))
    order = np.array(data.draw(st.permutations(range(len(x)))), np.int64)
    assert not changed_nodes(before, from_labels(x, renumbering[z], P), order, 4).any()
    moved = data.draw(st.integers(0, len(x) - 1))
    x2, z2 = x.copy(), renumbering[z]
    z2[moved], x2[moved] = 9, 3  # the node moves to a new cluster
    together = (x == x[moved]) & (z == z[moved]) if P[x[moved]] else np.ones(1)
    changed = changed_nodes(before, from_labels(x2, z2, P), order, 4)
    if together.sum() > 1 or x[moved] != 3:
        assert changed.any()
    assert not changed[(x != x[moved]) | (z != z[moved])].any()


@pytest.mark.nojit
@pytest.mark.parametrize("rows", [False, True])
def test_frontier_holds_changed_groups_and_the_neighbours_they_affect(limits, rows):
    limits(min_stencil_nodes=513 if rows else 0)
    graph, node_costs, edge_costs, P = noisy_grid()
    level = finest_level(make_problem(graph, node_costs, edge_costs, P))
    rng = np.random.default_rng(0)
    group = rng.integers(0, 50, graph.num_nodes).astype(np.int32)
    costs = np.abs(dense(level.adjacency, graph.num_nodes))
    losses = rng.exponential(1, graph.num_nodes).astype(np.float32)
    for number in (1, 2):
        changed = np.int8(number) * (rng.random(50) < 0.1).astype(np.int8)
        inside = changed[group] > 0
        neighbours = (costs[:, inside] != 0).any(1)
        expected = np.flatnonzero(inside | neighbours)
        assert frontier(level.adjacency, group, changed, NO_SLACK).tolist() == expected.tolist()
        if number == 1:
            expected = np.flatnonzero(inside | (neighbours & (2 * costs[:, inside].sum(1) >= losses)))
        reached = np.zeros(graph.num_nodes, np.float32)
        assert frontier(level.adjacency, group, changed, Slack(losses, reached)).tolist() == expected.tolist()
        assert not reached[expected].any()
        for _ in range(20):  # nodes left out are listed once enough has changed
            listed = frontier(level.adjacency, group, changed, Slack(losses, reached))
        if number == 1:
            expected = np.flatnonzero(inside | (neighbours & (21 * 2 * costs[:, inside].sum(1) >= losses)))
            assert listed.tolist() == expected.tolist()
            assert (reached < losses).all()


@pytest.mark.nojit
def test_changed_nodes_distinguish_a_class_from_a_cluster():
    P = np.array([True, True])
    before = from_labels(np.zeros(3, np.int64), np.array([0, 0, 1]), P)
    after = from_labels(np.array([0, 0, 1]), np.array([0, 0, 1]), P)
    assert changed_nodes(before, after, np.arange(3), 2).tolist() == [0, 0, 2]


@pytest.mark.nojit
def test_connected_parts_are_components_within_clusters():
    rng = np.random.default_rng(0)
    edges, z = rng.integers(0, 60, (80, 2)), rng.integers(0, 4, 60).astype(np.int32)
    level = finest_level(make_problem(Graph(60, edges), np.zeros((60, 1)), rng.normal(size=80), [0]))
    cut = [int(z[i] != z[j]) for i, j in edges.tolist()]
    assert connected_parts(level.adjacency, z).tolist() == naive.components(60, edges.tolist(), cut)


@pytest.mark.nojit
def _join_one_by_one(level, order, fence, part_size):
    """What `joined` says, on a dense matrix: even parts before odd ones, none seeing what its own turn did to others."""
    n = level.num_nodes
    matrix, z = dense(level.adjacency, n), np.arange(n)
    part = np.arange(n) // part_size
    for turn in range(2):
        before = z.copy()
        for i in sorted(order.tolist(), key=lambda i: part[i]):
            if part[i] % 2 != turn:
                continue
            seen = np.where(part == part[i], z, before)
            sums = np.bincount(seen, np.where(fence == fence[i], matrix[i], 0), minlength=n)
            scores = sums - level.node_costs[i, level.best]
            neighbours = np.unique(seen[(matrix[i] != 0) & (fence == fence[i])])
            rivals = [int(c) for c in neighbours if c != z[i]]
            best = max(rivals, key=lambda c: scores[c], default=z[i])
            if scores[best] > scores[z[i]] + 1e-12:
                z[i] = best
    return z


@pytest.mark.nojit
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("fenced", [False, True])
def test_joining_in_parts_is_joining_one_by_one_for_any_number_of_threads(limits, threads, parts, shuffled, fenced):
    limits(min_stencil_nodes=0, **({"min_part": 4, "max_part": 8} if parts else {}))
    rng = np.random.default_rng(parts + 2 * shuffled + 4 * fenced)
    set_num_threads(threads)
    try:
        for _ in range(3):
            level = finest_level(make_problem(*noisy_grid((9, 8), K=3, seed=int(rng.integers(100)))))
            order = rng.permutation(72).astype(np.int32) if shuffled else None
            fence = rng.integers(0, 2, 72).astype(np.int32) if fenced else np.zeros(72, np.int32)
            z = joined(level.costs, order, *([fence] if fenced else []))
            in_turn = np.arange(72) if order is None else order
            assert z.tolist() == _join_one_by_one(level, in_turn, fence, 8 if parts else 72).tolist()
            assert len(set(z.tolist())) < 72
    finally:
        set_num_threads(None)


@pytest.mark.nojit
@given(st.integers(1, 40), st.integers(0, 200), st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3]))
def test_components_of_uncut_edges_are_those_of_scipy(n, m, seed, threads):
    rng = np.random.default_rng(seed)
    edges, z = rng.integers(0, n, (m, 2)).astype(np.int32), rng.integers(0, 3, n).astype(np.int32)
    set_num_threads(threads)
    with changed(half_edges_a_thread=8):
        y, root = cut_components(edges, z)
    set_num_threads(None)
    assert y.tolist() == (z[edges[:, 0]] != z[edges[:, 1]]).tolist()
    u, v = edges[y == 0].T
    _, expected = connected_components(coo_array((np.ones(len(u)), (u, v)), shape=(n, n)), directed=False)
    smallest = [int(np.flatnonzero(expected == c)[0]) for c in expected]
    assert root.tolist() == smallest


@pytest.mark.nojit
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [(9, 8), (5, 3, 4), (71,)])
def test_blocks_gain_what_their_inner_edges_add_less_one_class(limits, threads, shape):
    """Blocks that gain are joined, for any number of threads; layers of odd length end with thin blocks."""
    limits(nodes_a_thread=1, max_divided=0.0, undivided=0.0, min_long_share=0.0)
    near = list(np.eye(len(shape), dtype=int))
    graph = grid_graph(shape, [*near, *(3 * d for d in near), *(-3 * d for d in near), *(4 * d for d in near)])
    rng = np.random.default_rng(len(shape))
    node_costs, edge_costs = rng.normal(size=(graph.num_nodes, 2)), rng.normal(0.5, 1, graph.num_edges)
    problem = make_problem(graph, node_costs, edge_costs, [0])
    set_num_threads(threads)
    group, count = block_groups(problem, finest_level(problem).best)
    set_num_threads(None)
    place = np.stack(np.unravel_index(np.arange(graph.num_nodes), shape), axis=1) // 2
    best = node_costs.argmin(1)
    for block in np.unique(place, axis=0):
        cells = np.flatnonzero((place == block).all(1))
        within = np.isin(graph.edges, cells).all(1) & (
            np.arange(graph.num_edges) < graph.edge_slices[len(shape) - 1].stop
        )
        class_costs = node_costs[cells, best[cells[0]]] - node_costs[cells, best[cells]]
        gains = edge_costs[within].sum() - class_costs.sum() > 0
        assert len(set(group[cells].tolist())) == (1 if gains or len(cells) == 1 else len(cells))
    assert count == group.max() + 1


def test_blocks_are_joined_where_joining_gains():
    graph = grid_graph((4, 6), [(0, 1), (1, 0), *[(0, 2), (0, 3)] * 3])
    u, v = graph.edges.T
    column = np.arange(24) % 6
    costs = np.where(np.maximum(column[u], column[v]) < 4, 1.0, -1.0)
    problem = make_problem(graph, np.zeros((24, 1)), costs, [0])
    group, count = block_groups(problem, np.zeros(24, np.int32))
    assert count == 4 + 8  # four attractive blocks are joined; two repulsive ones stay single cells
    assert group.reshape(4, 6)[:2, :2].tolist() == [[0, 0], [0, 0]]
    node_costs = np.where(np.arange(2) == (np.arange(24) // 6 % 2)[:, None], 0.0, 9.0)  # rows prefer different classes
    problem = make_problem(graph, node_costs, costs, [0])
    assert block_groups(problem, finest_level(problem).best)[1] == 24
    graph = grid_graph((4, 6), [(0, 1), (1, 0), (0, 2)])  # most edges lie inside blocks, hence no block is joined
    problem = make_problem(graph, np.zeros((24, 1)), np.ones(graph.num_edges), [0])
    assert block_groups(problem, np.zeros(24, np.int32))[1] == 24


@given(instance=instances(max_nodes=14, max_edges=40), seed=st.integers(0, 9))
@settings(max_examples=40)
def test_search_operators_never_return_a_worse_labelling(instance, seed):
    n, edges, *costs = instance
    if n == 0:
        return
    level = finest_level(make_problem(Graph(n, edges), *costs))
    labels = descend(level, natural)
    value = level.value(labels)
    slack = 1e-6 * (1 + abs(value))
    assert level.value(v_cycle(level, labels, natural)) <= value + slack
    other = level.singletons()
    assert level.value(combine(level, labels, other)) <= value + slack
    search = Search(level, labels, np.random.default_rng(seed))
    for operator in ("anneal", "melt", "cycle", "restart"):
        before, labels = level.value(search.labels), search.labels
        assert search.step(operator) == (level.value(search.labels) < before)
        assert level.value(search.labels) <= before
        assert level.improvement(labels, search.labels) == pytest.approx(before - level.value(search.labels), abs=1e-9)
    before = level.value(search.labels)
    assert search.restart(2) == (level.value(search.labels) < before)


def test_cluster_ids_may_be_any_integers():
    x, P = np.array([0, 1, 1, 0]), np.array([True, False])
    for z in ([5, 5, 5, 5], [-7, 0, 1, -7], [2**62, -(2**62) - 9, 0, 2**62], [-(2**63), 2**63 - 1, 0, -(2**63)]):
        labels = from_labels(x, np.array(z), P)
        assert isinstance(labels, Labels)
        assert labels.node_labels().tolist() == [0, 1, 1, 0]
        assert labels.z[1] == labels.z[2] == 1  # the class that is not partitionable
        assert labels.z[0] == labels.z[3] >= 2


@pytest.mark.nojit
def test_pair_updates_gain_and_keep_lists_and_sums_up_to_date():
    rng = np.random.default_rng(0)
    improved = 0
    for P in ([True, True], [True, False]):
        n, edges, node_costs, edge_costs, _ = random_instance(rng, n=40, m=160, K=2)
        level = finest_level(make_problem(Graph(n, edges), node_costs, edge_costs, np.array(P)))
        labels = from_labels(rng.integers(0, 2, n), rng.integers(0, 6, n), np.array(P))
        clusters, scratch = linked_clusters(level.adjacency, labels), new_scratch(n)
        costs = dense(level.adjacency, n)
        degree = np.diff(level.adjacency.indptr)
        for _ in range(60):
            used = np.unique(clusters.z)
            a, b = rng.choice(used, 2, replace=False)
            before = level.value(labels)
            moved = update_pair(level.costs, clusters, scratch, a, b, 20)
            assert level.value(labels) < before if moved else level.value(labels) == before
            improved += moved
            same = labels.z[:, None] == labels.z[None]
            assert np.allclose(clusters.own, (costs * same).sum(1))
            assert not scratch.state.any()
            assert (scratch.place == -1).all()
            for c in range(len(clusters.size)):
                members = np.flatnonzero(labels.z == c)
                listed, i, last = [], clusters.first[c], -1
                while i >= 0:
                    assert clusters.previous[i] == last
                    listed.append(i)
                    last, i = i, clusters.following[i]
                assert sorted(listed) == members.tolist()
                assert clusters.size[c] == len(members)
                assert clusters.volume[c] == degree[members].sum()
    assert improved > 10


@pytest.mark.nojit
@pytest.mark.parametrize("threads", [1, 3])
def test_many_entries_are_gathered_and_summed_up_like_few(limits, threads):
    rng = np.random.default_rng(threads)
    values, index = rng.integers(0, 9, 50, np.int32), rng.integers(0, 50, 999, np.int32)
    costs = rng.normal(size=3 * labelling._TERMS + 7).astype(np.float32)
    set_num_threads(threads)
    try:
        limits(min_parallel=8)
        assert gathered(values, index).tolist() == [values[i] for i in index]
        assert labelling.sum_of_sizes(costs) == pytest.approx(float(np.abs(costs.astype(np.float64)).sum()), rel=1e-13)
        assert labelling.sum_of_sizes(costs[:0]) == 0
    finally:
        set_num_threads(None)


@pytest.mark.nojit
def test_undecided_nodes_are_those_whose_losses_are_small_of_either_sign():
    slack = Slack(np.array([0.5, -0.5, 2, -3, 1], np.float32), np.zeros(5, np.float32))
    assert slack.within(1.0, np.array([4, 3, 1], np.int32)).tolist() == [4, 1]
    assert slack.share_within(1.0) == 3 / 5
    assert slack.undecided(2).tolist() == [0, 1]


@pytest.mark.parametrize("values", [3, 1000, 10**9])
@pytest.mark.parametrize("order", ["random", "ascending", "descending"])
def test_undecided_nodes_of_many_are_the_first_of_the_smallest_losses(values, order):
    losses = np.random.default_rng(0).integers(-values, values, 20_000).astype(np.float32)
    if order != "random":
        losses = losses[np.argsort(np.abs(losses))[:: 1 if order == "ascending" else -1]]
    slack = Slack(losses, np.zeros(20_000, np.float32))
    for count in (1, 600, 5000, 19_000, 19_999):
        limit = np.sort(np.abs(losses))[count]
        assert np.array_equal(slack.undecided(count), np.flatnonzero(np.abs(losses) <= limit)[:count])
