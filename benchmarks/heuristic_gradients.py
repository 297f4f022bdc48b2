"""Compare estimators, scales and starts for a heuristic solver, in two experiments.

    python benchmarks/heuristic_gradients.py

*Fidelity* compares gradients through heuristics with those through the exact solver, on instances small enough for it:
their cosine, and the share of gradients that point uphill, <g, gradient> > 0.

*Descent* makes gradient steps directly on the costs of scenes, without a network. It measures how far the
panoptic-quality surrogate rises in twelve steps of equal length, and how long a step takes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from report import save
from tqdm import tqdm

from diffcomb import (
    IMLE,
    LPGD,
    AsymmetricMultiwayCutLayer,
    Blackbox,
    CentralDifference,
    FenchelYoung,
    LiftedMWC,
    LogGrid,
    NegativeIdentity,
    PerturbedOptimizer,
    Relative,
    StructuredSVM,
    Uniform,
    amwc,
    grid_graph,
    perturbed_grad,
    solver_loss,
)

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "examples" / "panoptic_cops"))

from cops.data.scenes import Scenes  # noqa: E402
from cops.data.targets import make_targets, offsets  # noqa: E402
from cops.surrogate import PanopticQualitySurrogate  # noqa: E402

DISTANCES = [1, 2, 4, 8]
THINGS = [k for k, c in enumerate(Scenes.categories) if c.isthing]
SOLVERS = {
    "exact": dict(solver="exact"),
    "multilevel, effort 8": dict(effort=8),
    "multilevel, effort 1": dict(effort=1),
    "multilevel, effort 0": dict(effort=0),
    "greedy": dict(solver="greedy"),
}


def fidelity(count: int) -> list[dict[str, object]]:
    """Cosine with the exact solver's gradient and share of uphill gradients, over `count` grids of 5x5."""
    graph = grid_graph((5, 5), [(0, 1), (1, 0), (0, 2), (2, 0)])
    parts = [_small_instance(graph, seed) for seed in range(count)]
    nodes, edges, truth_x, truth_y = (torch.from_numpy(np.stack(p)) for p in zip(*parts, strict=True))
    grads = [1 - 2 * truth_x, (1 - 2 * truth_y) * 0]  # of the Hamming distance to the true labels
    ranges = {"small": LogGrid(0.01, 0.1, 4), "middle": LogGrid(0.1, 1, 4), "large": LogGrid(1, 10, 4)}
    estimators: dict[str, Callable[..., object]] = {
        "black-box, cold": lambda s: Blackbox(s),
        "black-box, warm": lambda s: Blackbox(s, start="warm"),
        "black-box, cold + repair": lambda s: Blackbox(s, repair=True),
        "black-box, best + repair": lambda s: Blackbox(s, start="best", repair=True),
        "central, cold": lambda s: CentralDifference(s),
        "central, warm": lambda s: CentralDifference(s, start="warm"),
        "central, cold + repair": lambda s: CentralDifference(s, repair=True),
    }
    rows = []
    for name, schedule in tqdm(ranges.items(), desc="fidelity"):
        references: dict[str, torch.Tensor] = {}
        for kind, make in estimators.items():
            exact = references.setdefault(kind.split(",")[0], torch.empty(0))
            for solver, options in SOLVERS.items():
                if solver == "exact" and len(exact):
                    continue
                if solver == "greedy" and "warm" in kind:
                    continue  # greedy only merges clusters, so it hardly leaves a warm start
                f = perturbed_grad(amwc, estimator=make(Relative(schedule)))
                leaves = [nodes.clone().requires_grad_(), edges.clone().requires_grad_()]
                x, y, _ = f(*leaves, graph=graph, partitionable=[1, 2], **options)
                found = torch.autograd.grad([x, y], leaves, grads)
                flat = torch.cat([g.flatten(1) for g in found], 1)
                if solver == "exact":
                    references[kind.split(",")[0]] = exact = flat
                upstream = torch.cat([g.flatten(1) for g in grads], 1)
                alive = (exact.norm(dim=1) > 0) & (flat.norm(dim=1) > 0)
                cosine = torch.nn.functional.cosine_similarity(flat, exact, dim=1)[alive]
                rows.append(
                    {
                        "scales": name,
                        "estimator": kind,
                        "solver": solver,
                        "cosine with exact": float(cosine.mean()) if len(cosine) else None,
                        "exact is 0, %": 100 * float((exact.norm(dim=1) == 0).double().mean()),
                        "is 0, %": 100 * float((flat.norm(dim=1) == 0).double().mean()),
                        "uphill, %": 100 * float(((flat * upstream).sum(1) > 1e-9).double().mean()),
                    }
                )
    return rows


