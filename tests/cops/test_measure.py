"""Boundary quality, mean IoU, other rules on the same costs, calibration by search, Panoptic-DeepLab, the tables."""

import itertools
from functools import partial
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pytest
import reproduce
import torch
from cops.config import Config, Dataset, Model
from cops.data.samples import Category, Prediction, Sample, Segment, augmented
from cops.data.scenes import Scenes
from cops.data.targets import make_targets
from cops.model.deeplab import centre_targets, group
from cops.model.network import Logits
from cops.model.segmenter import Segmenter
from cops.scores import measure
from cops.scores.measure import (
    at_resolution,
    best_overlaps,
    panoptic_quality,
    with_noisy_truth,
    with_rules,
    with_true_classes,
)
from cops.scores.quality import BoundaryPanopticQuality, MeanIoU, PanopticQuality, boundary
from cops.scores.rules import RULES, by_mutex_watershed, by_threshold
from cops.study.experiments import interval
from cops.study.search import _directions, search
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion

from diffcomb import grid_graph

K = len(Scenes.categories)
CATEGORIES = (Category(1, "stuff", False, (0, 0, 0)), Category(2, "thing", True, (0, 0, 0)))


def square(shift=(0, 0)):
    ids = np.ones((100, 100), np.int64)
    ids[30 + shift[0] : 70 + shift[0], 30 + shift[1] : 70 + shift[1]] = 2
    return ids


def test_boundary_quality_matches_the_code_of_its_authors():
    """Golden numbers of boundary-iou-api on a square that is shifted by (1, 2)."""
    segments = (Segment(1, 0), Segment(2, 1))
    truth = Sample("a", np.zeros((100, 100, 3), np.uint8), square(), segments)
    for kind, expected in ((BoundaryPanopticQuality, (36.8666, 73.7332)), (PanopticQuality, (91.7462, 97.2294))):
        quality = kind(CATEGORIES)
        quality.add(square((1, 2)), segments, truth)
        assert (quality.result()["PQ"], quality.result()["PQ_st"]) == pytest.approx(expected, abs=1e-4)


def test_boundary_quality_where_prediction_and_truth_are_void_together():
    truth = Sample("a", np.zeros((100, 100, 3), np.uint8), np.where(square() == 2, 2, 0), (Segment(2, 1),))
    quality = BoundaryPanopticQuality(CATEGORIES)
    quality.add(truth.ids, truth.segments, truth)
    assert quality.result()["PQ"] == pytest.approx(100)


@given(st.integers(0, 2**31), st.integers(1, 3))
def test_boundaries_of_all_segments_equal_those_of_each_segment(seed, width):
    ids = np.random.default_rng(seed).integers(0, 3, (7, 9)).repeat(2, 0).repeat(2, 1)
    expected = np.zeros(ids.shape, bool)
    for k in np.unique(ids):
        mask = np.pad(ids == k, 1)
        expected |= (mask & ~binary_erosion(mask, np.ones((3, 3)), iterations=width))[1:-1, 1:-1]
    np.testing.assert_array_equal(boundary(ids, width), expected)


def test_mean_iou_leaves_out_void_pixels():
    truth = Sample("a", np.zeros((1, 4, 3), np.uint8), np.array([[1, 1, 2, 0]]), (Segment(1, 0), Segment(2, 1)))
    iou = MeanIoU(CATEGORIES)
    iou.add(np.array([[0, 1, 1, 1]]), truth)
    assert iou.result()["mIoU"] == pytest.approx(50.0)  # 1/2 and 1/2; the void pixel does not count
    with pytest.raises(ValueError, match="differ in size"):
        iou.add(np.zeros((2, 2), np.int64), truth)


def naive_mutex_watershed(graph, nodes, edges, things):
    """The same rule with sets, straight from the paper's description."""
    ordered = np.sort(nodes, axis=1)
    events = [(abs(float(c)), e, "edge") for e, c in enumerate(edges)]
    events += [(float(ordered[i, 1] - ordered[i, 0]), len(edges) + i, "class") for i in range(len(nodes))]
    cluster, label = {i: frozenset([i]) for i in range(len(nodes))}, dict.fromkeys(range(len(nodes)))
    mutex = set()
    for _, number, kind in sorted(events, key=lambda x: (-x[0], x[1])):
        if kind == "class":
            i = number - len(edges)
            if label[i] is None:
                for j in cluster[i]:
                    label[j] = int(nodes[i].argmin())
            continue
        u, v = graph.edges[number].tolist()
        if cluster[u] == cluster[v]:
            continue
        if edges[number] <= 0:
            mutex.add((u, v))
            continue
        excluded = any((a, b) in mutex or (b, a) in mutex for a, b in itertools.product(cluster[u], cluster[v]))
        if excluded or (label[u] is not None and label[v] is not None and label[u] != label[v]):
            continue
        joined = cluster[u] | cluster[v]
        known = label[u] if label[u] is not None else label[v]
        for j in joined:
            cluster[j], label[j] = joined, known
    return label, cluster


