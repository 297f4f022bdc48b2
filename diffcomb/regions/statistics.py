"""What lies between touching regions: the values on their common boundary, gathered edge by edge.

A *face* is a pair of voxels of two regions. Faces of one offset are one pass, which a thread takes; sums of offsets are
added up in their order, so that the number of threads changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._arrays import Array
from .._numba import njit
from .._threads import thread_imap, thread_ranges

_EDGES_A_THREAD = 2**12


@dataclass(frozen=True, eq=False)
class EdgeStatistics:
    """Statistics of the values between the two regions of every edge.

    Attributes
    ----------
    count : int64 array, shape (E,)
        Faces of the edge.
    mean, minimum, maximum : float64 arrays, shape (E,)
        NaN for an edge without faces, as may be with offsets that never meet it.
    quantiles : float64 array, shape (E, Q), or None
        Interpolated as by ``numpy.quantile``; only if they were asked for.
    """

    count: Array
    mean: Array
    minimum: Array
    maximum: Array
    quantiles: Array | None = None


class Faces(NamedTuple):
    """The faces of one offset: those of the voxels of a window with the voxels `shift` behind them.

    Attributes
    ----------
    values : array of floats or small integers, shape (voxels,)
    both : bool
        Whether the value of a face is the mean of those of its two voxels, and not that of its first one.
    shape, begin, length : int64 arrays, shape (axes,)
        Of the volume, and of the window.
    shift : int
    """

    values: Array
    both: bool
    shape: Array
    begin: Array
    length: Array
    shift: int


def statistics(
    numbers: Array, rows: tuple[Array, Array], offsets: Iterable[Faces], quantiles: Array | None
) -> EdgeStatistics:
    """Gather the values of all faces.

    Parameters
    ----------
    numbers : int32 array
        The region of every voxel; negative is none.
    rows : (indptr, neighbours)
        Where the edges of each region to larger ones begin, and those, ascending.
    offsets : iterable of Faces
    quantiles : float64 array, optional
        In [0, 1]. To have them takes memory for the values of all faces.
    """
    flat, faces = numbers.reshape(-1), list(offsets)
    num_edges = len(rows[1])
    count, total = np.zeros(num_edges, np.int64), np.zeros(num_edges)
    low, high = np.full(num_edges, np.inf), np.full(num_edges, -np.inf)
    counts = []
    for part in thread_imap(lambda one: _gather(flat, *rows, one), faces):
        counts.append(part[0])
        count += part[0]
        total += part[1]
        np.minimum(low, part[2], out=low)
        np.maximum(high, part[3], out=high)
    none = count == 0
    low[none] = high[none] = np.nan
    with np.errstate(invalid="ignore"):
        mean = total / count
    start = np.concatenate([[0], np.cumsum(count)])
    found = None if quantiles is None else _quantiles(flat, rows, faces, counts, start, quantiles)
    return EdgeStatistics(count, mean, low, high, found)


def _quantiles(
    flat: Array, rows: tuple[Array, Array], faces: list[Faces], counts: list[Array], start: Array, levels: Array
) -> Array:
    """Write the values of edge e side by side from ``start[e]`` on, offset after offset, and sort them."""
    before = np.cumsum([start[:-1], *counts[:-1]], axis=0)
    values = np.empty(start[-1], np.result_type(np.float32, *(one.values for one in faces)))
    for _ in thread_imap(lambda t: _list(flat, *rows, faces[t], before[t], values), range(len(faces))):
        pass
    out = np.full((len(start) - 1, len(levels)), np.nan)
    thread_ranges(lambda a, b: _interpolate(values, start, levels, a, b, out), len(out), _EDGES_A_THREAD)
    return out


@njit
def _gather(flat: Array, indptr: Array, neighbours: Array, faces: Faces) -> tuple[Array, Array, Array, Array]:
    """Count, sum, minimum and maximum of the faces of one offset, for every edge."""
    values, both, shape, begin, length, shift = faces
    num_edges = len(neighbours)
    count, total = np.zeros(num_edges, np.int64), np.zeros(num_edges)
    low, high = np.full(num_edges, np.inf), np.full(num_edges, -np.inf)
    u, v, e = np.int32(-1), np.int32(-1), -1
    for row in range(_rows_of(length)):
        first = _first_of_row(row, shape, begin, length)
        for p in range(first, first + length[-1]):
            one, two = flat[np.uint64(p)], flat[np.uint64(p + shift)]
            if one == two or one < 0 or two < 0:
                continue
            if one != u or two != v:
                u, v = one, two
                e = _edge(indptr, neighbours, min(u, v), max(u, v))
            if e >= 0:
                value = _value(values, both, p, shift)
                count[e] += 1
                total[e] += value
                low[e] = min(low[e], value)
                high[e] = max(high[e], value)
    return count, total, low, high


@njit
def _list(flat: Array, indptr: Array, neighbours: Array, faces: Faces, at: Array, out: Array) -> None:
    """Write the values of the faces of one offset from position ``at[e]`` of edge e on."""
    values, both, shape, begin, length, shift = faces
    for row in range(_rows_of(length)):
        first = _first_of_row(row, shape, begin, length)
        for p in range(first, first + length[-1]):
            one, two = flat[np.uint64(p)], flat[np.uint64(p + shift)]
            if one != two and one >= 0 and two >= 0:
                e = _edge(indptr, neighbours, min(one, two), max(one, two))
                if e >= 0:
                    out[at[e]] = _value(values, both, p, shift)
                    at[e] += 1


@njit
def _rows_of(length: Array) -> int:
    """How many rows along the last axis a window has; none if it is empty."""
    rows: int = 1
    for axis in range(len(length) - 1):
        rows *= int(length[axis])
    return rows if length[-1] > 0 else 0


@njit
def _first_of_row(row: Any, shape: Array, begin: Array, length: Array) -> int:
    """The first voxel of a row of the window."""
    axes = len(shape)
    first = begin[axes - 1]
    stride = shape[axes - 1]
    for axis in range(axes - 2, -1, -1):
        first += (begin[axis] + row % length[axis]) * stride
        row //= length[axis]
        stride *= shape[axis]
    return int(first)


@njit
def _edge(indptr: Array, neighbours: Array, u: int, v: int) -> int:
    """The edge from u to the larger v, by bisection; -1 if there is none."""
    edge = indptr[u] + np.searchsorted(neighbours[indptr[u] : indptr[u + 1]], v)
    return int(edge) if edge < indptr[u + 1] and neighbours[edge] == v else -1


@njit
def _value(values: Array, both: bool, p: int, shift: int) -> float:
    if both:
        return 0.5 * np.float64(values[np.uint64(p)]) + 0.5 * np.float64(values[np.uint64(p + shift)])
    return np.float64(values[np.uint64(p)])


@njit
def _interpolate(values: Array, start: Array, levels: Array, first: int, last: int, out: Array) -> None:
    for e in range(first, last):
        if start[e] == start[e + 1]:
            continue
        ordered = np.sort(values[start[e] : start[e + 1]])
        for t in range(len(levels)):
            place = levels[t] * (len(ordered) - 1)
            below = int(place)
            above = min(below + 1, len(ordered) - 1)
            share = place - below
            out[e, t] = ordered[below] * (1 - share) + ordered[above] * share
