"""Large matrices that are only described: one-hot rows, sums of those, and rows or columns of a small matrix.

A panoptic labelling of an image with 70 instances is one number a pixel, its one-hot matrix 70; the gradient of a loss
that looks at overlaps with true segments is one number for each pair of a label and a segment; and lifted costs are
class costs whose columns repeat. All become matrices where somebody asks for the entries (``numpy.asarray``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._arrays import Array
from ._numba import njit


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


@dataclass(frozen=True, eq=False)
class Columns:
    """The matrix (n, J) whose column l is column ``index[l]`` of a matrix (n, K)."""

    matrix: Array
    index: Array

    @property
    def shape(self) -> tuple[int, int]:
        """(n, J)."""
        return len(self.matrix), len(self.index)

    @property
    def dtype(self) -> Any:
        """That of the matrix."""
        return self.matrix.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        matrix: Array = np.take(self.matrix, self.index, axis=1)
        return matrix if dtype is None else matrix.astype(dtype, copy=False)


class LabelDifferences:
    """The matrix (n, J) that is a sum of differences of one-hot matrices, each with a weight."""

    def __init__(self, shape: tuple[int, int], dtype: Any) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.terms: list[tuple[Array, Array, float]] = []

    def add(self, after: OneHot, before: OneHot, weight: float) -> None:
        """Add (after - before) * weight."""
        self.terms.append((after.labels, before.labels, weight))

    def added_columns(self, classes: Array, num_classes: int) -> Array:
        """The matrix (n, K) in which the columns of one class are added, the same bits as if this were a matrix."""
        total = np.zeros((self.shape[0], num_classes), self.dtype)
        if self.terms:
            after, before, weights = zip(*self.terms, strict=True)
            _add_differences(np.array(after), np.array(before), np.array(weights), np.asarray(classes), total)
        return total

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        matrix = self.added_columns(np.arange(self.shape[1]), self.shape[1])
        return matrix if dtype is None else matrix.astype(dtype, copy=False)


@njit
def _add_differences(after: Array, before: Array, weights: Array, classes: Array, total: Array) -> None:
    """Row by row: sum up label by label, in the order of the terms, then class by class, in the order of the labels."""
    labels = np.empty(2 * len(weights), np.int64)
    sums = np.zeros(2 * len(weights), total.dtype)
    for i in range(after.shape[1]):
        count = 0
        for t in range(len(weights)):
            if after[t, i] == before[t, i]:
                continue
            for label, sign in ((after[t, i], 1.0), (before[t, i], -1.0)):
                at = 0
                while at < count and labels[at] != label:
                    at += 1
                if at == count:
                    labels[at], sums[at] = label, 0
                    count += 1
                sums[at] += sign * weights[t]
        for at in range(count):
            least = at
            for other in range(at + 1, count):
                least = other if labels[other] < labels[least] else least
            labels[at], labels[least] = labels[least], labels[at]
            sums[at], sums[least] = sums[least], sums[at]
            total[i, classes[labels[at]]] += sums[at]


def as_table(matrix: Any) -> tuple[Array, Array, Array]:
    """A matrix or what describes one as (table, rows, columns): entry (i, l) is ``table[rows[i], columns[l]]``."""
    rows, columns = (np.arange(length, dtype=np.int32) for length in matrix.shape)
    if isinstance(matrix, RowTable):
        return np.ascontiguousarray(matrix.table), matrix.index, columns
    if isinstance(matrix, Columns):
        return np.ascontiguousarray(matrix.matrix), rows, matrix.index
    return np.ascontiguousarray(matrix), rows, columns


def explicit(parts: tuple[Any, ...]) -> tuple[Array, ...]:
    """Arrays in place of what is only described."""
    kinds = OneHot, RowTable, Columns, LabelDifferences
    return tuple(np.asarray(part) if isinstance(part, kinds) else part for part in parts)
