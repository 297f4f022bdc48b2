"""Contracts that every estimator keeps, driven by one registry."""

import copy
import os
import pickle
import warnings

import numpy as np
import pytest
import torch
from routes import GRAPH, argmin_one_hot, cost_gradient, costs_and_gradient

from diffcomb import (
    IMLE,
    LPGD,
    Adaptive,
    Blackbox,
    CentralDifference,
    Graph,
    Gumbel,
    LiftedMWC,
    NegativeIdentity,
    PerturbedOptimizer,
    Relative,
    StraightThrough,
    SumOfGamma,
    Uniform,
    amwc,
    mwc,
    set_num_threads,
)
from diffcomb import perturbed_grad as pg
from diffcomb.gradients import ESTIMATORS

REGISTRY = {
    "black-box": lambda: Blackbox((0.5, 3.0)),
    "black-box, random": lambda: Blackbox(Uniform(0.5, 3, 2)),
    "black-box, repaired": lambda: Blackbox(Relative((0.1, 1.0)), repair=True),
    "black-box, adaptive": lambda: Blackbox(Adaptive(initial=0.5)),
    "central": lambda: CentralDifference(2.0),
    "LPGD": lambda: LPGD(2.0, rho=3.0),
    "I-MLE": lambda: IMLE(2.0, samples=3, noise=SumOfGamma(2)),
    "I-MLE, clean": lambda: IMLE(2.0, samples=2, forward="clean", central=True),
    "perturbed optimiser": lambda: PerturbedOptimizer(0.5, 4),
    "perturbed optimiser, Gumbel": lambda: PerturbedOptimizer(0.5, 4, Gumbel(), baseline="solution"),
    "perturbed optimiser, times": lambda: PerturbedOptimizer(0.5, 4, multiplicative=True),
    "negative identity": lambda: NegativeIdentity(),
    "straight-through": lambda: StraightThrough(),
}
RANDOM = {name for name in REGISTRY if "random" in name or "optimiser" in name or "I-MLE" in name}
everyone = pytest.mark.parametrize("name", REGISTRY)


def test_registry_lists_every_estimator():
    assert {type(make()) for make in REGISTRY.values()} == set(ESTIMATORS)


def wrap(name, solver=argmin_one_hot, **options):
    if solver is argmin_one_hot:
        options.setdefault("cost_ndims", 1)
    options.setdefault("generator", torch.Generator().manual_seed(0))
    return pg(solver, estimator=REGISTRY[name](), **options)


def rows(costs):
    return np.eye(costs.shape[1])[costs.argmin(1)]


@everyone
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_solutions_and_gradients_keep_dtype_and_shape(name, dtype):
    c, g = costs_and_gradient(0, (4, 6), (4, 6))
    c = c.to(dtype).requires_grad_()
    w = wrap(name)(c)
    assert (w.shape, w.dtype) == (c.shape, dtype)
    w.backward(g.to(dtype))
    assert (c.grad.shape, c.grad.dtype) == (c.shape, dtype)
    assert c.grad.isfinite().all()
    assert c.grad.any()


@everyone
def test_non_contiguous_costs_and_gradients_are_accepted(name):
    c, g = costs_and_gradient(0, (6, 4), (6, 4))
    (expected,) = cost_gradient(wrap(name), [c.T.contiguous()], [g.T.contiguous()])
    leaf = c.clone().requires_grad_()
    (found,) = torch.autograd.grad(wrap(name)(leaf.T), leaf, g.T)
    assert torch.equal(found.T, expected)


@everyone
def test_empty_batch_is_accepted(name):
    c = torch.zeros(0, 5, requires_grad=True)
    w = wrap(name)(c)
    assert w.shape == (0, 5)
    w.sum().backward()
    assert c.grad.shape == (0, 5)


