import copy
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from diffcomb import (
    AsymmetricMultiwayCutLayer,
    Blackbox,
    MulticutLayer,
    MultiwayCutLayer,
    amwc,
    grid_graph,
    layers,
    make_problem,
)
from diffcomb.layers import MAX_GRAPHS

OFFSETS = [(0, 1), (1, 0), (0, 3), (4, 0), (0, 9)]
B, K, H, W = 3, 4, 5, 6


def maps(seed=0, requires_grad=False):
    g = torch.Generator().manual_seed(seed)
    costs = torch.randn(B, K, H, W, generator=g, dtype=torch.float64)
    affinities = torch.randn(B, len(OFFSETS), H, W, generator=g, dtype=torch.float64)
    return costs.requires_grad_(requires_grad), affinities.requires_grad_(requires_grad)


@pytest.mark.parametrize("anchor", ["start", "center"])
def test_layer_returns_the_solution_of_the_graph_problem(anchor):
    layer = AsymmetricMultiwayCutLayer(OFFSETS, [2, 3], anchor=anchor)
    costs, affinities = maps()
    out = layer(costs, affinities)
    graph = grid_graph((H, W), OFFSETS)
    for b in range(B):
        window = [affinities[b, o][graph.map_window(o, anchor)].flatten() for o in range(len(OFFSETS))]
        nodes, edges = costs[b].flatten(1).T, torch.cat(window)
        s = amwc(graph, nodes, edges, [2, 3])
        y = torch.cat([out.edges[b, o][graph.map_window(o, anchor)].flatten() for o in range(len(OFFSETS))])
        assert torch.equal(out.classes[b].argmax(0).flatten(), s.node_labels)
        assert torch.equal(out.clusters[b].flatten(), s.clusters)
        assert torch.equal(y, s.edge_labels.to(y.dtype))
        assert out.edges[b].sum() == y.sum()  # zero at places of the map without an edge
        z = out.panoptic[b].argmax(0).flatten()
        assert torch.equal(out.label_classes[b][z], s.node_labels)
        problem = make_problem(graph, nodes, edges, [2, 3])
        assert problem.violations(s.node_labels, y.long(), s.clusters) == []
    assert (out.panoptic.sum(1) == 1).all()
    assert (out.classes.sum(1) == 1).all()


def test_each_output_passes_gradients_to_used_costs_only():
    layer = AsymmetricMultiwayCutLayer(OFFSETS, [2, 3], estimator=Blackbox(lambdas=20.0))
    for name in ("classes", "edges", "panoptic"):
        costs, affinities = maps(requires_grad=True)
        output = getattr(layer(costs, affinities), name)
        weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=output.dtype)
        (output * weights).sum().backward()
        assert costs.grad.abs().sum() > 0
        assert affinities.grad.abs().sum() > 0
        assert affinities.grad[:, 4].abs().sum() == 0
        assert affinities.grad[:, 2, :, W - 3 :].abs().sum() == 0


def test_loss_on_classes_equals_the_same_loss_on_their_labels():
    """The gradient of a loss with upstream gradient g_x on x = M^T z equals that with M g_x on z."""
    layer = AsymmetricMultiwayCutLayer(OFFSETS, [2, 3], estimator=Blackbox(lambdas=20.0))
    weights = torch.randn(B, K, H, W, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    costs, affinities = maps(requires_grad=True)
    (layer(costs, affinities).classes * weights).sum().backward()
    costs2, affinities2 = maps(requires_grad=True)
    out = layer(costs2, affinities2)
    lifted = torch.stack([w[m.clamp(min=0)] for w, m in zip(weights, out.label_classes, strict=True)])
    (out.panoptic * lifted).sum().backward()
    assert torch.equal(costs.grad, costs2.grad)
    assert torch.equal(affinities.grad, affinities2.grad)


def test_list_of_maps_equals_a_stack_of_maps():
    layer = AsymmetricMultiwayCutLayer(OFFSETS, [2, 3])
    costs, affinities = maps()
    assert torch.equal(layer(costs, affinities).edges, layer(costs, list(affinities.unbind(1))).edges)


def test_multiway_cut_layer_has_one_label_for_each_class():
    costs, affinities = maps(requires_grad=True)
    out = MultiwayCutLayer(OFFSETS, estimator=Blackbox(lambdas=20.0))(costs, affinities)
    assert torch.equal(out.classes, out.panoptic)
    assert out.label_classes.tolist() == [[0, 1, 2, 3]] * B
    (out.classes[:, 0].sum() + out.edges[:, 0].sum()).backward()
    assert costs.grad.abs().sum() > 0


def test_multicut_layer_has_one_label_for_each_cluster():
    _, affinities = maps(requires_grad=True)
    out = MulticutLayer(OFFSETS, estimator=Blackbox(lambdas=20.0))(affinities)
    assert torch.equal(out.panoptic.argmax(1), out.clusters)
    assert out.classes.shape == (B, 1, H, W)
    counts = out.clusters.flatten(1).amax(1) + 1
    assert ((out.label_classes == 0).sum(1) == counts).all()
    out.edges.sum().backward()
    assert affinities.grad.abs().sum() > 0


@pytest.mark.parametrize("size", [(0, H, W), (2, 1, 1), (2, 0, 3)])
def test_empty_batches_and_tiny_images_are_accepted(size):
    b, h, w = size
    costs = torch.randn(b, K, h, w, requires_grad=True)
    affinities = torch.randn(b, len(OFFSETS), h, w, requires_grad=True)
    for layer, inputs in (
        (AsymmetricMultiwayCutLayer(OFFSETS, [2]), (costs, affinities)),
        (MultiwayCutLayer(OFFSETS), (costs, affinities)),
        (MulticutLayer(OFFSETS), (affinities,)),
    ):
        out = layer(*inputs)
        assert out.edges.shape == (b, len(OFFSETS), h, w)
        assert out.clusters.shape == (b, h, w)
        assert out.label_classes.shape == out.panoptic.shape[:2]
        (out.edges.sum() + out.panoptic.sum()).backward()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c, a: AsymmetricMultiwayCutLayer([(0, 0)], [0]), "zero"),
        (lambda c, a: AsymmetricMultiwayCutLayer(OFFSETS, [0], anchor="middle"), "anchor"),
        (lambda c, a: AsymmetricMultiwayCutLayer(OFFSETS, [9])(c, a), "class indices in 0..3"),
        (lambda c, a: AsymmetricMultiwayCutLayer(OFFSETS, [0])(c, a[:, :2]), "affinities must be 5 maps"),
        (lambda c, a: AsymmetricMultiwayCutLayer(OFFSETS, [0])(c[:2], a), "class_costs must have shape"),
        (lambda c, a: AsymmetricMultiwayCutLayer(OFFSETS, [0])(c * float("nan"), a), "must be finite"),
        (lambda c, a: AsymmetricMultiwayCutLayer(OFFSETS, [0], solver="x"), "solver must be one of"),
        (lambda c, a: AsymmetricMultiwayCutLayer(OFFSETS, [0], effort=-1), "effort"),
    ],
)
def test_error_names_the_bad_argument(make, message):
    with pytest.raises(ValueError, match=message):
        make(*maps())


