"""Ids of nodes: integers of any size, or strings."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arrays import Array, check_not_masked, integers


def concatenated_ids(a: Array, b: Array) -> Array:
    """Both arrays of ids in one; integers stay exact (numpy would make floats of int64 and uint64)."""
    if a.size == 0 or b.size == 0:
        return b if a.size == 0 and b.size else a
    if np.result_type(a, b).kind == "f":
        signed, other = (a, b) if a.dtype.kind == "i" else (b, a)
        if signed.min() < 0 and other.max() > np.iinfo(np.int64).max:
            raise TypeError("ids must not be negative in one array and above 2^63 - 1 in the other")
        kind = np.int64 if signed.min() < 0 else np.uint64
        a, b = a.astype(kind), b.astype(kind)
    return np.concatenate([a, b])


def id_array(values: Any, name: str) -> Array:
    """Return ids as an array of integers or of strings, or say what is wrong with them."""
    check_not_masked(values, name)
    try:
        array = integers(values)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of ids, got rows of different lengths: {values!r:.80}") from error
    if array.dtype.kind == "O" and array.size and all(isinstance(v, str) for v in array.flat):
        array = array.astype(str)
    if array.dtype.kind == "U" and isinstance(values, (list, tuple)):
        number = next((v for v in np.array(values, object).flat if isinstance(v, (float, np.floating))), None)
        if number is not None:
            raise TypeError(f"{name} must hold integers or strings, got {number!r}")
    if array.size == 0:
        return array.astype(np.int64) if array.dtype.kind not in "iuU" else array
    if array.dtype.kind not in "iuU":
        raise TypeError(f"{name} must hold integers or strings, got dtype {array.dtype}")
    return array


class NodesError(ValueError):
    """An error about two nodes, which the user may know by other names.

    Parameters
    ----------
    text : str
        ``{}`` stands for each node.
    nodes : tuple of int or str
    """

    def __init__(self, text: str, nodes: tuple[Any, Any]) -> None:
        super().__init__(text, nodes)
        self.text, self.nodes = text, nodes

    def __str__(self) -> str:
        return self.text.format(*self.nodes)

    def named(self, ids: Array) -> NodesError:
        """The same with the ids of the nodes."""
        return NodesError(self.text, tuple(ids[list(self.nodes)].tolist()))
