"""Distribution of the distance to the optimum, on instances that `exact` solves.

python benchmarks/gaps.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from report import save
from tqdm import tqdm

from diffcomb import Graph, amwc, grid_graph, set_num_threads

HERE = Path(__file__).parent
SOLVERS = (("multilevel", 0), ("multilevel", 1), ("kernighan_lin", 1), ("greedy", 1))


def instances(count: int):
    """Pairs (family, arguments of `amwc`) of small grids and random graphs; some classes are partitionable."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        K = int(rng.integers(1, 5))
        P = np.ones(1, bool) if K == 1 else rng.random(K) < 0.5
        graph = grid_graph((4, 5), [(0, 1), (1, 0), (0, 2), (2, 0)])
        region = (np.arange(4)[:, None] // 2 * 2 + np.arange(5) // 3).ravel()
        same = region[graph.edges[:, 0]] == region[graph.edges[:, 1]]
        costs = np.where(same, 1.0, -1.0) + rng.normal(size=graph.num_edges)
        yield "grid 4x5, noise 1", (graph, rng.normal(size=(20, K)), costs, P)
        edges = rng.integers(0, 14, (40, 2))
        graph = Graph(14, edges[edges[:, 0] != edges[:, 1]])
        yield "random, n=14, m=40", (graph, rng.normal(size=(14, K)), rng.normal(size=graph.num_edges), P)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="instances of each family")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    set_num_threads(1)
    gaps: dict[tuple[str, str], list[float]] = {}
    for family, arguments in tqdm(instances(options.count), total=2 * options.count, desc="instances"):
        best = amwc(*arguments, solver="exact").objective
        for solver, effort in SOLVERS:
            value = amwc(*arguments, solver=solver, effort=effort).objective
            name = f"{solver}, effort {effort}" if solver == "multilevel" else solver
            gaps.setdefault((family, name), []).append(100 * (value - best) / max(abs(best), 1e-9))
    rows = []
    for (family, name), values in gaps.items():
        quantiles = np.quantile(values, [0.5, 0.9, 1])
        rows.append(
            {
                "family": family,
                "solver": name,
                "instances": len(values),
                "optimal %": 100 * float(np.mean(np.array(values) < 1e-3)),
                "mean gap %": round(float(np.mean(values)), 4),
                "median": round(float(quantiles[0]), 4),
                "90 %": round(float(quantiles[1]), 4),
                "worst": round(float(quantiles[2]), 4),
            }
        )
    note = (
        "Gap: how far the objective lies above the optimum, in percent of the optimum's absolute value. "
        "Optimal: within 0.001 %."
    )
    save("gaps", "## Gaps to the optimum", rows, options.out, note)


if __name__ == "__main__":
    main()
