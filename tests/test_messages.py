"""Errors and warnings about solvers that return something wrong, fail, or expect another kind of array."""

import warnings

import numpy as np
import pytest
import torch
from routes import argmin_one_hot

from diffcomb import Blackbox, FenchelYoung, affinities, multicut, probabilities_to_costs, region_graph, solver_loss
from diffcomb import perturbed_grad as pg

pytestmark = pytest.mark.nojit


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([0.0, 1.0, 0.0], "got a list; return np.array"),
        ([[0.0, 1.0, 0.0]], "got a list; return np.array"),
        (None, "got None; is its return statement missing"),
        ({"x": np.zeros(3)}, "got a dict"),
        ((None, 3), "got None as solution 0; is its return statement missing"),
        (({"x": 1},), "got a dict as solution 0"),
        ("optimal", "got a str"),
    ],
)
def test_invalid_return_values_of_a_solver_are_refused(returned, message):
    with pytest.raises(TypeError, match="must return an array for each of its costs, " + message):
        pg(lambda c: returned)(torch.zeros(3))


def test_solver_may_return_a_list_of_arrays():
    x, y = pg(lambda a, b: [a * 0, b * 0])(torch.ones(2), torch.ones(3))
    assert (x.shape, y.shape) == ((2,), (3,))


def notes_of(call, error=Exception):
    with pytest.raises(error) as caught:
        call()
    return "\n".join(caught.value.__notes__)


def test_error_says_whether_the_costs_were_perturbed():
    def fails_on_negative(c):
        if c.min() < 0:
            raise ValueError("negative costs")
        return argmin_one_hot(c)

    f = pg(fails_on_negative, estimator=Blackbox(10.0), cost_ndims=1)
    assert "instance 1 of 2, at the costs given" in notes_of(lambda: f(torch.tensor([[1.0, 2.0], [-1.0, 2.0]])))
    c = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    notes = notes_of(lambda: f(c).backward(torch.tensor([[0.0, 0.0], [-1.0, 0.0]])))
    assert "instance 1 of 2, at perturbed costs" in notes
    assert "was called at the costs given" in notes_of(lambda: pg(fails_on_negative)(-torch.ones(2)))
    loss = solver_loss(fails_on_negative, FenchelYoung(50.0), generator=torch.Generator().manual_seed(0))
    assert "at perturbed costs" in notes_of(lambda: loss(torch.ones(3), target=torch.tensor([1.0, 0, 0])))


def test_error_for_a_wrong_shape_names_the_instance():
    f = pg(lambda c: np.zeros(2) if c[0] > 0 else np.zeros(3), cost_ndims=1)
    assert "instance 1 of 2" in notes_of(lambda: f(torch.tensor([[-1.0, 0, 0], [1.0, 0, 0]])), ValueError)


def test_error_suggests_a_forgotten_cost_ndims():
    batch = torch.rand(4, 5)
    for f in (pg(argmin_one_hot), pg(lambda c: np.zeros(5)), pg(lambda c: c.tolist()[3][7])):
        notes = notes_of(lambda f=f: f(batch))
        assert "give cost_ndims=1" in notes
        assert "(4, 5)" in notes
    assert "give cost_ndims" not in notes_of(lambda: pg(lambda c: 1 / 0)(batch[0]))
    assert "give cost_ndims" not in notes_of(lambda: pg(lambda c: 1 / 0, cost_ndims=2)(batch))


def annotated(costs: torch.Tensor) -> torch.Tensor:
    assert isinstance(costs, torch.Tensor)
    return torch.eye(len(costs))[costs.argmin()]


def optional(costs: "torch.Tensor | None") -> torch.Tensor:
    return annotated(costs)


class Callable:
    def __call__(self, costs: torch.Tensor) -> torch.Tensor:
        return annotated(costs)

    def method(self, costs: torch.Tensor) -> torch.Tensor:
        return annotated(costs)


class Module(torch.nn.Module):
    def forward(self, costs: torch.Tensor) -> torch.Tensor:
        return annotated(costs)


@pytest.mark.parametrize("solver", [annotated, optional, Callable(), Callable().method, Module()])
def test_solver_annotated_with_tensors_gets_tensors(solver):
    assert pg(solver)(torch.tensor([3.0, 1.0])).tolist() == [0, 1]
    with pytest.raises(AssertionError):
        pg(solver, arrays="numpy")(torch.tensor([3.0, 1.0]))


def test_solver_with_other_annotations_gets_numpy_arrays():
    def solver(costs: np.ndarray, *, weights: torch.Tensor) -> torch.Tensor:
        assert isinstance(costs, np.ndarray)
        return costs * 0

    def unknown(costs: "NoSuchName"):  # noqa: F821
        return costs * 0

    assert pg(solver)(torch.ones(2), weights=torch.ones(2)).tolist() == [0, 0]

    def prose(costs: "an array"):  # noqa: F722
        return costs * 0

    assert pg(unknown)(torch.ones(2)).tolist() == [0, 0]
    assert pg(prose)(torch.ones(2)).tolist() == [0, 0]


def test_returning_tensors_for_arrays_warns_once():
    def solver(costs):
        return torch.eye(len(costs))[int(costs.argmin())]

    f = pg(solver, cost_ndims=1)
    with pytest.warns(UserWarning, match="solver was given numpy arrays and returned torch tensors") as caught:
        f(torch.rand(3, 4))
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f(torch.rand(3, 4))
        pg(solver, arrays="numpy")(torch.rand(4))
        pg(lambda c: torch.eye(4)[int(c.argmin())], arrays="torch")(torch.rand(4))


def test_tensors_without_values_are_refused():
    c = torch.zeros(3, device="meta")
    for call in (lambda: pg(argmin_one_hot)(c), lambda: pg(argmin_one_hot)([c])):
        with pytest.raises(TypeError, match="costs on the device meta have no values"):
            call()
    loss = solver_loss(argmin_one_hot, FenchelYoung())
    with pytest.raises(TypeError, match="costs on the device meta"):
        loss(c, target=c)
    with pytest.raises(TypeError, match=r"target\[0\] on the device meta"):
        loss(torch.ones(3), target=c)


@pytest.mark.parametrize(
    "call",
    [
        lambda masked: multicut([(0, 1)], masked),
        lambda masked: probabilities_to_costs(masked),
        lambda masked: region_graph(masked.astype(int)),
        lambda masked: affinities(masked.astype(int), [(1,)]),
        lambda masked: region_graph(np.arange(1)).accumulate(masked),
    ],
)
def test_masks_of_arrays_are_not_ignored(call):
    with pytest.raises(TypeError, match="must not be a masked array: fill what is masked first"):
        call(np.ma.masked_array([0.5], mask=[True]))
    assert multicut([(0, 1)], np.ma.masked_array([-5.0], mask=[False])).objective == -5  # nothing is masked
