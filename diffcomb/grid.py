"""Grids: graphs over pixels or voxels, whose edges are pairs at given offsets, and the maps that hold their values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np

from ._arrays import Array, check_not_masked, is_tensor, module_of, to_numpy
from .graph import MAX_NODES, Graph


class GridGraph(Graph):
    """A graph over the cells of a regular grid; see :func:`grid_graph`.

    Attributes
    ----------
    shape : tuple of int
    offsets : tuple of tuple of int
    edge_slices : tuple of slice
        Where the edges of every offset lie in the edge list.
    """

    def __init__(self, shape: tuple[int, ...], offsets: tuple[tuple[int, ...], ...]) -> None:
        index = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
        windows = [windows_of(shape, offset) for offset in offsets]
        ends = [0, *itertools.accumulate(index[source].size for source, _ in windows)]
        edges = np.empty((ends[-1], 2), np.int32)  # filled in place: edges are most of a large grid's memory
        for (source, target), begin, end in zip(windows, ends, ends[1:], strict=False):
            edges[begin:end, 0] = index[source].ravel()
            edges[begin:end, 1] = index[target].ravel()
        self._set_edges(index.size, edges)
        self.shape = shape
        self.offsets = offsets
        self.edge_slices = tuple(slice(a, b) for a, b in itertools.pairwise(ends))

    def __repr__(self) -> str:
        return f"GridGraph(shape={self.shape}, offsets={self.offsets})"

    def windows(self, offset: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Return the part of the grid in which the edges of offset number `offset` begin, and where they end."""
        return windows_of(self.shape, self.offsets[offset])

    def map_window(self, offset: int, anchor: str = "start") -> tuple[slice, ...]:
        """Return the part of an affinity map of the grid's shape that holds the edges of offset number `offset`.

        Parameters
        ----------
        offset : int
            Index into :attr:`offsets`.
        anchor : {"start", "center"}
            Whether the value of the edge p -- p + d stands at p, or at its middle, p + ceil(d / 2)
            (COPS eq. 10-11: position i of the map joins i - ceil(d / 2) and i + floor(d / 2)).
        """
        source, _ = self.windows(offset)
        if check_anchor(anchor) == "start":
            return source
        shift = [-(-d // 2) for d in self.offsets[offset]]
        return tuple(slice(w.start + s, w.stop + s) for w, s in zip(source, shift, strict=True))

    def edge_values(self, maps: Any, anchor: str = "start") -> Any:
        """Read the value of every edge from one map for each offset: a network's affinities, for instance.

        Parameters
        ----------
        maps : array, tensor or JAX array, shape (..., C, *shape)
            One map for each offset, with or without axes of a batch; tensors and JAX arrays are differentiable.
        anchor : {"start", "center"}
            See :meth:`map_window`.

        Returns
        -------
        The values of the same kind, shape (..., m), in the order of the edges; what leads out of the grid is not read.

        Raises
        ------
        ValueError
            If the maps have another shape.
        """
        expected = (len(self.offsets), *self.shape)
        batch, last = np.shape(maps)[: -len(expected)], np.shape(maps)[-len(expected) :]
        if tuple(last) != expected:
            raise ValueError(f"maps must have shape {expected}, one for each offset, got {tuple(np.shape(maps))}")
        if not hasattr(maps, "reshape"):
            maps = np.asarray(maps)
        windows = [maps[(..., o, *self.map_window(o, anchor))] for o in range(len(self.offsets))]
        parts = [w.reshape(*batch, math.prod(w.shape[len(batch) :])) for w in windows]  # -1 means nothing if B is 0
        return module_of(maps).concatenate(parts, -1) if parts else maps.reshape(*batch, 0)


class MaskedGridGraph(Graph):
    """A graph over the cells of a grid that a mask holds: a region of interest; see :func:`grid_graph`.

    Attributes
    ----------
    grid : GridGraph
        Of all cells.
    mask : numpy.ndarray of bool, shape grid.shape
    cells : numpy.ndarray of int64, shape (n,)
        The cell of every node, in row-major order.
    kept : numpy.ndarray of int64, shape (m,)
        The edges of `grid` between two cells of the mask, which are the edges of this graph.
    """

    def __init__(self, grid: GridGraph, mask: Any) -> None:
        given = checked_mask(mask, grid.shape)
        inside = given.ravel()
        self.grid, self.mask = grid, given.copy()
        self.cells: Array = np.flatnonzero(inside)
        self.kept: Array = np.flatnonzero(inside[grid.edges].all(axis=1))
        number = np.cumsum(inside, dtype=np.int32) - np.int32(1)
        self._set_edges(len(self.cells), number[grid.edges[self.kept]])

    def __repr__(self) -> str:
        return f"MaskedGridGraph({self.grid!r}, {self.num_nodes} cells)"

    def edge_values(self, maps: Any, anchor: str = "start") -> Any:
        """Read the value of every edge from one map for each offset, as :meth:`GridGraph.edge_values` does."""
        values = self.grid.edge_values(maps, anchor)
        return values[..., self.kept]

    def node_values(self, maps: Any) -> Any:
        """The values of the nodes in maps (..., *shape), as (..., n)."""
        if not hasattr(maps, "reshape"):
            maps = np.asarray(maps)
        axes = len(self.grid.shape)
        if tuple(maps.shape[-axes:]) != self.grid.shape:
            raise ValueError(f"maps must have shape (..., {self.grid.shape}), got {tuple(maps.shape)}")
        return maps.reshape(*maps.shape[:-axes], self.mask.size)[..., self.cells]

    def project(self, values: Any, fill: Any = -1) -> Any:
        """Values (..., n) of the nodes as maps (..., *shape) of the same dtype, with `fill` outside the mask.

        Raises
        ------
        ValueError
            If the shape does not fit, or `fill` does not fit the dtype, as -1 does not fit truth values or bytes.
        """
        library = module_of(values)
        if library is np:
            values = np.asarray(values)
        if values.shape[-1:] != (self.num_nodes,):
            raise ValueError(f"values must have shape (..., n) with n={self.num_nodes}, got {tuple(values.shape)}")
        _check_fill(fill, values)
        if library is np:
            maps = np.full((*values.shape[:-1], self.mask.size), fill, values.dtype)
            maps[..., self.cells] = values
        elif hasattr(values, "new_full"):
            maps = values.new_full((*values.shape[:-1], self.mask.size), fill)
            maps[..., self.cells] = values
        else:  # JAX arrays do not change
            maps = (
                library.full((*values.shape[:-1], self.mask.size), fill, values.dtype).at[..., self.cells].set(values)
            )
        return maps.reshape(*values.shape[:-1], *self.grid.shape)


def checked_mask(mask: Any, shape: tuple[int, ...]) -> Array:
    """A mask of a grid's cells as an array of truth values, or say what is wrong with it."""
    check_not_masked(mask, "mask")
    try:
        given = to_numpy(mask)
    except (TypeError, ValueError) as error:
        raise TypeError(f"mask must be an array of booleans of shape {shape}, got {mask!r:.80}: {error}") from error
    if given.dtype != np.bool_:
        raise TypeError(f"mask must hold booleans, got dtype {given.dtype}; mask != 0 makes some")
    if given.shape != shape:
        raise ValueError(f"mask must have the grid's shape {shape}, got {given.shape}")
    return given


def _check_fill(fill: Any, values: Any) -> None:
    """Raise an error if `fill` is no number, or integers or truth values cannot hold it: they would hold another."""
    if not isinstance(fill, (int, float, np.number, np.bool_)):
        raise TypeError(f"fill must be a number as the values are, got {fill!r:.80}")
    dtype = to_numpy(values[:0]).dtype if is_tensor(values) else np.dtype(values.dtype)
    if dtype.kind not in "biu":
        return
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if not low <= fill <= high or int(fill) != fill:
        raise ValueError(f"fill must be a value of dtype {dtype} as the values are, got {fill!r}: pass another fill=")


def check_anchor(anchor: str) -> str:
    """Return `anchor`, or raise a ValueError unless it is "start" or "center"."""
    if anchor not in ("start", "center"):
        raise ValueError(f"anchor must be 'start' or 'center', got {anchor!r}")
    return anchor


def windows_of(shape: Sequence[int], offset: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of all cells p and of all cells p + offset for which both lie in the grid."""
    source, target = [], []
    for size, step in zip(shape, offset, strict=True):
        length = max(size - abs(step), 0)
        a = min(max(-step, 0), size - length)
        b = min(max(step, 0), size - length)
        source.append(slice(a, a + length))
        target.append(slice(b, b + length))
    return tuple(source), tuple(target)


def shift_of(shape: Sequence[int], offset: Sequence[int]) -> int:
    """How many cells later, in row-major order, p + offset comes than p."""
    return sum(step * math.prod(shape[axis + 1 :]) for axis, step in enumerate(offset))


@overload
def grid_graph(shape: Iterable[int], offsets: Iterable[Iterable[int]] = ..., *, mask: None = None) -> GridGraph: ...


@overload
def grid_graph(shape: Iterable[int], offsets: Iterable[Iterable[int]] = ..., *, mask: Any) -> MaskedGridGraph: ...


def grid_graph(
    shape: Iterable[int], offsets: Iterable[Iterable[int]] = ((0, 1), (1, 0)), *, mask: Any = None
) -> GridGraph | MaskedGridGraph:
    """Build the graph of a grid in which cell p is joined to p + d for every offset d.

    Edges come offset by offset, in the order given, and within an offset in row-major order of p. An offset
    that is longer than the grid has no edges.

    Parameters
    ----------
    shape : iterable of int
        Size of the grid, (H, W) or any other number of dimensions; nodes are numbered in row-major order.
    offsets : iterable of tuples of int
        One vector for each kind of edge; d and -d name the same edges, so giving both doubles them.
    mask : array_like of bool, shape `shape`, optional
        Only its cells are nodes, numbered in row-major order, and only edges between two of them are edges.

    Returns
    -------
    GridGraph or MaskedGridGraph
        A :class:`Graph` that knows its `shape` and `offsets`; with a mask one that reads values of nodes and edges from
        maps, and carries values of nodes back to them.

    Raises
    ------
    TypeError, ValueError
        If the shape or an offset is not a tuple of integers, lengths differ, an offset is zero, or the mask does not
        fit.

    Examples
    --------
    >>> grid_graph((2, 2), offsets=[(0, 1), (1, 0)]).edges.tolist()
    [[0, 1], [2, 3], [0, 2], [1, 3]]
    """
    size = _integers(shape, "shape")
    if any(length < 0 for length in size):
        raise ValueError(f"shape must not be negative, got {size}")
    if math.prod(size) > MAX_NODES:
        raise ValueError(f"shape must have at most {MAX_NODES} cells, got {size}")
    grid = GridGraph(size, check_offsets(offsets, size))
    return grid if mask is None else MaskedGridGraph(grid, mask)


def check_offsets(offsets: Iterable[Iterable[int]], shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return offsets of a grid as tuples of int, or say what is wrong with them."""
    vectors = integer_vectors(offsets)
    for offset in vectors:
        if len(offset) != len(shape):
            raise ValueError(f"offsets must have {len(shape)} components as the shape {shape} has, got {offset}")
        if not any(offset):
            raise ValueError(f"offsets must not be zero (it would join every cell to itself), got {offset}")
        if max(map(abs, offset)) > MAX_NODES:
            raise ValueError(f"offsets must be at most {MAX_NODES} long, got {offset}")
    return vectors


def integer_vectors(offsets: Any) -> tuple[tuple[int, ...], ...]:
    """Return offsets as tuples of int, of whatever length and size, or say what is wrong with them."""
    try:
        given = list(offsets)
    except TypeError:
        raise TypeError(f"offsets must be a list of tuples of integers, got {offsets!r}") from None
    return tuple(_integers(offset, "offsets") for offset in given)


def _integers(values: Any, name: str) -> tuple[int, ...]:
    try:
        result = tuple(values)
    except TypeError:
        raise TypeError(f"{name} must be a tuple of integers, got {values!r}") from None
    if any(isinstance(v, bool) or not isinstance(v, (int, np.integer)) for v in result):
        raise TypeError(f"{name} must hold integers only, got {result!r}")
    return tuple(int(v) for v in result)
