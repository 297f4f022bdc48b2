"""Gradients through solvers for JAX: ``jax.pure_callback`` around the solver, ``jax.custom_vjp`` around its estimate.

Import it as ``from diffcomb.jax import perturbed_grad``; it needs the extra ``jax``. Solvers and estimators are those
of the rest of the package and run on the host.
"""

from __future__ import annotations

import copy
import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from ._arrays import Array
from .gradients import perturbed_grad as _torch_perturbed_grad
from .gradients.batch import is_batched, items_of
from .gradients.interfaces import Estimator, as_estimator
from .gradients.options import Options
from .gradients.wrapping import Differentiable
from .lifting import LiftedMWC
from .linear_solver import PlainSolver, adapter_of

__all__ = ["perturbed_grad"]


def perturbed_grad(
    solver: Callable[..., Any],
    *,
    estimator: Estimator | None = None,
    lift: LiftedMWC | None = None,
    cost_ndims: int | Sequence[int] | None = None,
    vectorized: bool = False,
    per_instance: Sequence[str] = (),
    parallel: Any = "auto",
    maximize: bool = False,
    mask: Any = None,
    known_costs: Any = None,
    value: Any = None,
    normalize: bool = False,
    radial: bool = True,
) -> Callable[..., Any]:
    """Wrap a solver ``W(c) = argmin <c, w>`` so that JAX can differentiate with respect to its costs.

    Parameters are those of :func:`diffcomb.perturbed_grad`, without `generator` and `arrays`; `solver` must be given.
    Shapes must be known in advance, hence a lift needs a map: ``LiftedMWC(label_classes)``.

    Returns
    -------
    callable
        ``f(*costs, key=None, seed=None, **data)`` returns the solutions, one array or a tuple; auxiliary outputs are
        left out. `key`, a key of ``jax.random``, or `seed`, an integer or a traced scalar, is that of the estimator's
        noise and scales, not of the solver: an estimator that draws needs one, and another one in every step. It works
        under ``jax.jit``, ``jax.grad`` and, with `cost_ndims`, under ``jax.vmap`` (mapped instances become a batch).
        Keyword data are constants. A backward pass solves the forward problem once more, since a pure function keeps
        nothing.

    Raises
    ------
    TypeError, ValueError
        As in :func:`diffcomb.perturbed_grad`; what goes wrong in a call is raised through ``jax``. A call without a
        key or seed raises a TypeError if the estimator draws; a solver that calls JAX raises one where JAX would wait
        for itself for good.

    Notes
    -----
    Solvers run inside of compiled functions. If they call JAX there, JAX waits for itself, unless it runs on the CPU
    without asynchronous dispatch, which this module switches off where it is imported before JAX has started.

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
    known = not callable(solver) or not isinstance(adapter_of(solver), PlainSolver)
    inner = _torch_perturbed_grad(
        solver if known else _Guarded(solver), estimator=estimator, lift=lift,
        cost_ndims=cost_ndims, vectorized=vectorized, per_instance=per_instance, parallel=parallel, maximize=maximize,
        mask=mask, known_costs=known_costs, value=value, normalize=normalize, radial=radial,
    )  # fmt: skip

    def call(*costs: Any, key: Any = None, seed: Any = None, **data: Any) -> Any:
        seed = _seed(inner.estimator, key, seed)
        arrays = tuple(jnp.asarray(c) for c in costs)
        size = _check_call(inner.options, arrays, data)
        data = {name: copy.copy(value) if _is_list(value) else value for name, value in data.items()}
        solutions = functions.of(_Host(inner, data, size))(jnp.asarray(seed), *arrays)
        return solutions[0] if len(solutions) == 1 else solutions

    functions = _Functions(lift)
    return call


def _check_call(options: Options, arrays: tuple[Any, ...], data: dict[str, Any]) -> int | None:
    """The size of a call's batch, None if it has no such axis, or an error that says what is wrong with it."""
    if not arrays:
        raise TypeError(f"{options.solver.name} needs at least one positional argument, its costs")
    if not all(jnp.issubdtype(array.dtype, jnp.floating) for array in arrays):
        raise TypeError(f"costs must be floating-point, got {', '.join(str(array.dtype) for array in arrays)}")
    batched = is_batched(options, arrays)
    for name in options.per_instance if batched else ():
        if data.get(name) is not None:
            items_of(data[name], len(arrays[0]), name)
    for name, value in data.items():
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
            raise TypeError(f"{name} is traced by a transformation of JAX, but keyword data must be constants")
    return len(arrays[0]) if batched else None


