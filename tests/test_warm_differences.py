"""Warm starts that visit only the nodes affected by a perturbation agree with solves that visit all nodes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import instances, noisy_grid, random_instance

from diffcomb import (
    IMLE,
    Blackbox,
    Graph,
    LiftedMWC,
    amwc,
    differentiable_cuts,
    make_problem,
    multicut,
    mwc,
    perturbed_grad,
    set_num_threads,
)
from diffcomb.solvers.level import finest_level
from diffcomb.warm_differences import Start, WarmDifferences

SCALES = (0.01, 0.3, 2.0, 100.0)


def start_of(graph, node_costs, edge_costs, P, lifted):
    """A forward solution as a `WarmDifferences` takes it: the problem and the start."""
    s = amwc(graph, node_costs, edge_costs, P, effort=0)
    K = node_costs.shape[1]
    if not lifted:
        problem = make_problem(graph, node_costs, edge_costs, P)
        return problem, Start.of(s.node_labels, s.clusters, np.arange(K), problem.partitionable)
    lift = LiftedMWC().bind((np.eye(K)[s.node_labels], s.edge_labels, s.clusters), {"partitionable": P})
    nothing = np.zeros(len(lift.classes), bool)
    problem = make_problem(graph, node_costs, edge_costs, [])
    return problem, Start.of(lift.labels, lift.labels, lift.classes, nothing)


def examples():
    for seed in range(4):
        n, edges, *costs = random_instance(np.random.default_rng(seed), n=24, m=70)
        yield Graph(n, edges), *costs
        yield noisy_grid((8, 9), K=3, seed=seed)


@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize("on_edges", [False, True])
@pytest.mark.parametrize("many", [False, True])
def test_no_node_left_out_of_a_warm_start_gains_by_moving(limits, lifted, on_edges, many):
    if many:  # take the path of large graphs: threads find the nodes that gain, with a bound that spares a closer look
        limits(min_parallel=4, enough=0.0)
    rng = np.random.default_rng(0)
    left_out = 0
    for graph, *costs in examples():
        problem, start = start_of(graph, *costs, lifted)
        classes = start.classes
        gx = rng.normal(size=(graph.num_nodes, len(classes)))
        gy = on_edges * rng.normal(size=graph.num_edges)
        again = WarmDifferences(problem, start, gx, gy)
        for scale in SCALES:
            labels = again.at(scale)
            moved = problem.node_costs[:, classes] + scale * gx
            full = make_problem(graph, moved, problem.edge_costs + scale * gy, start.partitionable)
            level = finest_level(full)
            assert level.move(labels.copy()) == 0
            assert level.value(labels) <= level.value(start.labels) + 1e-9
            left_out += int((again.least > scale).sum())
    assert left_out > 100


@settings(max_examples=60)
@given(instances(max_nodes=7), st.integers(0, 5), st.sampled_from(["amwc", "mwc", "multicut"]))
def test_warm_started_solutions_are_feasible_and_no_worse(instance, seed, kind):
    n, edges, node_costs, edge_costs, P = instance
    graph = Graph(n, edges)
    scale, rng = 3.0, torch.Generator().manual_seed(seed)
    costs = [torch.from_numpy(node_costs).double(), torch.from_numpy(edge_costs).double()]
    solver, data = {"amwc": (amwc, {"partitionable": P}), "mwc": (mwc, {}), "multicut": (multicut, {})}[kind]
    costs = costs[-1:] if kind == "multicut" else costs
    costs = [c.requires_grad_() for c in costs]
    f = perturbed_grad(solver, estimator=Blackbox(scale, start="warm"))
    outputs = f(*costs, graph=graph, **data)[: len(costs)]
    before = [w.detach() for w in outputs]
    upstream = [torch.randn(w.shape, generator=rng, dtype=torch.float64) for w in before]
    gradients = torch.autograd.grad(outputs, costs, upstream)
    after = [w + scale * g for w, g in zip(before, gradients, strict=True)]
    at = [c.detach() + scale * g for c, g in zip(costs, upstream, strict=True)]
    value = [sum(float((c * w).sum()) for c, w in zip(at, ws, strict=True)) for ws in (before, after)]
    assert value[1] <= value[0] + 1e-6
    x = after[0].argmax(1) if len(costs) == 2 else torch.zeros(n, dtype=torch.int64)
    if len(costs) == 2 and n:
        assert torch.allclose(after[0].sum(1), torch.ones(n).double())
        assert torch.allclose(after[0].amax(1), torch.ones(n).double())
    problem = make_problem(graph, node_costs, edge_costs, P if solver is amwc else [] if solver is mwc else [0])
    assert problem.violations(x, after[-1].round().long()) == []


@pytest.mark.parametrize("lift", [None, LiftedMWC(), LiftedMWC(spare=1)])
def test_warm_gradient_equals_the_gradient_through_arrays(monkeypatch, lift):
    """Without edges every node decides alone, so both computations find the same solutions and gradients."""
    rng = np.random.default_rng(1)
    graph = Graph(40, [])
    costs = [torch.from_numpy(rng.normal(size=(40, 3))), torch.zeros(0, dtype=torch.float64)]
    f = perturbed_grad(amwc, estimator=Blackbox(SCALES, start="warm"), lift=lift)

    def gradient():
        leaves = [c.clone().requires_grad_() for c in costs]
        z = f(*leaves, graph=graph, partitionable=[1])[0]
        g = torch.randn(z.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return torch.autograd.grad(z, leaves[0], g)[0]

    own = gradient()
    monkeypatch.setattr(differentiable_cuts.Cut, "warm_differences", lambda *_: None)
    assert own.abs().sum() > 0
    assert torch.allclose(own, gradient())


@pytest.mark.parametrize("start", ["auto", "warm"])
def test_cost_of_all_pairs_counts_in_the_perturbed_problems_too(start):
    """The gradient is that of solves that are called one by one: warm moves know of edges alone."""
    rng = np.random.default_rng(2)
    n, edges, _, costs, _ = random_instance(rng, n=12, m=30)
    graph, gamma, weights = Graph(n, edges), 0.7, rng.uniform(0.5, 2.0, n)
    upstream = rng.normal(size=len(costs))

    def solve(c, **data):
        return multicut(graph, c, node_weights=weights, resolution=gamma, **data)

    forward = solve(costs)
    init, effort = (None, None) if start == "auto" else (forward, 0)
    expected = np.zeros(len(costs))
    for scale in SCALES:
        after = solve(costs + scale * upstream, init=init, effort=effort)
        expected += (after.edge_labels.astype(float) - forward.edge_labels) / scale / len(SCALES)
    leaf = torch.tensor(costs, requires_grad=True)
    f = perturbed_grad(multicut, estimator=Blackbox(SCALES, start=start))
    y, _ = f(leaf, graph=graph, node_weights=weights, resolution=gamma)
    y.backward(torch.from_numpy(upstream))
    assert np.abs(expected).sum() > 0
    np.testing.assert_allclose(leaf.grad.numpy(), expected, atol=1e-12)
    for option in (dict(normalize=True), dict(radial=False)):
        with pytest.raises(ValueError, match=r"normalize=True and radial=False are for .*multicut adds \(node_weights"):
            perturbed_grad(multicut, **option)(leaf, graph=graph, node_weights=weights)


@pytest.mark.parametrize("start", ["auto", "warm", "best"])
def test_imle_finds_no_difference_where_the_scale_vanishes(start):
    """Both ends have the same noise, and are solved from the same start."""
    graph, _, costs, _ = noisy_grid((12, 12))
    leaf = torch.tensor(costs, dtype=torch.float64, requires_grad=True)
    f = perturbed_grad(multicut, estimator=IMLE(1e-6, sigma=0.3, start=start))
    rng = torch.Generator().manual_seed(0)
    y, _ = f.seeded(rng)(leaf, graph=graph)
    y.backward(torch.randn(y.shape, generator=rng, dtype=torch.float64))
    assert leaf.grad.abs().max() == 0


@pytest.mark.nojit
def test_perturbed_costs_that_overflow_are_refused():
    f = perturbed_grad(amwc, estimator=Blackbox(1e300, start="warm"))
    costs = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    x = f(costs, torch.zeros(0, dtype=torch.float64), graph=Graph(5, []), partitionable=[])[0]
    with pytest.raises(ValueError, match="node_costs must be finite"):
        (1e100 * x * torch.randn(5, 2, generator=torch.Generator().manual_seed(1))).sum().backward()


def test_threads_do_not_change_the_gradient():
    graph, *costs, P = noisy_grid((96, 96), K=3)
    found = []
    for threads in (1, 3):
        set_num_threads(threads)
        problem, start = start_of(graph, *costs, P, True)
        gx = np.random.default_rng(0).normal(size=(graph.num_nodes, len(start.classes)))
        again = WarmDifferences(problem, start, gx, np.zeros(graph.num_edges))
        found.append(again.differences(np.array(SCALES), np.ones(4)))
    set_num_threads(None)
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
