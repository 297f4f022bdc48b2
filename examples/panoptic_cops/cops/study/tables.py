"""The tables: scores of the runs of an experiment in rows, and notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch

from diffcomb import get_num_threads

from ..recipes import BASELINE, DEEPLAB, FAST, LONGER, RECIPES
from ..scores.measure import at_resolution, found_by_area, truth_on_grid, with_rules, with_true_classes
from ..scores.neurites import READING
from .alignment import align
from .experiments import Experiment, interval, time_of_an_iteration
from .report import ROWS, SEEDS, TIMES

ALL_SCORES = ("PQ", "PQ_th", "PQ_st", "SQ", "RQ", "AP", "mIoU", "PQ_b", "SQ_b", "RQ_b", "VI_split", "VI_merge", "ARE")
AREAS = (25, 50, 100, 200, 400)  # pixels
PANOPTIC = ("PQ", "PQ_th", "PQ_st", "SQ", "RQ")


def table1(e: Experiment, report: Callable[..., None]) -> None:
    """Baseline, controls and training through the solver; and the paired differences to the best control."""
    controls = e.table(e.controls, "PQ")
    lines = []
    for name in e.through:
        ours = e.table([name], "PQ")[0]
        for label, other in (("the baseline", controls[0]), ("the best control of each seed", controls.max(0))):
            lines.append(_difference(name, ours, label, other))
    title = "Table 1: does training through the solver pay?"
    report("table1", title, _models(e, (*e.controls, *e.through), PANOPTIC) + ROWS["table1"], "\n".join(lines))


def claim(e: Experiment, report: Callable[..., None]) -> None:
    """Every model with every score, and what each gains that is trained through the solver over all that are not."""
    names = tuple(dict.fromkeys(e.compared("claim")))  # on the grid two are the same
    without = [name for name in names if not RECIPES[name].through_solver]
    one_start = [name for name in without if RECIPES[name].start is not None or name == BASELINE]
    best, best_of_all = (e.table(group, "PQ").max(0) for group in (one_start, without))
    lines = []
    for name in names:
        if RECIPES[name].through_solver:
            ours = e.table([name], "PQ")[0]
            lines.append(_difference(name, ours, "the best of the baseline and its controls, seed by seed", best))
            lines.append(_difference(name, ours, "the best of all models without the solver", best_of_all))
    lines.append(f"\n{READING}")
    rows = _models(e, names, (*PANOPTIC, "AP", "PQ_b", "VI_split", "VI_merge", "ARE"))
    report("claim", "Does training through the solver pay?", rows, "\n".join(lines))


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
    rows = _models(e, e.compared("table4"), PANOPTIC[:3])
    report("table4", "Table 4: losses on the solver's output", rows + ROWS["table4"])


def calibrated(e: Experiment, report: Callable[..., None]) -> None:
    """Gain of further training from calibrated models, and of the search after training."""
    names = e.compared("calibrated")
    rows = _models(e, names, PANOPTIC)
    note = (
        f"*_on*: as many steps again from {names[0]}, with plain means, the structured SVM, or the surrogate. "
        f"*_searched*: scales and offsets of {names[0]} and full_svm by search."
    )
    report("calibrated", "From calibrated models", rows, note)


def single(e: Experiment, report: Callable[..., None]) -> None:
    """One stage from scratch, through the solver and without it, against two stages."""
    rows = _models(e, e.compared("single"), PANOPTIC)
    report("single", "One stage from scratch", rows)


def single_seeds(e: Experiment, report: Callable[..., None]) -> None:
    """One stage from scratch with several seeds: through the solver against plain means."""
    names = e.compared("single_seeds")
    title = "One stage from scratch, several seeds"
    report("single_seeds", title, _models(e, names, ALL_SCORES[:8]), "\n".join(_to_the_first(e, names)))


def alignment(e: Experiment, report: Callable[..., None]) -> None:
    """Gradients against finite differences of exact PQ along every scale and offset of the costs."""
    rows, lines = [], []
    for model_name in e.compared("alignment"):
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


def table5(e: Experiment, report: Callable[..., None]) -> None:
    """PQ of every seed."""
    lines = dict(zip((*e.controls, *e.through), e.table((*e.controls, *e.through), "PQ"), strict=True))
    if len(e.seeds) == len(SEEDS):
        lines["paper: full, 1,500 iterations"] = np.array(SEEDS)
    rows = []
    for name, values in lines.items():
        own = {f"seed {s}": f"{v:.2f}" for s, v in zip(e.seeds, values, strict=True)}
        rows.append({"model": name, **own, "mean ± sd": _with_spread(values)})
    report("table5", "Table 5: PQ of every seed", rows)


def table6(e: Experiment, report: Callable[..., None]) -> None:
    """Instance AP with the score of eq. 12, and mean IoU of the classes."""
    rows = _models(e, (*e.controls, *e.through), ("AP", "AP50", "mIoU")) + ROWS["table6"]
    report("table6", "Table 6: instance and semantic segmentation", rows)


def table7(e: Experiment, report: Callable[..., None]) -> None:
    """Boundary panoptic quality."""
    rows = _models(e, (*e.controls, *e.through), ("PQ_b", "SQ_b", "RQ_b")) + ROWS["table7"]
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


def comparators(e: Experiment, report: Callable[..., None]) -> None:
    """Other rules than the AMWC on the same network outputs."""
    rows = []
    for name in e.compared("comparators"):
        run, model = e.model(e.seeds[0], name)
        for row in with_rules(model, run.splits.test, run.device):
            kept = {k: row[k] for k in (*PANOPTIC, "ms an image")}
            rows.append({"network": name, "rule": row["rule"], **two_digits(kept)})
    deeplab = e.scores(e.seeds[0], DEEPLAB)
    kept = {k: deeplab[k] for k in PANOPTIC}
    rows.append({"network": "Panoptic-DeepLab", "rule": "centres and offsets", **two_digits(kept)})
    report("comparators", "Other rules on the same network outputs", rows, f"Seed {e.seeds[0]}.")


def sizes(e: Experiment, report: Callable[..., None]) -> None:
    """Share of true segments that are found, by their size."""
    rows, lines = [], []
    for name in e.compared("sizes"):
        run, model = e.model(e.seeds[0], name)
        area, found = found_by_area(model, run.splits.test, run.device).T
        for low, high in pairwise((0, *AREAS, np.inf)):
            here = (area >= low) & (area < high)
            if here.any():
                pixels = f"{low:g} or more" if high == np.inf else f"{low:g}-{high - 1:g}"
                count = {"true segments": int(here.sum()), "found": int(found[here].sum())}
                rows.append({"model": name, "pixels": pixels, **count, "%": f"{100 * found[here].mean():.1f}"})
        missed = area[found == 0]
        if len(missed):
            commonest = np.bincount(missed).argmax()
            lines.append(
                f"- {name} misses {len(missed)} of {len(area)}; {(missed == commonest).sum()} of those have "
                f"{commonest} pixels, the commonest size"
            )
    note = f"Things of the test split, seed {e.seeds[0]}.\n\n" + "\n".join(lines)
    report("sizes", "Segments found, by size", rows, note)


def neurites(e: Experiment, report: Callable[..., None]) -> None:
    """Variation of information and adapted Rand error of the things: models of table 1, then others trained so far."""
    names = [*e.controls, *e.through]
    trained = set.intersection(*({name for name, _ in e.finished(seed)} for seed in e.seeds))
    names += [name for name in RECIPES if name in trained and name not in names]
    rows = []
    for name in names:
        split, merge = e.table([name], "VI_split")[0], e.table([name], "VI_merge")[0]
        values = {"PQ": e.table([name], "PQ")[0], "VI_split": split, "VI_merge": merge, "VI": split + merge}
        values["ARE"] = e.table([name], "ARE")[0]
        rows.append({"model": name, **{key: _with_spread(value) for key, value in values.items()}})
    note = f"{READING} VI is the sum of its two parts. Models beside those of table 1 are trained for every seed."
    report("neurites", "Splits and mergers of neurites", rows, note)


def longer(e: Experiment, report: Callable[..., None]) -> None:
    """The best control, the structured SVM and the surrogate of all layers with more steps at a higher rate."""
    names = e.compared("longer")
    lines = _to_the_first(e, names) if len(e.seeds) > 1 else []
    rates = f"{FAST:g} instead of 3e-4 (full_long: 3e-4 instead of 1e-4 for all layers)"
    lines.append(f"\n{LONGER} times as many steps as in table 1, at a rate of {rates}.")
    report("longer", "Longer training", _models(e, names, ALL_SCORES[:8]), "\n".join(lines))


def overview(e: Experiment, report: Callable[..., None]) -> None:
    """Every score of every model trained so far, and how long its stage took."""
    rows = []
    for seed in e.seeds:
        for name, seconds in e.finished(seed):
            found = e.scores(seed, name, ALL_SCORES)
            scores = {key: found[key] for key in ALL_SCORES}
            minutes = "" if seconds is None else f"{seconds / 60:.1f}"
            rows.append({"model": name, "seed": seed, "minutes": minutes, **two_digits(scores)})
    if not rows:
        raise ValueError(f"no model of seeds {list(e.seeds)} has been trained in {e.folder} yet")
    p, f = e.config.pretrain, e.config.finetune
    note = (
        f"{p.steps} steps with batches of {p.batch} for the baseline, {f.steps} with batches of {f.batch} after it ("
        f"*_long*: {LONGER} times as many). Minutes of that stage alone, validation included."
    )
    report("overview", "All models", rows, note)


TABLES = (
    claim, table1, table3, table4, table5, table6, table7, table8, table9, comparators, calibrated, single,
    single_seeds, longer, sizes, alignment, neurites, overview,
)  # fmt: skip


def _models(e: Experiment, names: Sequence[str], keys: Sequence[str]) -> list[dict[str, str]]:
    """One row a model: scores on the test split, mean and standard deviation over the seeds."""
    return [{"model": name, **{key: _with_spread(e.table([name], key)[0]) for key in keys}} for name in names]


def _difference(name: str, ours: np.ndarray, label: str, other: np.ndarray) -> str:
    """One line on the paired differences of two models over the seeds."""
    mean, half = interval(ours - other)
    spread = f" ± {half:.2f} (95 % interval)" if len(ours) > 1 else ""
    return f"- {name} minus {label}: {mean:+.2f}{spread}, better in {int((ours > other).sum())} of {len(ours)} seeds"


def _to_the_first(e: Experiment, names: Sequence[str]) -> list[str]:
    """One line on the paired differences of each model to the first one."""
    first, *others = e.table(names, "PQ")
    return [_difference(name, ours, names[0], first) for name, ours in zip(names[1:], others, strict=True)]


def _with_spread(values: np.ndarray) -> str:
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def two_digits(values: dict[str, float]) -> dict[str, str]:
    return {name: f"{value:.3f}" if "seconds" in name else f"{value:.2f}" for name, value in values.items()}
