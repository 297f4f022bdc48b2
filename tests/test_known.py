"""A solver may add costs of its own; once they are named, repair, gradcheck, diagnose and losses include them."""

import numpy as np
import pytest
import torch
from routes import argmin_one_hot, cost_gradient, costs_and_gradient

from diffcomb import (
    Blackbox,
    CentralDifference,
    Contrastive,
    FenchelYoung,
    LiftedMWC,
    Ranking,
    SPOPlus,
    StructuredSVM,
    amwc,
    diagnose,
    gradcheck,
    solver_loss,
)
from diffcomb import perturbed_grad as pg
from diffcomb.gradients import GradcheckError

pytestmark = pytest.mark.nojit

D = np.array([3.0, 0.0, -2.0, 1.0, -1.0])


def with_known(costs):
    return argmin_one_hot(costs + D)


def with_data(costs, *, extra):
    return argmin_one_hot(costs + extra)


def with_setup(costs, *, price):
    """Choose any set of items; the price of a set grows with the square of its size, so the objective is not linear."""
    sets = np.array([[(i >> k) & 1 for k in range(len(costs))] for i in range(2 ** len(costs))], float)
    return sets[(sets @ costs + price * sets.sum(1) ** 2).argmin()]


def setup_value(costs, solution, *, price):
    return float(costs @ solution) + price * float(solution.sum()) ** 2