@everyone
@pytest.mark.parametrize("lift", [None, LiftedMWC(spare=1)])
def test_only_costs_that_require_grad_get_a_gradient(name, lift):
    nodes, edges = costs_and_gradient(0, (6, 2), (7,))
    f = wrap(name, amwc, lift=lift)
    for which in ((True, False), (False, True), (True, True)):
        leaves = [c.clone().requires_grad_(r) for c, r in zip((nodes, edges), which, strict=True)]
        out = f(*leaves, graph=GRAPH, partitionable=[1])
        (out[0] ** 2).sum().backward()  # the loss does not use the edges
        for leaf, r in zip(leaves, which, strict=True):
            assert (leaf.grad is not None) == r
            assert not r or leaf.grad.shape == leaf.shape


@everyone
def test_same_seed_gives_same_gradient_with_any_number_of_threads(name):
    c, g = costs_and_gradient(1, (7, 6), (7, 6))
    found = []
    for threads in (1, 3, 1):
        set_num_threads(threads)
        found.append(cost_gradient(wrap(name), [c], [g])[0])
    set_num_threads(None)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    if name in RANDOM:
        (other,) = cost_gradient(wrap(name, generator=torch.Generator().manual_seed(1)), [c], [g])
        assert not torch.equal(other, found[0])


@everyone
def test_vectorized_and_batched_solves_agree_with_single_solves(name):
    c, g = costs_and_gradient(1, (5, 6), (5, 6))
    (batched,) = cost_gradient(wrap(name), [c], [g])
    (stacked,) = cost_gradient(wrap(name, rows, cost_ndims=1, vectorized=True), [c], [g])
    assert torch.allclose(batched, stacked)
    if name not in RANDOM and "identity" not in name:
        for b in range(5):
            (one,) = cost_gradient(wrap(name), [c[b]], [g[b]])
            assert torch.allclose(one, batched[b])


@everyone
def test_vmap_agrees_with_a_batch(name):
    c, g = costs_and_gradient(1, (5, 6), (5, 6))

    def loss(c, g):
        return (wrap(name)(c) * g).sum()

    found = torch.func.vmap(torch.func.grad(loss))(c, g)
    (expected,) = cost_gradient(wrap(name), [c], [g])
    assert torch.allclose(found, expected)
    twice = torch.func.vmap(torch.func.vmap(torch.func.grad(loss)))(torch.stack([c, c]), torch.stack([g, g]))
    assert twice.shape == (2, 5, 6)
    mapped_last = torch.func.vmap(torch.func.grad(loss), in_dims=(1, 1))(c.T, g.T)
    assert torch.allclose(mapped_last, expected)
    jacobian = torch.func.jacrev(wrap(name))(c[0])
    assert jacobian.shape == (6, 6)


def test_vmap_repeats_per_instance_data():
    (c,) = costs_and_gradient(0, (3, 2, 5))
    f = pg(lambda c, *, shift: rows(c[None] + shift)[0], cost_ndims=1, per_instance=["shift"])
    shift = [np.zeros(5), np.eye(5)[0] * 100]
    expected = torch.stack([f(part, shift=shift) for part in c])
    assert torch.equal(torch.func.vmap(lambda part: f(part, shift=shift))(c), expected)


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_all_nestings_of_vmap_and_jacrev_agree(batch):
    c, _ = costs_and_gradient(0, (batch, 3), (1,))
    c = c * 3
    f = pg(argmin_one_hot, estimator=Blackbox(4.0), cost_ndims=1)
    expected = torch.stack([torch.func.jacrev(f)(row) for row in c])
    assert torch.equal(torch.func.vmap(torch.func.jacrev(f))(c), expected)
    both = torch.func.jacrev(torch.func.vmap(f))(c)
    assert torch.equal(torch.stack([both[b, :, b] for b in range(batch)]), expected)
    stacked = torch.stack([c, -c])
    twice = torch.func.vmap(torch.func.vmap(torch.func.jacrev(f)))(stacked)
    assert torch.equal(twice[0], expected)
    assert torch.equal(twice[1], torch.func.vmap(torch.func.jacrev(f))(-c))


