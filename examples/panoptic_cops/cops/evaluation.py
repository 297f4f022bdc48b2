"""Scores of a model on a data set: panoptic quality, instance AP."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from tqdm import tqdm

from .data import Category, Dataset, Sample
from .quality import PanopticQuality
from .segmenter import Prediction, Segmenter

MAX_BATCH_PIXELS = 64 * 64 * 50


def predictions(
    model: Segmenter, dataset: Dataset, device: torch.device, title: str | None = None
) -> Iterator[tuple[Sample, Prediction]]:
    """Segment every sample; consecutive images of one size share a batch. With a title, shows progress."""
    samples: Iterable[Sample] = (dataset[i] for i in range(len(dataset)))
    if title is not None:
        samples = tqdm(samples, total=len(dataset), desc=title, unit="image")
    batch: list[Sample] = []
    for sample in samples:
        limit = max(1, MAX_BATCH_PIXELS // sample.ids.size)
        if batch and (sample.ids.shape != batch[0].ids.shape or len(batch) >= limit):
            yield from zip(batch, model.predict([s.image for s in batch], device), strict=True)
            batch = []
        batch.append(sample)
    if batch:
        yield from zip(batch, model.predict([s.image for s in batch], device), strict=True)


def panoptic_quality(
    model: Segmenter, dataset: Dataset, device: torch.device, title: str | None = None
) -> PanopticQuality:
    """Exact PQ of a model on a data set."""
    quality = PanopticQuality(dataset.categories)
    for sample, prediction in predictions(model, dataset, device, title):
        quality.add(prediction.ids, prediction.segments, sample)
    return quality


def average_precision(pairs: Sequence[tuple[Sample, Prediction]], categories: Sequence[Category]) -> dict[str, float]:
    """Instance AP and AP50 of the things in percent, ranked by the score of eq. 12, through pycocotools."""
    from pycocotools import mask as rle
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def encode(mask: np.ndarray) -> dict:  # type: ignore[type-arg]
        return rle.encode(np.asfortranarray(mask.astype(np.uint8)))

    truth, found = [], []
    for image_id, (sample, prediction) in enumerate(pairs, start=1):
        for segment in sample.segments:
            mask = sample.ids == segment.id
            if categories[segment.category].isthing and mask.any():
                code = encode(mask)
                truth.append(
                    {
                        "id": len(truth) + 1, "image_id": image_id, "category_id": segment.category + 1,
                        "iscrowd": int(segment.iscrowd), "segmentation": code, "area": int(mask.sum()),
                        "bbox": rle.toBbox(code).tolist(),
                    }
                )  # fmt: skip
        found += [
            {
                "image_id": image_id, "category_id": segment.category + 1, "score": score,
                "segmentation": encode(prediction.ids == segment.id),
            }
            for segment, score in zip(prediction.segments, prediction.scores, strict=True)
            if categories[segment.category].isthing
        ]  # fmt: skip
    if not truth or not found:
        return {"AP": 0.0, "AP50": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {
            "info": {},
            "images": [
                {"id": i, "height": sample.ids.shape[0], "width": sample.ids.shape[1]}
                for i, (sample, _) in enumerate(pairs, start=1)
            ],
            "annotations": truth,
            "categories": [{"id": k + 1, "name": c.name} for k, c in enumerate(categories) if c.isthing],
        }
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(found), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {"AP": 100 * max(0.0, float(evaluation.stats[0])), "AP50": 100 * max(0.0, float(evaluation.stats[1]))}
