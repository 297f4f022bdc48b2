"""Affinities are compared pair by pair; costs are the log-odds, with the same values and gradients everywhere."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from diffcomb import affinities, class_probabilities_to_costs, grid_graph, multicut, probabilities_to_costs

LABELS = arrays(st.sampled_from([np.int64, np.uint8]), array_shapes(max_dims=3, max_side=5), elements=st.integers(0, 3))


@given(labels=LABELS, background=st.sampled_from([None, 0, 9]), seed=st.integers(0, 99))
def test_affinities_are_those_of_all_pairs(labels, background, seed):
    rng = np.random.default_rng(seed)
    offsets = [(*rng.integers(-2, 3, labels.ndim - 1).tolist(), d) for d in (1, -2, 7)]
    values, mask = affinities(labels, offsets, background=background)
    assert values.dtype == np.float32
    for c, p in itertools.product(range(3), itertools.product(*map(range, labels.shape))):
        q = tuple(a + b for a, b in zip(p, offsets[c], strict=True))
        exists = all(0 <= a < size for a, size in zip(q, labels.shape, strict=True))
        known = exists and background not in (labels[p], labels[q])
        assert mask[c][p] == known
        assert values[c][p] == (known and labels[p] == labels[q])


def test_tensors_give_tensors():
    values, mask = affinities(torch.tensor([1, 1, 2]), [(1,)])
    assert values.tolist() == [[1, 0, 0]]
    assert mask.dtype == torch.bool


def test_true_affinities_give_back_their_regions():
    labels = np.kron(np.arange(6).reshape(2, 3), np.ones((4, 4), int))
    offsets = [(0, 1), (1, 0), (0, 3), (3, 0)]
    graph = grid_graph(labels.shape, offsets)
    values, _ = affinities(labels, offsets)
    costs = probabilities_to_costs(graph.edge_values(values))
    found = multicut(graph, costs).clusters.reshape(labels.shape)
    assert np.array_equal(np.unique(labels), np.unique(found))
    assert len(np.unique(np.stack([labels.ravel(), found.ravel()]), axis=1).T) == 6


def test_edge_values_are_read_where_the_edges_are():
    graph = grid_graph((3, 4), [(0, 1), (-1, 2)])
    maps = np.arange(24.0).reshape(2, 3, 4)
    expected = [maps[o, u // 4, u % 4] for o, part in enumerate(graph.edge_slices) for u in graph.edges[part, 0]]
    assert graph.edge_values(maps).tolist() == expected
    tensor = torch.tensor(maps, requires_grad=True)
    graph.edge_values(tensor).sum().backward()
    assert tensor.grad.sum() == graph.num_edges
    with pytest.raises(ValueError, match=r"maps must have shape \(2, 3, 4\), one for each offset, got \(1, 3, 4\)"):
        graph.edge_values(maps[:1])


@given(p=st.floats(0.01, 0.99), bias=st.floats(0.01, 0.99))
def test_costs_are_log_odds_with_their_gradient(p, bias):
    expected = math.log(p / (1 - p)) - math.log(bias / (1 - bias))
    assert probabilities_to_costs(np.array([p]), bias=bias)[0] == pytest.approx(expected, abs=1e-9)
    tensor = torch.tensor([p], dtype=torch.float64, requires_grad=True)
    cost = probabilities_to_costs(tensor, bias=bias)
    cost.sum().backward()
    assert cost.item() == pytest.approx(expected, abs=1e-9)
    assert tensor.grad.item() == pytest.approx(1 / p + 1 / (1 - p))
    step = 1e-5
    ahead, behind = (probabilities_to_costs(np.array([p + s]), bias=bias)[0] for s in (step, -step))
    assert tensor.grad.item() == pytest.approx((ahead - behind) / (2 * step), rel=1e-3)


def test_jax_arrays_are_differentiable_and_may_be_traced():
    jax = pytest.importorskip("jax")
    p = jax.numpy.array([0.2, 0.7])
    gradient = jax.jit(jax.grad(lambda x: probabilities_to_costs(x, bias=0.3).sum()))(p)
    assert np.allclose(gradient, 1 / (np.array(p) * (1 - np.array(p))), rtol=1e-4)
    assert np.allclose(class_probabilities_to_costs(p), -np.log(np.array(p)))


@pytest.mark.parametrize("clip", [1e-3, 1e-9, 1e-300])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_costs_and_gradients_of_any_dtype_are_finite(dtype, clip):
    p = torch.tensor([0, 1e-3, 0.5, 0.997, 1], dtype=dtype, requires_grad=True)
    for costs in (probabilities_to_costs(p, clip=clip), class_probabilities_to_costs(p, clip=clip)):
        assert costs.dtype == dtype
        assert torch.isfinite(costs).all()
        assert torch.isfinite(torch.autograd.grad(costs.sum(), p)[0]).all()
    assert probabilities_to_costs(p, clip=clip)[2] == 0
    known = p.detach().double().numpy()[1:4]
    found = probabilities_to_costs(p.detach(), clip=1e-9).double().numpy()[1:4]
    assert np.allclose(found, np.log(known / (1 - known)), rtol=1e-2)


@pytest.mark.parametrize("p", [[0, 1], torch.tensor([0, 1]), np.array([0.0, 1.0], np.float16)])
def test_costs_of_certain_numbers_are_those_of_the_clip(p):
    assert np.allclose(np.asarray(probabilities_to_costs(p), float), [-6.907, 6.907], atol=4e-3)


def test_jax_values_are_checked_where_they_are_known():
    jax = pytest.importorskip("jax")
    with pytest.raises(ValueError, match=r"probabilities must lie in \[0, 1\]"):
        probabilities_to_costs(jax.numpy.array([2.0, 0.5]))
    half = probabilities_to_costs(jax.numpy.array([0.0, 1.0, 0.5], jax.numpy.bfloat16))
    assert half.dtype == jax.numpy.bfloat16
    assert np.isfinite(np.asarray(half, float)).all()


def test_class_costs_are_those_of_the_most_likely_class():
    p = np.random.default_rng(0).dirichlet(np.ones(4), 30)
    costs = class_probabilities_to_costs(p)
    assert costs.argmin(1).tolist() == p.argmax(1).tolist()
    assert np.allclose(np.exp(-costs[p > 1e-3]), p[p > 1e-3])


def test_bad_input_is_named():
    with pytest.raises(TypeError, match="labels must be integers, got dtype float64"):
        affinities(np.zeros((2, 2)), [(0, 1)])
    with pytest.raises(ValueError, match="offsets must have 2 components"):
        affinities(np.zeros((2, 2), int), [(1,)])
    with pytest.raises(ValueError, match=r"probabilities must lie in \[0, 1\], got -3.0 to 2.0: apply a sigmoid first"):
        probabilities_to_costs(np.array([-3.0, 2.0]))
    with pytest.raises(ValueError, match=r"probabilities must not be NaN, got some, the first at index \[0\]"):
        probabilities_to_costs(torch.tensor([np.nan]))
    with pytest.raises(ValueError, match="bias must lie between 0 and 1, got 1"):
        probabilities_to_costs(np.array([0.5]), bias=1)
    with pytest.raises(ValueError, match="bias must lie between 0 and 1, got array"):
        probabilities_to_costs(np.array([0.5]), bias=np.array([0.2, 0.3]))
    with pytest.raises(ValueError, match="bias must lie between 0 and 1, got array"):
        probabilities_to_costs(np.array([0.5]), bias=np.array([0.2]))
    for kind in (np.float32, np.float64, np.longdouble):
        assert np.isfinite(probabilities_to_costs(np.array([0, 1], kind), clip=1e-30)).all()
    for offsets in (None, 3):
        with pytest.raises(TypeError, match="offsets must be a list of tuples of integers"):
            affinities(np.zeros((2, 2), int), offsets)
    for background in ("a", 0.5, True):
        with pytest.raises(TypeError, match="background must be an integer id or None"):
            affinities(np.zeros((2, 2), int), [(0, 1)], background=background)
    with pytest.raises(ValueError, match=r"clip must lie between 0 and 0\.5, got 0"):
        class_probabilities_to_costs(np.array([0.5]), clip=0)
    assert probabilities_to_costs([]).shape == (0,)
