"""Images to panoptic segmentations: network, costs, asymmetric multiway cut, rejection of small segments."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from diffcomb import AsymmetricMultiwayCutLayer, Blackbox, CutOutput

from ..config import Config
from ..data.samples import VOID, Category, Prediction, Segment
from ..data.targets import offsets, on_pixels, to_input
from .network import CopsNetwork, CostScaling, Logits


class Segmenter(nn.Module):
    """The whole model: what is trained, and what predicts.

    Attributes
    ----------
    full_resolution : bool
        Whether predictions are cut on pixels instead of the network's grid (Table 8), from interpolated costs. Edges
        between neighbours stay edges between neighbours, with the costs of the shortest distance; longer ones keep
        their length in pixels. Takes stride² times as long.
    normalize : str
        One of `NORMALIZE`: how the images that it gets have to be read.
    """

    def __init__(
        self,
        config: Config,
        categories: Sequence[Category],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.categories = tuple(categories)
        self.full_resolution = config.model.full_resolution
        self.normalize = config.dataset.normalize
        self.network = CopsNetwork(config.model.backbone, len(categories), config.model.distances)
        self.scaling = CostScaling(len(categories), len(config.model.distances))
        self.distances = list(config.model.distances)
        self.options = {"solver": config.model.solver, "effort": config.model.effort}
        self.generator = generator
        self.layer = self.make_layer(pixels=False)
        thresholds = [config.dataset.reject_things if c.isthing else config.dataset.reject_stuff for c in categories]
        self.register_buffer("thresholds", torch.tensor(thresholds, dtype=torch.float32), persistent=False)

    def make_layer(self, pixels: bool, estimator: Blackbox | None = None) -> AsymmetricMultiwayCutLayer:
        """A layer that cuts on pixels or on the network's grid, with an estimator of its own for the gradient."""
        distances = on_pixels(self.distances, self.stride) if pixels else self.distances
        return cut_layer(distances, self.categories, self.options, estimator, self.generator)

    @property
    def stride(self) -> int:
        """Image pixels per grid cell, along each axis."""
        return self.network.stride

    def logits(self, images: Tensor, amp: bool = False) -> Logits:
        """What the network predicts; with `amp` it computes in bfloat16, and float32 comes out either way."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=amp):
            logits = self.network(images)
        return Logits(*(t.float() for t in logits))

    def costs(self, images: Sequence[NDArray[np.uint8]], device: torch.device) -> tuple[Tensor, Tensor]:
        """Class costs (B, K, h, w) and edge costs (B, O, h, w), on the CPU, of images of one size."""
        rows, columns = (-(-n // self.stride) for n in images[0].shape[:2])
        batch = network_input(images, self.network.divisor).to(device)
        self.eval()
        with torch.no_grad():
            logits = Logits(*(t[..., :rows, :columns].float() for t in self.network(batch)))
            class_costs, edge_costs = self.scaling(logits)
        return class_costs.cpu(), edge_costs.cpu()

    def predict(self, images: Sequence[NDArray[np.uint8]], device: torch.device) -> list[Prediction]:
        """Segment images (H, W, 3) uint8 of one size."""
        class_costs, edge_costs = self.costs(images, device)
        return self.segment(class_costs, edge_costs, images[0].shape[:2])

    def segment(self, class_costs: Tensor, edge_costs: Tensor, size: tuple[int, ...]) -> list[Prediction]:
        """Solve for costs of the grid, (B, K, h, w) and (B, O, h, w); segments of images of that size."""
        return self.solve(*self.to_cut(class_costs, edge_costs, size), size)

    def solve(self, class_costs: Tensor, edge_costs: Tensor, size: tuple[int, ...]) -> list[Prediction]:
        """Solve for costs where the cut is made, the grid or pixels; small segments are rejected."""
        with torch.no_grad():
            out = self.cut[0](class_costs, edge_costs)
        return self.read(out, class_costs, edge_costs, size)

    def read(self, out: CutOutput, class_costs: Tensor, edge_costs: Tensor, size: tuple[int, ...]) -> list[Prediction]:
        """Predictions from a solution for these costs; small segments are rejected."""
        return [
            self._prediction(*parts, size)
            for parts in zip(class_costs, edge_costs, out.class_labels, out.clusters, out.edges, strict=True)
        ]

    @property
    def cut(self) -> tuple[AsymmetricMultiwayCutLayer, int]:
        """The layer that cuts, and the pixels of an image for one of its cells, along each axis."""
        return (self.pixel_layer, 1) if self.full_resolution else (self.layer, self.stride)

    def to_cut(self, class_costs: Tensor, edge_costs: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Costs where the cut is made: those of the grid, or interpolated to the pixels of images of that size."""
        return self.to_pixels(class_costs, edge_costs, size) if self.full_resolution else (class_costs, edge_costs)

    @functools.cached_property
    def pixel_layer(self) -> AsymmetricMultiwayCutLayer:
        """The layer that cuts on pixels."""
        return self.make_layer(pixels=True)

    def to_pixels(
        self, class_costs: Tensor, edge_costs: Tensor, size: Sequence[int], start: Sequence[int] = (0, 0)
    ) -> tuple[Tensor, Tensor]:
        """Costs of the grid, interpolated to a window of that size from the pixel `start` on; see `interpolate`."""
        pairs = zip(edge_costs.unbind(1), self.layer.offsets, self.pixel_layer.offsets, strict=True)
        maps = [interpolate(m, self.stride, size, short, long, start) for m, short, long in pairs]
        return interpolate(class_costs, self.stride, size, start=start), torch.stack(maps, 1)

    def _prediction(
        self,
        class_costs: Tensor,
        edge_costs: Tensor,
        classes: Tensor,
        clusters: Tensor,
        edges: Tensor,
        size: tuple[int, ...],
    ) -> Prediction:
        layer, stride = self.cut
        labels = classes.numpy()
        ids, segments, kept = to_segments(self.thresholds, labels, clusters.numpy(), size, stride)
        confidence = Confidence(layer.offsets, classes_of_clusters(labels, clusters.numpy()))
        confidence.add(clusters.numpy(), class_costs.numpy(), edge_costs.numpy())
        scores = confidence.scores()
        return Prediction(
            ids,
            segments,
            tuple(float(scores[c]) for c in kept),
            enlarged(labels, stride, size),
            edges.to(torch.uint8).numpy(),
            class_costs.numpy(),
            edge_costs.numpy(),
        )


