"""Pictures: overlays, affinity maps, cut edges, and the comparison of models on one image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .data import Category, Sample, Segment
from .segmenter import Prediction


def colorize(ids: NDArray[np.int64], segments: Sequence[Segment], categories: Sequence[Category]) -> NDArray[np.uint8]:
    """Colour every segment: stuff by its class, things by their class, shaded by instance; void is black."""
    colors = np.zeros((int(ids.max(initial=0)) + 1, 3))
    for segment in segments:
        if segment.id < len(colors):
            category = categories[segment.category]
            shade = np.random.default_rng(segment.id).uniform(-45, 45, 3) if category.isthing else 0
            colors[segment.id] = np.array(category.color) + shade
    return np.clip(colors, 0, 255).astype(np.uint8)[ids]


def borders(ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour lies in another segment."""
    edge = np.zeros(ids.shape, bool)
    edge[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    edge[:-1] |= ids[:-1] != ids[1:]
    return edge


def overlay(
    image: NDArray[np.uint8], ids: NDArray[np.int64], segments: Sequence[Segment], categories: Sequence[Category]
) -> NDArray[np.uint8]:
    """The image under half-transparent segments with white borders."""
    mixed = (0.45 * image + 0.55 * colorize(ids, segments, categories)).astype(np.uint8)
    mixed[borders(ids)] = 255
    return mixed


def comparison(
    path: Path, sample: Sample, results: dict[str, Prediction], categories: Sequence[Category], distances: Sequence[int]
) -> None:
    """Draw input, ground truth and every model's result; below, affinity maps and cut edges of the last one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    top = [("input", sample.image), ("ground truth", overlay(sample.image, sample.ids, sample.segments, categories))]
    top += [(name, overlay(sample.image, p.ids, p.segments, categories)) for name, p in results.items()]
    name, last = list(results.items())[-1]
    shown = [0, len(distances) // 2, len(distances) - 1]
    columns = max(len(top), len(shown) + 2)
    figure = Figure(figsize=(2.6 * columns, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, columns)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (title, picture) in zip(axes[0], top, strict=False):
        axis.imshow(picture)
        axis.set_title(title)
    limit = float(np.abs(last.edge_costs).max()) or 1.0
    for axis, d in zip(axes[1], shown, strict=False):
        axis.imshow(last.edge_costs[2 * d], cmap="RdBu", vmin=-limit, vmax=limit)
        axis.set_title(f"{name}: affinity, d = {distances[d]}")
    for axis, d in zip(axes[1, len(shown) :], shown, strict=False):
        axis.imshow(np.maximum(last.edges[2 * d], last.edges[2 * d + 1]), cmap="gray_r")
        axis.set_title(f"{name}: cut edges, d = {distances[d]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
