"""Count asymmetric multiway cuts that end above the multiway cut of the same costs, which is feasible for both.

python benchmarks/against_multiway_cut.py
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from instances import make
from report import save
from tqdm import tqdm

from diffcomb import Graph, amwc, mwc, set_num_threads

HERE = Path(__file__).parent
SIZES = ((32, 64, 4), (96, 160, 2), (256, 512, 1))  # and draws of each


def random_graphs(count: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Random graphs of 5 to 60 nodes, with node costs from a tenth to ten times the edge costs."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        n, K = int(rng.integers(5, 61)), int(rng.integers(2, 7))
        edges = rng.integers(0, n, (int(rng.integers(n, 6 * n)), 2))
        graph = Graph(n, edges[edges[:, 0] != edges[:, 1]])
        node_costs = rng.normal(size=(n, K)) * 10 ** rng.uniform(-1, 1)
        edge_costs = rng.normal(rng.uniform(-0.5, 0.5), 1, graph.num_edges)
        yield "random graphs, n = 5-60", (graph, node_costs, edge_costs, rng.random(K) < 0.5)


def weak_grids() -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Grids whose class costs are weak compared with the noise."""
    for height, width, draws in SIZES:
        for sharpness, noise, scale in itertools.product((0.25, 0.5, 1.0), (1.0, 2.0, 3.0), (0.1, 0.25, 0.5, 1.0)):
            for seed in range(100, 100 + draws):
                i = make(height, width, 19, None, sharpness, noise, scale, seed)
                costs = i.node_costs.astype(np.float32), i.edge_costs.astype(np.float32)
                yield f"weak grids, {height}x{width}", (i.graph, *costs, i.partitionable)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="random graphs")
    parser.add_argument("--efforts", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    set_num_threads(1)
    found: dict[tuple[str, int], list[float]] = {}
    for family, arguments in tqdm(itertools.chain(random_graphs(options.count), weak_grids()), desc="instances"):
        for effort in options.efforts:
            value = amwc(*arguments, effort=effort).objective
            other = mwc(*arguments[:-1], effort=effort).objective
            rounding = 1e-9 * (1 + abs(other))
            excess = 100 * (value - other) / max(abs(other), 1e-9) if value > other + rounding else 0.0
            found.setdefault((family, effort), []).append(excess)
    rows = [
        {"family": family, "effort": effort, "instances": len(v), "above": int(np.count_nonzero(v)), "worst %": max(v)}
        for (family, effort), v in found.items()
    ]
    note = (
        "Above: the number of instances whose asymmetric multiway cut ended above the multiway cut with the same seed "
        "and effort."
    )
    save("against_multiway_cut", "## Asymmetric multiway cut against multiway cut", rows, options.out, note)


if __name__ == "__main__":
    main()
