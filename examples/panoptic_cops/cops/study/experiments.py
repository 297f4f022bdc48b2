"""The runs behind the tables: one folder a seed, whose models all start from the same baseline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student

from ..config import Config, config_from_dict, differences
from ..data.splits import load_splits
from ..data.targets import Targets
from ..files import read_scores, write_json
from ..model.checkpoints import OTHER_VERSION, find_device, load_checkpoint, using
from ..model.deeplab import DeepLabSegmenter, deeplab_losses
from ..model.segmenter import Segmenter
from ..model.views import VIEWS
from ..recipes import BASELINE, COMPARED, RECIPES, SECOND_STAGE, counterpart
from ..scores.measure import all_scores
from ..surrogate import PanopticQualitySurrogate
from .run import Run, RunLog, record_settings, untrained, write_environment
from .split_record import record_splits
from .stages import run_stages, train_model
from .times import Stopwatch, through_solver
from .training import Stage, on_device, parts_of_step, train

SCORES = {views: f"scores-views{views}.json" if views != 1 else "scores.json" for views in VIEWS}


@dataclass
class Experiment:
    """The runs of one data set.

    Parameters
    ----------
    config : Config
        Of every run but for seed and folder.
    folder : path
        Runs lie in folder/seed0, folder/seed1, ...
    seeds : sequence of int
    only : sequence of str, optional
        Tables that compare several models show these, beside the baseline where they have it.
    views : int
        Of an image, for every score and picture: see `Segmenter.views`. Training takes one.
    """

    config: Config
    folder: Path
    seeds: Sequence[int]
    only: Sequence[str] | None = None
    views: int = 1

    @property
    def controls(self) -> tuple[str, ...]:
        """The baseline, and all that is trained further without a gradient through the solver."""
        return tuple(name for name in self._wanted() if not RECIPES[name].through_solver)

    @property
    def through(self) -> tuple[str, ...]:
        """What is trained through the solver, in a second stage."""
        return tuple(name for name in self._wanted() if RECIPES[name].through_solver)

    def compared(self, table: str) -> tuple[str, ...]:
        """The models that a table sets side by side, where this run cuts its predictions.

        Raises
        ------
        ValueError
            If none of them is asked for.
        """
        names = COMPARED[table]
        if self.only is not None:
            if not set(names) & set(self.only):
                raise ValueError(f"models must name some of {table}: {', '.join(names)}; got {', '.join(self.only)}")
            names = tuple(name for name in names if name == BASELINE or name in self.only)
        return tuple(self._here(name) for name in names)

    def _wanted(self) -> tuple[str, ...]:
        wanted = {BASELINE, *self.config.finetune.models}
        return tuple(name for name in (BASELINE, *SECOND_STAGE) if name in wanted)

    def _here(self, name: str) -> str:
        return counterpart(name, self.config.model.full_resolution)

    def run(self, seed: int) -> Run:
        """The run of a seed; settings recorded in its folder must equal those asked for."""
        out = self.folder / f"seed{seed}"
        config = replace(self.config, seed=seed, out=str(out)).resolved()
        path = out / "config.json"
        if not path.exists():
            write_json(config.to_dict(), path)
            write_environment(out / "environment.json")
        else:
            earlier = replace(config_from_dict(json.loads(path.read_text())), root=config.root)
            wanted = config.finetune  # which models are asked for, and what runs beside what, changes none of them
            same = replace(earlier.finetune, models=wanted.models, overlap=wanted.overlap)
            earlier = replace(earlier, finetune=same)
            changed = differences(earlier, config, untrained(out))
            if changed:
                raise ValueError(f"{path} holds other settings ({'; '.join(changed)}): give another --runs")
            record_settings(earlier, config, path)
        splits = load_splits(config)
        record_splits(config, splits, out, SCORES.values())
        return Run(config, splits, out, find_device(config.device), RunLog(out))

    def model(self, seed: int, name: str) -> tuple[Run, Segmenter | DeepLabSegmenter]:
        """Return a model; train it if its checkpoint does not exist."""
        run = self.run(seed)
        recipe = RECIPES[name]
        with run.log:
            if recipe.method == "deeplab":
                if self.views != 1:
                    raise ValueError(f"{name} predicts from one view alone: leave out --views {self.views}")
                return run, panoptic_deeplab(run, name)
            if not run.finished(name):
                if recipe.choice or name == BASELINE:
                    asked = replace(run.config.finetune, models=[name] if recipe.choice else [])
                    run_stages(replace(run, config=replace(run.config, finetune=asked)))
                else:
                    start = None if recipe.start is None else self._here(recipe.start)
                    if start is not None:
                        self.model(seed, start)
                    train_model(run, name, start)
        model = run.model(name)
        model.views = self.views
        return run, model

    def scores(self, seed: int, name: str, wanted: Sequence[str] = ()) -> dict[str, float]:
        """Every score of a model on the test split, cached in scores.json of its run (or scores-views8.json).

        If the cache lacks one of those wanted, which an earlier version did not compute, all are computed anew.
        """
        path = self.folder / f"seed{seed}" / SCORES[self.views]
        known: dict[str, dict[str, float]] = read_scores(path)
        if name not in known or not known[name].keys() >= set(wanted):
            run, model = self.model(seed, name)
            known[name] = all_scores(model, run.splits.test, run.device, f"test {name}, seed {seed}")
            write_json(known, path)
        return known[name]

    def finished(self, seed: int) -> list[tuple[str, float | None]]:
        """All trained models of a seed, the baseline first, with the seconds that their stage took."""
        run = self.run(seed)
        run.log.close()
        names = sorted(path.stem for path in run.checkpoint(BASELINE).parent.glob("*.pt") if path.suffixes == [".pt"])
        names.sort(key=lambda name: name != BASELINE)
        return [(name, load_checkpoint(run.checkpoint(name)).get("seconds")) for name in names]

    def table(self, names: Sequence[str], key: str) -> np.ndarray:
        """One score of models (rows) and seeds (columns)."""
        return np.array([[self.scores(seed, name, [key])[key] for seed in self.seeds] for name in names])


def panoptic_deeplab(run: Run, name: str) -> DeepLabSegmenter:
    """The comparator, trained for as many steps as both stages of ours take."""
    c = run.config
    torch.manual_seed(c.seed)
    model = DeepLabSegmenter(c, run.splits.train.categories).to(run.device, memory_format=torch.channels_last)

    def step(images: torch.Tensor, targets: Targets, progress: float) -> dict[str, torch.Tensor]:
        model.train()
        return deeplab_losses(model, images, targets, c.pretrain.at(progress).semantic_share)

    if not run.finished(name):
        optimizer = torch.optim.Adam(model.parameters(), lr=c.pretrain.lr)
        steps = c.pretrain.steps + c.finetune.steps
        stage = Stage(name, step, steps, c.pretrain.batch or 1, c.pretrain.accumulate, c.pretrain.warmup, fresh=True)
        train(run, stage, model, optimizer)
    content = run.load(run.checkpoint(name))
    with using(run.checkpoint(name), OTHER_VERSION):
        model.load_state_dict(content["model"])
    return model


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Mean and half width of Student's confidence interval of the mean; nan for one value."""
    if len(values) < 2:
        return float(np.mean(values)), float("nan")
    half = student.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


