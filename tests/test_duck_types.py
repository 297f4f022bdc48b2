"""Estimators, schedules, noise and lifts without the base classes: the methods alone are enough."""

import gc
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffcomb import (
    IMLE,
    AsymmetricMultiwayCutLayer,
    Blackbox,
    Fixed,
    LiftedMWC,
    PerturbedOptimizer,
    amwc,
    grid_graph,
    perturbed_grad,
)
from diffcomb.gradients import Estimator, Noise, Schedule
from diffcomb.gradients.oracle import Instance
from diffcomb.linear_solver import BoundLift, Lift

pytestmark = pytest.mark.nojit

COSTS = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 0.5]], dtype=torch.float64)


def cheapest(costs, init=None):
    return np.eye(len(costs))[costs.argmin()]


def gradient(estimator, solver=cheapest, costs=COSTS, **options):
    f = perturbed_grad(solver, estimator=estimator, cost_ndims=1, generator=torch.Generator().manual_seed(0), **options)
    leaf = costs.clone().requires_grad_()
    w = f(leaf)
    (w * torch.tensor([1.0, -1.0, 2.0], dtype=w.dtype)).sum().backward()
    return w.detach(), leaf.grad


class Wraps:
    """Some methods of another object, without its class."""

    def __init__(self, other, *names):
        for name in names:
            setattr(self, name, getattr(other, name))

    def __repr__(self):
        return "Wraps()"


def test_estimator_needs_no_base_class():
    expected = gradient(Blackbox([1.0, 5.0], start="cold"))
    found = gradient(Wraps(Blackbox([1.0, 5.0], start="cold"), "gradients"))
    assert found[1].tolist() == expected[1].tolist()
    assert expected[1].any()


def test_estimator_without_the_base_class_may_smooth_the_forward_pass():
    make = partial(PerturbedOptimizer, 3.0, 8)
    expected, found = gradient(make()), gradient(Wraps(make(), "gradients", "solutions"))
    assert found[0].tolist() == expected[0].tolist()
    assert found[1].tolist() == expected[1].tolist()
    assert ((expected[0] > 0) & (expected[0] < 1)).any()


class Scales:
    """A schedule that notes what it is told."""

    def __init__(self):
        self.seen = []

    def sample(self, cost_norms, grad_norms, generator):
        self.seen.append((cost_norms.tolist(), grad_norms.tolist()))
        return np.full((len(cost_norms), 1), 2.0)


class AbsoluteScales(Scales):
    relative = False

    def observe(self, count):
        self.seen.append(count)


def test_schedule_needs_no_base_class():
    scales = Scales()
    expected = gradient(Blackbox(2.0, start="cold"))[1]
    assert gradient(Blackbox(scales, start="cold"))[1].tolist() == expected.tolist()
    (costs, grads), *rest = scales.seen
    assert costs == pytest.approx(COSTS.norm(dim=1).tolist())
    assert grads == pytest.approx([6**0.5] * 2)
    assert not rest
    scales = AbsoluteScales()
    assert gradient(Blackbox(scales, start="cold"))[1].tolist() == expected.tolist()
    assert scales.seen[0] == ([1.0, 1.0], [1.0, 1.0])  # norms are not computed for it
    assert isinstance(scales.seen[1], float)
    assert repr(Blackbox(scales).lambdas) == repr(scales)


class Constant:
    """Noise without a density."""

    def sample(self, rng, shape):
        return np.zeros(shape)


def test_noise_needs_no_base_class_and_no_score_where_none_is_used():
    assert gradient(IMLE(2.0, noise=Constant()))[0].tolist() == [[0, 1, 0], [1, 0, 0]]
    with pytest.raises(TypeError, match="noise must have a density"):
        PerturbedOptimizer(noise=Constant())


class OtherLift:
    """The lift of the package behind its methods, with or without the optional ones."""

    def __init__(self, *optional):
        self.names = ("costs", "outputs", "pull_back", *optional)

    def bind(self, outputs, data):
        assert isinstance(outputs[0], np.ndarray)  # who does not know described solutions gets arrays
        return Wraps(LiftedMWC().bind(outputs, data), *self.names)


