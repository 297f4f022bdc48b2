"""Tables beyond the paper: what training through the solver gains, against what, and why."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from ..recipes import BASELINE, DEEPLAB, FAST, LONGER, RECIPES
from ..scores.measure import best_overlaps, found_by_area, with_noisy_truth, with_rules
from ..scores.neurites import READING
from ..scores.rules import RULES, by_threshold
from ..surrogate import slope_of_threshold
from .alignment import align
from .experiments import Experiment
from .rows import ALL_SCORES, PANOPTIC, difference, rows_of, seed_by_seed, to_the_first, two_digits, with_spread

AREAS = (25, 50, 100, 200, 400)  # pixels
WRONG = (0.0, 0.1, 0.2)  # shares of false classes and edges
THRESHOLDS = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)  # of edge costs
OVERLAPS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


def claim(e: Experiment, report: Any) -> None:
    """Every model with every score, and what each gains that is trained through the solver over all that are not.

    All scores of every seed go to claim.json.
    """
    names = tuple(dict.fromkeys(e.compared("claim")))  # on the grid two are the same
    through = [name for name in names if RECIPES[name].through_solver]
    without = [name for name in names if not RECIPES[name].through_solver]
    if not through:
        raise ValueError(f"claim needs a model that is trained through the solver, got {', '.join(names)}")
    one_start = [name for name in without if RECIPES[name].start is not None or name == BASELINE]
    best, best_of_all = (e.table(group, "PQ").max(0) for group in (one_start, without))
    solved = {name: e.table([name], "PQ")[0] for name in through}
    solved["the best model through the solver"] = np.max(list(solved.values()), 0)
    lines = []
    for name, ours in solved.items():
        line = seed_by_seed if name not in through else difference
        lines.append(line(name, ours, "the best of the baseline and its controls, seed by seed", best))
        lines.append(line(name, ours, "the best of all models without the solver", best_of_all))
    lines.append(f"\n{READING}")
    report.numbers("claim", {f"seed {seed}": {name: e.scores(seed, name) for name in names} for seed in e.seeds})
    rows = rows_of(e, names, (*PANOPTIC, "AP", "PQ_b", "VI_split", "VI_merge", "ARE"))
    report("claim", "Does training through the solver pay?", rows, "\n".join(lines))


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
        rows.append({"model": name, **{key: with_spread(value) for key, value in values.items()}})
    note = f"{READING} VI is the sum of its two parts. Models beside those of table 1 are trained for every seed."
    report("neurites", "Splits and mergers of neurites", rows, note)


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


def rates(e: Experiment, report: Callable[..., None]) -> None:
    """The losses on the heads alone at the paper's rates, and on all layers at those of the structured SVM."""
    rows = []
    for name, scores in zip(e.compared("rates"), rows_of(e, e.compared("rates"), PANOPTIC), strict=True):
        o = e.config.objective(name)
        assert o is not None
        layers = {"layers": o.layers, "rate": f"{o.head_lr:g}", "of scales and offsets": f"{o.scale_lr:g}"}
        rows.append({"model": name, "loss": o.loss, **layers, **{k: scores[k] for k in PANOPTIC}})
    report("rates", "Which layers learn, and how fast", rows)


def reach(e: Experiment, report: Callable[..., None]) -> None:
    """How much of the surrogate's gradient reaches true segments, by how well they are found."""
    rows = []
    for name in e.compared("reach"):
        run, model = e.model(e.seeds[0], name)
        overlaps = best_overlaps(model, run.splits.validation, run.device)
        slopes = slope_of_threshold(overlaps)
        for low, high in pairwise(OVERLAPS):
            here = (overlaps >= low) & (overlaps < high if high < 1 else True)
            share = {
                "% of true segments": f"{100 * here.mean():.1f}",
                "% of slopes": f"{100 * _part(slopes, here):.1f}",
            }
            rows.append({"model": name, "best IoU": f"{low:g} to {high:g}", **share})
    note = (
        f"True segments of the validation split, seed {e.seeds[0]}, by their IoU with the best predicted segment of "
        "their class. A slope is the derivative of the soft threshold h of eq. 6 at that IoU: a segment that is missed "
        "completely sends no gradient, however many there are."
    )
    report("reach", "What the surrogate's gradient reaches", rows, note)


