"""Search for scales and offsets of the costs: a control that measures the effect of calibration alone."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from tqdm import tqdm

from ..data.samples import Dataset, Sample
from ..model.network import Logits
from ..model.segmenter import Segmenter
from ..scores.measure import batches
from ..scores.quality import PanopticQuality

FIRST = 0.3  # size of the first moves along each axis, in units of the costs


def search(
    model: Segmenter, dataset: Dataset, device: torch.device, evaluations: int, title: str = "search"
) -> list[list[float]]:
    """Raise the exact PQ on a data set by Powell's method over all scales and offsets, in place.

    The network runs once; each evaluation solves every image. A common factor of all costs changes nothing, so the
    class scale stays at 1.

    Returns
    -------
    list of [evaluation, best PQ so far], where it rose
    """
    held = [(samples, *model.costs([s.image for s in samples], device)) for samples in batches(dataset)]
    model.scaling.cpu()
    logits = [(samples, model.scaling.invert(classes, edges)) for samples, classes, edges in held]
    scaling = model.scaling
    free = [scaling.class_offset, scaling.edge_scale, scaling.edge_offset]
    start = parameters_to_vector(free).detach().double()
    best, best_pq, curve, count = start, -1.0, [], 0

    with tqdm(total=evaluations, desc=title, unit="evaluation") as bar:

        def loss(x) -> float:  # type: ignore[no-untyped-def]
            nonlocal best, best_pq, count
            if count >= evaluations:
                raise StopIteration  # Powell's own limit is only looked at between line searches
            value = torch.tensor(x)
            with torch.no_grad():
                vector_to_parameters(value.float(), free)
            pq = _score(model, logits)
            pq = 0.0 if math.isnan(pq) else pq  # there is nothing to score: all values are equally good
            count += 1
            bar.update()
            if pq > best_pq:
                best, best_pq = value.clone(), pq
                curve.append([count, pq])
            return -pq

        directions = _directions(model)
        with contextlib.suppress(StopIteration):
            minimize(loss, start.numpy(), method="Powell", options={"direc": directions})
    with torch.no_grad():
        vector_to_parameters(best.float(), free)
    model.to(device)
    return curve


def _directions(model: Segmenter) -> NDArray[np.float64]:
    """First moves: offsets of all edges, scales of all edges, offsets of all things, then each by itself.

    A basis: each of the common moves replaces the last single one of its kind.
    """
    K, D = len(model.categories), len(model.scaling.edge_scale)
    things = [k for k, c in enumerate(model.categories) if c.isthing]
    kinds = [range(K + D, K + 2 * D), range(K, K + D), *([things] if things else [])]
    common = np.zeros((len(kinds), K + 2 * D))
    for move, kind in zip(common, kinds, strict=True):
        move[list(kind)] = 1
    own = np.delete(np.eye(K + 2 * D), [kind[-1] for kind in kinds], axis=0)
    return FIRST * np.concatenate([common, own])


def _score(model: Segmenter, held: list[tuple[list[Sample], Logits]]) -> float:
    quality = PanopticQuality(model.categories)
    with torch.no_grad():
        for samples, logits in held:
            costs = model.scaling(logits)
            for sample, prediction in zip(samples, model.segment(*costs, samples[0].ids.shape), strict=True):
                quality.add(prediction.ids, prediction.segments, sample)
    return quality.result()["PQ"]