@given(st.integers(0, 2**31))
def test_mutex_watershed_equals_naive_reference(seed):
    rng = np.random.default_rng(seed)
    graph = grid_graph((4, 5), [(0, 1), (1, 0), (0, 2), (2, 0)])
    nodes, edges = rng.normal(size=(20, 3)), rng.normal(size=graph.num_edges)
    label, cluster = naive_mutex_watershed(graph, nodes, edges, [1, 2])
    labels, clusters = by_mutex_watershed(graph, nodes, edges, [1, 2])
    for i in range(20):
        assert labels[i] == label[i]
        for j in range(i):
            together = cluster[i] == cluster[j] or (label[i] == label[j] == 0)
            assert (clusters[i] == clusters[j]) == together


@given(st.integers(0, 2**31), st.sampled_from([-1.0, 0.0, 0.5]))
def test_threshold_gives_the_connected_components_of_each_class(seed, threshold):
    rng = np.random.default_rng(seed)
    graph = grid_graph((4, 5), [(0, 1), (1, 0), (0, 3), (3, 0)])
    nodes, edges = rng.normal(size=(20, 3)), rng.normal(size=graph.num_edges)
    labels, clusters = by_threshold(threshold)(graph, nodes, edges, [1, 2])
    assert np.array_equal(labels, nodes.argmin(1))
    expected = nx.Graph()
    expected.add_nodes_from(range(20))
    kept = (edges > threshold) & (labels[graph.edges[:, 0]] == labels[graph.edges[:, 1]])
    expected.add_edges_from(graph.edges[kept].tolist())
    expected.add_edges_from(itertools.pairwise(np.flatnonzero(labels == 0).tolist()))
    found = {frozenset(np.flatnonzero(clusters == c).tolist()) for c in clusters}
    assert found == {frozenset(c) for c in nx.connected_components(expected)}


@given(st.integers(0, 2**31))
def test_every_rule_gives_clusters_of_one_class_and_one_segment_of_stuff(seed):
    rng = np.random.default_rng(seed)
    graph = grid_graph((4, 4), [(0, 1), (1, 0), (0, 2), (2, 0)])
    nodes, edges = rng.normal(size=(16, 3)).astype(np.float32), rng.normal(size=graph.num_edges).astype(np.float32)
    for rule in (*RULES.values(), by_threshold(0.3)):
        labels, clusters = rule(graph, nodes, edges, [1, 2])
        for c in range(clusters.max() + 1):
            assert len(set(labels[clusters == c])) == 1
        assert len(set(clusters[labels == 0])) <= 1


@pytest.fixture(scope="module")
def model():
    """A network whose costs are noise: what is tested is the path, not the quality."""
    torch.manual_seed(0)
    sizes = Dataset(reject_things=1, reject_stuff=1)
    config = Config(model=Model(distances=[1, 4], full_resolution=False), dataset=sizes).resolved()
    return Segmenter(config, Scenes.categories, torch.Generator())


def test_search_finds_the_offset_that_was_added(model, monkeypatch):
    """Costs from the truth, with affinities so biased that all is one: the search has to undo it."""
    data, cpu = Scenes(3, 1, 64), torch.device("cpu")
    targets = make_targets([data[i] for i in range(3)], Scenes.categories, [1, 4], 2, 0)
    classes = 4.0 * torch.nn.functional.one_hot(targets.labels.clamp(min=0), K).permute(0, 3, 1, 2)
    noise = torch.randn(targets.cut.shape, generator=torch.Generator().manual_seed(0)) - 1.5
    logits = Logits(classes, 2 * targets.cut - 1 + 0.8 * noise)
    monkeypatch.setattr(model, "costs", lambda images, device: tuple(c.detach() for c in model.scaling(logits)))
    assert np.linalg.matrix_rank(_directions(model)) == K + 2 * 2  # a basis: every direction can be reached
    before = panoptic_quality(model, data, cpu).result()["PQ"]
    curve = search(model, data, cpu, 40)
    assert curve[0] == [1, pytest.approx(before)]
    assert [pq for _, pq in curve] == sorted(pq for _, pq in curve)
    assert curve[-1][0] <= 40
    assert panoptic_quality(model, data, cpu).result()["PQ"] == pytest.approx(curve[-1][1], abs=1e-9)
    assert curve[-1][1] > before + 10


