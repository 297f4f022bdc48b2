"""Memory that is used again: large arrays that one call has done with are what the next call writes to.

The operating system hands out memory page by page, each when it is touched for the first time, and threads wait for
each other while it does. To fill an array anew takes a fraction of that, so arrays that only kernels see, and of which
a search needs many of the same sizes, come from here.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any

import numpy as np

from ._arrays import Array

LEAST = 2**18  # bytes: of less, the C library keeps some itself
MOST_KEPT = 2**29  # bytes that nobody uses

_kept: dict[int, deque[Array]] = {}  # by size; no lock, since each step is one operation of a dict or a deque


def room(count: int, dtype: Any) -> Array:
    """An array (count,) that holds anything; its memory comes back when neither it nor a view of it is left."""
    dtype = np.dtype(dtype)
    size = count * dtype.itemsize
    if size < LEAST:
        return np.empty(count, dtype)
    return np.asarray(_Lease(_memory(_rounded(size))))[:size].view(dtype)


def copied(values: Array) -> Array:
    """A copy in such memory."""
    out = room(len(values), values.dtype)
    out[:] = values
    return out


def zeros(count: int, dtype: Any) -> Array:
    """Zeros in such memory."""
    out = room(count, dtype)
    out[:] = 0
    return out


def kept_bytes() -> int:
    """How much memory is kept that nobody uses."""
    return sum(size * len(found) for size, found in list(_kept.items()))


class _Lease:
    """What an array and all its views hold on to: while it lives, they do."""

    def __init__(self, memory: Array) -> None:
        self.memory = memory
        self.__array_interface__ = memory.__array_interface__

    def __del__(self, kept: dict[int, deque[Array]] = _kept) -> None:
        """Keep the memory; of sizes that nobody asks for any more, all that is kept goes at some time."""
        size = self.memory.nbytes
        if kept_bytes() + size > MOST_KEPT:
            kept.clear()
        if size <= MOST_KEPT:
            kept.setdefault(size, deque()).append(self.memory)


def _rounded(size: int) -> int:
    """The size and up to an eighth more, so that there are few sizes; memory that is not touched is not there."""
    step = 1 << max(size.bit_length() - 4, 0)
    return -(-size // step) * step


def _memory(size: int) -> Array:
    """Memory of that size or up to four times as much. What is a little too small goes: this takes its place."""
    for kept in sorted(_kept):
        if size <= kept <= 4 * size:
            with suppress(KeyError, IndexError):  # another thread was quicker
                return _kept[kept].pop()
    for kept in list(_kept):
        if size < 4 * kept < 4 * size:
            _kept.pop(kept, None)
    try:
        return np.empty(size, np.uint8)
    except MemoryError:
        _kept.clear()
        return np.empty(size, np.uint8)