def time_of_an_iteration(run: Run, model: Segmenter, steps: int = 5) -> dict[str, float]:
    """Seconds of the parts of one iteration through the solver: both solves, and the rest (Table 3)."""
    layer, stride = model.cut
    surrogate = PanopticQualitySurrogate(model.thresholds, float(stride**2), 10.0)
    stage = Stage("times", lambda *_: {}, steps, run.config.finetune.batch or 1, pixels=model.full_resolution)
    model.eval()

    def costs_of(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return model.to_cut(*model.scaling(model.network(images)), images.shape[2:])

    watch = Stopwatch(run.device)
    for number in range(-1, steps):
        if number == 0:  # the first one compiles and is not counted
            watch.spent.clear()
        watch.restart()
        images, targets = on_device(parts_of_step(run, stage, model.stride, max(number, 0))[0], run.device)
        watch("samples")
        through_solver(watch, costs_of, layer, surrogate, images, targets)
    spent = {name: seconds / steps for name, seconds in watch.spent.items()}
    return {**spent, "all": sum(spent.values())}


def logged(run: Run, stage: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one logged quantity."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in (run.out / "log.jsonl").read_text().splitlines()]
    found = [(line["step"], line[name]) for line in lines if line["stage"] == stage and name in line]
    return np.array([s for s, _ in found]), np.array([v for _, v in found], np.float64)  # null becomes nan