@pytest.mark.parametrize("full", [False, True])
def test_every_rule_scores_the_same_costs(model, monkeypatch, full):
    """Costs from the truth, so noisy that every rule makes mistakes."""
    data, cpu = Scenes(2, 1, 64), torch.device("cpu")
    targets, g = make_targets([data[0], data[1]], Scenes.categories, [1, 4], 2, 0), torch.Generator().manual_seed(0)
    classes = -2.0 * torch.nn.functional.one_hot(targets.labels.clamp(min=0), K).permute(0, 3, 1, 2)
    costs = [c + 1.5 * torch.randn(c.shape, generator=g) for c in (classes, 1 - 2 * targets.cut)]
    monkeypatch.setattr(model, "costs", lambda images, device: costs)
    monkeypatch.setattr(model, "full_resolution", full)
    rows = with_rules(model, data, cpu)
    assert [row["rule"] for row in rows] == list(RULES)
    own = panoptic_quality(model, data, cpu).result()
    multilevel = next(row for row in rows if row["rule"] == "AMWC, multilevel, effort 0")
    assert {k: multilevel[k] for k in own} == pytest.approx(own)
    oracle = with_true_classes(model, data, cpu)
    assert oracle["PQ_st"] > 85
    assert oracle["PQ_st"] > own["PQ_st"] > 0
    same = at_resolution(model, data, cpu, full)
    assert {k: same[k] for k in ("PQ", "SQ", "RQ")} == pytest.approx({k: own[k] for k in ("PQ", "SQ", "RQ")})
    assert same["seconds"] > 0
    assert at_resolution(model, data, cpu, not full)["PQ"] != own["PQ"]
    assert model.full_resolution is full


def test_cut_on_pixels_solves_interpolated_costs(model, monkeypatch):
    """With true costs on the grid, a cut on pixels finds the same objects, with better outlines; odd sizes work."""
    data = Scenes(8, 1, 64)
    targets = make_targets([data[i] for i in range(8)], Scenes.categories, [1, 4], 2, 0)
    classes = -4.0 * torch.nn.functional.one_hot(targets.labels.clamp(min=0), K).permute(0, 3, 1, 2)
    edges = 1 - 2 * targets.cut
    monkeypatch.setattr(model, "thresholds", torch.tensor([20.0 if c.isthing else 80.0 for c in Scenes.categories]))
    qualities = []
    for full in (False, True):
        monkeypatch.setattr(model, "full_resolution", full)
        quality = PanopticQuality(Scenes.categories)
        for i, prediction in enumerate(model.segment(classes, edges, (64, 64))):
            quality.add(prediction.ids, prediction.segments, data[i])
        qualities.append(quality.result())
    assert qualities[1]["RQ"] > 90
    assert qualities[1]["SQ"] > qualities[0]["SQ"] + 1
    (odd,) = model.segment(classes[:1], edges[:1], (63, 61))
    assert odd.ids.shape == odd.classes.shape == (63, 61)
    assert odd.edges.shape == (4, 63, 61)
    assert len(odd.scores) == len(odd.segments)


def test_noisy_truth_scores_less_the_more_is_wrong_and_less_on_the_grid():
    scenes = Scenes(4, 5, 64)
    model = Segmenter(Config(dataset=Dataset(reject_things=1, reject_stuff=1)).resolved(), scenes.categories)
    scores = [with_noisy_truth(model, scenes, wrong, True)["PQ"] for wrong in (0.0, 0.3, 0.45)]
    assert scores[0] > 97
    assert scores == sorted(scores, reverse=True)
    assert with_noisy_truth(model, scenes, 0.0, False)["PQ"] < scores[0] - 1


