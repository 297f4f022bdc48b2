"""The panoptic-quality surrogate: COPS eq. 6, and a variant with the details of the published code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffcomb import CutOutput

from . import parallel

VARIANTS = ("paper", "reference")


def soft_threshold(iou: Tensor) -> Tensor:
    """h(u) = u⁴ / (u⁴ + (1 - u)⁴): the probability that a mask of that IoU is a true positive."""
    return iou**4 / (iou**4 + (1 - iou) ** 4)


def slope_of_threshold(iou: np.ndarray) -> np.ndarray:
    """h'(u) = 4 u³ (1 - u)³ / (u⁴ + (1 - u)⁴)²: the derivative of h at that IoU."""
    return 4 * (iou * (1 - iou)) ** 3 / (iou**4 + (1 - iou) ** 4) ** 2


class Truth:
    """True segments of a batch, (B, H, W), numbered in every image.

    Attributes
    ----------
    segments : of every image, what its segments are (sorted) and the number of every cell's
    """

    def __init__(self, segments: Tensor) -> None:
        # torch.unique refuses images without cells.
        self.segments = [torch.unique(t, return_inverse=True) for t in segments.flatten(1) if t.numel()]
        self._shape = segments.shape

    def overlaps(self, panoptic: Tensor | CutOutput) -> Tensor:
        """Cells that masks (B, J, H, W) share with the segments, (B, J, G)."""
        if not self.segments:
            like = panoptic.edges if isinstance(panoptic, CutOutput) else panoptic
            return like.flatten()[:0].view(0, 0, 0)
        index = torch.stack([number for _, number in self.segments])
        count = int(index.max()) + 1
        if isinstance(panoptic, CutOutput):
            return panoptic.overlaps(index.view(self._shape), count)
        return Overlaps.apply(panoptic.flatten(2), index, count)


