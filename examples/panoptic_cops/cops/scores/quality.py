"""Panoptic quality (eq. 5), boundary panoptic quality (Cheng et al., CVPR 2021), and mean IoU of the classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from ..data.samples import VOID, Category, Sample, Segment

NOTHING_SCORED = "nan: neither the ground truth nor a prediction has a segment that this score is about"
RATIO = 0.02  # of the image diagonal, as for COCO; Cityscapes takes 0.005


@dataclass
class _Counts:
    iou: float = 0.0
    tp: int = 0
    fp: int = 0
    fn: int = 0


@dataclass(frozen=True)
class Matching:
    """Which predicted segments of one image match which true ones; both are named by their ids.

    Attributes
    ----------
    overlap : pixels that a predicted and a true segment share, by pair; id 0 is void
    area, real_area : pixels of each predicted and each true segment that has any
    iou : of every matched pair, predicted before true
    missed : true segments without a match; never crowds
    false : predicted segments without a match, but for those that lie mostly on void or on a crowd of their class
    """

    overlap: dict[tuple[int, int], int]
    area: dict[int, int]
    real_area: dict[int, int]
    iou: dict[tuple[int, int], float]
    missed: list[int]
    false: list[int]


@dataclass
class PanopticQuality:
    """Accumulates images; sums come first, ratios last, as in panopticapi.

    Rules: a pair matches if it has one class and IoU > 0.5 strictly; ground-truth void leaves the union,
    predicted void does not; a prediction that lies more than half on void or on a crowd of its class is
    ignored; crowds are never missed; a true segment without pixels is missed; classes without any segment are left out
    of the means.
    """

    categories: Sequence[Category]
    counts: list[_Counts] = field(default_factory=list)
    areas: list[tuple[int, int, bool]] = field(default_factory=list)  # class and pixels of true segments, and if found

    def __post_init__(self) -> None:
        self.counts = [_Counts() for _ in self.categories]

    def add(self, ids: NDArray[np.int64], segments: Sequence[Segment], truth: Sample) -> None:
        """Add one image: predicted segment ids (H, W) with 0 for void, what they are, and the ground truth.

        Raises
        ------
        ValueError
            If sizes differ or the prediction holds an id that `segments` lacks.
        """
        found = self.match(ids, segments, truth)
        predicted = {s.id: s for s in segments}
        real = {s.id: s for s in truth.segments}
        missed = set(found.missed)
        for (_, g), iou in found.iou.items():
            count = self.counts[real[g].category]
            count.iou += iou
            count.tp += 1
        for g, segment in real.items():
            if not segment.iscrowd:
                self.counts[segment.category].fn += g in missed
                self.areas.append((segment.category, found.real_area.get(g, 0), g not in missed))
        for p in found.false:
            self.counts[predicted[p].category].fp += 1

    def match(self, ids: NDArray[np.int64], segments: Sequence[Segment], truth: Sample) -> Matching:
        """Match predicted and true segments of one image, without counting them.

        Raises
        ------
        ValueError
            If sizes differ or the prediction holds an id that `segments` lacks.
        """
        if ids.shape != truth.ids.shape:
            raise ValueError(f"{truth.name}: prediction {ids.shape} and ground truth {truth.ids.shape} differ in size")
        predicted = {s.id: s for s in segments}
        real = {s.id: s for s in truth.segments}
        factor = int(truth.ids.max(initial=0)) + 1
        pairs, areas = np.unique(ids * factor + truth.ids, return_counts=True)
        overlap = {(int(p // factor), int(p % factor)): int(a) for p, a in zip(pairs, areas, strict=True)}
        area: dict[int, int] = {}
        real_area: dict[int, int] = {}
        for (p, g), a in overlap.items():
            area[p] = area.get(p, 0) + a
            real_area[g] = real_area.get(g, 0) + a
        unknown = set(area) - {VOID} - set(predicted)
        if unknown:
            raise ValueError(f"{truth.name}: the prediction holds ids without a segment, e.g. {min(unknown)}")
        matched: dict[tuple[int, int], float] = {}
        limit = self._limits(ids, truth.ids)
        for (p, g), a in overlap.items():
            if p == VOID or g == VOID or real[g].iscrowd or predicted[p].category != real[g].category:
                continue
            iou = a / (area[p] + real_area[g] - a - overlap.get((p, VOID), 0))
            if limit is not None:
                iou = min(iou, limit.get((p, g), 0.0))
            if iou > 0.5:
                matched[p, g] = iou
        matched_p, matched_g = {p for p, _ in matched}, {g for _, g in matched}
        false = []
        for p, segment in predicted.items():
            if p not in area or p in matched_p:
                continue
            crowd = [g for g, s in real.items() if s.iscrowd and s.category == segment.category]
            ignored = overlap.get((p, VOID), 0) + sum(overlap.get((p, g), 0) for g in crowd[-1:])
            if ignored / area[p] <= 0.5:
                false.append(p)
        missed = [g for g, segment in real.items() if not segment.iscrowd and g not in matched_g]
        return Matching(overlap, area, real_area, matched, missed, false)

    def table(self) -> NDArray[np.float64]:
        """The sums so far, (K, 4): IoU, TP, FP, FN of every class; those of several processes add up."""
        return np.array([[c.iou, c.tp, c.fp, c.fn] for c in self.counts], np.float64).reshape(-1, 4)

    def set_table(self, table: NDArray[np.float64]) -> None:
        """Replace the sums."""
        self.counts = [_Counts(float(iou), int(tp), int(fp), int(fn)) for iou, tp, fp, fn in table]

    def _limits(self, ids: NDArray[np.int64], truth: NDArray[np.int64]) -> dict[tuple[int, int], float] | None:
        """Bounds on the IoU of overlapping pairs, for scores that are stricter than PQ."""
        return None

    def result(self) -> dict[str, float]:
        """PQ, PQ_th, PQ_st, SQ and RQ in percent; nan where there is no class to average."""
        return {
            "PQ": self._mean(lambda c: True)[0],
            "PQ_th": self._mean(lambda c: c.isthing)[0],
            "PQ_st": self._mean(lambda c: not c.isthing)[0],
            "SQ": self._mean(lambda c: True)[1],
            "RQ": self._mean(lambda c: True)[2],
        }

    def per_class(self) -> list[dict[str, float | str | int]]:
        """One row for each class that appears: name, PQ, SQ, RQ in percent, TP, FP, FN."""
        rows: list[dict[str, float | str | int]] = []
        for category, c in zip(self.categories, self.counts, strict=True):
            if c.tp + c.fp + c.fn:
                pq, sq, rq = _ratios(c)
                rows.append({"class": category.name, "PQ": pq, "SQ": sq, "RQ": rq, "TP": c.tp, "FP": c.fp, "FN": c.fn})
        return rows

    def _mean(self, chosen) -> tuple[float, float, float]:  # type: ignore[no-untyped-def]
        rows = [
            _ratios(c)
            for category, c in zip(self.categories, self.counts, strict=True)
            if chosen(category) and c.tp + c.fp + c.fn
        ]
        if not rows:
            return math.nan, math.nan, math.nan
        pq, sq, rq = np.mean(rows, axis=0).tolist()
        return pq, sq, rq


def _ratios(c: _Counts) -> tuple[float, float, float]:
    denominator = c.tp + 0.5 * c.fp + 0.5 * c.fn
    return 100 * c.iou / denominator, 100 * (c.iou / c.tp if c.tp else 0.0), 100 * c.tp / denominator


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
