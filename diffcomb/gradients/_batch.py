"""One call of a wrapped solver: costs and keyword data become instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .._arrays import Array, check_same_device, float_array, is_tensor
from ._given import Given
from ._options import Options
from ._parallel import Task, solve_all
from .oracle import Instance


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
    tensors = [c if is_tensor(c) else copied(c) for c in costs]
    if not all(t.is_floating_point() for t in tensors):
        raise TypeError(f"costs must be floating-point, got {', '.join(str(t.dtype) for t in tensors)}")
    return tensors


class Batch:
    """The instances of one call: whether there is a batch axis, how many, and the keyword data of each."""

    as_labels = False  # whether the first solution, lifted, is only described

    def __init__(
        self, options: Options, tensors: list[torch.Tensor], data: dict[str, Any], as_labels: bool = False
    ) -> None:
        self.options = options
        self.as_labels = as_labels
        self.batched = _is_batched(options, tensors)
        self.size = len(tensors[0]) if self.batched else 1
        self.num_costs = len(tensors)
        self.given = Given(options, data)
        self.data = self.given.data

    def arrays(self, tensors: Sequence[torch.Tensor], name: str = "costs") -> list[Array]:
        """View tensors as checked numpy arrays, with the batch axis that they have."""
        return [float_array(t, f"{name}[{i}]", str(tuple(t.shape))) for i, t in enumerate(tensors)]

    def costs(self, tensors: Sequence[torch.Tensor], name: str = "costs") -> list[Array]:
        """Costs as such arrays, negated for a solver that maximises: estimators and losses see minimisation only."""
        arrays = self.arrays(tensors, name)
        return [-a for a in arrays] if self.options.solver.maximize else arrays

    def split(self, arrays: Sequence[Array]) -> list[tuple[Array, ...]]:
        """The arrays of every instance."""
        return [tuple(a[b, ...] if self.batched else a for a in arrays) for b in range(self.size)]

    def instance_data(self, b: int) -> dict[str, Any]:
        """Keyword data of instance b."""
        data = dict(self.data)
        for name in self.options.per_instance:
            if self.batched and self.size and data.get(name) is not None:
                if len(data[name]) != self.size:
                    raise ValueError(f"{name} must have one item for each of {self.size} instances")
                data[name] = data[name][b]
        return data

    def solve(self, costs: list[tuple[Array, ...]], data: list[dict[str, Any]]) -> list[Instance]:
        """Solve instances, and lift them."""
        # The solver gets copies, since it may work in place on what it is given.
        jobs = [(lambda c=c: tuple(part.copy() for part in c), d) for c, d in zip(costs, data, strict=True)]
        results = solve_all(
            self.options.solver,
            [Task(c, [part.shape for part in costs[b]], d, b, len(jobs), False) for b, (c, d) in enumerate(jobs)],
        )
        return [self.instance(*parts) for parts in zip(costs, list(results), data, strict=True)]

    def solve_stacked(self, arrays: list[Array]) -> tuple[list[Instance], tuple[Any, ...]]:
        """Solve all instances in one call of a vectorized solver; returns the instances and the outputs."""
        stack = tuple(a if self.batched else a[None] for a in arrays)
        solutions, auxiliary = self.options.solver(tuple(a.copy() for a in stack), self.data, alone=True)
        instances = [
            Instance(tuple(a[b] for a in stack), tuple(s[b] for s in solutions), (), self.data)
            for b in range(self.size)
        ]
        return instances, (*(s if self.batched else s[0] for s in solutions), *auxiliary)

    def instance(
        self,
        costs: tuple[Array, ...],
        result: tuple[tuple[Array, ...], tuple[Any, ...]],
        data: dict[str, Any],
        warm: bool = True,
    ) -> Instance:
        """The instance with a solution of its own space, bound to the lift if there is one.

        With `warm`, a solver that can revisit its solution will be able to.
        """
        own = (*result[0], *result[1])
        revisit = getattr(self.options.solver.function, "revisit", None) if warm else None
        if self.options.lift is None:
            again = revisit and revisit(costs, own, None, data)
            return Instance(costs, result[0], result[1], data, again=again)
        bound = self.options.lift.bind(own, data)
        lifted = bound.outputs(own, self.as_labels)
        again = revisit and revisit(costs, own, bound, data)
        return Instance(costs, lifted[: self.num_costs], lifted[self.num_costs :], bound.data(data), bound, again)

    def folded(self, count: int) -> Batch:
        """The same call for `count` times as many instances, the given ones repeated."""
        new: Batch = object.__new__(Batch)
        new.options, new.num_costs, new.data = self.options, self.num_costs, dict(self.data)
        new.as_labels = self.as_labels
        new.batched, new.size, new.given = True, count * self.size, self.given.repeated(count)
        for name in self.options.per_instance:
            if self.data.get(name) is not None:
                new.data[name] = (list(self.data[name]) if self.batched else [self.data[name]]) * count
        return new


def copied(array: Array) -> torch.Tensor:
    """A tensor with a copy of the array, whatever its strides, byte order and flags are."""
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))


def _is_batched(options: Options, tensors: list[torch.Tensor]) -> bool:
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


def stack_padded(parts: tuple[Any, ...]) -> Any:
    """Stack the outputs of a batch; ragged arrays are padded, and what is no array becomes a list."""
    if not all(isinstance(p, np.ndarray) for p in parts):
        return list(parts)
    shape = np.max([p.shape for p in parts], axis=0)
    dtype = np.result_type(*parts)
    stacked = np.full((len(parts), *shape), -1 if dtype.kind == "i" else 0, dtype)
    for b, part in enumerate(parts):
        places: tuple[Any, ...] = (b, *(slice(length) for length in part.shape))
        stacked[places] = part
    return stacked
