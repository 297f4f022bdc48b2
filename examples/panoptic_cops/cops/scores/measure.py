"""All scores of one model on one data set, in one pass; and the same network outputs solved in other ways."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from .. import parallel
from ..data.samples import VOID, Category, Dataset, Prediction, Sample, Segment, Subset
from ..data.targets import make_targets, subsample
from ..model.segmenter import Segmenter, enlarged, to_segments
from .average_precision import AveragePrecision
from .neurites import NeuriteScores
from .quality import BoundaryPanopticQuality, MeanIoU, PanopticQuality
from .rules import RULES, Partition, Rule

ORACLE = 1000.0  # cost of a wrong class where the classes are given
MAX_BATCH_PIXELS = 64 * 64 * 50


def batches(dataset: Dataset, title: str | None = None) -> Iterator[list[Sample]]:
    """Consecutive samples of one size, as many as fit into memory at once. With a title, show progress."""
    samples: Iterable[Sample] = (dataset[i] for i in range(len(dataset)))
    if title is not None:
        samples = tqdm(samples, total=len(dataset), desc=title, unit="image")
    batch: list[Sample] = []
    for sample in samples:
        limit = max(1, MAX_BATCH_PIXELS // sample.ids.size)
        if batch and (sample.ids.shape != batch[0].ids.shape or len(batch) >= limit):
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


def predictions(
    model: Segmenter, dataset: Dataset, device: torch.device, title: str | None = None
) -> Iterator[tuple[Sample, Prediction]]:
    """Segment every sample. With a title, show progress."""
    for batch in batches(dataset, title):
        yield from zip(batch, model.predict([s.image for s in batch], device), strict=True)


def panoptic_quality(
    model: Segmenter, dataset: Dataset, device: torch.device, title: str | None = None
) -> PanopticQuality:
    """Exact PQ of a model on a data set; the processes of a parallel run share the images."""
    quality = PanopticQuality(dataset.categories)
    share = Subset(dataset, range(parallel.rank(), len(dataset), parallel.world()))
    for sample, prediction in predictions(model, share, device, title):
        quality.add(prediction.ids, prediction.segments, sample)
    counts = parallel.total(torch.tensor(quality.table(), dtype=torch.float64, device=device))
    quality.set_table(counts.cpu().numpy())
    return quality


@dataclass
class Scores:
    """Collects predictions; gives PQ and its parts, boundary PQ, AP, mean IoU, and the scores of neurites.

    Parameters
    ----------
    categories : sequence of Category
    ratio : float
        Boundary width as a share of the image's diagonal.
    precision : bool
        Whether AP is scored; it needs scores of the segments.
    iou : bool
        Whether mean IoU is scored; it needs the class of every pixel, also where a segment was rejected.
    """

    categories: Sequence[Category]
    ratio: float = 0.02
    precision: bool = True
    iou: bool = True
    quality: PanopticQuality = field(init=False)

    def __post_init__(self) -> None:
        self.quality = PanopticQuality(self.categories)
        self._boundary = BoundaryPanopticQuality(self.categories, ratio=self.ratio)
        self._precision = AveragePrecision(self.categories) if self.precision else None
        self._iou = MeanIoU(self.categories) if self.iou else None
        self._neurites = NeuriteScores(self.categories)

    def add(self, sample: Sample, prediction: Prediction) -> None:
        """Add one image."""
        self.quality.add(prediction.ids, prediction.segments, sample)
        self._boundary.add(prediction.ids, prediction.segments, sample)
        if self._precision is not None:
            self._precision.add(sample, prediction)
        if self._iou is not None:
            self._iou.add(prediction.classes, sample)
        self._neurites.add(sample, prediction)

    def result(self) -> dict[str, float]:
        """All scores in percent, but for VI_split and VI_merge, which are in bits."""
        border = {f"{name}_b": value for name, value in self._boundary.result().items() if name in ("PQ", "SQ", "RQ")}
        more = [part.result() for part in (self._precision, self._iou, self._neurites) if part is not None]
        return {**self.quality.result(), **border, **{k: v for part in more for k, v in part.items()}}


def all_scores(
    model: Segmenter, dataset: Dataset, device: torch.device, title: str | None = None, ratio: float = 0.02
) -> dict[str, float]:
    """Every score of a model on a data set."""
    scores = Scores(dataset.categories, ratio)
    for sample, prediction in predictions(model, dataset, device, title):
        scores.add(sample, prediction)
    return scores.result()


def found_by_area(model: Segmenter, dataset: Dataset, device: torch.device) -> NDArray[np.int64]:
    """Area in pixels of every true thing of a data set, and whether the model finds it (1 or 0): shape (count, 2)."""
    quality = PanopticQuality(dataset.categories)
    for sample, prediction in predictions(model, dataset, device):
        quality.add(prediction.ids, prediction.segments, sample)
    things = [(area, int(found)) for k, area, found in quality.areas if dataset.categories[k].isthing]
    return np.array(things, np.int64).reshape(-1, 2)


def best_overlaps(model: Segmenter, dataset: Dataset, device: torch.device) -> NDArray[np.float64]:
    """For every true segment of a data set, the highest IoU with a predicted segment of its class."""
    found: list[float] = []
    for sample, prediction in predictions(model, dataset, device):
        match = PanopticQuality(dataset.categories).match(prediction.ids, prediction.segments, sample)
        predicted = {s.id: s.category for s in prediction.segments}
        best = {s.id: 0.0 for s in sample.segments if not s.iscrowd}
        classes = {s.id: s.category for s in sample.segments}
        for (p, g), shared in match.overlap.items():
            if g in best and predicted.get(p) == classes[g]:
                best[g] = max(best[g], shared / (match.area[p] + match.real_area[g] - shared))
        found += best.values()
    return np.array(found)


def with_rules(
    model: Segmenter, dataset: Dataset, device: torch.device, rules: Mapping[str, Rule] = RULES
) -> list[dict[str, Any]]:
    """Apply every rule to the model's costs: PQ, and milliseconds an image."""
    qualities = {name: PanopticQuality(dataset.categories) for name in rules}
    seconds = dict.fromkeys(rules, 0.0)
    compiled = False
    for samples in batches(dataset):
        size = samples[0].ids.shape
        costs = model.to_cut(*model.costs([s.image for s in samples], device), size)
        for sample, nodes, edges in zip(samples, *costs, strict=True):
            for name, rule in rules.items():
                if not compiled:
                    _solve(model, nodes, edges, rule)
                began = time.perf_counter()
                partition = _solve(model, nodes, edges, rule)
                seconds[name] += time.perf_counter() - began
                labels, clusters = (cells.reshape(nodes.shape[1:]) for cells in partition)
                ids, segments, _ = to_segments(model.thresholds, labels, clusters, size, model.cut[1])
                qualities[name].add(ids, segments, sample)
            compiled = True
    return [
        {"rule": name, **qualities[name].result(), "ms an image": 1000 * seconds[name] / len(dataset)} for name in rules
    ]


