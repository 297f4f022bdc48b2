"""Gradients and losses of solvers that maximise agree with closed forms and with minimisers of negated costs."""

import numpy as np
import pytest
import torch
from routes import argmin_one_hot, cost_gradient, costs_and_gradient

from diffcomb import (
    IMLE,
    LPGD,
    Blackbox,
    CentralDifference,
    Contrastive,
    FenchelYoung,
    Gumbel,
    NegativeIdentity,
    PerturbedOptimizer,
    Ranking,
    SPOPlus,
    StraightThrough,
    StructuredSVM,
    amwc,
    diagnose,
    gradcheck,
    solver_loss,
)
from diffcomb import perturbed_grad as pg
from diffcomb.gradients import GradcheckError

ESTIMATORS = [
    Blackbox((0.5, 3.0)),
    Blackbox(repair=True),
    CentralDifference(2.0),
    LPGD(2.0, rho=3.0),
    IMLE(2.0, samples=3),
    PerturbedOptimizer(0.5, 4),
    PerturbedOptimizer(0.5, 4, multiplicative=True),
    NegativeIdentity(),
    StraightThrough(),
]
LOSSES = [FenchelYoung(0.5, 3), SPOPlus(), StructuredSVM(), Contrastive("map"), Ranking("pairwise"), Ranking()]


def largest(scores):
    return np.eye(len(scores))[scores.argmax()]


def gen():
    return torch.Generator().manual_seed(0)


@pytest.mark.nojit
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("radial", [True, False])
def test_estimators_agree_with_negated_costs_of_a_minimiser(estimator, radial):
    c, g = costs_and_gradient(0, (6, 5), (6, 5))
    f = pg(largest, estimator=estimator, cost_ndims=1, generator=gen(), maximize=True, radial=radial)
    smallest = pg(argmin_one_hot, estimator=estimator, cost_ndims=1, generator=gen(), radial=radial)
    (found,) = cost_gradient(f, [c], [g])
    (expected,) = cost_gradient(lambda c: smallest(-c), [c], [g])
    assert torch.equal(found, expected)
    assert found.any()


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_agree_with_negated_costs_of_a_minimiser(loss):
    c, true = costs_and_gradient(0, (6, 5), (6, 5))
    leaves = [c.clone().requires_grad_() for _ in range(2)]
    fresh = type(loss)(**{k: v for k, v in vars(loss).items() if k != "pool"})
    f = solver_loss(largest, loss, cost_ndims=1, generator=gen(), maximize=True)
    smallest = solver_loss(argmin_one_hot, fresh, cost_ndims=1, generator=gen())
    values = f(leaves[0], true_costs=true), smallest(-leaves[1], true_costs=-true)
    assert torch.equal(*values)
    for value in values:
        value.backward()
    assert torch.equal(leaves[0].grad, leaves[1].grad)
    assert leaves[0].grad.any()


@pytest.mark.nojit
def test_gradient_matches_the_closed_form():
    f = pg(largest, estimator=Blackbox(lambdas=4.0), maximize=True)
    c = torch.tensor([0.0, -1.0, -5.0], requires_grad=True)
    f(c)[0].backward()  # the loss is 1 if item 0 is chosen, else 0
    assert c.grad.tolist() == [0.25, -0.25, 0.0]  # descent lowers the score of item 0


def test_gumbel_noise_gives_the_softmax_and_its_jacobian():
    (c,) = costs_and_gradient(0, (4,))

    def rows(scores):
        return np.eye(4)[scores.argmax(1)]

    f = pg(
        rows, estimator=PerturbedOptimizer(1.0, 40_000, Gumbel()), cost_ndims=1, vectorized=True, generator=gen(),
        maximize=True,
    )  # fmt: skip
    p = torch.softmax(c, -1)
    assert torch.allclose(f(c), p, atol=0.02)
    jacobian = torch.func.jacrev(f)(c)
    assert torch.allclose(jacobian, torch.diag(p) - torch.outer(p, p), atol=0.03)
    identity = pg(lambda c: c, estimator=PerturbedOptimizer(0.5, 4), maximize=True)
    assert identity.options.solver.maximize


@pytest.mark.parametrize("loss", [FenchelYoung(0.5, 20), SPOPlus(), StructuredSVM(), Contrastive()])
def test_descent_finds_the_target(loss):
    _, true = costs_and_gradient(0, (1,), (6, 5))
    leaf = torch.zeros(6, 5, dtype=torch.float64, requires_grad=True)
    f = solver_loss(largest, loss, cost_ndims=1, generator=gen(), maximize=True)
    optimizer = torch.optim.SGD([leaf], 1.0)
    for _ in range(100):
        optimizer.zero_grad()
        f(leaf, true_costs=true).backward()
        optimizer.step()
    assert torch.equal(leaf.argmax(1), true.argmax(1))


def test_gradcheck_and_diagnose_support_maximisation():
    c, g = costs_and_gradient(0, (8, 5), (8, 5))
    f = pg(largest, cost_ndims=1, maximize=True)
    for estimator in (Blackbox((0.1, 1.0, 10.0)), CentralDifference((0.5, 3.0)), LPGD(2.0, envelope="upper")):
        assert gradcheck(f, c, estimator=estimator)
    with pytest.raises(GradcheckError):
        gradcheck(pg(argmin_one_hot, cost_ndims=1, maximize=True), c, estimator=Blackbox((0.1, 1.0, 10.0)))
    found = diagnose(f, c, grads=g, scales=[0.3, 3.0], verbose=False)
    other = diagnose(pg(argmin_one_hot, cost_ndims=1), -c, grads=g, scales=[0.3, 3.0], verbose=False)
    assert np.array_equal(found.unchanged, other.unchanged)
    assert not found.inversions.any()
    assert (found.radial[1:] > 0).all()


def test_relaxation_receives_the_costs_of_the_user():
    seen = []

    def relaxation(c):
        seen.append(c.detach().clone())
        return torch.softmax(c, -1)

    c = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
    pg(largest, estimator=StraightThrough(relaxation), maximize=True)(c)[0].backward()
    (expected,) = torch.autograd.grad(
        torch.softmax(leaf := torch.tensor([1.0, 2.0, 4.0], requires_grad=True), -1)[0], leaf
    )
    assert seen[0].tolist() == [1, 2, 4]
    assert torch.allclose(c.grad, expected)


def test_maximize_is_refused_for_solvers_of_this_package():
    with pytest.raises(ValueError, match="amwc minimises"):
        pg(amwc, maximize=True)
