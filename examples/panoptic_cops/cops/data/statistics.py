"""One pass over a split: sizes, areas, counts of classes, and what is wrong with its files."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from tqdm import tqdm

from .cityscapes import Cityscapes
from .coco import CocoPanoptic
from .folder import Folder
from .normalize import HIGH, LOW
from .samples import VOID, Category, Dataset, Note, Sample, Subset, noted

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
FILES = (CocoPanoptic, Cityscapes, Folder)  # data sets that read files, which may be damaged


@dataclass
class Statistics:
    """What a pass over the images of a split has counted.

    Attributes
    ----------
    images, unreadable : how many there are, and how many of them make no sample
    sizes : height and width of every image
    areas : of the segments of every class in pixels, without crowds
    seen_in : in how many images a class occurs, crowds included
    crowds : how many there are of every class
    longest : longer side of the bounding box of every thing
    things : how many things an image has
    empty : listed segments without a pixel
    all_void : names of images without a segment
    void : share of void in every image
    contrast : grey values between the percentiles that `normalize` takes
    names : names of the images with the same pixels, by their hash
    kept : samples to draw
    """

    name: str
    images: int
    unreadable: int = 0
    sizes: list[tuple[int, int]] = field(default_factory=list)
    areas: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    seen_in: Counter[int] = field(default_factory=Counter)
    crowds: Counter[int] = field(default_factory=Counter)
    longest: list[int] = field(default_factory=list)
    things: list[int] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    all_void: list[str] = field(default_factory=list)
    void: list[float] = field(default_factory=list)
    contrast: list[float] = field(default_factory=list)
    names: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    kept: list[Sample] = field(default_factory=list)

    def add(self, sample: Sample, categories: Sequence[Category]) -> None:
        """Count one image."""
        areas = np.bincount(sample.ids.ravel(), minlength=max((s.id for s in sample.segments), default=0) + 1)
        boxes = find_objects(sample.ids)
        self.sizes.append((sample.ids.shape[0], sample.ids.shape[1]))
        self.things.append(0)
        for segment in sample.segments:
            area, isthing = int(areas[segment.id]), categories[segment.category].isthing
            if not area:
                self.empty.append(f"{sample.name} ({categories[segment.category].name})")
            elif segment.iscrowd:
                self.crowds[segment.category] += 1
            else:
                self.areas[segment.category].append(area)
                if isthing:
                    self.things[-1] += 1
                    self.longest.append(max(s.stop - s.start for s in boxes[segment.id - 1]))
        self.seen_in.update({s.category for s in sample.segments if areas[s.id]})
        self.void.append(float(areas[VOID] / sample.ids.size))
        if areas[VOID] == sample.ids.size:
            self.all_void.append(sample.name)
        low, high = np.percentile(sample.image, (LOW, HIGH))
        self.contrast.append(float(high - low))
        digest = hashlib.blake2b(sample.image.tobytes() + repr(sample.image.shape).encode(), digest_size=16)
        self.names[digest.hexdigest()].append(sample.name)

    def classes(self, categories: Sequence[Category]) -> list[dict[str, Any]]:
        """For every class: in how many images it is, its segments and crowds, and percentiles of their areas."""
        pixels = sum(h * w for h, w in self.sizes)
        return [
            {
                "id": c.id,
                "name": c.name,
                "isthing": c.isthing,
                "images": self.seen_in[k],
                "segments": len(self.areas[k]),
                "crowds": self.crowds[k],
                "percent_of_pixels": 100 * sum(self.areas[k]) / max(1, pixels),
                "area": percentiles(self.areas[k]),
            }
            for k, c in enumerate(categories)
        ]

    def summary(self, categories: Sequence[Category]) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "images": self.images,
            "unreadable": self.unreadable,
            "height": percentiles([h for h, _ in self.sizes]),
            "width": percentiles([w for _, w in self.sizes]),
            "things_in_an_image": percentiles(self.things),
            "percent_of_void": 100 * float(np.mean(self.void)) if self.void else None,
            "classes": self.classes(categories),
        }


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """Smallest value, `PERCENTILES` and largest value; None if there are no values."""
    if not len(values):
        return None
    found: NDArray[np.float64] = np.percentile(values, (0, *PERCENTILES, 100))
    names = ("smallest", *(str(p) for p in PERCENTILES), "largest")
    return {name: round(float(v), 2) for name, v in zip(names, found, strict=True)}


def measure(dataset: Dataset, name: str, keep: int, note: Note) -> Statistics:
    """Read every image and label of a split once; `note` gets every problem.

    Parameters
    ----------
    keep : int
        How many samples, spread over the split, are kept to be drawn.
    """
    found = Statistics(name, len(dataset))
    wanted = np.linspace(0, len(dataset) - 1, keep).round().tolist() if keep else []
    for index in tqdm(range(len(dataset)), desc=f"reading {name}", unit="image"):
        sample = noted(note, read, dataset, index, note)
        if sample is None:
            found.unreadable += 1
            continue
        found.add(sample, dataset.categories)
        if index >= (wanted[len(found.kept)] if len(found.kept) < len(wanted) else len(dataset)):
            found.kept.append(sample)
    return found


def read(dataset: Dataset, index: int, note: Note) -> Sample | None:
    """A sample; None if `note` got problems with its files that leave none."""
    if isinstance(dataset, Subset):
        return read(dataset.dataset, dataset.indices[index], note)
    return dataset.read(index, note) if isinstance(dataset, FILES) else dataset[index]
