"""Every table and figure of the paper, on data that a CPU can train: one command each.

    python examples/panoptic_cops/reproduce.py table1 --data scenes
    python examples/panoptic_cops/reproduce.py all --data nuclei --root FOLDER --seeds "[0,1,2,3,4,5]"

Models that a table needs are trained if their run folder lacks them (about ten minutes a seed for all of the second
stage), so an interrupted command goes on where it stood. Results go to --results as Markdown and SVG, with the command.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from cops.alignment import align
from cops.checkpoints import CheckpointError, load_checkpoint, save_atomically
from cops.coco import DataError
from cops.config import Config
from cops.data import Subset
from cops.evaluation import panoptic_quality, predictions
from cops.experiments import Experiment, interval, logged, time_of_an_iteration
from cops.measure import at_resolution, with_rules, with_true_classes
from cops.models import load_model
from cops.paper import ROWS, SEEDS, TIMES
from cops.pictures import comparison
from cops.report import curves, save
from cops.stages import MODELS
from jsonargparse import ArgumentParser

from diffcomb import get_num_threads

HERE = Path(__file__).parent
THROUGH = ("full", "full_svm")
PANOPTIC = ("PQ", "PQ_th", "PQ_st", "SQ", "RQ")


def table1(e: Experiment, report: Callable[..., None]) -> None:
    """Baseline, controls and training through the solver; and the paired differences to the best control."""
    controls = e.table(e.controls, "PQ")
    lines = []
    for name in THROUGH:
        ours = e.table([name], "PQ")[0]
        for label, other in (("the baseline", controls[0]), ("the best control of each seed", controls.max(0))):
            mean, half = interval(ours - other)
            lines.append(
                f"- {name} minus {label}: {mean:+.2f} ± {half:.2f} (95 % interval), better in "
                f"{int((ours > other).sum())} of {len(ours)} seeds"
            )
    title = "Table 1: does training through the solver pay?"
    report("table1", title, _models(e, (*e.controls, *THROUGH), PANOPTIC) + ROWS["table1"], "\n".join(lines))


def table3(e: Experiment, report: Callable[..., None]) -> None:
    """Time of the parts of one iteration."""
    run, model = e.model(e.seeds[0], "baseline")
    spent = time_of_an_iteration(run, model)
    row = {f"{name}, ms": f"{1000 * value:.0f}" for name, value in spent.items()}
    note = (
        f"Batch of {run.config.finetune.batch} crops of {run.config.dataset.size} pixels, "
        f"{torch.get_num_threads()} torch threads, {get_num_threads()} solver threads. AMWC is the forward solve, MWC "
        f"all N = 5 perturbed ones. {TIMES}"
    )
    report("table3", "Table 3: time of one iteration", [row], note)


def table4(e: Experiment, report: Callable[..., None]) -> None:
    """The panoptic surrogate against separate losses on classes and edges, and other losses through the solver."""
    names = ("full", "full_reference", "separate", "full_all_layers", "full_svm", "fenchel_young", "combined")
    report("table4", "Table 4: losses on the solver's output", _models(e, names, PANOPTIC[:3]) + ROWS["table4"])


def calibrated(e: Experiment, report: Callable[..., None]) -> None:
    """What training adds to a network that is calibrated already, and what the search adds after training."""
    rows = _models(
        e, (e.calibrated, "mean_on", "svm_on", "full_on", "mean_searched", "full_svm", "svm_searched"), PANOPTIC
    )
    note = (
        f"*_on*: as many steps again from {e.calibrated}, with plain means, the structured SVM, or the surrogate. "
        f"*_searched*: scales and offsets of {e.calibrated} and full_svm by search."
    )
    report("calibrated", "From calibrated models", rows, note)


def single(e: Experiment, report: Callable[..., None]) -> None:
    """One stage from scratch, through the solver and without it, against two stages."""
    rows = _models(e, ("baseline", e.calibrated, "full_svm", "single_mean", "single_svm"), PANOPTIC)
    report("single", "One stage from scratch", rows)


def alignment(e: Experiment, report: Callable[..., None]) -> None:
    """Where gradients point, against finite differences of exact PQ along every scale and offset of the costs."""
    rows, lines = [], []
    for model_name in ("baseline", e.calibrated):
        run, model = e.model(e.seeds[0], model_name)
        found = align(run.config, model, run.splits.validation, run.device, run.config.finetune.batch or 1)
        t_values = {f"t of {name}": found.t_value(name) for name in found.gradients}
        for i, direction in enumerate(found.directions):
            truth = {"exact PQ": f"{found.exact[i]:+.2f}", "surrogate PQ": f"{found.surrogate[i]:+.2f}"}
            values = {name: f"{t[i]:+.1f}" for name, t in t_values.items()}
            rows.append({"model": model_name, "direction": direction, **truth, **values})
        for name in found.gradients:
            exact, soft = found.cosine(name, found.exact), found.cosine(name, found.surrogate)
            lines.append(f"- {model_name}, {name}: cosine {exact:+.2f} with exact PQ, {soft:+.2f} with surrogate PQ")
    note = (
        "Points of PQ for one unit of the direction, by central differences on the validation split, and the t-value "
        "of each loss's descent direction over batches: signs should agree where t is large.\n\n" + "\n".join(lines)
    )
    report("alignment", "Alignment: what does a gradient say about PQ?", rows, f"Seed {e.seeds[0]}. {note}")


def checkpoints(e: Experiment, report: Callable[..., None]) -> None:
    """Small copies of trained models, in half precision, for evaluate.py and predict.py."""
    rows = []
    for name in ("baseline", e.calibrated, *THROUGH):
        run, _ = e.model(e.seeds[0], name)
        content = load_checkpoint(run.checkpoint(name))
        content["model"] = {k: v.half() if v.is_floating_point() else v for k, v in content["model"].items()}
        content["config"] = {**content["config"], "root": None, "out": None}
        path = HERE / "checkpoints" / f"{e.folder.name}_{name}.pt"
        save_atomically(content, path)
        model, _ = load_model(path)
        scores = panoptic_quality(model, run.splits.test, run.device).result()
        rows.append({"checkpoint": path.name, "MB": f"{path.stat().st_size / 1e6:.2f}", **_two_digits(scores)})
    report(
        "checkpoints",
        "Checkpoints in the repository",
        rows,
        f"Seed {e.seeds[0]}, in half precision, on the test split.",
    )


def table5(e: Experiment, report: Callable[..., None]) -> None:
    """Every seed."""
    lines = dict(zip((*e.controls, *THROUGH), e.table((*e.controls, *THROUGH), "PQ"), strict=True))
    if len(e.seeds) == len(SEEDS):
        lines["paper: full, 1,500 iterations"] = np.array(SEEDS)
    rows = []
    for name, values in lines.items():
        own = {f"seed {s}": f"{v:.2f}" for s, v in zip(e.seeds, values, strict=True)}
        rows.append({"model": name, **own, "mean ± sd": _with_spread(values)})
    report("table5", "Table 5: PQ of every seed", rows)


def table6(e: Experiment, report: Callable[..., None]) -> None:
    """Instance AP with the score of eq. 12, and mean IoU of the classes."""
    rows = _models(e, (*e.controls, *THROUGH), ("AP", "AP50", "mIoU")) + ROWS["table6"]
    report("table6", "Table 6: instance and semantic segmentation", rows)


def table7(e: Experiment, report: Callable[..., None]) -> None:
    """Boundary panoptic quality."""
    rows = _models(e, (*e.controls, *THROUGH), ("PQ_b", "SQ_b", "RQ_b")) + ROWS["table7"]
    report("table7", "Table 7: boundary quality", rows, "Boundaries are 2 % of the image's diagonal wide.")


def table8(e: Experiment, report: Callable[..., None]) -> None:
    """The cut on the network's grid, and on pixels."""
    rows = []
    for name in THROUGH:
        run, model = e.model(e.seeds[0], name)
        for grid, full in ((f"1/{model.stride}", False), ("1", True)):
            own = at_resolution(model, run.splits.test, run.device, full)
            rows.append({"model": name, "grid": grid, **_two_digits(own)})
    note = f"Seed {e.seeds[0]}; seconds an image, of ours without the network."
    report("table8", "Table 8: the cut at full resolution", rows + ROWS["table8"], note)