def test_best_overlap_is_the_highest_iou_with_a_prediction_of_the_class(monkeypatch):
    truth = np.repeat([[1, 1, 1, 1, 2, 2, 2, 2, 3, 3]], 2, axis=0)
    found = np.repeat([[1, 1, 1, 4, 4, 4, 5, 5, 0, 0]], 2, axis=0)  # 4 overlaps both things; 5 has the wrong class
    real = (Segment(1, 1), Segment(2, 1), Segment(3, 1))
    sample = Sample("a", np.zeros((2, 10, 3), np.uint8), truth, real)
    prediction = Prediction(found, (Segment(1, 1), Segment(4, 1), Segment(5, 0)), (), found, found, None, None)
    monkeypatch.setattr(measure, "predictions", lambda *_: [(sample, prediction)])
    assert best_overlaps(None, SimpleNamespace(categories=CATEGORIES), None).tolist() == [3 / 4, 2 / 5, 0]


def test_deeplab_grouping_recovers_segments_from_their_targets():
    """From true heat map, offsets and classes the grouping gives back the segments on the grid."""
    scene = Scenes(1, 3, 64)[0]
    targets = make_targets([scene], Scenes.categories, [1], 2, 0)
    isthing = torch.tensor([c.isthing for c in Scenes.categories])
    heat, offsets, thing = centre_targets(targets, isthing)
    assert thing[0].sum() == isthing[targets.labels.clamp(min=0)][targets.labels >= 0].sum()
    classes = torch.nn.functional.one_hot(targets.labels.clamp(min=0), K)[0].permute(2, 0, 1).float()
    labels, clusters = group(classes, heat[0], offsets[0], isthing)
    truth = targets.segments.flatten().numpy()
    mask = thing[0].bool().flatten().numpy()
    assert (labels[mask] == targets.labels.flatten().numpy()[mask]).mean() > 0.95
    together = clusters[mask][:, None] == clusters[mask][None]
    assert (together == (truth[mask][:, None] == truth[mask][None])).mean() > 0.98


def test_augmentation_keeps_image_and_segments_together():
    ids = np.kron(np.array([[1, 2], [3, 4]]), np.ones((20, 30), np.int64))
    image = np.repeat((50 * ids)[..., None], 3, 2).astype(np.uint8)
    sample = Sample("a", image, ids, tuple(Segment(i, 0) for i in range(1, 5)), "a")
    rng = np.random.default_rng(0)
    for _ in range(20):
        out = augmented(sample, (32, 48), rng, [20, 40, 80], brightness=0.0)
        assert out.ids.shape == out.image.shape[:2] == (32, 48)
        inner = (out.ids > 0) & (abs(out.image[..., 0].astype(int) - 50 * out.ids) > 0)
        assert inner.mean() < 0.15  # only where the image is interpolated between two segments
        assert out.image_id == "a"
    bright = augmented(sample, (40, 60), rng, None, brightness=0.5)
    assert not np.isin(bright.image[..., 0], 50 * np.arange(5)).all()


def test_confidence_interval_is_student_s():
    mean, half = interval(np.array([1.0, 2.0, 3.0]))
    assert mean == 2.0
    assert half == pytest.approx(4.302653 / np.sqrt(3), rel=1e-5)
    assert np.isnan(interval(np.array([1.0]))[1])


def test_every_table_has_a_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(reproduce, "Config", partial(Config, dataset=Dataset(size=32)))  # a fraction of the time
    arguments = ["--max_steps=1", f"--runs={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}", "--threads=1"]
    reproduce.main(["all", *arguments])
    reproduce.main(["table1", *arguments, "--seeds=[0,1]", "--models=[control_pixels,full]"])
    for name in reproduce.WHAT:
        if name != "checkpoints":
            text = (tmp_path / "results" / "scenes-trial" / f"{name}.md").read_text()
            assert f"reproduce.py {name} --data scenes" in text
            assert text.count("|---") >= 1
    assert "95 % interval" in (tmp_path / "results" / "scenes-trial" / "table1.md").read_text()
    assert (tmp_path / "results" / "scenes-trial" / "figure4.svg").exists()
    reproduce.main(["table1", *arguments, "--resolution=grid", "--models=[control_pixels,full]"])
    grid = (tmp_path / "results" / "scenes-grid-trial" / "table1.md").read_text()
    assert "--resolution grid --models" in grid
    assert "| control_mean |" in grid  # on the grid the same
    assert "full_svm" not in grid
    monkeypatch.undo()  # the command line is made from the real class
    with pytest.raises(SystemExit):
        reproduce.main(["table1", "--data=nuclei", *arguments])
    assert "give --root" in capsys.readouterr().err
