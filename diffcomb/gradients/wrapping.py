"""``perturbed_grad``: give any black-box solver a gradient."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from .._arrays import is_tensor, to_numpy
from ..linear_solver import register
from .autograd import Node, Solve
from .batch import Batch, as_tensors, batch_of
from .call import Call
from .compiling import uncompiled
from .estimators import Blackbox
from .interfaces import Estimator, as_estimator
from .label_outputs import solve_labels
from .options import Options, make_options
from .ragged import OFFSETS, is_ragged, solve_concatenated, solve_lists


def perturbed_grad(
    solver: Callable[..., Any] | None = None,
    *,
    estimator: Estimator | None = None,
    lift: Any = None,
    generator: torch.Generator | None = None,
    cost_ndims: int | Sequence[int] | None = None,
    vectorized: bool = False,
    per_instance: Sequence[str] = (),
    arrays: str | None = None,
    parallel: Any = "auto",
    maximize: bool = False,
    mask: Any = None,
    known_costs: Any = None,
    value: Any = None,
    normalize: bool = False,
    radial: bool = True,
) -> Any:
    """Wrap a solver ``W(c) = argmin <c, w>`` so that gradients with respect to its costs are estimated.

    The solver is any function of one or more cost arrays that returns as many solutions of the same shapes,
    and after them any auxiliary outputs. Its objective must be linear in the costs and is minimised, unless `maximize`
    says otherwise. Instance data (a graph, a source and a target, options) go by keyword and are passed through.

    Parameters
    ----------
    solver : callable, optional
        ``solver(*costs, **data) -> solution(s)[, auxiliary outputs]``. Without it, a decorator is returned.
        Solvers of this package are given as they are: ``perturbed_grad(amwc)`` maps ``(node_costs, edge_costs,
        graph=..., partitionable=...)`` to one-hot class labels (n, K), cut indicators (m,) and cluster ids.
    estimator : Estimator, optional
        How to differentiate; ``Blackbox()`` by default: COPS eq. 4 with N = 5 scales relative to the costs.
    lift : LiftedMWC or similar, optional
        Carries costs and solutions to a finer space in which the loss lives. The solutions returned are then
        the lifted ones, and the auxiliary outputs are followed by those of the lift.
    generator : torch.Generator, optional
        Source of randomness of the estimator; torch's default generator if None.
    cost_ndims : int or sequence of int, optional
        Number of axes of the costs of *one* instance. Costs may then have one more, leading batch axis B.
        Without it there is no batch axis.
    vectorized : bool
        The solver takes the batch axis itself: all instances, and all their perturbations, go in one call.
        Keyword data are then shared by all instances.
    per_instance : sequence of str
        Names of keyword data that are sequences with one item for each instance of a batch.
    arrays : {None, "numpy", "torch"}
        What the solver takes: numpy arrays, or detached CPU tensors. By default tensors if its first parameter is
        annotated as ``torch.Tensor``, else arrays.
    parallel : {"auto", None, "threads", "processes"} or executor
        Where instances, and their perturbations, are solved. None: one after the other, in the calling thread.
        "threads": for solvers that several threads may call at once, and that release the GIL. "processes": in worker
        processes, to which the solver, costs and data are pickled; or any executor with a method ``submit``. "auto":
        threads for solvers of this package, None for all others, since a solver with a state (a model object) would
        give wrong solutions without a word.
    maximize : bool
        The solver maximises <c, w>. All estimators and losses then have the signs of a maximiser.
    mask : array, tuple of arrays, or str, optional
        True where an entry is allowed, in the costs' shape, with or without the batch axis; for several costs a tuple,
        None where all entries are allowed. Or the name of the keyword data of a call that hold it. Forbidden entries
        do not count in norms, and get no gradient; the solver must forbid them itself, by their costs if need be.
        Calls take ``mask=`` as well, unless the solver has a keyword of that name.
    known_costs : array, tuple of arrays, or str, optional
        Costs d that the solver adds itself, so that it minimises <c + d, w>; in the same forms as `mask`.
    value : callable, optional
        ``value(costs, solution, **data)``, the whole objective of one solution of one instance (tuples for several
        costs), where the solver minimises <c, w> + f(w) with another f. Without one of the two, `repair`,
        ``start="best"``, `gradcheck` and `diagnose` take the objective to be <c, w>.
    normalize : bool
        Let the estimator see costs of norm 1 for every instance, of which a solver of a linear objective finds the
        same solutions, and differentiate through the normalisation. λ and σ are then relative to the costs' norm.
    radial : bool
        Keep the component of the gradient along the costs. Solutions do not depend on the costs' scale, so the true
        derivative in that direction is 0; that of black-box interpolation is never negative, so that descent
        shrinks the costs. False takes it out, and so does `normalize`.

    Returns
    -------
    callable
        ``f(*costs, **data)`` returns the solver's outputs: one alone, or a tuple, the solutions with the
        dtype and on the device of their costs. Tensors in, tensors out; numpy arrays in, numpy arrays out
        (and no gradient). Outputs whose shapes differ within a batch are padded at the end of each axis,
        floats by 0 and integers by -1. Gradients are defined once: there is no second derivative. An instance with an
        upstream gradient that is infinite or NaN gets a gradient that is; nothing is solved for it.

        Instances of different sizes go as lists: ``f([c_1, c_2])`` returns lists of solutions and of auxiliary
        outputs. Or one behind the other: ``f(c, ptr=offsets)``, with instance b in ``c[ptr[b] : ptr[b + 1]]``,
        returns solutions one behind the other; unless the solver has a keyword `ptr`.

    Raises
    ------
    TypeError
        If `solver` is not callable, or costs are not floating-point tensors or arrays; on a call, also if the solver
        returns no arrays, or cannot be pickled for another process.
    ValueError
        If an option is unknown, two options contradict each other, or the costs' shapes do not fit `cost_ndims`; on a
        call, also if the solver returns something of another shape than its costs.

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
    how: dict[str, Any] = dict(
        lift=lift, generator=generator, cost_ndims=cost_ndims, vectorized=vectorized, per_instance=per_instance,
        arrays=arrays, parallel=parallel, maximize=maximize, mask=mask, known_costs=known_costs, value=value,
        normalize=normalize, radial=radial,
    )  # fmt: skip
    if solver is None:
        return functools.partial(perturbed_grad, estimator=estimator, **how)
    chosen = Blackbox() if estimator is None else estimator
    as_estimator(chosen)  # which says now what is wrong with it
    return Differentiable(solver, make_options(solver, **how), chosen)


