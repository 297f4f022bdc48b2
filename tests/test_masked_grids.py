"""Grids with a mask, layers within one, and layers on volumes."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffcomb import (
    AsymmetricMultiwayCutLayer,
    LiftedAsymmetricMultiwayCutLayer,
    LiftedMulticutLayer,
    MulticutLayer,
    MultiwayCutLayer,
    grid_graph,
    lifted_multicut,
    multicut,
)  # fmt: skip

OFFSETS = ((0, 1), (1, 0), (2, -1))
OFFSETS_3D = ((0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 2, 2))


@given(st.integers(0, 2**31), st.integers(0, 6), st.integers(0, 6))
def test_masked_grid_is_the_part_of_the_grid_within_the_mask(seed, height, width):
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < 0.6
    full, masked = grid_graph((height, width), OFFSETS), grid_graph((height, width), OFFSETS, mask=mask)
    maps = rng.normal(size=(len(OFFSETS), height, width))
    inside = mask.ravel()[full.edges].all(axis=1)
    assert masked.cells[masked.edges].tolist() == full.edges[inside].tolist()
    assert masked.edge_values(maps).tolist() == full.edge_values(maps)[inside].tolist()
    back = masked.project(masked.node_values(maps[0]), fill=np.nan)
    assert np.array_equal(back, np.where(mask, maps[0], np.nan), equal_nan=True)


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_values_pass_through_masked_grids_in_every_library(library):
    make = {"numpy": np.asarray, "torch": torch.tensor}.get(library) or pytest.importorskip("jax.numpy").asarray
    mask = np.array([[True, False, True], [True, True, True]])
    graph = grid_graph((2, 3), ((0, 1), (1, 0)), mask=mask)
    values = graph.node_values(make(np.arange(6.0).reshape(1, 2, 3)))
    assert np.asarray(values).tolist() == [[0, 2, 3, 4, 5]]
    assert np.asarray(graph.project(values, fill=9)).tolist() == [[[0, 9, 2], [3, 4, 5]]]


def test_clusters_of_a_region_of_interest_are_carried_back_to_the_image():
    mask = np.ones((4, 6), bool)
    mask[:, 3] = False
    graph = grid_graph((4, 6), mask=mask)
    labels = graph.project(multicut(graph, np.ones(graph.num_edges)).clusters)
    assert np.unique(labels[:, :3]).tolist() == [0]
    assert np.unique(labels[:, 3]).tolist() == [-1]
    assert np.unique(labels[:, 4:]).tolist() == [1]


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (np.ones((2, 3)), TypeError, "mask must hold booleans"),
        (np.ones((3, 2), bool), ValueError, r"mask must have the grid's shape \(2, 3\), got \(3, 2\)"),
    ],
)
def test_wrong_masks_are_refused(mask, error, message):
    with pytest.raises(error, match=message):
        grid_graph((2, 3), mask=mask)


def test_wrong_values_of_masked_grids_are_refused():
    graph = grid_graph((2, 2), mask=np.eye(2, dtype=bool))
    with pytest.raises(ValueError, match="maps must have shape"):
        graph.node_values(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"values must have shape \(\.\.\., n\) with n=2"):
        graph.project(np.zeros(3))
    for values in (np.ones(2, bool), np.ones(2, np.uint8), torch.ones(2, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"fill must be a value of dtype .*, got -1: pass another fill="):
            graph.project(values)
    assert graph.project(np.ones(2, bool), fill=False).tolist() == np.eye(2, dtype=bool).tolist()
    assert np.isnan(graph.project(np.ones(2), fill=np.nan)[0, 1])


# Layers within a mask

NEAR, FAR = [(0, 1), (1, 0)], [(0, 3), (2, 1)]
LAYERS = {
    "multicut": MulticutLayer([*NEAR, *FAR], anchor="center"),
    "mwc": MultiwayCutLayer([*NEAR, *FAR]),
    "amwc": AsymmetricMultiwayCutLayer([*NEAR, *FAR], [1, 2]),
    "lifted_multicut": LiftedMulticutLayer(NEAR, FAR),
    "lifted_amwc": LiftedAsymmetricMultiwayCutLayer(NEAR, FAR, [1, 2]),
}
WINDOW = (slice(1, 6), slice(2, 8))


def inputs_of(name, device="cpu"):
    """Costs of classes, where the layer has any, and of edges, as it takes them."""
    generator = torch.Generator(device).manual_seed(0)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64, device=device)
    classes = [] if "multicut" in name else [draw(2, 3, 7, 8)]
    return classes + ([draw(2, 2, 7, 8), draw(2, 2, 7, 8)] if "lifted" in name else [draw(2, 4, 7, 8)])


def solved(name, inputs, window, **options):
    """The outputs of a layer within the window, its far edges behind them, and the gradients of a loss on these."""
    leaves = [costs.clone().requires_grad_() for costs in inputs]
    out = LAYERS[name](*leaves, **options)
    out, *far = out if isinstance(out, tuple) else (out,)
    found = [out.classes, out.edges, out.panoptic, *far, out.clusters, out.labels, out.class_labels]
    maps = [part[(..., *window)] for part in found]
    weights = torch.linspace(-1, 2, 30, dtype=torch.float64).view(5, 6)
    of_classes = 0 if "multicut" in name else (maps[0] * weights).sum()
    (of_classes + sum((part * weights).sum() for part in (maps[1], *maps[3 : 3 + len(far)]))).backward()
    return out, maps, [leaf.grad for leaf in leaves]


@pytest.mark.parametrize("name", LAYERS)
def test_layer_within_a_rectangle_is_the_layer_of_the_part_cut_out(name):
    inputs = inputs_of(name)
    mask = torch.zeros(7, 8, dtype=torch.bool)
    mask[WINDOW] = True
    out, maps, gradients = solved(name, inputs, WINDOW, mask=mask)
    part, expected, of_part = solved(name, [costs[(..., *WINDOW)] for costs in inputs], (slice(None), slice(None)))
    assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))
    for gradient, other in zip(gradients, of_part, strict=True):
        assert torch.equal(gradient[(..., *WINDOW)], other)
        assert not gradient[..., ~mask].any()
        assert gradient.any()
    assert torch.equal(out.label_classes, part.label_classes)
    assert all((numbers[:, ~mask] == -1).all() for numbers in (out.clusters, out.labels, out.class_labels))
    assert not any(one[..., ~mask].any() for one in (out.classes, out.edges, out.panoptic))
    segments = torch.arange(56).view(1, 7, 8).expand(2, 7, 8) % 4
    assert torch.equal(out.overlaps(segments, 4), part.overlaps(segments[(..., *WINDOW)], 4))


def test_layer_within_any_mask_solves_the_graph_of_its_cells():
    mask = np.random.default_rng(0).random((7, 8)) < 0.7
    (costs,) = inputs_of("multicut")
    out = MulticutLayer([*NEAR, *FAR])(costs, mask=mask)
    graph = grid_graph((7, 8), [*NEAR, *FAR], mask=mask)
    for image, clusters in zip(costs.numpy(), out.clusters.numpy(), strict=True):
        assert graph.node_values(clusters).tolist() == multicut(graph, graph.edge_values(image)).clusters.tolist()


def test_masks_of_layers_may_be_empty_and_wrong_ones_are_refused():
    (costs,) = inputs_of("multicut")
    layer = LAYERS["multicut"]
    out = layer(costs.requires_grad_(), mask=torch.zeros(7, 8, dtype=torch.bool))
    assert (out.clusters == -1).all()
    assert out.panoptic.shape == (2, 0, 7, 8)
    assert (out.class_labels == -1).all()
    out.edges.sum().backward()
    assert not costs.grad.any()
    with pytest.raises(TypeError, match="mask must hold booleans"):
        layer(costs, mask=torch.ones(7, 8))
    with pytest.raises(ValueError, match=r"mask must have the grid's shape \(7, 8\), got \(2, 7, 8\)"):
        layer(costs, mask=torch.ones(2, 7, 8, dtype=torch.bool))


def test_masks_are_checked_whatever_mask_came_before():
    (costs,) = inputs_of("multicut")
    layer, mask = MulticutLayer([*NEAR, *FAR]), np.ones((7, 8), bool)
    layer(costs, mask=mask)
    for wrong, message in (
        (mask.astype(int), "mask must hold booleans, got dtype int64"),
        ([[True], [True, False]], r"mask must be an array of booleans of shape \(7, 8\)"),
        (np.ma.array(mask, mask=mask), "mask must not be a masked array"),
    ):
        with pytest.raises(TypeError, match=message):
            layer(costs, mask=wrong)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_were_first_used_in_inference_mode_can_be_trained(name, masked):
    offsets = [NEAR, FAR] if "lifted" in name else [[*NEAR, *FAR]]
    layer = type(LAYERS[name])(*offsets, *([[1, 2]] if "amwc" in name else []))
    options = {"mask": np.arange(56).reshape(7, 8) % 5 > 0} if masked else {}
    with torch.inference_mode(), torch.device("meta"):
        layer(*inputs_of(name, device="cpu"), **options)
    leaves = [costs.requires_grad_() for costs in inputs_of(name)]
    out = layer(*leaves, **options)
    (out[0] if isinstance(out, tuple) else out).edges.square().sum().backward()
    assert all(leaf.grad is not None for leaf in leaves)


def test_segments_may_be_negative_outside_a_mask():
    mask = np.arange(56).reshape(7, 8) % 5 > 0
    (costs,) = inputs_of("multicut")
    out = LAYERS["multicut"](costs, mask=mask)
    of_itself = out.overlaps(out.clusters, out.panoptic.shape[1])
    assert torch.equal(of_itself, torch.diag_embed(of_itself.diagonal(dim1=1, dim2=2)))
    assert of_itself.sum() == 2 * mask.sum()
    with pytest.raises(ValueError, match=r"segments must lie in 0\.\.0, got 0\.\."):
        out.overlaps(out.clusters, 1)


@pytest.mark.parametrize("name", ["multicut", "mwc"])
def test_maps_and_overlaps_under_vmap_are_those_of_each_image(name):
    inputs, segments = inputs_of(name), torch.arange(112).view(2, 7, 8) % 3

    def outputs(segments, *costs):
        out = LAYERS[name](*(c[None] for c in costs))
        return out.panoptic.sum((1, 2, 3)), out.overlaps(segments[None], 3).sum(1)

    together = torch.func.vmap(outputs)(segments, *inputs)
    one_by_one = [outputs(segments[b], *(c[b] for c in inputs)) for b in range(2)]
    for part, found in enumerate(together):
        assert torch.equal(found, torch.stack([one[part] for one in one_by_one]))


# Volumes


def test_multicut_layer_of_a_volume_solves_its_grid_graph():
    costs = torch.randn(
        2, 4, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True
    )
    out = MulticutLayer(OFFSETS_3D)(costs)
    graph = grid_graph((3, 4, 5), OFFSETS_3D)
    for b in range(2):
        found = multicut(graph, graph.edge_values(costs[b].detach().numpy()))
        assert out.clusters[b].flatten().tolist() == found.clusters.tolist()
        assert graph.edge_values(out.edges[b].detach().numpy()).tolist() == found.edge_labels.tolist()
    assert out.panoptic.shape[2:] == (3, 4, 5)
    (out.edges * torch.randn(out.edges.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    assert costs.grad.abs().sum() > 0


def test_layers_with_classes_take_volumes():
    generator = torch.Generator().manual_seed(0)
    classes = torch.randn(1, 3, 3, 4, 5, generator=generator, requires_grad=True)
    costs = torch.randn(1, 4, 3, 4, 5, generator=generator, requires_grad=True)
    for layer in (AsymmetricMultiwayCutLayer(OFFSETS_3D, [1], generator=generator), MultiwayCutLayer(OFFSETS_3D)):
        out = layer(classes, costs)
        assert out.classes.shape == classes.shape
        assert out.labels.shape == (1, 3, 4, 5)
        out.classes.square().sum().backward()
    with pytest.raises(ValueError, match=r"affinities must be 4 maps \(B, Z, Y, X\)"):
        MulticutLayer(OFFSETS_3D)(costs[:, :, 0])


def test_lifted_layer_solves_and_differentiates_both_kinds_of_costs():
    generator = torch.Generator().manual_seed(0)
    near = torch.randn(2, 2, 6, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    far = torch.randn(2, 1, 6, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    out, lifted = LiftedMulticutLayer(((0, 1), (1, 0)), [(3, 0)], generator=generator)(near, far)
    graph, pairs = grid_graph((6, 6)), grid_graph((6, 6), [(3, 0)])
    for b in range(2):
        found = lifted_multicut(
            graph, graph.edge_values(near[b].detach().numpy()), pairs, pairs.edge_values(far[b].detach().numpy())
        )
        assert out.clusters[b].flatten().tolist() == found.clusters.tolist()
        assert pairs.edge_values(lifted[b].detach().numpy()).tolist() == found.lifted_labels.tolist()
    (out.edges.sum() - 2 * lifted.sum()).backward()
    assert near.grad.any()
    assert far.grad.any()
    with pytest.raises(ValueError, match="offsets and lifted_offsets must have as many components"):
        LiftedMulticutLayer(((0, 1),), [(0, 0, 3)])
