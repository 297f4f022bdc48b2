"""What gradients do in corners of their options, each of which once gave a wrong number or another library's error."""

import numpy as np
import pytest
import torch

from diffcomb import (
    IMLE,
    LPGD,
    Adaptive,
    Blackbox,
    Normal,
    PerturbedOptimizer,
    StructuredSVM,
    diagnose,
    perturbed_grad,
    solver_loss,
)


def five_cheapest(c):
    w = np.zeros_like(c)
    w[np.argsort(c)[:5]] = 1
    return w


def cheapest(c):
    return np.eye(len(c), dtype=c.dtype)[c.argmin()]


class Counted(Adaptive):
    """An adaptive schedule that remembers what it was told."""

    def observe(self, count):
        self.told = (*getattr(self, "told", ()), count)


def backward(f, costs, grad):
    c = torch.tensor(costs, requires_grad=True)
    (f(c) * torch.tensor(grad)).sum().backward()
    return c.grad


@pytest.mark.parametrize("envelope", ["lower", "upper", "average"])
def test_adaptive_scales_count_what_a_scale_of_either_sign_changes(envelope):
    rng = np.random.default_rng(0)
    schedule = Counted(initial=0.5)
    f = perturbed_grad(five_cheapest, estimator=LPGD(schedule, envelope=envelope))
    for _ in range(5):
        c, g = rng.normal(size=20), rng.normal(size=20)
        schedule.told = ()
        backward(f, c, g)
        scale = (-0.5 if envelope == "upper" else 0.5) * np.linalg.norm(c) / np.linalg.norm(g)
        expected = np.count_nonzero(five_cheapest(c + scale * g) != five_cheapest(c))
        assert schedule.told == (expected,)


@pytest.mark.parametrize("factors", [(1e-9, 1.0), (1.0, 1e-9)])
def test_adaptive_scales_compare_opposite_scales_of_the_same_noise(factors):
    rng = np.random.default_rng(0)
    c, g = rng.normal(size=20), rng.normal(size=20)
    schedule = Counted(initial=1.0, factors=factors)
    estimator = IMLE(schedule, central=True, noise=Normal(), sigma=1e-9)
    backward(perturbed_grad(five_cheapest, estimator=estimator, generator=torch.Generator().manual_seed(0)), c, g)
    g *= np.linalg.norm(c) / np.linalg.norm(g)
    counts = [np.count_nonzero(five_cheapest(c + f * g) != five_cheapest(c - f * g)) for f in factors]
    assert schedule.told == (np.mean(counts),)


@pytest.mark.parametrize("rho", [None, 0.1])
@pytest.mark.parametrize("envelope", ["lower", "upper", "average"])
def test_repaired_gradients_never_point_uphill(rho, envelope):
    calls = []

    def heuristic(c):  # its first solution, that of the forward pass, is not the best one
        calls.append(c)
        return cheapest(c) if len(calls) > 1 else np.eye(len(c))[1]

    g = np.array([-1.0, 1.0, 0.0])
    estimator = LPGD([1e-6, 100.0], rho=rho, envelope=envelope, repair=True)
    grad = backward(perturbed_grad(heuristic, estimator=estimator), [0.0, 1.0, 5.0], g).numpy()
    assert g @ grad <= 0
    assert np.abs(grad).max() < 1


def test_lists_of_tensors_and_arrays_are_refused():
    with pytest.raises(ValueError, match="costs must be of one kind and on one device, got costs of instance 0: numpy"):
        perturbed_grad(cheapest)([np.ones(3), torch.ones(2, requires_grad=True)])


@pytest.mark.parametrize("make", [torch.ones, np.ones])
def test_mask_may_change_before_the_backward_pass(make):
    f = perturbed_grad(cheapest, estimator=Blackbox(5.0), cost_ndims=1)
    c = torch.arange(5.0)[None].requires_grad_()
    mask = make((1, 5)) > 0
    w = f(c, mask=mask)
    mask[:] = False
    w[0, 0].backward()
    assert c.grad.tolist() == [[pytest.approx(-0.2), pytest.approx(0.2), 0, 0, 0]]