def pivot(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """A row for each estimator, a column for each solver."""
    found: dict[tuple[object, object], dict[str, object]] = {}
    for row in rows:
        key = row["scales"], row["estimator"]
        line = found.setdefault(key, {"scales": key[0], "estimator": key[1], "exact is 0, %": row["exact is 0, %"]})
        if row["solver"] != "exact":
            line[str(row["solver"])] = row["cosine with exact"]
            line["most uphill, %"] = max(line.pop("most uphill, %", 0.0), row["uphill, %"])
    return list(found.values())


def _small_instance(graph, seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    region = np.add.outer(np.arange(5) > rng.integers(0, 4), 2 * (np.arange(5) > rng.integers(0, 4))).ravel()
    label = rng.integers(0, 3, 4)[region]
    u, v = graph.edges.T
    cut = ((label[u] != label[v]) | ((label[u] > 0) & (region[u] != region[v]))).astype(float)
    nodes = 0.8 * rng.normal(size=(25, 3)) - np.eye(3)[label]
    return nodes, 1 - 2 * cut + 1.2 * rng.normal(size=len(u)), np.eye(3)[label], cut


@dataclass
class Way:
    """A way to get gradients: its name, an estimator or a loss, the perturbed solves of a step, and more options."""

    name: str
    method: object
    solves: int
    options: dict[str, object]


def ways() -> list[Way]:
    relative = {"relative [.01, 1]": Relative(LogGrid(0.01, 1, 5)), "relative [.1, 10]": Relative(LogGrid(0.1, 10, 5))}
    absolute = {"U[1, 20]": Uniform(1, 20, 5), "U[100, 5000]": Uniform(100, 5000, 5), "[1, 5000]": LogGrid(1, 5000, 5)}
    found = []
    for name, schedule in {**absolute, **relative}.items():
        for start, repair in (("cold", False), ("cold", True), ("warm", False), ("best", True)):
            label = f"black-box, {start}{' + repair' if repair else ''}, {name}"
            found.append(Way(label, Blackbox(schedule, start=start, repair=repair), 10 if start == "best" else 5, {}))
    for name in ("relative [.1, 10]", "U[100, 5000]"):
        schedule = {**absolute, **relative}[name]
        best = dict(start="cold", repair=True)
        found += [
            Way(f"black-box, warm, not radial, {name}", Blackbox(schedule, start="warm"), 5, dict(radial=False)),
            Way(f"black-box, cold + repair, not radial, {name}", Blackbox(schedule, **best), 5, dict(radial=False)),
            Way(f"central, warm, {name}", CentralDifference(schedule, start="warm"), 10, {}),
            Way(f"central, cold + repair, {name}", CentralDifference(schedule, **best), 10, {}),
            Way(f"LPGD average, rho 1, cold + repair, {name}", LPGD(schedule, rho=1.0, **best), 10, {}),
        ]
    found += [
        Way("I-MLE, Gumbel 0.3, relative 1, 5 samples", IMLE(Relative(1.0), sigma=0.3, samples=5), 10, {}),
        Way("perturbed optimiser, sigma 0.3, 10 samples", PerturbedOptimizer(0.3, 10), 10, {}),
        Way("negative identity, mean over classes", NegativeIdentity("mean", axis=-1), 0, {}),
        Way("Fenchel-Young, sigma 0.3, 5 samples (knows the truth)", FenchelYoung(0.3, 5), 5, {}),
        Way("structured SVM, margin 1 (knows the truth)", StructuredSVM(1.0), 1, {}),
    ]
    return found


def descend(count: int, sizes: tuple[int, ...], steps: int = 12) -> list[dict[str, object]]:
    """Make twelve gradient steps on the costs of `count` scenes of each size, in every way."""
    cases = [(size, solver, way) for size in sizes for solver in ("multilevel", "greedy") for way in ways()]
    rows = []
    for size, solver, way in tqdm(cases, desc="descending"):
        if solver == "greedy" and (size != sizes[0] or "warm" in way.name or "best" in way.name):
            continue
        scenes = Scenes(count, 7, 2 * size)
        targets = make_targets([scenes[i] for i in range(count)], scenes.categories, DISTANCES, 2, 60)
        scores, spent = _descent(targets, scenes.categories, solver, way, steps)
        rows.append(
            {
                "nodes": f"{size}x{size}",
                "solver": solver,
                "gradient": way.name,
                "before": scores[0],
                "after 4": scores[4],
                "after 12": scores[-1],
                "solves a step": way.solves,
                "ms a scene and step": 1000 * spent / steps / count,
            }
        )
    return rows


def _descent(targets, categories, solver: str, way: Way, steps: int) -> tuple[list[float], float]:
    thresholds = torch.tensor([20.0 if c.isthing else 80.0 for c in categories])
    surrogate = PanopticQualitySurrogate(thresholds, 4.0)
    options = dict(solver=solver, effort=0)
    judge = AsymmetricMultiwayCutLayer(offsets(DISTANCES), THINGS, anchor="center", **options)
    generator = torch.Generator().manual_seed(0)
    costs, scores, spent = _costs(targets), [], 0.0
    for step in range(steps + 1):
        with torch.no_grad():
            out = judge(*costs)
            scores.append(100 * (1 - float(surrogate(out.panoptic, out.label_classes, targets.segments)) / 10))
        if step == steps:
            return scores, spent
        costs = tuple(c.requires_grad_() for c in costs)
        began = time.perf_counter()
        gradients = _gradients(judge, costs, targets, surrogate, way, generator, options)
        spent += time.perf_counter() - began
        with torch.no_grad():  # all steps have the same length, so that only the direction counts
            rate = 0.05 * sum(c.norm() for c in costs) / max(1e-12, float(sum(g.norm() for g in gradients)))
            costs = tuple(c - rate * g for c, g in zip(costs, gradients, strict=True))
    return scores, spent


def _gradients(judge, costs, targets, surrogate, way: Way, generator, options):
    """Gradients with respect to class maps and affinity maps."""
    graph = judge.graph(*costs[0].shape[2:])
    edges, _, places = judge.gathered(costs[1])
    nodes = costs[0].flatten(2).transpose(1, 2)
    data = dict(graph=graph, partitionable=THINGS, **options)
    if isinstance(way.method, (FenchelYoung, StructuredSVM)):
        known = (targets.labels >= 0).flatten(1)
        x = torch.nn.functional.one_hot(targets.labels.clamp(min=0), nodes.shape[2]).flatten(1, 2).to(nodes)
        y = targets.cut.flatten(1)[:, places]
        sure = (targets.edge_weight.flatten(1)[:, places] > 0).to(edges)
        f = solver_loss(amwc, way.method, generator=generator)
        parts = f(nodes * known[..., None], edges * sure, target=(x, y), **data)  # void gives no evidence
        return torch.autograd.grad(parts, costs)
    f = perturbed_grad(amwc, estimator=way.method, lift=LiftedMWC(), generator=generator, **way.options)
    z, _, _, label_classes = f(nodes, edges, **data)
    masks = z.transpose(1, 2).unflatten(2, tuple(costs[0].shape[2:]))
    return torch.autograd.grad(surrogate(masks, label_classes, targets.segments), costs)


def _costs(targets) -> tuple[torch.Tensor, torch.Tensor]:
    """Costs like those of a half-trained network: blurred truth plus noise."""
    g = torch.Generator().manual_seed(0)
    truth = torch.nn.functional.one_hot(targets.labels.clamp(min=0), len(Scenes.categories)).permute(0, 3, 1, 2).float()
    blur = torch.nn.AvgPool2d(5, 1, 2, count_include_pad=False)
    class_costs = -3 * blur(truth) + 0.8 * torch.randn(truth.shape, generator=g)
    return class_costs, blur(1 - 2 * targets.cut) + 0.3 + 0.8 * torch.randn(targets.cut.shape, generator=g)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--scenes", type=int, default=16)
    parser.add_argument("--instances", type=int, default=64)
    parser.add_argument("--only", choices=["fidelity", "descent"], help="one of the two tables")
    options = parser.parse_args()
    if options.only != "descent":
        note = (
            f"{options.instances} grids of 5x5 nodes, 3 classes; g is the gradient of the Hamming distance to the true "
            "labels. There are four scales, relative to |c| / |g|: small .01 to .1, middle .1 to 1, large 1 to 10. "
            "The columns of the solvers hold the cosine with the gradient through the exact solver, as the mean over "
            "instances where neither is 0. The last column is the largest share of uphill gradients over the solvers."
        )
        save("fidelity", "## Gradients through heuristics", pivot(fidelity(options.instances)), options.out, note)
    if options.only != "fidelity":
        note = (
            f"{options.scenes} scenes; surrogate of eq. 6 in percent. All steps have the same length. The column of "
            "solves counts those of the gradient of one scene, without the forward solve."
        )
        save("descent", "## Descent on costs", descend(options.scenes, (32, 64)), options.out, note)


if __name__ == "__main__":
    main()
