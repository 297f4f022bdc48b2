"""Batches whose instances have costs of different sizes: lists of tensors, or one tensor with offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from .._arrays import Array, check_same_device, float_array, is_tensor, to_numpy
from .._implicit import explicit
from .autograd import Node, Solve, is_numeric
from .batch import Batch, Grads, as_tensors
from .given import Given, lengths_of
from .interfaces import Arrays, Estimator
from .options import Options
from .oracle import Instance

OFFSETS = "ptr"


def is_ragged(costs: tuple[Any, ...]) -> bool:
    """Whether all positional arguments are lists of tensors or arrays."""
    return bool(costs) and all(isinstance(c, list) and all(map(_is_array, c)) for c in costs)


def _is_array(value: Any) -> bool:
    return is_tensor(value) or isinstance(value, np.ndarray)


class RaggedBatch(Batch):
    """The instances of one call, whose costs lie one behind the other: those of instance 0, of instance 1, ..."""

    def __init__(self, options: Options, rows: list[list[torch.Tensor]], data: dict[str, Any]) -> None:
        if options.solver.vectorized:
            raise ValueError("a vectorized solver takes one array for all instances: it cannot be given lists of costs")
        for b, row in enumerate(rows):
            ndims = options.cost_ndims
            own = ndims if ndims is None or len(ndims) == len(row) else ndims * len(row)
            if own is not None and tuple(t.ndim for t in row) != own:
                raise ValueError(f"costs of instance {b} must have {own} axes, got {[tuple(t.shape) for t in row]}")
        self.options = options
        self.batched, self.size, self.num_costs = True, len(rows), len(rows[0])
        self.given = Given(options, data)
        self.data = self.given.data

    def arrays(self, tensors: Sequence[torch.Tensor], name: str = "costs") -> list[Array]:
        """View tensors as checked numpy arrays."""
        K = self.num_costs
        return [
            float_array(t, f"{name}[{i % K}] of instance {i // K}", str(tuple(t.shape))) for i, t in enumerate(tensors)
        ]

    def split(self, arrays: Sequence[Array]) -> list[tuple[Array, ...]]:
        """The arrays of every instance."""
        return [tuple(arrays[b * self.num_costs : (b + 1) * self.num_costs]) for b in range(self.size)]

    def upstream(self, grads: Grads, instances: list[Instance]) -> list[Arrays]:
        """Those of the instances."""
        K = self.num_costs
        return [
            tuple(
                np.zeros(s.shape, s.dtype) if g is None else to_numpy(g).astype(s.dtype, order="C", copy=False)
                for g, s in zip(grads[b * K : (b + 1) * K], instance.solutions, strict=True)
            )
            for b, instance in enumerate(instances)
        ]

    def join(self, instances: list[Instance], solutions: list[Arrays]) -> tuple[Any, ...]:
        """Solutions one behind the other, and behind them a list of auxiliary outputs for each of those."""
        flat = [np.array(part) for parts in solutions for part in explicit(parts)]
        return (*flat, *map(list, zip(*(i.auxiliary for i in instances), strict=True)))

    def join_gradients(self, results: list[Arrays]) -> list[Array]:
        """The gradients of the costs, one behind the other."""
        return [part for parts in results for part in parts]

    def folded(self, count: int) -> Batch:
        """Lists cannot be mapped."""
        raise TypeError("lists of costs cannot be mapped by vmap: call it for each list")


def rows_of(options: Options, costs: tuple[Any, ...]) -> list[list[torch.Tensor]]:
    """The costs of every instance, from lists of them for each cost of the solver."""
    lengths = [len(c) for c in costs]
    if len(set(lengths)) > 1 or not lengths[0]:
        raise ValueError(f"lists of costs must have one item for each instance, got {lengths} items")
    for b, cost in enumerate(costs[0]):
        check_same_device(**{"costs of instance 0": costs[0][0], f"costs of instance {b}": cost})
    return [as_tensors(options, row) for row in zip(*costs, strict=True)]


def solve_lists(options: Options, estimator: Estimator, costs: tuple[Any, ...], data: dict[str, Any]) -> Any:
    """Solve lists of costs, one for each cost of the solver; returns lists of solutions and of auxiliary outputs."""
    if not any(costs):
        return [] if len(costs) == 1 else tuple([] for _ in costs)
    rows = rows_of(options, costs)
    node = Node(RaggedBatch(options, rows, data), estimator)
    outputs = Solve.apply(node, *(t for row in rows for t in row))  # type: ignore[no-untyped-call]
    count = len(costs)
    if not is_tensor(costs[0][0]):
        outputs = tuple(_as_given(o, costs[i % count][i // count]) for i, o in enumerate(outputs))
    lists = [[outputs[b * count + k] for b in range(len(rows))] for k in range(count)]
    lists += [
        [torch.from_numpy(np.array(p)) if is_numeric(p) and is_tensor(costs[0][0]) else p for p in parts]
        for parts in node.rest
    ]
    return lists[0] if len(lists) == 1 else tuple(lists)


def solve_concatenated(options: Options, estimator: Estimator, costs: tuple[Any, ...], data: dict[str, Any]) -> Any:
    """Solve costs that lie one behind the other along their first axis, cut at the offsets ``ptr``."""
    data = dict(data)
    offsets = data.pop(OFFSETS)
    if options.lift is not None:
        raise ValueError("ptr= cannot be given with a lift, whose solutions differ in width; give lists of costs")
    tensors = as_tensors(options, costs)
    several = isinstance(offsets, tuple)
    all_offsets = offsets if several else (offsets,) * len(tensors)
    if several and len(offsets) != len(tensors):
        raise ValueError(f"ptr must be an array, or a tuple of {len(tensors)}, one for each cost, got {len(offsets)}")
    sizes = [_sizes(p, t, i) for i, (t, p) in enumerate(zip(tensors, all_offsets, strict=True))]
    parts = [list(torch.split(t, s)) for t, s in zip(tensors, sizes, strict=True)]
    for name in ("mask", options.mask, options.known_costs):
        if isinstance(name, str) and name in data and not options.solver.adapter.takes(name):
            data[name] = _split_with(data[name], tensors, sizes)
    given = {
        name: _split_with(value, tensors, sizes)
        for name, value in (("mask", options.mask), ("known_costs", options.known_costs))
        if value is not None and not isinstance(value, str)
    }
    options = replace(options, **given)
    found = solve_lists(options, estimator, tuple(parts), data)
    lists = found if isinstance(found, tuple) else (found,)
    joined: list[Any] = [torch.cat(w) if w else t.clone() for w, t in zip(lists, tensors, strict=False)]
    if not is_tensor(costs[0]):
        joined = [_as_given(w, c) for w, c in zip(joined, costs, strict=True)]
        lists = tuple([to_numpy(p) if is_tensor(p) else p for p in parts] for parts in lists)
    joined += lists[len(tensors) :]
    return joined[0] if len(joined) == 1 else tuple(joined)


def _split_with(value: Any, tensors: list[torch.Tensor], sizes: list[list[int]]) -> Any:
    """A mask, or known costs, in lists for the instances wherever it lies one behind the other as the costs do."""
    if isinstance(value, tuple) and len(value) == len(tensors):
        pairs = zip(value, tensors, sizes, strict=True)
        return tuple(_split_with(v, [t], [s]) for v, t, s in pairs)
    if len(tensors) > 1 or value is None or lengths_of(value) != tuple(tensors[0].shape):
        return value
    return np.split(to_numpy(value), np.cumsum(sizes[0])[:-1])


def _as_given(solution: torch.Tensor, costs: Any) -> Array:
    """A solution as an array of the dtype of its costs, half precision included."""
    array = to_numpy(solution)
    return array.astype(costs.dtype, copy=False) if isinstance(costs, np.ndarray) else array


def _sizes(offsets: Any, tensor: torch.Tensor, number: int) -> list[int]:
    array = to_numpy(offsets)
    if array.ndim != 1 or array.dtype.kind not in "iu" or not len(array):
        raise ValueError(f"ptr must be integers of shape (B + 1,), got {offsets!r:.80}")
    sizes = np.diff(array.astype(np.int64))
    if tensor.ndim < 1 or array[0] != 0 or (sizes < 0).any() or array[-1] != len(tensor):
        shape = tuple(tensor.shape)
        raise ValueError(f"ptr must rise from 0 to the length of costs[{number}], of shape {shape}, got {array!r:.80}")
    sizes_list: list[int] = sizes.tolist()
    return sizes_list
