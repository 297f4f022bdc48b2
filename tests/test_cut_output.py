"""A layer's output keeps labels, makes one-hot maps only on request, and gives the same gradients with or without."""

import copy
import itertools
import tracemalloc

import numpy as np
import pytest
import torch

from diffcomb import (
    IMLE,
    AsymmetricMultiwayCutLayer,
    Blackbox,
    CentralDifference,
    LogGrid,
    MulticutLayer,
    NegativeIdentity,
    PerturbedOptimizer,
    Relative,
    Uniform,
    get_num_threads,
    set_num_threads,
)
from diffcomb import _implicit as implicit
from diffcomb._implicit import Columns, LabelDifferences, OneHot, RowTable
from diffcomb._sums import inner, norm
from diffcomb.gradients.oracle import Oracle
from diffcomb.lifting import BoundLiftedMWC

OFFSETS = [(0, 1), (1, 0), (0, 3)]
ESTIMATORS = {
    "relative": lambda: Blackbox(),
    "uniform": lambda: Blackbox(Uniform(100, 5000, 3), start="warm"),
    "cold": lambda: Blackbox(Uniform(100, 5000, 2), start="cold"),
    "best, repaired": lambda: Blackbox(300.0, start="best", repair=True),
    "central": lambda: CentralDifference(Relative(LogGrid(0.1, 10, 2))),
    "identity": lambda: NegativeIdentity(),
    "noise": lambda: IMLE(2.0, samples=2, forward="clean"),
}


def costs(batch=2, classes=3, size=(7, 8), dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    nodes = torch.randn(batch, classes, *size, generator=g).to(dtype)
    edges = torch.randn(batch, len(OFFSETS), *size, generator=g).to(dtype) + 0.3
    truth = torch.randint(0, 4, (batch, *size), generator=g)
    weights = torch.randn(64, 4, generator=g).to(dtype)
    return nodes, edges, truth, weights


def layer_of(name):
    return AsymmetricMultiwayCutLayer(
        OFFSETS, [1, 2], estimator=ESTIMATORS[name](), generator=torch.Generator().manual_seed(0), spare=1
    )


def gradients(name, overlaps, dtype=torch.float32, more=lambda out: 0.0):
    """Gradients of a loss on overlaps; the function `overlaps` computes them from a layer's output."""
    nodes, edges, truth, weights = costs(dtype=dtype)
    leaves = [nodes.requires_grad_(), edges.requires_grad_()]
    out = layer_of(name)(*leaves)
    shared = overlaps(out, truth)
    loss = ((shared**2).float() * weights[: shared.shape[1]]).sum() * 0.01 + more(out)
    return torch.autograd.grad(loss, leaves)


def overlaps_of_labels(out, truth):
    return out.overlaps(truth, 4)


def overlaps_of_masks(out, truth):
    return out.panoptic.flatten(2) @ torch.nn.functional.one_hot(truth.flatten(1), 4).to(out.panoptic.dtype)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_overlaps_of_labels_and_of_masks_give_identical_gradients(name, dtype):
    for found, expected in zip(
        gradients(name, overlaps_of_labels, dtype), gradients(name, overlaps_of_masks, dtype), strict=True
    ):
        assert torch.equal(found, expected)
    assert gradients(name, overlaps_of_labels, dtype)[0].any()


def test_gradients_through_all_outputs_add_up():
    def more(out):
        return (out.classes[:, 1] * 0.3).sum() + (out.edges**2).sum() + (out.panoptic[:, 0] * 0.7).sum()

    found, expected = (
        gradients("uniform", overlaps_of_labels, more=more),
        gradients("uniform", overlaps_of_masks, more=more),
    )
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    alone = gradients("uniform", overlaps_of_labels)
    assert not torch.equal(found[0], alone[0])


def test_masks_are_not_made_if_only_labels_are_used(monkeypatch):
    def refuse(*_):
        raise AssertionError("a one-hot matrix was made")

    for kind in (OneHot, RowTable, Columns, LabelDifferences):
        monkeypatch.setattr(kind, "__array__", refuse)
    for name in ("relative", "cold", "best, repaired", "central"):
        assert all(g.any() for g in gradients(name, overlaps_of_labels))
    nodes, edges, *_ = costs()
    out = layer_of("uniform")(nodes, edges)
    assert out.labels.shape == out.clusters.shape == out.class_labels.shape
    assert "panoptic" not in vars(out)
    with pytest.raises(AssertionError, match="one-hot"):
        gradients("noise", overlaps_of_labels)


@pytest.mark.parametrize("name", ["cold", "best, repaired", "central"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_perturbed_solves_give_the_same_bits_with_and_without_matrices(name, dtype, monkeypatch):
    found = gradients(name, overlaps_of_labels, dtype)
    monkeypatch.setattr(BoundLiftedMWC, "described_costs", BoundLiftedMWC.costs)
    monkeypatch.setattr(Oracle, "solve_described", lambda self, jobs, solve=Oracle.solve_described: map(
        implicit.explicit, solve(self, jobs)))  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(found, gradients(name, overlaps_of_masks, dtype), strict=True))


def test_cold_solves_need_memory_for_the_costs_of_one_at_a_time():
    """Lifted costs of the solve under way, and not one-hot matrices of all images and scales."""
    side, images, scales = 64, 4, 6
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(images, c, side, side, generator=generator).requires_grad_() for c in (3, 2)]
    estimator = Blackbox(Uniform(1, 50, scales), start="cold")
    threads = get_num_threads()
    set_num_threads(1)
    try:
        out = AsymmetricMultiwayCutLayer([(0, 1), (1, 0)], [1, 2], estimator=estimator, generator=generator)(*maps)
        loss = out.overlaps(torch.arange(side * side).view(1, side, side).expand(images, -1, -1) % 5, 5).square().sum()
        one = 4 * side**2 * out.label_classes.shape[1]
        tracemalloc.start()
        loss.backward()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        set_num_threads(threads)
    assert one > 2**20
    assert peak < 8 * one  # the solver's own levels of the lifted problem take most of it


def test_repeated_backward_passes_do_not_affect_each_other():
    nodes, edges, truth, _ = costs()
    leaves = [nodes.requires_grad_(), edges.requires_grad_()]
    out = layer_of("relative")(*leaves)

    def grad(value):
        return torch.autograd.grad(value, leaves, retain_graph=True)

    loss = out.overlaps(truth, 4)[:, 1].pow(2).sum()
    first, other, again = grad(loss), grad(out.edges.sum()), grad(loss)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])


