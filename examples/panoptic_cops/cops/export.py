"""Predictions in the COCO panoptic format: one id PNG an image and one JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .checkpoints import write_json
from .data import Category
from .segmenter import Prediction


class PanopticWriter:
    """Collects predictions; PNGs are written at once, the JSON by `close`."""

    def __init__(self, folder: Path, categories: Sequence[Category]) -> None:
        self.folder = folder
        self.categories = categories
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, prediction: Prediction, image_id: int | str | None = None) -> Path:
        """Write the PNG (id = R + 256 G + 256² B, 0 is void) of one image; returns its path.

        `image_id` is what the data set calls the image; images are counted where it is None.
        """
        ids = prediction.ids
        path = self.folder / f"{name}_panoptic.png"
        Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 256**2], axis=-1).astype(np.uint8)).save(path)
        number = len(self.images) if image_id is None else image_id
        self.images.append({"id": number, "file_name": name, "height": ids.shape[0], "width": ids.shape[1]})
        segments = []
        for segment, score in zip(prediction.segments, prediction.scores, strict=True):
            mask = ids == segment.id
            category = self.categories[segment.category].id
            info = {"id": segment.id, "category_id": category, "area": int(mask.sum()), "bbox": _box(mask)}
            segments.append({**info, "iscrowd": 0, "score": score})
        self.annotations.append({"image_id": number, "file_name": path.name, "segments_info": segments})
        return path

    def close(self) -> Path:
        """Write panoptic.json; returns its path."""
        path = self.folder / "panoptic.json"
        categories = [
            {"id": c.id, "name": c.name, "isthing": int(c.isthing), "color": list(c.color)} for c in self.categories
        ]
        write_json({"images": self.images, "annotations": self.annotations, "categories": categories}, path)
        return path


def _box(mask: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
