"""Lifted multicuts of grids: seconds and objectives beside bioimage-cpp.

    python benchmarks/lifted.py [--sizes 64 128 512] [--kl 64 128] [--noise 1.6]

Base edges join neighbouring pixels, lifted edges pixels at 6 offsets of 4 to 16 pixels; costs are +1 within and -1
between the regions of a partition, plus noise of these standard deviations. `--kl` names the sizes at which
Kernighan-Lin of the peer runs, which takes minutes on large grids with much noise. One thread. Peer: pip install
bioimage-cpp
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from instances import make
from report import save, seconds
from tqdm import tqdm

from diffcomb import Graph, evaluate, grid_graph, lifted_multicut, make_problem, set_num_threads

HERE = Path(__file__).parent
NEAR = ((0, 1), (1, 0))
FAR = ((0, 4), (4, 0), (0, 16), (16, 0), (4, 4), (4, -4))


def instance(side: int, noise: float) -> tuple[Graph, np.ndarray, Graph, np.ndarray]:
    truth = make(side, side, 4).truth
    rng = np.random.default_rng(0)

    def costs(graph: Graph) -> np.ndarray:
        same = truth[graph.edges[:, 0]] == truth[graph.edges[:, 1]]
        return np.where(same, 1.0, -1.0) + noise * rng.normal(size=graph.num_edges)

    near, far = grid_graph((side, side), NEAR), grid_graph((side, side), FAR)
    return near, costs(near), far, costs(far)


def peers(near: Graph, costs: np.ndarray, far: Graph, far_costs: np.ndarray) -> Iterator[tuple[str, Callable]]:
    try:
        from bioimage_cpp.graph import UndirectedGraph
        from bioimage_cpp.graph import lifted_multicut as peer
    except ImportError:
        print("bioimage-cpp is not installed: its rows are missing")
        return
    graph = UndirectedGraph(near.num_nodes)
    graph.insert_edges(near.edges.astype(np.uint64))
    greedy, kernighan_lin = peer.LiftedGreedyAdditiveMulticut(), peer.LiftedKernighanLinMulticut()
    fusion = peer.FusionMoveLiftedMulticut(proposal_generator=peer.GreedyAdditiveProposalGenerator(sigma=1.0))

    def solver(method) -> Callable:
        def run() -> np.ndarray:
            objective = peer.LiftedMulticutObjective(
                graph, costs, lifted_uvs=far.edges.astype(np.uint64), lifted_costs=far_costs
            )
            return np.asarray(method.optimize(objective)).astype(np.int64)

        return run

    yield "GAEC (bioimage-cpp)", solver(greedy)
    yield "GAEC + KL (bioimage-cpp)", solver(peer.LiftedChainedSolvers([greedy, kernighan_lin]))
    yield "fusion moves (bioimage-cpp)", solver(fusion)


def rows(sizes: list[int], with_kl: list[int], noises: list[float]) -> Iterator[dict]:
    for side, noise in tqdm([(side, noise) for noise in noises for side in sizes], desc="grids"):
        problem = instance(side, noise)
        grid = f"{side}x{side}, noise {noise:g}"
        near, costs, far, far_costs = problem
        for name, options in (
            ("greedy", {"solver": "greedy"}),
            ("effort 0", {"effort": 0}),
            ("default", {}),
            ("effort 4", {"effort": 4}),
        ):
            lifted_multicut(*problem, **options)  # compiles
            took = seconds(lambda o=options: lifted_multicut(*problem, **o), 3 if side < 512 else 1)
            yield _row(grid, name, took, lifted_multicut(*problem, **options).objective)
        joined = make_problem(
            Graph(near.num_nodes, np.concatenate([near.edges, far.edges])), None, np.concatenate([costs, far_costs])
        )
        for name, solve in peers(*problem):
            if "KL" in name and side not in with_kl:
                continue
            began = time.perf_counter()
            clusters = solve()
            yield _row(grid, name, time.perf_counter() - began, evaluate(joined, clusters).objective)


def _row(grid: str, name: str, took: float, objective: float) -> dict:
    return {"grid": grid, "solver": name, "s": took, "objective": objective}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 512])
    parser.add_argument("--kl", type=int, nargs="*", default=[64, 128])
    parser.add_argument("--noise", type=float, nargs="+", default=[1.6])
    options = parser.parse_args()
    set_num_threads(1)
    note = "Objectives are those of the clusters in base and lifted edges. Lower is better."
    save("lifted", "## Lifted multicuts", list(rows(options.sizes, options.kl, options.noise)), HERE / "results", note)


if __name__ == "__main__":
    main()
