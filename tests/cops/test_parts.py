"""Targets, features, losses, scores: each against its definition, written as a loop."""

import numpy as np
import pytest
import torch
from cops.config import Config, config_from_dict, differences
from cops.data.samples import Category, Prediction, Sample, Segment, augmented, random_crop
from cops.data.scene_ground import noise
from cops.data.scenes import CATEGORIES, VISIBLE, Scenes
from cops.data.targets import make_targets, offsets, on_pixels, to_input
from cops.losses import affinity_loss, top_k_mean
from cops.model.backbones import ResNet50, SmallBackbone
from cops.model.confidence import Confidence
from cops.model.network import CopsNetwork, CostScaling, Decoder, Logits, difference_features
from cops.model.segmenter import Segmenter, interpolate
from cops.model.weights import load_backbone_weights
from cops.scores.average_precision import AveragePrecision
from scipy.ndimage import label

STUFF, THING = Category(7, "stuff", False, (1, 2, 3)), Category(9, "thing", True, (4, 5, 6))


def sample(ids, *segments):
    ids = np.asarray(ids, np.int64)
    return Sample("s", np.zeros((*ids.shape, 3), np.uint8), ids, tuple(Segment(*s) for s in segments))


def test_targets_against_a_loop():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 5, (12, 16)).repeat(1, 0)
    s = sample(ids, (1, 0), (2, 1), (3, 1), (4, 0))
    targets = make_targets([s], (STUFF, THING), [1, 3, 20], stride=2, small_area=36)
    grid = ids[1::2, 1::2]
    category = {0: -1, 1: 0, 2: 1, 3: 1, 4: 0}
    area = {v: int((ids == v).sum()) for v in range(5)}
    weight = {v: 0 if v == 0 else (3 if category[v] == 1 and area[v] < 36 else 1) for v in range(5)}
    assert targets.labels[0].tolist() == [[category[v] for v in row] for row in grid.tolist()]
    assert targets.class_weight[0].tolist() == [[weight[v] for v in row] for row in grid.tolist()]
    key = {0: None, 1: "stuff", 4: "stuff", 2: 2, 3: 3}
    edge_weight = {v: weight[v] * (4 if category[v] == 1 else 1) for v in range(5)}
    H, W = grid.shape
    for o, (di, dj) in enumerate(offsets([1, 3, 20])):
        cut, expected_weight = np.zeros((H, W)), np.zeros((H, W))
        for i in range(H):
            for j in range(W):
                a = (i - -(-di // 2), j - -(-dj // 2))
                b = (i + di // 2, j + dj // 2)
                if min(a) >= 0 and b[0] < H and b[1] < W:
                    u, v = int(grid[a]), int(grid[b])
                    cut[i, j] = key[u] != key[v]
                    if u and v:
                        expected_weight[i, j] = max(edge_weight[u], edge_weight[v])
        assert (targets.cut[0, o].numpy() == cut).all()
        assert (targets.edge_weight[0, o].numpy() == expected_weight).all()


def test_crowds_are_void_in_training():
    s = sample([[1, 2], [2, 2]], (1, 0), (2, 1, True))
    assert s.class_map().tolist() == [[0, -1], [-1, -1]]


@pytest.mark.parametrize("size", [(8, 8), (6, 8)])
def test_turns_move_image_and_segments_together_and_reach_every_orientation(size):
    ids = np.arange(1, size[0] * size[1] + 1).reshape(size)
    whole = Sample("x", np.repeat(ids[..., None], 3, axis=-1).astype(np.uint8), ids, ())
    seen = set()
    for seed in range(100):
        turned = augmented(whole, size, np.random.default_rng(seed), turns=True)
        np.testing.assert_array_equal(turned.image[..., 0], turned.ids)
        assert sorted(turned.ids.ravel()) == sorted(ids.ravel())
        seen.add(turned.ids.tobytes())
    assert len(seen) == (8 if size[0] == size[1] else 4)


def test_random_crop_pads_with_void_and_is_a_function_of_its_generator():
    s = sample(np.ones((5, 9)), (1, 0))
    crop = random_crop(s, (8, 4), np.random.default_rng(0))
    assert crop.ids.shape == crop.image.shape[:2] == (8, 4)
    assert crop.ids[:5].all()
    assert not crop.ids[5:].any()
    big = Scenes(1, 0)[0]
    a, b = (random_crop(big, (16, 16), np.random.default_rng(3)) for _ in range(2))
    assert (a.image == b.image).all()


@pytest.mark.parametrize("distance", [1, 2, 3, 4, 9])
def test_difference_features_are_equations_10_and_11(distance):
    f = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    h, v = difference_features(f, distance)
    back, forth = -(-distance // 2), distance // 2

    def at(i, j):
        return f[:, :, i, j] if 0 <= i < 5 and 0 <= j < 6 else torch.zeros(2, 3)

    for i in range(5):
        for j in range(6):
            assert torch.equal(h[:, :, i, j], at(i, j + forth) - at(i, j - back))
            assert torch.equal(v[:, :, i, j], at(i + forth, j) - at(i - back, j))


def test_top_k_mean_counts_ignored_values_as_zeros():
    values = torch.tensor([[5.0, 0.0], [3.0, 0.0], [1.0, 0.0]])
    assert float(top_k_mean(values, 0.5)) == pytest.approx(3.0)
    assert float(top_k_mean(values, 1.0)) == pytest.approx(1.5)
    assert float(top_k_mean(values, 1e-9)) == 5.0


def test_affinity_loss_is_zero_weighted_at_void():
    s = sample(np.zeros((8, 8)), (1, 0))
    targets = make_targets([s], (STUFF, THING), [1], 2, 10)
    assert float(affinity_loss(torch.randn(1, 2, 4, 4), targets, 0.25)) == 0.0


@pytest.mark.parametrize(("name", "stride"), [("small", 2), ("small_fine", 1), ("resnet50", 4)])
def test_network_shapes_and_strides(name, stride):
    network = CopsNetwork(name, 3, [1, 4, 64]).eval()
    with torch.no_grad():
        out = network(torch.randn(1, 3, 64, 96))
    assert network.stride == stride
    assert out.classes.shape == (1, 3, 64 // stride, 96 // stride)
    assert out.cuts.shape == (1, 6, 64 // stride, 96 // stride)


def test_network_trains_on_a_single_image():
    network = CopsNetwork("small", 3, [1, 2]).train()
    out = network(torch.randn(1, 3, 64, 64))
    (out.classes.sum() + out.cuts.sum()).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_affinities_do_not_train_the_semantic_branch():
    network = CopsNetwork("small", 3, [1, 2])
    network(torch.randn(2, 3, 64, 64)).cuts.sum().backward()
    assert all(p.grad is None for p in network.semantic_head.parameters())
    assert all(p.grad is None for p in network.semantic_decoder.parameters())
    assert all(p.grad is not None for p in network.affinity_decoder.parameters())


def test_resnet_loads_torchvision_names(tmp_path):
    state = ResNet50("torchvision").state_dict()
    assert {"conv1.weight", "layer1.0.downsample.0.weight", "layer4.2.bn3.running_var"} <= set(state)
    assert sum(v.numel() for k, v in state.items() if "running" not in k and "num_batches" not in k) == 23_508_032
    torch.save({**state, "fc.weight": torch.zeros(1000, 2048)}, tmp_path / "weights.pt")
    load_backbone_weights(ResNet50("torchvision"), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="does not hold weights of SmallBackbone"):
        load_backbone_weights(SmallBackbone(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="do not exist"):
        load_backbone_weights(ResNet50(), tmp_path / "nothing.pt")
    with pytest.raises(ValueError, match="backbone must be one of 'small', 'small_fine'"):
        CopsNetwork("vgg", 3, [1])
    assert (
        Decoder({2: 4, 4: 8}, {"aspp": 8, "rates": (1,), "reduced": (4,), "decoder": 8, "separable": True}, [2]).top
        == 4
    )


def test_cost_scaling_signs():
    scaling = CostScaling(2, 1)
    with torch.no_grad():
        scaling.edge_scale.fill_(-2.0)
        scaling.edge_offset.fill_(0.5)
    class_costs, edge_costs = scaling(Logits(torch.ones(1, 2, 1, 1), torch.tensor([[[[3.0]], [[-3.0]]]])))
    assert class_costs.flatten().tolist() == [-1.0, -1.0]
    assert edge_costs.flatten().tolist() == [-5.5, 6.5]  # "cut" is repulsive, whatever the sign of the scale


@pytest.mark.parametrize("strip", [1, 3, 4])
def test_confidence_is_equation_12_however_it_is_collected(strip):
    g = torch.Generator().manual_seed(1)
    class_costs, edge_costs = torch.randn(2, 4, 5, generator=g), torch.randn(4, 4, 5, generator=g)
    clusters = torch.randint(0, 3, (4, 5), generator=g)
    cluster_class = np.array([0, 1, 1])
    confidence = Confidence(offsets([1, 2]), cluster_class)
    for first in range(0, 4, strip):
        rows = slice(first, first + strip)
        confidence.add(clusters.numpy(), class_costs[:, rows].numpy(), edge_costs[:, rows].numpy(), first)
    scores = confidence.scores()
    for c in range(3):
        inside = [(i, j) for i in range(4) for j in range(5) if clusters[i, j] == c]
        unary = np.mean([float(class_costs[cluster_class[c], i, j]) for i, j in inside])
        cut, joined = [], []
        for o, (di, dj) in enumerate(offsets([1, 2])):
            for i in range(4):
                for j in range(5):
                    a, b = (i - -(-di // 2), j - -(-dj // 2)), (i + di // 2, j + dj // 2)
                    if min(a) < 0 or b[0] >= 4 or b[1] >= 5:
                        continue
                    ends = (int(clusters[a]) == c) + (int(clusters[b]) == c)
                    (cut if ends == 1 else joined).append(float(edge_costs[o, i, j])) if ends else None
        expected = unary + (np.mean(cut) if cut else 0) - (np.mean(joined) if joined else 0)
        assert scores[c] == pytest.approx(-expected, abs=1e-6)


def ap_pair(ids, found, scores, crowd=()):
    """A sample whose things are ids 1.., and a prediction whose things are found ids 1.. with these scores."""
    segments = [(i, 1, i in crowd) for i in range(1, int(np.max(ids)) + 1)]
    predicted = tuple(Segment(i, 1) for i in range(1, int(np.max(found)) + 1))
    empty = np.zeros(0, np.float32)
    return sample(ids, *segments), Prediction(
        np.asarray(found), predicted, scores, np.zeros(0), np.zeros(0, np.uint8), empty, empty
    )


def average_precision(pairs, categories):
    precision = AveragePrecision(categories)
    for pair in pairs:
        precision.add(*pair)
    return precision.result()


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("distance", [0, 1, 2, 3, 4])
def test_interpolated_costs_stand_where_they_belong(stride, distance):
    """Costs that are the place of their cell, or of the middle of their edge, stay so on pixels."""
    longer = distance if distance == 1 else distance * stride
    cells = torch.arange(12.0) - (distance + 1) // 2  # the first end of the edge that stands there
    middle = stride * cells + stride // 2 + stride * distance / 2
    rows = middle[:, None].expand(12, 6)
    pixels = interpolate(rows, stride, (12 * stride - 1, 6 * stride), (distance, 0), (longer, 0))
    assert pixels.shape == (12 * stride - 1, 6 * stride)
    expected = torch.arange(12 * stride - 1) - (longer + 1) // 2 + longer / 2
    inner = (expected >= middle[0]) & (expected <= middle[-1])
    assert inner.sum() > 6 * stride
    torch.testing.assert_close(pixels[inner], expected[inner][:, None].expand(-1, 6 * stride))
    torch.testing.assert_close(
        pixels[~inner], expected[~inner].clamp(middle[0], middle[-1])[:, None].expand(-1, 6 * stride)
    )
    turned = interpolate(rows.T, stride, (6 * stride, 12 * stride - 1), (0, distance), (0, longer))
    torch.testing.assert_close(turned.T, pixels)


def test_average_precision_ranks_by_score():
    ids = np.zeros((40, 40), int)
    ids[2:18, 2:18], ids[22:38, 22:38] = 1, 2
    assert average_precision([ap_pair(ids, ids, (0.9, 0.8))], (STUFF, THING)) == {
        "AP": pytest.approx(100), "AP50": pytest.approx(100)
    }  # fmt: skip
    found = ids.copy()
    found[22:38, 22:38] = 0
    found[22:30, 2:10] = 2  # one hit, one false positive
    sure = average_precision([ap_pair(ids, found, (0.9, 0.1))], (STUFF, THING))["AP50"]
    unsure = average_precision([ap_pair(ids, found, (0.1, 0.9))], (STUFF, THING))["AP50"]
    assert sure == pytest.approx(50, abs=1)
    assert unsure == pytest.approx(25, abs=1)
    assert average_precision([ap_pair(ids, ids * 0, ())], (STUFF, THING))["AP"] == 0.0
    crowd = average_precision([ap_pair(ids, ids, (0.9, 0.8), crowd={2})], (STUFF, THING))
    assert crowd["AP"] == pytest.approx(100)


def test_prediction_rejects_small_segments_and_keeps_odd_sizes():
    config = Config(seed=0).resolved()
    torch.manual_seed(0)
    model = Segmenter(config, (STUFF, THING))
    image = np.random.default_rng(0).integers(0, 255, (45, 70, 3)).astype(np.uint8)
    (p,) = model.predict([image], torch.device("cpu"))
    assert p.ids.shape == (45, 70)
    assert set(np.unique(p.ids)) - {0} == {s.id for s in p.segments}
    for s in p.segments:
        assert (p.ids == s.id).sum() >= (80 if s.category == 0 else 20)
    assert len(p.scores) == len(p.segments)


def test_scenes_are_reproducible_and_rich():
    a, b = Scenes(30, 1), Scenes(30, 1)
    assert all((a[i].image == b[i].image).all() and (a[i].ids == b[i].ids).all() for i in range(5))
    assert not (Scenes(1, 2)[0].image == a[0].image).all()
    touching = void = 0
    classes = set()
    for i in range(30):
        s = a[i]
        labels = s.class_map()
        thing = labels >= 3
        classes |= set(np.unique(labels).tolist())
        void += (s.ids == 0).any()
        same = (labels[:, :-1] == labels[:, 1:]) & thing[:, :-1] & (s.ids[:, :-1] != s.ids[:, 1:])
        touching += same.any()
        assert {x.id for x in s.segments} == set(np.unique(s.ids).tolist()) - {0}
    assert classes == {-1, *range(len(CATEGORIES))}
    assert touching > 20
    assert void > 3
    with pytest.raises(IndexError):
        a[30]
    with pytest.raises(IndexError):
        a[-1]


def test_scene_depends_on_seed_and_index_alone_whatever_the_counts_and_the_order():
    few, many = Scenes(3, 4, 64), Scenes(50, 4, 64)
    for i in (2, 0, 1, 2):  # the second look at a scene takes it from the cache
        assert (few[i].image == many[i].image).all()
        assert (few[i].ids == many[i].ids).all()
        assert few[i].segments == many[i].segments
        assert few[i].ids.dtype == np.int64


def test_things_are_cut_by_what_lies_in_front_and_stay_one_segment():
    scenes = [Scenes(30, 1)[i] for i in range(30)]
    parts = [label(s.ids == x.id)[1] for s in scenes for x in s.segments if CATEGORIES[x.category].isthing]
    assert sum(n > 1 for n in parts) > 15


def test_sizes_of_things_span_a_wide_range_and_do_not_follow_the_size_of_the_scene():
    areas = {}
    for size in (64, 128):
        scenes = [Scenes(40, 1, size)[i] for i in range(40)]
        seen = [int((s.ids == x.id).sum()) for s in scenes for x in s.segments if CATEGORIES[x.category].isthing]
        areas[size] = np.percentile(seen, [10, 50, 90])
        assert min(seen) >= VISIBLE[True]
        assert areas[size][2] > 6 * areas[size][0]
        for s in scenes:
            stuff = [x.id for x in s.segments if not CATEGORIES[x.category].isthing]
            assert all((s.ids == i).sum() >= VISIBLE[False] for i in stuff)
    np.testing.assert_allclose(areas[64], areas[128], rtol=0.5)


def test_noise_is_smooth_and_has_unit_variance():
    rng = np.random.default_rng(0)
    fields = np.stack([noise(rng, 96, (3.0, 12.0)) for _ in range(40)])
    assert abs(fields.mean()) < 0.05
    assert fields.std() == pytest.approx(1, abs=0.05)
    down, across = (float(np.square(np.diff(fields, axis=axis)).mean()) for axis in (1, 2))
    assert down > 6 * across > 0  # its features are four times as wide as high


def test_input_is_normalised():
    assert to_input([np.full((2, 3, 3), 127.5)]).abs().max() == 0
    assert to_input([np.zeros((2, 3, 3), np.uint8)]).shape == (1, 3, 2, 3)


def test_fine_configuration_reaches_as_far_as_before():
    fine = Config().resolved().fine()
    assert (fine.model.backbone, fine.model.distances) == ("small_fine", [1, 2, 4, 8, 16, 32])
    assert set(on_pixels(Config().model.distances, 2)) < set(fine.model.distances)
    assert fine.fine() == fine


def test_config_round_trip_and_differences():
    config = Config().resolved()
    assert config_from_dict(config.to_dict()) == config
    other = config_from_dict({**config.to_dict(), "seed": 5, "out": "elsewhere"})
    assert differences(config, other) == ["seed: 0 -> 5"]
