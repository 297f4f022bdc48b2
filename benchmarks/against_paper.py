"""Seconds of the solves that the COPS paper (NeurIPS 2021) reports, on this machine, beside the paper's.

python benchmarks/against_paper.py               # about ten minutes on two cores; takes 6 GB of memory
python benchmarks/against_paper.py --shrink 8    # a trial: sides and batch an eighth as large
"""

from __future__ import annotations

import argparse
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
SCALES = Uniform(1, 5000, 5)  # λ, N = 5: Table 2
NOTE = """
*The paper's seconds.* Table 8 gives the run time of inference for one image. It states neither the number of cores nor
whether the network is included; the paper's solver is sequential. Table 3 gives the solves of one training iteration:
AMWC in the forward pass, MWC in the backward pass, all instances of the batch in parallel on a CPU of 32 cores.

*Our seconds* are medians of {repeat} calls with compiled kernels, without the network, on {cores} CPU core(s). The
forward row includes making one-hot outputs; the backward rows include lifting and perturbing the costs and taking
differences. Cold: every perturbed solve starts from nothing, as in the paper. Warm: it starts from the forward
solution, our default. Memory is how much one call adds to the resident set.

*Costs.* Ours are synthetic, in float32: random regions with noisy class and edge costs (`benchmarks/instances.py`). The
paper's come from its network on Cityscapes. Both have 19 classes, 8 of them partitionable, and edges at the distances
1, 4, 16, 32, 64 and 128 on both axes; the paper does not say whether it scaled the distances at full resolution, we did
not. The upstream gradient is that of the panoptic-quality surrogate with the paper's weight and thresholds, and the
scales λ are drawn as in the paper.
""".strip()


class Case(NamedTuple):
    """A call to time, and what the paper says of it."""

    solves: str
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
    for case in tqdm(cases(options.shrink), total=5, desc="cases"):
        paper = {"paper, s": case.paper_seconds, "paper's cores": case.cores, "in": case.table}
        rows.append({"solves": case.solves, **paper, **measured(case.call, options.repeat)})
    note = NOTE.format(repeat=options.repeat, cores=CORES)
    save("against_paper", "## Against the times in the paper", rows, options.out, note)


def cases(shrink: int) -> Iterator[Case]:
    """Make what the paper times, one after the other: the large image takes gigabytes."""
    yield Case(*image(QUARTER, shrink), 2.0, "Table 8", "not stated")
    yield Case(*image(FULL, shrink), 15.0, "Table 8", "not stated")
    yield from training_iteration(shrink)


def image(size: tuple[int, int], shrink: int) -> tuple[str, Callable[[], object]]:
    """Inference: one AMWC of a whole image."""
    height, width = (side // shrink for side in size)
    instance = make(height, width, CLASSES)
    graph, partitionable = instance.graph, instance.partitionable
    nodes, edges = instance.node_costs.astype(np.float32), instance.edge_costs.astype(np.float32)
    name = f"AMWC, one image of {height}x{width} cells, {graph.num_edges / 1e6:.1f} M edges"
    return name, lambda: amwc(graph, nodes, edges, partitionable)


def training_iteration(shrink: int) -> Iterator[Case]:
    """Training: AMWC of a batch of crops forward, N = 5 perturbed and lifted MWC of each of them backward."""
    height, width = (side // shrink for side in CROP)
    crops = [make(height, width, CLASSES, seed=seed) for seed in range(max(1, BATCH // shrink))]
    nodes = torch.stack([torch.from_numpy(crop.node_costs).float() for crop in crops]).requires_grad_()
    edges = torch.stack([torch.from_numpy(crop.edge_costs).float() for crop in crops]).requires_grad_()
    data = {"graph": crops[0].graph, "partitionable": crops[0].partitionable}
    batch = f"{len(crops)} crops of {height}x{width}"
    for start in ("cold", "warm"):
        estimator = Blackbox(SCALES, start=start)
        solve = perturbed_grad(amwc, estimator=estimator, lift=LiftedMWC(), generator=torch.Generator().manual_seed(0))
        if start == "cold":  # the forward pass is the same for both
            yield Case(f"AMWC forward, {batch}", lambda: solve(nodes, edges, **data), 2.5, "Table 3", "32")
        outputs = solve(nodes, edges, **data)
        gradient = upstream(outputs, crops, "surrogate", REJECTED_AREA, pixel_area=16.0)
        name = f"lifted MWC backward, N = 5, {start}, {batch}"
        yield Case(name, lambda: outputs[0].backward(gradient, retain_graph=True), 6.1, "Table 3", "32")


def measured(call: Callable[[], object], repeat: int) -> dict[str, Any]:
    """Seconds on one core and on all, and memory."""
    row = {}
    for threads in dict.fromkeys((1, CORES)):
        set_num_threads(threads)
        torch.set_num_threads(threads)
        row[f"ours, {threads} core(s), s"] = seconds(call, repeat)
    return {**row, "memory, MB": peak_megabytes(call)}


if __name__ == "__main__":
    main()
