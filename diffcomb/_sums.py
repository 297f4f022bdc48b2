"""Norms and products that decide something: their bits do not depend on the processor or on where arrays lie in memory.

BLAS sums in an order that depends on the processor, and so does numpy where it hands over to BLAS; either depends on
strides. Here eight partial sums in float64, over entries in C order, are added in a fixed order. No finite input
overflows or vanishes: where squares would, all entries are first divided by a power of two, which is exact.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._arrays import Array
from ._implicit import OneHot, RowTable, as_table
from ._numba import njit

SAFE = 1e-200, 1e200  # sums of squares in this range have lost nothing to underflow, and have not overflowed
GAP = 8.0  # dominating entries are this many times larger than all others, at least
CHANCE = 1e-6  # probability that ordinary entries leave the gap that is needed; see `dominating`


def norm(arrays: Sequence[Array], weights: Array | None = None) -> float:
    """The Euclidean norm of all arrays together; the largest float where it exceeds that.

    With `weights`, the squares in column k of the first array, a matrix, count ``weights[k]`` times.
    """
    square = _squares(arrays, weights)
    if SAFE[0] < square < SAFE[1]:
        return math.sqrt(square)
    largest = max((_largest(_flat(a.used() if isinstance(a, RowTable) else a)) for a in arrays), default=0.0)
    if largest == 0.0:
        return 0.0
    parts = [_flat(np.asarray(a)) for a in arrays]
    if not math.isfinite(largest):
        return largest
    exponent = math.frexp(largest)[1]
    square = _squares([np.ldexp(p.astype(np.float64), -exponent) for p in parts], weights)
    try:
        return math.ldexp(math.sqrt(square), exponent)
    except OverflowError:
        return sys.float_info.max


def inner(costs: Sequence[Array], solutions: Sequence[Array]) -> float:
    """The inner product <c, w> of all arrays together."""
    total = 0.0
    for c, w in zip(costs, solutions, strict=True):
        if c.shape != w.shape:  # the kernel does not look
            raise ValueError(f"arrays of an inner product must have the same shape, got {c.shape} and {w.shape}")
        if isinstance(w, OneHot):
            total += _inner_labels(*as_table(c), w.labels)
        else:
            total += _inner(*(_flat(np.asarray(part)) for part in (c, w)))
    return total


def products(matrix: Array, vector: Array) -> Array:
    """The inner products of the rows of a matrix with a vector."""
    flat = _flat(vector)
    return np.array([_inner(_flat(row), flat) for row in matrix])


def add_columns(values: Array, classes: Array, num_classes: int) -> Array:
    """Add the columns of `values`, (..., J), of one class: (..., K); columns of class -1 are left out."""
    rows = np.ascontiguousarray(values).reshape(math.prod(values.shape[:-1]), len(classes))
    total = np.zeros((len(rows), num_classes), values.dtype)
    _add_columns(rows, np.ascontiguousarray(classes, np.int64), total)
    return total.reshape(*values.shape[:-1], num_classes)


def dominating(array: Array) -> float:
    """The magnitude from which on entries dominate the norm as constants for what is forbidden do; infinite if none do.

    They are large (at least `GAP` times all others), of similar size (they differ by no more than twice the largest of
    the others, as M and M + c do) and weigh more than all others. Fewer than seven others that are not 0 need a larger
    gap: k values below a bound with no peak at 0 all lie below 1/r of it with probability r^-k, which must be `CHANCE`
    at most. Multiplying all entries by a number changes nothing.
    """
    flat = _flat(array)
    largest = _largest(flat)
    if not 0.0 < largest < math.inf:
        return math.inf
    lowest, others, count, above, below = _groups(flat, largest)
    if count == 0 or largest - lowest > 2 * others or above <= below:
        return math.inf
    return lowest if lowest / others >= max(GAP, CHANCE ** (-1 / count)) else math.inf


def _flat(array: Array) -> Array:
    flat: Array = np.ascontiguousarray(array).reshape(-1)
    return flat if flat.dtype.kind == "f" else flat.astype(np.float64)


def _squares(parts: Sequence[Any], weights: Array | None) -> float:
    if weights is None:
        return float(sum(_square(p) for p in parts))
    return float(_weighted(_flat(parts[0]), np.asarray(weights, np.float64)) + sum(_square(p) for p in parts[1:]))


def _square(part: Any) -> float:
    if isinstance(part, RowTable):
        return float(_sum_of_squares_of_rows(np.ascontiguousarray(part.table), part.index))
    return float(_sum_of_squares(_flat(part)))


@njit
def _weighted(a: Array, weights: Array) -> float:
    """The sum of squares in which entry i counts ``weights[i % len(weights)]`` times."""
    total, columns = 0.0, len(weights)
    for start in range(0, len(a), max(columns, 1)):
        for k in range(columns):
            x = np.float64(a[start + k])
            total += weights[k] * (x * x)
    return total


@njit
def _added(sums: Array) -> float:
    """Eight partial sums, added in a fixed order."""
    total: float = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]))
    return total


@njit
def _sum_of_squares(a: Array) -> float:
    sums = np.zeros(8)
    whole = len(a) // 8 * 8
    for i in range(0, whole, 8):
        for j in range(8):
            x = np.float64(a[i + j])
            sums[j] += x * x
    for i in range(whole, len(a)):
        x = np.float64(a[i])
        sums[i - whole] += x * x
    return _added(sums)


@njit
def _sum_of_squares_of_rows(table: Array, index: Array) -> float:
    """What `_sum_of_squares` gives for the matrix whose rows these are, to the last bit."""
    sums = np.zeros(8)
    at = 0
    for i in range(len(index)):
        for j in range(table.shape[1]):
            x = np.float64(table[index[i], j])
            sums[at] += x * x
            at = at + 1 if at < 7 else 0
    return _added(sums)


@njit
def _inner(a: Array, b: Array) -> float:
    sums = np.zeros(8)
    whole = len(a) // 8 * 8
    for i in range(0, whole, 8):
        for j in range(8):
            sums[j] += np.float64(a[i + j]) * np.float64(b[i + j])
    for i in range(whole, len(a)):
        sums[i - whole] += np.float64(a[i]) * np.float64(b[i])
    return _added(sums)


@njit
def _inner_labels(table: Array, rows: Array, columns: Array, labels: Array) -> float:
    """What `_inner` gives for the matrix of these rows and columns and a one-hot matrix, to the last bit."""
    sums = np.zeros(8)
    width = len(columns)
    for i in range(len(labels)):
        sums[(i * width + labels[i]) % 8] += np.float64(table[rows[i], columns[labels[i]]])
    return _added(sums)


@njit
def _largest(a: Array) -> float:
    largest = 0.0
    for i in range(len(a)):
        x = abs(np.float64(a[i]))
        if not x <= largest:  # NaN is largest
            largest = x
    return largest


@njit
def _groups(a: Array, largest: float) -> tuple[float, float, int, float, float]:
    """Smallest entry near the largest one; largest, and number, of the others; squares of both, over largest²."""
    lowest, others, count, above, below = largest, 0.0, 0, 0.0, 0.0
    for i in range(len(a)):
        x = abs(np.float64(a[i]))
        share = x / largest
        if share >= 0.75:  # as all have that differ by less than 2 / GAP
            lowest = min(lowest, x)
            above += share * share
        elif x > 0.0:
            if share * 8.0 > 1.0:  # GAP: it is no gap, as an early look at most costs tells
                return lowest, largest, 0, above, below
            others = max(others, x)
            count += 1
            below += share * share
    return lowest, others, count, above, below


@njit
def _add_columns(rows: Array, classes: Array, total: Array) -> None:
    for i in range(len(rows)):
        for j in range(len(classes)):
            if classes[j] >= 0:
                total[i, classes[j]] += rows[i, j]