def table9(e: Experiment, report: Callable[..., None]) -> None:
    """True classes, the network's affinities."""
    rows = []
    for name in ("baseline", *THROUGH):
        run, model = e.model(e.seeds[0], name)
        oracle = with_true_classes(model, run.splits.test, run.device)
        own = {k: e.scores(e.seeds[0], name)[k] for k in PANOPTIC[:3]}
        rows.append({"model": name, **_two_digits(own), **_two_digits({f"{k}, oracle": oracle[k] for k in own})})
    report("table9", "Table 9: semantic oracle", rows + ROWS["table9"], f"Seed {e.seeds[0]}.")


def comparators(e: Experiment, report: Callable[..., None]) -> None:
    """The same network outputs under other rules than the AMWC."""
    rows = []
    for name in ("baseline", e.calibrated, "full_svm"):
        run, model = e.model(e.seeds[0], name)
        for row in with_rules(model, run.splits.test, run.device):
            kept = {k: row[k] for k in (*PANOPTIC, "ms an image")}
            rows.append({"network": name, "rule": row["rule"], **_two_digits(kept)})
    deeplab = e.scores(e.seeds[0], "panoptic_deeplab")
    kept = {k: deeplab[k] for k in PANOPTIC}
    rows.append({"network": "Panoptic-DeepLab", "rule": "centres and offsets", **_two_digits(kept)})
    report("comparators", "Other rules on the same network outputs", rows, f"Seed {e.seeds[0]}.")


