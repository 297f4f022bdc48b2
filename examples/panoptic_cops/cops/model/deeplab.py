"""Panoptic-DeepLab (Cheng et al., CVPR 2020) on the same backbone: centres and offsets instead of affinities.

The comparator without a solver. Each thing is a peak of a heat map; each thing cell points to its centre.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import Config
from ..data.samples import Category, Prediction
from ..data.targets import Targets
from ..losses import semantic_loss
from .network import SIZES, Decoder, make_backbone, normalized, strides_of, wide_conv
from .segmenter import enlarged, network_input, to_segments

SIGMA = 1.5  # of the heat map's peaks, in cells; 8 pixels at 1/4 resolution in the paper, whose things are larger
HEAT_WEIGHT, OFFSET_WEIGHT = 200.0, 0.04  # the latter in cells: .01 a pixel at stride 4
THRESHOLD, WINDOW, MAX_THINGS = 0.1, 3, 200


class DeepLabNetwork(nn.Module):
    """Backbone, a decoder for classes and one for instances, and three heads."""

    def __init__(self, backbone: str, num_classes: int) -> None:
        super().__init__()
        strides = strides_of(backbone)
        size = SIZES[backbone]
        self.backbone = make_backbone(backbone)
        self.stride, self.divisor = strides[0], strides[-1]
        self.semantic_decoder, self.instance_decoder = (
            Decoder(self.backbone.channels, size, strides[-2::-1]) for _ in range(2)
        )
        width, head, separable = size["decoder"], size["head"], size["separable"]
        self.semantic_head, self.heat_head, self.offset_head = (
            nn.Sequential(wide_conv(width, head, 3, separable), nn.Conv2d(head, outputs, 1))
            for outputs in (num_classes, 1, 2)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.backbone(normalized(image, self.backbone))
        instance = self.instance_decoder(features)
        classes = self.semantic_head(self.semantic_decoder(features))
        return classes, self.heat_head(instance), self.offset_head(instance)


class DeepLabSegmenter(nn.Module):
    """The comparator behind the interface of `Segmenter`, so that the same loop trains and scores it."""

    def __init__(self, config: Config, categories: Sequence[Category]) -> None:
        super().__init__()
        self.categories = tuple(categories)
        self.network = DeepLabNetwork(config.model.backbone, len(categories))
        self.generator = None  # nothing is drawn at random
        thresholds = [config.dataset.reject_things if c.isthing else config.dataset.reject_stuff for c in categories]
        self.register_buffer("thresholds", torch.tensor(thresholds, dtype=torch.float32), persistent=False)

    @property
    def stride(self) -> int:
        """Image pixels per grid cell, along each axis."""
        return self.network.stride

    def predict(self, images: Sequence[NDArray[np.uint8]], device: torch.device) -> list[Prediction]:
        """Segment images (H, W, 3) uint8 of one size."""
        self.eval()
        size = images[0].shape[:2]
        rows, columns = (-(-n // self.stride) for n in size)
        with torch.no_grad():
            maps = self.network(network_input(images, self.network.divisor).to(device))
            classes, heat, offsets = (t[..., :rows, :columns].float().cpu() for t in maps)
        things = torch.tensor([c.isthing for c in self.categories])
        found = []
        for c, h, o in zip(classes, heat[:, 0], offsets, strict=True):
            labels, clusters = (cells.reshape(rows, columns) for cells in group(c, h, o, things))
            ids, segments, _ = to_segments(self.thresholds, labels, clusters, size, self.stride)
            score = enlarged(F.softmax(c, 0).amax(0).numpy(), self.stride, size)
            means = np.bincount(ids.ravel(), score.ravel()) / np.maximum(1, np.bincount(ids.ravel()))
            scores = tuple(float(means[s.id]) for s in segments)
            none = np.zeros(0, np.float32)
            found.append(
                Prediction(
                    ids, segments, scores, enlarged(labels, self.stride, size), none.astype(np.uint8), none, none
                )
            )
        return found


def group(classes: Tensor, heat: Tensor, offsets: Tensor, things: Tensor) -> tuple[NDArray, NDArray]:
    """Class and cluster of every cell: thing cells go to the centre nearest to where they point, classes by majority.

    Parameters
    ----------
    classes : Tensor, shape (K, h, w)
    heat : Tensor, shape (h, w)
    offsets : Tensor, shape (2, h, w)
        From each cell to its centre, vertical and horizontal, in cells.
    things : Tensor of bool, shape (K,)
    """
    K, h, w = classes.shape
    labels = classes.argmax(0).flatten()
    peaks = F.max_pool2d(heat[None], WINDOW, 1, WINDOW // 2)[0]
    score = torch.where((heat == peaks) & (heat > THRESHOLD), heat, -1.0).flatten()
    best = torch.topk(score, min(MAX_THINGS, len(score))).indices
    best = best[score[best] > 0]
    clusters = labels.clone()
    cells = torch.nonzero(things[labels]).flatten()
    if len(best) and len(cells):
        grid = torch.stack([torch.arange(h * w) // w, torch.arange(h * w) % w], 1).float()
        targets = grid[cells] + offsets.flatten(1).T[cells]
        nearest = torch.cdist(targets, grid[best]).argmin(1)
        votes = torch.zeros(len(best), K).index_put((nearest, labels[cells]), torch.ones(len(cells)), accumulate=True)
        clusters[cells] = K + nearest
        labels[cells] = votes.argmax(1)[nearest]
    return labels.numpy(), np.unique(clusters.numpy(), return_inverse=True)[1]


def deeplab_losses(model: DeepLabSegmenter, images: Tensor, targets: Targets, share: float) -> dict[str, Tensor]:
    """Top-k cross-entropy, squared error of the heat map, absolute error of the offsets of thing cells."""
    classes, heat, offsets = model.network(images)
    true_heat, true_offsets, thing = centre_targets(targets, torch.tensor([c.isthing for c in model.categories]))
    known = (targets.labels >= 0).to(heat)
    semantic = semantic_loss(classes, targets, share)
    peak = ((heat[:, 0] - true_heat) ** 2 * known).sum() / known.sum().clamp(min=1)
    pointing = ((offsets - true_offsets).abs().sum(1) * thing).sum() / thing.sum().clamp(min=1)
    loss = semantic + HEAT_WEIGHT * peak + OFFSET_WEIGHT * pointing
    return {"loss": loss, "semantic": semantic, "heat": peak, "offsets": pointing}


def centre_targets(targets: Targets, isthing: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Heat map (B, h, w), offsets to the centre of mass (B, 2, h, w) and mask (B, h, w) of thing cells."""
    batch, h, w = targets.labels.shape
    device = targets.labels.device
    thing = (targets.labels >= 0) & isthing.to(device)[targets.labels.clamp(min=0)]
    rows, columns = (g.float() for g in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
    position = torch.stack([rows, columns]).flatten(1).to(device)
    heat = torch.zeros(batch, h * w, device=device)
    offsets = torch.zeros(batch, 2, h * w, device=device)
    for b in range(batch):
        mask = thing[b].flatten()
        if not mask.any():
            continue
        _, inverse, count = torch.unique(targets.segments[b].flatten()[mask], return_inverse=True, return_counts=True)
        sums = torch.zeros(2, len(count), device=device).index_add(1, inverse, position[:, mask])
        centres = sums / count
        offsets[b][:, mask] = centres[:, inverse] - position[:, mask]
        distance = ((position[:, :, None] - centres[:, None]) ** 2).sum(0)
        heat[b] = torch.exp(-distance / (2 * SIGMA**2)).amax(1)
    return heat.view(batch, h, w), offsets.view(batch, 2, h, w), thing.to(heat)
