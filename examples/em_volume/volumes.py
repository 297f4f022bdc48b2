"""Volumes of grey values with a true segmentation: drawn here, or read from a file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, zoom
from scipy.spatial import cKDTree

from diffcomb.io import array_names, open_array

Array = np.ndarray


class Volume(NamedTuple):
    """Grey values in 0..1, true segments (0 is not annotated), and supervoxels if a file has them; all (Z, Y, X)."""

    raw: Array
    truth: Array
    supervoxels: Array | None = None

    def slab(self, first: int, last: int) -> Volume:
        """Some of the slices."""
        return Volume(*(None if array is None else array[first:last] for array in self))  # type: ignore[arg-type]


def draw(shape: tuple[int, int, int] = (104, 144, 144), seed: int = 0) -> Volume:
    """Draw cells with membranes of varying contrast, vesicles and noise; slices are twice as far apart as pixels."""
    rng = np.random.default_rng(seed)
    size = np.array(shape) * (2.0, 1.0, 1.0)
    places = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij"), -1) * (2, 1, 1)
    warped = places + np.stack([_smooth(rng, shape, 24.0) for _ in range(3)], -1) * 6
    stretch = np.array([0.35, 1.0, 1.0])  # cells run across the slices
    centres = rng.uniform(-0.1, 1.1, (int(size.prod() / 9000), 3)) * size
    near, labels = cKDTree(centres * stretch).query((warped * stretch).reshape(-1, 3), k=2, workers=-1)
    apart = (near[:, 1] - near[:, 0]).reshape(shape)
    contrast = np.clip(0.6 + 0.35 * _smooth(rng, shape, 12.0), 0.1, 1)  # in places hardly a membrane is seen
    raw = 0.7 - 0.45 * contrast * np.exp(-((apart / 1.3) ** 2))
    raw -= 0.35 * (_smooth(rng, shape, 7.0) > 2.2)  # dark blobs that are no membranes
    raw += gaussian_filter(rng.normal(0, 0.22, shape), (0, 0.7, 0.7)) + 0.04 * _smooth(rng, shape, 14.0)
    return Volume(raw.clip(0, 1).astype(np.float32), labels[:, 0].reshape(shape).astype(np.int64) + 1)


def read(path: Path) -> Volume:
    """Read an .npz, .h5 or .zarr file with `raw`, `groundtruth`, and `supervoxels` if it has them."""
    names = array_names(path)
    found = {n: np.asarray(open_array(f"{path}:{n}")[...]) for n in ("raw", "groundtruth", "supervoxels") if n in names}
    if not {"raw", "groundtruth"} <= names:
        raise ValueError(f"{path}: the file must hold arrays raw and groundtruth, it has {sorted(names)}")
    raw, *labels = found.values()
    differ = any(
        a.dtype.kind not in "iu" or a.shape != raw.shape or a.max(initial=0) >= 2**63 or a.min(initial=0) < 0
        for a in labels
    )
    if differ or raw.ndim != 3 or raw.shape[0] < 48 or min(raw.shape) < 24:
        given = {name: f"{array.dtype} {array.shape}" for name, array in found.items()}
        raise ValueError(
            f"{path}: arrays need one shape, 48x24x24 at least, labels integers from 0 on and below 2^63, got {given}"
        )
    if raw.dtype.kind not in "uif" or not (np.isfinite(raw).all() and raw.max() > raw.min() >= 0 < labels[0].max()):
        raise ValueError(f"{path}: raw must hold finite numbers from 0 on, not all equal, and groundtruth segments")
    scale = 255 if raw.dtype == np.uint8 else float(raw.max())
    return Volume(np.ascontiguousarray(raw, np.float32) / scale, *map(_numbered, labels))


def _numbered(labels: Array) -> Array:
    """The same segments with ids 1, 2, ...; scores make tables as long as the largest id, and 0 stays background."""
    ids, numbers = np.unique(labels, return_inverse=True)
    return np.ascontiguousarray(numbers.reshape(labels.shape) + (ids[0] != 0), np.int64)


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], width: float) -> Array:
    """A random field that varies over so many pixels, with standard deviation 1."""
    step = max(width / 2, 1)
    coarse = [int(np.ceil(n * (2 if axis == 0 else 1) / step)) + 4 for axis, n in enumerate(shape)]
    field = gaussian_filter(rng.normal(0, 1, coarse), 1.0)
    fine = zoom(field, [(n + 8) / (c - 2) for n, c in zip(shape, coarse, strict=True)], order=1)
    fine = fine[tuple(slice(0, n) for n in shape)]
    return ((fine - fine.mean()) / fine.std()).astype(np.float32)
