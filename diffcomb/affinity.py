"""From labels to affinities, and from probabilities to costs: what stands before and behind a network."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ._arrays import Array, check_background, check_not_masked, is_tensor, label_array, like, module_of, to_numpy
from ._threads import thread_map
from .grid import check_offsets, windows_of

BIAS, CLIP = 0.5, 1e-3  # defaults of `bias` and `clip`, wherever affinities are taken


def affinities(labels: Any, offsets: Iterable[Sequence[int]], *, background: int | None = None) -> tuple[Any, Any]:
    """Say which pairs of pixels lie in the same region: the targets of an affinity network.

    Parameters
    ----------
    labels : integer array or tensor, shape (*S,)
        The region of every pixel or voxel.
    offsets : iterable of tuples of int
        C vectors with a component for each axis.
    background : int, optional
        An id whose pixels belong to no region and of which nothing is known.

    Returns
    -------
    values : float32, shape (C, *S)
        At ``[c, p]`` 1 if p and ``p + offsets[c]`` lie in one region, else 0; of the same kind as the labels.
    mask : bool, shape (C, *S)
        Where that is known: both pixels exist, and neither is background.

    Raises
    ------
    TypeError, ValueError
        If labels or background are not integers, or an offset has not one component for each axis.

    Examples
    --------
    >>> values, mask = affinities(np.array([1, 1, 2]), [(1,)])
    >>> values.tolist(), mask.tolist()
    ([[1.0, 0.0, 0.0]], [[True, True, False]])
    """
    array, background = label_array(labels), check_background(background)
    vectors = check_offsets(offsets, array.shape)
    values = np.zeros((len(vectors), *array.shape), np.float32)
    mask = np.zeros(values.shape, bool)

    def compare(c: int) -> None:
        source, target = windows_of(array.shape, vectors[c])
        one, two = array[source], array[target]
        mask[c][source] = True if background is None else (one != background) & (two != background)
        values[c][source] = (one == two) & mask[c][source]

    thread_map(compare, range(len(vectors)))
    return like(values, labels), like(mask, labels)


def probabilities_to_costs(p: Any, *, bias: float = BIAS, clip: float = CLIP) -> Any:
    r"""Turn the probability that the two ends of an edge belong together into its cost: the log-odds.

    .. math:: c = \log \frac{p}{1 - p} + \log \frac{1 - b}{b}

    A multicut of these costs is the most likely segmentation if edges are independent. Give ``1 - q`` for a probability
    q of a boundary.

    Parameters
    ----------
    p : array, tensor or JAX array, any shape
        In [0, 1]. Tensors and JAX arrays are differentiable.
    bias : float
        b, in (0, 1): above 0.5 for more cuts, below for fewer.
    clip : float
        p is kept in [clip, 1 - clip], so that no edge decides alone; there the gradient is 0. No value is closer to 1
        than its dtype can tell; numbers of 16 bits are computed in 32.

    Returns
    -------
    Costs of the same kind and shape as `p`, positive (attractive) where p exceeds b.

    Raises
    ------
    ValueError
        If a value of p lies outside [0, 1] or is NaN, or `bias` or `clip` is out of range.

    Examples
    --------
    >>> probabilities_to_costs(np.array([0.5, 0.9, 0.0])).round(2).tolist()
    [0.0, 2.2, -6.91]
    """
    check_bias_and_clip(bias, clip)
    inside = _clipped(p, clip, both=True)
    log = module_of(inside).log
    return _as_before(log(inside / (1 - inside)) + math.log((1 - bias) / bias), p)


def class_probabilities_to_costs(p: Any, *, clip: float = CLIP) -> Any:
    """Turn class probabilities into class costs, -log p.

    Parameters
    ----------
    p : array, tensor or JAX array, shape (..., K)
        In [0, 1].
    clip : float
        p is kept above it.

    Returns
    -------
    Class costs of the same kind and shape.

    Raises
    ------
    ValueError
        If a value of p lies outside [0, 1] or is NaN, or `clip` is out of range.

    Examples
    --------
    >>> class_probabilities_to_costs(np.array([[1.0, 0.5]])).round(2).tolist()
    [[-0.0, 0.69]]
    """
    check_bias_and_clip(BIAS, clip)
    inside = _clipped(p, clip, both=False)
    return _as_before(-module_of(inside).log(inside), p)


def probabilities_of(values: Array) -> Array:
    """Affinities as files hold them: bytes count as 0 to 1."""
    return values / np.float32(255) if values.dtype == np.uint8 else values


def check_bias_and_clip(bias: Any, clip: Any) -> None:
    """Raise a ValueError unless both lie in their range."""
    for name, value, limit in (("bias", bias, 1), ("clip", clip, 0.5)):
        try:
            inside = getattr(value, "ndim", 0) == 0 and bool(0 < value < limit)
        except (TypeError, ValueError, RuntimeError):  # no number at all, or several
            inside = False
        if not inside:
            raise ValueError(f"{name} must lie between 0 and {limit}, got {value!r}")


def _clipped(p: Any, clip: float, both: bool) -> Any:
    """Probabilities of at least 32 bits, so far from 0, or from both 0 and 1, as far as their dtype can tell."""
    library = module_of(p)
    check_not_masked(p, "probabilities")
    p = np.asarray(p) if library is np else p
    if library is np or is_tensor(p) or not isinstance(p, sys.modules["jax"].core.Tracer):  # which has no values yet
        _check_probabilities(to_numpy(p) if is_tensor(p) else np.asarray(p))
    floats = p if _is_floating(p) else p * 1.0
    if library.finfo(floats.dtype).bits < 32:
        floats = floats.float() if is_tensor(p) else floats.astype(np.float32)
    limits = library.finfo(floats.dtype)
    one = 1.0 if limits.bits <= 64 else np.longdouble(1)  # no Python number is as close to 1
    high = min(one - clip, one - float(limits.eps) / 2) if both else 1
    return floats.clip(max(clip, float(limits.tiny)), high)


def _check_probabilities(array: Array) -> None:
    if array.dtype.kind not in "bfiuV":  # V: JAX's bfloat16
        raise TypeError(f"probabilities must be numbers, got dtype {array.dtype}")
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if low != low:  # NaN, of bfloat16 as well, which numpy.isnan does not know
        first = np.argwhere(array != array)[0].tolist()
        raise ValueError(f"probabilities must not be NaN, got some, the first at index {first}")
    if not (low >= 0 and high <= 1):
        advice = "apply a sigmoid first" if low < 0 else "divide them by what stands for 1"
        raise ValueError(f"probabilities must lie in [0, 1], got {low} to {high}: {advice}")


def _is_floating(p: Any) -> bool:
    return bool(p.is_floating_point()) if is_tensor(p) else np.dtype(p.dtype).kind in "fV"


def _as_before(costs: Any, p: Any) -> Any:
    """Costs in the dtype of the probabilities, if that has a point."""
    p = np.asarray(p) if module_of(p) is np else p
    if not _is_floating(p) or costs.dtype == p.dtype:
        return costs
    return costs.to(p.dtype) if is_tensor(costs) else costs.astype(p.dtype)