class _Functions:
    """The functions that JAX has compiled last: it compiles another one anew, and keeps what it has compiled."""

    def __init__(self, lift: LiftedMWC | None) -> None:
        self.lift = lift
        self.known: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def of(self, host: _Host) -> Any:
        """The function of a host, or of an earlier one whose data are the same objects, or equal numbers or lists."""
        key = (host.size, *((name, _identity(value)) for name, value in sorted(host.data.items())))
        found = self.known.pop(key, None) or _differentiable(host, self.lift)  # which keeps alive what the key names
        self.known[key] = found
        if len(self.known) > _MAX_FUNCTIONS:
            self.known.popitem(last=False)
        return found


_MAX_FUNCTIONS = 16  # and the length of lists that are compared


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _is_list(value: Any) -> bool:
    """Whether a value is a list of few numbers, which users write anew in every call."""
    return isinstance(value, list) and len(value) <= _MAX_FUNCTIONS and all(map(_is_number, value))


def _identity(value: Any) -> Any:
    if _is_list(value):
        return tuple((type(number), number) for number in value)
    return (type(value), value) if _is_number(value) else id(value)


class _Guarded:
    """A solver that is refused if it calls JAX where that would wait for good."""

    def __init__(self, solver: Callable[..., Any]) -> None:
        self.solver = solver
        functools.update_wrapper(self, solver, assigned=("__name__", "__doc__"), updated=())

    def __call__(self, *costs: Array, **data: Any) -> Any:
        if _SYNCHRONOUS and jax.default_backend() == "cpu":
            return self.solver(*costs, **data)
        try:
            with jax.transfer_guard("disallow_explicit"):  # the costs cannot reach JAX without a transfer
                outputs = self.solver(*costs, **data)
        except jax.errors.JaxRuntimeError as error:
            if "Disallowed" in str(error):
                raise TypeError(self._refusal("called JAX")) from error
            raise
        if any(isinstance(o, jax.Array) for o in (outputs if isinstance(outputs, (tuple, list)) else [outputs])):
            raise TypeError(self._refusal("returned a jax.Array"))
        return outputs

    def _refusal(self, what: str) -> str:
        name = getattr(self.solver, "__name__", type(self.solver).__name__)
        return (
            f"the solver {name} {what}, but must not call JAX: it runs inside of a compiled function, where JAX would "
            f"wait for itself for good; write it in numpy, which is what it is given, or, on a CPU, import "
            f"diffcomb.jax before JAX is used for the first time"
        )


def _dispatch_synchronously() -> bool:
    """Let solvers call JAX on the CPU, and say whether this came in time; see `perturbed_grad`."""
    try:
        from jax._src.xla_bridge import backends_are_initialized
    except ImportError:  # it is no public function; solvers that call JAX are then refused
        return False
    if backends_are_initialized():
        return False
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # type: ignore[no-untyped-call]
    return True


_SYNCHRONOUS = _dispatch_synchronously()


def _seed(estimator: Estimator, key: Any, seed: Any) -> Any:
    """The seed of a call, which a key may stand for; estimators that draw nothing need none."""
    if key is not None and seed is not None:
        raise TypeError("give key= or seed=, not both")
    if key is not None:
        return jax.random.bits(key, dtype=jnp.uint32)
    if seed is None and as_estimator(estimator).draws:
        raise TypeError(
            f"{estimator!r} draws noise or scales: give a key= of jax.random (or a seed=) to every call, another one "
            f"in every step"
        )
    return 0 if seed is None else seed