@pytest.mark.parametrize("optional", [("data",), ("data", "cost_norm")])
def test_lift_needs_no_base_class(optional):
    graph = grid_graph((4, 5), [(0, 1), (1, 0)])
    rng = np.random.default_rng(0)
    costs = [torch.from_numpy(rng.normal(size=shape)) for shape in ((20, 3), (graph.num_edges,))]

    def lifted(lift):
        leaves = [c.clone().requires_grad_() for c in costs]
        f = perturbed_grad(amwc, estimator=Blackbox(start="cold"), lift=lift)
        z, y, *_ = f(*leaves, graph=graph, partitionable=[1, 2])
        weights = torch.from_numpy(np.random.default_rng(1).normal(size=tuple(z.shape)))
        ((z * weights).sum() + y.sum()).backward()
        return [z.detach(), *(leaf.grad for leaf in leaves)]

    expected, found = lifted(LiftedMWC()), lifted(OtherLift(*optional))
    assert all(torch.allclose(a, b) for a, b in zip(found, expected, strict=True))
    assert expected[1].any()


def test_base_classes_say_which_method_is_missing():
    with pytest.raises(NotImplementedError, match="Estimator must define gradients"):
        gradient(Estimator())
    with pytest.raises(NotImplementedError, match="Schedule must define sample"):
        gradient(Blackbox(Schedule()))
    with pytest.raises(NotImplementedError, match="Noise must define sample"):
        gradient(IMLE(2.0, noise=Noise()))
    with pytest.raises(NotImplementedError, match="Lift must define bind"):
        Lift().bind((), {})
    for name, argument in (("costs", ()), ("pull_back", ()), ("outputs", ())):
        with pytest.raises(NotImplementedError, match=f"BoundLift must define {name}"):
            getattr(BoundLift(), name)(argument)
    assert Estimator().solutions(None, None) is None
    assert not Estimator().draws
    assert not Schedule().draws
    with pytest.raises(TypeError, match="gradcheck knows"):
        Estimator().exact_points()


GRID = grid_graph((4, 4), [(0, 1), (1, 0)])


def cut_gradient(estimator):
    rng = np.random.default_rng(0)
    costs = [torch.from_numpy(rng.normal(size=s)).requires_grad_() for s in ((16, 3), (GRID.num_edges,))]
    x, *_ = perturbed_grad(amwc, estimator=estimator)(*costs, graph=GRID, partitionable=[1])
    x[:, 0].sum().backward()
    return x.detach(), costs[0].grad


def test_estimators_of_users_get_arrays_from_cuts():
    class Halves:
        def solutions(self, oracle, generator):
            return [tuple(0.5 * w for w in instance.solutions) for instance in oracle.instances]

        def gradients(self, oracle, grads, generator):
            return [
                tuple(w * g for w, g in zip(i.solutions, g, strict=True))
                for i, g in zip(oracle.instances, grads, strict=True)
            ]

    class Sums(Blackbox):
        def gradients(self, oracle, grads, generator):
            assert all(i.solutions[0].sum() == 16 for i in oracle.instances)
            return super().gradients(oracle, grads, generator)

    x, grad = cut_gradient(Halves())
    assert set(x.unique().tolist()) == {0.0, 0.5}
    assert grad.any()
    assert cut_gradient(Sums())[1].tolist() == cut_gradient(Blackbox())[1].tolist()


def test_subclass_that_smooths_is_noticed_by_a_layer():
    class Smooth(Blackbox):
        def solutions(self, oracle, generator):
            return [tuple(0.5 * np.asarray(w) for w in instance.solutions) for instance in oracle.instances]

    layer = AsymmetricMultiwayCutLayer([(0, 1), (1, 0)], [1], estimator=Smooth())
    out = layer(torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 3, 3))
    assert out.panoptic.max() == 0.5


def test_subclass_of_a_schedule_may_observe():
    class Observing(Fixed):
        def observe(self, count):
            seen.append(count)

    seen = []
    gradient(Blackbox(Observing(2.0), start="cold"))
    assert len(seen) == 1


def test_noise_may_have_its_score_on_the_object():
    noise = SimpleNamespace(sample=lambda rng, shape: rng.normal(size=shape), score=lambda xi: xi)
    assert gradient(PerturbedOptimizer(noise=noise, samples=3))[1].shape == COSTS.shape


def test_outputs_of_a_layer_do_not_keep_the_call_alive():
    layer = AsymmetricMultiwayCutLayer([(0, 1), (1, 0)], [1], effort=0)
    with torch.no_grad():
        out = layer(torch.zeros(1, 2, 8, 8), torch.ones(1, 2, 8, 8))
    gc.collect()
    assert not [i for i in gc.get_objects() if type(i) is Instance and i.own_costs[0].shape == (64, 2)]
    assert out.panoptic.shape[0] == 1


def test_auxiliary_outputs_that_are_no_plain_arrays_stay_what_they_are():
    masked = np.ma.array([1, 2], mask=[False, True])
    _, text, found = perturbed_grad(lambda c: (np.eye(3)[c.argmin()], "text", masked))(COSTS[0])
    assert text == "text"
    assert found is masked