perturbed_grad.register = register  # type: ignore[attr-defined]


class Differentiable:
    """What `perturbed_grad` returns: the solver, to be called with costs and keyword data."""

    def __init__(self, solver: Callable[..., Any], options: Options, estimator: Estimator) -> None:
        self.__name__ = options.solver.name
        self.__doc__ = solver.__doc__
        self.options = options
        self.estimator = estimator
        self._is_method = False

    def __call__(self, *costs: Any, **data: Any) -> Any:
        """Solve; see `perturbed_grad`."""
        return _solve(self, costs, data)

    def __set_name__(self, owner: type, name: str) -> None:
        """A function that a class body defines, and decorates, is a method; a solver that it keeps is none."""
        self._is_method = getattr(self.options.solver.function, "__qualname__", "") == f"{owner.__qualname__}.{name}"

    def __get__(self, instance: Any, owner: Any = None) -> Differentiable:
        """Bind the solver to an instance if it is a method of its class."""
        if instance is None or not self._is_method:
            return self
        new: Differentiable = copy.copy(self)
        new.options = replace(self.options, solver=self.options.solver.bound_to(instance))
        new._is_method = False
        return new

    def seeded(self, generator: torch.Generator) -> Differentiable:
        """Return a copy with another source of randomness."""
        new: Differentiable = copy.copy(self)
        new.options = replace(self.options, generator=generator)
        return new

    @uncompiled
    def labels(self, *costs: torch.Tensor, **data: Any) -> tuple[Any, ...]:
        """Solve a batch through a lift; the first solution stays labels, so that memory does not grow with them.

        The estimator must return the solver's own solutions, as all do that draw no noise in the forward pass.
        """
        tensors = as_tensors(self.options, costs)
        return solve_labels(batch_of(self.options, tensors, data), as_estimator(self.estimator), tensors)

    def solved(self, *costs: torch.Tensor, **data: Any) -> tuple[tuple[Any, ...], Call]:
        """Solve one instance or a batch; returns all outputs, and the call behind them, for those who look into it."""
        node, outputs = _apply(self, as_tensors(self.options, costs), data)
        return outputs, node.call

    def mapped(self, size: int | None, /, *costs: torch.Tensor, **data: Any) -> tuple[Any, ...]:
        """Solve what a transformation has mapped: many calls one behind the other, which share their keyword data.

        Each has a batch axis of `size`, or if that is None no such axis.
        """
        one = [c[0] if size is None else c[:size] for c in costs]
        count = len(costs[0]) // (1 if size is None else max(size, 1))
        batch = batch_of(self.options, as_tensors(self.options, tuple(one)), data)
        return _outputs(self, batch.folded(count), costs)[1]

    def __repr__(self) -> str:
        return f"perturbed_grad({self.__name__}, estimator={self.estimator})"


@uncompiled
def _solve(f: Differentiable, costs: tuple[Any, ...], data: dict[str, Any]) -> Any:
    if OFFSETS in data and not f.options.solver.adapter.takes(OFFSETS):
        return solve_concatenated(f.options, as_estimator(f.estimator), costs, data)
    if is_ragged(costs):
        return solve_lists(f.options, as_estimator(f.estimator), costs, data)
    _, outputs = _apply(f, as_tensors(f.options, costs), data)
    if not is_tensor(costs[0]):
        arrays = [to_numpy(o) if is_tensor(o) else o for o in outputs]
        solutions = (w.astype(c.dtype, copy=False) for w, c in zip(arrays, costs, strict=False))  # half precision
        outputs = (*solutions, *arrays[len(costs) :])
    return outputs[0] if len(outputs) == 1 else outputs


def _apply(f: Differentiable, tensors: list[torch.Tensor], data: dict[str, Any]) -> tuple[Node, tuple[Any, ...]]:
    return _outputs(f, batch_of(f.options, tensors, data), tensors)


def _outputs(f: Differentiable, batch: Batch, tensors: Sequence[torch.Tensor]) -> tuple[Node, tuple[Any, ...]]:
    node = Node(batch, as_estimator(f.estimator))
    outputs = Solve.apply(node, *tensors)  # type: ignore[no-untyped-call]
    return node, (*outputs, *node.rest)
