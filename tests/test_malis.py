"""MALIS agrees with all pairs and all paths, with finite differences, and with the values that its docstring states."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffcomb import AsymmetricMultiwayCutLayer, Graph, grid_graph, malis_loss, malis_pairs, set_num_threads
from diffcomb.losses import maximin


def paths(neighbours, at, goal, seen, used):
    """All simple paths between two nodes, as lists of edge numbers."""
    if at == goal:
        yield used
        return
    for node, edge in neighbours[at]:
        if node not in seen:
            yield from paths(neighbours, node, goal, seen | {node}, [*used, edge])


def maximin_edges(n, edges, affinities, labels, background):
    """(pair, same segment?, maximin edge) of each pair that counts, by looking at all of its paths."""
    neighbours = [[] for _ in range(n)]
    for e, (u, v) in enumerate(edges):
        if u != v and labels[u] >= 0 and labels[v] >= 0:
            neighbours[u].append((v, e))
            neighbours[v].append((u, e))
    inside = [labels[u] == labels[v] != background for u, v in edges]
    for i, j in itertools.combinations(range(n), 2):
        if labels[i] < 0 or labels[j] < 0 or background in (labels[i], labels[j]):
            continue
        same = labels[i] == labels[j]

        def strength(e, same=same):
            constrained = inside[e] != same
            return ((-math.inf if same else math.inf) if constrained else affinities[e], -e)

        weakest = [min(path, key=strength) for path in paths(neighbours, i, j, {i}, [])]
        if weakest and inside[max(weakest, key=strength)] == same:
            yield (i, j), same, max(weakest, key=strength)


def expected_pairs(n, edges, affinities, labels, background):
    counts = np.zeros((2, len(edges)), np.int64)
    for _, same, e in maximin_edges(n, edges, affinities, labels, background):
        counts[0 if same else 1, e] += 1
    return counts.tolist()


def expected_loss(n, edges, affinities, labels, background=None, positive=1.0, negative=1.0):
    found = list(maximin_edges(n, edges, affinities, labels, background))
    inside = [(1 - affinities[e]) ** 2 for _, same, e in found if same]
    between = [affinities[e] ** 2 for _, same, e in found if not same]
    return positive * float(np.mean(inside or [0])) + negative * float(np.mean(between or [0]))


@st.composite
def segmentations(draw):
    """Small graphs with loops, parallel edges, ties, void and, with None for none, a background."""
    n, dtype = draw(st.integers(1, 6)), draw(st.sampled_from([np.float32, np.float64]))
    node = st.integers(0, n - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=9))
    number = st.sampled_from([0.0, -0.0, 0.25, 1.0]) if draw(st.booleans()) else st.floats(0, 1, width=32)
    affinities = np.array(draw(st.lists(number, min_size=len(edges), max_size=len(edges))), dtype)
    labels = draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n))
    return n, edges, affinities, labels, draw(st.sampled_from([None, 0]))


def random_case(seed, n=6, m=10, classes=3):
    rng = np.random.default_rng(seed)
    edges = rng.integers(0, n, (m, 2))
    return Graph(n, edges), torch.from_numpy(rng.random(m)), rng.integers(0, classes, n)


@pytest.mark.nojit
@pytest.mark.parametrize("few", [maximin.FEW, 2], ids=["sorted at once", "filtered"])
@pytest.mark.parametrize("part", [maximin.PART, 2], ids=["all segments at once", "a few segments at once"])
@settings(max_examples=150, deadline=None)
@given(segmentations())
def test_pairs_agree_with_brute_force(part, few, case):
    n, edges, affinities, labels, background = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maximin, "PART", part)
        patch.setattr(maximin, "FEW", few)
        patch.setattr(maximin, "SAMPLE", 2)
        found = malis_pairs(Graph(n, edges), torch.from_numpy(affinities), labels, background=background)
    expected = expected_pairs(n, edges, affinities.tolist(), labels, background)
    assert [part.tolist() for part in found] == expected


@pytest.mark.nojit
@pytest.mark.parametrize("seed", range(6))
def test_pairs_agree_with_brute_force_on_trees_with_many_components_of_a_label(seed):
    rng = np.random.default_rng(seed)
    n, background = 40, [None, 0][seed % 2]
    edges = [(int(rng.integers(0, i)), i) for i in range(1, n)]
    del edges[int(rng.integers(0, len(edges)))]  # a forest of two trees
    affinities, labels = rng.integers(0, 9, len(edges)) / 8, rng.integers(-(seed > 3), 4, n)
    found = malis_pairs(Graph(n, edges), affinities, labels, background=background)
    assert [p.tolist() for p in found] == expected_pairs(n, edges, affinities.tolist(), labels.tolist(), background)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("background", [None, 0])
def test_loss_is_the_mean_over_all_pairs(seed, background):
    graph, affinities, labels = random_case(seed)
    value = malis_loss(graph, affinities, labels, background=background, positive=2.0, negative=0.5)
    expected = expected_loss(6, graph.edges.tolist(), affinities.tolist(), labels.tolist(), background, 2.0, 0.5)
    assert float(value) == pytest.approx(expected)
    logits = torch.logit(affinities)
    assert float(malis_loss(graph, logits, labels, logits=True)) == pytest.approx(
        expected_loss(6, graph.edges.tolist(), affinities.tolist(), labels.tolist())
    )


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_gradient_matches_finite_differences(seed, logits):
    graph, affinities, labels = random_case(seed, n=12, m=30)
    batch = torch.stack([affinities, affinities.flip(0)])
    leaf = (torch.logit(batch) if logits else batch).requires_grad_()
    both = np.stack([labels, labels[::-1]])
    assert torch.autograd.gradcheck(lambda a: malis_loss(graph, a, both, logits=logits, reduction="none"), leaf)
    value = malis_loss(graph, leaf, both, logits=logits)
    (gradient,) = torch.autograd.grad(value, leaf)
    assert gradient.any()
    assert torch.equal(torch.func.grad(lambda a: malis_loss(graph, a, both, logits=logits))(leaf.detach()), gradient)


def test_descent_separates_the_segments():
    graph = grid_graph((8, 8))
    labels = (np.arange(64) % 8 >= 3).astype(int).reshape(8, 8)
    leaf = torch.randn(graph.num_edges, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.Adam([leaf], 0.5)
    for _ in range(60):
        optimizer.zero_grad()
        malis_loss(graph, leaf, labels, logits=True).backward()
        optimizer.step()
    assert float(malis_loss(graph, leaf.detach(), labels, logits=True)) < 0.05
    u, v = graph.edges.T
    across = torch.from_numpy(labels.ravel()[u] != labels.ravel()[v])
    assert leaf.detach()[across].max() < 0  # every edge across would merge the two


def test_maps_of_a_grid_are_gathered_as_layers_do():
    layer = AsymmetricMultiwayCutLayer([(0, 1), (1, 0), (0, 3), (2, 1)], [1], anchor="center")
    g = torch.Generator().manual_seed(0)
    maps, labels = torch.rand(2, 4, 5, 7, generator=g), torch.randint(-1, 3, (2, 5, 7), generator=g)
    edges, graph = layer.edge_costs(maps)
    expected = malis_loss(graph, edges, labels.flatten(1))
    assert torch.equal(malis_loss(graph, maps, labels, anchor="center"), expected)
    assert malis_loss(graph, maps, labels) != expected
    volume = grid_graph((3, 4, 2), [(0, 0, 1), (0, 1, 0), (1, 0, 0), (2, 3, 1)])
    maps, labels = torch.rand(2, 4, 3, 4, 2, generator=g), torch.randint(0, 2, (2, 3, 4, 2), generator=g)
    windows = [(slice(None), o, *volume.map_window(o)) for o in range(4)]
    edges = torch.cat([maps[w].flatten(1) for w in windows], 1)
    assert torch.equal(malis_loss(volume, maps, labels), malis_loss(volume, edges, labels.flatten(1)))


def test_batch_gives_the_losses_of_its_instances_with_any_number_of_threads():
    cases = [random_case(seed, n=30, m=90) for seed in range(4)]
    graph = cases[0][0]
    affinities, labels = torch.stack([c[1] for c in cases]).float(), np.stack([c[2] for c in cases])
    single = torch.stack([malis_loss(graph, a, z) for a, z in zip(affinities, labels, strict=True)])
    try:
        for threads in (1, 3):
            set_num_threads(threads)
            assert torch.equal(malis_loss(graph, affinities, labels, reduction="none"), single)
    finally:
        set_num_threads(None)
    assert torch.equal(malis_loss(graph, affinities, labels), single.mean())
    assert torch.equal(malis_loss(graph, affinities, labels, reduction="sum"), single.sum())
    assert single.dtype == torch.float32
    assert malis_loss(graph, affinities.to(torch.bfloat16), labels).dtype == torch.float32


@pytest.mark.parametrize("step", [1, 2**40], ids=["small labels", "labels that differ in high bits alone"])
def test_segments_in_parts_on_threads_give_what_all_at_once_give(monkeypatch, step):
    graph, affinities, labels = random_case(5, n=300, m=2000, classes=12)
    labels = np.where(labels < 11, labels, -1) * np.where(labels < 11, step, 1)
    expected = malis_pairs(graph, affinities, labels, background=3 * step)
    shares = {maximin._share(label, 50) for label in range(0, 12 * step, step)}
    assert len(shares) > 6
    monkeypatch.setattr(maximin, "PART", 40)
    try:
        set_num_threads(3)
        found = malis_pairs(graph, affinities, labels, background=3 * step)
    finally:
        set_num_threads(None)
    np.testing.assert_array_equal(found, expected)


def test_nothing_runs_through_void_and_paths_run_through_the_background():
    chain, affinities = [(0, 1), (1, 2), (2, 3), (3, 4)], torch.tensor([0.9, 0.8, 0.7, 0.6])
    void, border = [1, 1, -1, 2, 2], [1, 1, 0, 2, 2]
    assert [p.tolist() for p in malis_pairs(chain, affinities, void)] == [[1, 0, 0, 1], [0, 0, 0, 0]]
    assert [p.tolist() for p in malis_pairs(chain, affinities, border, background=0)] == [[1, 0, 0, 1], [0, 0, 4, 0]]
    leaf = affinities.clone().requires_grad_()
    malis_loss(chain, leaf, void).backward()
    assert leaf.grad[1:3].tolist() == [0, 0]


def test_losses_without_pairs_are_zero():
    none = torch.zeros(0)
    assert float(malis_loss(Graph(0, []), none, np.zeros(0, int))) == 0.0
    assert float(malis_loss(Graph(3, []), none, [0, 1, 2])) == 0.0
    edges, affinities = [(0, 1), (1, 2)], torch.tensor([0.5, 0.75], requires_grad=True)
    value = malis_loss(edges, affinities, [-1, -1, -1])
    value.backward()
    assert float(value.detach()) == 0.0
    assert affinities.grad.tolist() == [0, 0]
    one = malis_loss(edges, affinities, [4, 4, 4])  # a single segment: the positive pass alone
    assert float(one.detach()) == pytest.approx((2 * 0.25 + 0.0625) / 3)
    assert malis_loss(edges, torch.zeros(0, 2), np.zeros((0, 3), int), reduction="none").shape == (0,)
    assert malis_loss(edges, torch.zeros(0, 2), np.zeros((0, 3), int), reduction="sum") == 0


def test_bad_input_is_refused():
    edges, a, labels = [(0, 1), (1, 2)], torch.tensor([0.5, 0.5]), [0, 0, 1]
    grid = grid_graph((2, 3))
    for error, message, arguments, options in (
        (TypeError, "affinities must be a floating-point tensor, got list", (edges, [0.5, 0.5], labels), {}),
        (TypeError, "floating-point tensor", (edges, torch.tensor([0, 1]), labels), {}),
        (TypeError, "labels must be integers, .* got dtype float64", (edges, a, [0.0, 0.0, 1.0]), {}),
        (ValueError, r"labels must be less than 2\*\*63", (edges, a, np.array([0, 1, 2**63], np.uint64)), {}),
        (ValueError, r"labels must have shape \(3,\), got \(2,\)", (Graph(3, edges), a, [0, 1]), {}),
        (ValueError, r"labels must have shape \(1, 6\) or \(1, 2, 3\)", (grid, torch.zeros(1, 7), [0] * 6), {}),
        (ValueError, r"shape \(m,\) or \(B, m\) with m = 2, got \(3,\)", (edges, torch.zeros(3), labels), {}),
        (ValueError, r"with m = 7 or maps \(B, 2, \(2, 3\)\), got \(5,\)", (grid, torch.zeros(5), [0] * 6), {}),
        (ValueError, r"O = 2 offsets and shape = \(2, 3\)", (grid, torch.zeros(1, 3, 2, 3), [[0] * 6]), {}),
        (ValueError, "must be finite, got 1 NaN", (edges, torch.tensor([0.5, math.nan]), labels), {}),
        (ValueError, "must lie in 0..1, got values from -2 to 0.5; .* logits=True", (edges, a - 2.5 * (a.cumsum(0) > 0.5), labels), {}),
        (ValueError, "background must be a label", (edges, a, labels), {"background": -1}),
        (ValueError, "background must be a label", (edges, a, labels), {"background": True}),
        (ValueError, "positive must be a finite number", (edges, a, labels), {"positive": -1.0}),
        (ValueError, "negative must be a finite number", (edges, a, labels), {"negative": math.inf}),
        (ValueError, "reduction must be one of", (edges, a, labels), {"reduction": "max"}),
        (ValueError, "anchor must be", (grid, torch.zeros(1, 2, 2, 3), [[0] * 6]), {"anchor": "end"}),
        (ValueError, "hold the node id 5, but there are values for", ([(0, 5)], a[:1], labels), {}),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            malis_loss(*arguments, **options)


def test_pairs_take_arrays_of_any_strides_and_byte_order_and_lists():
    edges, values = [(0, 1), (1, 2), (2, 3)], np.array([0.75, 0.5, 0.25], np.float32)
    still = values.copy()
    still.flags.writeable = False
    expected = [part.tolist() for part in malis_pairs(edges, torch.from_numpy(values), [0, 0, 1, 1])]
    for given_ in (values[::-1][::-1], np.repeat(values, 2)[::2], values.astype(">f4"), still, values.tolist()):
        assert [part.tolist() for part in malis_pairs(edges, given_, [0, 0, 1, 1])] == expected
    with pytest.raises(TypeError, match="labels must not be a masked array"):
        malis_pairs(edges, values, np.ma.array([0, 0, 1, 1], mask=[1, 0, 0, 0]))
