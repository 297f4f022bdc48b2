"""A solution that stays labels: its one-hot matrix, and gradients of that, are made where they are asked for.

The matrix of a panoptic labelling has a column for each label. What torch's graph holds in its place is a token, one
number an instance, on which everything that is read off the labels depends; the gradients of these readings meet in a
box that the solver's node of the graph empties.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._arrays import Array, to_numpy
from .._implicit import OneHot, RowTable
from .autograd import InBackward
from .batch import Batch, copied, stack_padded
from .call import Call, solve
from .interfaces import Estimator


class Labels:
    """The labels of a batch, and what can be read off them differentiably.

    Attributes
    ----------
    labels : Tensor of int64, shape (B, n)
        Label of every node in the lifted space.
    classes : Tensor of int64, shape (B, J)
        Class of every label; -1 for padding.
    dtype : torch.dtype
        Of the matrices.
    """

    def __init__(self, labels: Tensor, classes: Tensor, dtype: torch.dtype, token: Tensor, box: Box) -> None:
        self.labels = labels
        self.classes = classes
        self.dtype = dtype
        self._token = token
        self._box = box

    def one_hot(self) -> Tensor:
        """The matrices (B, n, J)."""
        return _OneHot.apply(self._token, self._box, self.labels, self.classes.shape[1], self.dtype, None)  # type: ignore[no-untyped-call, no-any-return]

    def one_hot_classes(self, num_classes: int) -> Tensor:
        """The one-hot matrices (B, n, K) of the nodes' classes: M^T of the former."""
        labels = self.classes.clamp(min=0).gather(1, self.labels)
        return _OneHot.apply(self._token, self._box, labels, num_classes, self.dtype, self.classes)  # type: ignore[no-untyped-call, no-any-return]

    def overlaps(self, index: Tensor, count: int) -> Tensor:
        """How many nodes each label shares with each segment, (B, J, count), in single precision at least.

        `index` (B, n) holds the segment 0..count-1 of every node.
        """
        dtype = torch.promote_types(self.dtype, torch.float32)  # half precision counts no further than 65,504
        given = self._token, self._box, self.labels, self.classes.shape[1], index, count, dtype
        return _Overlaps.apply(*given)  # type: ignore[no-untyped-call, no-any-return]


class Box:
    """Gradients of the one-hot matrices of one call, until the solver takes them: matrices, or tables with an index."""

    def __init__(self) -> None:
        self.gradients: list[tuple[Tensor | None, Tensor]] = []

    def take(self) -> list[tuple[Tensor | None, Tensor]]:
        """All that came; the box is empty then."""
        gradients, self.gradients = self.gradients, []
        return gradients


def _sums(
    instances: list[Any], indices: list[Tensor | None], gradients: tuple[Tensor, ...]
) -> list[Array | RowTable] | None:
    """The sum for every instance: rows of a table if nothing else came, a matrix, or None if nothing came."""
    if not indices:
        return None
    pairs = list(zip(indices, gradients, strict=True))
    matrices = [g for index, g in pairs if index is None]
    tables = [(index, g) for index, g in pairs if index is not None]
    return [_sum(b, instance.solutions[0], matrices, tables) for b, instance in enumerate(instances)]


def _sum(b: int, solution: OneHot, matrices: list[Tensor], tables: list[tuple[Tensor, Tensor]]) -> Array | RowTable:
    count = solution.shape[1]
    rows = [
        RowTable(np.ascontiguousarray(to_numpy(g[b, :count]).T, solution.dtype), to_numpy(index[b]).astype(np.int32))
        for index, g in tables
    ]
    if len(rows) == 1 and not matrices:
        return rows[0]
    parts = [to_numpy(m[b, :, :count]) for m in matrices] + [np.asarray(r) for r in rows]
    total = np.ascontiguousarray(parts[0], solution.dtype)
    for part in parts[1:]:
        total = total + part
    return total


class Pending:
    """A call that torch is about to run; what an output refers to must not keep it alive."""

    call: Call

    def __init__(self, batch: Batch, estimator: Estimator) -> None:
        self.batch = batch
        self.estimator = estimator


def solve_labels(batch: Batch, estimator: Estimator, tensors: list[Tensor]) -> tuple[Any, ...]:
    """Solve a batch through a lift; returns the labels, the other solutions, as y (B, m), and the clusters (B, n)."""
    box = Box()
    token, labels, clusters, classes, *others = _SolveLabels.apply(Pending(batch, estimator), box, *tensors)  # type: ignore[no-untyped-call]
    return Labels(labels, classes, tensors[0].dtype, token, box), *others, clusters


