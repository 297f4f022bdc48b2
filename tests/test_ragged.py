"""Instances of different sizes, in lists or concatenated, give the results of single calls."""

import numpy as np
import pytest
import torch
from routes import argmin_one_hot, costs_and_gradient

from diffcomb import (
    IMLE,
    Blackbox,
    CentralDifference,
    FenchelYoung,
    LiftedMWC,
    NegativeIdentity,
    SPOPlus,
    StructuredSVM,
    amwc,
    multicut,
    solver_loss,
)
from diffcomb import perturbed_grad as pg

pytestmark = pytest.mark.nojit

SIZES = (3, 6, 1, 4)
PTR = np.cumsum([0, *SIZES])
ESTIMATORS = [Blackbox(), Blackbox((0.5, 30.0)), CentralDifference(2.0), NegativeIdentity()]


def shifted(costs, *, shift=0.0, all_alike=0.0):
    return argmin_one_hot(costs + shift + all_alike), {"size": len(costs)}


def problems(dtype=torch.float64):
    values = costs_and_gradient(0, *[(n,) for n in SIZES + SIZES])
    return [c.to(dtype) for c in values[: len(SIZES)]], [g.to(dtype) for g in values[len(SIZES) :]]


def leaves_of(costs):
    return [c.clone().requires_grad_() for c in costs]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    "options", [{}, dict(cost_ndims=1), dict(cost_ndims=1, parallel="threads"), dict(radial=False)]
)
def test_lists_and_offsets_give_the_results_of_single_calls(estimator, options):
    costs, grads = problems()
    shifts = [np.arange(n, dtype=float)[::-1] for n in SIZES]
    single, batch = (pg(shifted, estimator=estimator, per_instance=p, **options) for p in ((), ["shift"]))
    expected, found = leaves_of(costs), leaves_of(costs)
    for c, g, s in zip(expected, grads, shifts, strict=True):
        single(c, shift=s, all_alike=0.5)[0].backward(g)
    solutions, infos = batch(found, shift=shifts, all_alike=0.5)
    assert infos == [{"size": n} for n in SIZES]
    torch.autograd.backward(solutions, grads)
    whole = torch.cat(costs).requires_grad_()
    w, infos = batch(whole, ptr=torch.tensor(PTR), shift=shifts, all_alike=0.5)
    assert infos == [{"size": n} for n in SIZES]
    w.backward(torch.cat(grads))
    for b, (a, e) in enumerate(zip(found, expected, strict=True)):
        assert torch.equal(solutions[b], single(costs[b], shift=shifts[b], all_alike=0.5)[0])
        assert torch.equal(a.grad, e.grad)
    assert torch.equal(w, torch.cat(solutions))
    assert torch.equal(whole.grad, torch.cat([e.grad for e in expected]))
    assert any(e.grad.any() for e in expected)


def test_only_instances_that_require_grad_get_a_gradient():
    costs, _ = problems()
    leaves = leaves_of(costs)
    leaves[1].requires_grad_(False)
    solutions = pg(argmin_one_hot, estimator=NegativeIdentity("none"))(leaves)
    solutions[0].sum().backward()
    assert leaves[0].grad.tolist() == [-1] * 3
    assert leaves[1].grad is None
    assert not leaves[3].grad.any()


@pytest.mark.parametrize("lift", [None, LiftedMWC(spare=1)])
def test_several_costs_and_graphs_may_be_lists_with_and_without_a_lift(lift):
    graphs = [[(0, 1), (1, 2)], [(0, 1), (1, 2), (2, 3), (0, 3)]]
    nodes, edges = costs_and_gradient(0, (3, 2), (4, 2)), costs_and_gradient(1, (2,), (4,))
    f = pg(amwc, lift=lift, per_instance=["graph"])
    a, b = leaves_of(nodes), leaves_of(edges)
    z, y, *auxiliary = f(a, b, graph=graphs, partitionable=[1])
    weights = [torch.randn(w.shape, generator=torch.Generator().manual_seed(0), dtype=w.dtype) for w in z]
    torch.autograd.backward(z, weights)
    for i in range(2):
        n, e = nodes[i].clone().requires_grad_(), edges[i].clone().requires_grad_()
        one, cut, *rest = pg(amwc, lift=lift)(n, e, graph=graphs[i], partitionable=[1])
        one.backward(weights[i])
        assert torch.equal(one, z[i])
        assert torch.equal(cut, y[i])
        assert torch.equal(rest[0], auxiliary[0][i])
        assert torch.equal(n.grad, a[i].grad)
        assert torch.equal(e.grad, b[i].grad)
    if lift is None:
        x, *_ = f(torch.cat(nodes), torch.cat(edges), ptr=([0, 3, 7], [0, 2, 6]), graph=graphs, partitionable=[1])
        assert torch.equal(x, torch.cat(z))
    else:
        with pytest.raises(ValueError, match="ptr= cannot be given with a lift"):
            f(torch.cat(nodes), torch.cat(edges), ptr=([0, 3, 7], [0, 2, 6]), graph=graphs, partitionable=[1])