@dataclass(frozen=True)
class PanopticQualitySurrogate:
    """Loss w (1 - mean over classes of PQ_l), with numerators and denominators summed over the batch.

    In a parallel run they are summed over the batches of all processes.

    Parameters
    ----------
    thresholds : Tensor, shape (K,)
        Area t_l in image pixels below which a segment of class l will be rejected.
    pixel_area : float
        Image pixels of one grid cell.
    weight : float
        w: sets the size of the perturbations.
    slope : float
        Slope of the soft rejection σ_l(p) = 1 / (1 + exp(-slope (area(p) - t_l))), in 1 / image pixels.
    variant : {"paper", "reference"}
        In both, a class counts if it has a true segment or a prediction in the batch, however small that is: in
        a small batch with many classes a stray cell of an absent class weighs as much as a whole class.
        "paper" is eq. 6 to the letter: a matched pair of low IoU counts neither as true positive nor as an
        error. "reference" counts it as a missed ground truth: FN = Σ over all ground truth of 1 - h, with
        IoU = (I + .1) / (U + .1) and PQ = (numerator + .1) / (denominator + .1), as the published code does.
    """

    thresholds: Tensor
    pixel_area: float
    weight: float = 10.0
    slope: float = 0.1
    variant: str = "paper"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(map(repr, VARIANTS))}, got {self.variant!r}")

    def __call__(self, panoptic: Tensor | CutOutput, label_classes: Tensor, segments: Tensor) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        panoptic : Tensor, shape (B, J, H, W), or CutOutput
            Masks z of the panoptic labels, in [0, 1]; or what a layer returned, whose masks need not be made.
        label_classes : Tensor of int64, shape (B, J)
            Class of every label; -1 for padding.
        segments : Tensor of int64, shape (B, H, W)
            Ground truth: class + K · instance, -1 for void, as `make_targets` makes them.
        """
        truth = Truth(segments)
        return self.of_overlaps(truth.overlaps(panoptic), label_classes, truth)

    def of_overlaps(self, overlaps: Tensor, label_classes: Tensor, truth: Truth) -> Tensor:
        """The loss from the overlaps (B, J, G) of masks with the true segments."""
        quality = self.quality_of_overlaps(overlaps, label_classes, truth)
        if not len(quality):
            return overlaps.sum() * 0
        return self.weight * (1 - quality.mean())

    def quality(self, panoptic: Tensor | CutOutput, label_classes: Tensor, segments: Tensor) -> Tensor:
        """PQ_l of the classes that appear in prediction or ground truth."""
        truth = Truth(segments)
        return self.quality_of_overlaps(truth.overlaps(panoptic), label_classes, truth)

    def quality_of_overlaps(self, overlaps: Tensor, label_classes: Tensor, truth: Truth) -> Tensor:
        """PQ_l of the classes that appear, from the overlaps (B, J, G) of masks with the true segments."""
        K = len(self.thresholds)
        numerator = overlaps.new_zeros(K)
        denominator = overlaps.new_zeros(K)
        known_classes = label_classes[: len(truth.segments)]
        for intersection, classes, (ids, inverse) in zip(overlaps, known_classes, truth.segments, strict=True):
            known = ids >= 0  # void, if there is any, comes first
            i = intersection[:, : len(ids)][:, known]
            used = (classes >= 0) & (i.detach().sum(1) > 0)  # a label that no cell took is no prediction
            area = torch.bincount(inverse, minlength=len(ids))[known].to(overlaps.dtype)
            a, b = self._image(i[used], classes[used], ids[known] % K, area)
            numerator, denominator = numerator + a, denominator + b
        numerator, denominator = parallel.total(torch.stack([numerator, denominator]))
        present = denominator.detach() > 0
        eps = 0.1 if self.variant == "reference" else 0.0
        return (numerator[present] + eps) / (denominator[present] + eps)

    def _image(
        self, intersection: Tensor, classes: Tensor, truth_classes: Tensor, area: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Numerator and denominator of eq. 6 for every class in one image, from overlaps (J, G) and true areas (G,)."""
        K = len(self.thresholds)
        predicted = intersection.sum(1)
        eps = 0.1 if self.variant == "reference" else 0.0
        iou = (intersection + eps) / (predicted[:, None] + area[None] - intersection + eps)
        sigma = torch.sigmoid(self.slope * (self.pixel_area * predicted - self.thresholds.to(predicted)[classes]))
        rows, columns = _match(iou, intersection, classes, truth_classes)
        h = soft_threshold(iou[rows, columns])
        hit = h * sigma[rows]
        free = torch.ones(len(classes), dtype=torch.bool, device=iou.device)
        free[rows] = False
        numerator = iou.new_zeros(K).index_add(0, classes[rows], hit * iou[rows, columns])
        denominator = iou.new_zeros(K).index_add(0, classes[rows], hit)
        denominator = denominator.index_add(0, classes[free], 0.5 * sigma[free])
        missed = iou.new_ones(len(area))
        missed = missed.index_put((columns,), 1 - h if self.variant == "reference" else torch.zeros_like(h))
        return numerator, denominator.index_add(0, truth_classes, 0.5 * missed)


class Overlaps(torch.autograd.Function):
    """Overlaps (B, J, G) of masks (B, J, N) with the true segments, given the segment (B, N) of every cell, 0..G-1.

    The loss depends on the masks through these alone, and they are linear in the masks: the gradient is one table
    look-up a pixel.
    """

    @staticmethod
    def forward(masks: Tensor, index: Tensor, count: int) -> Tensor:
        shared = masks.new_zeros(*masks.shape[:2], count)
        for b in range(len(masks)):
            torch.mm(masks[b], torch.nn.functional.one_hot(index[b], count).to(masks.dtype), out=shared[b])
        return shared

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(inputs[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return torch.gather(gradient, 2, index[:, None].expand(-1, gradient.shape[1], -1)), None, None


def _match(iou: Tensor, intersection: Tensor, classes: Tensor, truth_classes: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum-weight bipartite matching of each class on IoU; segments that do not overlap are not matched."""
    same = classes[:, None] == truth_classes[None]
    weight = torch.where(same & (intersection > 0), iou, 0.0).detach().cpu().numpy()
    rows, columns = linear_sum_assignment(weight, maximize=True)
    keep = weight[rows, columns] > 0
    return torch.as_tensor(rows[keep], device=iou.device), torch.as_tensor(columns[keep], device=iou.device)
