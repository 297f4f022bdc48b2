"""What is known of the instances of a batch: targets or true costs, and which entries of the targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .._arrays import Array, check_not_masked, is_tensor, to_numpy
from ..gradients.batch import Batch, copied
from ..gradients.given import as_mask, split_given
from ..gradients.ragged import RaggedBatch

Masks = list[tuple[Array | None, ...]]


def label_masks(batch: Batch, tensors: Sequence[torch.Tensor], labelled: Any) -> Masks:
    """Which entries of every instance's target are known, for each of its costs; None where all of them are."""
    shaped = [np.empty(tuple(t.shape), np.bool_) for t in tensors]
    rows = split_given(labelled, [[a.shape for a in row] for row in batch.split(shaped)], batch.batched, "labelled")
    return [tuple(None if m is None else as_mask(m, "labelled", "known") for m in row) for row in rows]


def known_arrays(
    batch: Batch,
    tensors: Sequence[torch.Tensor],
    value: Any,
    name: str,
    masks: Masks | None = None,
    auxiliary: bool = False,
) -> list[tuple[Any, ...]]:
    """Targets or true costs of every instance; behind the arrays of the costs' shapes come auxiliary outputs.

    Parameters
    ----------
    batch : Batch
    tensors : sequence of tensor
        The costs, whose shapes they must have.
    value, name
        What was given, and as which argument.
    masks : list, optional
        As `label_masks` makes them: what is not known need not be finite.
    auxiliary : bool
        Whether there may be auxiliary outputs.
    """
    ragged, count = isinstance(batch, RaggedBatch), batch.num_costs
    parts = tuple(value) if isinstance(value, tuple if ragged else (tuple, list)) else (value,)
    if len(parts) < count or (len(parts) > count and not auxiliary):
        raise ValueError(f"{name} must hold one array for each of the {count} costs, got {len(parts)}")
    given: Sequence[Any] = parts[:count]
    if ragged:
        if not all(isinstance(p, list) and len(p) == batch.size for p in parts):
            raise ValueError(f"{name} must be a list of {batch.size} items for each of the {count} costs, as they are")
        given = [p for row in zip(*given, strict=True) for p in row]
    head = [_tensor(p, t, f"{name}[{i}]") for i, (p, t) in enumerate(zip(given, tensors, strict=True))]
    if masks is not None:
        head = _filled(batch, head, masks)
    checked = batch.arrays if auxiliary else batch.costs  # only targets have auxiliary outputs
    # Not in half precision: it would round true costs to others, with other solutions.
    kinds = [torch.promote_types(c.dtype, torch.float32) for c in tensors]
    arrays = checked([p.to(kind) for p, kind in zip(head, kinds, strict=True)], name)
    rest = [p if ragged else to_numpy(p) for p in parts[count:]]
    extra = [tuple(to_numpy(r[b]) if batch.batched else r for r in rest) for b in range(batch.size)]
    return [(*own, *more) for own, more in zip(batch.split(arrays), extra, strict=True)]


def _tensor(value: Any, cost: torch.Tensor, name: str) -> torch.Tensor:
    """What was given for one cost, as a tensor of its shape."""
    if is_tensor(value):
        tensor: torch.Tensor = value
    else:
        check_not_masked(value, name)
        try:
            tensor = copied(np.asarray(value), name)
        except ValueError as error:
            raise TypeError(f"{name} must be an array of numbers, got {value!r:.80}: {error}") from error
    if tensor.is_meta:
        raise TypeError(f"{name} on the device meta has no values")
    if tensor.shape != cost.shape:
        raise ValueError(f"{name} must have shape {tuple(cost.shape)}, got {tuple(tensor.shape)}")
    if tensor.is_complex():
        raise TypeError(f"{name} must hold real numbers, got {tensor.dtype}")
    return tensor


def _filled(batch: Batch, tensors: Sequence[torch.Tensor], masks: Masks) -> list[torch.Tensor]:
    """Targets with 0 for what is not known and no number: a lift makes its labels of all other entries."""
    filled = [t.detach().clone() for t in tensors]
    for own, row in zip(batch.split(filled), masks, strict=True):  # type: ignore[arg-type]  # it slices tensors as well
        for part, known in zip(own, row, strict=True):
            if known is not None:
                part[~part.isfinite() & torch.from_numpy(~known).to(part.device)] = 0  # type: ignore[attr-defined]
    return filled