def cut_layer(
    distances: Sequence[int],
    categories: Sequence[Category],
    options: dict[str, Any],
    estimator: Blackbox | None = None,
    generator: torch.Generator | None = None,
) -> AsymmetricMultiwayCutLayer:
    """The asymmetric multiway cut over edges of these distances, in which things may have several clusters.

    Raises
    ------
    ValueError
        If a distance, or an option of the solver, is not one.
    """
    things = [k for k, c in enumerate(categories) if c.isthing]
    return AsymmetricMultiwayCutLayer(
        offsets(distances), things, estimator=estimator, anchor="center", generator=generator, **options
    )


def enlarged(cells: NDArray[np.int64], stride: int, size: Sequence[int]) -> NDArray[np.int64]:
    """Values of the cells, repeated to the pixels of an image of that size."""
    return np.repeat(np.repeat(cells, stride, 0), stride, 1)[: size[0], : size[1]]


def classes_of_clusters(labels: NDArray[np.int64], clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class of every cluster."""
    classes = np.zeros(int(clusters.max()) + 1, np.int64)
    classes[clusters] = labels
    return classes


def to_segments(
    thresholds: Tensor, labels: NDArray[np.int64], clusters: NDArray[np.int64], size: Sequence[int], stride: int
) -> tuple[NDArray[np.int64], tuple[Segment, ...], NDArray[np.int64]]:
    """Segment ids of an image's pixels, segments below the thresholds of their class rejected.

    Parameters
    ----------
    labels, clusters : (h, w) class and cluster of every cell

    Returns
    -------
    ids of the pixels, the segments, and the cluster of every segment
    """
    full = enlarged(clusters, stride, size)
    classes = classes_of_clusters(labels, clusters)
    count = len(classes)
    keep = np.bincount(full.ravel(), minlength=count) >= np.maximum(1, thresholds.cpu().numpy()[classes])
    ids = np.full(count, VOID, np.int64)
    ids[keep] = np.arange(1, keep.sum() + 1)
    kept = np.flatnonzero(keep)
    return ids[full], tuple(Segment(int(ids[c]), int(classes[c])) for c in kept), kept


def interpolate(
    costs: Tensor,
    stride: int,
    size: Sequence[int],
    edge: Sequence[int] = (0, 0),
    longer: Sequence[int] = (0, 0),
    start: Sequence[int] = (0, 0),
) -> Tensor:
    """Interpolate a map (..., h, w) from the grid to pixels (..., H, W), linearly along both axes, constant outside.

    A cell stands where its target was read, at its middle pixel (`subsample`). Costs of the edge p -- p + d stand at
    p + ceil(d / 2) (eq. 10-11), on the grid for the offset `edge`, among pixels for the offset `longer`; the
    middles of the two edges coincide. The pixels are those of a window of that size from `start` on.
    """
    for axis, (n, d, e, first) in enumerate(zip(size, edge, longer, start, strict=True)):
        middle = torch.arange(first, first + n, device=costs.device) - (e + 1) // 2 + e / 2
        at = (middle - stride // 2) / stride - d / 2 + (d + 1) // 2
        dim = costs.ndim - 2 + axis
        at = at.clamp(0, costs.shape[dim] - 1)
        low = at.long()
        high = (low + 1).clamp(max=costs.shape[dim] - 1)
        weight = (at - low).to(costs).view(-1, *[1] * (1 - axis))
        costs = torch.lerp(costs.index_select(dim, low), costs.index_select(dim, high), weight)
    return costs


def network_input(images: Sequence[NDArray[np.uint8]], divisor: int) -> Tensor:
    """Images of one size as a batch whose height and width the divisor divides; the border is repeated."""
    height, width = images[0].shape[:2]
    return F.pad(to_input(images), (0, -width % divisor, 0, -height % divisor), mode="replicate")


class Confidence:
    """Confidence of every cluster of an image: minus eq. 12, so that higher is surer.

    Eq. 12 is the mean class cost inside, plus the mean cost of the cut edges at the border, minus that of the
    inner edges; a mean over no edge is 0. Sums are collected strip by strip, in memory in proportion to a strip.

    Parameters
    ----------
    offsets : of the edges, not negative
    classes : (M,) class of every cluster
    """

    def __init__(self, offsets: Sequence[Sequence[int]], classes: NDArray[np.int64]) -> None:
        self.offsets = offsets
        self.classes = classes
        self._sums = np.zeros((3, len(classes)))  # of class costs, of border costs, of inner costs
        self._counts = np.zeros((3, len(classes)))

    def add(
        self,
        clusters: NDArray[np.int64],
        class_costs: NDArray[np.float32],
        edge_costs: NDArray[np.float32],
        first: int = 0,
    ) -> None:
        """Add costs (K, h, W) and (O, h, W) of the rows from `first` on of an image with clusters (H, W)."""
        rows = class_costs.shape[1]
        z = clusters[first : first + rows]
        costs = np.take_along_axis(class_costs, self.classes[z][None], axis=0)[0]
        self._collect(0, z, costs)
        for offset, costs in zip(self.offsets, edge_costs, strict=True):
            u, v, costs = edge_ends(clusters, costs, offset, first)
            inner = u == v
            self._collect(2, u[inner], costs[inner])
            for end in (u[~inner], v[~inner]):
                self._collect(1, end, costs[~inner])

    def _collect(self, which: int, index: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        count = len(self.classes)
        self._sums[which] += np.bincount(index.ravel(), values.ravel(), count)
        self._counts[which] += np.bincount(index.ravel(), minlength=count)

    def scores(self) -> NDArray[np.float64]:
        """The confidence of every cluster."""
        unary, border, inner = self._sums / np.maximum(self._counts, 1)
        return -(unary + border - inner)


def edge_ends(
    values: NDArray, costs: NDArray[np.float32], offset: Sequence[int], first: int = 0
) -> tuple[NDArray, NDArray, NDArray[np.float32]]:
    """Values of an image (H, W) at both ends of the edges whose costs stand in a strip (h, W) of rows from `first` on.

    Costs of the edge p -- p + d stand at p + ceil(d / 2); those without an edge are left out.
    """
    height, width = values.shape
    (down, right), rows = offset, costs.shape[0]
    low = max(first, -(-down // 2))
    high = max(low, min(first + rows, height - down // 2))
    left, end = -(-right // 2), max(-(-right // 2), width - right // 2)
    u = values[low - -(-down // 2) : high - -(-down // 2), : end - left]
    v = values[low + down // 2 : high + down // 2, right : right + end - left]
    return u, v, costs[low - first : high - first, left:end]
