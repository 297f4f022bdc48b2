"""Every table and figure of the paper, on data that a CPU can train: one command each.

    python examples/panoptic_cops/reproduce.py table1 --data scenes
    python examples/panoptic_cops/reproduce.py all --data nuclei --root FOLDER --seeds "[0,1,2,3,4,5]"

Models that a table needs are trained if their run folder lacks them (about ten minutes a seed for all of the second
stage), so rerun an interrupted command to resume. Results go to --results as Markdown and SVG, with the command; those
of a trial (--max_steps), like its runs, go to a folder of their own, which ends in "-trial". The exit status is that of
train.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from cops.config import Config, config_from_dict
from cops.data.coco import DataError
from cops.data.samples import Subset
from cops.files import save_atomically
from cops.model.checkpoints import CheckpointError, load_checkpoint, load_model
from cops.model.views import VIEWS_HELP, VIEWS_OF_IMAGE
from cops.ranges import check_ranges
from cops.recipes import RECIPES, SECOND_STAGE
from cops.scores.measure import panoptic_quality, predictions
from cops.stopping import run_command
from cops.study.experiments import Experiment, logged
from cops.study.panels import comparison
from cops.study.questions import QUESTIONS
from cops.study.report import curves, save
from cops.study.rows import two_digits
from cops.study.tables import TABLES
from jsonargparse import ArgumentParser

from diffcomb import get_num_threads
from diffcomb._lock import locked

HERE = Path(__file__).parent
CONFIGURED = ("nuclei", "vnc", "neurons")  # data sets in COCO panoptic format with a file in configs/


def checkpoints(e: Experiment, report: Callable[..., None]) -> None:
    """Small copies of trained models, in half precision, for evaluate.py and predict.py."""
    if e.folder.name.startswith("vnc"):
        raise ValueError("vnc has the licence CC BY-NC-SA: its weights cannot be published here")
    rows = []
    for name in e.compared("checkpoints"):
        run, _ = e.model(e.seeds[0], name)
        content = load_checkpoint(run.checkpoint(name))
        content["model"] = {k: v.half() if v.is_floating_point() else v for k, v in content["model"].items()}
        content["config"] = {**content["config"], "root": None, "out": None}
        path = HERE / "checkpoints" / f"{e.folder.name}_{name}.pt"
        save_atomically(content, path)
        model, _ = load_model(path)
        scores = panoptic_quality(model, run.splits.test, run.device).result()
        rows.append({"checkpoint": path.name, "MB": f"{path.stat().st_size / 1e6:.2f}", **two_digits(scores)})
    report(
        "checkpoints",
        "Checkpoints in the repository",
        rows,
        f"Seed {e.seeds[0]}, in half precision, on the test split.",
    )


def figure4(e: Experiment, report: Callable[..., None]) -> None:
    """The surrogate over the iterations, with one scale and with five."""
    lines = {}
    for name in e.compared("figure4"):
        run, _ = e.model(e.seeds[0], name)
        lines[f"N = {run.config.objective(name).num_lambdas}"] = logged(run, name, "surrogate_pq")
    rows = [
        {
            "N": label,
            **{f"steps {a}-{a + 24}": f"{values[a - 1 : a + 24].mean():.2f}" for a in range(1, len(values), 25)},
        }
        for label, (_, values) in lines.items()
    ]
    report("figure4", "Figure 4: number of scales", rows, "Surrogate PQ of the training batches, seed "
           f"{e.seeds[0]}.", curves(lines, "iteration", "PQ surrogate"))  # fmt: skip


def figure5(e: Experiment, report: Callable[..., None]) -> None:
    """The surrogate on the training batches against exact PQ on the validation split."""
    (name,) = e.compared("figure5")
    run, _ = e.model(e.seeds[0], name)
    lines = {"surrogate, training": logged(run, name, "surrogate_pq")}
    lines["exact, validation"] = logged(run, name, "validation_pq")
    steps, exact = lines["exact, validation"]
    near = [lines["surrogate, training"][1][max(0, s - 25) : s].mean() for s in steps]
    rows = [
        {"step": int(s), "surrogate, mean of 25 batches": f"{a:.2f}", "exact PQ, validation": f"{b:.2f}"}
        for s, a, b in zip(steps, near, exact, strict=True)
    ]
    report("figure5", "Figure 5: surrogate and exact PQ", rows, f"Seed {e.seeds[0]}.", curves(lines, "iteration", "PQ"))


def figure6(e: Experiment, report: Callable[..., None]) -> None:
    """Pictures of the first test images (figures 6 and 9)."""
    found = {}
    for name in e.compared("figure6"):
        run, model = e.model(e.seeds[0], name)
        shown = Subset(run.splits.test, range(min(3, len(run.splits.test))))
        found[name] = list(predictions(model, shown, run.device))
    rows = []
    for i in range(len(shown)):
        results = {name: pairs[i][1] for name, pairs in found.items()}
        report.picture(f"figure6-{i}", lambda path, i=i, r=results: comparison(  # type: ignore[attr-defined]
            path, shown[i], r, shown.categories, run.config.model.distances))  # fmt: skip
        rows.append({"image": shown[i].name, **{n: len(r.segments) for n, r in results.items()}})
    report("figure6", "Figures 6 and 9: pictures", rows, "Number of segments found.")


WHAT = {f.__name__: f for f in (*TABLES, *QUESTIONS, figure4, figure5, figure6, checkpoints)}


def main(arguments: list[str] | None = None) -> None:
    """Print and write one table or figure, or all."""
    parser = ArgumentParser(description="Reproduce the paper's tables and figures on small data.")
    parser.add_argument("what", type=Literal[(*WHAT, "all")], help="which table or figure")  # type: ignore[valid-type]
    parser.add_argument(
        "--data", type=Literal[("scenes", *CONFIGURED, "coco", "cityscapes", "folder")], default="scenes"
    )
    parser.add_argument("--root", type=str | None, help="data folder")
    resolution = "cuts are made on pixels, on the network's grid, or on pixels with a network whose grid has them too"
    parser.add_argument("--resolution", type=Literal["pixels", "grid", "fine"], default="pixels", help=resolution)
    parser.add_argument("--views", type=VIEWS_OF_IMAGE, default=1, help=f"for every score: {VIEWS_HELP}")
    parser.add_argument("--seeds", type=list[int], default=[0])
    parser.add_argument(
        "--models", type=list[Literal[tuple(RECIPES)]] | None, help="of a table that compares several; all by default"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/reproduce"))
    parser.add_argument("--results", type=Path, default=HERE.parents[1] / "docs" / "results")
    parser.add_argument("--threads", type=int | None, help="torch threads; results differ in the last digits with them")
    parser.add_argument("--max_steps", type=int | None, help="cut every stage: a trial run")
    o = parser.parse_args(arguments)
    try:
        _reproduce(o)
    except (DataError, CheckpointError, ValueError, FloatingPointError, OSError) as error:
        parser.exit(2, f"reproduce.py: error: {error}\n")


def _settings(data: str) -> Config:
    """The settings of a data set: its file in configs/, or the defaults."""
    if data not in CONFIGURED:
        return Config(data=data)  # type: ignore[arg-type]
    parser = ArgumentParser()
    parser.add_class_arguments(Config)
    return config_from_dict(parser.parse_path(HERE / "configs" / f"{data}.yaml").as_dict())


def _reproduce(o: Any) -> None:
    from train import shortened

    threads = min(4, get_num_threads()) if o.threads is None else o.threads
    config = replace(_settings(o.data), root=o.root, threads=threads).resolved()
    second = [name for name in SECOND_STAGE if o.models is None or name in o.models]
    config = replace(config, finetune=replace(config.finetune, models=second))
    name = o.data
    if o.resolution == "grid":
        config, name = config.on_grid(), f"{name}-grid"
    elif o.resolution == "fine":
        config, name = config.fine(), f"{name}-fine"
    if o.max_steps is not None:  # beside the real runs and results, which it must not replace
        config, name = shortened(config, o.max_steps), f"{name}-trial"
    for seed in o.seeds:
        check_ranges(replace(config, seed=seed))
    torch.set_num_threads(threads)
    runs, results = o.runs / name, o.results / (f"{name}-views{o.views}" if o.views != 1 else name)
    experiment = Experiment(replace(config, out=None), runs, o.seeds, o.models, o.views)
    everything = [name for name in WHAT if name != "checkpoints"]
    with contextlib.ExitStack() as stack:
        for seed in o.seeds:
            stack.enter_context(locked(runs / f"seed{seed}", "is training in"))
        for what in everything if o.what == "all" else (o.what,):
            WHAT[what](experiment, save(results, _command(o, what)))


def _command(o: Any, what: str) -> str:
    """The command that makes one table or figure; where the data and the results are makes no difference."""
    command = f"python examples/panoptic_cops/reproduce.py {what} --data {o.data}"
    command += " --root FOLDER" if o.root else ""
    command += f" --resolution {o.resolution}" if o.resolution != "pixels" else ""
    command += f" --views {o.views}" if o.views != 1 else ""
    command += f' --models "[{",".join(o.models)}]"' if o.models else ""
    command += f' --seeds "[{",".join(map(str, o.seeds))}]"' if o.seeds != [0] else ""
    command += f" --threads {o.threads}" if o.threads is not None else ""
    command += f" --max_steps {o.max_steps}" if o.max_steps is not None else ""
    return command


if __name__ == "__main__":
    run_command(main, "reproduce.py")
