"""Entries may be forbidden by a mask or by a large constant; gradients do not depend on the constant's size."""

import numpy as np
import pytest
import torch
from routes import argmin_one_hot, cost_gradient, costs_and_gradient
from scipy.optimize import linear_sum_assignment

from diffcomb import (
    IMLE,
    Blackbox,
    CentralDifference,
    FenchelYoung,
    LiftedMWC,
    NegativeIdentity,
    PerturbedOptimizer,
    Relative,
    amwc,
    grid_graph,
    solver_loss,
)
from diffcomb import perturbed_grad as pg
from diffcomb._sums import dominating

pytestmark = pytest.mark.nojit

MS = (10.0, 1e3, 1e6)


def assign(costs):
    matrix = np.zeros_like(costs)
    matrix[linear_sum_assignment(costs)] = 1
    return matrix


def assignment_problem(seed=0, size=6, share=0.3):
    rng = torch.Generator().manual_seed(seed)
    costs = torch.rand(8, size, size, dtype=torch.float64, generator=rng)
    allowed = (torch.rand(8, size, size, generator=rng) > share) | torch.eye(size, dtype=torch.bool)
    return costs, allowed, torch.randn(8, size, size, dtype=torch.float64, generator=rng)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])
@pytest.mark.parametrize("added", [False, True])
def test_default_gradient_does_not_fade_with_a_large_constant(share, added):
    costs, allowed, g = assignment_problem(share=share)
    f = pg(assign, cost_ndims=2)
    norms = []
    for M in MS:
        c = costs + M * ~allowed if added else torch.where(allowed, costs, torch.tensor(M).double())
        norms.append(float(cost_gradient(f, [c], [g * allowed])[0].norm()))
    assert max(norms) < 1.01 * min(norms)


@pytest.mark.parametrize("estimator", [Blackbox(), CentralDifference(1.0), NegativeIdentity(), PerturbedOptimizer()])
def test_masked_gradient_ignores_the_constant_and_is_zero_at_forbidden_entries(estimator):
    costs, allowed, g = assignment_problem()
    found = []
    for M in MS:
        rng = torch.Generator().manual_seed(0)
        f = pg(assign, estimator=estimator, cost_ndims=2, generator=rng)
        leaf = torch.where(allowed, costs, torch.tensor(M).double()).requires_grad_()
        f(leaf, mask=allowed).backward(g)
        found.append(leaf.grad)
        assert leaf.grad[allowed].any()
        assert not leaf.grad[~allowed].any()
    assert torch.allclose(found[0], found[1], atol=1e-9)
    assert torch.allclose(found[0], found[2], atol=1e-9)


def test_nested_lists_of_the_shape_of_one_instance_are_a_mask_for_all():
    """A batch has as many instances as the mask has rows, which once gave each instance one row."""
    costs, allowed, g = assignment_problem()
    costs, allowed, g = costs[:6], allowed[0], g[:6]
    f = pg(assign, cost_ndims=2)
    masks = allowed, allowed.tolist(), [allowed] * 6, [allowed.tolist()] * 6
    found = [cost_gradient(f, [torch.where(allowed, costs, 50.0)], [g], mask=mask)[0] for mask in masks]
    for grad in found:
        assert torch.equal(grad, found[0])
    with pytest.raises(ValueError, match="mask must have the shape"):
        f(costs, mask=[[True, False]] * 6)


