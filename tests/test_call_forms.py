"""Calls in unusual but legitimate forms, and wrong ones that must say what is wrong with them."""

import numpy as np
import pytest
import torch
from routes import argmin_one_hot

from diffcomb import (
    Adaptive,
    Blackbox,
    FenchelYoung,
    Graph,
    LiftedMWC,
    Problem,
    StructuredSVM,
    diagnose,
    gradcheck,
    grid_graph,
    lifted_multicut,
    multicut,
    solver_loss,
)
from diffcomb import perturbed_grad as pg

SVM = solver_loss(argmin_one_hot, StructuredSVM(), cost_ndims=1)


@pytest.mark.parametrize("lifted", [False, True])
def test_a_tiny_upstream_gradient_counts_as_in_float64(lifted):
    """One image of a batch may be saturated: λ then exceeds the largest float32, though λ g is as large as the costs."""
    graph = grid_graph((6, 6))
    rng = torch.Generator().manual_seed(0)
    sizes = (graph.num_edges, 3) if lifted else (graph.num_edges,)
    data = dict(graph=graph, lifted_edges=[(0, 14), (3, 30), (5, 35)]) if lifted else dict(graph=graph)
    f = pg(lifted_multicut if lifted else multicut, estimator=Blackbox([3.0]))
    relative = pg(lifted_multicut if lifted else multicut)
    values = [torch.randn(size, generator=rng) for size in sizes]
    upstream = [torch.randn(size, generator=rng) for size in sizes]
    found = []
    for factor, function in ((1.0, f), (1e-39, f), (1e-39, relative)):
        costs = [v.clone().requires_grad_() for v in values]
        solutions = function(*costs, **data)[: len(sizes)]
        torch.autograd.backward(solutions, [factor * g for g in upstream])
        found.append(torch.cat([c.grad.double() for c in costs]))
        assert found[-1].isfinite().all()
    assert found[0].any()
    assert found[2].any()  # the scale follows the gradient


def test_gradients_below_all_numbers_give_zeros_and_no_error():
    costs = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    (pg(argmin_one_hot)(costs) * torch.tensor([1e-312, -1e-312, 0.0])).sum().backward()
    assert costs.grad.isfinite().all()


def test_a_second_derivative_of_a_loss_is_refused():
    loss = solver_loss(argmin_one_hot, FenchelYoung(1.0, 20), generator=torch.Generator().manual_seed(0))
    costs = torch.tensor([0.1, 0.2, 0.3], requires_grad=True)
    value = loss(costs, target=torch.tensor([0.0, 1.0, 0.0]))
    (gradient,) = torch.autograd.grad(value, costs, create_graph=True)
    with pytest.raises(RuntimeError, match="has no derivative"):
        (value + gradient.pow(2).sum()).backward()
    (again,) = torch.autograd.grad(loss(costs, target=torch.tensor([0.0, 1.0, 0.0])), costs)
    assert not again.requires_grad


def test_masked_arrays_are_refused_as_costs_and_targets():
    masked = np.ma.masked_array([1.0, -5.0, 2.0], [False, True, False])
    with pytest.raises(TypeError, match=r"costs\[0\] must not be a masked array"):
        pg(argmin_one_hot)(masked)
    with pytest.raises(TypeError, match=r"target\[0\] must not be a masked array"):
        SVM(torch.rand(3), target=masked)


@pytest.mark.parametrize("form", [lambda a: a[::-1], lambda a: a.astype(">f8"), lambda a: np.asfortranarray(a)])
def test_targets_take_any_strides_and_byte_order(form):
    costs, target = torch.rand(3, 3), form(np.eye(3))
    assert SVM(costs, target=target) == SVM(costs, target=torch.tensor(target.tolist()))


@pytest.mark.parametrize("value", [np.array(["a", "b", "c"]), np.ones(3, complex)])
def test_targets_that_are_no_numbers_are_named(value):
    with pytest.raises(TypeError, match=r"target\[0\] must"):
        SVM(torch.rand(3), target=value)


def test_costs_that_torch_does_not_know_are_named():
    for costs in (np.array(["a", "b"]), np.array([1.0, 2.0], np.longdouble), np.array([None, 1.0])):
        with pytest.raises(TypeError, match=r"costs\[0\] must hold numbers"):
            pg(argmin_one_hot)(costs)


def test_what_is_not_labelled_may_be_no_number():
    known = np.eye(3) == 1
    costs = torch.rand(3, 3, requires_grad=True)
    found = []
    for filler in (255.0, np.nan, np.inf):
        value = SVM(costs, target=np.where(known, 1.0, filler), labelled=known)
        found.append((value.item(), *torch.autograd.grad(value, costs)))
    for other in found[1:]:
        assert other[0] == found[0][0]
        assert torch.equal(other[1], found[0][1])
    with pytest.raises(ValueError, match="must be finite"):
        SVM(costs, target=np.full((3, 3), np.nan), labelled=known)


def test_a_list_of_numbers_is_a_mask_shared_by_all_as_an_array_is():
    f = pg(argmin_one_hot, cost_ndims=1)
    costs = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    allowed = [True, True, False]
    gradients = []
    for mask in (allowed, np.array(allowed), [allowed] * 3):
        leaf = costs.clone().requires_grad_()
        (f(leaf, mask=mask) * torch.arange(3.0)).sum().backward()
        gradients.append(leaf.grad)
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (dict(eps=float("nan")), "eps must be finite and positive"),
        (dict(eps=0.0), "eps must be finite and positive"),
        (dict(eps="small"), "eps must be a number"),
        (dict(atol=float("nan")), "atol must be finite"),
        (dict(rtol=-1.0), "rtol must be finite and not negative"),
        (dict(directions=0), "directions must be a positive integer"),
        (dict(directions="a"), "directions must be a positive integer"),
    ],
)
def test_a_gradient_check_that_compares_nothing_is_refused(options, error):
    with pytest.raises((TypeError, ValueError), match=error):
        gradcheck(argmin_one_hot, torch.tensor([2.0, 3.0, 1.0]), **options)


