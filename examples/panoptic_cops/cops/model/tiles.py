"""Images that are too large to be cut whole: cut tile by tile, and where tiles meet once more.

Tiles overlap. The network's costs are blended over the overlap, so that both tiles see the same costs there. Then each
tile is cut with its surroundings, and keeps what lies in its core. Last, one more cut decides everything that a seam
could have spoilt: the pixels of the overlaps become single nodes, all others are joined to the clusters of their tile,
and costs add up. That problem has the same objective as the whole image, and is solved like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from diffcomb import Graph, amwc

from ..data.samples import Prediction
from .confidence import Confidence, edge_ends
from .segmenter import Segmenter, classes_of_clusters, to_segments

WHOLE = 2**21  # pixels of an image that is cut whole, where nothing else is asked for
TILE = 1024
OVERLAP = 64  # pixels by which two tiles overlap, of which either gets one half
STRIP = 128  # rows whose costs are interpolated at once
RESIZED = ("ids", "classes")  # maps of a prediction that have the size of its image


class Window(NamedTuple):
    """Rows and columns of a tile: its core, and the core with its half of the overlaps."""

    core: tuple[slice, slice]
    whole: tuple[slice, slice]

    @property
    def inner(self) -> tuple[slice, slice]:
        """The core within the whole."""
        return tuple(slice(c.start - w.start, c.stop - w.start) for c, w in zip(self.core, self.whole, strict=True))  # type: ignore[return-value]


def windows(size: tuple[int, int], tile: int, reach: int) -> list[Window]:
    """Tiles of an image: cores of up to `tile` pixels a side, and as many pixels more on each side as `reach`."""
    axes = []
    for length in size:
        starts = range(0, length, tile)
        cores = [slice(a, min(a + tile, length)) for a in starts]
        axes.append([(c, slice(max(0, c.start - reach), min(length, c.stop + reach))) for c in cores])
    return [Window((r, c), (rw, cw)) for r, rw in axes[0] for c, cw in axes[1]]


def predict_large(
    model: Segmenter,
    image: NDArray[np.uint8],
    device: torch.device,
    tile: int | None = None,
    max_size: int | None = None,
) -> Prediction:
    """Segment an image (H, W, 3) of any size.

    Parameters
    ----------
    tile : int, optional
        Side of the tiles in pixels, 0 for none; by default `TILE` for images above `WHOLE` pixels.
    max_size : int, optional
        Images with a longer side than this are shrunk, and their segmentation is enlarged to the size given.
    """
    size = image.shape[:2]
    scale = 1.0 if max_size is None else min(1.0, max_size / max(size))
    if scale < 1:
        smaller = Image.fromarray(image).resize(
            (max(1, round(size[1] * scale)), max(1, round(size[0] * scale))),
            Image.Resampling.BILINEAR,
            reducing_gap=2.0,
        )
        image = np.asarray(smaller)
    if tile is None:
        tile = TILE if image.shape[0] * image.shape[1] > WHOLE else 0
    thresholds = model.thresholds
    model.thresholds = thresholds * scale**2  # areas of the image that was given
    try:
        if tile and max(image.shape[:2]) > tile:
            found = predict_in_tiles(model, image, device, tile)
        else:
            (found,) = model.predict([image], device)
    finally:
        model.thresholds = thresholds
    return found if scale == 1 else replace(found, **{name: _resized(getattr(found, name), size) for name in RESIZED})


def _resized(values: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
    """A map of numbers at another size, by nearest neighbours."""
    picture = Image.fromarray(values.astype(np.int32)).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(picture).astype(np.int64)


def predict_in_tiles(
    model: Segmenter, image: NDArray[np.uint8], device: torch.device, tile: int = TILE, overlap: int = OVERLAP
) -> Prediction:
    """Segment an image (H, W, 3) on pixels, in memory of some tens of bytes a pixel beside what one tile takes.

    Where a model cuts on the network's grid, only the network sees tiles: the grid is small enough to be cut whole.

    Parameters
    ----------
    tile, overlap : int
        Pixels; rounded up to what the network divides. Tiles overlap by no more than half of themselves.
    """
    unit = model.network.divisor
    tile, half = (-(-n // unit) * unit for n in (tile, min(overlap, tile // 2) // 2))
    size = (image.shape[0], image.shape[1])
    parts = windows(size, tile, half)
    costs = blended_costs(model, image, device, parts)
    if not model.full_resolution:
        return model.segment(*costs, size)[0]
    near = near_seams(size, parts, half)
    labels, clusters = cut_tiles(model, costs, size, parts, near)
    group, classes, ids = _join(model, costs, size, labels, clusters, near)
    return _read(model, costs, size, classes[group].astype(np.int64), ids[group])


def blended_costs(
    model: Segmenter, image: NDArray[np.uint8], device: torch.device, parts: list[Window]
) -> tuple[Tensor, Tensor]:
    """Costs of the network's grid, (1, K, h, w) and (1, O, h, w); where tiles overlap, one fades into the other."""
    stride = model.stride
    rows, columns = (-(-n // stride) for n in image.shape[:2])
    sums: list[Tensor] = []
    weights = torch.zeros(rows, columns)
    for part in parts:
        found = model.costs([np.ascontiguousarray(image[part.whole])], device)
        place = tuple(slice(w.start // stride, -(-w.stop // stride)) for w in part.whole)
        ramps = [_ramp(w, c, n) for w, c, n in zip(part.whole, part.core, image.shape[:2], strict=True)]
        weight = torch.outer(*(ramp[::stride] for ramp in ramps))
        if not sums:
            sums = [torch.zeros(1, m.shape[1], rows, columns) for m in found]
        for total, maps in zip(sums, found, strict=True):
            total[(..., *place)] += maps * weight
        weights[place] += weight
    return sums[0] / weights, sums[1] / weights


def _ramp(whole: slice, core: slice, length: int) -> Tensor:
    """Weights of a tile's pixels along one axis: 1 inside, falling linearly over the overlaps with its neighbours."""
    place = torch.arange(whole.start, whole.stop, dtype=torch.float32) + 0.5
    ramp = torch.ones(len(place))
    for edge, outer, sign in ((core.start, whole.start, 1), (core.stop, whole.stop, -1)):
        if outer != edge and 0 < edge < length:
            ramp = torch.minimum(ramp, sign * (place - outer) / (2 * abs(edge - outer)))
    return ramp


def cut_tiles(
    model: Segmenter, costs: tuple[Tensor, Tensor], size: tuple[int, int], parts: list[Window], near: NDArray[np.bool_]
) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    """Class and cluster (H, W) of every pixel, each tile cut alone; those `near` a seam will be cut once more."""
    labels, clusters = np.empty(size, np.int16), np.empty(size, np.int32)
    count = 0
    for part in parts:
        shape, start = [w.stop - w.start for w in part.whole], [w.start for w in part.whole]
        with torch.no_grad():
            out = model.pixel_layer(*model.to_pixels(*costs, shape, start))
        labels[part.core] = out.class_labels[0].numpy()[part.inner]
        found = _pieces(out.clusters[0].numpy()[part.inner], near[part.core])
        clusters[part.core] = count + found
        count += int(found.max()) + 1
    return labels, clusters


def _pieces(clusters: NDArray[np.int64], near: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Parts of clusters that hang together pixel by pixel without those near a seam, which may go elsewhere.

    Parts that belong together all the same are joined by the last cut, which has the costs between them.
    """
    index = np.arange(clusters.size).reshape(clusters.shape)
    pairs = []
    for a, b in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        same = (clusters[a] == clusters[b]) & ~near[a] & ~near[b]
        pairs.append((index[a][same], index[b][same]))
    u, v = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    graph = coo_array((np.ones(len(u), bool), (u, v)), shape=(index.size, index.size))
    return connected_components(graph, directed=False)[1].reshape(clusters.shape)


def near_seams(size: tuple[int, int], parts: list[Window], half: int) -> NDArray[np.bool_]:
    """Pixels in the overlap of two tiles."""
    near = np.zeros(size, bool)
    for part in parts:
        for axis, (core, length) in enumerate(zip(part.core, size, strict=True)):
            if core.stop < length:
                band = [slice(None), slice(None)]
                band[axis] = slice(max(0, core.stop - half), core.stop + half)
                near[tuple(band)] = True
    return near


def _join(
    model: Segmenter,
    costs: tuple[Tensor, Tensor],
    size: tuple[int, int],
    labels: NDArray[np.int16],
    clusters: NDArray[np.int32],
    near: NDArray[np.bool_],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Cut once more: the node of every pixel, and class and cluster of every node."""
    group = np.where(near, 0, clusters + 1)  # clusters without pixels outside of the overlaps leave no node
    used, numbers = np.unique(group, return_inverse=True)
    first = len(used) - (used[0] == 0)
    group = (numbers.reshape(size) - (used[0] == 0)).astype(np.int32)
    group[near] = first + np.arange(np.count_nonzero(near), dtype=np.int32)
    count = first + np.count_nonzero(near)
    nodes = np.zeros((count, costs[0].shape[1]))
    edges = csr_array((count, count))
    for row, class_costs, edge_costs in strips(model, costs, size):
        part = group[row : row + class_costs.shape[1]].ravel()
        for k, values in enumerate(class_costs):
            nodes[:, k] += np.bincount(part, values.ravel(), count)
        edges = edges + _edges_between(group, edge_costs, model.pixel_layer.offsets, row, count)
    stored = edges.tocoo()  # ends and costs in one order, also of costs that add up to 0
    graph = Graph(count, np.stack([stored.row, stored.col], axis=1))
    found = amwc(graph, nodes, stored.data, model.pixel_layer.partitionable, **model.options)
    return group, found.node_labels, found.clusters


def strips(
    model: Segmenter, costs: tuple[Tensor, Tensor], size: tuple[int, int]
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
    """Costs on the pixels of some rows at a time: the first row, class costs (K, h, W), edge costs (O, h, W)."""
    for row in range(0, size[0], STRIP):
        rows = min(STRIP, size[0] - row)
        class_costs, edge_costs = model.to_pixels(*costs, (rows, size[1]), (row, 0))
        yield row, class_costs[0].numpy(), edge_costs[0].numpy()


def _edges_between(
    group: NDArray[np.int32], costs: NDArray[np.float32], offsets: list[tuple[int, int]], first: int, count: int
) -> csr_array:
    """The costs between nodes, added up, of the edges that stand in a strip of rows; the smaller node is the row."""
    total = csr_array((count, count))
    for offset, values in zip(offsets, costs, strict=True):
        u, v, w = edge_ends(group, values, offset, first)
        apart = u != v
        a, b = u[apart], v[apart]
        ends = np.minimum(a, b), np.maximum(a, b)
        total = total + coo_array((w[apart].astype(np.float64), ends), shape=(count, count)).tocsr()
    return total


def _read(
    model: Segmenter,
    costs: tuple[Tensor, Tensor],
    size: tuple[int, int],
    labels: NDArray[np.int64],
    clusters: NDArray[np.int64],
) -> Prediction:
    """The prediction of a labelling of the pixels; of costs and cut edges, too large to keep, it holds none."""
    ids, segments, kept = to_segments(model.thresholds, labels, clusters, size, 1)
    confidence = Confidence(model.pixel_layer.offsets, classes_of_clusters(labels, clusters))
    for row, class_costs, edge_costs in strips(model, costs, size):
        confidence.add(clusters, class_costs, edge_costs, row)
    scores = confidence.scores()
    none = np.zeros((0, *size), np.float32)
    return Prediction(ids, segments, tuple(float(scores[c]) for c in kept), labels, none.astype(np.uint8), none, none)