def test_labels_agree_with_maps_and_the_output_unpacks_in_order():
    nodes, edges, truth, _ = costs()
    out = layer_of("uniform")(nodes, edges)
    classes, cut, panoptic, clusters, label_classes = out
    assert len(out) == 5
    assert out[2] is panoptic is out.panoptic
    assert out[:2][1] is cut
    assert torch.equal(panoptic.argmax(1), out.labels)
    assert torch.equal(classes.argmax(1), out.class_labels)
    assert torch.equal(panoptic.sum(1), torch.ones_like(panoptic[:, 0]))
    assert torch.equal(label_classes.gather(1, out.labels.flatten(1)).view(clusters.shape), out.class_labels)
    assert torch.equal(overlaps_of_labels(out, truth), overlaps_of_masks(out, truth))
    assert "2 images of (7, 8)" in repr(out)


def test_overlaps_are_right_for_solutions_that_are_not_one_hot():
    nodes, edges, truth, _ = costs()
    layer = AsymmetricMultiwayCutLayer(OFFSETS, [1, 2], estimator=PerturbedOptimizer(0.5, 3), spare=1)
    out = layer(nodes.requires_grad_(), edges)
    assert out.panoptic.max() > out.panoptic.min()
    assert torch.allclose(out.overlaps(truth, 4), overlaps_of_masks(out, truth))
    out.overlaps(truth, 4).pow(2).sum().backward()
    assert nodes.grad.any()
    multicut = MulticutLayer(OFFSETS)(edges)
    assert torch.equal(multicut.overlaps(truth, 4).sum(1), torch.nn.functional.one_hot(truth.flatten(1), 4).sum(1))


def test_wrong_segments_are_refused():
    nodes, edges, truth, _ = costs()
    out = layer_of("uniform")(nodes, edges)
    with pytest.raises(ValueError, match=r"segments must have shape \(2, 7, 8\), got \(2, 7, 7\)"):
        out.overlaps(truth[..., :7], 4)
    for bad in (truth - 1, truth + 1):
        with pytest.raises(ValueError, match=r"segments must lie in 0\.\.3"):
            out.overlaps(bad, 4)


def test_half_precision_and_infinite_gradients_are_supported():
    nodes, edges, truth, _ = costs()
    nodes = nodes.bfloat16().requires_grad_()
    out = layer_of("uniform")(nodes, edges.bfloat16())
    assert out.overlaps(truth, 4).dtype == torch.float32  # a sum: half precision counts to 256
    out.overlaps(truth, 4).float().sin().sum().backward()
    assert nodes.grad.isfinite().all()
    out = layer_of("uniform")(nodes, edges.bfloat16())
    nodes.grad = None
    (out.overlaps(truth, 4).float()[:1] * torch.inf).sum().backward()
    assert not nodes.grad[0].isfinite().any()
    assert not nodes.grad[1].any()


