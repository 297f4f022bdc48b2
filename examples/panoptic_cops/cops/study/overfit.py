"""A first test of data and settings: train on one image, and say whether the network can reproduce it."""

from __future__ import annotations

import math
from dataclasses import replace

from ..config import Config
from ..model.segmenter import Segmenter
from ..scores.measure import predictions, truth_on_grid
from ..scores.quality import PanopticQuality
from .run import Run

MODEL = "single_mean"  # plain means of cross-entropies, from scratch: no step of training needs the solver
STEPS, CROPS = 400, 2
ENOUGH = 80.0  # PQ


def overfitting(config: Config, count: int, steps: int = STEPS) -> Config:
    """Change a resolved configuration to a run on the first training images alone, which takes a minute or two.

    Raises
    ------
    ValueError
        If there is no image to train on, or fewer than two steps, one for each of the stages that the model takes.
    """
    if count < 1 or steps < 2:
        raise ValueError(f"overfit must be at least 1 image, and overfit_steps at least 2, got {count} and {steps}")
    p, f = config.pretrain, config.finetune
    return replace(
        config,
        out=f"{config.out}-overfit",
        pictures=max(config.pictures, count),
        dataset=replace(config.dataset, overfit=count),
        pretrain=replace(
            p, steps=steps - 1, warmup=min(p.warmup, steps // 8), batch=min(p.batch or CROPS, CROPS), accumulate=1
        ),
        finetune=replace(f, steps=1, models=[MODEL]),
        single_mean=replace(config.objective(MODEL), pixels=config.model.full_resolution),
    )


def verdict(run: Run, name: str) -> str:
    """Say whether a model reproduces the images of its run, and what to look at if not."""
    model, data = run.model(name), run.splits.test
    quality = PanopticQuality(data.categories)
    for sample, prediction in predictions(model, data, run.device):
        quality.add(prediction.ids, prediction.segments, sample)
    pq = quality.result()["PQ"]
    what = "the image" if len(data) == 1 else f"the {len(data)} images"
    if math.isnan(pq):
        return f"overfit: nothing can be said, because no labelled segment is in {what}: is its label the right file?"
    if pq >= ENOUGH:
        return f"overfit: the network reproduces {what}: PQ {pq:.1f}, and at least {ENOUGH:.0f} was expected"
    lines = [
        f"overfit: the network cannot reproduce {what}: PQ {pq:.1f}, and at least {ENOUGH:.0f} was expected. Look at",
        f"{run.out / 'pictures'}: do image and ground truth show the same, at the same place, in the right class?",
        *_missed(run.config, model, quality),
    ]
    if not model.full_resolution:
        bound = truth_on_grid(data, model.stride)["PQ"]
        lines.append(f"the grid: the true labels read at every {model.stride}th pixel score {bound:.1f} PQ")
    lines.append(_loss(run, name))
    return "\n  - ".join(lines)


def _missed(config: Config, model: Segmenter, quality: PanopticQuality) -> list[str]:
    """For every class with errors, how many of its true segments were missed, and how many of these are too small."""
    lines = []
    for k, (category, limit, count) in enumerate(
        zip(model.categories, model.thresholds.tolist(), quality.counts, strict=True)
    ):
        missed = [area for label, area, found in quality.areas if label == k and not found]
        if missed or count.fp:
            small = sum(area < limit for area in missed)
            setting = f"dataset.reject_{'things' if category.isthing else 'stuff'}={limit:.0f}"
            lines.append(
                f"{category.name!r}: missed: {len(missed)} of {count.tp + count.fn} segments, {small} of them smaller "
                f"than {setting} pixels; false: {count.fp}"
            )
    return lines


def _loss(run: Run, name: str) -> str:
    """How the loss fell."""
    from .experiments import logged  # scipy.stats, which it imports, takes longer to load than all else

    values = logged(run, name, "loss")[1]
    n = -(-len(values) // 8)
    first, before, last = (float(part.mean()) for part in (values[:n], values[-2 * n :][:n], values[-n:]))
    return (
        f"the loss in {run.log.path} was {first:.3g} in the first eighth of the steps, {before:.3g} in the seventh and "
        f"{last:.3g} in the last. If it still falls, pass more --overfit_steps; if it never fell, change --pretrain.lr"
    )