def test_masked_problem_equals_the_smaller_problem():
    """The arg-min over five items with two of them masked equals the arg-min over the other three."""
    c, g = costs_and_gradient(0, (4, 5), (4, 5))
    allowed = torch.tensor([True, False, True, True, False])
    large = torch.where(allowed, c, torch.tensor(7.0).double())
    for estimator in (Blackbox(), NegativeIdentity("std"), NegativeIdentity("mean"), NegativeIdentity("norm")):
        f = pg(argmin_one_hot, estimator=estimator, cost_ndims=1)
        (alone,) = cost_gradient(f, [c[:, allowed]], [g[:, allowed]])
        for mask in (allowed, allowed.expand(4, 5), allowed.numpy(), [allowed] * 4):
            leaf = large.clone().requires_grad_()
            f(leaf, mask=mask).backward(g)
            assert torch.allclose(leaf.grad[:, allowed], alone)
    normalised = pg(argmin_one_hot, estimator=Blackbox(0.5), cost_ndims=1, normalize=True, mask=allowed)
    (alone,) = cost_gradient(
        pg(argmin_one_hot, estimator=Blackbox(0.5), cost_ndims=1, normalize=True), [c[:, allowed]], [g[:, allowed]]
    )
    assert torch.allclose(cost_gradient(normalised, [large], [g])[0][:, allowed], alone)


def test_mask_may_name_keyword_data_of_the_solver():
    costs, allowed, g = assignment_problem()

    def masked(costs, *, allowed):
        return assign(np.where(allowed, costs, 1e6))

    inside = pg(masked, cost_ndims=2, per_instance=["allowed"], mask="allowed")
    outside = pg(assign, cost_ndims=2, mask="where")
    leaves = [costs.clone().requires_grad_(), (costs + 1e3 * ~allowed).requires_grad_()]
    inside(leaves[0], allowed=allowed).backward(g)
    outside(leaves[1], where=allowed).backward(g)
    assert torch.allclose(leaves[0].grad, leaves[1].grad)


def test_solver_with_a_mask_argument_receives_it():
    seen = []

    def solver(c, *, mask):
        seen.append(mask)
        return argmin_one_hot(c)

    pg(solver)(torch.rand(3), mask="mine")
    pg(lambda c, **data: seen.append(data["mask"]) or argmin_one_hot(c))(torch.rand(3), mask="mine too")
    assert seen == ["mine", "mine too"]


