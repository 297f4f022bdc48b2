"""Lower bounds and exact solutions: how far bounds are from optima, and what they take.

    python benchmarks/bounds.py bounds    # grids, AMWC of trained networks, families with known optima
    python benchmarks/bounds.py exact     # small graphs, region graphs of growing size, solved to proven optimality

Instances come from $DIFFCOMB_DATA where that is set. The gap of families is that between optimum and bound, of all
others between the default's solution and bound. One thread.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from instances import make, read_network_costs
from report import save
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from tqdm import tqdm

from diffcomb import Graph, Solution, amwc, grid_graph, lifted_multicut, make_problem, multicut, mwc, set_num_threads
from diffcomb.solvers.persistency import persistent

HERE = Path(__file__).parent
TIME_LIMIT, RUNS, DRAWS = 60.0, 5, 5


def timed(function: Callable[[], Solution]) -> tuple[float, Solution]:
    began = time.perf_counter()
    found = function()
    return time.perf_counter() - began, found


def compared(name: str, solve: Callable[..., Solution]) -> dict:
    """Time of a bound alone, as a ratio to greedy's; medians of calls in turn, so that a slow moment meets all."""
    found = solve(bound=True)
    calls = (lambda: solve(solver="greedy"), solve, lambda: solve(bound=True))
    times = np.array([[timed(call)[0] for call in calls] for _ in range(RUNS)])
    greedy, took = times[:, 0], times[:, 2] - times[:, 1]
    return {"instance": name, "gap, %": 100 * found.gap / abs(found.objective), "bound, s": float(np.median(took)),
            "greedy, s": float(np.median(greedy)), "ratio": float(np.median(took / greedy))}  # fmt: skip


def large() -> Iterator[dict]:
    for height, width, noise in tqdm([(64, 128, 1.0), (128, 256, 1.0), (128, 256, 2.0)], desc="grids"):
        i = make(height, width, 4, noise=noise)
        size = f"{height}x{width}, noise {noise:g}"
        yield compared(f"multicut {size}", lambda i=i, **k: multicut(i.graph, i.multicut_costs, **k))
        yield compared(f"AMWC {size}", lambda i=i, **k: amwc(i.graph, i.node_costs, i.edge_costs, i.partitionable, **k))
        yield compared(f"MWC {size}", lambda i=i, **k: mwc(i.graph, i.node_costs, i.edge_costs, **k))
        near = np.abs(i.graph.edges[:, 1] - i.graph.edges[:, 0])
        base = (near == 1) | (near == width)  # the four neighbours; all longer edges are lifted
        costs, pairs = i.multicut_costs, Graph(i.graph.num_nodes, i.graph.edges[~base])
        graph = Graph(i.graph.num_nodes, i.graph.edges[base])
        arguments = graph, costs[base], pairs, costs[~base]
        yield compared(f"lifted multicut {size}", lambda a=arguments, **k: lifted_multicut(*a, **k))
    for path in data("amwc_instances"):
        problem = read_network_costs(path)[:4]
        yield compared(path.stem, lambda p=problem, **k: amwc(*p, **k))


def families() -> Iterator[dict]:
    for path in tqdm(data("small_with_optima"), desc="families"):
        gaps, times, above = [], [], 0
        for graph, costs, optimum in instances(path):
            took, found = timed(lambda g=graph, c=costs: multicut(g, c, effort=0, bound=True))
            gaps.append((optimum - found.lower_bound) / max(abs(optimum), 1e-9) if optimum else 0.0)
            above += found.lower_bound > optimum + 1e-6 * (1 + abs(optimum))
            times.append(took)
        yield {"family": path.stem, "mean gap, %": 100 * float(np.mean(gaps)), "largest, %": 100 * max(gaps),
               "bounds above the optimum": above, "ms": 1e3 * float(np.median(times))}  # fmt: skip


