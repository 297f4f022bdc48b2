"""From affinities to neurons: supervoxels, their graph, and what a threshold, a multicut and a lifted multicut make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from network import OFFSETS
from scipy.ndimage import distance_transform_edt, gaussian_filter, label, maximum_filter
from skimage.metrics import adapted_rand_error, variation_of_information
from skimage.segmentation import watershed
from volumes import Array

from diffcomb import RegionGraph, agglomerate, lifted_multicut, multicut, probabilities_to_costs, region_graph

NEAR = 3  # offsets of one voxel come first
BIASES = tuple(k / 20 for k in range(6, 20))
FAR_WEIGHT = 0.5  # of a lifted edge, in units of an edge with as many affinities


class Regions(NamedTuple):
    """Supervoxels; means and numbers of the affinities of their edges, and of `far` pairs, which do not touch."""

    graph: RegionGraph
    mean: Array
    count: Array
    far: Array
    far_mean: Array
    far_count: Array


def supervoxels(p: Array) -> Array:
    """A watershed of the boundaries, from where they are farthest away."""
    both = [(p[axis] + np.roll(p[axis], 1, axis)) / 2 for axis in range(NEAR)]  # the faces on either side of a voxel
    boundary = 1 - np.mean(both, axis=0)
    distance = gaussian_filter(distance_transform_edt(boundary < 0.2, sampling=(2, 1, 1)), (0.5, 1, 1))
    peaks = (distance == maximum_filter(distance, (3, 7, 7))) & (distance > 0.7)
    markers, count = label(peaks, np.ones((3, 3, 3)))
    return watershed(boundary, markers) if count else np.ones(p.shape[1:], np.int64)


def regions_of(labels: Array, p: Array) -> Regions:
    """Gather the affinities between supervoxels."""
    graph = region_graph(labels)
    between = graph.accumulate(p, OFFSETS)
    return Regions(graph, between.mean, between.count, *_far_pairs(graph, p))


def _far_pairs(graph: RegionGraph, p: Array) -> tuple[Array, Array, Array]:
    """Pairs of supervoxels that do not touch, and the mean and number of the affinities that join them."""
    n = len(graph.ids)
    keys, values = [], []
    for channel, offset in zip(p[NEAR:], OFFSETS[NEAR:], strict=True):
        here = tuple(slice(0, max(s - d, 0)) for s, d in zip(graph.numbers.shape, offset, strict=True))
        there = tuple(slice(d, None) for d in offset)
        u, v = graph.numbers[here].ravel(), graph.numbers[there].ravel()
        keys.append((np.minimum(u, v).astype(np.int64) * n + np.maximum(u, v))[u != v])
        values.append(channel[here].ravel()[u != v])
    pairs, which = np.unique(np.concatenate(keys), return_inverse=True)
    count = np.bincount(which, minlength=len(pairs))
    mean = np.bincount(which, np.concatenate(values), len(pairs)) / np.maximum(count, 1)
    touching = np.isin(pairs, graph.graph.edges[:, 0].astype(np.int64) * n + graph.graph.edges[:, 1])
    return np.stack(np.divmod(pairs[~touching], n), 1), mean[~touching], count[~touching]


def _costs(mean: Array, count: Array, bias: float) -> Array:
    """Log-odds, more certain for larger boundaries, but not in proportion: neighbours are not independent."""
    return np.asarray(probabilities_to_costs(mean.clip(0, 1), bias=bias, clip=0.01)) * np.sqrt(count)


def by_threshold(r: Regions, bias: float) -> Array:
    return np.asarray(agglomerate(r.graph.graph, r.mean - bias, "average", sizes=r.count).clusters)


def by_multicut(r: Regions, bias: float) -> Array:
    return np.asarray(multicut(r.graph.graph, _costs(r.mean, r.count, bias)).clusters)


def by_lifted_multicut(r: Regions, bias: float) -> Array:
    far = FAR_WEIGHT * _costs(r.far_mean, r.far_count, bias)
    return np.asarray(lifted_multicut(r.graph.graph, _costs(r.mean, r.count, bias), r.far, far).clusters)


METHODS = {"best threshold": by_threshold, "multicut": by_multicut, "lifted multicut": by_lifted_multicut}


def scores(truth: Array, found: Array) -> dict[str, float]:
    """Variation of information (bits) and adapted Rand error (percent), where there is a true segment."""
    split, merge = variation_of_information(truth, found, ignore_labels=(0,))
    error, _, _ = adapted_rand_error(truth, found + 1, ignore_labels=(0,))
    return {"VI split": split, "VI merge": merge, "VI": split + merge, "ARE": 100 * error}


def compared(other: tuple[Regions, Array], test: tuple[Regions, Array]) -> Iterator[tuple[dict[str, object], Array]]:
    """One row and segmentation a method: its bias is the one of least VI on other slices."""
    for name, method in METHODS.items():
        results = [scores(other[1], other[0].graph.project(method(other[0], bias))) for bias in BIASES]
        best = int(np.argmin([r["VI"] for r in results]))
        found = test[0].graph.project(method(test[0], BIASES[best]))
        yield {"method": name, "bias": BIASES[best], **scores(test[1], found)}, found
    hindsight = [scores(test[1], test[0].graph.project(by_threshold(test[0], bias))) for bias in BIASES]
    best = int(np.argmin([r["VI"] for r in hindsight]))
    yield {"method": "threshold chosen on the test slices", "bias": BIASES[best], **hindsight[best]}, np.empty(0)
