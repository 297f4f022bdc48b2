"""Large matrices that are only described: one-hot rows, and rows that are those of a small table.

A panoptic labelling of an image with 70 instances is one number a pixel, its one-hot matrix 70; and the gradient of a
loss that looks at overlaps with true segments is one number for each pair of a label and a segment. Both become
matrices where somebody asks for the entries (``numpy.asarray``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._arrays import Array


@dataclass(frozen=True, eq=False)
class OneHot:
    """The matrix (n, J) whose row i is 1 in column ``labels[i]`` and 0 elsewhere."""

    labels: Array
    count: int
    dtype: Any

    @property
    def shape(self) -> tuple[int, int]:
        """(n, J)."""
        return len(self.labels), self.count

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        matrix = np.zeros(self.shape, self.dtype if dtype is None else dtype)
        matrix[np.arange(len(matrix)), self.labels] = 1
        return matrix


@dataclass(frozen=True, eq=False)
class RowTable:
    """The matrix (n, J) whose row i is row ``index[i]`` of a table (G, J)."""

    table: Array
    index: Array

    @property
    def shape(self) -> tuple[int, int]:
        """(n, J)."""
        return len(self.index), self.table.shape[1]

    @property
    def dtype(self) -> Any:
        """That of the table."""
        return self.table.dtype

    def used(self) -> Array:
        """The rows of the table that occur."""
        rows: Array = self.table[np.unique(self.index)]
        return rows

    def any(self) -> bool:
        """Whether an entry is not 0."""
        return bool(self.used().any())

    def __neg__(self) -> RowTable:
        return RowTable(-self.table, self.index)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        matrix: Array = self.table[self.index]
        return matrix if dtype is None else matrix.astype(dtype, copy=False)


def explicit(parts: tuple[Any, ...]) -> tuple[Array, ...]:
    """Arrays in place of what is only described."""
    return tuple(np.asarray(part) if isinstance(part, (OneHot, RowTable)) else part for part in parts)
