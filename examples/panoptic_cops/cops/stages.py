"""The training stages: pre-training, the control, and full training through the solver.

Whatever is random in step t of a stage follows from (seed, stage, t) alone, so a resumed run is the same run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from diffcomb import Blackbox, LogGrid, LogUniform, Uniform

from .backbones import load_backbone_weights
from .checkpoints import CheckpointError, load_checkpoint, save_atomically
from .config import Config, Full, config_from_dict
from .data import Category, Dataset, random_crop
from .datasets import Splits
from .evaluation import panoptic_quality
from .losses import pretraining_loss
from .network import Logits
from .segmenter import Segmenter
from .surrogate import PanopticQualitySurrogate
from .targets import Targets, make_targets, to_input

STREAMS = {"pretrain": 0, "control": 2, "full": 2}  # control and full see the same samples in the same order
SCHEDULES = {"uniform": Uniform, "loguniform": LogUniform, "loggrid": LogGrid}


@dataclass
class Run:
    """What the stages of one run share."""

    config: Config
    splits: Splits
    out: Path
    device: torch.device
    writer: SummaryWriter

    def model(self, checkpoint: str | None = None) -> Segmenter:
        """A model with the weights of a finished stage, or fresh ones that follow from the seed."""
        torch.manual_seed(self.config.seed)
        model = make_segmenter(self.config, self.splits.train.categories)
        weights = self.config.model.backbone_weights
        if checkpoint is None and weights is not None:
            load_backbone_weights(model.network.backbone, weights)
        if checkpoint is not None:
            path = self.checkpoint(checkpoint)
            try:
                model.load_state_dict(load_checkpoint(path)["model"])
            except RuntimeError as error:
                raise CheckpointError(f"{path} does not fit the data's categories or the settings: {error}") from error
        return model.to(self.device, memory_format=torch.channels_last)  # convolutions run a third faster on a CPU

    def checkpoint(self, name: str) -> Path:
        """Path of a checkpoint."""
        return self.out / "checkpoints" / f"{name}.pt"

    def finished(self, name: str) -> bool:
        """Whether a stage has written its result."""
        return self.checkpoint(name).exists()


def make_segmenter(config: Config, categories: Any) -> Segmenter:
    """The model of a configuration, with the gradient estimator of its full training."""
    f = config.full
    estimator = Blackbox(
        SCHEDULES[f.schedule](f.lambda_low, f.lambda_high, f.num_lambdas), start=f.start, repair=f.repair
    )
    return Segmenter(config, categories, estimator, torch.Generator())


def pretrain(run: Run) -> None:
    """First stage: all layers, with the top-k cross-entropies; writes the checkpoint "baseline"."""
    c = run.config.pretrain
    model = run.model()
    optimizer = torch.optim.Adam(model.network.parameters(), lr=c.lr)

    def step(model: Segmenter, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        model.train()
        return _pretraining_losses(run.config, model, images, targets)

    _train(run, "pretrain", "baseline", model, optimizer, step, steps=c.steps, batch=c.batch or 1, warmup=c.warmup)


def control(run: Run) -> None:
    """The honest comparison: the baseline's own losses for as many steps as full training takes.

    Same parameters (cost scales and offsets too), learning rates, samples and choice of the checkpoint as full
    training; only the loss differs.
    """
    model, optimizer = _finetuned(run)

    def step(model: Segmenter, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        model.eval()  # batch norm and dropout stay frozen, as in full training
        return _pretraining_losses(run.config, model, images, targets, scaled=True)

    f = run.config.full
    _train(run, "control", "control", model, optimizer, step, f.steps, f.batch or 1, select_every=f.evaluate_every)


def full(run: Run) -> None:
    """Second stage: the panoptic-quality surrogate through the asymmetric multiway cut (section 3.3)."""
    f = run.config.full
    model, optimizer = _finetuned(run)
    surrogate = PanopticQualitySurrogate(model.thresholds, float(model.stride**2), f.weight, variant=f.variant)

    def step(model: Segmenter, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        model.eval()
        class_costs, edge_costs = model.scaling(model.network(images))
        out = model.layer(_drop(class_costs, f.dropout), _drop(edge_costs, f.dropout))
        loss = surrogate(out.panoptic, out.label_classes, targets.segments)
        return {"loss": loss, "surrogate_pq": 100 * (1 - loss.detach() / f.weight)}

    _train(run, "full", "full", model, optimizer, step, f.steps, f.batch or 1, select_every=f.evaluate_every)


def _pretraining_losses(
    config: Config, model: Segmenter, images: Tensor, targets: Targets, scaled: bool = False
) -> dict[str, Tensor]:
    """The pre-training losses of the logits, or of minus the costs, so that scales and offsets learn as well."""
    c = config.pretrain
    logits = model.network(images)
    if scaled:
        logits = Logits(*(-costs for costs in model.scaling(logits)))
    return pretraining_loss(logits, targets, c.semantic_share, c.affinity_share, c.affinity_weight)


def _drop(costs: Tensor, share: float) -> Tensor:
    """Set a share of the values to zero, without rescaling the others (A.2)."""
    return costs * (torch.rand_like(costs) >= share) if share > 0 else costs


def _finetuned(run: Run) -> tuple[Segmenter, torch.optim.Optimizer]:
    """The baseline with backbone and decoders frozen; heads learn far slower than the cost scales and offsets."""
    f: Full = run.config.full
    model = run.model("baseline")
    model.requires_grad_(False)
    network = model.network
    heads = [
        *network.semantic_head.parameters(),
        *network.affinity_head.parameters(),
        *network.classifiers.parameters(),
    ]
    scalars = list(model.scaling.parameters())
    for parameter in (*heads, *scalars):
        parameter.requires_grad_(True)
    groups = [{"params": heads, "lr": f.head_lr}, {"params": scalars, "lr": f.scale_lr}]
    return model, torch.optim.Adam(groups)


def find_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA if there is one. A ValueError says why it cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={name!r} cannot be used: {error}") from error


def check_settings(config: Config, categories: Any) -> None:
    """Raise a ValueError for settings that would fail later."""
    divisor = make_segmenter(config, categories).network.divisor
    size = config.dataset.size or 64
    if size % divisor:
        raise ValueError(f"dataset.size must be divisible by {divisor}, got {size}")
    p, f = config.pretrain.steps, config.full.steps
    for name, value in (
        ("save_every", config.save_every), ("full.evaluate_every", config.full.evaluate_every),
        ("pretrain.steps", p), ("full.steps", f),
    ):  # fmt: skip
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def load_model(path: Path, solver: str | None = None) -> tuple[Segmenter, Config]:
    """The model of a finished stage, ready to predict, and the configuration it was trained with.

    Raises
    ------
    CheckpointError
        If the file is missing, corrupt, or of an unfinished stage.
    """
    content = load_checkpoint(path)
    if "categories" not in content:
        raise CheckpointError(f"{path} belongs to an unfinished stage; take baseline.pt, control.pt or full.pt")
    config = config_from_dict(content["config"])
    if solver is not None:
        config = replace(config, model=replace(config.model, solver=solver))
    categories = [Category(**{**c, "color": tuple(c["color"])}) for c in content["categories"]]
    model = make_segmenter(config, categories)
    model.load_state_dict(content["model"])
    return model, config


Step = Callable[[Segmenter, Tensor, Targets], dict[str, Tensor]]


def _train(
    run: Run, stage: str, result: str, model: Segmenter, optimizer: torch.optim.Optimizer, step: Step,
    steps: int, batch: int, warmup: int = 0, select_every: int | None = None,
) -> None:  # fmt: skip
    """Train one stage, from where its last checkpoint stands; writes the checkpoint `result` at its end.

    With `select_every`, that checkpoint is the one of the best validation PQ among the steps looked at.
    """
    last = run.checkpoint(f"{stage}.last")
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: _poly(t, steps, warmup))
    state: dict[str, Any] = {"step": 0, "best": None, "best_pq": -1.0, "curve": []}
    if last.exists():
        content = load_checkpoint(last)
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        scheduler.load_state_dict(content["scheduler"])
        state = content["state"]
    batches = _batches(run, stage, model.stride, state["step"], steps, batch)
    with tqdm(batches, total=steps, initial=state["step"], desc=stage, unit="step") as bar:
        for number, images, targets in bar:
            if model.layer.generator is not None:
                model.layer.generator.manual_seed(_seed(run.config.seed, stage, number))
            torch.manual_seed(_seed(run.config.seed, stage, number))
            losses = step(model, images, targets)
            values = {name: float(value.detach()) for name, value in losses.items()}
            if not math.isfinite(values["loss"]):  # before it reaches the weights
                raise FloatingPointError(f"the loss of {stage} became {values['loss']} at step {number}")
            optimizer.zero_grad(set_to_none=True)
            losses["loss"].backward()
            optimizer.step()
            scheduler.step()
            state["step"] = number + 1
            for name, value in values.items():
                run.writer.add_scalar(f"{stage}/{name}", value, number)
            bar.set_postfix(loss=f"{values['loss']:.3f}", refresh=False)
            done = state["step"] == steps
            selected = select_every is not None and (done or state["step"] % select_every == 0)
            if selected:
                _select(run, stage, model, state)
            if done or selected or state["step"] % run.config.save_every == 0:
                save_atomically(_content(model, optimizer, scheduler, state), last)
    best = state["best"] if state["best"] is not None else model.state_dict()
    content = {
        "model": best,
        "config": run.config.to_dict(),
        "categories": [asdict(c) for c in run.splits.train.categories],
        "curve": state["curve"],
    }
    save_atomically(content, run.checkpoint(result))
    last.unlink(missing_ok=True)


def _select(run: Run, stage: str, model: Segmenter, state: dict[str, Any]) -> None:
    """Score the validation split and keep the best weights so far."""
    pq = panoptic_quality(model, run.splits.validation, run.device).result()["PQ"]
    run.writer.add_scalar(f"{stage}/validation_pq", pq, state["step"])
    state["curve"].append([state["step"], pq])
    if pq > state["best_pq"]:
        state["best_pq"] = pq
        state["best"] = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _content(model: Segmenter, optimizer: Any, scheduler: Any, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "state": state,
    }


def _batches(
    run: Run, stage: str, stride: int, first: int, steps: int, batch: int
) -> Iterator[tuple[int, Tensor, Targets]]:
    c = run.config
    data: Dataset = run.splits.train
    size = c.dataset.size or 64
    for number in range(first, steps):
        rng = np.random.default_rng(_seed(c.seed, stage, number))
        chosen = rng.choice(len(data), batch, replace=batch > len(data))
        samples = [random_crop(data[int(i)], (size, size), rng) for i in chosen]
        targets = make_targets(samples, data.categories, c.model.distances, stride, c.dataset.small_area)
        moved = Targets(*(t.to(run.device) for t in vars(targets).values()))
        yield number, to_input([s.image for s in samples]).to(run.device), moved


def _seed(seed: int, stage: str, step: int) -> int:
    return int(np.random.SeedSequence([seed, STREAMS[stage], step]).generate_state(1)[0])


def _poly(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then (1 - t/T)^0.9."""
    decay = (1 - min(step, steps) / max(1, steps)) ** 0.9
    return float(decay * min(1.0, (step + 1) / (warmup + 1)))
