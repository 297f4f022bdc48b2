"""Norms and products are accurate at any magnitude, and the same to the last bit for any memory layout."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from routes import argmin_one_hot, cost_gradient, costs_and_gradient

from diffcomb import (
    AsymmetricMultiwayCutLayer,
    Blackbox,
    LiftedMWC,
    NegativeIdentity,
    Relative,
    diagnose,
    gradcheck,
)
from diffcomb import perturbed_grad as pg
from diffcomb._sums import add_columns, inner, norm, products
from diffcomb.gradients import GradcheckError

# Compiled kernels do not warn when a square overflows; it is seen, and the sum computed anew.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in scalar multiply:RuntimeWarning")

FLOAT32, FLOAT64 = (1e-38, 1e-25, 1e19, 1e20, 1e37), (1e-300, 1e-200, 1e200, 1e300)


def layouts(array):
    """The same values in four memory layouts."""
    wide = np.zeros((array.shape[0], 2 * array.shape[1]), array.dtype)
    wide[:, ::2] = array
    return [array, np.asfortranarray(array), wide[:, ::2], array[::-1].copy()[::-1]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 7, 8, 9, 40])
def test_norms_and_products_do_not_depend_on_the_memory_layout(dtype, size):
    rng = np.random.default_rng(size)
    a, b = (rng.normal(size=(size, 5)).astype(dtype) for _ in range(2))
    exact = math.fsum(float(x) ** 2 for x in a.ravel())
    assert {norm([x]) for x in layouts(a)} == {norm([a])}
    assert norm([a]) == pytest.approx(math.sqrt(exact), rel=1e-14)
    assert {inner([x], [y]) for x in layouts(a) for y in layouts(b)} == {inner([a], [b])}
    assert inner([a], [b]) == pytest.approx(math.fsum(a.ravel().astype(float) * b.ravel().astype(float)))
    assert norm([a, b]) == pytest.approx(math.hypot(norm([a]), norm([b])))
    assert norm([a, b], [1, 2, 0, 1, 3]) == pytest.approx(norm([a * np.sqrt(np.array([1, 2, 0, 1, 3])), b]), rel=1e-6)
    assert products(a, b[0]) == pytest.approx(a.astype(float) @ b[0].astype(float), rel=1e-6, abs=1e-6)
    assert add_columns(a, np.array([0, 2, -1, 0, 2]), 3) == pytest.approx(
        np.stack([a[:, 0] + a[:, 3], np.zeros(size), a[:, 1] + a[:, 4]], 1)
    )


def test_products_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        inner([np.ones(3)], [np.ones(4)])


@pytest.mark.parametrize("kernel", ["Haswell", "Nehalem", "Prescott"])
def test_norms_do_not_depend_on_the_processor(kernel):
    """OpenBLAS sums in another order on each kind of processor; our sums must not."""
    code = (
        "import numpy as np; from diffcomb._sums import *; a, b = np.random.default_rng(0).normal(size=(2, 1001))\n"
        "print(norm([a]).hex(), inner([a], [b]).hex(), products(a.reshape(7, 143), b[:143])[3].hex())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "OPENBLAS_CORETYPE": kernel}, capture_output=True, text=True
    )
    a, b = np.random.default_rng(0).normal(size=(2, 1001))
    expected = norm([a]).hex(), inner([a], [b]).hex(), products(a.reshape(7, 143), b[:143])[3].hex()
    assert found.stdout.split() == list(expected)


@pytest.mark.parametrize(("dtype", "scales"), [(np.float32, FLOAT32), (np.float64, FLOAT64)])
def test_norms_neither_overflow_nor_vanish(dtype, scales):
    for scale in scales:
        a = np.array([3, 4], dtype) * dtype(scale)
        assert norm([a]) == pytest.approx(5 * scale, rel=1e-6)
        assert norm([a[None]], [4, 4]) == pytest.approx(10 * scale, rel=1e-6)
    assert norm([np.full(4, np.finfo(np.float64).max)]) == np.finfo(np.float64).max
    assert norm([np.zeros(3)]) == norm([np.zeros(0)]) == norm([]) == 0
    assert norm([np.array([1.0, np.inf])]) == np.inf
    assert math.isnan(norm([np.array([1.0, np.nan])]))


ESTIMATES = {
    "relative scales": dict(estimator=Blackbox()),
    "repaired": dict(estimator=Blackbox(Relative((0.1, 1.0)), repair=True)),
    "identity, std": dict(estimator=NegativeIdentity()),
    "identity, norm": dict(estimator=NegativeIdentity("norm")),
    "normalised": dict(estimator=Blackbox((0.1, 1.0)), normalize=True),
    "not radial": dict(radial=False),
}


@pytest.mark.parametrize("options", ESTIMATES.values(), ids=ESTIMATES)
@pytest.mark.parametrize(("dtype", "scales"), [(torch.float32, (1e-25, 1e19, 1e20)), (torch.float64, (1e-200, 1e200))])
def test_gradients_scale_with_the_costs_at_any_magnitude(options, dtype, scales):
    """None of these depends on units: costs s c give the gradient of costs c divided by s."""
    c, g = (t.to(dtype) for t in costs_and_gradient(0, (4, 6), (4, 6)))
    f = pg(argmin_one_hot, cost_ndims=1, **options)
    (expected,) = cost_gradient(f, [c], [g])
    assert expected.any()
    for scale in scales:
        (found,) = cost_gradient(f, [c * scale], [g])
        assert torch.allclose(found.double() * scale, expected.double(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-25, 1e-20, 1e15, 1e19, 1e20])
def test_norm_of_lifted_costs_neither_overflows_nor_vanishes(scale):
    def gradient(scale):
        g = torch.Generator().manual_seed(1)
        layer = AsymmetricMultiwayCutLayer([(0, 1), (1, 0)], [1])
        c = (torch.randn(1, 2, 5, 5, generator=g) * scale).requires_grad_()
        out = layer(c, torch.randn(1, 2, 5, 5, generator=g) * scale)
        (out.panoptic * torch.randn(out.panoptic.shape, generator=g)).sum().backward()
        return c.grad.double() * scale

    assert torch.allclose(gradient(scale), gradient(1.0), rtol=1e-4)


def test_norm_of_lifted_costs_equals_the_norm_of_the_lifted_array():
    nodes, edges = (t.numpy() for t in costs_and_gradient(0, (6, 2), (7,)))
    bound = LiftedMWC([0, 1, 1, 1], 2).bind((np.eye(2)[[0, 0, 0, 1, 1, 1]], None, np.array([0, 0, 0, 1, 1, 1])), {})
    assert bound.cost_norm((nodes, edges)) == pytest.approx(norm(bound.costs((nodes, edges))))


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_diagnose_and_gradcheck_work_at_any_magnitude(scale):
    c, g = costs_and_gradient(0, (8, 6), (8, 6))
    f = pg(argmin_one_hot, cost_ndims=1)
    found = [diagnose(f, x, grads=g, scales=[0.3, 3.0], verbose=False) for x in (c, scale * c)]
    assert np.allclose(found[0].unchanged, found[1].unchanged)
    assert np.allclose(found[0].radial, found[1].radial, equal_nan=True)
    assert gradcheck(f, scale * c[0], estimator=Blackbox([0.3 * scale, 3 * scale]), grads=g[0])

    def maximises(costs):
        return np.eye(6)[costs.argmax()]

    with pytest.raises(GradcheckError):
        gradcheck(maximises, scale * c[0], estimator=Blackbox([0.3 * scale, 3 * scale, 30 * scale]), grads=g[0])
