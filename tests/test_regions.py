"""Region graphs agree with an oracle that looks at every pair of voxels, and with skimage's."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from diffcomb import region_graph, set_num_threads
from diffcomb.regions import neighbours, numbering, statistics


def faces_of(shape, offset):
    """All pairs of voxels p and p + offset."""
    for p in itertools.product(*map(range, shape)):
        q = tuple(a + b for a, b in zip(p, offset, strict=True))
        if all(0 <= a < size for a, size in zip(q, shape, strict=True)):
            yield p, q


def unit_offsets(axes):
    return [tuple(int(a == axis) for a in range(axes)) for axis in range(axes)]


def oracle(labels, background, values, offsets):
    """Edges between ids, and the list of values of each; a boundary map counts both voxels of a face."""
    edges = {}
    for offset in unit_offsets(labels.ndim):
        for p, q in faces_of(labels.shape, offset):
            a, b = sorted((int(labels[p]), int(labels[q])))
            if a != b and background not in (a, b):
                edges.setdefault((a, b), [])
    for channel, offset in enumerate(offsets if offsets is not None else unit_offsets(labels.ndim)):
        for p, q in faces_of(labels.shape, offset):
            key = tuple(sorted((int(labels[p]), int(labels[q]))))
            if key in edges:
                edges[key].append(values[(channel, *p)] if offsets is not None else (values[p] + values[q]) / 2)
    return dict(sorted(edges.items()))


LABELS = arrays(
    st.sampled_from([np.int64, np.uint64, np.int32, np.uint8]), array_shapes(max_dims=4, max_side=5),
    elements=st.sampled_from([0, 1, 2, 3, 7, 200]),
)  # fmt: skip


@pytest.fixture(params=[1, 3])
def threads(request, monkeypatch):
    for module in (neighbours, numbering):
        monkeypatch.setattr(module, "VOXELS_A_THREAD", 4)
    monkeypatch.setattr(neighbours, "_FIRST_ROOM", 2)  # so that tables grow
    monkeypatch.setattr(statistics, "_EDGES_A_THREAD", 2)
    set_num_threads(request.param)
    yield
    set_num_threads(None)


@pytest.mark.parametrize("sparse", [False, True])
def test_graph_sizes_and_statistics_are_those_of_all_pairs_of_voxels(threads, sparse, monkeypatch):
    if sparse:
        monkeypatch.setattr(numbering, "_DENSE", 0)
        monkeypatch.setattr(numbering, "_SMALL_TABLE", 0)

    @given(labels=LABELS, background=st.sampled_from([None, 0, 7, 5]), far=st.booleans(), seed=st.integers(0, 99))
    @settings(max_examples=60)
    def check(labels, background, far, seed):
        rng = np.random.default_rng(seed)
        offsets = None
        if far:
            offsets = [*unit_offsets(labels.ndim), (*rng.integers(-2, 3, labels.ndim - 1).tolist(), 2)]
        values = rng.random((*([len(offsets)] if far else []), *labels.shape))
        regions = region_graph(labels, background=background)
        expected = [i for i in np.unique(labels).tolist() if i != background]
        assert regions.ids.tolist() == expected
        assert regions.ids.dtype == labels.dtype
        assert regions.sizes.tolist() == [(labels == i).sum() for i in expected]
        edges = oracle(labels, background, values, offsets)
        assert [(expected[u], expected[v]) for u, v in regions.graph.edges.tolist()] == list(edges)
        found = regions.accumulate(values, offsets, quantiles=[0, 0.3, 0.5, 1])
        assert found.count.tolist() == [len(v) for v in edges.values()]
        if edges:
            assert np.allclose(found.mean, [np.mean(v) for v in edges.values()])
            assert np.allclose(found.minimum, [np.min(v) for v in edges.values()])
            assert np.allclose(found.maximum, [np.max(v) for v in edges.values()])
            quantiles = [np.quantile(v, [0, 0.3, 0.5, 1]) for v in edges.values()]
            assert np.allclose(found.quantiles, quantiles)

    check()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, ">i2", np.uint16, np.int32, np.float16])
def test_integers_of_images_are_read_as_they_are(dtype):
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 9, (3, 4)), np.ones((2, 3), int))
    offsets = [(0, 1), (2, -1)]
    high = {"b": 1, "f": 100}.get(np.dtype(dtype).kind) or np.iinfo(dtype).max
    values = rng.integers(0, high, (2, 6, 12), endpoint=True).astype(dtype)
    regions = region_graph(labels)
    for arguments in ((values[0],), (values[0, :, ::-1],), (values, offsets)):
        found = regions.accumulate(*arguments, quantiles=[0.5])
        expected = regions.accumulate(arguments[0].astype(np.float64), *arguments[1:], quantiles=[0.5])
        for name in ("count", "mean", "minimum", "maximum", "quantiles"):
            assert np.array_equal(getattr(found, name), getattr(expected, name), equal_nan=True), name


def test_bytes_of_a_large_map_are_not_copied():
    regions = region_graph(np.arange(2**20).reshape(1024, 1024) // 2**18)
    values = np.ones((1024, 1024), np.uint8)
    regions.accumulate(values)
    tracemalloc.start()
    regions.accumulate(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < values.nbytes / 4


def test_ids_of_64_bits_far_apart_stay_as_they_are():
    huge = np.array([[2**64 - 1, 2**64 - 1, 5], [2**63, 5, 5]], np.uint64)
    regions = region_graph(huge)
    assert regions.ids.tolist() == [5, 2**63, 2**64 - 1]
    assert regions.graph.edges.tolist() == [[0, 1], [0, 2], [1, 2]]
    low = np.array([-(2**63), 2**63 - 1, -(2**63)])
    assert region_graph(low).ids.tolist() == [-(2**63), 2**63 - 1]
    assert region_graph(low).sizes.tolist() == [2, 1]
    assert region_graph(huge, background=5).graph.edges.tolist() == [[0, 1]]
    assert region_graph(huge, background=-1).graph.num_nodes == 3  # not an id of these labels


def test_graph_is_that_of_skimage():
    graph = pytest.importorskip("skimage.graph")
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 40, (6, 5, 7)), np.ones((3, 2, 2), int))
    regions = region_graph(labels)
    theirs = sorted(tuple(sorted(edge)) for edge in graph.RAG(labels, connectivity=1).edges)
    assert [tuple(edge) for edge in regions.ids[regions.graph.edges].tolist()] == theirs


def test_clusters_are_projected_to_voxels():
    labels = np.array([[0, 9, 9], [4, 4, 30]])
    regions = region_graph(labels, background=0)
    assert regions.ids.tolist() == [4, 9, 30]
    assert regions.project([5, 5, 6]).tolist() == [[0, 5, 5], [5, 5, 6]]
    assert regions.project([5, 5, 6], original=True).tolist() == [[0, 4, 4], [4, 4, 30]]
    assert regions.project(np.arange(3), original=True).tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("labels", "background", "clusters"),
    [
        (np.array([2**40, 7, 8]), 2**40, np.array([0, 1], np.int32)),
        (np.array([300, 7]), 300, np.array([1], np.uint8)),
        (np.array([-1, 7]), -1, np.array([200], np.uint8)),
        (np.array([2**64 - 1, 7], np.uint64), 2**64 - 1, np.array([5], np.uint8)),
    ],
)
def test_background_keeps_its_id_whatever_the_dtype_of_the_clusters(labels, background, clusters):
    assert region_graph(labels, background=background).project(clusters).tolist() == [background, *clusters.tolist()]


def test_background_that_fits_no_dtype_of_the_clusters_is_refused():
    with pytest.raises(ValueError, match="no dtype of integers holds clusters of dtype uint64 and the background -1"):
        region_graph(np.array([-1, 7]), background=-1).project(np.array([5], np.uint64))


@pytest.mark.parametrize("dtype", [">i8", "<i8", ">u4", ">i2"])
def test_labels_of_either_byte_order_have_the_same_regions(dtype):
    labels = np.array([[5, 5, 9], [300, 9, 9]])
    found, expected = region_graph(labels.astype(dtype)), region_graph(labels)
    assert found.ids.tolist() == expected.ids.tolist()
    assert found.graph.edges.tolist() == expected.graph.edges.tolist()
    assert found.project(np.array([1, 0, 1], dtype)).tolist() == expected.project([1, 0, 1]).tolist()


@pytest.mark.parametrize("shape", [(0,), (3, 0), (1,), (1, 1, 1)])
def test_empty_and_tiny_volumes(shape):
    regions = region_graph(np.zeros(shape, int))
    assert regions.graph.num_nodes == min(1, np.prod(shape))
    assert regions.graph.num_edges == 0
    found = regions.accumulate(np.zeros(shape), quantiles=[0.5])
    assert found.mean.shape == (0,)
    assert found.quantiles.shape == (0, 1)
    assert regions.project(np.zeros(regions.graph.num_nodes, int)).shape == shape
    nothing = region_graph(np.zeros(shape, int), background=0)
    assert nothing.graph.num_nodes == 0
    assert nothing.project([]).tolist() == np.zeros(shape).tolist()


def test_edge_that_no_offset_meets_has_no_mean():
    regions = region_graph(np.array([[1, 2], [1, 3]]))
    found = regions.accumulate(np.ones((1, 2, 2)), [(1, 0)], quantiles=[0.5])
    assert found.count.tolist() == [0, 0, 1]
    assert np.isnan(found.mean).tolist() == [True, True, False]
    assert np.isnan(found.quantiles[:, 0]).tolist() == [True, True, False]
    assert regions.accumulate(np.ones((1, 2, 2)), [(5, 5)]).count.tolist() == [0, 0, 0]  # longer than the image


def test_bad_input_is_named():
    regions = region_graph(np.array([[1, 2], [1, 3]]))
    with pytest.raises(TypeError, match="labels must be integers, got dtype float64"):
        region_graph(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="offsets must be at most 2147483647 long"):
        region_graph(np.eye(2, dtype=int)).accumulate(np.zeros((1, 2, 2)), [(0, 10**30)])
    assert region_graph(np.eye(2, dtype=int)).accumulate(np.zeros((1, 2, 2)), [(0, 2**31 - 1)]).count.tolist() == [0]
    with pytest.raises(TypeError, match=r"quantiles must be levels in \[0, 1\], got 'a'"):
        region_graph(np.eye(2, dtype=int)).accumulate(np.zeros((2, 2)), quantiles="a")
    with pytest.raises(ValueError, match="labels must be an array of integers"):
        region_graph([[1, 2], [3]])
    with pytest.raises(TypeError, match="labels must be integers, got dtype bool"):
        region_graph(np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="labels must have at least one axis"):
        region_graph(np.int64(3))
    with pytest.raises(TypeError, match=r"background must be an integer id or None, got 0\.0"):
        region_graph(np.zeros((2, 2), int), background=0.0)
    with pytest.raises(ValueError, match=r"boundary_map must have the labels' shape \(2, 2\), got \(2, 3\)"):
        regions.accumulate(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"affinities must have shape \(1, 2, 2\), one channel for each offset"):
        regions.accumulate(np.zeros((2, 2, 2)), [(0, 1)])
    with pytest.raises(ValueError, match="offsets must have 2 components"):
        regions.accumulate(np.zeros((1, 2, 2)), [(0, 0, 1)])
    with pytest.raises(ValueError, match=r"statistics of regions have no gradient: give values\.detach\(\)"):
        regions.accumulate(torch.zeros((2, 2), requires_grad=True))
    with pytest.raises(ValueError, match="boundary_map must be finite"):
        regions.accumulate(np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match=r"quantiles must be levels in \[0, 1\], got \[2\]"):
        regions.accumulate(np.zeros((2, 2)), quantiles=[2])
    with pytest.raises(ValueError, match=r"clusters must have shape \(3,\), one for each region, got \(2,\)"):
        regions.project([0, 1])
    with pytest.raises(TypeError, match="clusters must be integers"):
        regions.project([0.0, 1.0, 2.0])


def test_background_that_no_voxel_has_does_not_change_the_dtype():
    labels = np.array([[1, 2], [3, 2**63 + 5]], np.uint64)
    clusters = np.array([0, 0, 1, 1])
    back = region_graph(labels, background=-1).project(clusters, original=True)
    assert back.dtype == np.uint64
    assert back.tolist() == [[1, 1], [3, 3]]
    assert region_graph(labels.astype(np.uint8), background=-1).project(clusters, original=True).dtype == np.uint8