def test_offsets_and_affinities_of_wrong_types_are_named():
    for offsets in (None, 3, [1]):
        with pytest.raises(TypeError, match=r"offsets must be a (list of )?tuple"):
            MulticutLayer(offsets)
    for affinities in (None, 3, [[0.5]], [None] * len(OFFSETS)):
        with pytest.raises(TypeError, match="affinities must be a tensor or a list of tensors, got"):
            MulticutLayer(OFFSETS)(affinities)


def test_copies_and_pickles_are_independent(tmp_path):
    layer = AsymmetricMultiwayCutLayer(OFFSETS, [2, 3], generator=torch.Generator().manual_seed(5))
    twin = copy.deepcopy(layer)
    torch.save(layer, tmp_path / "layer.pt")
    loaded = torch.load(tmp_path / "layer.pt", weights_only=False)
    grads = []
    for each in (layer, twin, loaded):
        costs, affinities = maps(requires_grad=True)
        each(costs, affinities).panoptic[:, 0].sum().backward()
        grads.append(costs.grad)
    assert torch.equal(grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])
    layer.estimator = Blackbox(lambdas=7.0)
    costs, affinities = maps(requires_grad=True)
    layer(costs, affinities).panoptic[:, 0].sum().backward()
    assert not torch.equal(costs.grad, grads[0])


def test_generators_make_layers_reproducible():
    grads = []
    for _ in range(2):
        layer = AsymmetricMultiwayCutLayer(OFFSETS, [2, 3], generator=torch.Generator().manual_seed(5))
        costs, affinities = maps(requires_grad=True)
        layer(costs, affinities).panoptic[:, 0].sum().backward()
        grads.append(costs.grad)
    assert torch.equal(*grads)
    assert grads[0].isfinite().all()


def test_threads_sharing_a_layer_get_graphs_of_the_right_size():
    """There are more sizes than a layer keeps: every call drops a graph that another thread may be about to use."""
    layer = MulticutLayer([(0, 1), (1, 0)])
    sizes = [(1 + i % 5, 1 + i % 7) for i in range(400)]

    def shape(size):
        graph, places = layer._graph_and_places(*size)
        return graph.shape, len(places)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(shape, sizes))
    finally:
        sys.setswitchinterval(interval)
    assert found == [((h, w), h * (w - 1) + (h - 1) * w) for h, w in sizes]
    assert len(layer._graphs) <= MAX_GRAPHS
    assert layer.graph(2, 3) is layer.graph(2, 3)


def test_layer_keeps_few_graphs_and_few_edges(monkeypatch):
    layer = MulticutLayer([(0, 1), (1, 0)])
    sizes = [(2, n) for n in range(2, 14)]
    for size in sizes:
        layer.graph(*size)
    assert list(layer._graphs) == sizes[-MAX_GRAPHS:]
    monkeypatch.setattr(layers, "MAX_EDGES", 50)
    layer.graph(3, 5)  # its 22 edges and the 37 of the 2x13 grid exceed the limit
    assert list(layer._graphs) == [(3, 5)]
    layer.graph(3, 4)
    assert list(layer._graphs) == [(3, 5), (3, 4)]
    layer.graph(9, 9)
    assert list(layer._graphs) == [(9, 9)]
    assert layer.graph(9, 9) is layer.graph(9, 9)
