"""The instances of one call: costs and keyword data are split into instances, results are joined again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .._arrays import Array, check_not_masked, check_same_device, float_array, is_tensor, to_numpy
from .._implicit import explicit
from .given import Given
from .interfaces import Arrays, takes_labels
from .options import Options
from .oracle import Instance
from .parallel import Task, solve_all

Grads = Sequence[torch.Tensor | None]


def as_tensors(options: Options, costs: tuple[Any, ...]) -> list[torch.Tensor]:
    """Return the costs of a call as floating-point tensors, or say what is wrong with them."""
    if not costs:
        raise TypeError(f"{options.solver.name} needs at least one positional argument, its costs")
    if not all(is_tensor(c) or isinstance(c, np.ndarray) for c in costs):
        kinds = ", ".join(type(c).__name__ for c in costs)
        raise TypeError(
            f"positional arguments of {options.solver.name} are costs, tensors or numpy arrays; instance data "
            f"such as graph= go by keyword; got ({kinds})"
        )
    check_same_device(**{f"costs[{i}]": c for i, c in enumerate(costs)})
    if any(is_tensor(c) and c.is_meta for c in costs):
        raise TypeError(f"costs on the device meta have no values that {options.solver.name} could be called with")
    tensors = [c if is_tensor(c) else copied(c, f"costs[{i}]") for i, c in enumerate(costs)]
    if not all(t.is_floating_point() for t in tensors):
        raise TypeError(f"costs must be floating-point, got {', '.join(str(t.dtype) for t in tensors)}")
    return tensors


class Batch:
    """Instances of one size, stacked along a leading axis, or a single one without that axis."""

    def __init__(self, options: Options, tensors: list[torch.Tensor], data: dict[str, Any]) -> None:
        self.options = options
        self.batched = is_batched(options, tensors)
        self.size = len(tensors[0]) if self.batched else 1
        self.num_costs = len(tensors)
        self.given = Given(options, data)
        self.data = self.given.data

    # What comes in

    def arrays(self, tensors: Sequence[torch.Tensor], name: str = "costs") -> list[Array]:
        """View tensors as checked numpy arrays, with the batch axis that they have."""
        return [float_array(t, f"{name}[{i}]", str(tuple(t.shape))) for i, t in enumerate(tensors)]

    def costs(self, tensors: Sequence[torch.Tensor], name: str = "costs") -> list[Array]:
        """Costs as such arrays, negated for a solver that maximises: estimators and losses see minimisation only."""
        arrays = self.arrays(tensors, name)
        return [-a for a in arrays] if self.options.solver.maximize else arrays

    def split(self, arrays: Sequence[Array]) -> list[Arrays]:
        """The arrays of every instance."""
        return [tuple(a[b, ...] if self.batched else a for a in arrays) for b in range(self.size)]

    def instance_data(self, b: int) -> dict[str, Any]:
        """Keyword data of instance b."""
        return {name: self.item(value, name, b) for name, value in self.data.items()}

    def item(self, value: Any, name: str, b: int) -> Any:
        """What keyword data are for instance b: all of it, or the item of its own."""
        if name in self.options.per_instance and self.batched and self.size and value is not None:
            return items_of(value, self.size, name)[b]
        return value

    def upstream(self, grads: Grads, instances: list[Instance]) -> list[Arrays]:
        """Split upstream gradients, None where there is none, into those of the instances, without the padding."""
        return [
            tuple(
                np.zeros(s.shape, s.dtype) if g is None else _cut(to_numpy(g[b] if self.batched else g), s)
                for g, s in zip(grads, instance.solutions, strict=False)
            )
            for b, instance in enumerate(instances)
        ]

    # Instances

    def solved(self, arrays: list[Array]) -> list[Instance]:
        """Solve every instance.

        Of an empty batch, one instance of zeros, to learn how many outputs there are and of which shapes.
        """
        empty = self.batched and self.size == 0
        missing = [name for name in self.options.per_instance if empty and self.data.get(name) is not None]
        if missing:
            raise ValueError(f"an empty batch has no {missing[0]}, without which the shapes of outputs are not known")
        costs = [tuple(np.zeros(a.shape[1:], a.dtype) for a in arrays)] if empty else self.split(arrays)
        return self.solve(costs, [self.instance_data(b) for b in range(len(costs))])

    def solve(self, costs: list[Arrays], data: list[dict[str, Any]]) -> list[Instance]:
        """Solve instances, and lift them."""
        adapter = self.options.solver.adapter
        data = [adapter.prepare(c, d) for c, d in zip(costs, data, strict=True)]
        # The solver gets copies, since it may work in place on what it is given.
        tasks = [
            Task(lambda c=c: tuple(part.copy() for part in c), [part.shape for part in c], d, b, len(costs), False)  # type: ignore[misc]
            for b, (c, d) in enumerate(zip(costs, data, strict=True))
        ]
        results = list(solve_all(self.options.solver, tasks))
        return [self.instance(c, *r, d) for c, r, d in zip(costs, results, data, strict=True)]

    def instance(
        self, costs: Arrays, solutions: Arrays, auxiliary: tuple[Any, ...], data: dict[str, Any], warm: bool = True
    ) -> Instance:
        """The instance with a solution of its own space, bound to the lift if there is one.

        With `warm`, a solver that can warm-start itself will be able to.
        """
        own, lift = (*solutions, *auxiliary), self.options.lift
        warm_differences = self.options.solver.adapter.warm_differences
        if lift is None:
            found = warm_differences(costs, own, None, data) if warm else None
            return Instance(costs, solutions, auxiliary, data, warm_differences=found)
        if not takes_labels(lift):
            own = (*explicit(solutions), *auxiliary)
        bound = lift.bind(own, data)
        lifted, count = bound.outputs(own), self.num_costs
        found = warm_differences(costs, own, bound, data) if warm else None
        return Instance(costs, lifted[:count], lifted[count:], bound.data(data), bound, found)

    # What goes out

    def join(self, instances: list[Instance], solutions: list[Arrays]) -> tuple[Any, ...]:
        """The outputs of the call: solutions, and behind them auxiliary outputs, stacked over the batch.

        All arrays are new: what the caller does to an output must not reach the solution that backward starts from.
        """
        whole = [(*explicit(w), *i.auxiliary) for w, i in zip(solutions, instances, strict=True)]
        if not self.batched:
            return tuple(_new(part) for part in whole[0])
        return tuple(stack_padded(parts)[: self.size] for parts in zip(*whole, strict=True))

    def join_gradients(self, results: list[Arrays]) -> list[Array]:
        """Gradients of the costs, stacked over the batch."""
        return [np.stack(parts) for parts in zip(*results, strict=True)] if self.batched else list(results[0])

    def folded(self, count: int) -> Batch:
        """Return the call for `count` times as many instances, the given ones repeated."""
        new: Batch = object.__new__(type(self))
        new.options, new.num_costs, new.data = self.options, self.num_costs, dict(self.data)
        new.batched, new.size, new.given = True, count * self.size, self.given.repeated(count)
        for name in self.options.per_instance:
            if self.data.get(name) is not None:
                new.data[name] = (list(self.data[name]) if self.batched else [self.data[name]]) * count
        return new


class VectorizedBatch(Batch):
    """Instances that the solver takes all in one call, with the batch axis."""

    def solved(self, arrays: list[Array]) -> list[Instance]:
        """Solve all instances."""
        stack = tuple(a if self.batched else a[None] for a in arrays)
        self.stacked, self.auxiliary = self.options.solver(tuple(a.copy() for a in stack), self.data, alone=True)
        return [
            Instance(tuple(a[b] for a in stack), tuple(s[b] for s in self.stacked), (), self.data)
            for b in range(len(stack[0]))
        ]

    def join(self, instances: list[Instance], solutions: list[Arrays]) -> tuple[Any, ...]:
        """The outputs of the call; auxiliary ones are as the solver returned them."""
        parts = [np.stack(p) for p in zip(*solutions, strict=True)] or [_new(s) for s in self.stacked]
        outputs = (*(p if self.batched else p[0] for p in parts), *(_new(a) for a in self.auxiliary))
        self.stacked = self.auxiliary = ()  # the instances are enough for the backward pass
        return outputs


def batch_of(options: Options, tensors: list[torch.Tensor], data: dict[str, Any]) -> Batch:
    """The instances of a call with these costs and keyword data."""
    return (VectorizedBatch if options.solver.vectorized else Batch)(options, tensors, data)


def items_of(value: Any, size: int, name: str) -> Any:
    """Keyword data that have an item for each instance of a batch, or an error that says what is wrong with them."""
    try:
        count = -1 if isinstance(value, Mapping) else len(value)
    except TypeError:
        count = -1
    if count < 0:
        raise TypeError(
            f"{name} must be a list or array with one item for each of {size} instances, got {type(value).__name__}"
        )
    if count != size:
        raise ValueError(f"{name} must have one item for each of {size} instances, got {count}")
    return value


def detached(given: Any, name: str) -> torch.Tensor:
    """A tensor without its graph, or one of an array's values."""
    return given.detach() if is_tensor(given) else copied(np.asanyarray(given), name)