def test_vmap_shares_the_data_of_a_single_instance():
    f = pg(lambda c, *, w: np.eye(3)[(c * w).argmin()], cost_ndims=1, per_instance=["w"])
    w, c = np.array([50.0, 1.0, 1.0]), torch.tensor([[-1.0, -2.0, -3.0]] * 3)
    assert torch.equal(torch.func.vmap(lambda c: f(c, w=w))(c), torch.eye(3)[[0, 0, 0]])


def test_costs_may_be_scalars():
    f = pg(lambda c: (c < 0) * 1.0, estimator=Blackbox(4.0), cost_ndims=0)
    c = torch.tensor([1.0, -1.0, -9.0], requires_grad=True)
    f(c).sum().backward()
    assert c.grad.tolist() == [0.0, -0.25, 0.0]


def test_wrong_options_are_refused_when_wrapping():
    for options, message in (
        (dict(cost_ndims=-1), "cost_ndims must not be negative"),
        (dict(cost_ndims=1, vectorized=True, per_instance=["w"]), "per_instance data cannot be given"),
    ):
        with pytest.raises(ValueError, match=message):
            pg(rows, **options)
    for options in (dict(estimator=Blackbox), dict(lift=5)):
        with pytest.raises(TypeError, match="must be"):
            pg(rows, **options)
    for bad in (lambda: Blackbox(Uniform), lambda: IMLE(1.0, noise=Gumbel)):
        with pytest.raises(TypeError, match="must be"):
            bad()
    with pytest.raises(ValueError, match="alphas must not be relative"):
        Relative(Adaptive())
    with pytest.raises(ValueError, match="got 1 output"):
        pg(lambda c: c, lift=LiftedMWC())(torch.rand(3))


@pytest.mark.parametrize("values", [[1.0, 2.0], [[0.0]], [[np.nan]]])
def test_schedule_that_draws_invalid_scales_is_refused(values):
    class Odd:
        def sample(self, cost_norms, grad_norms, generator):
            return np.array(values)

    c = torch.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ValueError, match="must draw positive scales of shape"):
        pg(argmin_one_hot, estimator=Blackbox(Odd()))(c)[0].backward()


def test_noise_of_wrong_shape_is_refused():
    class Odd:
        def sample(self, rng, shape):
            return np.zeros(7)

    with pytest.raises(ValueError, match="must draw noise of shape"):
        pg(argmin_one_hot, estimator=IMLE(1.0, noise=Odd()))(torch.tensor([1.0, 2.0]))


@everyone
def test_copies_and_pickles_give_the_same_gradient(name):
    f = copy.deepcopy(REGISTRY[name]())
    again = pickle.loads(pickle.dumps(f)) if name != "straight-through" else f
    c, g = costs_and_gradient(0, (4, 6), (4, 6))
    grads = [
        cost_gradient(
            pg(argmin_one_hot, estimator=e, cost_ndims=1, generator=torch.Generator().manual_seed(0)), [c], [g]
        )
        for e in (f, again)
    ]
    assert name == "black-box, adaptive" or torch.equal(grads[0][0], grads[1][0])


@pytest.mark.parametrize("start", ["cold", "warm", "best"])
@pytest.mark.parametrize("lift", [None, LiftedMWC()])
def test_empty_graphs_get_empty_gradients(start, lift):
    for K, P in ((3, [0, 1, 2]), (3, []), (0, [])):
        n, e = torch.zeros(0, K, requires_grad=True), torch.zeros(0, requires_grad=True)
        f = pg(amwc, estimator=Blackbox((1.0, 3.0), start=start), lift=lift)
        z, y, *_ = f(n, e, graph=Graph(0, np.zeros((0, 2), int)), partitionable=P)
        (z.sum() + y.sum()).backward()
        assert n.grad.shape == (0, K)


