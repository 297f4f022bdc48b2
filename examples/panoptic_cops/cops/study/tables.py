"""The tables of the paper, with our models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from diffcomb import get_num_threads

from ..recipes import BASELINE
from ..scores.measure import at_resolution, truth_on_grid, with_true_classes
from .experiments import Experiment, time_of_an_iteration
from .report import ROWS, SEEDS, TIMES
from .rows import PANOPTIC, difference, rows_of, two_digits, with_spread


def table1(e: Experiment, report: Callable[..., None]) -> None:
    """Baseline, controls and training through the solver; and the paired differences to the best control."""
    controls = e.table(e.controls, "PQ")
    lines = []
    for name in e.through:
        ours = e.table([name], "PQ")[0]
        for label, other in (("the baseline", controls[0]), ("the best control of each seed", controls.max(0))):
            lines.append(difference(name, ours, label, other))
    title = "Table 1: does training through the solver pay?"
    report("table1", title, rows_of(e, (*e.controls, *e.through), PANOPTIC) + ROWS["table1"], "\n".join(lines))


def table3(e: Experiment, report: Callable[..., None]) -> None:
    """Time of the parts of one iteration."""
    run, model = e.model(e.seeds[0], BASELINE)
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
    rows = rows_of(e, e.compared("table4"), PANOPTIC[:3])
    report("table4", "Table 4: losses on the solver's output", rows + ROWS["table4"])


def table5(e: Experiment, report: Callable[..., None]) -> None:
    """PQ of every seed."""
    lines = dict(zip((*e.controls, *e.through), e.table((*e.controls, *e.through), "PQ"), strict=True))
    if len(e.seeds) == len(SEEDS):
        lines["paper: full, 1,500 iterations"] = np.array(SEEDS)
    rows = []
    for name, values in lines.items():
        own = {f"seed {s}": f"{v:.2f}" for s, v in zip(e.seeds, values, strict=True)}
        rows.append({"model": name, **own, "mean ± sd": with_spread(values)})
    report("table5", "Table 5: PQ of every seed", rows)


def table6(e: Experiment, report: Callable[..., None]) -> None:
    """Instance AP with the score of eq. 12, and mean IoU of the classes."""
    rows = rows_of(e, (*e.controls, *e.through), ("AP", "AP50", "mIoU")) + ROWS["table6"]
    report("table6", "Table 6: instance and semantic segmentation", rows)


def table7(e: Experiment, report: Callable[..., None]) -> None:
    """Boundary panoptic quality."""
    rows = rows_of(e, (*e.controls, *e.through), ("PQ_b", "SQ_b", "RQ_b")) + ROWS["table7"]
    report("table7", "Table 7: boundary quality", rows, "Boundaries are 2 % of the image's diagonal wide.")


def table8(e: Experiment, report: Callable[..., None]) -> None:
    """The cut on the network's grid, and on pixels."""
    rows = []
    for name in e.compared("table8"):
        run, model = e.model(e.seeds[0], name)
        for grid, full in ((f"1/{model.stride}", False), ("1", True)):
            own = at_resolution(model, run.splits.test, run.device, full)
            rows.append({"model": name, "grid": grid, **two_digits(own)})
    truth = truth_on_grid(run.splits.test, model.stride)
    rows.append({"model": "ground truth, read at the cells", "grid": f"1/{model.stride}", **two_digits(truth)})
    note = f"Seed {e.seeds[0]}; seconds an image, of ours without the network."
    report("table8", "Table 8: the cut at full resolution", rows + ROWS["table8"], note)


def table9(e: Experiment, report: Callable[..., None]) -> None:
    """PQ with true classes and the network's affinities."""
    rows = []
    for name in e.compared("table9"):
        run, model = e.model(e.seeds[0], name)
        oracle = with_true_classes(model, run.splits.test, run.device)
        own = {k: e.scores(e.seeds[0], name)[k] for k in PANOPTIC[:3]}
        rows.append({"model": name, **two_digits(own), **two_digits({f"{k}, oracle": oracle[k] for k in own})})
    report("table9", "Table 9: semantic oracle", rows + ROWS["table9"], f"Seed {e.seeds[0]}.")


TABLES = (table1, table3, table4, table5, table6, table7, table8, table9)
