"""The JAX interface gives the same values and gradients as the torch interface."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from routes import GRAPH, argmin_one_hot, cost_gradient, costs_and_gradient

from diffcomb import (
    IMLE,
    Blackbox,
    CentralDifference,
    LiftedMWC,
    LogUniform,
    NegativeIdentity,
    PerturbedOptimizer,
    Relative,
    Uniform,
    amwc,
)
from diffcomb import perturbed_grad as in_torch

jax = pytest.importorskip("jax", reason="the extra `jax` is not installed")

import diffcomb.jax  # noqa: E402
from diffcomb.jax import perturbed_grad  # noqa: E402

ESTIMATORS = [
    Blackbox((0.5, 3.0)),
    Blackbox(Uniform(0.5, 3.0, 2), repair=True),
    CentralDifference(2.0),
    IMLE(2.0, samples=3),
    PerturbedOptimizer(0.5, 4),
    NegativeIdentity(),
]


def arrays(seed, *shapes):
    return [t.float() for t in costs_and_gradient(seed, *shapes)]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("jit", [False, True])
def test_values_and_gradients_agree_with_torch(estimator, jit):
    c, g = arrays(0, (4, 6), (4, 6))
    f = perturbed_grad(argmin_one_hot, estimator=estimator, cost_ndims=1)

    def loss(c):
        w = f(c, seed=3)
        return (w * g.numpy()).sum(), w

    run = jax.value_and_grad(loss, has_aux=True)
    (_, w), grad = (jax.jit(run) if jit else run)(c.numpy())
    torch_f = in_torch(argmin_one_hot, estimator=estimator, cost_ndims=1, generator=torch.Generator().manual_seed(3))
    (expected,) = cost_gradient(torch_f, [c], [g])
    again = in_torch(argmin_one_hot, estimator=estimator, cost_ndims=1, generator=torch.Generator().manual_seed(3))
    assert np.allclose(w, again(c))
    assert np.allclose(grad, expected, atol=1e-6)
    assert expected.any()


def test_vmap_agrees_with_torch():
    c, g = arrays(0, (3, 4, 6), (3, 4, 6))
    f = perturbed_grad(argmin_one_hot, estimator=Blackbox(2.0), cost_ndims=1)
    torch_f = in_torch(argmin_one_hot, estimator=Blackbox(2.0), cost_ndims=1)
    expected = torch.stack([cost_gradient(torch_f, [a], [b])[0] for a, b in zip(c, g, strict=True)])

    def loss(c, g):
        return (f(c) * g).sum()

    assert np.allclose(jax.vmap(jax.grad(loss))(c.numpy(), g.numpy()), expected)
    assert np.allclose(jax.vmap(jax.vmap(jax.grad(loss)))(c.numpy(), g.numpy()), expected)
    plain = perturbed_grad(argmin_one_hot, estimator=Blackbox(2.0))
    assert np.allclose(jax.vmap(jax.vmap(plain))(c.numpy()), torch.stack([torch_f(a) for a in c]))


@pytest.mark.parametrize("lift", [None, LiftedMWC([0, 1, 1, 1, 1, 1, 1], 2)])
def test_several_costs_and_a_lift_agree_with_torch(lift):
    nodes, edges = arrays(0, (2, 6, 2), (2, 7))
    f = perturbed_grad(amwc, estimator=Blackbox(2.0), lift=lift)
    torch_f = in_torch(amwc, estimator=Blackbox(2.0), lift=lift)
    data = dict(graph=GRAPH, partitionable=[1])
    z, y, *_ = torch_f(nodes, edges, **data)
    gz, gy = arrays(1, tuple(z.shape), tuple(y.shape))
    expected = cost_gradient(torch_f, [nodes, edges], [gz, gy], **data)

    def loss(n, e):
        z, y = f(n, e, **data)
        return (z * gz.numpy()).sum() + (y * gy.numpy()).sum()

    found = jax.jit(jax.grad(loss, argnums=(0, 1)))(nodes.numpy(), edges.numpy())
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))
    shared = jax.vmap(lambda n: f(n, edges[0].numpy(), **data)[1])(nodes.numpy())
    assert np.allclose(shared[1], torch_f(nodes[1], edges[0], **data)[1])


def test_costs_and_gradients_may_be_mapped_over_different_axes():
    c, _ = arrays(0, (3, 6), (1,))
    f = perturbed_grad(argmin_one_hot, estimator=Blackbox(2.0), cost_ndims=1)
    torch_f = in_torch(argmin_one_hot, estimator=Blackbox(2.0), cost_ndims=1)
    weights = torch.arange(6.0)
    (expected,) = cost_gradient(torch_f, [c], [weights.expand(3, 6)])
    assert np.allclose(jax.vmap(jax.grad(lambda c: f(c) @ weights.numpy()))(c.numpy()), expected)
    jacobian = torch.func.jacrev(torch_f)(c[0])
    assert np.allclose(jax.jacrev(f)(c[0].numpy()), jacobian)
    assert np.allclose(jax.vmap(jax.jacrev(f))(c.numpy())[0], jacobian)
    half = jax.grad(lambda c: f(c)[0])(jax.numpy.asarray(c[0].numpy(), jax.numpy.bfloat16))
    assert half.dtype == jax.numpy.bfloat16


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", ["mask", "known_costs"])
def test_a_batched_mask_and_known_costs_hold_for_every_mapped_batch(name, wrapped):
    """Two batches of three instances, each with a mask (or known costs) of its own, which both batches share."""
    c, g = arrays(0, (2, 3, 4), (2, 3, 4))
    allowed = np.array([[1, 1, 1, 0], [1, 0, 1, 1], [0, 1, 1, 1]], bool)
    c[:, ~allowed] += 9
    value = allowed if name == "mask" else np.arange(12.0).reshape(3, 4) / 12

    def solve(costs, *, size=0.0):
        return argmin_one_hot(costs + size)

    data = {} if wrapped and name == "mask" else {"mask" if name == "mask" else "size": value}
    how = {name: value if wrapped else next(iter(data)), "cost_ndims": 1}
    how |= {} if name == "mask" else {"per_instance": ["size"]}
    f = perturbed_grad(solve, estimator=Blackbox(2.0), **how)
    torch_f = in_torch(solve, estimator=Blackbox(2.0), **how)

    def loss(c, g):
        return (f(c, **data) * g).sum()

    expected = torch.stack([cost_gradient(torch_f, [a], [b], **data)[0] for a, b in zip(c, g, strict=True)])
    assert np.allclose(jax.vmap(jax.grad(loss))(c.numpy(), g.numpy()), expected)
    assert expected.any()


def test_seeds_and_per_instance_data_can_be_mapped():
    c, _ = arrays(0, (2, 6), (1,))
    smooth = perturbed_grad(argmin_one_hot, estimator=PerturbedOptimizer(1.0, 3), cost_ndims=1)
    seeds = np.arange(2)
    for axes, costs in (((None, 0), c[0].numpy()), ((0, 0), c.numpy())):
        found = jax.vmap(lambda c, s: smooth(c, seed=s), in_axes=axes)(costs, seeds)
        for b in range(2):
            one = costs if axes[0] is None else costs[b]
            assert np.allclose(found[b], smooth(one, seed=b))
    w = np.array([50.0, 1.0, 1.0], np.float32)
    f = perturbed_grad(lambda c, *, w: np.eye(3, dtype=c.dtype)[(c * w).argmin()], cost_ndims=1, per_instance=["w"])
    costs = np.array([[-1.0, -2.0, -3.0]] * 3, np.float32)
    assert np.allclose(jax.vmap(lambda c: f(c, w=w))(costs), np.eye(3)[[0, 0, 0]])
    batch = np.stack([costs, costs])
    assert np.allclose(jax.vmap(lambda c: f(c, w=[w, w * 0 + 1, w]))(batch)[1], np.eye(3)[[0, 2, 0]])


def test_same_seed_gives_same_solution_and_bad_input_is_refused():
    c, _ = arrays(0, (6,), (6,))
    f = perturbed_grad(argmin_one_hot, estimator=PerturbedOptimizer(1.0, 3), cost_ndims=1)
    draws = [np.asarray(jax.jit(f)(c.numpy(), seed=s)) for s in (0, 0, 1)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    with pytest.raises(ValueError, match="needs a map"):
        perturbed_grad(amwc, lift=LiftedMWC())
    with pytest.raises(Exception, match="must be finite"):
        np.asarray(f(c.numpy() * np.nan, seed=0))
    for costs in (np.arange(6), np.ones(6, bool)):
        with pytest.raises(TypeError, match=r"costs must be floating-point, got (int|bool)"):
            f(costs, seed=0)


@pytest.mark.parametrize(
    "estimator",
    [IMLE(2.0), IMLE(2.0, forward="clean"), PerturbedOptimizer(), Blackbox(Uniform(1, 5, 2)), Blackbox(Relative(LogUniform(1, 5)))],
)  # fmt: skip
def test_estimators_that_draw_need_a_key_or_a_seed(estimator):
    c, _ = arrays(0, (6,), (6,))
    f = perturbed_grad(argmin_one_hot, estimator=estimator, cost_ndims=1)
    for jit in (lambda f: f, jax.jit):
        with pytest.raises(TypeError, match="give a key="):
            jit(f)(c.numpy())
    with pytest.raises(TypeError, match="not both"):
        f(c.numpy(), key=jax.random.key(0), seed=0)
    assert f(c.numpy(), key=jax.random.key(0)).shape == (6,)


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_random_keys_work_as_seeds(make):
    c, _ = arrays(0, (6,), (6,))
    f = jax.jit(perturbed_grad(argmin_one_hot, estimator=PerturbedOptimizer(1.0, 50), cost_ndims=1))
    draws = [np.asarray(f(c.numpy(), key=make(s))) for s in (0, 0, 1)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    keys = jax.random.split(make(0), 3)
    mapped = jax.vmap(lambda k: f(c.numpy(), key=k))(keys)
    assert np.array_equal(mapped[1], f(c.numpy(), key=keys[1]))
    grads = [
        jax.grad(lambda c, k=k: f(c, key=k) @ np.arange(6.0, dtype=np.float32))(c.numpy()) for k in (keys[0], keys[1])
    ]
    assert not np.array_equal(*grads)


def test_options_reach_the_estimator():
    c, g = arrays(0, (4, 6), (4, 6))

    def largest(scores):
        return np.eye(len(scores), dtype=scores.dtype)[scores.argmax()]

    f = perturbed_grad(largest, estimator=Blackbox(2.0), cost_ndims=1, maximize=True, parallel="threads")
    torch_f = in_torch(largest, estimator=Blackbox(2.0), cost_ndims=1, maximize=True)
    found = jax.grad(lambda c: (f(c) * g.numpy()).sum())(c.numpy())
    assert np.allclose(found, cost_gradient(torch_f, [c], [g])[0])


SCRIPT = """
import faulthandler; faulthandler.dump_traceback_later(60, exit=True)
import jax, jax.numpy as jnp, numpy as np
{first}
from diffcomb import Blackbox
from diffcomb.jax import perturbed_grad
def returns(c): return jax.nn.one_hot(jnp.argmin(c), len(c))
def calls(c): return np.eye(len(c), dtype=np.float32)[int(jnp.argmin(c))]
f = perturbed_grad({solver}, estimator=Blackbox(1.0), cost_ndims=1)
step = jax.jit(jax.grad(lambda c: (f(c) * jnp.arange(10.0)).sum()))
key, total = jax.random.key(0), 0.0
for i in range(20):
    key, k = jax.random.split(key)
    total += jnp.abs(step(jax.random.normal(k, (8, 10)))).sum()