@dataclass(frozen=True)
class _Host:
    """The torch version as callbacks on numpy arrays, which may have axes that ``vmap`` added in front."""

    f: Differentiable
    data: dict[str, Any]
    size: int | None

    def forward(self, seed: Array, *costs: Array) -> tuple[Array, ...]:
        """Solutions."""
        return self._mapped(seed, costs, lambda s, c: [w.detach() for w in self._solve(s, c)])

    def backward(self, count: int, seed: Array, *arrays: Array) -> tuple[Array, ...]:
        """Gradients, from `count` costs and as many upstream gradients."""

        def gradients(seed: int, tensors: list[torch.Tensor]) -> Sequence[torch.Tensor]:
            leaves = [c.requires_grad_() for c in tensors[:count]]
            return torch.autograd.grad(self._solve(seed, leaves), leaves, tensors[count:])

        return self._mapped(seed, arrays, gradients)

    def _solve(self, seed: int, costs: list[torch.Tensor]) -> list[torch.Tensor]:
        f, ndims = self.f.seeded(torch.Generator().manual_seed(seed)), self.f.options.cost_ndims
        if ndims is not None and costs[0].ndim > ndims[0]:
            return list(f.mapped(self.size, *costs, **self.data)[: len(costs)])
        return list(f.solved(*costs, **self.data)[0][: len(costs)])

    def _mapped(self, seed: Array, arrays: Sequence[Array], run: Any) -> tuple[Array, ...]:
        """Fold all axes in front of an instance's into one batch axis; seeds that are mapped are used one by one."""
        ndims = self.f.options.cost_ndims
        dtypes = [a.dtype for a in arrays]
        tensors = [torch.from_numpy(np.array(a, a.dtype if a.dtype in _KNOWN else np.float32)) for a in arrays]
        own = [t.ndim for t in tensors] if ndims is None else ndims * (len(tensors) // len(ndims))
        leads = [t.shape[: t.ndim - d] for t, d in zip(tensors, own, strict=True)]
        seeds = np.asarray(seed)
        seeds = seeds.reshape((*seeds.shape, *[1] * (len(leads[0]) - seeds.ndim)))
        lead = np.broadcast_shapes(seeds.shape, *leads)
        whole = [t.expand(*lead, *t.shape[len(x) :]) for t, x in zip(tensors, leads, strict=True)]
        if not lead:
            found = run(int(seed), [t.clone() for t in whole])
        else:
            found = []
            for at in np.ndindex(seeds.shape):  # all instances with the same seed are a batch
                part = tuple(slice(i, i + 1) if n > 1 else slice(None) for i, n in zip(at, seeds.shape, strict=True))
                some = run(int(seeds[at]), [t[part].flatten(0, len(lead) - 1).clone() for t in whole])
                found = found or [w.new_empty((*lead, *w.shape[1:])) for w in some]
                for w, whole_w in zip(some, found, strict=True):
                    whole_w[part] = w.reshape(whole_w[part].shape)
        return tuple(w.numpy().astype(dtype) for w, dtype in zip(found, dtypes, strict=False))


_KNOWN = (np.float16, np.float32, np.float64)


def _differentiable(host: _Host, lift: LiftedMWC | None) -> Any:
    method = "sequential" if host.f.options.cost_ndims is None else "expand_dims"

    @jax.custom_vjp
    def solve(seed: Any, *costs: Any) -> Any:
        shapes = [_shape(c) for c in costs]
        if lift is not None and lift.label_classes is not None:
            shapes[0] = _shape(costs[0], len(lift.label_classes))
        return jax.pure_callback(host.forward, tuple(shapes), seed, *costs, vmap_method=method)

    def with_residuals(seed: Any, *costs: Any) -> tuple[Any, Any]:
        return solve(seed, *costs), (seed, costs)

    def pull_back(residuals: Any, grads: Any) -> tuple[Any, ...]:
        seed, costs = residuals
        shapes = tuple(_shape(c) for c in costs)
        backward = functools.partial(host.backward, len(costs))
        return (None, *jax.pure_callback(backward, shapes, seed, *costs, *grads, vmap_method=method))

    solve.defvjp(with_residuals, pull_back)
    return solve


def _shape(costs: Any, last: int | None = None) -> Any:
    shape = costs.shape if last is None else (*costs.shape[:-1], last)
    return jax.ShapeDtypeStruct(shape, costs.dtype)  # type: ignore[no-untyped-call]
