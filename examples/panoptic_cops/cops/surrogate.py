"""The panoptic-quality surrogate (COPS eq. 6), and the same with the details of the published code."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from . import parallel

VARIANTS = ("paper", "reference")


def soft_threshold(iou: Tensor) -> Tensor:
    """h(u) = u⁴ / (u⁴ + (1 - u)⁴): the probability that a mask of that IoU is a true positive."""
    return iou**4 / (iou**4 + (1 - iou) ** 4)


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

    def __call__(self, panoptic: Tensor, label_classes: Tensor, segments: Tensor) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        panoptic : Tensor, shape (B, J, H, W)
            Masks z of the panoptic labels, in [0, 1].
        label_classes : Tensor of int64, shape (B, J)
            Class of every label; -1 for padding.
        segments : Tensor of int64, shape (B, H, W)
            Ground truth: class + K · instance, -1 for void, as `make_targets` makes them.
        """
        quality = self.quality(panoptic, label_classes, segments)
        if not len(quality):
            return panoptic.sum() * 0
        return self.weight * (1 - quality.mean())

    def quality(self, panoptic: Tensor, label_classes: Tensor, segments: Tensor) -> Tensor:
        """PQ_l of the classes that appear in prediction or ground truth."""
        K = len(self.thresholds)
        numerator = panoptic.new_zeros(K)
        denominator = panoptic.new_zeros(K)
        for masks, classes, truth in zip(panoptic, label_classes, segments, strict=True):
            valid = (truth >= 0).flatten()
            p = masks.flatten(1)[classes >= 0][:, valid]
            classes = classes[classes >= 0]
            used = p.detach().sum(1) > 0  # a label that no cell took is no prediction
            a, b = self._image(p[used], classes[used], truth.flatten()[valid], K)
            numerator, denominator = numerator + a, denominator + b
        numerator, denominator = parallel.total(torch.stack([numerator, denominator]))
        present = denominator.detach() > 0
        eps = 0.1 if self.variant == "reference" else 0.0
        return (numerator[present] + eps) / (denominator[present] + eps)

    def _image(self, p: Tensor, classes: Tensor, truth: Tensor, K: int) -> tuple[Tensor, Tensor]:
        """Numerator and denominator of eq. 6 for every class, in one image."""
        if not len(truth):  # all void: every prediction is ignored
            return p.new_zeros(K), p.new_zeros(K)
        ids, inverse = torch.unique(truth, return_inverse=True)
        g = torch.nn.functional.one_hot(inverse, len(ids)).to(p.dtype)
        intersection = p @ g
        union = p.sum(1)[:, None] + g.sum(0)[None] - intersection
        eps = 0.1 if self.variant == "reference" else 0.0
        iou = (intersection + eps) / (union + eps)
        truth_classes = ids % K
        thresholds = self.thresholds.to(p)[classes]
        sigma = torch.sigmoid(self.slope * (self.pixel_area * p.sum(1) - thresholds))
        rows, columns = _match(iou, intersection, classes, truth_classes)
        h = soft_threshold(iou[rows, columns])
        hit = h * sigma[rows]
        free = torch.ones(len(p), dtype=torch.bool, device=p.device)
        free[rows] = False
        numerator = p.new_zeros(K).index_add(0, classes[rows], hit * iou[rows, columns])
        denominator = p.new_zeros(K).index_add(0, classes[rows], hit)
        denominator = denominator.index_add(0, classes[free], 0.5 * sigma[free])
        missed = p.new_ones(len(ids))
        missed = missed.index_put((columns,), 1 - h if self.variant == "reference" else torch.zeros_like(h))
        return numerator, denominator.index_add(0, truth_classes, 0.5 * missed)


def _match(iou: Tensor, intersection: Tensor, classes: Tensor, truth_classes: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum-weight bipartite matching of each class on IoU; pairs that do not overlap are no pairs."""
    same = classes[:, None] == truth_classes[None]
    weight = torch.where(same & (intersection > 0), iou, 0.0).detach().cpu().numpy()
    rows, columns = linear_sum_assignment(weight, maximize=True)
    keep = weight[rows, columns] > 0
    return torch.as_tensor(rows[keep], device=iou.device), torch.as_tensor(columns[keep], device=iou.device)