def test_vmap_supports_lifted_solvers_and_shared_costs():
    nodes, edges, g = costs_and_gradient(0, (3, 6, 2), (7,), (3, 7))
    f = pg(amwc, estimator=Blackbox(2.0))

    def loss(n, e, g):
        return (f(n, e, graph=GRAPH, partitionable=[1])[1] * g).sum()

    found = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=(0, None, 0))(nodes, edges, g)
    for b in range(3):
        expected = torch.func.grad(loss, argnums=(0, 1))(nodes[b], edges, g[b])
        assert all(torch.allclose(x[b], y) for x, y in zip(found, expected, strict=True))
    z = torch.func.vmap(lambda n: pg(amwc, lift=LiftedMWC())(n, edges, graph=GRAPH, partitionable=[1])[0])(
        nodes
    )  # numbers of labels differ, hence padding
    assert z.shape[:2] == (3, 6)


@everyone
def test_torch_compile_gives_the_same_gradient(name):
    c, g = costs_and_gradient(1, (5, 6), (5, 6))
    f = wrap(name)

    def loss(c):
        return (f(2 * c) * g).sum()

    (expected,) = torch.autograd.grad(loss(leaf := c.clone().requires_grad_()), leaf)
    f = wrap(name)
    with warnings.catch_warnings(record=True) as seen:  # torch's compiler issues warnings of its own
        warnings.simplefilter("always")
        compiled = torch.compile(loss, backend="aot_eager")
        (found,) = torch.autograd.grad(compiled(leaf := c.clone().requires_grad_()), leaf)
    assert torch.allclose(found, expected)
    assert [str(w.message) for w in seen if "how to trace" in str(w.message)] == []


@everyone
def test_no_grad_records_no_graph_and_second_derivatives_are_refused(name):
    c = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
    with torch.no_grad():
        assert not wrap(name)(c).requires_grad
    (grad,) = torch.autograd.grad((wrap(name)(c) * c).sum(), c, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@everyone
def test_automatic_mixed_precision_gives_finite_gradients(name):
    layer, x = torch.nn.Linear(6, 6), torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        c = layer(x)
        w = wrap(name)(c)
        assert c.dtype == w.dtype == torch.bfloat16
        loss = (w * torch.arange(6.0)).sum()
    loss.backward()
    assert layer.weight.grad.dtype == torch.float32
    assert layer.weight.grad.isfinite().all()


@everyone
def test_zero_upstream_gradient_gives_zero_gradient(name):
    (c,) = costs_and_gradient(1, (5, 6))
    (grad,) = cost_gradient(wrap(name), [c], [torch.zeros(5, 6)])
    assert not grad.any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@everyone
def test_cuda_gives_the_same_gradient_as_the_cpu(name):
    c, g = costs_and_gradient(1, (5, 6), (5, 6))
    leaf = c.cuda().requires_grad_()
    w = wrap(name)(leaf)
    assert w.is_cuda
    (grad,) = torch.autograd.grad(w, leaf, g.cuda())
    assert torch.allclose(grad.cpu(), cost_gradient(wrap(name), [c], [g])[0])


def _train_half_of_the_batch(rank, folder):
    """One of two processes: it computes the gradient of its half of the batch; DDP averages both."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    model = torch.nn.parallel.DistributedDataParallel(_model())
    loss = _loss(model, slice(3 * rank, 3 * rank + 3))
    loss.backward()
    if rank == 0:
        torch.save(model.module.weight.grad, os.path.join(folder, "grad.pt"))
    torch.distributed.destroy_process_group()


def _model():
    torch.manual_seed(0)
    return torch.nn.Linear(4, 12, bias=False)


def _loss(model, part):
    x, edges = costs_and_gradient(0, (6, 4), (7,))
    f = pg(mwc, estimator=Blackbox(Relative(1.0)))
    w, *_ = f(model(x[part].float()).view(-1, 6, 2), edges.float().expand(len(x[part]), 7), graph=GRAPH)
    return (w * torch.arange(12.0).view(6, 2)).sum() / len(w)


def test_distributed_data_parallel_averages_the_gradients(tmp_path):
    torch.multiprocessing.spawn(_train_half_of_the_batch, (str(tmp_path),), nprocs=2)
    model = _model()
    _loss(model, slice(0, 6)).backward()
    assert torch.allclose(torch.load(tmp_path / "grad.pt"), model.weight.grad, atol=1e-5)
    assert model.weight.grad.any()
