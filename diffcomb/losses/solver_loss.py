"""``solver_loss``: a loss between predicted costs and a known solution, through any black-box solver."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch

from .._arrays import Array
from .._implicit import explicit
from ..gradients.autograd import InBackward
from ..gradients.batch import Batch, as_tensors, batch_of, copied
from ..gradients.compiling import uncompiled
from ..gradients.differences import Arrays
from ..gradients.options import Options, make_options
from ..gradients.oracle import Instance, Oracle, keep
from ..gradients.ragged import RaggedBatch, is_ragged, rows_of
from .known import known_arrays, label_masks

REDUCTIONS = ("mean", "sum", "none")


class Loss(Protocol):
    """How to value predicted costs: anything with this method can be the `loss` of `solver_loss`."""

    needs_true_costs: bool

    def evaluate(
        self, oracle: Oracle, true_costs: list[Arrays] | None, generator: torch.Generator | None
    ) -> tuple[Array, list[Arrays]]:
        """Return the loss of every instance (B,), and its gradients in the space of ``instance.costs``.

        ``instance.solutions`` holds the targets. The gradients are not pulled back. A loss whose attribute
        ``takes_partial_targets`` is True may find which entries are known in ``instance.labelled``.
        """
        ...


def solver_loss(
    solver: Callable[..., Any],
    loss: Loss,
    *,
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
    reduction: str = "mean",
) -> SolverLoss:
    """Make a loss of predicted costs from a solver ``W(c) = argmin <c, w>``.

    Parameters
    ----------
    solver : callable
        As in :func:`perturbed_grad`, and so are `lift`, `generator`, `cost_ndims`, `vectorized`, `per_instance`,
        `arrays`, `parallel`, `maximize`, `mask`, `known_costs` and `value`. A lift makes its labels from the target,
        whose auxiliary outputs must then be given with it.
    loss : Loss
        Such as ``FenchelYoung()``.
    reduction : {"mean", "sum", "none"}
        Of the losses of a batch.

    Returns
    -------
    callable
        ``f(*costs, target=..., true_costs=..., labelled=..., **data)``. `target` is the optimal solution, an array or
        tensor of the costs' shape, or a tuple with one for each cost tensor (and auxiliary outputs behind them);
        `true_costs` are what it is optimal for, in the same form. A loss says which of the two it needs; where only
        true costs are given, the target is solved for. `labelled` is True where the target is known: a boolean array
        for each cost tensor, of its shape or one that broadcasts to it (a mask of nodes as ``known[..., None]``), or
        None where all of it is known. :class:`StructuredSVM` and :class:`FenchelYoung` say what they do with the other
        entries. Costs of different sizes go as lists, and so do targets, true costs and masks. The result is a scalar,
        or (B,) for the reduction "none". Its gradient is computed with it, in one pass.

    Raises
    ------
    TypeError
        If a target or true costs are missing, `loss` is no loss, or it takes no partial targets.
    ValueError
        If shapes do not fit, or values are not finite.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from diffcomb import FenchelYoung, solver_loss
    >>> cheapest = lambda costs: np.eye(len(costs))[costs.argmin()]
    >>> f = solver_loss(cheapest, FenchelYoung(samples=100), cost_ndims=1, generator=torch.Generator().manual_seed(0))
    >>> costs = torch.tensor([[3.0, 0.0]], requires_grad=True)
    >>> f(costs, target=torch.tensor([[1.0, 0.0]])).backward()
    >>> bool(costs.grad[0, 0] > 0 > costs.grad[0, 1])  # descent makes item 0 cheaper
    True
    """
    if isinstance(loss, type) or not hasattr(loss, "evaluate"):
        raise TypeError(f"loss must be a loss such as FenchelYoung(), got {loss!r}")
    check_reduction(reduction)
    options = make_options(
        solver, lift=lift, generator=generator, cost_ndims=cost_ndims, vectorized=vectorized,
        per_instance=per_instance, arrays=arrays, parallel=parallel, maximize=maximize, mask=mask,
        known_costs=known_costs, value=value,
    )  # fmt: skip
    return SolverLoss(options, loss, reduction)


def check_reduction(reduction: str) -> None:
    """Raise a ValueError unless `reduction` is known."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(map(repr, REDUCTIONS))}, got {reduction!r}")


