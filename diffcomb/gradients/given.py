"""What a call says about its objective beside the costs: forbidden entries, and a part that the solver knows itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from .._arrays import Array, to_numpy
from .._sums import inner
from .options import Options
from .oracle import Instance

Arrays = tuple[Array, ...]


class Given:
    """Masks, known costs and values of the instances of one call.

    Arrays for all instances, or lists with one item for each, are given when wrapping or named there as keyword data;
    such data reach the solver as well, if it takes them.
    """

    def __init__(self, options: Options, data: dict[str, Any]) -> None:
        self.options = options
        self.data = dict(data)
        added = options.solver.adapter.added(self.data)
        if added and (options.normalize or not options.radial):
            raise ValueError(
                "normalize=True and radial=False are for objectives <c, w>, whose solutions do not depend on the "
                f"costs' scale: leave them out, or what {options.solver.name} adds ({', '.join(added)})"
            )
        mask = options.mask
        if mask is None and "mask" in data and not options.solver.adapter.takes("mask"):
            mask = "mask"
        self.mask = self._value(mask, "mask")
        self.known = self._value(options.known_costs, "known_costs")
        self.repeats = 1

    def _value(self, value: Any, option: str) -> Any:
        """The value of an option, which may be the name of keyword data."""
        if not isinstance(value, str):
            return value
        if value not in self.data:
            raise TypeError(f"{option}={value!r} names no keyword data of this call, got {sorted(self.data)}")
        found = self.data[value]
        if not self.options.solver.adapter.takes(value):
            del self.data[value]
        return found

    def repeated(self, count: int) -> Given:
        """Return what is given for `count` times as many instances, the given ones repeated."""
        new: Given = object.__new__(Given)
        new.__dict__.update(self.__dict__)
        new.repeats = self.repeats * count
        return new

    def attach(self, instances: Sequence[Instance], batched: bool) -> None:
        """Tell the instances; those of a vectorized or single call have the shapes of their costs."""
        if self.mask is None and self.known is None and self.options.value is None:
            return
        count = max(len(instances) // max(self.repeats, 1), 1)
        shapes = [[c.shape for c in i.own_costs] for i in instances[:count]]
        masks = None if self.mask is None else split_given(self.mask, shapes, batched, "mask")
        known = None if self.known is None else split_given(self.known, shapes, batched, "known_costs")
        for b, instance in enumerate(instances):
            if masks is not None:
                instance.allowed = tuple(None if m is None else as_mask(m, "mask", "allowed") for m in masks[b % count])
            if known is not None:
                pairs = zip(known[b % count], instance.own_costs, strict=True)
                sign = -1.0 if self.options.solver.maximize else 1.0
                instance.known = tuple(np.zeros_like(c) if d is None else _as_costs(d, sign) for d, c in pairs)
            if self.options.value is not None:
                instance.constant_part = _constant_part(self.options, instance)


def split_given(value: Any, shapes: list[list[tuple[int, ...]]], batched: bool, name: str) -> list[tuple[Any, ...]]:
    """The arrays of every instance, in the shapes of its costs; None where there is none for a cost."""
    if not shapes:
        return []
    number = len(shapes[0])
    parts = (value,) if number == 1 else value
    if number == 1 and isinstance(value, tuple) and len(value) == 1:
        parts = value
    if not isinstance(parts, (tuple, list)) or len(parts) != number:
        raise TypeError(f"{name} must be a tuple with an array (or None) for each of the {number} costs")
    columns = [_items(part, [row[k] for row in shapes], batched, name) for k, part in enumerate(parts)]
    return list(zip(*columns, strict=True))


def _items(part: Any, shapes: list[tuple[int, ...]], batched: bool, name: str) -> list[Array | None]:
    """Those of all instances: of a list with an item (or None) for each, of an array with a batch axis, or one for all.

    A list of numbers, or nested lists that have the shape of one instance, are an array for all, however many there
    are.
    """
    count, shape = len(shapes), shapes[0]
    if batched and _has_items(part, count, shape):
        items = [None if item is None else np.array(to_numpy(item)) for item in part]
    else:
        array = None if part is None else np.array(to_numpy(part))  # which may change before the backward pass
        items = [array] * count
        if array is not None and batched and array.ndim == len(shape) + 1 and len(array) in (0, count):
            # An empty batch solves one of zeros.
            items = [a[()] for a in array] if len(array) else [np.zeros(shape, array.dtype)] * count
    try:
        return [None if i is None else np.broadcast_to(i, own) for i, own in zip(items, shapes, strict=True)]
    except ValueError as error:
        raise ValueError(
            f"{name} must have the shape of the costs, {shape} for one instance, got {lengths_of(part)}"
        ) from error


def _has_items(part: Any, count: int, shape: tuple[int, ...]) -> bool:
    """Whether it is a list of `count` items, and no array in nested lists."""
    if not isinstance(part, (list, tuple)) or len(part) != count:
        return False
    axes = [np.ndim(item) for item in part]
    if not shape or any(item is None for item in part):
        return True
    return any(axes) and (max(axes) == len(shape) or lengths_of(part) != shape)


def lengths_of(nested: Any) -> tuple[int, ...] | None:
    """The shape of nested lists, or None if they have none."""
    try:
        return tuple(np.shape(nested))
    except ValueError:
        return None


def as_mask(array: Array, name: str, meaning: str) -> Array:
    """Return a mask, or raise a TypeError unless it is boolean."""
    if array.dtype != np.bool_:
        raise TypeError(f"{name} must be boolean, True where an entry is {meaning}, got dtype {array.dtype}")
    return array


def _as_costs(array: Array, sign: float) -> Array:
    if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
        raise ValueError(f"known_costs must be finite numbers, got dtype {array.dtype}: {array!r:.80}")
    return sign * array.astype(np.float64)


def _constant_part(options: Options, instance: Instance) -> Callable[[Arrays], float]:
    """f(w), where the solver's objective is <c, w> + f(w): what `value` gives beyond <c, w> at the costs given."""
    sign = -1.0 if options.solver.maximize else 1.0
    costs = tuple(sign * c for c in instance.own_costs)

    def plain(arrays: Arrays) -> Any:
        found = [torch.from_numpy(np.array(a)) if options.solver.call.arrays == "torch" else a.copy() for a in arrays]
        return found[0] if len(found) == 1 else tuple(found)

    def constant(solutions: Arrays) -> float:
        with torch.enable_grad():
            value = options.value(plain(costs), plain(solutions), **instance.data)
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise TypeError(f"value must return a number, the objective of one solution, got {value!r:.80}") from error
        return sign * number - inner(instance.own_costs, solutions)

    return constant