def test_gradcheck_takes_arrays_of_any_strides_and_upstream_gradients_as_arrays():
    costs = np.array([[2.0, 3.0, 1.0], [1.0, 0.0, 5.0]])[:, ::-1]
    f = pg(argmin_one_hot, cost_ndims=1, estimator=Blackbox([0.3]))
    assert gradcheck(f, costs, grads=np.array([[0.1, -0.2, 0.3]] * 2)[::-1])


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.bool_, np.float16, ">f4"])
def test_a_lift_adds_values_of_any_dtype(kind):
    values = np.array([[1, 200, 100]]).astype(kind)
    lift = LiftedMWC([0, 1, 1])
    expected = [[float(values[0, 0]), float(values[0, 1]) + float(values[0, 2])]]
    assert lift.project(values).tolist() == expected
    assert lift.project(values.tolist()).tolist() == expected
    if kind != ">f4":
        assert lift.project(torch.tensor(values)).tolist() == expected


def test_a_label_without_a_class_costs_nothing_even_beside_infinite_costs():
    lift = LiftedMWC([0, -1], 1)
    assert lift.lift(np.array([[np.inf]])).tolist() == [[np.inf, 0.0]]
    assert lift.lift(torch.tensor([[np.inf]])).tolist() == [[np.inf, 0.0]]
    assert lift.lift([[2.0]]).tolist() == [[2.0, 0.0]]
    assert LiftedMWC([0], 1, spare=np.int64(2)).spare == 2


def test_auxiliary_outputs_of_lists_need_not_be_numbers():
    f = pg(lambda c: (argmin_one_hot(c), np.array(["a"] * len(c)), np.array(["2020-01-01"], "M8[D]")), cost_ndims=1)
    _, names, days = f([torch.rand(2), torch.rand(3)])
    assert [n.tolist() for n in names] == [["a"] * 2, ["a"] * 3]
    assert days[1].dtype.kind == "M"


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4"])
def test_solutions_have_the_dtype_of_their_costs_in_lists_too(kind):
    f = pg(argmin_one_hot, cost_ndims=1)
    costs = np.array([1, 2, 3], kind)
    assert f(costs).dtype == f([costs])[0].dtype == f(costs, ptr=[0, 1, 3]).dtype == np.dtype(kind)


def test_tensors_with_a_lazy_sign_are_costs_like_others():
    lazy = torch.fft.fft(torch.randn(4, generator=torch.Generator().manual_seed(0))).conj().imag
    assert lazy.is_neg()
    edges = [(0, 1), (1, 2), (2, 3), (0, 3)]
    assert multicut(edges, lazy).objective == multicut(edges, lazy.clone().numpy()).objective


def test_data_for_each_instance_that_have_no_items_are_named():
    f = pg(lambda c, *, k: argmin_one_hot(c * k), cost_ndims=1, per_instance=["k"])
    for wrong in (1, iter([1, 2]), {"a": 1}):
        with pytest.raises(TypeError, match="k must be a list or array with one item for each of 2 instances"):
            f(torch.rand(2, 3), k=wrong)
    with pytest.raises(ValueError, match="k must have one item for each of 2 instances, got 3"):
        f(torch.rand(2, 3), k=[1, 2, 3])
    with pytest.raises(ValueError, match="an empty batch has no k"):
        f(torch.rand(0, 3), k=[])
    assert f([], k=[]) == []


def test_data_for_each_instance_need_no_more_than_a_length_and_items():
    class Items:
        def __len__(self):
            return 2

        def __getitem__(self, at):
            return {0: 1.0, 1: -1.0}[at]

    f = pg(lambda c, *, k: argmin_one_hot(c * k), cost_ndims=1, per_instance=["k"])
    costs = torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    assert torch.equal(f(costs, k=Items()), f(costs, k=[1.0, -1.0]))


def test_an_adaptive_schedule_refuses_a_state_that_is_none():
    for state in ({}, {"alpha": 1.0}, {"alpha": 1.0, "nonzeros": float("nan")}, {"alpha": 0.0, "nonzeros": None}):
        with pytest.raises(ValueError, match=r"state|alpha"):
            Adaptive(1.0).load_state_dict(state)


@pytest.mark.parametrize("kind", [np.float16, np.int64, ">f8", np.longdouble])
def test_a_problem_of_other_floats_is_refused(kind):
    graph, one = Graph(2, [(0, 1)]), np.ones(1, bool)
    with pytest.raises(TypeError, match="node_costs must be float32 or float64"):
        Problem(graph, np.ones((2, 1), kind), np.ones(1), one)
    with pytest.raises(TypeError, match="edge_costs must be float32 or float64"):
        Problem(graph, np.ones((2, 1)), np.ones(1, kind), one)


def test_scales_of_a_diagnosis_are_positive_numbers():
    costs, grads = torch.tensor([2.0, 3.0, 1.0]), torch.tensor([0.1, -0.2, 0.3])
    assert diagnose(argmin_one_hot, costs, grads=grads, scales=1.0, verbose=False).scale.tolist() == [1.0]
    for scales in ("a", [], [[1.0]], [0.0]):
        with pytest.raises(ValueError, match="scales must be positive numbers"):
            diagnose(argmin_one_hot, costs, grads=grads, scales=scales, verbose=False)
