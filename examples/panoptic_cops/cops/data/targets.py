"""Targets where the cut is made: class labels, cut edges, and the weights of the pre-training losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffcomb import GridGraph, grid_graph

from .samples import Category, Sample

SMALL = 3.0  # weight of small things in both losses (section 4.2, after Panoptic-DeepLab)
THING_EDGE = 4.0  # weight of edges at things in the affinity losses (section 4.2)


def offsets(distances: Sequence[int]) -> list[tuple[int, int]]:
    """The horizontal and the vertical offset of every distance, in the order of the affinity maps."""
    return [offset for d in distances for offset in ((0, d), (d, 0))]


def on_pixels(distances: Sequence[int], stride: int) -> list[int]:
    """Edge distances among pixels for those on the grid: neighbours stay neighbours, longer edges keep their length."""
    return [d if d == 1 else d * stride for d in distances]


@dataclass(frozen=True)
class Targets:
    """A batch on the grid.

    Attributes
    ----------
    labels : Tensor of int64, shape (B, h, w)
        Class of every cell; -1 for void.
    segments : Tensor of int64, shape (B, h, w)
        Segment of every cell: class + K · segment id, -1 for void; stuff of one class is one segment.
    class_weight : Tensor, shape (B, h, w)
    cut : Tensor, shape (B, O, h, w)
        1 where the edge (centre-aligned, eq. 10-11) joins two segments.
    edge_weight : Tensor, shape (B, O, h, w)
        0 where there is no edge, or where it touches void.
    """

    labels: Tensor
    segments: Tensor
    class_weight: Tensor
    cut: Tensor
    edge_weight: Tensor


def subsample(array: np.ndarray, stride: int) -> np.ndarray:
    """Nearest-neighbour reduction to the grid: the cell's middle pixel (offset 2 at stride 4)."""
    return array[stride // 2 :: stride, stride // 2 :: stride]


def make_targets(
    samples: Sequence[Sample], categories: Sequence[Category], distances: Sequence[int], stride: int, small_area: int
) -> Targets:
    """Compute the targets of a batch of samples of one size.

    Parameters
    ----------
    small_area : int
        Things of fewer pixels than this are small.
    """
    parts = [_grid_arrays(s, categories, stride, small_area) for s in samples]
    labels, segments, class_weight, node_weight = (torch.from_numpy(np.stack(p)) for p in zip(*parts, strict=True))
    graph = grid_graph(tuple(labels.shape[1:]), offsets(distances))
    cut, edge_weight = _edges(graph, segments, node_weight)
    return Targets(labels, segments, class_weight, cut, edge_weight)


def _grid_arrays(
    sample: Sample, categories: Sequence[Category], stride: int, small_area: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    isthing = np.array([c.isthing for c in categories])
    labels = subsample(sample.class_map(), stride)
    ids = subsample(sample.ids, stride)
    thing = (labels >= 0) & isthing[labels]
    segments = np.where(labels < 0, -1, labels + len(categories) * np.where(thing, ids, 0))
    area = np.bincount(sample.ids.ravel(), minlength=int(ids.max(initial=0)) + 1)
    small = thing & (area[ids] < small_area)
    class_weight = np.where(labels < 0, 0.0, np.where(small, SMALL, 1.0))
    node_weight = class_weight * np.where(thing, THING_EDGE, 1.0)
    return labels, segments, class_weight.astype(np.float32), node_weight.astype(np.float32)


def _edges(graph: GridGraph, segments: Tensor, node_weight: Tensor) -> tuple[Tensor, Tensor]:
    batch, height, width = segments.shape
    cut = torch.zeros(batch, len(graph.offsets), height, width)
    weight = torch.zeros_like(cut)
    flat_segments, flat_weight = segments.flatten(1), node_weight.flatten(1)
    for o, part in enumerate(graph.edge_slices):
        u, v = torch.from_numpy(graph.edges[part].astype(np.int64)).T
        window = (slice(None), o, *graph.map_window(o, "center"))
        shape = cut[window].shape
        cut[window] = (flat_segments[:, u] != flat_segments[:, v]).float().view(shape)
        a, b = flat_weight[:, u], flat_weight[:, v]
        weight[window] = torch.where((a > 0) & (b > 0), torch.maximum(a, b), 0.0).view(shape)
    return cut, weight


def to_input(images: Sequence[np.ndarray]) -> Tensor:
    """A batch of equal-sized uint8 images as the network's input (B, 3, H, W), about zero mean and unit range."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()  # channels last, as the images come
    return (batch - 127.5) / 60.0