def test_lists_work_with_other_dtypes_numpy_noise_and_masks():
    costs, _ = problems(torch.float16)
    assert {w.dtype for w in pg(argmin_one_hot)(costs)} == {torch.float16}
    arrays = [c.double().numpy() for c in costs]
    assert all(isinstance(w, np.ndarray) and w.sum() == 1 for w in pg(argmin_one_hot)(arrays))
    assert isinstance(pg(argmin_one_hot)(np.concatenate(arrays), ptr=PTR), np.ndarray)
    assert pg(argmin_one_hot)([]) == []
    assert pg(argmin_one_hot)(torch.zeros(0), ptr=[0]).shape == (0,)
    noisy = pg(argmin_one_hot, estimator=IMLE(1.0, samples=4), generator=torch.Generator().manual_seed(0))
    assert [w.shape for w in noisy([c.float() for c in costs])] == [c.shape for c in costs]
    allowed = [
        np.arange(n) != int(c.argmin()) if n > 1 else np.ones(1, bool) for n, c in zip(SIZES, costs, strict=True)
    ]
    leaves = leaves_of([c.double() for c in costs])
    torch.autograd.backward(pg(argmin_one_hot)(leaves, mask=allowed), [torch.randn(n).double() for n in SIZES])
    assert all(not leaf.grad[~torch.tensor(m)].any() for leaf, m in zip(leaves, allowed, strict=True))


def test_infinite_gradients_reach_only_their_instance():
    costs, grads = problems()
    grads[1][0] = np.inf
    leaves = leaves_of(costs)
    torch.autograd.backward(pg(argmin_one_hot)(leaves), grads)
    assert [bool(leaf.grad.isfinite().all()) for leaf in leaves] == [True, False, True, True]


def test_error_names_its_instance():
    def fails(c):
        if len(c) == 6:
            raise OSError("no licence")
        return argmin_one_hot(c)

    with pytest.raises(OSError, match="no licence") as caught:
        pg(fails)(problems()[0])
    assert "instance 1 of 4" in "\n".join(caught.value.__notes__)
    with pytest.raises(ValueError, match=r"costs\[0\] of instance 2 must be finite"):
        pg(argmin_one_hot)([torch.ones(2), torch.ones(3), torch.full((1,), np.nan)])


@pytest.mark.parametrize("kind", [torch.from_numpy, np.asarray])
def test_masks_and_known_costs_may_be_concatenated_as_the_costs_are(kind):
    costs, g = problems()
    g = [-part for part in g]  # which moves the minimum of two instances
    allowed = [np.arange(n) != 0 if n > 1 else np.ones(1, bool) for n in SIZES]
    costs = [c + 50.0 * torch.from_numpy(~a) for c, a in zip(costs, allowed, strict=True)]
    known = [np.linspace(0, 1, n) for n in SIZES]

    def solve(costs, *, allowed):
        return argmin_one_hot(costs + 1e-3 * allowed)

    for f, name, parts, as_it_is in (
        (pg(argmin_one_hot, estimator=Blackbox(30.0)), "mask", allowed, allowed),
        (pg(argmin_one_hot, estimator=Blackbox(30.0), mask="free"), "free", allowed, allowed),
        (pg(argmin_one_hot, estimator=Blackbox(30.0, repair=True), known_costs="d"), "d", known, known),
        (pg(solve, estimator=Blackbox(30.0), mask="allowed", per_instance=["allowed"]), "allowed", allowed, None),
    ):
        lists, whole = leaves_of(costs), torch.cat(costs).requires_grad_()
        torch.autograd.backward(f(lists, **{name: parts}), g)
        value = kind(np.concatenate(as_it_is)) if as_it_is else parts
        f(whole, ptr=PTR, **{name: value}).backward(torch.cat(g))
        assert torch.equal(whole.grad, torch.cat([c.grad for c in lists]))
        assert whole.grad.any()


def test_several_costs_take_a_tuple_of_concatenated_masks():
    (nodes, _), (edges, _) = (costs_and_gradient(seed, (7,), (7,)) for seed in (0, 1))

    def both(a, b):
        return argmin_one_hot(a), argmin_one_hot(b)

    free = torch.tensor([1, 1, 0, 1, 1, 0, 1]).bool()
    a, b = nodes + 50.0 * ~free, edges.clone()
    grads = []
    for mask, costs in (((free, None), (a, b)), (([free[:3], free[3:]], None), (a, b))):
        leaves = [c.clone().requires_grad_() for c in costs]
        x, y = pg(both, estimator=Blackbox(30.0))(*leaves, ptr=[0, 3, 7], mask=mask)
        (x @ edges + y @ nodes).backward()
        grads.append([c.grad for c in leaves])
    assert all(map(torch.equal, *grads))
    assert not grads[0][0][~free].any()
    with pytest.raises(ValueError, match="mask must have the shape"):
        pg(both)(a, b, ptr=[0, 3, 7], mask=(free[:5], None))


