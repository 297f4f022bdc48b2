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
from .confidence import Confidence
from .network import CopsNetwork, CostScaling, Logits
from .views import mean_costs


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
    views : int
        One of `VIEWS`: predictions are cut from the mean of the costs of so many mirrored and transposed copies of an
        image, for which the network takes as many times as long.
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
        self.views = 1
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
        self.eval()
        with torch.no_grad():
            of_view = functools.partial(self._costs_of_view, device=device)
            class_costs, edge_costs = mean_costs(of_view, images, self.stride, self.layer.offsets, self.views)
        return class_costs.cpu(), edge_costs.cpu()

    def _costs_of_view(self, images: Sequence[NDArray[np.uint8]], device: torch.device) -> tuple[Tensor, Tensor]:
        rows, columns = (-(-n // self.stride) for n in images[0].shape[:2])
        batch = network_input(images, self.network.divisor).to(device)
        class_costs, edge_costs = self.scaling(Logits(*(t[..., :rows, :columns].float() for t in self.network(batch))))
        return class_costs, edge_costs

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
