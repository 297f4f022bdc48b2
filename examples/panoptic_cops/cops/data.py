"""What a data set is: categories, and samples of an image with its panoptic ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

VOID = 0  # segment id of pixels without a label


class DataError(Exception):
    """The data on disk are not as they should be; the message says which file, and what to do."""


@dataclass(frozen=True)
class Category:
    """One class; its index in ``Dataset.categories`` is the class label used everywhere in training."""

    id: int
    name: str
    isthing: bool
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic image; `category` is an index into the data set's categories."""

    id: int
    category: int
    iscrowd: bool = False


@dataclass(frozen=True)
class Sample:
    """An image (H, W, 3) uint8, its segment ids (H, W) int64 with 0 for void, and what those segments are.

    `image_id` is what the data set itself calls the image, for dumps that an official evaluation reads; `file_name`
    is the image's file, with the folders in which the data set has it.
    """

    name: str
    image: NDArray[np.uint8]
    ids: NDArray[np.int64]
    segments: tuple[Segment, ...]
    image_id: int | str | None = None
    file_name: str | None = None

    def class_map(self) -> NDArray[np.int64]:
        """Class label of every pixel; -1 for void and crowds."""
        labels = np.full(int(self.ids.max(initial=0)) + 1, -1, np.int64)
        for segment in self.segments:
            if segment.id < len(labels) and not segment.iscrowd:
                labels[segment.id] = segment.category
        return labels[self.ids]


class Dataset(Protocol):
    """A sequence of samples with its categories."""

    categories: tuple[Category, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class Subset:
    """Some samples of a data set, by index."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = list(indices)
        self.categories = dataset.categories

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]


def augmented(
    sample: Sample,
    size: tuple[int, int],
    rng: np.random.Generator,
    shortest_edges: Sequence[int] | None = None,
    brightness: float = 0.0,
) -> Sample:
    """Section 4.1: resize so that the shorter edge is one of those given, crop, flip; and change the brightness."""
    if shortest_edges:
        sample = resized(sample, int(rng.choice(shortest_edges)))
    sample = random_crop(sample, size, rng)
    if brightness > 0:
        factor = rng.uniform(1 - brightness, 1 + brightness)
        sample = replace(sample, image=np.clip(factor * sample.image, 0, 255).astype(np.uint8))
    return sample


def resized(sample: Sample, shortest_edge: int) -> Sample:
    """The sample with a shorter edge of that length: the image bilinearly, its segments by nearest neighbours."""
    height, width = sample.ids.shape
    scale = shortest_edge / min(height, width)
    new = max(1, round(width * scale)), max(1, round(height * scale))
    image = np.asarray(Image.fromarray(sample.image).resize(new, Image.Resampling.BILINEAR))
    ids = np.asarray(Image.fromarray(sample.ids.astype(np.int32)).resize(new, Image.Resampling.NEAREST))
    return replace(sample, image=image, ids=ids.astype(np.int64))


def random_crop(sample: Sample, size: tuple[int, int], rng: np.random.Generator) -> Sample:
    """Crop to `size` at random, padding what is missing with void, and flip horizontally every other time."""
    image, ids = sample.image, sample.ids
    pad = [(0, max(0, want - have)) for want, have in zip(size, ids.shape, strict=True)]
    if any(after for _, after in pad):
        image = np.pad(image, [*pad, (0, 0)])
        ids = np.pad(ids, pad, constant_values=VOID)
    top, left = (int(rng.integers(have - want + 1)) for want, have in zip(size, ids.shape, strict=True))
    window = slice(top, top + size[0]), slice(left, left + size[1])
    image, ids = image[window], ids[window]
    if rng.random() < 0.5:
        image, ids = image[:, ::-1], ids[:, ::-1]
    return replace(sample, image=np.ascontiguousarray(image), ids=np.ascontiguousarray(ids))
