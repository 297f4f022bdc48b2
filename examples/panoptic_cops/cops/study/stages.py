"""The stages: pre-training, the controls, and full training through the solver."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from ..config import Config, Objective
from ..data.targets import Targets
from ..losses import make_loss, mean_loss, pretraining_loss
from ..model.checkpoints import make_estimator
from ..model.network import Logits
from ..model.segmenter import Segmenter
from ..surrogate import PanopticQualitySurrogate
from .run import Run
from .search import search
from .training import Stage, train

MODELS = ("baseline", "control", "control_mean", "control_pixels", "control_search", "full", "full_svm")
ONE_STAGE = ("single_mean", "single_svm")


def run_stages(run: Run) -> tuple[str, ...]:
    """Train all models of a run that are not finished yet; returns their names."""
    models = run.config.finetune.models
    one_stage = tuple(name for name in ONE_STAGE if name in models)
    wanted = tuple(name for name in MODELS if name == "baseline" or name in models)
    wanted = one_stage if one_stage and len(wanted) == 1 else wanted + one_stage
    for name in wanted:
        if run.finished(name):
            continue
        if name == "baseline":
            pretrain(run)
        elif name in ONE_STAGE:
            single_stage(run, name, getattr(run.config, name))
        elif name == "control_search":
            calibrate(run, name)
        else:
            finetune(run, name, getattr(run.config, name))
    return wanted


def pretrain(run: Run) -> None:
    """First stage: all layers, with the top-k cross-entropies; writes the checkpoint "baseline"."""
    c = run.config.pretrain
    model = run.model()
    optimizer = torch.optim.Adam(model.network.parameters(), lr=c.lr)

    def step(model: Segmenter, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        model.train()
        return _paper_losses(run.config, model.logits(images, run.config.amp), targets)

    stage = Stage("baseline", step, c.steps, c.batch or 1, c.accumulate, c.warmup)
    train(run, stage, model, optimizer)


def calibrate(run: Run, name: str, start: str = "baseline") -> None:
    """What calibration alone buys: scales and offsets of the costs by black-box search on the validation split."""
    began = time.perf_counter()
    model = run.model(start)
    curve = search(model, run.splits.validation, run.device, run.config.finetune.search)
    run.finish(name, model.state_dict(), curve=curve, seconds=time.perf_counter() - began)


def finetune(run: Run, name: str, objective: Objective, start: str = "baseline") -> None:
    """Second stage: train the model `start` on with an objective; writes the checkpoint `name`.

    Every objective gets the same steps, samples and choice of the checkpoint. Batch norm and the network's dropout
    stay frozen. Losses of logits get minus the costs, so that scales and offsets learn under every objective.
    """
    f = run.config.finetune
    model, optimizer = _finetuned(run, objective, start)
    loss = loss_of(run.config, objective, model)

    def costs(model: Segmenter, images: Tensor) -> tuple[Tensor, Tensor]:
        model.eval()
        return model.scaling(model.logits(images, run.config.amp))

    def step(model: Segmenter, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        return loss(*costs(model, images), targets)

    beside = f.overlap if f.overlap is not None else run.device.type != "cpu"
    halves = (costs, loss) if beside and f.accumulate > 1 else None
    batch = f.batch or 1
    stage = Stage(name, step, f.steps, batch, f.accumulate, 0, f.evaluate_every, objective.pixels, halves)
    train(run, stage, model, optimizer)


def single_stage(run: Run, name: str, objective: Objective) -> None:
    """All layers from scratch with one objective, for as many steps as both stages take, at the rate of the first."""
    p, f = run.config.pretrain, run.config.finetune
    model = run.model()
    loss = loss_of(run.config, objective, model)

    def step(model: Segmenter, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        model.train()
        return loss(*model.scaling(model.logits(images, run.config.amp)), targets)

    optimizer = torch.optim.Adam(model.network.parameters(), lr=p.lr)  # the last layers learn scales and offsets
    steps = p.steps + f.steps
    stage = Stage(name, step, steps, p.batch or 1, p.accumulate, p.warmup, pixels=objective.pixels)
    train(run, stage, model, optimizer)


def loss_of(config: Config, o: Objective, model: Segmenter) -> Callable[..., dict[str, Tensor]]:
    """From class costs and edge costs of the grid, and targets of the grid or of pixels, to losses."""
    layer, stride = (model.pixel_layer, 1) if o.pixels else (model.layer, model.stride)
    layer.estimator = make_estimator(o)
    surrogate = PanopticQualitySurrogate(model.thresholds, float(stride**2), o.weight, variant=o.variant)

    def loss(classes: Tensor, edges: Tensor, targets: Targets) -> dict[str, Tensor]:
        if o.pixels:
            classes, edges = model.to_pixels(classes, edges, targets.labels.shape[1:])
        if o.loss == "paper":
            return _paper_losses(config, Logits(-classes, -edges), targets)
        if o.loss == "mean":
            return mean_loss(Logits(-classes, -edges), targets)
        return through(layer, _drop(classes, o.dropout), _drop(edges, o.dropout), targets)

    through = make_loss(o, surrogate)
    return loss


def _paper_losses(config: Config, logits: Logits, targets: Targets) -> dict[str, Tensor]:
    c = config.pretrain
    return pretraining_loss(logits, targets, c.semantic_share, c.affinity_share, c.affinity_weight)


def _drop(costs: Tensor, share: float) -> Tensor:
    """Set a share of the values to zero, without rescaling the others (A.2)."""
    return costs * (torch.rand_like(costs) >= share) if share > 0 else costs


def _finetuned(run: Run, o: Objective, start: str) -> tuple[Segmenter, torch.optim.Optimizer]:
    """The model to start from, and an optimiser of the layers that the objective names; all others are frozen."""
    model = run.model(start)
    model.requires_grad_(False)
    network = model.network
    parts = (network.semantic_head, network.affinity_head, network.classifiers)
    heads = [p for part in parts for p in part.parameters()] if o.layers != "none" else []
    chosen = {id(p) for p in heads}
    body = [p for p in network.parameters() if id(p) not in chosen] if o.layers == "all" else []
    rates = [(heads, o.head_lr), (list(model.scaling.parameters()), o.scale_lr), (body, o.body_lr)]
    groups = [{"params": parameters, "lr": rate} for parameters, rate in rates if parameters]
    for group in groups:
        for parameter in group["params"]:
            parameter.requires_grad_(True)
    return model, torch.optim.Adam(groups)