def test_masks_work_with_several_costs_lifts_vmap_and_losses():
    graph = grid_graph((2, 3))
    nodes, edges = costs_and_gradient(0, (2, 6, 2), (2, 7))
    mask = np.ones((6, 2), bool)
    mask[0, 1] = False
    nodes[:, 0, 1] = 1e5
    for lift in (None, LiftedMWC()):
        leaf = nodes.clone().requires_grad_()
        z, *_ = pg(amwc, lift=lift, mask=(mask, None))(leaf, edges, graph=graph, partitionable=[1])
        (z * torch.randn(z.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
        assert not leaf.grad[:, 0, 1].any()
        assert leaf.grad.abs().max() > 1e-3
    c, g = costs_and_gradient(0, (3, 4, 5), (3, 4, 5))
    allowed = torch.tensor([True, False, True, True, True])
    c[..., 1] = 50
    f = pg(argmin_one_hot, cost_ndims=1, mask=allowed)
    found = torch.func.vmap(torch.func.grad(lambda c, g: (f(c) * g).sum()))(c, g)
    expected = torch.stack([cost_gradient(f, [a], [b])[0] for a, b in zip(c, g, strict=True)])
    assert torch.allclose(found, expected)
    loss = solver_loss(argmin_one_hot, FenchelYoung(10.0, 50), cost_ndims=1, mask=allowed)
    leaf = c[0].clone().requires_grad_()
    loss(leaf, target=torch.eye(5)[[0, 0, 0, 0]]).backward()
    assert leaf.grad.any()
    assert not leaf.grad[:, 1].any()


@pytest.mark.parametrize("vectorized", [False, True])
def test_empty_batch_is_accepted(vectorized):
    def rows(c):
        return np.eye(c.shape[-1])[c.argmin(-1)]

    f = pg(rows, cost_ndims=1, vectorized=vectorized)
    leaf = torch.zeros(0, 5, requires_grad=True)
    f(leaf, mask=torch.ones(0, 5, dtype=torch.bool)).sum().backward()
    assert leaf.grad.shape == (0, 5)


@pytest.mark.parametrize("estimator", [Blackbox(), CentralDifference(Relative(1.0))])
def test_masks_work_with_a_vectorized_solver(estimator):
    def rows(c):
        return np.eye(c.shape[-1])[c.argmin(-1)]

    c, g = costs_and_gradient(0, (4, 5), (4, 5))
    allowed = torch.rand(4, 5, generator=torch.Generator().manual_seed(0)) > 0.4
    allowed[:, 0] = True
    c[~allowed] = 100.0
    found = []
    for f in (
        pg(rows, estimator=estimator, cost_ndims=1, vectorized=True),
        pg(rows, estimator=estimator, cost_ndims=1),
    ):
        leaf = c.clone().requires_grad_()
        f(leaf, mask=allowed).backward(g)
        found.append(leaf.grad)
    assert torch.equal(*found)
    assert found[0].any()


def test_wrong_masks_are_refused():
    c = torch.rand(4, 5)
    f = pg(argmin_one_hot, cost_ndims=1)
    with pytest.raises(TypeError, match="mask must be boolean, True where an entry is allowed, got dtype int64"):
        f(c, mask=torch.ones(5, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"mask must have the shape of the costs, \(5,\) for one instance, got \(3,\)"):
        f(c, mask=torch.ones(3, dtype=torch.bool))
    with pytest.raises(TypeError, match="mask='allowed' names no keyword data of this call"):
        pg(argmin_one_hot, mask="allowed")(c[0])
    with pytest.raises(TypeError, match="for each of the 2 costs"):
        pg(amwc, mask=np.ones((2, 2), bool))(torch.rand(2, 2), torch.rand(1), graph=[(0, 1)], partitionable=[])


class TestDominatingEntries:
    def test_ordinary_costs_have_no_dominating_entries(self):
        rng = np.random.default_rng(0)
        draws = [rng.normal, rng.uniform, rng.exponential, rng.laplace]
        for draw in draws:
            for size in (1, 2, 3, 5, 10, 40, 1000):
                for _ in range(200):
                    assert dominating(draw(size=(size,))) == np.inf
        for special in ([0.0, 0, 1], [1.0, 1, 1], [0.0, 0.4, 0.9, 5.0], [], [0.0], [1.0, -1, 1, -1], [0.1, 100.0]):
            assert dominating(np.array(special)) == np.inf

    @pytest.mark.parametrize("scale", [1e-200, 1e-3, 1.0, 7.0, 1e200])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_constants_for_forbidden_entries_dominate_at_any_scale(self, scale, dtype):
        if dtype == np.float32 and not 1e-30 < scale < 1e30:
            scale = float(np.sqrt(scale)) ** 0.3
        rng = np.random.default_rng(0)
        ordinary = rng.uniform(size=30)
        for M in (10.0, -50.0, 1e6):
            for above in (np.full(4, M), M + rng.uniform(size=4)):
                array = (np.concatenate([ordinary, above]) * scale).astype(dtype)
                rng.shuffle(array)
                assert dominating(array) == pytest.approx(np.abs(above).min() * scale, rel=1e-5)

    def test_few_ordinary_entries_need_a_larger_gap(self):
        assert dominating(np.array([1.0, 2.0, 30.0])) == np.inf
        assert dominating(np.array([1.0, 2.0, 1e6])) == 1e6

    def test_a_single_large_entry_among_many_does_not_dominate(self):
        many = np.random.default_rng(0).uniform(size=10_000)
        assert dominating(np.append(many, 10.0)) == np.inf
        assert dominating(np.append(many, 1e4)) == 1e4

    def test_noise_does_not_allow_forbidden_entries(self):
        costs, allowed, _ = assignment_problem()
        f = pg(assign, estimator=IMLE(1.0, samples=3), cost_ndims=2, generator=torch.Generator().manual_seed(0))
        assert not f(costs + 1e3 * ~allowed, mask=allowed)[~allowed].any()
