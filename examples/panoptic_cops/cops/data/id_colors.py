"""Segment ids as the colours of a panoptic PNG, and back: id = R + 256 G + 256² B."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def colors_of(ids: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Colours (H, W, 3) of ids (H, W) below 256³."""
    return np.ascontiguousarray(ids.astype("<u4").view(np.uint8).reshape(*ids.shape, 4)[..., :3])


def ids_of(colors: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Ids (H, W) of colours (H, W, 3)."""
    rgb = colors.astype(np.int64)
    return rgb[..., 0] + 256 * rgb[..., 1] + 256**2 * rgb[..., 2]
