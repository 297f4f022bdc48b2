"""``perturbed_grad``: give any black-box solver a gradient."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .._arrays import Array, check_same_device, float_array, is_tensor, to_numpy
from .._threads import thread_map
from .blackbox import Blackbox
from .oracle import Estimator, Instance, Oracle, Solver


@dataclass(frozen=True)
class _Options:
    solver: Solver
    estimator: Estimator
    lift: Any
    generator: torch.Generator | None
    cost_ndims: tuple[int, ...] | None
    per_instance: tuple[str, ...]


def perturbed_grad(
    solver: Callable[..., Any] | None = None,
    *,
    estimator: Estimator | None = None,
    lift: Any = None,
    generator: torch.Generator | None = None,
    cost_ndims: int | Sequence[int] | None = None,
    vectorized: bool = False,
    per_instance: Sequence[str] = (),
    arrays: str = "numpy",
) -> Any:
    """Wrap a solver ``W(c) = argmin <c, w>`` so that gradients with respect to its costs are estimated.

    The solver is any function of one or more cost arrays that returns as many solutions of the same shapes,
    and after them any auxiliary outputs. Its objective must be linear in the costs and is minimised. Instance
    data (a graph, a source and a target, options) go by keyword and are passed through.

    Parameters
    ----------
    solver : callable, optional
        ``solver(*costs, **data) -> solution(s)[, auxiliary outputs]``. Without it, a decorator is returned.
        Solvers of this package are given as they are: ``perturbed_grad(amwc)`` maps ``(node_costs, edge_costs,
        graph=..., partitionable=...)`` to one-hot class labels (n, K), cut indicators (m,) and cluster ids.
    estimator : Estimator, optional
        How to differentiate; ``Blackbox()`` by default, COPS eq. 4 with λ in [1, 5000] and N = 5.
    lift : LiftedMWC or similar, optional
        Carries costs and solutions to a finer space in which the loss lives. The solutions returned are then
        the lifted ones, and the auxiliary outputs are followed by those of the lift.
    generator : torch.Generator, optional
        Source of randomness of the estimator; torch's default generator if None.
    cost_ndims : int or sequence of int, optional
        Number of axes of the costs of *one* instance. Costs may then have one more, leading batch axis B,
        and the instances are solved in parallel threads. Without it there is no batch axis.
    vectorized : bool
        The solver takes the batch axis itself: all instances, and all their perturbations, go in one call.
        Keyword data are then shared by all instances.
    per_instance : sequence of str
        Names of keyword data that are sequences with one item for each instance of a batch.
    arrays : {"numpy", "torch"}
        What the solver takes: numpy arrays, or detached CPU tensors.

    Returns
    -------
    callable
        ``f(*costs, **data)`` returns the solver's outputs: one alone, or a tuple, the solutions with the
        dtype and on the device of their costs. Tensors in, tensors out; numpy arrays in, numpy arrays out
        (and no gradient). Outputs whose shapes differ within a batch are padded at the end of each axis,
        floats by 0 and integers by -1. Gradients are defined once: there is no second derivative.

    Raises
    ------
    TypeError
        If `solver` is not callable, or costs are not floating-point tensors or arrays.
    ValueError
        If an option is unknown or the costs' shapes do not fit `cost_ndims`; on a call, also if the solver
        returns something of another shape than its costs.

    References
    ----------
    .. [1] Vlastelica et al., "Differentiation of Blackbox Combinatorial Solvers", ICLR 2020, arXiv 1912.02175.
    .. [2] Abbas & Swoboda, "Combinatorial Optimization for Panoptic Segmentation: A Fully Differentiable
       Approach", NeurIPS 2021, eq. 3-4 and Algorithm 1.

    Examples
    --------
    >>> import numpy as np, torch
    >>> @perturbed_grad(estimator=Blackbox(lambdas=10.0), cost_ndims=1)
    ... def cheapest(costs):
    ...     return np.eye(len(costs))[costs.argmin()]
    >>> costs = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> loss = cheapest(costs) @ torch.tensor([1.0, 0.0, 1.0])
    >>> loss.backward()
    >>> costs.grad.tolist()
    [-0.10000000149011612, 0.10000000149011612, 0.0]
    """
    if solver is None:
        return functools.partial(
            perturbed_grad, estimator=estimator, lift=lift, generator=generator, cost_ndims=cost_ndims,
            vectorized=vectorized, per_instance=per_instance, arrays=arrays,
        )  # fmt: skip
    if not callable(solver):
        raise TypeError(f"solver must be callable, got {solver!r}")
    if estimator is not None and not hasattr(estimator, "gradients"):
        raise TypeError(f"estimator must be an estimator such as Blackbox(lambdas=...), got {estimator!r}")
    if arrays not in ("numpy", "torch"):
        raise ValueError(f"arrays must be 'numpy' or 'torch', got {arrays!r}")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {generator!r}")
    face = getattr(solver, "linear_face", solver)
    if cost_ndims is None:
        cost_ndims = getattr(face, "cost_ndims", None)
    if cost_ndims is not None:
        cost_ndims = tuple(
            operator.index(d) for d in (cost_ndims if isinstance(cost_ndims, Sequence) else [cost_ndims])
        )
    if vectorized and cost_ndims is None:
        raise ValueError("a vectorized solver needs cost_ndims, the number of axes of the costs of one instance")
    if vectorized and lift is not None:
        raise ValueError("a vectorized solver cannot be lifted: every instance has its own labels")
    name = getattr(solver, "__name__", type(solver).__name__)
    names = (per_instance,) if isinstance(per_instance, str) else tuple(per_instance)
    return Differentiable(
        solver,
        _Options(
            Solver(face, name, arrays, vectorized), estimator or Blackbox(), lift, generator, cost_ndims, names
        ),
    )  # fmt: skip


class Differentiable:
    """What `perturbed_grad` returns: the solver, to be called with costs and keyword data."""

    def __init__(self, solver: Callable[..., Any], options: _Options) -> None:
        self.__name__ = options.solver.name
        self.__doc__ = solver.__doc__
        self._options = options

    def __call__(self, *costs: Any, **data: Any) -> Any:
        """Solve; see `perturbed_grad`."""
        return _call(self._options, costs, data)

    def __repr__(self) -> str:
        return f"perturbed_grad({self.__name__}, estimator={self._options.estimator})"


def _call(options: _Options, costs: tuple[Any, ...], data: dict[str, Any]) -> Any:
    if not costs:
        raise TypeError(f"{options.solver.name} needs at least one positional argument, its costs")
    if not all(is_tensor(c) or isinstance(c, np.ndarray) for c in costs):
        kinds = ", ".join(type(c).__name__ for c in costs)
        raise TypeError(
            f"positional arguments of {options.solver.name} are costs, tensors or numpy arrays; instance data "
            f"such as graph= go by keyword; got ({kinds})"
        )
    check_same_device(**{f"costs[{i}]": c for i, c in enumerate(costs)})
    tensors = [c if is_tensor(c) else _tensor(c) for c in costs]
    if not all(t.is_floating_point() for t in tensors):
        raise TypeError(f"costs must be floating-point, got {', '.join(str(t.dtype) for t in tensors)}")
    run = _Run(options, tensors, data)
    outputs = _Solve.apply(run, *tensors)  # type: ignore[no-untyped-call]
    if not is_tensor(costs[0]):
        outputs = tuple(to_numpy(o) if is_tensor(o) else o for o in outputs)
    outputs = (*outputs, *run.other)
    return outputs[0] if len(outputs) == 1 else outputs


class _Run:
    """One call: what forward leaves for backward."""

    def __init__(self, options: _Options, tensors: list[torch.Tensor], data: dict[str, Any]) -> None:
        self.options = options
        self.batched = _is_batched(options, tensors)
        self.batch_size = len(tensors[0]) if self.batched else 1
        self.num_costs = len(tensors)
        self.data = data
        self.other: tuple[Any, ...] = ()
        self.oracle = Oracle(options.solver, [])

    def forward(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Solve every instance; returns the outputs that are tensors, the solutions first."""
        arrays = [float_array(t, f"costs[{i}]", str(tuple(t.shape))) for i, t in enumerate(tensors)]
        outputs = self._solve_stacked(arrays) if self.options.solver.vectorized else self._solve_instances(arrays)
        # What the caller does to an output must not reach the solution that backward starts from: outputs that
        # were stacked from those of the instances are copies already, all others are copied.
        wrap = torch.from_numpy if self.batched and not self.options.solver.vectorized else _tensor
        solutions = [wrap(o).to(t) for o, t in zip(outputs, tensors, strict=False)]
        auxiliary = outputs[len(tensors) :]
        # Auxiliary outputs that are no arrays cannot pass through autograd; they are returned behind the others.
        head = []
        while auxiliary and isinstance(auxiliary[0], np.ndarray) and auxiliary[0].dtype.kind in "fiub":
            head.append(wrap(auxiliary[0]).to(tensors[0].device))
            auxiliary = auxiliary[1:]
        self.other = auxiliary
        return (*solutions, *head)

    def _solve_instances(self, arrays: list[Array]) -> tuple[Any, ...]:
        # An empty batch solves one instance of zeros, to learn how many outputs there are and of which shapes.
        empty = self.batched and self.batch_size == 0
        costs = [tuple(np.zeros(a.shape[1:], a.dtype) for a in arrays)] if empty else self._split(arrays)
        data = [self._instance_data(b) for b in range(len(costs))]
        # The solver gets copies, since it may work in place on what it is given.
        jobs = zip(costs, data, strict=True)
        results = thread_map(lambda job: self.options.solver(tuple(c.copy() for c in job[0]), job[1]), jobs)
        instances = [self._instance(*parts) for parts in zip(costs, results, data, strict=True)]
        whole = [(*i.solutions, *i.auxiliary) for i in instances]
        self.oracle.instances = [] if empty else instances
        if not self.batched:
            return whole[0]
        stacked = (_stack_padded(parts) for parts in zip(*whole, strict=True))
        return tuple(s[:0] if empty else s for s in stacked)

    def _split(self, arrays: list[Array]) -> list[tuple[Array, ...]]:
        return [tuple(a[b] if self.batched else a for a in arrays) for b in range(self.batch_size)]

    def _instance(self, costs: tuple[Array, ...], result: Any, data: dict[str, Any]) -> Instance:
        own = (*result[0], *result[1])
        revisit = getattr(self.options.solver.function, "revisit", None)
        if self.options.lift is None:
            again = revisit and revisit(costs, own, None, data)
            return Instance(costs, result[0], result[1], data, again=again)
        bound = self.options.lift.bind(own, data)
        lifted = bound.outputs(own)
        again = revisit and revisit(costs, own, bound, data)
        return Instance(costs, lifted[: self.num_costs], lifted[self.num_costs :], bound.data(data), bound, again)

    def _solve_stacked(self, arrays: list[Array]) -> tuple[Any, ...]:
        stack = tuple(a if self.batched else a[None] for a in arrays)
        solutions, auxiliary = self.options.solver(tuple(a.copy() for a in stack), self.data)
        self.oracle.instances = [
            Instance(tuple(a[b] for a in stack), tuple(s[b] for s in solutions), (), self.data)
            for b in range(self.batch_size)
        ]
        return (*(s if self.batched else s[0] for s in solutions), *auxiliary)

    def _instance_data(self, b: int) -> dict[str, Any]:
        data = dict(self.data)
        for name in self.options.per_instance:
            if self.batched and self.batch_size and data.get(name) is not None:
                if len(data[name]) != self.batch_size:
                    raise ValueError(f"{name} must have one item for each of {self.batch_size} instances")
                data[name] = data[name][b]
        return data

    def backward(self, grads: tuple[torch.Tensor | None, ...]) -> list[Array]:
        """Return the gradients of the costs, stacked over the batch."""
        instances = self.oracle.instances
        upstream = [
            tuple(
                np.zeros_like(s) if g is None else _cut(to_numpy(g[b] if self.batched else g), s)
                for g, s in zip(grads, instance.solutions, strict=False)
            )
            for b, instance in enumerate(instances)
        ]
        for number in range(self.num_costs):
            if not all(np.isfinite(g[number]).all() for g in upstream):
                raise ValueError(f"the gradient with respect to solution {number} holds NaN or infinity")
        results = self.options.estimator.gradients(self.oracle, upstream, self.options.generator)
        for number in range(self.num_costs):
            if not all(np.isfinite(result[number]).all() for result in results):
                raise ValueError(
                    f"the estimated gradient of costs[{number}] is not finite: the scales λ are too small or too "
                    f"large for {instances[0].costs[number].dtype}"
                )
        if not self.batched:
            return list(results[0])
        return [np.stack(parts) for parts in zip(*results, strict=True)]


