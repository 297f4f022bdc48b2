"""How grey values are scaled before the network sees them.

"fixed" takes them as they are; the network's input is (grey value - 127.5) / 60. "percentile" first stretches each
channel of an image between two of its percentiles, as is usual in microscopy. The statistics are those of the whole
image, before it is cropped, resized or cut into tiles, so that training and prediction see the same grey values.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .samples import Dataset, ImageKey, Sample

NORMALIZE = FIXED, PERCENTILE = ("fixed", "percentile")
LOW, HIGH = 1.0, 99.8  # percentiles that become 0 and 255


def stretched(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale every channel of an image (H, W) or (H, W, C) so that its percentiles `LOW` and `HIGH` become 0 and 255.

    Values beyond them are cut off. Where both percentiles are equal, as in an image that is nearly all black, the
    smallest and the largest value take their places; a constant channel becomes black.
    """
    channels = values.reshape(*values.shape[:2], -1)
    found = np.empty(channels.shape, np.uint8)
    for k in range(channels.shape[2]):  # one by one: memory for a single channel of floats
        numbers = channels[..., k].astype(np.float64)
        low, high = np.percentile(numbers, (LOW, HIGH))
        if low == high:
            low, high = numbers.min(), numbers.max()
        scale = 255 / (high - low) if high > low else 0.0
        found[..., k] = np.rint(np.clip((numbers - low) * scale, 0, 255))
    return found.reshape(values.shape)


class Stretched:
    """A data set whose images are not read from files, with every image `stretched`."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.categories = dataset.categories

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        return replace(sample, image=stretched(sample.image))

    def image_keys(self) -> list[ImageKey]:
        """Those of the data set."""
        return self.dataset.image_keys()
