"""Time of the backward pass against the forward one, and what each way of starting the perturbed solves is worth.

    python benchmarks/gradients.py

The second table is a descent directly on the costs of scenes, as a network would be trained but without one:
how far does the panoptic-quality surrogate rise in twelve steps?
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import sys
import time
from pathlib import Path

import torch
from instances import Instance, make
from report import save, seconds
from tqdm import tqdm

from diffcomb import (
    AsymmetricMultiwayCutLayer,
    Blackbox,
    LiftedMWC,
    LogGrid,
    Uniform,
    amwc,
    get_num_threads,
    perturbed_grad,
    set_num_threads,
)

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "examples" / "panoptic_cops"))

from cops.scenes import Scenes  # noqa: E402
from cops.surrogate import PanopticQualitySurrogate  # noqa: E402
from cops.targets import make_targets, offsets  # noqa: E402

STARTS = (("cold", False), ("cold", True), ("warm", False), ("warm", True), ("best", False), ("best", True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--scenes", type=int, default=16)
    parser.add_argument("--only", choices=["backward", "descent"], help="one of the two tables")
    options = parser.parse_args()
    if options.only != "descent":
        save(
            "backward",
            "## Backward against forward",
            time_backward(),
            options.out,
            f"Algorithm 1 with N = 5 scales through the lift; {get_num_threads()} threads. "
            "A warm start takes effort 0, a cold one the default effort, 1. "
            "Processes: the same solves, as many at once as there are threads, in processes that share nothing: "
            "what the machine's cores are worth to this work. "
            "The last column divides by the N = 5 perturbed solves.",
        )
    if options.only != "backward":
        save(
            "descent",
            "## Descent on costs",
            descend(options.scenes),
            options.out,
            f"Twelve steps on the costs of {options.scenes} scenes of 32x32 nodes, N = 5 scales, effort 0; "
            "surrogate of eq. 6 in percent.",
        )


def process_speed_up(solve) -> float:
    """What a second core is worth to this work on this machine: independent processes, which share nothing."""

    def together(count: int) -> None:
        processes = [multiprocessing.get_context("fork").Process(target=lambda: solve() and None) for _ in range(count)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()

    count = get_num_threads()
    alone = seconds(lambda: together(1))
    return count * alone / seconds(lambda: together(count))


def time_backward() -> list[dict[str, object]]:
    rows = []
    small = itertools.product(((32, 64), (64, 128)), (1, 8), ("cold", "warm"), ("surrogate",))
    large = itertools.product((((128, 256), 24), ((256, 512), 1)), ("warm",), ("surrogate", "white noise"))
    cases = [*small, *((size, batch, start, loss) for (size, batch), start, loss in large)]
    for (h, w), batch, start, loss in tqdm(cases, desc="timing"):
        parts = [make(h, w, 19, seed=seed) for seed in range(batch)]
        graph, P = parts[0].graph, parts[0].partitionable
        nodes = torch.stack([torch.from_numpy(p.node_costs).float() for p in parts]).requires_grad_()
        edges = torch.stack([torch.from_numpy(p.edge_costs).float() for p in parts]).requires_grad_()
        estimator = Blackbox(LogGrid(1, 5000, 5), start=start)
        solve = perturbed_grad(amwc, estimator=estimator, lift=LiftedMWC())

        def forward(solve=solve, nodes=nodes, edges=edges, graph=graph, P=P):
            return solve(nodes, edges, graph=graph, partitionable=P)

        upstream = _upstream(forward(), parts, loss)

        def both(forward=forward, upstream=upstream):
            forward()[0].backward(upstream)

        set_num_threads(1)
        serial = seconds(lambda: amwc(graph, nodes, edges, P))
        processes = process_speed_up(lambda: amwc(graph, nodes, edges, P)) if batch > 1 else None
        set_num_threads(None)
        threaded = seconds(lambda: amwc(graph, nodes, edges, P))
        ahead, total = seconds(forward), seconds(both)
        rows.append(
            {
                "grid": f"{h}x{w}",
                "batch": batch,
                "start": start,
                "gradient": loss,
                "forward, ms": 1000 * ahead,
                "speed-up by threads": serial / threaded if batch > 1 else None,
                "by processes": processes,
                "backward / forward": (total - ahead) / ahead,
                "per perturbed solve": (total - ahead) / ahead / 5,
            }
        )
    return rows


def _upstream(outputs: tuple[torch.Tensor, ...], parts: list[Instance], loss: str) -> torch.Tensor:
    """dL/dz of the panoptic-quality surrogate, or noise that gives every label of every node a reason to change."""
    z, _, _, label_classes = outputs
    if loss == "white noise":
        return 0.01 * torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    surrogate = PanopticQualitySurrogate(torch.full((parts[0].node_costs.shape[1],), 20.0), 4.0)
    z = z.detach().requires_grad_()
    masks = z.transpose(1, 2)[..., None]
    segments = torch.stack([torch.from_numpy(p.truth) for p in parts])[..., None]
    (grad,) = torch.autograd.grad(surrogate(masks, label_classes, segments), z)
    return grad


def descend(count: int, steps: int = 12) -> list[dict[str, object]]:
    scenes, distances = Scenes(count, 7), [1, 2, 4, 8]
    targets = make_targets([scenes[i] for i in range(count)], scenes.categories, distances, 2, 60)
    thresholds = torch.tensor([20.0 if c.isthing else 80.0 for c in scenes.categories])
    surrogate = PanopticQualitySurrogate(thresholds, 4.0)
    rows = []
    ranges = {
        "U[1, 20]": Uniform(1, 20, 5),
        "U[100, 5000]": Uniform(100, 5000, 5),
        "log grid [1, 5000]": LogGrid(1, 5000, 5),
    }
    cases = [(s, *t, r) for s in ("multilevel", "greedy") for t in STARTS for r in ranges]
    for solver, start, repair, name in tqdm(cases, desc="descending"):
        costs = _costs(targets)
        layer = AsymmetricMultiwayCutLayer(
            offsets(distances), [2, 3, 4], solver=solver, effort=0, anchor="center",  # things
            estimator=Blackbox(ranges[name], start=start, repair=repair), generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        spent, scores = 0.0, []
        for step in range(steps + 1):
            costs = tuple(c.requires_grad_() for c in costs)
            out = layer(*costs)
            loss = surrogate(out.panoptic, out.label_classes, targets.segments)
            scores.append(100 * (1 - float(loss.detach()) / surrogate.weight))
            if step < steps:
                began = time.perf_counter()
                gradients = torch.autograd.grad(loss, costs)
                spent += time.perf_counter() - began
                with torch.no_grad():  # the same length of step for all, so that only the direction counts
                    rate = 0.05 * sum(c.norm() for c in costs) / max(1e-12, float(sum(g.norm() for g in gradients)))
                    costs = tuple(c - rate * g for c, g in zip(costs, gradients, strict=True))
        rows.append(
            {
                "solver": solver,
                "start": start + (", repaired" if repair else ""),
                "λ": name,
                "before": scores[0],
                "after": scores[-1],
                "backward, ms a scene": 1000 * spent / steps / count,
            }
        )
    return rows


def _costs(targets) -> tuple[torch.Tensor, torch.Tensor]:
    """Costs such as a half-trained network makes: blurred truth plus noise."""
    g = torch.Generator().manual_seed(0)
    truth = torch.nn.functional.one_hot(targets.labels.clamp(min=0), 5).permute(0, 3, 1, 2).float()
    blur = torch.nn.AvgPool2d(5, 1, 2, count_include_pad=False)
    class_costs = -3 * blur(truth) + 0.8 * torch.randn(truth.shape, generator=g)
    return class_costs, blur(1 - 2 * targets.cut) + 0.3 + 0.8 * torch.randn(targets.cut.shape, generator=g)


if __name__ == "__main__":
    main()
