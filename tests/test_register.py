"""Solvers that perturbed_grad knows by an adapter, and solvers of the user's behind the verbs."""

import functools
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from diffcomb import (
    AsymmetricMultiwayCutLayer,
    Blackbox,
    Graph,
    LinearSolver,
    Solution,
    SPOPlus,
    amwc,
    multicut,
    mwc,
    perturbed_grad,
    solver_loss,
)
from diffcomb.problem import make_solution

pytestmark = pytest.mark.nojit

COSTS = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 0.5]], dtype=torch.float64)


def index_of_cheapest(costs):
    """A solver whose result is no array of the costs' shape."""
    return int(np.argmin(costs))


class Cheapest(LinearSolver):
    cost_ndims = (1,)

    def __init__(self):
        self.prepared = self.warm = 0

    def solve(self, costs, *, offset=0.0, init=None):
        return np.eye(len(costs))[index_of_cheapest(costs + offset)]

    def prepare(self, costs, data):
        self.prepared += 1
        return {**data, "offset": np.asarray(data.get("offset", 0.0))}

    def warm_differences(self, costs, outputs, lift, data):
        def differences(grads, scales, weights):
            self.warm += 1
            moved = [self.solve(costs[0] + scale * grads[0], **data) for scale in scales]
            return (sum(w * (m - outputs[0]) for w, m in zip(weights, moved, strict=True)),)

        return differences


def gradient(f, costs, **data):
    leaf = costs.clone().requires_grad_()
    w = f(leaf, **data)
    (w * torch.tensor([1.0, -1.0, 2.0], dtype=w.dtype)).sum().backward()
    return w.detach(), leaf.grad


def register(adapter=None):
    """A new solver, so that no test sees what another one registered."""
    solver = functools.partial(index_of_cheapest)
    adapter = Cheapest() if adapter is None else adapter
    assert perturbed_grad.register(solver, adapter) is adapter
    return solver, adapter


def test_registered_solver_has_the_gradient_of_its_adapter():
    solver, adapter = register()
    estimator = Blackbox([1.0, 10.0], start="cold")
    w, grad = gradient(perturbed_grad(solver, estimator=estimator), COSTS)
    expected = gradient(perturbed_grad(lambda c: np.eye(3)[c.argmin()], estimator=estimator, cost_ndims=1), COSTS)
    assert w.tolist() == expected[0].tolist()
    assert grad.tolist() == expected[1].tolist()
    assert adapter.prepared == 2  # once an instance, not once a solve


def test_adapter_may_warm_start_itself():
    solver, adapter = register()
    own = gradient(perturbed_grad(solver, estimator=Blackbox([1.0, 10.0])), COSTS)  # start="auto" is warm then
    assert adapter.warm == 2
    cold = gradient(perturbed_grad(solver, estimator=Blackbox([1.0, 10.0], start="cold")), COSTS)
    assert adapter.warm == 2
    assert own[1].tolist() == cold[1].tolist()


def test_register_decorates_a_class_of_adapters():
    solver = functools.partial(index_of_cheapest)

    @perturbed_grad.register(solver)
    class Registered(Cheapest):
        pass

    assert isinstance(Registered(), Cheapest)
    assert perturbed_grad(solver)(COSTS).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_adapter_is_a_solver_itself():
    assert perturbed_grad(Cheapest())(COSTS[0]).tolist() == [0, 1, 0]


def test_solver_that_cannot_be_hashed_works_unregistered():
    class Unhashable:
        __hash__ = None

        def __call__(self, costs):
            return np.eye(3)[costs.argmin()]

    assert perturbed_grad(Unhashable())(COSTS[0]).tolist() == [0, 1, 0]
    with pytest.raises(TypeError, match="solver must be callable and hashable"):
        perturbed_grad.register(Unhashable(), Cheapest())


def test_what_is_no_adapter_is_refused():
    with pytest.raises(TypeError, match="adapter must be a LinearSolver"):
        perturbed_grad.register(index_of_cheapest, lambda costs: costs)
    with pytest.raises(NotImplementedError, match="must define solve"):
        perturbed_grad(LinearSolver())(COSTS[0])


def test_keywords_of_the_adapter_decide_which_data_reach_it():
    solver, adapter = register()
    assert adapter.takes("offset")
    assert not adapter.takes("mask")
    _, grad = gradient(perturbed_grad(solver), COSTS, mask=np.array([True, True, False]))  # masks the gradient only
    assert (grad[:, 2] == 0).all()


def test_wrapped_verb_is_the_verb():
    costs = torch.from_numpy(EDGE_COSTS).requires_grad_()
    y, _ = perturbed_grad(torch.no_grad()(multicut))(costs, graph=GRAPH)
    y.sum().backward()
    assert costs.grad is not None


def test_data_are_prepared_once_by_losses_too():
    class Notes(Cheapest):
        def prepare(self, costs, data):
            assert "prepared" not in data
            return {**data, "prepared": True}

        def solve(self, costs, *, prepared, init=None):
            return super().solve(costs)

    solver, _ = register(Notes())
    loss = solver_loss(solver, SPOPlus())(COSTS.clone().requires_grad_(), true_costs=COSTS)
    loss.backward()