assert float(total) > 0
"""


@pytest.mark.parametrize("solver", ["returns", "calls"])
@pytest.mark.parametrize("started", [False, True])
def test_solver_that_calls_jax_finishes_or_is_refused(solver, started):
    """It finishes if diffcomb.jax was imported before JAX started; otherwise it could hang, and is refused."""
    code = SCRIPT.format(first="jnp.zeros(3).block_until_ready()" if started else "", solver=solver)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    if started:
        assert done.returncode == 1
        assert f"the solver {solver} called JAX, but must not call JAX" in done.stderr
    else:
        assert done.returncode == 0, done.stderr[-2000:]


def test_calls_with_the_same_data_are_compiled_once(monkeypatch):
    made, make = [], diffcomb.jax._differentiable
    monkeypatch.setattr(diffcomb.jax, "_differentiable", lambda *given: made.append(1) or make(*given))
    f = perturbed_grad(argmin_one_hot, estimator=Blackbox(4.0), cost_ndims=1)
    costs = jax.numpy.array([0.0, 1.0, 5.0])
    slopes = [jax.grad(lambda c: f(c)[0])(costs).tolist() for _ in range(3)]
    assert slopes[0] == slopes[1] == slopes[2]
    assert len(made) == 1
    cut = perturbed_grad(amwc, estimator=Blackbox(4.0))
    nodes, edges = np.zeros((GRAPH.num_nodes, 2), np.float32), np.ones(GRAPH.num_edges, np.float32)
    classes = [1]
    for partitionable in ([1], classes, [0], [1]):
        cut(nodes, edges, graph=GRAPH, partitionable=partitionable, effort=0)
        classes[0] = 0  # what was given before does not change with it
    for effort in (0, 1, 0, 1):
        cut(nodes, edges, graph=GRAPH, partitionable=[1], effort=effort)
    assert len(made) == 1 + 2 + 1


def test_functions_that_were_not_used_lately_are_forgotten():
    f = perturbed_grad(lambda c, *, data: argmin_one_hot(c) * len(data) ** 0, estimator=Blackbox(4.0))
    for number in range(40):
        assert f(jax.numpy.array([1.0, 0.0]), data=[number]).tolist() == [0, 1]


def test_keys_that_an_inner_axis_maps_are_used_one_by_one():
    f = perturbed_grad(argmin_one_hot, cost_ndims=1, estimator=PerturbedOptimizer(samples=3))
    costs = np.zeros((2, 5), np.float32)
    inner = jax.random.split(jax.random.key(0), 3)
    each = jax.random.split(jax.random.key(1), (2, 3))
    shared = jax.vmap(lambda c: jax.vmap(lambda k: f(c, key=k))(inner))(costs)
    own = jax.vmap(lambda c, ks: jax.vmap(lambda k: f(c, key=k))(ks))(costs, each)
    outer = jax.vmap(lambda k: jax.vmap(lambda c: f(c, key=k))(costs))(inner)
    for i in range(2):
        for j in range(3):
            assert np.array_equal(own[i, j], f(costs[i], key=each[i, j]))
    for j in range(3):  # instances with the same key are a batch
        assert np.array_equal(shared[:, j], f(costs, key=inner[j]))
        assert np.array_equal(outer[j], f(costs, key=inner[j]))


def test_data_for_each_instance_must_be_as_many_as_there_are():
    f = perturbed_grad(lambda c, *, k: argmin_one_hot(c * k), cost_ndims=1, per_instance=["k"])
    costs = np.arange(20, dtype=np.float32).reshape(4, 5)
    with pytest.raises(ValueError, match="k must have one item for each of 4 instances, got 2"):
        f(costs, k=[1, -1])
    with pytest.raises(TypeError, match="k must be a list or array"):
        f(costs, k=1.0)


def test_keyword_data_that_are_traced_are_named():
    f = perturbed_grad(lambda c, *, k: argmin_one_hot(c * k), cost_ndims=1)
    with pytest.raises(TypeError, match="k is traced"):
        jax.jit(lambda c, k: f(c, k=k))(np.ones((2, 3), np.float32), np.ones(3, np.float32))


def test_costs_of_a_wrong_number_of_axes_are_named():
    f = perturbed_grad(argmin_one_hot, cost_ndims=1)
    for costs in (1.0, np.ones((2, 2, 2), np.float32)):
        with pytest.raises(ValueError, match=r"costs must have \(1,\) axes"):
            f(costs)
    two = perturbed_grad(lambda a, b: (argmin_one_hot(a), argmin_one_hot(b)), cost_ndims=1)
    with pytest.raises(ValueError, match="same batch size"):
        two(np.ones((3, 2), np.float32), np.ones((4, 2), np.float32))
    with pytest.raises(TypeError, match="at least one positional argument"):
        f()
