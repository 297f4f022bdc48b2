"""Does a gradient point where exact PQ rises? Along every scale and offset of the costs, against finite differences.

A scale or an offset is a direction that changes all costs of its kind at once. Few directions, cheap to look at from
both sides: the exact PQ of a data set before and after a small move, and what each loss says about the same move.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from tqdm import tqdm

from ..config import Config
from ..data.samples import Dataset, Sample, Subset
from ..data.targets import Targets, make_targets
from ..model.network import Logits
from ..model.segmenter import Segmenter
from ..recipes import Objective
from ..scores.measure import batches, padded
from ..scores.quality import PanopticQuality
from ..step import TrainingStep
from ..surrogate import PanopticQualitySurrogate

STEP = 0.3  # of a scale or an offset, to both sides: smaller moves change a small data set in too few places
GRADIENTS = {
    "surrogate, warm": Objective("surrogate", dropout=0.0),
    "surrogate, cold": Objective("surrogate", dropout=0.0, start="cold"),
    "surrogate, cold, repaired": Objective("surrogate", dropout=0.0, start="cold", repair=True),
    "structured SVM": Objective("structured_svm", dropout=0.0),
    "mean cross-entropies": Objective("mean"),
}
Held = tuple[list[Sample], Logits, Targets]


@dataclass
class Alignment:
    """The effect of a small move along each direction.

    Attributes
    ----------
    directions : names, for D directions
    exact, surrogate : (D,) change of exact PQ and of the surrogate PQ, in points for one unit of the direction
    gradients : for each loss, the (T, D) descent direction of each of T batches
    """

    directions: list[str]
    exact: NDArray[np.float64]
    surrogate: NDArray[np.float64]
    gradients: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def cosine(self, name: str, truth: NDArray[np.float64]) -> float:
        """Cosine of the angle between the mean descent direction of a loss and a true change."""
        g = self.gradients[name].mean(0)
        return float(g @ truth / (np.linalg.norm(g) * np.linalg.norm(truth) + 1e-300))

    def t_value(self, name: str) -> NDArray[np.float64]:
        """Mean over the batches divided by its standard error, for every direction; nan for one batch."""
        g = self.gradients[name]
        if len(g) < 2:
            return np.full(g.shape[1], np.nan)
        return g.mean(0) / (g.std(0, ddof=1) / np.sqrt(len(g)) + 1e-300)


def align(config: Config, model: Segmenter, dataset: Dataset, device: torch.device, batch: int = 24) -> Alignment:
    """Compare gradients with finite differences along every scale and offset of a model's costs.

    Every batch is solved twice for each direction, and once or more for each loss.
    """
    held = list(_held(model, dataset, device, batch))
    model.cpu()
    s = model.scaling
    distances = len(s.edge_scale)
    names = ["scale of classes", *(f"offset of {c.name}" for c in model.categories)]
    names += [f"scale of edges {d}" for d in range(distances)] + [f"offset of edges {d}" for d in range(distances)]
    free = [s.class_scale, s.class_offset, s.edge_scale, s.edge_offset]
    start = parameters_to_vector(free).detach().clone()
    surrogate = PanopticQualitySurrogate(model.thresholds, float(model.cut[1] ** 2), 100.0)
    changes = np.zeros((len(start), 2))
    with torch.no_grad():
        moves = tqdm(torch.eye(len(start)) * STEP, "directions")
        for move, change in zip(moves, changes, strict=True):
            for sign in (1, -1):
                vector_to_parameters(start + sign * move, free)
                change += sign * np.array(_qualities(model, held, surrogate)) / (2 * STEP)
        vector_to_parameters(start, free)
    exact, soft = changes.T
    result = Alignment(names, exact, soft)
    for name, objective in tqdm(GRADIENTS.items(), "losses"):
        step = TrainingStep(model, replace(objective, pixels=model.full_resolution), config.pretrain)
        values = (step.losses(*model.scaling(logits), targets)["loss"] for _, logits, targets in held)
        found = (parameters_to_vector(torch.autograd.grad(value, free)) for value in values)
        result.gradients[name] = np.array([-g.double().numpy() for g in found])
    model.to(device)
    return result


def _held(model: Segmenter, dataset: Dataset, device: torch.device, batch: int) -> Iterator[Held]:
    """Batches of samples with the network's outputs, and the targets where the model cuts."""
    layer, stride = model.cut
    distances = [max(o) for o in layer.offsets[::2]]
    for first in range(0, len(dataset), batch):
        for samples in batches(Subset(dataset, range(first, min(first + batch, len(dataset))))):
            classes, edges = model.costs([s.image for s in samples], device)
            grid = samples[0].ids.shape if stride == 1 else classes.shape[2:]
            cells = [padded(s, grid, stride) for s in samples]
            targets = make_targets(cells, dataset.categories, distances, stride, 0)
            yield samples, model.scaling.cpu().invert(classes, edges), targets
            model.scaling.to(device)


def _qualities(model: Segmenter, held: list[Held], surrogate: PanopticQualitySurrogate) -> tuple[float, float]:
    """Exact PQ of all samples, and the surrogate PQ, a mean over the batches."""
    quality, soft = PanopticQuality(model.categories), []
    for samples, logits, targets in held:
        size = samples[0].ids.shape
        costs = model.to_cut(*model.scaling(logits), size)
        out = model.cut[0](*costs)
        for sample, prediction in zip(samples, model.read(out, *costs, size), strict=True):
            quality.add(prediction.ids, prediction.segments, sample)
        soft.append(100.0 - float(surrogate(out, out.label_classes, targets.segments)))
    return quality.result()["PQ"], float(np.mean(soft))
