"""Seconds of the solves that the COPS paper (NeurIPS 2021) reports, on this machine, beside the paper's.

python benchmarks/against_paper.py               # several minutes, about 3 GB of memory
python benchmarks/against_paper.py --shrink 8    # a trial: sides and batch an eighth as large
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gradients import upstream
from instances import make
from report import peak_megabytes, save, seconds
from tqdm import tqdm

from diffcomb import Blackbox, LiftedMWC, Uniform, amwc, get_num_threads, perturbed_grad, set_num_threads

HERE = Path(__file__).parent
CORES = get_num_threads()
QUARTER, FULL, CROP, BATCH = (256, 512), (1024, 2048), (128, 256), 24
CLASSES = 19  # of Cityscapes; 8 of them are things, which may be split
REJECTED_AREA = torch.tensor([2048.0] * 11 + [200.0] * 8)  # in image pixels, of stuff and of things: section 4.1
EFFORTS = (0, 1)  # 0 as in training of the example, 1 is the default of the solver
SCALES = Uniform(1, 5000, 5)  # λ, N = 5: Table 2
NOTE = """
*The paper's seconds.* Table 8 gives the run time of inference for one image. It states neither the number of cores nor
whether the network is included; the paper's solver is sequential. Table 3 gives the solves of one training iteration:
AMWC in the forward pass, MWC in the backward pass, all instances of the batch in parallel on a CPU of 32 cores.

*Our seconds* are medians of {repeat} calls with compiled kernels, without the network, on {cores} CPU core(s). The
forward row includes making one-hot outputs; the backward rows include lifting and perturbing the costs and taking
differences. Cold: every perturbed solve starts from nothing, as in the paper. Warm: it starts from the forward
solution, our default. Effort 0 is the solver's first pass, as in training of the example; effort 1 is the default of
`amwc`. Memory is how much one call adds to the resident set.

*Costs.* Ours are synthetic, in float32: random regions with noisy class and edge costs (`benchmarks/instances.py`). The
paper's come from its network on Cityscapes. Both have 19 classes, 8 of them partitionable, and edges at the distances
1, 4, 16, 32, 64 and 128 on both axes; the paper does not say whether it scaled the distances at full resolution, we did
not. The upstream gradient is that of the panoptic-quality surrogate with the paper's weight and thresholds, and the
scales λ are drawn as in the paper.
""".strip()


class Case(NamedTuple):
    """A call to time, and what the paper says of it."""

    solves: str
    effort: int
    call: Callable[[], object]
    paper_seconds: float
    table: str
    cores: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shrink", type=int, default=1, help="divide sides and batch, for a trial")
    parser.add_argument("--repeat", type=int, default=5, help="calls of which the median is taken")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    rows = []
    for case in tqdm(cases(options.shrink), total=4 + 2 + 3, desc="cases"):
        paper = {"paper, s": case.paper_seconds, "paper's cores": case.cores, "in": case.table}
        rows.append({"solves": case.solves, "effort": case.effort, **paper, **measured(case.call, options.repeat)})
    note = NOTE.format(repeat=options.repeat, cores=CORES)
    trial = f" (a trial: {options.shrink} times smaller)" if options.shrink > 1 else ""
    save("against_paper", f"## Against the times in the paper{trial}", rows, options.out, note)


def cases(shrink: int) -> Iterator[Case]:
    """Make what the paper times, one after the other: the large image takes gigabytes."""
    yield from image(QUARTER, shrink, paper_seconds=2.0)
    yield from image(FULL, shrink, paper_seconds=15.0)
    yield from training_iteration(shrink)


def image(size: tuple[int, int], shrink: int, paper_seconds: float) -> Iterator[Case]:
    """Inference: one AMWC of a whole image."""
    height, width = (side // shrink for side in size)
    instance = make(height, width, CLASSES)
    graph, partitionable = instance.graph, instance.partitionable
    nodes, edges = instance.node_costs.astype(np.float32), instance.edge_costs.astype(np.float32)
    name = f"AMWC, one image of {height}x{width} cells, {graph.num_edges / 1e6:.1f} M edges"
    for effort in EFFORTS:
        solve = functools.partial(amwc, graph, nodes, edges, partitionable, effort=effort)
        yield Case(name, effort, solve, paper_seconds, "Table 8", "not stated")


def training_iteration(shrink: int) -> Iterator[Case]:
    """Training: AMWC of a batch of crops forward, N = 5 perturbed and lifted MWC of each crop backward."""
    height, width = (side // shrink for side in CROP)
    crops = [make(height, width, CLASSES, seed=seed) for seed in range(max(1, BATCH // shrink))]
    nodes = torch.stack([torch.from_numpy(crop.node_costs).float() for crop in crops]).requires_grad_()
    edges = torch.stack([torch.from_numpy(crop.edge_costs).float() for crop in crops]).requires_grad_()
    batch = f"{len(crops)} crops of {height}x{width}"

    def solver(start: str, effort: int) -> Callable[[], tuple[torch.Tensor, ...]]:
        generator = torch.Generator().manual_seed(0)
        solve = perturbed_grad(amwc, estimator=Blackbox(SCALES, start=start), lift=LiftedMWC(), generator=generator)
        data = {"graph": crops[0].graph, "partitionable": crops[0].partitionable, "effort": effort}
        return lambda: solve(nodes, edges, **data)

    for effort in EFFORTS:
        yield Case(f"AMWC forward, {batch}", effort, solver("cold", effort), 2.5, "Table 3", "32")
    for start, effort in (*(("cold", effort) for effort in EFFORTS), ("warm", 0)):
        outputs = solver(start, effort)()
        gradient = upstream(outputs, crops, "surrogate", REJECTED_AREA, pixel_area=16.0)
        backward = functools.partial(outputs[0].backward, gradient, retain_graph=True)
        yield Case(f"lifted MWC backward, N = 5, {start}, {batch}", effort, backward, 6.1, "Table 3", "32")


def measured(call: Callable[[], object], repeat: int) -> dict[str, Any]:
    """Seconds on one core and on all, and memory."""
    row = {}
    for threads in dict.fromkeys((1, CORES)):
        set_num_threads(threads)
        torch.set_num_threads(threads)
        row[f"ours, {threads} thread{'s' * (threads > 1)}, s"] = seconds(call, repeat)
    return {**row, "memory, MB": peak_megabytes(call)}


if __name__ == "__main__":
    main()