class _Solve(torch.autograd.Function):
    """The solver as a node of the autograd graph."""

    @staticmethod
    def forward(run: _Run, *costs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return run.forward(costs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        run, *costs = inputs
        ctx.run = run
        ctx.like = [(c.dtype, c.device, c.shape) for c in costs]
        ctx.save_for_backward(*costs)  # read as views by the run; autograd notices if they were changed meanwhile
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[len(costs) :])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        _ = ctx.saved_tensors  # raises if the costs were modified in place since
        grads = grads[: len(ctx.like)]
        if all(g is None for g in grads) or not ctx.run.oracle.instances:
            return (None, *(torch.zeros(s, dtype=t, device=d) for t, d, s in ctx.like))
        results = ctx.run.backward(grads)
        return (
            None,
            *(
                torch.from_numpy(np.ascontiguousarray(result)).to(dtype=dtype, device=device)
                for result, (dtype, device, _) in zip(results, ctx.like, strict=True)
            ),
        )


def _tensor(array: Array) -> torch.Tensor:
    """A tensor with a copy of the array, whatever its strides, byte order and flags are."""
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))


def _is_batched(options: _Options, tensors: list[torch.Tensor]) -> bool:
    """Whether the costs have a batch axis; says which shapes do not fit."""
    ndims = options.cost_ndims
    if ndims is None:
        return False
    if len(ndims) == 1 and len(tensors) > 1 and not options.solver.own:
        ndims = ndims * len(tensors)
    if len(ndims) != len(tensors):
        raise ValueError(f"{options.solver.name} takes {len(ndims)} cost tensor(s), got {len(tensors)}")
    extra = {t.ndim - ndim for t, ndim in zip(tensors, ndims, strict=True)}
    shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
    if extra not in ({0}, {1}):
        raise ValueError(f"costs must have {ndims} axes, or all one batch axis more; got shapes {shapes}")
    if extra == {1} and len({len(t) for t in tensors}) > 1:
        raise ValueError(f"costs must have the same batch size, got shapes {shapes}")
    return extra == {1}


def _stack_padded(parts: tuple[Any, ...]) -> Any:
    """Stack the outputs of a batch; ragged arrays are padded, and what is no array becomes a list."""
    if not all(isinstance(p, np.ndarray) for p in parts):
        return list(parts)
    shape = np.max([p.shape for p in parts], axis=0)
    dtype = np.result_type(*parts)
    stacked = np.full((len(parts), *shape), -1 if dtype.kind == "i" else 0, dtype)
    for target, part in zip(stacked, parts, strict=True):
        target[tuple(slice(length) for length in part.shape)] = part
    return stacked


def _cut(gradient: Array, solution: Array) -> Array:
    """The part of a padded gradient that belongs to the solution, in its dtype."""
    return gradient[tuple(slice(length) for length in solution.shape)].astype(solution.dtype, copy=False)