class _SolveLabels(torch.autograd.Function):
    """The solver in the forward pass, and its estimator in the backward pass."""

    @staticmethod
    def forward(pending: Pending, _box: Box, *costs: Tensor) -> tuple[Tensor, ...]:
        pending.call = solve(pending.batch, pending.estimator, pending.batch.costs(costs), described=True)
        described: Any = pending.call.forward
        whole = [(w[0].labels, *i.auxiliary, *w[1:]) for i, w in described]
        parts = [torch.from_numpy(stack_padded(part)[: len(costs[0])]) for part in zip(*whole, strict=True)]
        numbers = [part.to(costs[0].device) for part in parts[:3]]  # labels, clusters, class of every label
        others = (part.to(c) for part, c in zip(parts[3:], costs[1:], strict=True))
        return costs[0].new_zeros(len(costs[0])), *numbers, *others

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pending, ctx.box, *costs = inputs
        ctx.call = pending.call
        ctx.save_for_backward(*costs)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:4])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        costs, others, of_labels = ctx.saved_tensors, grads[4:], ctx.box.take()
        if (not of_labels and all(g is None for g in others)) or not ctx.call.instances:
            return (None, None, *(torch.zeros_like(c) for c in costs))
        given = *costs, *others, *(gradient for _, gradient in of_labels)
        indices = [index for index, _ in of_labels]
        return (None, None, *_Estimate.apply(ctx.call, indices, len(costs), *given))  # type: ignore[no-untyped-call]


class _Estimate(InBackward):
    """The estimator."""

    @staticmethod
    def forward(call: Call, indices: list[Tensor | None], count: int, *tensors: Any) -> tuple[Tensor, ...]:
        costs, others, of_labels = tensors[:count], tensors[count : 2 * count - 1], tensors[2 * count - 1 :]
        instances = call.instances
        first = _sums(instances, indices, of_labels)
        upstream: list[Any] = [
            (
                np.zeros(i.solutions[0].shape, i.solutions[0].dtype) if first is None else first[b],
                *(
                    np.zeros_like(w) if g is None else _like(to_numpy(g[b]), w)
                    for g, w in zip(others, i.solutions[1:], strict=True)
                ),
            )
            for b, i in enumerate(instances)
        ]
        results = zip(*call.estimates(upstream), strict=True)
        return tuple(copied(np.stack(r)).to(c) for r, c in zip(results, costs, strict=True))


def _like(gradient: Array, solution: Array) -> Array:
    return np.ascontiguousarray(gradient, solution.dtype)


class _OneHot(torch.autograd.Function):
    """One-hot matrices (B, n, count) of labels; `columns` tells the column of every label where they are classes."""

    @staticmethod
    def forward(
        token: Tensor, _box: Box, labels: Tensor, count: int, dtype: torch.dtype, _columns: Tensor | None
    ) -> Tensor:
        return token.new_zeros(*labels.shape, count, dtype=dtype).scatter_(2, labels[..., None], 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Tensor) -> None:
        ctx.box, ctx.columns = inputs[1], inputs[5]
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.columns is not None:  # a label's entry is that of its class; padding has none
            places = ctx.columns.clamp(min=0)[:, None].expand(-1, gradient.shape[1], -1)
            gradient = gradient.gather(2, places)
        ctx.box.gradients.append((None, gradient))
        return (torch.zeros_like(ctx.saved_tensors[0]), *[None] * 5)


class _Overlaps(torch.autograd.Function):
    """Counts (B, J, G) of nodes by label and segment, linear in the one-hot matrix: one number a pair comes back."""

    @staticmethod
    def forward(
        _token: Tensor, _box: Box, labels: Tensor, num_labels: int, index: Tensor, count: int, dtype: torch.dtype
    ) -> Tensor:
        pairs = labels * count + index
        shared = [torch.bincount(p, minlength=num_labels * count) for p in pairs]
        return torch.stack(shared).view(len(labels), num_labels, count).to(dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Tensor) -> None:
        ctx.box, ctx.index = inputs[1], inputs[4]
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        ctx.box.gradients.append((ctx.index, gradient))
        return (torch.zeros_like(ctx.saved_tensors[0]), *[None] * 6)