WAYS = {
    "an array": (pg(with_known, cost_ndims=1, known_costs=D), {}),
    "keyword data": (pg(with_data, cost_ndims=1, known_costs="extra"), dict(extra=D)),
    "keyword data of each": (
        pg(with_data, cost_ndims=1, known_costs="extra", per_instance=["extra"]), dict(extra=np.stack([D] * 8)),
    ),
    "a value": (pg(with_known, cost_ndims=1, value=lambda c, w: (c + D) @ w), {}),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("estimator", [Blackbox((0.5, 3.0)), Blackbox((0.5, 3.0), repair=True), CentralDifference(2.0)])
def test_known_costs_inside_the_solver_equal_costs_added_outside(way, estimator):
    c, g = costs_and_gradient(0, (8, 5), (8, 5))
    f, data = WAYS[way]
    f = type(f)(f.options.solver.function, f.options, estimator)
    outside = pg(argmin_one_hot, estimator=estimator, cost_ndims=1)
    (found,) = cost_gradient(f, [c], [g], **data)
    (expected,) = cost_gradient(lambda c: outside(c + torch.tensor(D)), [c], [g])
    assert torch.allclose(found, expected)
    assert expected.any()


def test_relative_scales_include_known_costs():
    c, g = costs_and_gradient(0, (8, 5), (8, 5))
    (found,) = cost_gradient(pg(with_known, cost_ndims=1, known_costs=D), [c], [g])
    outside = pg(argmin_one_hot, cost_ndims=1)
    assert torch.allclose(found, cost_gradient(lambda c: outside(c + torch.tensor(D)), [c], [g])[0])


@pytest.mark.parametrize("way", WAYS)
def test_gradcheck_and_diagnose_include_known_costs(way):
    c, g = costs_and_gradient(0, (8, 5), (8, 5))
    f, data = WAYS[way]
    estimator = Blackbox((0.1, 1.0, 10.0))
    assert gradcheck(f, c, estimator=estimator, **data)
    found = diagnose(f, c, grads=g, scales=[0.1, 1.0, 3.0], verbose=False, **data)
    assert not found.inversions.any()
    unnamed = pg(with_known, cost_ndims=1)
    assert diagnose(unnamed, c, grads=g, scales=[0.1, 1.0, 3.0], verbose=False).inversions.any()
    with pytest.raises(GradcheckError):
        gradcheck(unnamed, c, estimator=estimator)


def test_value_may_have_a_part_that_is_not_linear():
    c, g = costs_and_gradient(1, (6, 4), (6, 4))
    f = pg(with_setup, cost_ndims=1, value=setup_value)
    assert gradcheck(f, 2 * c, estimator=Blackbox((0.1, 1.0, 10.0)), price=0.3)
    with pytest.raises(GradcheckError):
        gradcheck(pg(with_setup, cost_ndims=1), 2 * c, estimator=Blackbox((0.1, 1.0, 10.0)), price=0.3)
    plain, repaired = (
        cost_gradient(pg(with_setup, estimator=Blackbox((0.5, 2.0), repair=r), cost_ndims=1, value=setup_value), [c], [g], price=0.3)
        for r in (False, True)
    )  # fmt: skip
    assert torch.allclose(plain[0], repaired[0])  # repair does not affect an exact solver
    (wrong,) = cost_gradient(
        pg(with_setup, estimator=Blackbox((0.5, 2.0), repair=True), cost_ndims=1), [c], [g], price=0.3
    )
    assert not torch.allclose(wrong, plain[0])


@pytest.mark.parametrize("kind", ["array", "value"])
@pytest.mark.parametrize("loss", [FenchelYoung(0.5, 3), SPOPlus(), StructuredSVM(), Contrastive("nce"), Contrastive("map"), Ranking(), Ranking("pointwise")])  # fmt: skip
def test_losses_include_known_costs(loss, kind):
    c, true = costs_and_gradient(0, (6, 5), (6, 5))
    known = dict(known_costs=D) if kind == "array" else dict(value=lambda c, w: (c + D) @ w)
    fresh = type(loss)(**{k: v for k, v in vars(loss).items() if k != "pool"})
    leaves = [c.clone().requires_grad_() for _ in range(2)]
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    inside = solver_loss(with_known, loss, cost_ndims=1, generator=generators[0], **known)(leaves[0], true_costs=true)
    outside = solver_loss(argmin_one_hot, fresh, cost_ndims=1, generator=generators[1])(
        leaves[1] + torch.tensor(D), true_costs=true + torch.tensor(D)
    )
    assert torch.allclose(inside, outside)
    for value in (inside, outside):
        value.backward()
    assert torch.allclose(leaves[0].grad, leaves[1].grad)


def test_known_costs_work_with_a_solver_that_maximises():
    c, g = costs_and_gradient(0, (8, 5), (8, 5))

    def most(scores):
        return argmin_one_hot(-(scores + D))

    for known in (dict(known_costs=D), dict(value=lambda c, w: (c + D) @ w)):
        f = pg(most, estimator=Blackbox((0.5, 3.0), repair=True), cost_ndims=1, maximize=True, **known)
        (found,) = cost_gradient(f, [c], [g])
        plain = pg(most, estimator=Blackbox((0.5, 3.0)), cost_ndims=1, maximize=True)
        assert torch.allclose(found, cost_gradient(plain, [c], [g])[0])
        assert gradcheck(f, c, estimator=Blackbox((0.1, 1.0, 10.0)))


def test_options_that_exclude_each_other_are_refused():
    for options, message in (
        (dict(known_costs=D, value=setup_value), "not both"),
        (dict(known_costs=D, normalize=True), "assume that solutions do not depend on the scale"),
        (dict(value=setup_value, radial=False), "assume that solutions do not depend on the scale"),
    ):
        with pytest.raises(ValueError, match=message):
            pg(with_known, **options)
    with pytest.raises(ValueError, match="with a lift"):
        pg(amwc, lift=LiftedMWC(), known_costs=D)
    with pytest.raises(TypeError, match="value must be a function"):
        pg(with_known, value=3)
    c = torch.rand(5, requires_grad=True)
    with pytest.raises(TypeError, match="value must return a number"):
        pg(with_known, value=lambda c, w: None, estimator=Blackbox(1.0, repair=True))(c)[0].backward()
    with pytest.raises(ValueError, match="known_costs must be finite"):
        pg(with_known, known_costs=D * np.nan)(c)
    with pytest.raises(ValueError, match="known_costs must have the shape of the costs"):
        pg(with_known, known_costs=D[:3])(c)
