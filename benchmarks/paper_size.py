"""The paper's configuration at its size: seconds and memory of training steps and predictions on street-like scenes.

    python benchmarks/paper_size.py                                # many hours on two cores; rerun to resume
    python benchmarks/paper_size.py --steps 1 --cases pretrain full
    python benchmarks/paper_size.py --size 64x128 --steps 1 --backbone small --out runs/trial  # a trial run

It runs configs/cityscapes.yaml (ResNet-50, crops of half the size of the images, cut at 1/4) on scenes that
make_streets.py draws. Each case runs in a process of its own, whose largest resident set is the peak memory, and is
written to paper_size.json in --out as soon as it is measured; a second call measures what is missing there, and
resumes a case after its last step.

Cases: `pretrain` and the models of the second stage that the configuration trains, each for --steps steps of the
configuration's batch in parts of --part crops; `full, near the truth` and `full_svm, near the truth`, steps that solve
for costs of the true partition with noise, as a trained network gives them; `predict 1/4` and `predict 1`, one image of
full size at a time; `full, two processes`, the same step shared by two processes under torchrun with half of the
threads each, as the first one sees it. Models of the second stage start from what `pretrain` leaves in --work.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from diffcomb import get_num_threads, set_num_threads

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "panoptic_cops"
sys.path.insert(0, str(EXAMPLE))

from cops import parallel  # noqa: E402
from cops.config import Config  # noqa: E402
from cops.data.splits import load_splits  # noqa: E402
from cops.data.streets import parse_size  # noqa: E402
from cops.data.targets import Targets  # noqa: E402
from cops.files import save_atomically, write_json  # noqa: E402
from cops.model.checkpoints import find_device, load_checkpoint  # noqa: E402
from cops.ranges import check_ranges  # noqa: E402
from cops.recipes import BASELINE  # noqa: E402
from cops.step import TrainingStep, drop  # noqa: E402
from cops.study.report import TIMES, save  # noqa: E402
from cops.study.run import Run, RunLog, check_settings  # noqa: E402
from cops.study.stages import optimizer_of  # noqa: E402
from cops.study.times import Stopwatch, backward, through_solver  # noqa: E402
from cops.study.training import FINETUNING, PRETRAINING, Stage, on_device, parts_of_step  # noqa: E402
from cops.surrogate import PanopticQualitySurrogate  # noqa: E402
from jsonargparse import ArgumentParser  # noqa: E402
from make_streets import draw  # noqa: E402

FIRST = "pretrain"
PREDICT = {"predict 1/4": False, "predict 1": True}  # whether it cuts on pixels
NEAR, SHARED = ", near the truth", ", two processes"  # behind the name of a model
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
MARGIN, NOISE = 4.0, 2.0  # of costs near the truth: a logit of ±4 with this deviation, which errs at 2 percent


def main() -> None:
    o = _options()
    cases = o.cases or list(all_cases())
    if o.case:
        parallel.start(o.device)
        row = measure(o.case, o)
        if parallel.rank() == 0:
            print(json.dumps(row))
        parallel.stop()
        return
    path = o.out / "paper_size.json"
    known = json.loads(path.read_text())["rows"] if path.exists() else []
    settings = _settings(o)
    different = next((row for row in known if row["settings"] != settings), None)
    if different is not None:
        raise SystemExit(f"{path} holds figures with other settings ({different['settings']}): choose another --out")
    draw(o.root, o.images, 2, parse_size(o.size), 0)
    for case in tqdm([c for c in cases if c not in {row["case"] for row in known}], desc="cases"):
        done = subprocess.run(_command(case, o), stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"{case!r} has failed; rerun the same command to resume")
        known.append({**json.loads(done.stdout.splitlines()[-1]), "settings": settings})
        known.sort(key=lambda row: list(all_cases()).index(row["case"]))
        write_json({"rows": known}, path)
    _report(known, o)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1024x2048", help="of the images; crops have half of it")
    parser.add_argument("--images", type=int, default=30, help="training images to draw")
    parser.add_argument("--steps", type=int, default=24, help="training steps, or images to predict, of each case")
    parser.add_argument("--part", type=int, default=1, help="crops that are computed at once")
    parser.add_argument("--batch", type=int, help="crops of a step, if not the configuration's 12 and 24")
    parser.add_argument("--backbone", default="resnet50", help="another one is for trials")
    parser.add_argument("--threads", type=int, default=get_num_threads(), help="of torch and of the solver")
    parser.add_argument("--device", default="auto", help="where the network runs")
    parser.add_argument("--root", type=Path, help="where the images lie or are drawn; runs/streets-SIZE by default")
    parser.add_argument("--work", type=Path, help="for weights; runs/paper_size-SIZE-BACKBONE by default")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "results" / "streets")
    parser.add_argument("--cases", nargs="+", choices=all_cases())
    parser.add_argument("--case", choices=all_cases(), help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.steps < 1 or o.part < 1 or o.images < 2:
        parser.error(f"needed: --steps >= 1, --part >= 1 and --images >= 2, got {o.steps}, {o.part} and {o.images}")
    o.root = o.root or Path(f"runs/streets-{o.size}")
    o.work = o.work or Path(f"runs/paper_size-{o.size}-{o.backbone}")
    return o


def all_cases() -> dict[str, Callable[[str, argparse.Namespace], dict[str, Any]]]:
    """What can be measured, in the order of the table."""
    second = Config(**_from_yaml()).finetune.models
    steps = dict.fromkeys((FIRST, *second, f"full{NEAR}", f"full_svm{NEAR}", f"full{SHARED}"), training)
    return {**steps, **dict.fromkeys(PREDICT, prediction)}


@functools.cache
def _from_yaml(*more: str) -> dict[str, Any]:
    parser = ArgumentParser()
    parser.add_class_arguments(Config, as_group=False)
    parser.add_argument("--config", action="config")
    given = parser.instantiate(parser.parse_args([f"--config={EXAMPLE / 'configs' / 'cityscapes.yaml'}", *more]))
    return {name: value for name, value in vars(given).items() if name != "config"}


def configured(o: argparse.Namespace) -> Config:
    """The paper's configuration for images of that size; bfloat16 is left to accelerators."""
    size = parse_size(o.size)
    config = Config(**_from_yaml(f"--root={o.root}", f"--device={o.device}", f"--model.backbone={o.backbone}"))
    scale = size[0] / 1024
    d = replace(
        config.dataset,
        size=[size[0] // 2, size[1] // 2],
        shortest_edges=[max(1, round(scale * n)) for n in config.dataset.shortest_edges or []],
        validation=1,
    )
    at_once = o.part * parallel.world()
    stages = {
        name: replace(stage, batch=o.batch or stage.batch, accumulate=-(-(o.batch or stage.batch or 1) // at_once))
        for name, stage in (("pretrain", config.pretrain), ("finetune", config.finetune))
    }
    amp = config.amp and find_device(o.device).type != "cpu"
    return replace(config, dataset=d, amp=amp, threads=o.threads, **stages).resolved()


def measure(case: str, o: argparse.Namespace) -> dict[str, Any]:
    """The row of a case, with the peak memory of this process."""
    torch.set_num_threads(o.threads)
    set_num_threads(o.threads)
    row = {"case": case, **all_cases()[case](case, o)}
    row.setdefault("peak, GiB", _peak() / 2**20)
    if torch.cuda.is_available():
        row["peak on the GPU, GiB"] = torch.cuda.max_memory_allocated() / 2**30
    return row


def _peak() -> float:
    """The largest resident set of this process in KiB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _run(o: argparse.Namespace) -> Run:
    config = configured(o)
    check_ranges(config)
    splits = load_splits(config)
    check_settings(config, splits.train.categories, parallel.world())
    return Run(config, splits, o.work, find_device(config.device), RunLog(o.work, silent=True))


def training(case: str, o: argparse.Namespace) -> dict[str, Any]:
    """Mean seconds of a step, which is the whole batch, by parts; a killed process resumes after its last step."""
    run = _run(o)
    first, name = case == FIRST, case.removesuffix(NEAR).removesuffix(SHARED)
    c, settings = run.config, run.config.pretrain if first else run.config.finetune
    objective = c.objective(BASELINE if first else name)
    started = not first and run.finished(FIRST)
    model = run.model(FIRST if started else None)
    step = TrainingStep(model, objective, c.pretrain, c.amp, frozen_statistics=not first)
    optimizer = (
        torch.optim.Adam(model.network.parameters(), lr=settings.lr) if first else optimizer_of(model, objective)
    )
    stream = PRETRAINING if first else FINETUNING
    stage = Stage(case, step, o.steps, settings.batch or 1, settings.accumulate, stream=stream)
    partial = o.work / f"{case.replace(', ', '_').replace(' ', '_')}.partial.pt"
    state: dict[str, Any] = {"spent": [], "losses": [], "peak": 0.0, "settings": _settings(o)}
    if partial.exists() and (content := load_checkpoint(partial))["state"]["settings"] == state["settings"]:
        state = content["state"]
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
    done = len(state["spent"])
    for number in tqdm(range(done, o.steps), desc=case, initial=done, total=o.steps):
        watch = Stopwatch(run.device)
        parts = parts_of_step(run, stage, model.stride, number)
        watch("samples")
        if number == done:  # compiles kernels and fills caches; batch norm forgets it
            kept = {name: value.clone() for name, value in model.state_dict().items()}
            _part(Stopwatch(run.device), step, case, *on_device(parts[0], run.device), share=1.0)
            model.load_state_dict(kept)
            del kept
        for generator in (torch.default_generator, model.generator):  # a resumed case equals an uninterrupted one
            if generator is not None:
                generator.manual_seed(number)
        optimizer.zero_grad(set_to_none=True)
        watch.restart()
        bar = tqdm(parts, "crops", leave=False)
        losses = [_part(watch, step, case, *on_device(part, run.device), share=1 / len(parts)) for part in bar]
        if parallel.world() > 1:
            parallel.average_gradients(model.parameters())
            watch("averaging")
        optimizer.step()
        watch("optimiser")
        state["spent"].append(watch.spent)
        state["losses"].append(float(np.mean(losses)))
        state["peak"] = max(state["peak"], _peak())
        if parallel.rank() == 0:
            content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "state": state}
            save_atomically(content, partial)
    if first:
        run.finish(FIRST, model.state_dict())
    parallel.wait()  # all have read it
    if parallel.rank() == 0:
        partial.unlink()
    spent = {part: float(np.mean([row[part] for row in state["spent"]])) for part in state["spent"][0]}
    return {
        "crops": stage.batch, "started from": FIRST if started else "", **spent, "all": sum(spent.values()),
        "first loss": state["losses"][0], "last loss": state["losses"][-1], "peak, GiB": state["peak"] / 2**20,
    }  # fmt: skip


def _part(watch: Stopwatch, step: TrainingStep, case: str, images: Tensor, targets: Targets, share: float) -> float:
    """Backpropagate the loss of some crops and time it; returns the loss."""

    def costs_of(images: Tensor) -> tuple[Tensor, ...]:
        costs = step.costs(images)
        costs = near_truth(costs, targets) if case.endswith(NEAR) else costs
        return tuple(drop(c, objective.dropout) for c in costs) if objective.loss == "surrogate" else costs

    objective = step.objective
    if objective.loss == "surrogate":
        area = float(step.model.stride**2)
        surrogate = PanopticQualitySurrogate(step.model.thresholds, area, objective.weight, variant=objective.variant)
        return through_solver(watch, costs_of, step.layer, surrogate, images, targets, share)
    costs = costs_of(images)
    watch("network")
    leaves = [c.detach().requires_grad_() for c in costs]
    loss = step.losses(*leaves, targets)["loss"]
    gradients = torch.autograd.grad(share * loss, leaves, allow_unused=True)
    watch("AMWC" if step.loss.through_solver else "loss")  # the structured SVM makes one solve, and no other
    backward(costs, gradients)
    watch("network backward")
    return float(loss.detach())


def near_truth(costs: tuple[Tensor, ...], targets: Targets) -> tuple[Tensor, ...]:
    """Costs of the true partition with noise, which pass gradients on to the network's costs."""
    classes = F.one_hot(targets.labels.clamp(min=0), costs[0].shape[1]).permute(0, 3, 1, 2)
    found = []
    for given, wrong in zip(costs, (1 - classes, targets.cut), strict=True):
        generator = torch.Generator(given.device).manual_seed(0)
        noise = torch.randn(given.shape, generator=generator, device=given.device)
        sign = 2 * wrong - 1 if given is costs[0] else 1 - 2 * wrong  # positive edge costs join
        found.append(MARGIN * sign + NOISE * noise + given - given.detach())
    return tuple(found)


def prediction(case: str, o: argparse.Namespace) -> dict[str, Any]:
    """Seconds of an image of full size: the network, the cut, and reading segments from it; median over the images."""
    run = _run(o)
    config = replace(run.config, model=replace(run.config.model, full_resolution=PREDICT[case]))
    started = run.finished(FIRST)
    model = replace(run, config=config).model(FIRST if started else None)
    images = [run.splits.test[i % len(run.splits.test)].image for i in range(max(2, o.steps // 4) + 1)]
    rows = []
    for image in tqdm(images, desc=case):
        watch = Stopwatch(run.device)
        costs = model.costs([image], run.device)
        watch("network")
        size = image.shape[:2]
        costs = model.to_cut(*costs, size)
        watch("interpolation")
        with torch.no_grad():
            out = model.cut[0](*costs)
        watch("AMWC")
        (found,) = model.read(out, *costs, size)
        watch("reading segments")
        rows.append(watch.spent)
    medians = {name: float(np.median([row[name] for row in rows[1:]])) for name in rows[0]}  # the first one compiles
    total = sum(medians.values())
    return {
        "crops": 1,
        "started from": FIRST if started else "",
        **medians,
        "all": total,
        "segments": len(found.segments),
    }


def _settings(o: argparse.Namespace) -> dict[str, Any]:
    device = find_device(o.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    chosen = {n: getattr(o, n) for n in ("size", "steps", "part", "batch", "backbone", "threads")}
    return {**chosen, "device": name}


def _command(case: str, o: argparse.Namespace) -> list[str]:
    """What measures a case in a process of its own, or in two."""
    names = ("size", "images", "steps", "part", "batch", "backbone", "threads", "device", "root", "work", "out")
    given = {name: value for name, value in vars(o).items() if name in names and value is not None}
    shared = case.endswith(SHARED)
    if shared:
        given["threads"] = max(1, o.threads // 2)
    options = [f"--{name}={value}" for name, value in given.items()]
    return [sys.executable, *(TORCHRUN if shared else []), __file__, *options, "--case", case]


def _report(rows: list[dict[str, Any]], o: argparse.Namespace) -> None:
    names = ("size", "images", "steps", "part", "batch", "backbone", "threads")
    given = " ".join(f"--{name} {getattr(o, name)}" for name in names if getattr(o, name) is not None)
    shown = [
        {name: f"{v:.2f}" if isinstance(v, float) else v for name, v in row.items() if name != "settings"}
        for row in rows
    ]
    c = configured(o)
    title = f"The size of the paper, {o.steps} step{'s' * (o.steps > 1)} of each case"
    note = (
        f"{o.threads} threads, {rows[0]['settings']['device']}, {'bfloat16' if c.amp else 'float32'}. Seconds of a "
        f"step on {c.finetune.batch} crops ({c.pretrain.batch} in pre-training) of {c.dataset.size} pixels, {o.part} "
        f"at once, or of one predicted image of {o.size}. Training prepares the samples of the next step in a thread "
        f"meanwhile; here they wait for each other. AMWC is the forward solve, MWC all N = 5 perturbed ones; the "
        f"surrogate includes its own backward pass; of full_svm, AMWC is the one solve of its loss. Memory is the "
        f"largest resident set of a process of its own. Two processes have half of the threads each. {TIMES}"
    )
    save(o.out, f"python benchmarks/paper_size.py {given}")("paper_size", title, shown, note)


if __name__ == "__main__":
    main()