def figure4(e: Experiment, report: Callable[..., None]) -> None:
    """One scale against five: the surrogate over the iterations."""
    lines = {}
    for name, label in (("full", "N = 5"), ("full_n1", "N = 1")):
        run, _ = e.model(e.seeds[0], name)
        lines[label] = logged(run, name, "surrogate_pq")
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
    run, _ = e.model(e.seeds[0], "full")
    lines = {"surrogate, training": logged(run, "full", "surrogate_pq")}
    lines["exact, validation"] = logged(run, "full", "validation_pq")
    steps, exact = lines["exact, validation"]
    near = [lines["surrogate, training"][1][max(0, s - 25) : s].mean() for s in steps]
    rows = [
        {"step": int(s), "surrogate, mean of 25 batches": f"{a:.2f}", "exact PQ, validation": f"{b:.2f}"}
        for s, a, b in zip(steps, near, exact, strict=True)
    ]
    report("figure5", "Figure 5: surrogate and exact PQ", rows, f"Seed {e.seeds[0]}.", curves(lines, "iteration", "PQ"))


def figure6(e: Experiment, report: Callable[..., None]) -> None:
    """Pictures of the first test images (figures 6 and 9)."""
    names = ("baseline", e.calibrated, "full", "full_svm")
    found = {}
    for name in names:
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


TABLES = (table1, table3, table4, table5, table6, table7, table8, table9, comparators, calibrated, single, alignment)
WHAT = {f.__name__: f for f in (*TABLES, figure4, figure5, figure6, checkpoints)}


def _models(e: Experiment, names: Sequence[str], keys: Sequence[str]) -> list[dict[str, str]]:
    """One row a model: scores on the test split, mean and standard deviation over the seeds."""
    return [{"model": name, **{key: _with_spread(e.table([name], key)[0]) for key in keys}} for name in names]


def _with_spread(values: np.ndarray) -> str:
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def _two_digits(values: dict[str, float]) -> dict[str, str]:
    return {name: f"{value:.3f}" if "seconds" in name else f"{value:.2f}" for name, value in values.items()}


def main(arguments: list[str] | None = None) -> None:
    """Print and write one table or figure, or all."""
    parser = ArgumentParser(description="Reproduce the paper's tables and figures on small data.")
    parser.add_argument("what", type=Literal[(*WHAT, "all")], help="which table or figure")  # type: ignore[valid-type]
    parser.add_argument("--data", type=Literal["scenes", "nuclei", "coco", "cityscapes", "folder"], default="scenes")
    parser.add_argument("--root", type=str | None, help="data folder")
    parser.add_argument("--resolution", type=Literal["pixels", "grid"], default="pixels", help="where cuts are made")
    parser.add_argument("--seeds", type=list[int], default=[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/reproduce"))
    parser.add_argument("--results", type=Path, default=HERE.parents[1] / "docs" / "results")
    parser.add_argument("--threads", type=int | None, help="torch threads; results differ in the last digits with them")
    parser.add_argument("--max_steps", type=int | None, help="cut every stage: a trial run")
    o = parser.parse_args(arguments)
    try:
        _reproduce(o)
    except (DataError, CheckpointError, ValueError, FloatingPointError, OSError) as error:
        parser.exit(2, f"reproduce.py: error: {error}\n")


def _reproduce(o: Any) -> None:
    from train import shortened

    threads = o.threads or min(4, get_num_threads())
    torch.set_num_threads(threads)
    config = Config(data="coco" if o.data == "nuclei" else o.data, root=o.root, threads=threads).resolved()
    config = replace(config, finetune=replace(config.finetune, models=[m for m in MODELS if m != "baseline"]))
    name = o.data
    if o.resolution == "grid":
        config, name = config.on_grid(), f"{name}-grid"
    folder = o.runs / name
    if o.max_steps is not None:
        config, folder = shortened(config, o.max_steps), o.runs / f"{name}-trial"
    experiment = Experiment(replace(config, out=None), folder, o.seeds)
    everything = [name for name in WHAT if name != "checkpoints"]
    for what in everything if o.what == "all" else (o.what,):
        command = f"python examples/panoptic_cops/reproduce.py {what} --data {o.data}"
        command += " --root FOLDER" if o.root else ""
        command += " --resolution grid" if o.resolution == "grid" else ""
        if o.seeds != [0]:
            command += f' --seeds "[{",".join(map(str, o.seeds))}]"'
        WHAT[what](experiment, save(o.results / name, command))


if __name__ == "__main__":
    main()
