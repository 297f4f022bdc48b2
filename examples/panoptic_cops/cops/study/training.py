"""The training loop: steps, checkpoints, selection by validation; a resumed run equals an uninterrupted one.

Whatever is random in step t of a stage follows from (seed, stage, t) and the number of the process alone.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from .. import parallel
from ..config import crop_size
from ..data.samples import Dataset, augmented
from ..data.targets import Targets, make_targets, on_pixels, to_input
from ..files import save_atomically
from ..model.checkpoints import using
from ..model.segmenter import Segmenter
from ..scores.measure import panoptic_quality
from ..step import TrainingStep
from .run import Run
from .threads import Part, ahead, backward_pipelined

PRETRAINING, FINETUNING = 0, 2  # streams of samples
Step = Callable[[Tensor, Targets, float], dict[str, Tensor]]


@dataclass
class Stage:
    """One stage: what a step minimises, and for how long.

    Attributes
    ----------
    name : str
        Names its checkpoint.
    step : callable
        From images and targets, a part of a batch, and the part of the stage that is done, to losses; "loss" is
        minimised, the others are logged.
    steps : int
    batch : int
        Samples a step, over all processes.
    accumulate : int
        Parts that the batch is split into.
    warmup : int
        Steps over which the learning rates rise to their full value.
    select_every : int, optional
        The result is that of the best validation PQ among the steps looked at; without it, that of the last step.
    pixels : bool
        Whether targets are those of the pixels or of the network's grid.
    pipelined : bool
        Whether the solver works on one part while the network computes the next; `step` is a `TrainingStep` then.
    stream : int
        Stages of one stream see the same samples in the same order.
    fresh : bool
        Whether the stage begins with random weights; `step` is told 1 as the part that is done otherwise.
    average : float
        Decay of the running mean of the weights, which is scored and is the result; 0 takes the weights themselves.
    """

    name: str
    step: Step
    steps: int
    batch: int
    accumulate: int = 1
    warmup: int = 0
    select_every: int | None = None
    pixels: bool = False
    pipelined: bool = False
    stream: int = FINETUNING
    fresh: bool = False
    average: float = 0.0


def train(run: Run, stage: Stage, model: Segmenter, optimizer: torch.optim.Optimizer) -> None:
    """Train one stage, resuming from its last checkpoint; write its result at the end."""
    training = _Training(run, stage, model, optimizer)
    training.resume()
    state, began = training.state, time.perf_counter() - training.state["seconds"]
    numbers = range(state["step"], stage.steps)
    with tqdm(
        total=stage.steps, initial=state["step"], desc=stage.name, unit="step", disable=parallel.rank() > 0
    ) as bar:
        for number, parts in ahead(lambda n: parts_of_step(run, stage, model.stride, n), numbers):
            values = training.step(number, parts)
            run.log.add(stage.name, number + 1, values)
            bar.set_postfix(loss=f"{values['loss']:.3f}", refresh=False)
            bar.update()
            done = number + 1 == stage.steps
            selected = stage.select_every is not None and (done or (number + 1) % stage.select_every == 0)
            if selected:
                training.select()
            state["seconds"] = time.perf_counter() - began
            if done or selected or (number + 1) % run.config.save_every == 0:
                training.save()
    training.finish()


class _Training:
    """A stage in training: the model, its optimiser and learning rates, running mean, and best weights so far."""

    def __init__(self, run: Run, stage: Stage, model: Segmenter, optimizer: torch.optim.Optimizer) -> None:
        self.run, self.stage, self.model, self.optimizer = run, stage, model, optimizer
        self.last = run.checkpoint(f"{stage.name}.last")
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: poly(t, stage.steps, stage.warmup))
        self.mean = running_mean(model, stage.average) if stage.average > 0 else None
        self.state: dict[str, Any] = {"step": 0, "best": None, "best_pq": -1.0, "curve": [], "seconds": 0.0}

    @property
    def _parts(self) -> dict[str, Any]:
        """What a checkpoint of an unfinished stage holds, beside the state."""
        parts = {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}
        return parts if self.mean is None else {**parts, "mean": self.mean}

    @property
    def result(self) -> Segmenter:
        """The model that is scored: the running mean of its weights, if there is one."""
        return self.model if self.mean is None else self.mean.module

    def resume(self) -> None:
        """Restore the last checkpoint of the stage, if there is one, and remove what was logged after it."""
        if self.last.exists():
            content = self.run.load(self.last)
            with using(self.last, "delete it to train that stage anew"):
                for name, part in self._parts.items():
                    part.load_state_dict(content[name])
                self.state |= content["state"]
        self.run.log.resume(self.stage.name, self.state["step"])

    def save(self) -> None:
        """Write a checkpoint to resume from."""
        if parallel.rank() == 0:
            content = {name: part.state_dict() for name, part in self._parts.items()}
            save_atomically({**content, "state": self.state, "categories": self.run.categories()}, self.last)

    def finish(self) -> None:
        """Write the selected weights, or else the last ones, as the result of the stage."""
        best = self.state["best"] if self.state["best"] is not None else self.result.state_dict()
        self.run.finish(self.stage.name, best, curve=self.state["curve"], seconds=self.state["seconds"])
        if parallel.rank() == 0:
            self.last.unlink(missing_ok=True)
        parallel.wait()

    def step(self, number: int, parts: Sequence[Part]) -> dict[str, float]:
        """Make one step on this process' share of the batch, in parts; return the mean losses."""
        seed = _seed(self.run.config.seed, self.stage.stream, number, parallel.rank())
        torch.manual_seed(seed)
        if self.model.generator is not None:
            self.model.generator.manual_seed(seed)
        self.optimizer.zero_grad(set_to_none=True)
        totals: dict[str, float] = {}
        count = sum(len(images) for images, _ in parts)
        for (images, _), losses in zip(parts, self._backward(number, parts, count), strict=True):
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + float(value.detach()) * len(images) / count
        parallel.average_gradients(self.model.parameters())
        self.optimizer.step()
        self.scheduler.step()
        if self.mean is not None:
            self.mean.update_parameters(self.model)
            self.mean.module.thresholds.copy_(self.model.thresholds)  # the mean of a constant is only nearly it
        self.state["step"] = number + 1
        return totals

    def _backward(self, number: int, parts: Sequence[Part], count: int) -> Iterator[dict[str, Tensor]]:
        """Backpropagate the mean loss of all `count` samples; yield the mean losses of each part."""
        step = self.stage.step
        progress = number / self.stage.steps if self.stage.fresh else 1.0

        def finite(losses: dict[str, Tensor]) -> dict[str, Tensor]:
            if not math.isfinite(value := float(losses["loss"].detach())):  # before it reaches solvers and weights
                raise FloatingPointError(f"the loss of {self.stage.name} became {value} at step {number}")
            return losses

        placed = (on_device(part, self.run.device) for part in parts)
        if self.stage.pipelined:
            assert isinstance(step, TrainingStep)
            losses_of = functools.partial(step.losses, progress=progress)
            yield from backward_pipelined(placed, step.costs, lambda *given: finite(losses_of(*given)), count)
            return
        for images, targets in placed:
            losses = finite(step(images, targets, progress))
            (losses["loss"] * (len(images) / count)).backward()  # type: ignore[no-untyped-call]
            yield losses

    def select(self) -> None:
        """Score the validation split and keep the best weights so far; none where nothing can be scored (nan)."""
        state = self.state
        pq = panoptic_quality(self.result, self.run.splits.validation, self.run.device).result()["PQ"]
        self.run.log.add(self.stage.name, state["step"], {"validation_pq": pq})
        state["curve"].append([state["step"], pq])
        if pq > state["best_pq"]:
            state["best_pq"] = pq
            state["best"] = {name: value.detach().cpu().clone() for name, value in self.result.state_dict().items()}


