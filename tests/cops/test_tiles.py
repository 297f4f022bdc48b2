"""Images cut in tiles: the seams are solved and leave no trace; memory goes with the pixels."""

import numpy as np
import pytest
import torch
from cops.config import Config, Model
from cops.data.samples import Category
from cops.model import tiles
from cops.model.checkpoints import load_model
from cops.model.segmenter import Segmenter
from cops.model.tiles import _ramp, blended_costs, cut_tiles, near_seams, predict_in_tiles, predict_large, windows
from predict import NUCLEI, Large
from predict import main as predict_main

from diffcomb import make_problem

CATEGORIES = [Category(1, "floor", False, (9, 9, 9)), Category(2, "thing", True, (200, 0, 0))]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    """A network of random weights, with costs that make segments of some size."""
    torch.manual_seed(0)
    config = Config(model=Model(distances=[1, 2, 4])).resolved()
    model = Segmenter(config, CATEGORIES)
    with torch.no_grad():
        model.scaling.class_scale.fill_(3.0)
        model.scaling.edge_offset.fill_(0.2)
    return model.eval()


def discs(size, count=40, seed=0):
    rng = np.random.default_rng(seed)
    image = np.full((*size, 3), 40, np.uint8) + rng.integers(0, 8, (*size, 3), dtype=np.uint8)
    rows, columns = np.mgrid[: size[0], : size[1]]
    for _ in range(count):
        y, x, r = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(4, 12)
        image[(rows - y) ** 2 + (columns - x) ** 2 < r * r] = rng.integers(120, 250, 3)
    return image


@pytest.mark.parametrize(("size", "tile"), [((64, 96), 32), ((50, 70), 48), ((33, 129), 64), ((20, 20), 64)])
def test_windows_cover_every_pixel_once(size, tile):
    count = np.zeros(size, int)
    for part in windows(size, tile, 8):
        count[part.core] += 1
        assert all(w.start <= c.start < c.stop <= w.stop for w, c in zip(part.whole, part.core, strict=True))
        inner = np.zeros(size)[part.whole][part.inner]
        assert inner.shape == count[part.core].shape
    assert (count == 1).all()


def test_weights_of_two_tiles_add_up_to_one():
    left, right = _ramp(slice(0, 40), slice(0, 32), 64), _ramp(slice(24, 64), slice(32, 64), 64)
    total = torch.zeros(64)
    total[:40] += left
    total[24:] += right
    assert torch.allclose(total, torch.ones(64))
    assert (left[:24] == 1).all()
    assert left.min() > 0


def test_costs_of_tiles_are_those_of_the_image_where_the_network_sees_the_same(model):
    """Where the tile is the whole image, they are the same; elsewhere they differ by what the network sees around."""
    image = discs((64, 96))
    expected = model.costs([image], CPU)
    (only,) = windows((64, 96), 96, 16)
    for found, e in zip(blended_costs(model, image, CPU, [only]), expected, strict=True):
        assert torch.equal(found, e)
    for found, e in zip(blended_costs(model, image, CPU, windows((64, 96), 48, 16)), expected, strict=True):
        assert found.shape == e.shape
        assert float((found - e).abs().mean()) < 0.5 * float(e.std())


def test_interpolated_windows_are_parts_of_the_whole(model):
    costs = model.costs([discs((40, 56))], CPU)
    whole = model.to_pixels(*costs, (40, 56))
    part = model.to_pixels(*costs, (17, 21), (9, 30))
    for w, p in zip(whole, part, strict=True):
        assert torch.allclose(w[..., 9:26, 30:51], p, atol=1e-6)


def objective(model, costs, size, prediction_labels, clusters):
    """Of a labelling of all pixels, in the problem of the whole image."""
    nodes, edges = model.to_pixels(*costs, size)
    layer = model.pixel_layer
    edge_costs, graph = layer.edge_costs(edges)
    problem = make_problem(graph, nodes[0].flatten(1).T.numpy(), edge_costs[0].numpy(), layer.partitionable)
    u, v = graph.edges.T
    x, z = prediction_labels.ravel(), clusters.ravel()
    return problem.objective(x, (x[u] != x[v]) | (problem.partitionable[x[u]] & (z[u] != z[v])))


