"""Boundary panoptic quality (Cheng et al., CVPR 2021) and mean IoU of the classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from .data import VOID, Category, Sample
from .quality import PanopticQuality

RATIO = 0.02  # of the image diagonal, as for COCO; Cityscapes takes 0.005


def boundary(ids: NDArray[np.int64], width: int) -> NDArray[np.bool_]:
    """Pixels within `width` pixels (in the maximum norm) of another segment or of the image's border.

    For every segment at once what subtracting its `width`-fold 3x3 erosion from it gives.
    """
    size = 2 * width + 1
    highest = maximum_filter(ids, size, mode="constant", cval=-1)
    lowest = minimum_filter(ids, size, mode="constant", cval=-1)
    inner: NDArray[np.bool_] = highest == lowest
    return ~inner


@dataclass
class BoundaryPanopticQuality(PanopticQuality):
    """PQ in which the IoU of a pair is the smaller of the masks' and of their boundaries'.

    The rules for void, crowds and false positives are those of PQ on masks. In the union of boundaries, what of the
    prediction's boundary lies on the boundary of ground-truth void is left out.

    Parameters
    ----------
    categories : sequence of Category
    ratio : float
        Width of a boundary as a share of the image's diagonal; at least one pixel.
    """

    ratio: float = RATIO
    counts: list = field(default_factory=list)  # type: ignore[type-arg]

    def _limits(self, ids: NDArray[np.int64], truth: NDArray[np.int64]) -> dict[tuple[int, int], float] | None:
        width = max(1, round(self.ratio * float(np.hypot(*ids.shape))))
        none = int(max(ids.max(initial=0), truth.max(initial=0))) + 1  # the id of pixels that are no boundary
        p = np.where(boundary(ids, width), ids, none)
        g = np.where(boundary(truth, width), truth, none)
        pairs, areas = np.unique(p * (none + 1) + g, return_counts=True)
        overlap = {(int(i // (none + 1)), int(i % (none + 1))): int(a) for i, a in zip(pairs, areas, strict=True)}
        area_p, area_g = np.bincount(p.ravel(), minlength=none + 1), np.bincount(g.ravel(), minlength=none + 1)
        return {
            (i, j): a / (area_p[i] + area_g[j] - a - overlap.get((i, VOID), 0))
            for (i, j), a in overlap.items()
            if VOID not in (i, j)
        }


class MeanIoU:
    """Mean over the classes that appear of intersection over union of the class maps; void of the truth is left out."""

    def __init__(self, categories: Sequence[Category]) -> None:
        self._confusion = np.zeros((len(categories), len(categories)), np.int64)

    def add(self, classes: NDArray[np.int64], sample: Sample) -> None:
        """Add one image: the predicted class of every pixel, as an index of the categories."""
        truth, K = sample.class_map(), len(self._confusion)
        if classes.shape != truth.shape:
            raise ValueError(f"{sample.name}: prediction {classes.shape} and ground truth {truth.shape} differ in size")
        known = truth >= 0
        self._confusion += np.bincount(truth[known] * K + classes[known], minlength=K * K).reshape(K, K)

    def result(self) -> dict[str, float]:
        """In percent; nan where there is no class."""
        hit = np.diag(self._confusion)
        union = self._confusion.sum(0) + self._confusion.sum(1) - hit
        values = hit[union > 0] / union[union > 0]
        return {"mIoU": 100 * float(values.mean()) if len(values) else math.nan}
