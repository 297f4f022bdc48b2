"""The ways to train a model, which its recipe names: from scratch, from another model, or by a search."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from ..model.segmenter import Segmenter
from ..recipes import BASELINE, RECIPES, Objective, in_order
from ..step import TrainingStep
from .run import Run
from .search import search
from .training import FINETUNING, PRETRAINING, Stage, train


def run_stages(run: Run) -> tuple[str, ...]:
    """Train all models of a run that are not finished yet; returns their names."""
    wanted = in_order(run.config.finetune.models)
    for name in wanted:
        if not run.finished(name):
            train_model(run, name, RECIPES[name].start)
    return wanted


def train_model(run: Run, name: str, start: str | None) -> None:
    """Train one model as its recipe says, from the model `start`; writes its checkpoint."""
    recipe, objective = RECIPES[name], run.config.objective(name)
    stages = {stage: getattr(run.config, stage) for stage in recipe.stages}
    longer = {stage: replace(part, steps=recipe.longer * part.steps) for stage, part in stages.items()}
    run = replace(run, config=replace(run.config, **longer))
    if recipe.method == "search":
        calibrate(run, name, start)
    elif recipe.method == "finetune":
        finetune(run, name, objective, start)
    else:
        from_scratch(run, name, objective, recipe.stages)


def from_scratch(run: Run, name: str, objective: Objective, stages: tuple[str, ...]) -> None:
    """Train all layers from fresh weights, for as many steps as the stages take, at the rate of the first stage."""
    p = run.config.pretrain
    model = run.model()
    optimizer = torch.optim.Adam(model.network.parameters(), lr=p.lr)  # the last layers learn scales and offsets
    steps = sum(getattr(run.config, stage).steps for stage in stages)
    train(
        run,
        Stage(
            name,
            TrainingStep(model, objective, p, run.config.amp, frozen_statistics=False),
            steps,
            p.batch or 1,
            p.accumulate,
            p.warmup,
            pixels=objective.pixels,
            stream=FINETUNING if "finetune" in stages else PRETRAINING,
            fresh=True,
            average=objective.average,
        ),
        model,
        optimizer,
    )


def finetune(run: Run, name: str, objective: Objective, start: str = BASELINE) -> None:
    """Second stage: continue training the model `start` with an objective; writes the checkpoint `name`.

    Every objective gets the same steps and samples, and its checkpoint is selected the same way. Batch norm and the
    network's dropout stay frozen. Losses of logits get minus the costs, so that scales and offsets learn under every
    objective.
    """
    f = run.config.finetune
    model = run.model(start)
    optimizer = optimizer_of(model, objective)
    pipelined = f.overlap if f.overlap is not None else run.device.type != "cpu"
    train(
        run,
        Stage(
            name,
            TrainingStep(model, objective, run.config.pretrain, run.config.amp),
            f.steps,
            f.batch or 1,
            f.accumulate,
            select_every=f.evaluate_every,
            pixels=objective.pixels,
            pipelined=pipelined and f.accumulate > 1,
            average=objective.average,
        ),
        model,
        optimizer,
    )


def calibrate(run: Run, name: str, start: str) -> None:
    """Search for the scales and offsets of the model `start` that score best on the validation split."""
    began = time.perf_counter()
    model = run.model(start)
    curve = search(model, run.splits.validation, run.device, run.config.finetune.search, name)
    run.finish(name, model.state_dict(), curve=curve, seconds=time.perf_counter() - began)


def optimizer_of(model: Segmenter, o: Objective) -> torch.optim.Optimizer:
    """An optimiser of the layers that the objective names; freezes all others."""
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
    return torch.optim.Adam(groups)