@pytest.mark.parametrize("overlap", [16, 32])
def test_cutting_seams_again_lowers_the_objective(overlap):
    """The objective in the whole image is below that of tiles side by side, and near that of one cut."""
    model, _ = load_model(NUCLEI)
    size = (96, 128)
    image = discs(size, count=60)
    parts = windows(size, 48, overlap // 2)
    costs = blended_costs(model, image, CPU, parts)
    near = near_seams(size, parts, overlap // 2)
    labels, clusters = cut_tiles(model, costs, size, parts, np.zeros(size, bool))
    side_by_side = objective(model, costs, size, labels.astype(int), clusters)
    labels, clusters = cut_tiles(model, costs, size, parts, near)
    group, classes, ids = tiles._join(model, costs, size, labels, clusters, near)
    joined = objective(model, costs, size, classes[group], ids[group])
    with torch.no_grad():
        out = model.pixel_layer(*model.to_pixels(*costs, size))
    at_once = objective(model, costs, size, out.class_labels[0].numpy(), out.clusters[0].numpy())
    assert out.clusters.max() > 10
    assert joined < side_by_side
    assert joined <= at_once + 0.003 * abs(at_once)  # edges of 32 pixels leave tiles of 48
    assert side_by_side - joined > 0.5 * (side_by_side - at_once)


def test_a_segment_that_crosses_seams_is_one_segment(model, monkeypatch):
    """Costs that say one thing everywhere: no tile and no seam is visible."""
    size = (64, 80)
    rows, columns = -(-size[0] // model.stride), -(-size[1] // model.stride)
    nodes = torch.tensor([1.0, -1.0])[None, :, None, None].expand(1, 2, rows, columns)
    edges = torch.ones(1, len(model.layer.offsets), rows, columns)

    def costs(images, device):
        h, w = (-(-n // model.stride) for n in images[0].shape[:2])
        return nodes[..., :h, :w].clone(), edges[..., :h, :w].clone()

    monkeypatch.setattr(model, "costs", costs)
    found = predict_in_tiles(model, np.zeros((*size, 3), np.uint8), CPU, tile=32, overlap=16)
    assert [(s.id, s.category) for s in found.segments] == [(1, 1)]
    assert (found.ids == 1).all()
    assert found.scores == pytest.approx((2.0,))  # eq. 12: a class cost of -1, inner edges of 1


def test_predict_large_chooses_tiles_and_sizes(model):
    image = discs((70, 90))
    whole = predict_large(model, image, CPU)
    (plain,) = model.predict([image], CPU)
    assert np.array_equal(whole.ids, plain.ids)
    tiled = predict_large(model, image, CPU, tile=32)
    assert tiled.ids.shape == tiled.classes.shape == (70, 90)
    assert len(tiled.edges) == 0
    small = predict_large(model, image, CPU, max_size=45)
    assert small.ids.shape == (70, 90)
    assert set(np.unique(small.ids)) - {0} <= {s.id for s in small.segments}
    assert np.array_equal(predict_large(model, image, CPU, max_size=90).ids, plain.ids)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"tile": -1}, "--tile must be at least 0"), ({"tile": 3}, "--tile must be 0 or at least"),
     ({"max_size": 0}, "--max_size must be at least 1")],
)  # fmt: skip
def test_impossible_tile_sizes_are_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        Large(model, CPU, options.get("tile"), options.get("max_size"))


def test_an_image_that_needs_too_much_memory_is_skipped_with_advice(model, monkeypatch):
    def costs(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(model, "costs", costs)
    with pytest.raises(MemoryError, match=r"30x20 pixels; try a smaller --tile or --max_size"):
        Large(model, CPU, None, None).predict(np.zeros((20, 30, 3), np.uint8))


def test_predict_takes_tiles_and_sizes_on_the_command_line(tmp_path):
    from PIL import Image

    Image.fromarray(discs((80, 100))).save(tmp_path / "a.png")
    for options in (["--tile", "32"], ["--max_size", "40"]):
        out = tmp_path / options[0].strip("-")
        predict_main([str(tmp_path / "a.png"), "--out", str(out), *options])
        with Image.open(out / "a_panoptic.png") as file:
            assert file.size == (100, 80)


def test_two_things_joined_only_in_the_tile_overlap_stay_two():
    """Legs in the core of a tile, joined in its overlap by a bridge: what is left of the cluster is two parts."""
    clusters, near = np.zeros((6, 8), np.int64), np.zeros((6, 8), bool)
    clusters[1:6, 1:3] = clusters[1:6, 5:7] = clusters[4:6, 1:7] = 1
    near[4:] = True
    parts = tiles._pieces(clusters, near)
    assert parts[2, 1] == parts[3, 2]
    assert parts[2, 1] != parts[2, 5]
    assert parts[0, 0] == parts[3, 0]
    assert tiles._pieces(clusters, np.zeros((6, 8), bool))[2, 1] == tiles._pieces(clusters, near & False)[2, 5]


def test_smaller_images_reject_segments_by_the_area_in_the_image_given(model, monkeypatch):
    seen = []

    def predict(images, device):
        seen.append((images[0].shape, model.thresholds.tolist()))
        return plain

    plain = model.predict([discs((40, 40))], CPU)
    before = model.thresholds.tolist()
    monkeypatch.setattr(model, "predict", predict)
    predict_large(model, discs((80, 80)), CPU, max_size=40)
    assert seen == [((40, 40, 3), [t / 4 for t in before])]
    assert model.thresholds.tolist() == before


def test_model_that_cuts_on_the_grid_predicts_in_tiles(model, monkeypatch):
    monkeypatch.setattr(model, "full_resolution", False)
    found = predict_large(model, discs((96, 128)), CPU, tile=64)
    (whole,) = model.predict([discs((96, 128))], CPU)
    assert found.ids.shape == (96, 128)
    assert found.edges.shape == whole.edges.shape
    assert (found.ids[::2, ::2] == found.ids[1::2, 1::2]).all()


def test_small_tiles_are_as_small_as_asked_for(model, monkeypatch):
    seen = []
    original = model.costs
    monkeypatch.setattr(model, "costs", lambda images, device: seen.append(images[0].shape) or original(images, device))
    predict_in_tiles(model, discs((64, 64)), CPU, tile=32)
    assert max(max(shape) for shape in seen) <= 32 + 2 * 16
    assert len(seen) == 4
