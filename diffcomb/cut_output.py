"""What a layer returns: labels, and one-hot maps of them that are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .cells import Cells

FIELDS = ("classes", "edges", "panoptic", "clusters", "label_classes")


class CutOutput:
    """What a layer returns; `classes`, `edges` and `panoptic` are differentiable (of the multicut only `edges` is).

    It can be unpacked in the order of the attributes, like a tuple. `classes` and `panoptic` are made when they are
    first asked for: with 70 instances `panoptic` takes 70 numbers a pixel, and so does a gradient with respect to it. A
    loss that only looks at overlaps with true segments takes :meth:`overlaps` instead.

    Attributes
    ----------
    classes : Tensor, shape (B, K, H, W)
        One-hot class labels x (for the multicut, K = 1).
    edges : Tensor, shape (B, O, H, W)
        y: 1 where the edge of that offset is cut; 0 where the map has no edge.
    panoptic : Tensor, shape (B, J, H, W)
        One-hot panoptic labels z; J is the largest number of labels in the batch.
    clusters : Tensor of int64, shape (B, H, W)
        Cluster ids 0..M-1 of every image; -1 outside a mask, where all maps are 0.
    label_classes : Tensor of int64, shape (B, J)
        The map m: class of every panoptic label, -1 for padding.
    """

    def __init__(
        self,
        edges: Tensor,
        clusters: Tensor,
        label_classes: Tensor,
        *,
        classes: Callable[[], Tensor],
        panoptic: Callable[[], Tensor],
        labels: Callable[[], Tensor],
        overlaps: Callable[[Tensor, int], Tensor] | None = None,
    ) -> None:
        self.edges = edges
        self.clusters = clusters
        self.label_classes = label_classes
        self._classes, self._panoptic, self._labels, self._overlaps = classes, panoptic, labels, overlaps
        self._made: dict[str, Tensor] = {}

    @property
    def classes(self) -> Tensor:
        """One-hot class labels."""
        return self._kept("classes", self._classes)

    @property
    def panoptic(self) -> Tensor:
        """One-hot panoptic labels."""
        return self._kept("panoptic", self._panoptic)

    def _kept(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """A map that was made before, or made now; what is made without a graph is not kept for when one is wanted."""
        if name in self._made:
            return self._made[name]
        made = make()
        if torch.is_grad_enabled():
            self._made[name] = made
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Tensors only, the maps among them: what makes them refers to the call."""
        made = {"classes": self.classes, "panoptic": self.panoptic}
        state = {name: getattr(self, name) for name in ("edges", "clusters", "label_classes", "labels")}
        return {**state, "_made": made, "_overlaps": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._classes, self._panoptic = (lambda name=name: self._made[name] for name in ("classes", "panoptic"))

    @cached_property
    def labels(self) -> Tensor:
        """Panoptic labels as numbers 0..J-1, int64 of shape (B, H, W); -1 outside a mask."""
        return self._labels()

    @cached_property
    def class_labels(self) -> Tensor:
        """Classes as numbers 0..K-1, int64 of shape (B, H, W); -1 outside a mask."""
        labels = self.labels.flatten(1)
        if self.label_classes.shape[1] == 0:
            return self.labels
        return self.label_classes.gather(1, labels.clamp(min=0)).where(labels >= 0, -1).view(self.labels.shape)

    def overlaps(self, segments: Tensor, count: int) -> Tensor:
        """Cells that each panoptic label shares with each segment, differentiably.

        Parameters
        ----------
        segments : Tensor of int64, shape (B, H, W)
            The segment 0..count-1 of every cell. What lies outside a mask does not count.
        count : int

        Returns
        -------
        Tensor, shape (B, J, count)
            In single precision at least; linear in `panoptic`, and differentiable where that is. With the asymmetric
            layer a gradient goes back to the costs as it is, one number for each pair: with warm starts and the default
            solver in memory of O(cells K + J count), while other estimators and options make it a map for each label.

        Raises
        ------
        TypeError
            If `segments` does not hold integers.
        ValueError
            If the shape does not fit or a segment is out of range.
        """
        if segments.is_floating_point() or segments.is_complex() or segments.dtype == torch.bool:
            raise TypeError(f"segments must hold integers, got {segments.dtype}")
        segments = segments.long()
        checkable = not torch._C._are_functorch_transforms_active()  # there, no number may depend on values
        if segments.shape != self.clusters.shape:
            raise ValueError(f"segments must have shape {tuple(self.clusters.shape)}, got {tuple(segments.shape)}")
        segments = segments.where(self.clusters >= 0, 0)  # what lies outside a mask does not count
        if checkable and segments.numel() and not 0 <= int(segments.min()) <= int(segments.max()) < count:
            raise ValueError(f"segments must lie in 0..{count - 1}, got {int(segments.min())}..{int(segments.max())}")
        index = segments.flatten(1)
        if self._overlaps is not None:
            return self._overlaps(index, count)
        panoptic = self.panoptic.flatten(2)
        panoptic = panoptic.to(torch.promote_types(panoptic.dtype, torch.float32))  # half precision cannot count far
        return panoptic @ F.one_hot(index, count).to(panoptic.dtype)

    def __iter__(self) -> Iterator[Tensor]:
        return (getattr(self, name) for name in FIELDS)

    def __len__(self) -> int:
        return len(FIELDS)

    def __getitem__(self, index: Any) -> Any:
        names = FIELDS[index]
        return getattr(self, names) if isinstance(names, str) else tuple(getattr(self, name) for name in names)

    def __repr__(self) -> str:
        shape, labels = tuple(self.clusters.shape), self.label_classes.shape[1]
        return f"CutOutput({shape[0]} images of {shape[1:]}, up to {labels} panoptic labels)"


def one_hot(values: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """Maps of numbers (B, H, W) as one-hot maps (B, count, H, W), 0 where a number is negative; not differentiable."""
    result = torch.zeros(len(values), count, *values.shape[1:], dtype=dtype, device=values.device)
    known = (values >= 0).to(dtype)
    return result.scatter(1, values.clamp(min=0)[:, None], known[:, None]) if count else result


def multicut_output(edge_labels: Tensor, clusters: Tensor, cells: Cells, edge_maps: Tensor) -> CutOutput:
    """The output of a multicut on a grid, of edge labels (B, m) and clusters (B, n)."""
    batch = len(edge_labels)
    clusters = cells.numbers(clusters)
    if torch._C._are_functorch_transforms_active():  # where no number may depend on values: as many as there may be
        count = clusters[0].numel() if batch else 0
    else:
        count = int(clusters.max()) + 1 if clusters.numel() else 0
    ids = torch.arange(count, device=edge_labels.device)
    present = ids[None] <= clusters.flatten(1).amax(1)[:, None] if clusters.numel() else ids[None] < ids[None]
    return CutOutput(
        edge_maps,
        clusters,
        torch.where(present, 0, -1).expand(batch, count),
        classes=lambda: (clusters[:, None] >= 0).to(edge_labels.dtype),
        panoptic=lambda: one_hot(clusters, count, edge_labels.dtype),
        labels=lambda: clusters,
    )