def copied(array: Array, name: str = "an output") -> torch.Tensor:
    """A tensor with a copy of a numeric array of any strides, byte order and flags.

    Raises
    ------
    TypeError
        If values are masked, or torch knows no such numbers.
    """
    check_not_masked(array, name)
    try:
        return torch.from_numpy(_new(array))
    except TypeError as error:
        raise TypeError(f"{name} must hold numbers of at most 64 bits, got dtype {array.dtype}") from error


def _new(value: Any) -> Any:
    """A copy of a numeric array; anything else, which never becomes a tensor, as it is."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub" or type(value) is not np.ndarray:
        return value
    return np.array(value, value.dtype.newbyteorder("="), order="C")


def is_batched(options: Options, tensors: Sequence[Any]) -> bool:
    """Whether the costs have a batch axis; says which shapes do not fit."""
    ndims = options.cost_ndims
    if ndims is None:
        return False
    if len(ndims) == 1 and len(tensors) > 1 and not options.solver.adapter.trusted:
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


def stack_padded(parts: tuple[Any, ...]) -> Any:
    """Stack the outputs of a batch; ragged arrays are padded, and what is no array, or of several kinds, is a list."""
    if not all(isinstance(p, np.ndarray) for p in parts):
        return list(parts)
    numeric = {p.dtype.kind in "fiub" for p in parts}
    if len(numeric) > 1 or len({p.ndim for p in parts}) > 1:
        return list(parts)
    shape = np.max([p.shape for p in parts], axis=0)
    dtype = np.result_type(*parts)
    stacked = np.full((len(parts), *shape), -1 if dtype.kind == "i" else 0, dtype)
    for b, part in enumerate(parts):
        places: tuple[Any, ...] = (b, *(slice(length) for length in part.shape))
        stacked[places] = part
    return stacked


def _cut(gradient: Array, solution: Any) -> Array:
    """The part of a padded gradient that belongs to the solution, in its dtype."""
    return gradient[tuple(slice(length) for length in solution.shape)].astype(solution.dtype, order="C", copy=False)