def test_implicit_matrices_equal_the_described_arrays():
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        table, index = rng.normal(size=(5, 7)).astype(dtype), rng.integers(0, 4, 50).astype(np.int32)
        rows = RowTable(table, index)
        assert np.array_equal(np.asarray(rows), table[index])
        assert np.array_equal(np.asarray(-rows), -table[index])
        assert (rows.shape, rows.dtype) == ((50, 7), dtype)
        for scale in (1.0, 1e-30, 1e30):
            scaled = RowTable((scale * table).astype(dtype), index)
            assert norm([scaled, table]) == norm([np.asarray(scaled), table])
        matrix, columns = rng.normal(size=(50, 3)).astype(dtype), np.array([0, 2, 2, 1, 2, 0, 1])
        repeated = Columns(matrix, columns)
        assert np.array_equal(np.asarray(repeated), matrix[:, columns])
        hot = [OneHot(rng.integers(0, 7, 50), 7, dtype) for _ in range(4)]
        for costs_, w in itertools.product((rows, repeated, table[index]), hot):
            assert inner([costs_], [w]) == inner([np.asarray(costs_)], [np.asarray(w)])
        total, difference = np.zeros((50, 7), dtype), implicit.LabelDifferences((50, 7), dtype)
        for after, weight in zip(hot[1:], (0.3, -1.7, 0.1), strict=True):
            total += (np.asarray(after, float) - np.asarray(hot[0], float)) * weight
            difference.add(after, hot[0], weight)
        assert np.asarray(difference) == pytest.approx(total, rel=1e-6)
        by_class = [total[:, columns == k].sum(axis=1) for k in range(3)]
        assert difference.added_columns(columns, 3) == pytest.approx(np.stack(by_class, axis=1), abs=1e-6)
    unused = RowTable(np.array([[0.0], [1.0]]), np.zeros(3, np.int32))
    assert not unused.any()
    hot = OneHot(np.array([1, 0, 2]), 4, np.float32)
    assert np.array_equal(np.asarray(hot), np.eye(4, dtype=np.float32)[[1, 0, 2]])
    assert implicit.explicit((hot, table))[1] is table
    assert copy.copy(hot).shape == (3, 4)


def test_maps_read_under_no_grad_still_get_gradients_later():
    nodes, edges, *_ = costs()
    leaves = [nodes.requires_grad_(), edges.requires_grad_()]
    found = []
    for look in (False, True):
        out = layer_of("uniform")(*leaves)
        if look:
            with torch.no_grad():
                assert not out.panoptic.requires_grad
                assert not out.classes.requires_grad
        found.append(torch.autograd.grad((out.panoptic[:, 0] * 0.3).sum() + out.classes[:, 1].sum(), leaves))
        assert out.panoptic is out.panoptic
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_output_can_be_saved_and_copied(tmp_path):
    nodes, edges, truth, _ = costs()
    out = layer_of("uniform")(nodes, edges)
    torch.save(out, tmp_path / "out.pt")
    for again in (torch.load(tmp_path / "out.pt", weights_only=False), copy.deepcopy(out)):
        assert all(torch.equal(a, b) for a, b in zip(again, out, strict=True))
        assert torch.equal(again.labels, out.labels)
        assert torch.equal(again.overlaps(truth, 4), out.overlaps(truth, 4))


def test_torch_func_transforms_work_through_the_layer():
    nodes, edges, *_ = costs()
    layer = AsymmetricMultiwayCutLayer(OFFSETS, [1, 2], estimator=Blackbox(300.0, start="warm"))

    def loss(n):
        out = layer(n, edges)
        return out.edges.sum() + (out.classes[:, 0] * 0.5).sum()

    leaf = nodes.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(leaf), leaf)
    assert torch.equal(torch.func.grad(loss)(nodes), expected)
    mapped = torch.func.vmap(lambda n, e: layer(n, e).edges)(nodes[:, None], edges[:, None])
    assert torch.equal(mapped[:, 0], layer(nodes, edges).edges)


def test_segments_must_be_integers():
    nodes, edges, truth, _ = costs()
    out = layer_of("uniform")(nodes, edges)
    assert torch.equal(out.overlaps(truth.int(), 4), out.overlaps(truth, 4))
    for wrong in (truth.float(), truth > 1):
        with pytest.raises(TypeError, match="segments must hold integers"):
            out.overlaps(wrong, 4)


def test_zero_or_infinite_gradients_make_no_one_hot_matrix(monkeypatch):
    def refuse(*_):
        raise AssertionError("a one-hot matrix was made")

    monkeypatch.setattr(RowTable, "__array__", refuse)
    nodes, edges, truth, _ = costs()
    nodes.requires_grad_()
    for factor in (0.0, torch.inf):
        nodes.grad = None
        (layer_of("relative")(nodes, edges).overlaps(truth, 4) * factor).sum().backward()
        assert nodes.grad.isfinite().all() == (factor == 0)
