"""What users say of classes and clusters, as arrays that kernels may index with."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arrays import Array, check_not_masked, label_array, to_numpy


def class_mask(partitionable: Any, num_classes: int) -> Array:
    """Return the partitionable classes as a mask (K,), given as a boolean mask or as a list of class indices."""
    try:
        array = to_numpy(partitionable)
    except ValueError as error:
        raise ValueError(f"partitionable must be a mask (K,) or class indices, got {partitionable!r:.80}") from error
    if array.size == 0 and array.ndim <= 1:
        return np.zeros(num_classes, bool)
    if array.ndim != 1:
        raise ValueError(f"partitionable must be a mask (K,) or a list of class indices, got shape {array.shape}")
    if array.dtype == bool:
        if array.shape != (num_classes,):
            raise ValueError(f"partitionable as a mask must have shape (K,) = ({num_classes},), got {array.shape}")
        return array.copy()
    if array.dtype.kind not in "iu":
        raise TypeError(f"partitionable must hold booleans or class indices, got dtype {array.dtype}")
    if array.min() < 0 or array.max() >= num_classes:
        raise ValueError(f"partitionable must hold class indices in 0..{num_classes - 1}, got {array.tolist()}")
    mask = np.zeros(num_classes, bool)
    mask[array] = True
    if mask.sum() < len(array):
        raise ValueError(
            f"partitionable must name each class once, got {array.tolist()}: a mask of all classes must be boolean, "
            "as by numpy.array(mask, bool)"
        )
    return mask


def checked_labels(values: Any, name: str, shape: tuple[int], count: int) -> Array:
    """Labels 0..count-1 as a new array that kernels may index with, or say what is wrong with them."""
    check_not_masked(values, name)
    array = to_numpy(values)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    if array.dtype.kind not in "iub":
        raise TypeError(f"{name} must be integers, got dtype {array.dtype}")
    if len(array) and (array.min() < 0 or array.max() >= count):
        raise ValueError(f"{name} must lie in 0..{count - 1}, got {array.min()}..{array.max()}")
    return array.astype(np.int64, order="C")


def checked_clusters(values: Any, n: int) -> Array:
    """Cluster ids of n nodes, of any integers."""
    array = label_array(values, "clusters")
    if array.shape != (n,):
        raise ValueError(f"clusters must have shape (n,) = ({n},), got {array.shape}")
    return array
