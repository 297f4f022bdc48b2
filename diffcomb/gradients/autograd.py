"""A call of a wrapped solver as a node of torch's autograd graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .batch import Batch
from .call import Call, solve
from .interfaces import Estimator, takes_labels


class Node:
    """A call on its way through torch, which runs its forward pass, once for each level of ``vmap``.

    Attributes
    ----------
    call : Call
        The call, once torch has run it.
    inner : Node, optional
        Under vmap, the node that did the work.
    rest : tuple
        Outputs that are no arrays.
    """

    def __init__(self, batch: Batch, estimator: Estimator) -> None:
        self.batch = batch
        self.estimator = estimator
        self.call: Call
        self.inner: Node | None = None
        self.rest: tuple[Any, ...] = ()

    def forward(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Solve every instance; returns the outputs that are tensors, the solutions first."""
        self.call = solve(self.batch, self.estimator, self.batch.costs(tensors), takes_labels(self.estimator))
        count, outputs = len(tensors), self.call.outputs()
        solutions = [torch.from_numpy(o).to(t) for o, t in zip(outputs, tensors, strict=False)]
        # Auxiliary outputs that are no arrays cannot pass through autograd; they are returned behind the others.
        last = count + _num_arrays(outputs[count:])
        device = tensors[0].device
        plain = (type(o) is np.ndarray and is_numeric(o) for o in outputs[last:])
        self.rest = tuple(_tensor(o, device) if p else o for o, p in zip(outputs[last:], plain, strict=True))
        return (*solutions, *(_tensor(o, device) for o in outputs[count:last]))

    def repeated(self, count: int, unit: int | None = None) -> Node:
        """A node whose backward pass takes `count` upstream gradients for each instance of this one."""
        unit = max(self.batch.size, 1) if unit is None else unit
        node = Node(self.batch.folded(count), self.estimator)
        if self.inner is None:
            node.call = self.call.repeated(count, unit)
        else:
            node.inner = self.inner.repeated(count, unit)
        return node


class Solve(torch.autograd.Function):
    """The solver in the forward pass."""

    @staticmethod
    def forward(node: Node, *costs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return node.forward(costs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        node, *costs = inputs
        ctx.node = node
        ctx.save_for_backward(*costs)  # the call reads them as views; autograd notices if they were changed meanwhile
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[len(costs) :])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        costs = ctx.saved_tensors  # raises if the costs were modified in place since
        grads = grads[: len(costs)]
        if all(g is None for g in grads):
            return (None, *(torch.zeros_like(c) for c in costs))
        return (None, *Estimate.apply(ctx.node, len(costs), *costs, *grads))  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], node: Node, *costs: torch.Tensor) -> tuple[Any, Any]:
        """The mapped axis becomes (part of) the batch axis."""
        inner = Node(node.batch.folded(info.batch_size), node.estimator)
        node.inner = inner
        folded = [_fold(c, d, info.batch_size, node.batch.batched) for c, d in zip(costs, in_dims[1:], strict=True)]
        outputs = Solve.apply(inner, *folded)  # type: ignore[no-untyped-call]
        node.rest = inner.rest
        return _unfold(outputs, info.batch_size, node.batch.batched), (0,) * len(outputs)


class InBackward(torch.autograd.Function):
    """A part of a backward pass that cannot be differentiated; whatever it depends on is an argument."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(_: Any, *__: torch.Tensor | None) -> Any:
        raise RuntimeError("a gradient through a solver is an estimate: it has no derivative (once_differentiable)")


class Estimate(InBackward):
    """The estimator in the backward pass; a function of its own so that it can be mapped, but not differentiated."""

    @staticmethod
    def forward(node: Node, count: int, *tensors: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        costs, grads = tensors[:count], tensors[count:]
        if not node.call.instances:
            return tuple(torch.zeros_like(c) for c in costs if c is not None)
        results = node.call.backward(grads)
        return tuple(
            torch.from_numpy(np.ascontiguousarray(r)).to(c)
            for r, c in zip(results, costs, strict=True)
            if c is not None
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], node: Node, count: int, *tensors: Any) -> tuple[Any, Any]:
        """At the level that mapped the costs, the inner node has the call; elsewhere only gradients are mapped."""
        size, batched = info.batch_size, node.batch.batched
        costs_are_mapped = any(d is not None for d in in_dims[2 : 2 + count])
        inner = node.inner if costs_are_mapped and node.inner is not None else node.repeated(size)
        folded = [None if t is None else _fold(t, d, size, batched) for t, d in zip(tensors, in_dims[2:], strict=True)]
        outputs = Estimate.apply(inner, count, *folded)  # type: ignore[no-untyped-call]
        return _unfold(outputs, size, batched), (0,) * len(outputs)


def _fold(tensor: torch.Tensor, dim: int | None, size: int, batched: bool) -> torch.Tensor:
    moved = tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
    return moved.flatten(0, 1) if batched else moved


def _unfold(outputs: tuple[torch.Tensor, ...], size: int, batched: bool) -> tuple[torch.Tensor, ...]:
    return tuple(o.reshape(size, -1, *o.shape[1:]) if batched else o for o in outputs)


def _num_arrays(outputs: tuple[Any, ...]) -> int:
    return next((number for number, output in enumerate(outputs) if not is_numeric(output)), len(outputs))


def is_numeric(output: Any) -> bool:
    """Whether an output is an array that torch knows as well."""
    return isinstance(output, np.ndarray) and output.dtype.kind in "fiub" and output.dtype.itemsize <= 8


def _tensor(output: Any, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.asarray(output)).to(device)
