"""Scores of a model on a data set: panoptic quality, instance AP."""

from __future__ import annotations

import contextlib
import io
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.samples import VOID, Category, Prediction, Sample

LIMIT = 100  # predictions of an image and class, in the evaluation of COCO


class AveragePrecision:
    """Instance AP and AP50 of the things, ranked by the score of eq. 12, through pycocotools.

    All predictions of an image count. COCO's limit, the 100 surest of a class, would miss segments of crowded images.
    Images are kept as run lengths, so a whole data set fits into memory.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        self.categories = categories
        self._images: list[dict[str, Any]] = []
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    def add(self, sample: Sample, prediction: Prediction) -> None:
        """Add one image."""
        image_id = len(self._images) + 1
        self._images.append({"id": image_id, "height": sample.ids.shape[0], "width": sample.ids.shape[1]})
        codes, areas = run_lengths(sample.ids), np.bincount(sample.ids.ravel())
        for segment in sample.segments:
            if self.categories[segment.category].isthing and segment.id in codes:
                code = codes[segment.id]
                area = int(areas[segment.id])
                entry = {"id": len(self._truth) + 1, "iscrowd": int(segment.iscrowd), "area": area}
                box = {"bbox": mask_tools().toBbox(code).tolist()}
                self._truth.append({**_entry(image_id, segment.category, code), **entry, **box})
        codes = run_lengths(prediction.ids)
        for segment, score in zip(prediction.segments, prediction.scores, strict=True):
            if self.categories[segment.category].isthing and segment.id in codes:
                self._found.append({**_entry(image_id, segment.category, codes[segment.id]), "score": score})

    def result(self) -> dict[str, float]:
        """AP (mean over IoU .50:.95) and AP50 in percent; nan where no thing is there to be found."""
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        if all(entry["iscrowd"] for entry in self._truth):
            return {"AP": math.nan, "AP50": math.nan}
        if not self._found:
            return {"AP": 0.0, "AP50": 0.0}
        with contextlib.redirect_stdout(io.StringIO()):
            reference = COCO()
            reference.dataset = {
                "info": {},
                "images": self._images,
                "annotations": self._truth,
                "categories": [{"id": k + 1, "name": c.name} for k, c in enumerate(self.categories) if c.isthing],
            }
            reference.createIndex()
            evaluation = COCOeval(reference, reference.loadRes(self._found), "segm")
            most = max(Counter(entry["image_id"] for entry in self._found).values())
            evaluation.params.maxDets = [max(LIMIT, most)]
            evaluation.evaluate()
            evaluation.accumulate()
        # By IoU, recall and class, for segments of all sizes; -1 where a class has no true segment. `summarize` would
        # look for a limit of 100.
        precision = evaluation.eval["precision"][:, :, :, 0, -1]
        return {name: 100 * float(p[p > -1].mean()) for name, p in (("AP", precision), ("AP50", precision[0]))}


def mask_tools() -> Any:
    """Return pycocotools' masks, imported when instances are scored and not before."""
    from pycocotools import mask

    return mask


def run_lengths(ids: NDArray[np.int64]) -> dict[int, dict[str, Any]]:
    """The mask of every segment as pycocotools encodes it, in one pass over the pixels.

    Runs go down the columns; in a mask they are lengths of 0, 1, 0, 1, ..., and the first may be 0.
    """
    flat = ids.ravel(order="F")
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    ends = np.append(starts[1:], len(flat))
    order = np.argsort(flat[starts], kind="stable")
    numbers, first = np.unique(flat[starts][order], return_index=True)
    size = list(ids.shape)
    codes = {}
    for number, runs in zip(numbers.tolist(), np.split(order, first[1:]), strict=True):
        if number != VOID:
            edges = np.concatenate([[0], np.stack([starts[runs], ends[runs]], 1).ravel(), [len(flat)]])
            counts = np.diff(edges)
            counts = counts if counts[-1] else counts[:-1]
            codes[number] = mask_tools().frPyObjects({"counts": counts.tolist(), "size": size}, *size)
    return codes


def _entry(image_id: int, category: int, code: dict[str, Any]) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": category + 1, "segmentation": code}
