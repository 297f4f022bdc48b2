"""A call of a wrapped solver as a node of torch's autograd graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .._arrays import Array, all_finite, to_numpy
from .._implicit import RowTable, explicit
from .._sums import inner, norm
from ._batch import Batch, copied, stack_padded
from .blackbox import Blackbox
from .oracle import Estimator, Instance, Oracle, keep

Grads = Sequence[torch.Tensor | None]


class Run:
    """One call: what forward leaves for backward."""

    def __init__(self, batch: Batch, estimator: Estimator) -> None:
        self.batch = batch
        self.estimator = estimator
        self.oracle = Oracle(batch.options.solver, [])
        self.other: tuple[Any, ...] = ()
        self.inner: Run | None = None  # under vmap, the run that did the work

    def forward(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Solve every instance; returns the outputs that are tensors, the solutions first."""
        stacked = self.batch.options.solver.vectorized
        arrays = self.batch.costs(tensors)
        outputs = self._solve_stacked(arrays) if stacked else self._solve_instances(arrays)
        # What the caller does to an output must not reach the solution that backward starts from: outputs that
        # were stacked from those of the instances are copies already, all others are copied.
        wrap = torch.from_numpy if self.batch.batched and not stacked else copied
        solutions = [wrap(o).to(t) for o, t in zip(outputs, tensors, strict=False)]
        auxiliary = outputs[len(tensors) :]
        # Auxiliary outputs that are no arrays cannot pass through autograd; they are returned behind the others.
        head = []
        while auxiliary and isinstance(auxiliary[0], np.ndarray) and auxiliary[0].dtype.kind in "fiub":
            head.append(wrap(auxiliary[0]).to(tensors[0].device))
            auxiliary = auxiliary[1:]
        self.other = auxiliary
        return (*solutions, *head)

    def solved(self, arrays: list[Array]) -> tuple[list[Instance], list[tuple[Array, ...]]]:
        """Solve the instances; returns them, and the solutions of the estimator's forward pass.

        An empty batch solves one instance of zeros, to learn how many outputs there are and of which shapes.
        """
        empty = self.batch.batched and self.batch.size == 0
        costs = [tuple(np.zeros(a.shape[1:], a.dtype) for a in arrays)] if empty else self.batch.split(arrays)
        data = [self.batch.instance_data(b) for b in range(len(costs))]
        instances = self.batch.solve(costs, data)
        solutions = self._take(instances)
        if empty:
            self.oracle.instances = []
        return instances, solutions

    def _solve_instances(self, arrays: list[Array]) -> tuple[Any, ...]:
        instances, solutions = self.solved(arrays)
        whole = [(*w, *i.auxiliary) for w, i in zip(solutions, instances, strict=True)]
        if not self.batch.batched:
            return whole[0]
        return tuple(stack_padded(parts)[: self.batch.size] for parts in zip(*whole, strict=True))

    def _solve_stacked(self, arrays: list[Array]) -> tuple[Any, ...]:
        instances, outputs = self.batch.solve_stacked(arrays)
        solutions = self._take(instances)
        if solutions and solutions[0] is not instances[0].solutions:
            parts = zip(*solutions, strict=True) if self.batch.batched else [(w,) for w in solutions[0]]
            smooth = tuple(np.stack(p) if self.batch.batched else p[0] for p in parts)
            return (*smooth, *outputs[len(smooth) :])
        return outputs

    def _take(self, instances: list[Instance]) -> list[tuple[Array, ...]]:
        """Make these the instances of the oracle; returns the solutions of the estimator's forward pass."""
        self.batch.given.attach(instances, self.batch.batched)
        if self.batch.options.normalize:
            self.oracle.instances = [i.scaled(norm(i.ordinary) or 1.0) for i in instances]
        else:
            self.oracle.instances = instances
        smooth = getattr(self.estimator, "solutions", None)
        found = smooth(self.oracle, self.batch.options.generator) if smooth else None
        return [i.solutions for i in instances] if found is None else found

    def backward(self, grads: Grads) -> list[Array]:
        """Return the gradients of the costs, stacked over the batch."""
        results = self.estimates(self.upstream(grads))
        if not self.batch.batched:
            return list(results[0])
        return [np.stack(parts) for parts in zip(*results, strict=True)]

    def estimates(self, upstream: list[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
        """Return the gradients of the costs of every instance, from those with respect to their solutions."""
        instances, options = self.oracle.instances, self.batch.options
        if not isinstance(self.estimator, Blackbox):  # all others look at entries
            upstream = [explicit(g) for g in upstream]
            for instance in instances:
                instance.solutions = explicit(instance.solutions)
        upstream = [keep(g, i.allowed_lifted) for g, i in zip(upstream, instances, strict=True)]
        # A gradient scaler looks for infinity and NaN behind the solver, and skips the step where it finds them.
        spoilt = {b: kind for b, g in enumerate(upstream) if (kind := _not_finite(g))}
        for b in spoilt:
            upstream[b] = tuple(np.zeros(part.shape, part.dtype) for part in upstream[b])  # nothing is solved for it
        results = self.estimator.gradients(self.oracle, upstream, options.generator)
        results = [keep(r, i.allowed or (None,) * len(r)) for r, i in zip(results, instances, strict=True)]
        if options.normalize or not options.radial:
            results = [without_radial(i, r) for i, r in zip(instances, results, strict=True)]
        for number in range(self.batch.num_costs):
            if not all(all_finite(result[number]) for result in results):
                raise ValueError(
                    f"the estimated gradient of costs[{number}] is not finite: the scales λ are too small or too "
                    f"large for {instances[0].own_costs[number].dtype}"
                )
        if options.solver.maximize:
            results = [tuple(0 - part for part in result) for result in results]
        return [
            tuple(np.full_like(part, spoilt[b]) for part in result) if b in spoilt else result
            for b, result in enumerate(results)
        ]

    def upstream(self, grads: Grads) -> list[tuple[Array, ...]]:
        """Split upstream gradients, None where there is none, into those of the instances, without the padding."""
        return [
            tuple(
                np.zeros_like(s) if g is None else _cut(to_numpy(g[b] if self.batch.batched else g), s)
                for g, s in zip(grads, instance.solutions, strict=False)
            )
            for b, instance in enumerate(self.oracle.instances)
        ]

    def repeated(self, count: int, unit: int | None = None) -> Run:
        """A run whose backward pass takes `count` upstream gradients for each instance of this one.

        Where the forward pass was mapped, its instances lie in the inner run, in groups of `unit`; each is repeated.
        """
        unit = max(self.batch.size, 1) if unit is None else unit

        def repeat(items: Sequence[Any]) -> list[Any]:
            groups = [list(items[i : i + unit]) for i in range(0, len(items), unit)]
            return [item for group in groups for item in group * count]

        run = Run(self.batch.folded(count), self.estimator)
        run.oracle.instances = repeat(self.oracle.instances)
        if isinstance(self.oracle.memory, tuple):  # what a forward pass leaves has one item an instance
            run.oracle.memory = tuple(repeat(part) for part in self.oracle.memory)
        run.inner = self.inner and self.inner.repeated(count, unit)
        return run


def without_radial(instance: Instance, gradient: tuple[Array, ...]) -> tuple[Array, ...]:
    """Take the component along the costs out of a gradient, and divide by what normalisation divided the costs by."""
    costs = instance.ordinary
    length = norm(costs)
    if length == 0:
        return gradient
    units = [np.divide(c, length, dtype=np.float64) for c in costs]  # a norm may exceed the range of float32
    along = inner(units, gradient)
    return tuple(((g - along * unit) / instance.scale).astype(g.dtype) for unit, g in zip(units, gradient, strict=True))


class Solve(torch.autograd.Function):
    """The solver in the forward pass."""

    @staticmethod
    def forward(run: Run, *costs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return run.forward(costs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        run, *costs = inputs
        ctx.run = run
        ctx.save_for_backward(*costs)  # read as views by the run; autograd notices if they were changed meanwhile
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[len(costs) :])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        costs = ctx.saved_tensors  # raises if the costs were modified in place since
        grads = grads[: len(costs)]
        if all(g is None for g in grads):
            return (None, *(torch.zeros_like(c) for c in costs))
        return (None, *Estimate.apply(ctx.run, len(costs), *costs, *grads))  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], run: Run, *costs: torch.Tensor) -> tuple[Any, Any]:
        """The mapped axis becomes (part of) the batch axis."""
        inner = Run(run.batch.folded(info.batch_size), run.estimator)
        run.inner = inner
        folded = [_fold(c, d, info.batch_size, run.batch.batched) for c, d in zip(costs, in_dims[1:], strict=True)]
        outputs = Solve.apply(inner, *folded)  # type: ignore[no-untyped-call]
        run.other = inner.other
        return _unfold(outputs, info.batch_size, run.batch.batched), (0,) * len(outputs)


class Estimate(torch.autograd.Function):
    """The estimator in the backward pass; a function of its own so that it can be mapped, but not differentiated."""

    @staticmethod
    def forward(run: Run, count: int, *tensors: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        costs, grads = tensors[:count], tensors[count:]
        if not run.oracle.instances:
            return tuple(torch.zeros_like(c) for c in costs if c is not None)
        results = run.backward(grads)
        return tuple(
            torch.from_numpy(np.ascontiguousarray(r)).to(c)
            for r, c in zip(results, costs, strict=True)
            if c is not None
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(_: Any, *__: torch.Tensor | None) -> Any:
        raise RuntimeError("a gradient through a solver is an estimate: it has no derivative (once_differentiable)")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], run: Run, count: int, *tensors: Any) -> tuple[Any, Any]:
        """At the level that mapped the costs, the inner run has the instances; elsewhere only gradients are mapped."""
        size, batched = info.batch_size, run.batch.batched
        costs_are_mapped = any(d is not None for d in in_dims[2 : 2 + count])
        inner = run.inner if costs_are_mapped and run.inner is not None else run.repeated(size)
        folded = [None if t is None else _fold(t, d, size, batched) for t, d in zip(tensors, in_dims[2:], strict=True)]
        outputs = Estimate.apply(inner, count, *folded)  # type: ignore[no-untyped-call]
        return _unfold(outputs, size, batched), (0,) * len(outputs)


def _fold(tensor: torch.Tensor, dim: int | None, size: int, batched: bool) -> torch.Tensor:
    moved = tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
    return moved.flatten(0, 1) if batched else moved


def _unfold(outputs: tuple[torch.Tensor, ...], size: int, batched: bool) -> tuple[torch.Tensor, ...]:
    return tuple(o.reshape(size, -1, *o.shape[1:]) if batched else o for o in outputs)


def _not_finite(gradient: tuple[Array, ...]) -> float:
    """NaN or infinity if the gradient holds any, else 0."""
    parts = [part.used() if isinstance(part, RowTable) else part for part in gradient]
    if all(all_finite(part) for part in parts):
        return 0.0
    return np.nan if any(np.isnan(part).any() for part in parts) else np.inf


def _cut(gradient: Array, solution: Array) -> Array:
    """The part of a padded gradient that belongs to the solution, in its dtype."""
    return gradient[tuple(slice(length) for length in solution.shape)].astype(solution.dtype, order="C", copy=False)