def ceiling(e: Experiment, report: Callable[..., None]) -> None:
    """What true classes and edges score with a share of errors, and a network that is trained three times as long."""
    run, model = e.model(e.seeds[0], BASELINE)
    places = [(model.stride, False)] + ([(1, True)] if model.full_resolution else [])
    rows = []
    for stride, pixels in places:
        for wrong in WRONG:
            found = with_noisy_truth(model, run.splits.test, wrong, pixels)
            rows.append({"costs": f"truth at 1/{stride}, {100 * wrong:g} % wrong", **two_digits(found)})
    for name in e.compared("ceiling"):
        scores = e.scores(e.seeds[0], name)
        rows.append({"costs": name, **two_digits({k: scores[k] for k in ("PQ", "SQ", "RQ")})})
    note = f"Test split, seed {e.seeds[0]}; *_long*: {LONGER} times the steps."
    report("ceiling", "How much is there to gain?", rows, note)


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


def calibrated(e: Experiment, report: Callable[..., None]) -> None:
    """Gain of further training from calibrated models, and of the search after training."""
    names = e.compared("calibrated")
    rows = rows_of(e, names, PANOPTIC)
    note = (
        f"*_on*: as many steps again from {names[0]}, with plain means, the structured SVM, or the surrogate. "
        f"*_searched*: scales and offsets of {names[0]} and full_svm by search."
    )
    report("calibrated", "From calibrated models", rows, note)


def single(e: Experiment, report: Callable[..., None]) -> None:
    """One stage from scratch, through the solver and without it, against two stages."""
    rows = rows_of(e, e.compared("single"), PANOPTIC)
    report("single", "One stage from scratch", rows)


def single_seeds(e: Experiment, report: Callable[..., None]) -> None:
    """One stage from scratch with several seeds: through the solver against plain means."""
    names = e.compared("single_seeds")
    title = "One stage from scratch, several seeds"
    report("single_seeds", title, rows_of(e, names, ALL_SCORES[:8]), "\n".join(to_the_first(e, names)))


def losses(e: Experiment, report: Callable[..., None]) -> None:
    """Losses that people of this field know, on the same network and budget: one stage from scratch."""
    _losses(e, report, "losses", "Losses beside the structured SVM")


def losses_after(e: Experiment, report: Callable[..., None]) -> None:
    """The same losses as people use them: in a second stage, after the losses of pre-training."""
    _losses(e, report, "losses_after", "Losses beside the structured SVM, after the baseline")


def threshold(e: Experiment, report: Callable[..., None]) -> None:
    """The same networks cut by the AMWC, and by a threshold, for which MALIS is made."""
    cuts = {"threshold of 0": by_threshold(0.0), "AMWC": RULES["AMWC, multilevel, effort 0"]}
    chosen = {f"{value:g}": by_threshold(value) for value in THRESHOLDS}
    rows = []
    for name in e.compared("threshold"):
        found: dict[str, list[dict[str, Any]]] = {}
        for seed in e.seeds:
            run, model = e.model(seed, name)
            best = max(with_rules(model, run.splits.validation, run.device, chosen), key=lambda row: row["PQ"])["rule"]
            rules = {**cuts, "chosen threshold": chosen[best]}
            for row in with_rules(model, run.splits.test, run.device, rules):
                found.setdefault(row["rule"], []).append(row)
        for rule, scored in found.items():
            scores = {key: with_spread(np.array([row[key] for row in scored])) for key in PANOPTIC}
            rows.append({"network": name, "cut by": rule, **scores})
    levels = ", ".join(chosen)
    note = f"Edges of all lengths connect whose cost is above the threshold: 0, or the best on validation of {levels}."
    report("threshold", "A threshold instead of a cut", rows, note)


def _losses(e: Experiment, report: Callable[..., None], table: str, title: str) -> None:
    names = e.compared(table)
    rows = rows_of(e, names, (*PANOPTIC, "AP", "PQ_b", "VI_split", "VI_merge", "ARE"))
    lines = to_the_first(e, names) if len(e.seeds) > 1 else [f"Seed {e.seeds[0]}."]
    report(table, title, rows, "\n".join((*lines, f"\n{READING}")))


def longer(e: Experiment, report: Callable[..., None]) -> None:
    """The best control, the structured SVM and the surrogate of all layers with more steps at a higher rate."""
    names = e.compared("longer")
    lines = to_the_first(e, names) if len(e.seeds) > 1 else []
    rates = f"{FAST:g} instead of 3e-4 (full_long: 3e-4 instead of 1e-4 for all layers)"
    lines.append(f"\n{LONGER} times as many steps as in table 1, at a rate of {rates}.")
    report("longer", "Longer training", rows_of(e, names, ALL_SCORES[:8]), "\n".join(lines))


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


QUESTIONS = (
    claim, neurites, sizes, comparators, rates, reach, ceiling, alignment, calibrated, single, single_seeds, losses,
    losses_after, threshold, longer, overview,
)  # fmt: skip


def _part(values: np.ndarray, chosen: np.ndarray) -> float:
    return float(values[chosen].sum() / max(values.sum(), 1e-300))
