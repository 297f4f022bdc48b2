"""Compare the time of the backward pass with that of the forward pass.

python benchmarks/gradients.py
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import sys
from pathlib import Path

import torch
from instances import Instance, make
from report import save, seconds
from tqdm import tqdm

from diffcomb import (
    Blackbox,
    LiftedMWC,
    LogGrid,
    amwc,
    get_num_threads,
    perturbed_grad,
    set_num_threads,
)

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "examples" / "panoptic_cops"))

from cops.surrogate import PanopticQualitySurrogate  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    save(
        "backward",
        "## Backward against forward",
        time_backward(),
        options.out,
        f"Algorithm 1 with N = 5 scales through the lift; {get_num_threads()} threads. "
        "Warm starts use effort 0, cold starts the default effort 1. "
        "By processes: the speed-up if as many independent processes as there are threads each make these solves; it "
        "shows how much the machine's cores can gain. "
        "The last column divides by the N = 5 perturbed solves.",
    )


def process_speed_up(solve, count: int) -> float:
    """Speed-up of `count` processes that share nothing: how much this machine's cores can gain for this work."""

    def together(count: int) -> None:
        processes = [multiprocessing.get_context("fork").Process(target=lambda: solve() and None) for _ in range(count)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()

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

        gradient = upstream(forward(), parts, loss)

        def both(forward=forward, gradient=gradient):
            forward()[0].backward(gradient)

        cores = get_num_threads()
        set_num_threads(1)
        serial = seconds(lambda: amwc(graph, nodes, edges, P))
        processes = process_speed_up(lambda: amwc(graph, nodes, edges, P), cores) if batch > 1 else None
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


def upstream(
    outputs: tuple[torch.Tensor, ...],
    parts: list[Instance],
    loss: str,
    thresholds: torch.Tensor | None = None,
    pixel_area: float = 4.0,
) -> torch.Tensor:
    """dL/dz of the panoptic-quality surrogate, or noise that gives every label of every node a reason to change."""
    z, _, _, label_classes = outputs
    if loss == "white noise":
        return 0.01 * torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    if thresholds is None:
        thresholds = torch.full((parts[0].node_costs.shape[1],), 20.0)
    surrogate = PanopticQualitySurrogate(thresholds, pixel_area)
    z = z.detach().requires_grad_()
    masks = z.transpose(1, 2)[..., None]
    segments = torch.stack([torch.from_numpy(p.truth) for p in parts])[..., None]
    (grad,) = torch.autograd.grad(surrogate(masks, label_classes, segments), z)
    return grad


if __name__ == "__main__":
    main()