class SolverLoss:
    """What `solver_loss` returns: a function of costs, a target, and keyword data."""

    def __init__(self, options: Options, loss: Loss, reduction: str) -> None:
        self.options = options
        self.loss = loss
        self.reduction = reduction

    @uncompiled
    def __call__(
        self, *costs: Any, target: Any = None, true_costs: Any = None, labelled: Any = None, **data: Any
    ) -> Any:
        """Evaluate; see `solver_loss`."""
        rows = rows_of(self.options, costs) if is_ragged(costs) else None
        tensors = as_tensors(self.options, costs) if rows is None else [t for row in rows for t in row]
        if true_costs is None and (target is None or self.loss.needs_true_costs):
            missing = "true_costs" if self.loss.needs_true_costs else "target or true_costs"
            raise TypeError(f"{type(self.loss).__name__} needs {missing}=")
        if labelled is not None:
            self._check_partial()
        key = getattr(self.loss, "key", None)
        apart = {key: data.pop(key)} if key in data and not self.options.solver.adapter.takes(key) else {}
        batch = batch_of(self.options, tensors, data) if rows is None else RaggedBatch(self.options, rows, data)
        values, *_ = _Evaluate.apply(self, batch, (target, true_costs, labelled, apart), *tensors)  # type: ignore[no-untyped-call]
        if not batch.batched:
            return values[0]
        return values if self.reduction == "none" else getattr(values, self.reduction)()

    def _check_partial(self) -> None:
        if not getattr(self.loss, "takes_partial_targets", False):
            name = type(self.loss).__name__
            raise TypeError(f"{name} takes whole targets only; labelled= is for StructuredSVM and FenchelYoung")
        if self.options.known_costs is not None or self.options.value is not None:
            raise ValueError(
                "labelled= cannot be given with known_costs= or value=, which count at unlabelled entries too"
            )

    def evaluate(
        self, batch: Batch, truths: tuple[Any, ...], tensors: Sequence[torch.Tensor]
    ) -> tuple[Array, list[Array]]:
        """Losses of all instances, and their gradients stacked over the batch.

        `truths` are the target, true costs, which entries of the target are labelled, each as given to the call, and
        keyword data that the solver does not take.
        """
        target, true_costs, labelled, apart = truths
        truth = None if true_costs is None else known_arrays(batch, tensors, true_costs, "true_costs")
        masks = None if labelled is None or batch.size == 0 else label_masks(batch, tensors, labelled)
        known = None if target is None else known_arrays(batch, tensors, target, "target", masks, auxiliary=True)
        if batch.size == 0:
            return np.zeros(0), [np.zeros(tuple(t.shape)) for t in tensors]
        instances = _instances(batch, tensors, truth, known)
        for b, instance in enumerate(instances):
            instance.labelled = None if masks is None else masks[b]
            instance.apart = {name: batch.item(value, name, b) for name, value in apart.items()}
        oracle = Oracle(self.options.solver, instances)
        true = None if truth is None else [_lifted(i, t) for i, t in zip(oracle.instances, truth, strict=True)]
        values, lifted = self.loss.evaluate(oracle, true, self.options.generator)
        pulled = [i.pull_back(g) for i, g in zip(oracle.instances, lifted, strict=True)]
        pulled = [keep(g, i.allowed or (None,) * len(g)) for i, g in zip(oracle.instances, pulled, strict=True)]
        if self.options.solver.maximize:
            pulled = [tuple(0 - part for part in g) for g in pulled]
        return values, batch.join_gradients(pulled)

    def __repr__(self) -> str:
        return f"solver_loss({self.options.solver.name}, {self.loss}, reduction={self.reduction!r})"


class _Evaluate(torch.autograd.Function):
    """The losses of a batch, and the gradients that were computed with them as further outputs."""

    @staticmethod
    def forward(f: SolverLoss, batch: Batch, truths: tuple[Any, ...], *costs: torch.Tensor) -> Any:
        values, gradients = f.evaluate(batch, truths, costs)
        # A sum over thousands of entries leaves the range of half precision: torch's losses are float32 there.
        dtype = torch.promote_types(costs[0].dtype, torch.float32)
        return (
            copied(np.asarray(values)).to(costs[0].device, dtype),
            *(copied(g).to(c) for g, c in zip(gradients, costs, strict=True)),
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        batch = inputs[1]
        ctx.batched, ctx.ragged = batch.batched, batch.num_costs if isinstance(batch, RaggedBatch) else 0
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[1:])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, *_: Any) -> tuple[Any, ...]:
        again = grad.new_zeros((), requires_grad=torch.is_grad_enabled())  # so that another derivative is noticed
        scaled = _Scaled.apply(ctx.batched, ctx.ragged, again, grad, *ctx.saved_tensors)  # type: ignore[no-untyped-call]
        return (None, None, None, *scaled)


class _Scaled(InBackward):
    """Gradients times those of the losses."""

    @staticmethod
    def forward(batched: bool, ragged: int, _: torch.Tensor, grad: torch.Tensor, *gradients: torch.Tensor) -> Any:
        def times(i: int, g: torch.Tensor) -> torch.Tensor:
            factor = grad[i // ragged] if ragged else grad.reshape(-1, *[1] * (g.ndim - 1)) if batched else grad[0]
            return (g * factor).to(g.dtype)

        return tuple(times(i, g) for i, g in enumerate(gradients))


def _instances(batch: Batch, tensors: Sequence[torch.Tensor], truth: Any, known: Any) -> list[Instance]:
    """Instances whose solutions are the targets; where there are none, of the true costs."""
    costs, count = batch.split(batch.costs(tensors)), batch.num_costs
    adapter = batch.options.solver.adapter
    raw = [batch.instance_data(b) for b in range(len(costs))]
    vectorized = batch.options.solver.vectorized
    data = raw if vectorized else [adapter.prepare(c, d) for c, d in zip(costs, raw, strict=True)]
    if known is not None:
        results = [(k[:count], k[count:]) for k in known]
    elif batch.options.solver.vectorized:
        stacked, _ = batch.options.solver(tuple(np.stack(p) for p in zip(*truth, strict=True)), batch.data)
        results = [(w, ()) for w in zip(*stacked, strict=True)]
    else:
        results = [(i.solutions, i.auxiliary) for i in _without_lift(batch).solve(truth, raw)]
    made = [batch.instance(c, *r, d, warm=False) for c, r, d in zip(costs, results, data, strict=True)]
    instances = [replace(i, solutions=explicit(i.solutions)) for i in made]
    batch.given.attach(instances, batch.batched)
    return instances


def _without_lift(batch: Batch) -> Batch:
    plain = copy.copy(batch)
    plain.options = replace(batch.options, lift=None)
    return plain


def _lifted(instance: Instance, costs: Arrays) -> Arrays:
    lifted: Arrays = costs if instance.lift is None else instance.lift.costs(costs)
    return lifted