def exact() -> Iterator[dict]:
    for path in tqdm(data("small_with_optima"), desc="families"):
        some = [(graph, costs) for graph, costs, _ in instances(path)][:DRAWS]
        yield _several(path.stem, [partial(multicut, *one) for one in some], *some[-1])
    for side in tqdm((4, 5, 6), desc="lifted"):
        some = [_lifted_noise(side, seed) for seed in range(DRAWS)]
        yield _several(f"lifted noise {side}x{side}", [partial(lifted_multicut, *one) for one in some], *some[-1])
    for path in tqdm(data("region_graphs"), desc="region graphs"):
        d = np.load(path)
        n, edges, costs = int(d["n"]), d["edges"], d["costs"].astype(np.float64)
        whole = Graph(n, edges)
        for size in (100, 200, 300):
            some = [_around(whole, costs, seed, size) for seed in range(DRAWS)]
            yield _several(f"{path.stem}, around a node", [partial(multicut, *one) for one in some], *some[-1])
        component = _largest_undecided(whole, costs)
        yield _several(f"{path.stem}, largest persistent component", [partial(multicut, *component)], *component)
        for share in (64, 16, 4, 1):
            inside = (edges < n // share).all(axis=1)
            graph = Graph(n // share, edges[inside])
            took, found = timed(lambda g=graph, c=costs[inside]: multicut(g, c, solver="exact", time_limit=TIME_LIMIT))
            proven = found.gap <= 1e-6 * (1 + abs(found.objective))
            default, quick = timed(lambda g=graph, c=costs[inside]: multicut(g, c))
            yield {"instance": f"{path.stem}, 1/{share}", "nodes": graph.num_nodes, "edges": graph.num_edges,
                   "proven": "yes" if proven else "no", "median, s": took, "longest, s": took,
                   "default, s": default, "default above it": quick.objective - found.objective}  # fmt: skip


def _several(name: str, solvers: list[Callable], graph: Graph, costs: np.ndarray, *lifted: object) -> dict:
    """How long all of them take to be proven; sizes are those of the last one."""
    found = [timed(lambda s=solve: s(solver="exact", time_limit=TIME_LIMIT / 12)) for solve in solvers]
    times = [took for took, _ in found]
    solved = sum(s.gap <= 1e-6 * (1 + abs(s.objective)) for _, s in found)
    edges = graph.num_edges + (lifted[0].num_edges if lifted else 0)
    return {"instance": f"{name}, {len(times)} graphs" if len(times) > 1 else name, "nodes": graph.num_nodes,
            "edges": edges, "proven": f"{solved}/{len(times)}", "median, s": float(np.median(times)),
            "longest, s": max(times)}  # fmt: skip


def _lifted_noise(side: int, seed: int) -> tuple[Graph, np.ndarray, Graph, np.ndarray]:
    rng = np.random.default_rng(seed)
    near, far = grid_graph((side, side), [(0, 1), (1, 0)]), grid_graph((side, side), [(0, 3), (3, 0)])
    return near, rng.normal(size=near.num_edges), far, rng.normal(size=far.num_edges)


def _around(graph: Graph, costs: np.ndarray, seed: int, size: int) -> tuple[Graph, np.ndarray]:
    """The nodes that are nearest to a random one."""
    start = int(np.random.default_rng(seed).integers(graph.num_nodes))
    matrix = coo_array((np.ones(graph.num_edges), graph.edges.T), shape=(graph.num_nodes,) * 2).tocsr()
    nodes = breadth_first_order(matrix, start, directed=False, return_predecessors=False)[:size]
    return _part(graph, costs, nodes)


def _largest_undecided(graph: Graph, costs: np.ndarray) -> tuple[Graph, np.ndarray]:
    """The largest connected part of what persistency leaves."""
    smaller, _ = persistent(make_problem(graph, None, costs))
    edges, n = smaller.graph.edges, smaller.graph.num_nodes
    part = connected_components(coo_array((np.ones(len(edges)), edges.T), shape=(n, n)), directed=False)[1]
    largest = np.bincount(part[edges[:, 0]]).argmax()
    return _part(smaller.graph, smaller.edge_costs, np.flatnonzero(part == largest))


def _part(graph: Graph, costs: np.ndarray, nodes: np.ndarray) -> tuple[Graph, np.ndarray]:
    number = np.full(graph.num_nodes, -1)
    number[nodes] = np.arange(len(nodes))
    edges = number[graph.edges]
    inside = (edges >= 0).all(axis=1)
    return Graph(len(nodes), edges[inside]), costs[inside]


def instances(path: Path) -> Iterator[tuple[Graph, np.ndarray, float]]:
    d = np.load(path)
    for i, n in enumerate(d["num_nodes"]):
        part = slice(d["edge_ptr"][i], d["edge_ptr"][i + 1])
        yield Graph(int(n), d["edges"][part]), d["costs"][part].astype(np.float64), float(d["optimum"][i])


def data(folder: str) -> list[Path]:
    root = os.environ.get("DIFFCOMB_DATA")
    if root is None:
        print(f"DIFFCOMB_DATA is not set: {folder} is missing")
        return []
    return sorted(Path(root, folder).glob("*.npz"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["bounds", "exact"])
    options = parser.parse_args()
    set_num_threads(1)
    out = HERE / "results"
    if options.what == "bounds":
        save("bounds", "## Lower bounds of large instances", list(large()), out)
        note = "Bounds of message passing and of the linear programme with cycle inequalities."
        save("bounds_families", "## Lower bounds and known optima", list(families()), out, note)
    else:
        save("exact", "## Solved to proven optimality", list(exact()), out)


if __name__ == "__main__":
    main()