def test_multiplicative_noise_needs_no_costs_of_forbidden_entries():
    def allowed_cheapest(c):
        return cheapest(np.where(np.arange(6) < 3, np.inf, c))

    def gradient(first):
        estimator = PerturbedOptimizer(0.5, 50, multiplicative=True)
        f = perturbed_grad(allowed_cheapest, estimator=estimator, generator=torch.Generator().manual_seed(0))
        c = torch.tensor([first] * 3 + [1.0, 1.1, 1.2], requires_grad=True)
        f(c, mask=torch.arange(6) > 2)[3].backward()
        return c.grad.tolist()

    assert gradient(0.0) == gradient(7.0)
    assert any(gradient(0.0)[3:])
    with pytest.raises(ValueError, match=r"no gradient at a cost of 0, as costs\[0\] holds"):
        backward(perturbed_grad(cheapest, estimator=PerturbedOptimizer(0.5, 5, multiplicative=True)), [0.0, 1.0], 1.0)


def test_solvers_of_arrays_may_use_autograd_inside():
    def sharpest(c, *_):
        x = torch.tensor(c, requires_grad=True)
        (x.softmax(0) ** 2).sum().backward()
        return cheapest(c)

    costs = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
    assert perturbed_grad(sharpest)(costs).tolist() == [1, 0, 0]
    assert solver_loss(sharpest, StructuredSVM())(costs, target=torch.eye(3)[0]) >= 0

    def value(c, w):
        sharpest(c)
        return c @ w

    backward(perturbed_grad(sharpest, estimator=Blackbox(5.0, repair=True), value=value), [0.0, 1.0, 2.0], 1.0)


def test_diagnose_takes_arrays_of_any_strides_and_byte_order():
    f = perturbed_grad(cheapest, cost_ndims=1)
    costs = np.random.default_rng(0).random((6, 5))
    expected = diagnose(f, costs, grads=costs, verbose=False)
    for c, g in ((costs[:, ::-1][:, ::-1], costs), (costs.astype(">f8"), costs), (costs, costs[::-1][::-1])):
        assert np.array_equal(diagnose(f, c, grads=g, verbose=False).nonzeros, expected.nonzeros)


def test_auxiliary_outputs_that_do_not_stack_are_lists():
    def solver(second):
        return perturbed_grad(lambda c: (cheapest(c), second(int(c.argmin()))), cost_ndims=1)

    costs = torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    _, found = solver(lambda k: np.zeros((k, 2)) if k else np.zeros(0))(costs)
    assert [part.shape for part in found] == [(0,), (2, 2)]
    _, found = solver(lambda k: np.array(["a"]) if k else np.arange(2))(costs)
    assert [part.tolist() for part in found] == [[0, 1], ["a"]]
    _, found = solver(lambda k: np.array([k], np.longdouble))(costs)
    assert found.tolist() == [[0], [2]]


@pytest.mark.parametrize("when", ["call", "wrapping"])
@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
@pytest.mark.parametrize(
    ("name", "values"),
    [("mask", [True, True, False, True, True, True, False]), ("known_costs", [0.0, 0.3, 0.1, 0.2, 0.0, 0.5, 0.1])],
)
def test_masks_and_known_costs_may_be_concatenated_as_the_costs_are(when, kind, name, values):
    costs = torch.tensor([0.0, 1.0, 2.0, 1.0, 0.0, 3.0, 4.0], requires_grad=True)
    ptr = [0, 3, 7]
    upstream = torch.arange(7.0).sin()

    def gradient(given, value):
        options, data = ({name: value}, {}) if when == "wrapping" else ({name: name}, {name: value})
        f = perturbed_grad(cheapest, estimator=Blackbox(50.0, repair=True), **options)
        w = torch.cat(f(given, **data)) if isinstance(given, list) else f(given, ptr=ptr, **data)
        return torch.autograd.grad((w * upstream).sum(), costs)[0].tolist()

    expected = gradient(list(costs.split([3, 4])), [np.array(values[:3]), np.array(values[3:])])
    assert gradient(costs, kind(values)) == expected
    assert any(expected)
