"""Grid instances like those of COPS: a Voronoi-like partition with noisy edge costs and noisy class costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffcomb import GridGraph, grid_graph

DISTANCES = (1, 4, 16, 32, 64, 128)  # Cityscapes, on the quarter-resolution grid


@dataclass(frozen=True)
class Instance:
    """One benchmark instance.

    `multicut_costs` are noisy costs of the partition into regions, `edge_costs` of the panoptic partition. `truth`
    holds the true segment of every node: class + number of classes * (region + 1) for things, the class for stuff.
    """

    name: str
    graph: GridGraph
    node_costs: np.ndarray
    edge_costs: np.ndarray
    multicut_costs: np.ndarray
    partitionable: np.ndarray
    truth: np.ndarray


def make(
    height: int,
    width: int,
    num_classes: int = 19,
    regions: int | None = None,
    sharpness: float = 4.0,
    noise: float = 1.0,
    scale: float = 1.0,
    seed: int = 0,
) -> Instance:
    """Make an instance.

    Parameters
    ----------
    regions : number of regions; a function of the size by default.
    sharpness : how much lower the cost of the true class is; 1 is weak, 4 is strong.
    noise : standard deviation of the edge costs around +1 and -1.
    scale : factor by which edge costs are multiplied.
    """
    rng = np.random.default_rng(seed)
    regions = regions or max(6, round(0.16 * np.sqrt(height * width)))
    region = _voronoi(rng, height, width, regions)
    classes = rng.integers(0, num_classes, regions)[region]
    things = max(1, round(num_classes * 8 / 19))
    partitionable = np.arange(num_classes) >= num_classes - things
    panoptic = np.where(partitionable[classes], region + num_classes, classes)
    graph = grid_graph((height, width), [offset for d in DISTANCES for offset in ((d, 0), (0, d))])
    u, v = graph.edges.T

    def edge_costs(labels: np.ndarray) -> np.ndarray:
        return np.where(labels[u] == labels[v], 1.0, -1.0) + noise * rng.standard_normal(len(u))

    multicut_costs, panoptic_costs = edge_costs(region), scale * edge_costs(panoptic)
    logits = rng.standard_normal((height * width, num_classes), np.float32)
    logits[np.arange(len(logits)), classes] += sharpness
    node_costs = np.log(np.exp(logits).sum(1, keepdims=True)) - logits
    name = f"{height}x{width}, K={num_classes}, sharpness {sharpness:g}, noise {noise:g}, scale {scale:g}"
    truth = classes + num_classes * np.where(partitionable[classes], region + 1, 0)
    return Instance(name, graph, node_costs, panoptic_costs, multicut_costs, partitionable, truth)


class NetworkCosts(NamedTuple):
    """An asymmetric multiway cut whose costs a trained network made: what `amwc` takes, and the best known value."""

    graph: GridGraph
    node_costs: np.ndarray
    edge_costs: np.ndarray
    partitionable: np.ndarray
    best_known: float


def read_network_costs(path: Path) -> NetworkCosts:
    """Read a file of ``amwc_instances``, its costs in float32."""
    with np.load(path) as data:
        graph = grid_graph(tuple(data["shape"]), data["offsets"].tolist())
        nodes, edges = (data[name].astype(np.float32) for name in ("node_costs", "edge_costs"))
        return NetworkCosts(graph, nodes, edges, data["partitionable"], float(data["best_known"]))


def _voronoi(rng: np.random.Generator, height: int, width: int, regions: int) -> np.ndarray:
    """Region of every cell: a power diagram of random points in smoothly warped coordinates."""
    side = min(height, width)
    points = rng.uniform(0, 1, (regions, 2)) * [height, width]
    weights = rng.uniform(0, (0.15 * side) ** 2, regions)
    frequency = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.fftfreq(width)[None] ** 2
    low_pass = np.exp(-frequency * (2 * np.pi * 0.06 * side) ** 2 / 2)
    yy, xx = np.mgrid[:height, :width].astype(float)
    for axis in (yy, xx):
        field = np.real(np.fft.ifft2(np.fft.fft2(rng.standard_normal((height, width))) * low_pass))
        axis += 0.05 * side * field / field.std()
    nearest = np.full((height, width), np.inf)
    region = np.zeros((height, width), np.int64)
    for r in range(regions):
        distance = (yy - points[r, 0]) ** 2 + (xx - points[r, 1]) ** 2 - weights[r]
        region[distance < nearest] = r
        np.minimum(nearest, distance, out=nearest)
    return region.ravel()
