"""A pool of feasible solutions, collected while training, that losses compare the target with."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import numpy as np
import torch

from .._arrays import is_tensor, to_numpy
from ..gradients.differences import Arrays
from ..gradients.oracle import Instance, Oracle
from ..graph import Graph


class SolutionPool:
    """Distinct solutions, the newest `size` of them; one pool for each key.

    Instances with the same feasible set share a key. Mulamba et al. (IJCAI 2021) solve a share of the instances anew
    and add what they find.

    Parameters
    ----------
    size : int
        Solutions kept for a key.
    """

    def __init__(self, size: int = 1000) -> None:
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ValueError(f"size must be a positive integer, got {size!r}")
        self.size = size
        self._pools: dict[Hashable, OrderedDict[bytes, Arrays]] = {}
        self._data: dict[str, Any] | None = None  # of the first instance without a key

    def add(self, solution: Arrays, key: Hashable = None) -> None:
        """Add one solution, a tuple of arrays; one that is there already becomes the newest."""
        pool = self._pools.setdefault(key, OrderedDict())
        name = b"".join(np.asarray(w, np.float64).tobytes() for w in solution)  # whatever the dtype
        pool[name] = tuple(np.array(w) for w in solution)
        pool.move_to_end(name)
        while len(pool) > self.size:
            pool.popitem(last=False)

    def check_same(self, data: dict[str, Any]) -> None:
        """Raise a ValueError if keyword data differ from those of an earlier instance that has no key either."""
        first = self._data = data if self._data is None else self._data
        for name in data:
            if name in first and _differ(first[name], data[name]):
                raise ValueError(
                    f"instances with different {name}= may have different feasible sets, which one pool must not mix: "
                    f"give the loss key=, the name of hashable keyword data that says which feasible set is meant"
                )

    def solutions(self, key: Hashable = None) -> list[Arrays]:
        """The solutions of a key, oldest first."""
        return list(self._pools.get(key, {}).values())

    def __len__(self) -> int:
        return sum(len(pool) for pool in self._pools.values())

    def refresh(self, oracle: Oracle, keys: list[Hashable], share: float, generator: torch.Generator | None) -> None:
        """Add the targets of all instances, and the solutions for the present costs of a random share of them."""
        device = generator.device if generator is not None else None
        draws = torch.rand(len(oracle.instances), generator=generator, device=device).tolist()
        for instance, key in zip(oracle.instances, keys, strict=True):
            self.add(instance.solutions, key)
        chosen = [b for b, u in enumerate(draws) if u < share]

        def copied(b: int) -> Arrays:
            return tuple(c.copy() for c in oracle.instances[b].costs)  # a solver may work in place

        for b, w in zip(chosen, oracle.solve_each(copied, chosen), strict=True):
            self.add(w, keys[b])


def _differ(a: Any, b: Any) -> bool:
    """Whether two values certainly differ; objects that know no equality but identity may be the same."""
    if a is b:
        return False
    if any(isinstance(x, np.ndarray) or is_tensor(x) for x in (a, b)):
        return not np.array_equal(to_numpy(a), to_numpy(b))
    if isinstance(a, Graph) and isinstance(b, Graph):
        return a.num_nodes != b.num_nodes or not np.array_equal(a.edges, b.edges)
    if any(getattr(type(x), "__eq__", None) is object.__eq__ for x in (a, b)):
        return type(a) is not type(b)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) != len(b) or any(map(_differ, a, b))
    try:
        return not bool(a == b)
    except (TypeError, ValueError):
        return True


def check_pool(pool: object) -> None:
    """Raise a TypeError unless `pool` is a pool."""
    if not isinstance(pool, SolutionPool):
        raise TypeError(f"pool must be a SolutionPool(), got {pool!r}")


def check_share(share: float) -> None:
    """Raise a ValueError unless `share` lies in [0, 1]."""
    if isinstance(share, bool) or not isinstance(share, (int, float, np.floating)) or not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], got {share!r}")


def keys_of(oracle: Oracle, pool: SolutionPool, name: str | None) -> list[Hashable]:
    """The key of every instance: the value of its keyword data `name`, or one for all, whose data must be the same."""
    if name is None:
        if any(instance.lift is not None for instance in oracle.instances):
            raise ValueError("a pool needs a key where solutions are lifted: every target has labels of its own")
        for instance in oracle.instances:
            pool.check_same(instance.data)
        return [None] * len(oracle.instances)
    rows = [{**instance.data, **instance.apart} for instance in oracle.instances]
    for data in rows:
        if name not in data:
            raise ValueError(f"key={name!r} names no keyword data of this call, got {sorted(data)}")
        if not isinstance(data[name], Hashable):
            raise TypeError(f"key={name!r} must name hashable data, got {type(data[name]).__name__}")
    return [data[name] for data in rows]


def known_values(instance: Instance, rows: np.ndarray) -> np.ndarray:
    """What the solver adds to <c, w> itself for the solutions that are the rows of a matrix; mostly nothing."""
    if instance.known is None and instance.constant_part is None:
        return np.zeros(len(rows))
    return np.array([instance.known_value(unflat(row, instance.costs)) for row in rows])


def stacked(solutions: list[Arrays]) -> np.ndarray:
    """Solutions as the rows of one matrix, in float64."""
    if len({tuple(w.shape for w in s) for s in solutions}) > 1:
        raise ValueError("solutions of a pool must have the same shapes; give problems of several sizes a key=")
    return np.stack([flat(s) for s in solutions])


def flat(arrays: Arrays) -> np.ndarray:
    """Arrays one behind the other, in float64."""
    return np.concatenate([a.ravel() for a in arrays]).astype(np.float64)


def unflat(vector: np.ndarray, like: Arrays) -> Arrays:
    """The inverse of :func:`flat`, in the shapes and dtypes of `like`."""
    cuts = np.cumsum([a.size for a in like])[:-1]
    return tuple(v.reshape(a.shape).astype(a.dtype) for v, a in zip(np.split(vector, cuts), like, strict=True))
