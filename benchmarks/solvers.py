"""Time (as a ratio to a minimum spanning tree of the same graph), objective and memory of the solvers.

python benchmarks/solvers.py             # up to 128x256
python benchmarks/solvers.py --large     # and 256x512, COPS's Cityscapes size
"""

from __future__ import annotations

import argparse
from pathlib import Path

from instances import make
from report import peak_megabytes, save, seconds, spanning_tree_seconds
from tqdm import tqdm

from diffcomb import amwc, multicut, set_num_threads

HERE = Path(__file__).parent
SOLVERS = (("greedy", 1), ("multilevel", 0), ("multilevel", 1), ("multilevel", 4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="also 256x512")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    set_num_threads(1)
    sizes = [(32, 64), (64, 128), (128, 256)] + ([(256, 512)] if options.large else [])
    cases = [(h, w, k, 4.0, 1.0, 1.0) for h, w in sizes for k in (1, 19, 133)]
    cases += [(64, 128, 19, 1.0, 1.0, 1.0), (64, 128, 19, 1.0, 2.0, 0.3), (128, 256, 19, 1.5, 1.5, 0.5)]
    rows = []
    for h, w, k, sharpness, noise, scale in tqdm(cases, desc="instances"):
        instance = make(h, w, k, None, sharpness, noise, scale)
        graph = instance.graph
        _ = graph.csr
        yardstick = spanning_tree_seconds(graph, instance.edge_costs)
        for solver, effort in SOLVERS:
            if k == 1:

                def run(solver=solver, effort=effort):
                    return multicut(graph, instance.multicut_costs, solver=solver, effort=effort)
            else:

                def run(solver=solver, effort=effort):
                    return amwc(
                        graph, instance.node_costs, instance.edge_costs, instance.partitionable,
                        solver=solver, effort=effort,
                    )  # fmt: skip

            rows.append(
                {
                    "grid": f"{h}x{w}",
                    "K": k,
                    "sharpness, noise, scale": f"{sharpness:g}, {noise:g}, {scale:g}",
                    "solver": solver if solver == "greedy" else f"{solver}, effort {effort}",
                    "time / MST": seconds(run) / yardstick,
                    "objective": run().objective,
                    "peak MB": peak_megabytes(run),
                    "edges": graph.num_edges,
                }
            )
    note = (
        "One thread; MST is scipy.sparse.csgraph.minimum_spanning_tree on the same graph in the same run. "
        "Lower is better everywhere."
    )
    save("solvers", "## Solvers", rows, options.out, note)


if __name__ == "__main__":
    main()