def test_solver_that_is_not_thread_safe_is_warm_started_by_one_thread_at_a_time():
    class Counts(Cheapest):
        inside = most = 0

        def warm_differences(self, costs, outputs, lift, data):
            def differences(grads, scales, weights):
                self.inside += 1
                self.most = max(self.most, self.inside)
                time.sleep(0.05)
                self.inside -= 1
                return (np.zeros(3),)

            return differences

    solver, adapter = register(Counts())
    with ThreadPoolExecutor(2) as executor:
        gradient(perturbed_grad(solver, parallel=executor), COSTS)
    assert adapter.most == 1


def test_register_decorates_nothing_but_adapters():
    with pytest.raises(TypeError, match="decorates a subclass of LinearSolver"):
        perturbed_grad.register(functools.partial(index_of_cheapest))(lambda costs: costs)


# Solvers of the user's behind the verbs

GRAPH = Graph(4, [(0, 1), (1, 2), (2, 3), (0, 3)])
EDGE_COSTS = np.array([2.0, -1.0, 2.0, -3.0])
NODE_COSTS = np.array([[0.0, 3.0], [0.0, 3.0], [3.0, 0.0], [3.0, 0.0]])


def everyone_alone(problem, *, init, rng, budget):
    n = problem.graph.num_nodes
    return make_solution(problem, problem.node_costs.argmin(1), np.arange(n))


def test_verbs_take_a_callable_as_solver():
    s = multicut(GRAPH, EDGE_COSTS, solver=everyone_alone)
    assert s.edge_labels.tolist() == [1, 1, 1, 1]
    assert s.objective == 0
    s = mwc(GRAPH, NODE_COSTS, EDGE_COSTS, solver=everyone_alone)
    assert s.node_labels.tolist() == [0, 0, 1, 1]
    batch = amwc(GRAPH, np.stack([NODE_COSTS, NODE_COSTS[::-1]]), EDGE_COSTS, [0], solver=everyone_alone)
    assert batch.node_labels.tolist() == [[0, 0, 1, 1], [1, 1, 0, 0]]


def test_result_of_a_callable_is_never_worse_than_init_and_always_feasible():
    start = multicut(GRAPH, EDGE_COSTS, solver="exact")
    assert multicut(GRAPH, EDGE_COSTS, solver=everyone_alone, init=start).objective == start.objective < 0

    def infeasible(problem, *, init, rng, budget):
        n, m = problem.graph.num_nodes, problem.graph.num_edges
        return Solution(np.zeros(n, np.int64), np.zeros(m, np.uint8), np.array([0, 1, 0, 1]), -1e9)

    s = multicut(GRAPH, EDGE_COSTS, solver=infeasible)
    assert s.edge_labels.tolist() == [1, 1, 1, 1]  # nodes that no path joins are no cluster
    assert s.objective == 0


def test_callable_that_changes_init_in_place_changes_nobody_else_s():
    def worst(problem, *, init, rng, budget):
        seen.append(init[0].tolist())
        init[0][:] = 0
        return make_solution(problem, *init)

    seen = []
    costs = np.tile([1.0, 0.0], (3, 4, 1))
    s = mwc(GRAPH, costs, np.zeros(4), solver=worst, init=np.ones(4, int))
    assert s.objective.tolist() == [0, 0, 0]
    assert seen == [[1, 1, 1, 1]] * 3


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (None, TypeError, "solver bad must return a Solution, got NoneType"),
        (Solution(np.zeros(3, int), None, np.zeros(4, int), 0.0), ValueError, "must return node_labels"),
        (Solution(np.zeros(4, int), None, np.zeros(4), 0.0), ValueError, "must return clusters"),
        (Solution(np.full(4, 7), None, np.zeros(4, int), 0.0), ValueError, r"must return node_labels in 0\.\.0"),
    ],
)
def test_callable_that_returns_no_solution_is_an_error(returned, error, message):
    def bad(problem, *, init, rng, budget):
        return returned

    with pytest.raises(error, match=message):
        multicut(GRAPH, EDGE_COSTS, solver=bad)


def test_gradients_and_layers_go_through_a_callable():
    costs = torch.from_numpy(EDGE_COSTS).requires_grad_()
    y, _ = perturbed_grad(multicut)(costs, graph=GRAPH, solver=everyone_alone)
    y.sum().backward()
    assert costs.grad.tolist() == [0, 0, 0, 0]  # whatever the costs are, everything is cut
    layer = AsymmetricMultiwayCutLayer([(0, 1), (1, 0)], [1], solver=everyone_alone)
    out = layer(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3))
    assert out.class_labels.tolist() == [[[0] * 3] * 3]
    with pytest.raises(ValueError, match="or a function"):
        AsymmetricMultiwayCutLayer([(0, 1)], [1], solver="nonsense")
