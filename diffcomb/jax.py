"""The same gradients for JAX: ``jax.pure_callback`` around the solver, ``jax.custom_vjp`` around its estimate.

Import it as ``from diffcomb.jax import perturbed_grad``; it needs the extra ``jax``. Solvers and estimators are those
of the rest of the package and run on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from ._arrays import Array
from .gradients import perturbed_grad as _torch_perturbed_grad
from .gradients.oracle import Estimator
from .gradients.perturbed import Differentiable
from .lifting import LiftedMWC

__all__ = ["perturbed_grad"]


def perturbed_grad(
    solver: Callable[..., Any],
    *,
    estimator: Estimator | None = None,
    lift: LiftedMWC | None = None,
    cost_ndims: int | Sequence[int] | None = None,
    vectorized: bool = False,
    per_instance: Sequence[str] = (),
    normalize: bool = False,
    radial: bool = True,
) -> Callable[..., Any]:
    """Wrap a solver ``W(c) = argmin <c, w>`` so that JAX can differentiate with respect to its costs.

    Parameters are those of :func:`diffcomb.perturbed_grad`. Shapes must be known in advance, hence a lift needs a map:
    ``LiftedMWC(label_classes)``.

    Returns
    -------
    callable
        ``f(*costs, seed=0, **data)`` returns the solutions, one array or a tuple; auxiliary outputs are left out.
        `seed`, an integer or a traced scalar, is that of the estimator's noise and scales. It works under ``jax.jit``,
        ``jax.grad`` and, with `cost_ndims`, under ``jax.vmap`` (mapped instances become a batch). Keyword data are
        constants. A backward pass solves the forward problem once more, since a pure function keeps nothing.

    Raises
    ------
    TypeError, ValueError
        As in :func:`diffcomb.perturbed_grad`; what goes wrong in a call is raised through ``jax``.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from diffcomb import Blackbox
    >>> from diffcomb.jax import perturbed_grad
    >>> f = perturbed_grad(lambda c: np.eye(len(c), dtype=c.dtype)[c.argmin()], estimator=Blackbox(4.0), cost_ndims=1)
    >>> jax.grad(lambda c: f(c)[0])(np.array([0.0, 1.0, 5.0], np.float32)).tolist()
    [-0.25, 0.25, 0.0]
    """
    if lift is not None and lift.label_classes is None:
        raise ValueError("in JAX a lift needs a map, LiftedMWC(label_classes), since shapes must be known in advance")
    inner = _torch_perturbed_grad(
        solver, estimator=estimator, lift=lift, cost_ndims=cost_ndims, vectorized=vectorized,
        per_instance=per_instance, normalize=normalize, radial=radial,
    )  # fmt: skip

    def call(*costs: Any, seed: Any = 0, **data: Any) -> Any:
        arrays = tuple(jnp.asarray(c) for c in costs)
        solutions = _differentiable(inner, lift, data)(jnp.asarray(seed), *arrays)
        return solutions[0] if len(solutions) == 1 else solutions

    return call


def _differentiable(f: Differentiable, lift: LiftedMWC | None, data: dict[str, Any]) -> Any:
    ndims = f.options.cost_ndims
    method = "sequential" if ndims is None else "expand_dims"

    @jax.custom_vjp
    def solve(seed: Any, *costs: Any) -> Any:
        shapes = [_shape(c) for c in costs]
        if lift is not None and lift.label_classes is not None:
            shapes[0] = _shape(costs[0], len(lift.label_classes))
        return jax.pure_callback(forward, tuple(shapes), seed, *costs, vmap_method=method)

    def forward(seed: Array, *costs: Array) -> tuple[Array, ...]:
        leaves, unfold = _fold(costs, ndims)
        return tuple(unfold(w.detach().numpy()) for w in _solve(f, seed, leaves, data))

    def backward(count: int, seed: Array, *arrays: Array) -> tuple[Array, ...]:
        leaves, unfold = _fold(arrays[:count], ndims)
        upstream, _ = _fold(arrays[count:], ndims)
        leaves = [c.requires_grad_() for c in leaves]
        found = torch.autograd.grad(_solve(f, seed, leaves, data), leaves, upstream)
        return tuple(unfold(g.numpy()) for g in found)

    def with_residuals(seed: Any, *costs: Any) -> tuple[Any, Any]:
        return solve(seed, *costs), (seed, costs)

    def pull_back(residuals: Any, grads: Any) -> tuple[Any, ...]:
        seed, costs = residuals
        shapes = tuple(_shape(c) for c in costs)
        found = jax.pure_callback(
            lambda s, *arrays: backward(len(costs), s, *arrays), shapes, seed, *costs, *grads, vmap_method=method
        )
        return (None, *found)

    solve.defvjp(with_residuals, pull_back)
    return solve


def _shape(costs: Any, last: int | None = None) -> Any:
    shape = costs.shape if last is None else (*costs.shape[:-1], last)
    return jax.ShapeDtypeStruct(shape, costs.dtype)  # type: ignore[no-untyped-call]


def _solve(f: Differentiable, seed: Array, costs: list[torch.Tensor], data: dict[str, Any]) -> list[torch.Tensor]:
    """Call the torch version, its randomness seeded; the first seed of a mapped call counts."""
    generator = torch.Generator().manual_seed(int(np.asarray(seed).ravel()[0]))
    outputs = f.seeded(generator)(*costs, **data)
    return list(outputs[: len(costs)]) if isinstance(outputs, tuple) else [outputs]


def _fold(
    arrays: Sequence[Array], ndims: tuple[int, ...] | None
) -> tuple[list[torch.Tensor], Callable[[Array], Array]]:
    """Axes beyond one batch axis, which ``vmap`` added, become part of the batch; returns how to undo that."""
    tensors = [torch.from_numpy(np.array(a)) for a in arrays]
    if ndims is None:
        return tensors, lambda w: w
    ndims = ndims * len(tensors) if len(ndims) == 1 else ndims
    leads = [t.shape[: t.ndim - d] for t, d in zip(tensors, ndims, strict=True)]
    if len(set(leads)) == 1 and len(leads[0]) < 2:
        return tensors, lambda w: w
    lead = np.broadcast_shapes(*leads)
    folded = [
        t.expand(*lead, *t.shape[len(x) :]).flatten(0, len(lead) - 1) for t, x in zip(tensors, leads, strict=True)
    ]
    return folded, lambda w: w.reshape(*lead, *w.shape[1:])
