"""From a label image to a graph of its regions, and from a clustering of the regions back to an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import Array, check_background, float_array, is_tensor, label_array
from .._threads import thread_ranges
from ..graph import MAX_NODES, Graph
from ..grid import check_offsets, shift_of, windows_of
from .neighbours import neighbouring_regions
from .numbering import VOXELS_A_THREAD, numbered
from .statistics import EdgeStatistics, Faces, statistics


def region_graph(labels: Any, *, background: int | None = None) -> RegionGraph:
    """Build the graph of the regions of a label image: one node a region, one edge for two that share a face.

    Parameters
    ----------
    labels : integer array or tensor, any number of axes
        The region of every voxel; ids may be any integers, with gaps, of up to 64 bits.
    background : int, optional
        An id that is no region: its voxels are no node and no boundary.

    Returns
    -------
    RegionGraph

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If there are no axes, or more than 2^31 - 1 regions.

    Notes
    -----
    O(voxels) time in two passes, by all threads, and 4 bytes a voxel beside the labels, which are copied unless
    they lie in C order and in the machine's byte order.

    Examples
    --------
    >>> import numpy as np
    >>> regions = region_graph(np.array([[7, 7, 20], [7, 300, 20]]))
    >>> regions.ids.tolist(), regions.sizes.tolist(), regions.graph.edges.tolist()
    ([7, 20, 300], [3, 2, 1], [[0, 1], [0, 2], [1, 2]])
    >>> regions.accumulate(np.array([[0.0, 0.2, 0.4], [0.1, 0.9, 0.5]])).mean.round(2).tolist()
    [0.3, 0.52, 0.7]
    >>> regions.project(np.array([0, 1, 1])).tolist()
    [[0, 0, 1], [0, 1, 1]]
    """
    array = label_array(labels)
    if array.ndim == 0:
        raise ValueError(f"labels must have at least one axis, got the number {array}")
    background = check_background(background)
    ids, numbers, sizes = numbered(array, background)
    if len(ids) > MAX_NODES:
        raise ValueError(f"labels must hold at most {MAX_NODES} regions, got {len(ids)}")
    graph = Graph(len(ids), neighbouring_regions(numbers))
    return RegionGraph(graph, ids, sizes, numbers, background)


@dataclass(frozen=True, eq=False)
class RegionGraph:
    """The regions of a label image; :func:`region_graph` makes it.

    Attributes
    ----------
    graph : Graph
        R nodes and E edges, the smaller node first, in lexicographic order.
    ids : array of the labels' dtype, shape (R,)
        The id of every node, ascending.
    sizes : int64 array, shape (R,)
        Voxels of every region.
    numbers : int32 array, shape of the labels
        The node of every voxel; -1 is background.
    background : int or None
    """

    graph: Graph
    ids: Array
    sizes: Array
    numbers: Array
    background: int | None = None

    def accumulate(
        self, values: Any, offsets: Iterable[Sequence[int]] | None = None, *, quantiles: Sequence[float] | None = None
    ) -> EdgeStatistics:
        """Gather the values on the boundary between the two regions of every edge.

        Parameters
        ----------
        values : array or tensor of floats or integers
            A boundary map of the labels' shape: a face counts the mean of its two voxels. With `offsets`, affinities of
            shape (C, *labels.shape): the value at ``[c, p]`` is that of p and ``p + offsets[c]``, and counts if these
            lie in two regions that share an edge. Where ``p + offsets[c]`` lies outside, nothing is read. Integers of 8
            or 16 bits, as images have, are not copied.
        offsets : iterable of tuples of int, optional
        quantiles : sequence of float, optional
            Levels in [0, 1]. They need memory for the values of all faces.

        Returns
        -------
        EdgeStatistics
            Count, mean, minimum and maximum, and the quantiles, of every edge.

        Raises
        ------
        TypeError, ValueError
            If shapes do not match, a value is not finite, a quantile lies outside [0, 1], or a tensor requires a
            gradient, which would be lost.
        """
        shape = self.numbers.shape
        if is_tensor(values) and values.requires_grad:
            raise ValueError("statistics of regions have no gradient: give values.detach()")
        if offsets is None:
            array = float_array(values, "boundary_map", f"{shape} of the labels", small=True)
            if array.shape != shape:
                raise ValueError(
                    f"boundary_map must have the labels' shape {shape}, got {array.shape}; affinities need offsets"
                )
            unit = [tuple(int(a == axis) for a in range(len(shape))) for axis in range(len(shape))]
            faces = [_faces(array, True, shape, offset) for offset in unit]
        else:
            vectors = check_offsets(offsets, shape)
            array = float_array(values, "affinities", f"(C, *{shape})", small=True)
            expected = (len(vectors), *shape)
            if array.shape != expected:
                raise ValueError(
                    f"affinities must have shape {expected}, one channel for each offset, got {array.shape}"
                )
            faces = [_faces(channel, False, shape, offset) for channel, offset in zip(array, vectors, strict=True)]
        return statistics(self.numbers, self._rows(), faces, _levels(quantiles))

    def project(self, clusters: Any, *, original: bool = False) -> Array:
        """Carry a clustering of the regions back to the image.

        Parameters
        ----------
        clusters : integer array or tensor, shape (R,)
            If the background does not fit their dtype, the result has one of 64 bits.
        original : bool
            Whether a cluster takes the smallest id of its regions, in the labels' dtype, instead of its own.

        Returns
        -------
        array, shape of the labels
            Background keeps its id; where that is the id of a cluster as well, `original` tells them apart.

        Raises
        ------
        TypeError, ValueError
            If there is not one integer for each region, or no dtype holds these and the background.
        """
        array = label_array(clusters, "clusters")
        if array.shape != (len(self.ids),):
            raise ValueError(f"clusters must have shape ({len(self.ids)},), one for each region, got {array.shape}")
        if original:
            _, first, cluster = np.unique(array, return_index=True, return_inverse=True)
            array = self.ids[first][cluster]
        has_background = int(self.sizes.sum()) < self.numbers.size
        background = (self.background or 0) if has_background else 0
        dtype = _dtype_with(array.dtype, background)
        table = np.append(array.astype(dtype, copy=False), np.array(background, dtype))
        # NOTHING, -1, is the last of the table
        out = np.empty(self.numbers.shape, table.dtype)
        flat, target = self.numbers.reshape(-1), out.reshape(-1)

        def take(first: int, last: int) -> None:
            np.take(table, flat[first:last], out=target[first:last], mode="wrap")

        thread_ranges(take, len(flat), VOXELS_A_THREAD)
        return out

    def _rows(self) -> tuple[Array, Array]:
        edges = self.graph.edges
        counts = np.bincount(edges[:, 0], minlength=self.graph.num_nodes)
        return np.concatenate([[0], np.cumsum(counts)]), np.ascontiguousarray(edges[:, 1])


def _dtype_with(dtype: Any, value: int) -> Any:
    """The dtype of integers, or one of 64 bits that holds these and a value."""
    for wider in (dtype, np.dtype(np.int64), np.dtype(np.uint64)):
        if np.can_cast(dtype, wider) and np.iinfo(wider).min <= value <= np.iinfo(wider).max:
            return wider
    raise ValueError(f"no dtype of integers holds clusters of dtype {dtype} and the background {value}: convert them")


def _faces(values: Array, both: bool, shape: tuple[int, ...], offset: Sequence[int]) -> Faces:
    source, _ = windows_of(shape, offset)
    return Faces(
        values.reshape(-1),
        both,
        np.array(shape, np.int64),
        np.array([part.start for part in source], np.int64),
        np.array([part.stop - part.start for part in source], np.int64),
        shift_of(shape, offset),
    )


def _levels(quantiles: Sequence[float] | None) -> Array | None:
    if quantiles is None:
        return None
    try:
        levels = np.atleast_1d(np.asarray(quantiles, np.float64))
    except (TypeError, ValueError) as error:
        raise TypeError(f"quantiles must be levels in [0, 1], got {quantiles!r}") from error
    if levels.ndim != 1 or not ((levels >= 0) & (levels <= 1)).all():
        raise ValueError(f"quantiles must be levels in [0, 1], got {quantiles!r}")
    return levels
