"""Where a solve starts: every form of ``init`` as pairs (node labels, clusters), parsed once."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arrays import Array, to_numpy
from .problem import Solution

Labelling = tuple[Array, Array]  # node labels and clusters, both int64 of shape (n,)


def starts_of(init: Any, count: int, batched: bool, num_nodes: int, num_classes: int) -> list[Labelling | None]:
    """The initial labelling of each of `count` instances, or None where there is none.

    Parameters
    ----------
    init : Solution, (node labels, clusters), node labels, or a list of those
        With a batch, an array may have one row for each instance, or be shared by all.
    count : int
    batched : bool
        Whether the costs have a batch axis.
    num_nodes, num_classes : int
        n and K.

    Raises
    ------
    TypeError, ValueError
        If it is none of these, or does not fit.
    """
    if init is None or count == 0:
        return [None] * count
    if is_list_of_labellings(init):
        if not batched:
            raise ValueError("init is a list of labellings, but the costs have no batch axis")
        if len(init) != count:
            raise ValueError(f"init must have one labelling for each of {count} instances, got {len(init)}")
        return [start for one in init for start in starts_of(one, 1, False, num_nodes, num_classes)]
    labels, clusters = _pair(init)
    if batched and labels.ndim == 2:
        if not len(labels) == len(clusters) == count:
            raise ValueError(
                f"init must have one labelling for each of {count} instances, got {labels.shape} and {clusters.shape}"
            )
        return [_checked(*pair, num_nodes, num_classes) for pair in zip(labels, clusters, strict=True)]
    return [_checked(labels, clusters, num_nodes, num_classes)] * count


def cluster_starts(init: Any) -> Any:
    """Make pairs of what `multicut` takes, where a plain array holds cluster ids."""
    if init is None or isinstance(init, (Solution, tuple)) or is_list_of_labellings(init):
        return init
    clusters = to_numpy(init)
    return np.zeros_like(clusters), clusters


def is_list_of_labellings(init: Any) -> bool:
    """Whether it is a list with one labelling for each instance, rather than an array as a list."""
    return isinstance(init, list) and len(init) > 0 and isinstance(init[0], (Solution, tuple))


def _pair(init: Any) -> Labelling:
    if isinstance(init, Solution):
        init = (init.node_labels, init.clusters)
    if not isinstance(init, tuple):
        labels = _integers(init)
        return labels, labels
    if len(init) != 2:
        raise ValueError(f"init must be a Solution or a pair (node labels, clusters), got {len(init)} items")
    return _integers(init[0]), _integers(init[1])


def _integers(value: Any) -> Array:
    try:
        array = to_numpy(value)
    except ValueError as error:
        raise ValueError(f"init must hold arrays of integers, got {value!r:.80}") from error
    return array if array.size else array.astype(np.int64)


def _checked(labels: Array, clusters: Array, num_nodes: int, num_classes: int) -> Labelling:
    for name, array in (("node labels", labels), ("clusters", clusters)):
        if array.dtype.kind not in "iu":
            raise TypeError(f"init: {name} must be integers, got dtype {array.dtype}")
        if array.shape != (num_nodes,):
            shape = f"(n,) = ({num_nodes},)"
            raise ValueError(f"init: {name} must have shape {shape} for each instance, got {array.shape}")
    if num_nodes and (labels.min() < 0 or labels.max() >= num_classes):
        raise ValueError(f"init: node labels must lie in 0..{num_classes - 1}, got {labels.min()}..{labels.max()}")
    return labels.astype(np.int64), clusters.astype(np.int64)