def with_true_classes(model: Segmenter, dataset: Dataset, device: torch.device) -> dict[str, float]:
    """PQ when the class costs are replaced by the ground truth where the cut is made (Table 9); void keeps its own."""
    quality = PanopticQuality(dataset.categories)
    stride = model.cut[1]
    for samples in batches(dataset):
        size = samples[0].ids.shape
        nodes, edges = model.to_cut(*model.costs([s.image for s in samples], device), size)
        cells = [padded(sample, nodes.shape[2:], stride) for sample in samples]
        labels = make_targets(cells, dataset.categories, [1], stride, 0).labels[:, None]
        wrong = ORACLE * (1 - F.one_hot(labels[:, 0].clamp(min=0), nodes.shape[1]).permute(0, 3, 1, 2).float())
        for sample, prediction in zip(samples, model.solve(torch.where(labels >= 0, wrong, nodes), edges, size),
                                      strict=True):  # fmt: skip
            quality.add(prediction.ids, prediction.segments, sample)
    return quality.result()


def with_noisy_truth(model: Segmenter, dataset: Dataset, wrong: float, pixels: bool) -> dict[str, float]:
    """PQ, SQ and RQ of the cut of true classes and edges with costs of 1, of which the share `wrong` is false.

    The truth is read at the cells of the network's grid, or at pixels, over the edges that the model has there. The
    cut is made where the model makes it: costs of the grid are interpolated for a model that cuts on pixels.
    """
    quality, generator = PanopticQuality(dataset.categories), torch.Generator().manual_seed(0)
    stride, count = (1 if pixels else model.stride), len(dataset.categories)
    distances = [max(o) for o in (model.pixel_layer if pixels else model.layer).offsets[::2]]
    for i in range(len(dataset)):
        sample = dataset[i]
        size = sample.ids.shape
        cells = padded(sample, [-(-n // stride) for n in size], stride)
        targets = make_targets([cells], dataset.categories, distances, stride, 0)
        labels, cut = targets.labels.clamp(min=0), targets.cut
        others = torch.randint(count, labels.shape, generator=generator)
        labels = torch.where(torch.rand(labels.shape, generator=generator) < wrong, others, labels)
        cut = torch.where(torch.rand(cut.shape, generator=generator) < wrong, 1 - cut, cut)
        nodes = -F.one_hot(labels, count).permute(0, 3, 1, 2).float() * (targets.labels >= 0)[:, None]
        edges = (1 - 2 * cut) * (targets.edge_weight > 0)
        (found,) = model.solve(nodes, edges, size) if pixels else model.segment(nodes, edges, size)
        quality.add(found.ids, found.segments, sample)
    return {k: quality.result()[k] for k in ("PQ", "SQ", "RQ")}


def at_resolution(model: Segmenter, dataset: Dataset, device: torch.device, full: bool) -> dict[str, float]:
    """PQ, SQ, RQ, AP of the cut on the network's grid or on pixels, and seconds an image from costs on (Table 8)."""
    scores, seconds = Scores(dataset.categories), 0.0
    own, model.full_resolution = model.full_resolution, full
    for number, samples in enumerate(batches(dataset)):
        costs = model.costs([x.image for x in samples], device)
        if not number:
            model.segment(*costs, samples[0].ids.shape)  # compiles
        began = time.perf_counter()
        found = model.segment(*costs, samples[0].ids.shape)
        seconds += time.perf_counter() - began
        for sample, prediction in zip(samples, found, strict=True):
            scores.add(sample, prediction)
    model.full_resolution = own
    result = scores.result()
    return {**{k: result[k] for k in ("PQ", "SQ", "RQ", "AP")}, "seconds": seconds / len(dataset)}


def truth_on_grid(dataset: Dataset, stride: int) -> dict[str, float]:
    """PQ, SQ and RQ of the true segments, read at the cells of the grid: an upper bound for cuts on the grid."""
    quality = PanopticQuality(dataset.categories)
    for i in range(len(dataset)):
        sample = dataset[i]
        height, width = sample.ids.shape
        cells = [-(-n // stride) for n in (height, width)]
        ids = subsample(padded(sample, cells, stride).ids, stride)
        ids = enlarged(ids, stride, (height, width))
        present = set(np.unique(ids).tolist())
        quality.add(ids, [Segment(s.id, s.category) for s in sample.segments if s.id in present], sample)
    return {k: quality.result()[k] for k in ("PQ", "SQ", "RQ")}


def _solve(model: Segmenter, nodes: Tensor, edges: Tensor, rule: Rule) -> Partition:
    costs, graph = model.cut[0].edge_costs(edges[None])
    things = [k for k, c in enumerate(model.categories) if c.isthing]
    return rule(graph, np.ascontiguousarray(nodes.flatten(1).T.numpy()), costs[0].numpy(), things)


def padded(sample: Sample, grid: Sequence[int], stride: int) -> Sample:
    """The sample with void at its lower and right border, so that its size is the grid's times the stride."""
    pad = [(0, g * stride - n) for g, n in zip(grid, sample.ids.shape, strict=True)]
    return Sample(sample.name, sample.image, np.pad(sample.ids, pad, constant_values=VOID), sample.segments)