def test_solver_with_a_ptr_argument_receives_it():
    seen = []
    pg(lambda c, *, ptr: seen.append(ptr) or argmin_one_hot(c))(torch.rand(3), ptr=[0, 3])
    assert seen == [[0, 3]]


def test_bad_input_is_refused():
    costs, _ = problems()
    f = pg(argmin_one_hot, cost_ndims=1)
    for ptr, message in (
        ([0, 3], "must rise from 0 to the length of costs"),
        ([1, 14], "must rise from 0"),
        ([0, 9, 4, 14], "must rise from 0"),
        ([0.0, 14.0], "must be integers"),
    ):
        with pytest.raises(ValueError, match=message):
            f(torch.cat(costs), ptr=ptr)
    with pytest.raises(ValueError, match="a vectorized solver takes one array for all instances"):
        pg(argmin_one_hot, cost_ndims=1, vectorized=True)(costs)
    with pytest.raises(ValueError, match="one item for each instance, got"):
        pg(amwc)([torch.rand(2, 2)], [torch.rand(1)] * 2, graph=[(0, 1)])
    with pytest.raises(ValueError, match="costs of instance 1 must have"):
        f([torch.rand(3), torch.rand(3, 3)])
    with pytest.raises(ValueError, match="one item for each of 4"):
        pg(shifted, per_instance=["shift"])(costs, shift=[0.0])
    with pytest.raises(TypeError, match="cannot be mapped by vmap"):
        torch.func.vmap(lambda a, b: pg(argmin_one_hot)([a, b])[0])(torch.rand(2, 3), torch.rand(2, 4))
    loss = solver_loss(argmin_one_hot, FenchelYoung())
    with pytest.raises(ValueError, match="target must be a list of 4 items"):
        loss(costs, target=costs[:3])
    with pytest.raises(ValueError, match=r"must have shape \(6,\), got \(3,\)"):
        loss(costs, target=[costs[0]] * 4)
    with pytest.raises(ValueError, match="one item for each instance, got"):
        loss([], target=[])


@pytest.mark.parametrize("loss", [FenchelYoung(0.5, 3), SPOPlus(), StructuredSVM()])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_accept_lists(loss, reduction):
    costs, true = problems()
    shifts = [np.arange(n, dtype=float)[::-1] for n in SIZES]

    def solver(costs, *, shift):
        return argmin_one_hot(costs + shift)

    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    f = solver_loss(solver, loss, per_instance=["shift"], reduction=reduction, generator=generators[0])
    one = solver_loss(solver, loss, generator=generators[1])
    weights = {"mean": [0.25] * 4, "sum": [1.0] * 4, "none": [1.0, -2.0, 3.0, 0.5]}[reduction]
    leaves, expected = leaves_of(costs), leaves_of(costs)
    value = f(leaves, true_costs=true, shift=shifts)
    singles = [one(c, true_costs=t, shift=s) for c, t, s in zip(expected, true, shifts, strict=True)]
    total = sum(w * v for w, v in zip(weights, singles, strict=True))
    (value @ torch.tensor(weights).double() if reduction == "none" else value).backward()
    total.backward()
    assert torch.allclose(value.sum() if reduction == "none" else value, sum(singles) if reduction == "none" else total)
    for a, b in zip(leaves, expected, strict=True):
        assert torch.allclose(a.grad, b.grad)
    assert any(leaf.grad.any() for leaf in leaves)


def test_loss_of_several_costs_and_a_lift_accepts_lists():
    graphs = [[(0, 1), (1, 2)], [(0, 1), (1, 2), (2, 3), (0, 3)]]
    nodes, edges = costs_and_gradient(0, (3, 2), (4, 2)), costs_and_gradient(1, (2,), (4,))
    true = costs_and_gradient(2, (3, 2), (4, 2)), costs_and_gradient(3, (2,), (4,))
    for lift in (None, LiftedMWC()):
        f = solver_loss(amwc, StructuredSVM(), lift=lift, per_instance=["graph"], reduction="sum")
        one = solver_loss(amwc, StructuredSVM(), lift=lift)
        found, expected = leaves_of(nodes), leaves_of(nodes)
        f(found, edges, true_costs=true, graph=graphs, partitionable=[1]).backward()
        for i in range(2):
            one(
                expected[i], edges[i], true_costs=(true[0][i], true[1][i]), graph=graphs[i], partitionable=[1]
            ).backward()
            assert torch.allclose(found[i].grad, expected[i].grad)


def test_concatenated_arrays_get_arrays_of_every_output():
    y, z = pg(multicut, per_instance=["graph"])(
        np.array([1.0, -1.0, 2.0]), ptr=[0, 2, 3], graph=[[(0, 1), (1, 2)], [(0, 1)]]
    )
    assert isinstance(y, np.ndarray)
    assert [type(part) for part in z] == [np.ndarray, np.ndarray]
    assert [part.tolist() for part in z] == [[0, 0, 1], [0, 0]]