def parts_of_step(run: Run, stage: Stage, stride: int, number: int) -> list[Part]:
    """This process' share of a step's samples, in `accumulate` parts, on the CPU."""
    c = run.config
    data: Dataset = run.splits.train
    d, size = c.dataset, crop_size(c.dataset.size or 64)
    rng = np.random.default_rng(_seed(c.seed, stage.stream, number, parallel.rank()))
    count = stage.batch // parallel.world()
    chosen = rng.choice(len(data), count, replace=count > len(data)).tolist()
    distances = c.model.distances
    if stage.pixels:
        distances, stride = on_pixels(distances, stride), 1
    changes = (d.shortest_edges, d.brightness, d.turns, True) if d.overfit is None else (None, 0.0, False, False)
    parts = []
    for part in np.array_split(chosen, stage.accumulate):
        samples = [augmented(data[int(i)], size, rng, *changes) for i in part]
        targets = make_targets(samples, data.categories, distances, stride, d.small_area)
        parts.append((to_input([s.image for s in samples]), targets))
    return parts


def on_device(part: Part, device: torch.device) -> Part:
    """Images and targets of a part, on the network's device."""
    images, targets = part
    return images.to(device), Targets(*(t.to(device) for t in vars(targets).values()))


def _seed(seed: int, stream: int, step: int, rank: int = 0) -> int:
    words = [seed, stream, step]
    return int(np.random.SeedSequence([*words, rank] if rank else words).generate_state(1)[0])


def running_mean(model: Segmenter, decay: float) -> AveragedModel:
    """The exponential running mean of weights and statistics; the decay rises to its value, to forget the first."""

    def towards(mean: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        return kept * mean + (1 - kept) * value

    return AveragedModel(model, avg_fn=towards, use_buffers=True)


def poly(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then (1 - t/T)^0.9."""
    decay = (1 - min(step, steps) / max(1, steps)) ** 0.9
    return float(decay * min(1.0, (step + 1) / (warmup + 1)))
