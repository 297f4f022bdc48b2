"""Compare our solvers with those on PyPI: time (as a ratio to a minimum spanning tree), objective, peak memory.

python benchmarks/peers.py               # grids up to 128x256 and other graphs
python benchmarks/peers.py --large       # also grids of 256x512 and 512x1024
python benchmarks/peers.py --draws 8     # only other random draws of the grids: who ends lower

Peers are optional (pip install bioimage-cpp chszlablib leidenalg); the output names those that are missing. Public
signed graphs and region adjacency graphs are included if $DIFFCOMB_DATA/signed_graphs/*.npz and
$DIFFCOMB_DATA/region_graphs/*.npz hold them (n, edges, costs).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from instances import make
from report import peak_megabytes, save, seconds, spanning_tree_seconds
from tqdm import tqdm

from diffcomb import Graph, amwc, multicut, mwc, set_num_threads

HERE = Path(__file__).parent
SIZES = [(32, 64), (64, 128), (128, 256)]
LARGE_SIZES = [(256, 512), (512, 1024)]
REGIONS = "region_graphs"
ALL_THREADS = "multilevel, all threads"
OURS = ("multilevel, effort 0", "multilevel", ALL_THREADS, "kernighan_lin", "greedy")


@dataclass(frozen=True)
class Case:
    """One multicut instance; parallel edges are added up, because not every peer takes them."""

    name: str
    graph: Graph
    costs: np.ndarray
    grid: bool = False


def cases(large: bool) -> Iterator[Case]:
    """All multicut instances."""
    for h, w in SIZES + (LARGE_SIZES if large else []):
        instance = make(h, w, 1)
        yield Case(f"grid {h}x{w}", instance.graph, instance.multicut_costs.astype(np.float32), grid=True)
    for h, w in SIZES[1:]:
        instance = make(h, w, 1, noise=2.0)
        yield Case(f"grid {h}x{w}, noise 2", instance.graph, instance.multicut_costs.astype(np.float32))
    rng = np.random.default_rng(0)
    for n in (200, 1000, 2000):
        edges = np.stack(np.triu_indices(n, 1), axis=1)
        planted = rng.integers(0, 20, n)
        same = planted[edges[:, 0]] == planted[edges[:, 1]]
        yield Case(f"complete {n}, normal", Graph(n, edges), rng.normal(size=len(edges)))
        yield Case(f"complete {n}, planted", Graph(n, edges), np.where(same, 0.5, -0.5) + rng.normal(size=len(edges)))
    for n, degree in ((2_000, 6), (20_000, 8)):
        edges = np.unique(np.sort(rng.integers(0, n, (n * degree // 2, 2)), axis=1), axis=0)
        edges = edges[edges[:, 0] != edges[:, 1]]
        yield Case(f"random {n}, degree {degree}", Graph(n, edges), rng.normal(size=len(edges)))
    folder = Path(os.environ.get("DIFFCOMB_DATA", HERE / "nowhere"))
    for path in sorted([*folder.glob("signed_graphs/*.npz"), *folder.glob(f"{REGIONS}/*.npz")]):
        with np.load(path) as data:
            edges, inverse = np.unique(np.sort(data["edges"], axis=1), axis=0, return_inverse=True)
            costs = np.bincount(inverse.ravel(), data["costs"])
            keep = edges[:, 0] != edges[:, 1]
            name = f"region graph {path.stem}" if path.parent.name == REGIONS else path.stem
            yield Case(name, Graph(int(data["n"]), edges[keep]), costs[keep])


def bioimage(case: Case, kernighan_lin: bool) -> Callable[[], np.ndarray]:
    from bioimage_cpp.graph import UndirectedGraph
    from bioimage_cpp.graph import multicut as bic

    graph = UndirectedGraph.from_edges(case.graph.num_nodes, np.sort(case.graph.edges, axis=1).astype(np.uint64))
    costs = case.costs.astype(np.float64)

    def run() -> np.ndarray:
        solvers = [bic.GreedyAdditiveMulticut()] + ([bic.KernighanLinMulticut()] if kernighan_lin else [])
        return np.asarray(bic.ChainedMulticutSolvers(solvers).optimize(bic.MulticutObjective(graph, costs)))

    return run


def kahip(case: Case) -> Callable[[], np.ndarray]:
    import chszlablib

    graph = _kahip_graph(case)
    return lambda: np.asarray(chszlablib.Decomposition.correlation_clustering(graph, seed=0).assignment)


def kahip_memetic(case: Case, seconds: float) -> Callable[[], np.ndarray]:
    import chszlablib

    graph, solve = _kahip_graph(case), chszlablib.Decomposition.evolutionary_correlation_clustering
    return lambda: np.asarray(solve(graph, seed=0, time_limit=seconds).assignment)


def _kahip_graph(case: Case) -> Any:
    import chszlablib

    indptr, neighbours, edge_ids = case.graph.csr
    scaled = np.rint(case.costs * 1000).astype(np.int64)  # it takes integers
    return chszlablib.Graph.from_csr(indptr, neighbours, edge_weights=scaled[edge_ids])


def leiden(case: Case) -> Callable[[], np.ndarray]:
    import igraph
    import leidenalg

    graph = igraph.Graph(n=case.graph.num_nodes, edges=case.graph.edges.tolist())
    weights = case.costs.tolist()

    def run() -> np.ndarray:
        part = leidenalg.find_partition(
            graph, leidenalg.CPMVertexPartition, weights=weights, resolution_parameter=0.0, seed=0
        )
        return np.asarray(part.membership)

    return run


def louvain(case: Case) -> Callable[[], np.ndarray]:
    import networkx

    graph = networkx.Graph(case.graph.to_networkx(case.costs.astype(float)))

    def run() -> np.ndarray:
        labels = np.empty(case.graph.num_nodes, np.int64)
        for c, nodes in enumerate(networkx.community.louvain_communities(graph, resolution=0, seed=0)):
            labels[list(nodes)] = c
        return labels

    return run


# Every peer, with the largest number of edges on which it ends within about a minute.
PEERS: dict[str, tuple[Callable[[Case], Callable[[], np.ndarray]], float]] = {
    "GAEC (bioimage-cpp)": (partial(bioimage, kernighan_lin=False), np.inf),
    "GAEC + KL (bioimage-cpp)": (partial(bioimage, kernighan_lin=True), 2_000_000),
    "SCC (KaHIP, chszlablib)": (kahip, np.inf),
    "Leiden, CPM (leidenalg)": (leiden, 150_000),
    "Louvain, resolution 0 (networkx)": (louvain, 12_000),
}


def cut_value(case: Case, labels: np.ndarray) -> float:
    u, v = case.graph.edges.T
    return float(case.costs[labels[u] != labels[v]].sum(dtype=np.float64))


def ours(case: Case, name: str) -> Callable[[], np.ndarray]:
    solver, _, option = name.partition(", ")
    effort = int(option.removeprefix("effort ")) if option.startswith("effort") else None

    def run() -> np.ndarray:
        set_num_threads(None if name == ALL_THREADS else 1)
        labels = multicut(case.graph, case.costs, solver=solver, effort=effort).clusters
        set_num_threads(1)
        return labels

    return run


def measured(run: Callable[[], np.ndarray], repeat: int) -> tuple[np.ndarray, float, float | None]:
    """Labels, seconds and peak memory; the labels come from the run that measures memory."""
    result: list = []
    began = time.perf_counter()
    peak = peak_megabytes(lambda: result.append(run()))
    once = time.perf_counter() - began
    return result[0], seconds(run, repeat) if once < 5 else once, peak


def compare(large: bool, missing: set[str]) -> list[dict]:
    rows = []
    for case in tqdm(list(cases(large)), desc="multicut instances"):
        graph = case.graph
        yardstick = spanning_tree_seconds(graph, case.costs)
        for name in (*OURS, *PEERS):
            if name in PEERS:
                maker, limit = PEERS[name]
                if graph.num_edges > limit:
                    continue
                try:
                    run = maker(case)
                except ImportError:
                    missing.add(name)
                    continue
            else:
                run = ours(case, name)
            labels, taken, peak = measured(run, 3)
            objective = cut_value(case, labels)
            rows.append(
                {
                    "instance": case.name,
                    "edges": graph.num_edges,
                    "solver": name,
                    "time / MST": taken / yardstick,
                    "seconds": round(taken, 4),
                    "objective": objective,
                    "peak MB": peak,
                }
            )
    return rows


def summary(rows: list[dict]) -> list[dict]:
    """A row for each instance: our default, the peer with the best objective, and which of the two ends lower."""
    table = []
    for name in dict.fromkeys(row["instance"] for row in rows):
        group = {row["solver"]: row for row in rows if row["instance"] == name}
        peers = [row for solver, row in group.items() if solver in PEERS]
        mine = group["multilevel"]
        line = {"instance": name, "time / MST": mine["time / MST"], "objective": mine["objective"]}
        if peers:
            best = min(peers, key=lambda row: row["objective"])
            line |= {"best peer": best["solver"], "its time / MST": best["time / MST"]}
            line |= {"its objective": best["objective"]}
            difference = mine["objective"] - best["objective"]
            line["ours is"] = "equal" if abs(difference) < 1e-9 * abs(best["objective"]) else (
                "lower" if difference < 0 else "HIGHER"
            )  # fmt: skip
        table.append(line)
    return table


def cuts_with_classes(large: bool) -> list[dict]:
    """Multiway cuts by our solvers alone, because PyPI has no peer."""
    rows = []
    settings: list[tuple] = [(64, 128, 19, 1.0, 1.0, 1.0), (64, 128, 19, 1.0, 2.0, 0.3), (128, 256, 19, 1.5, 1.5, 0.5)]
    settings += [(*SIZES[-1], 19)]
    if large:
        settings += [(*LARGE_SIZES[0], 19), (*LARGE_SIZES[0], 49), (*LARGE_SIZES[0], 150), (*LARGE_SIZES[1], 19)]
    for h, w, K, *weak in tqdm(settings, desc="instances with classes"):
        instance = make(h, w, K, None, *weak)
        graph, P = instance.graph, instance.partitionable
        nodes, edges = instance.node_costs.astype(np.float32), instance.edge_costs.astype(np.float32)
        yardstick = spanning_tree_seconds(graph, edges)
        inputs = (nodes.nbytes + edges.nbytes + graph.edges.nbytes) / 2**20
        extra = "" if not weak else ", sharpness {:g}, noise {:g}, scale {:g}".format(*weak)
        for problem, solve in (
            ("AMWC", partial(amwc, graph, nodes, edges, P)),
            ("MWC", partial(mwc, graph, nodes, edges)),
        ):
            for solver, effort in (("multilevel", 0), ("multilevel", 1), ("greedy", 1)):
                if solver == "greedy" and (K > 50 or h > 256):
                    continue
                run = partial(solve, solver=solver, effort=effort)
                rows.append(
                    {
                        "instance": f"{problem}, {h}x{w}, K={K}{extra}",
                        "solver": solver if solver == "greedy" else f"{solver}, effort {effort}",
                        "time / MST": seconds(run) / yardstick,
                        "objective": run().objective,
                        "peak MB / input MB": (peak_megabytes(run) or np.nan) / inputs,
                    }
                )
    return rows


def draws(count: int) -> list[dict]:
    """Count how often the default ends at or below the best peer, on other random draws of the grids."""
    rows = []
    for (h, w), noise in (*((size, 1.0) for size in SIZES), (LARGE_SIZES[0], 1.0), (SIZES[-1], 1.5)):
        excess = []
        for seed in tqdm(range(1, count + 1), desc=f"draws of {h}x{w}, noise {noise:g}"):
            instance = make(h, w, 1, noise=noise, seed=seed)
            case = Case("", instance.graph, instance.multicut_costs.astype(np.float32))
            values = [cut_value(case, run()) for run in (ours(case, "multilevel"), bioimage(case, True), kahip(case))]
            excess.append((values[0] - min(values[1:])) / abs(min(values)))
        relative = np.array(excess)
        rows.append(
            {
                "family": f"grid {h}x{w}, noise {noise:g}",
                "draws": count,
                "lower": int((relative < -1e-9).sum()),
                "equal": int((np.abs(relative) <= 1e-9).sum()),
                "HIGHER": int((relative > 1e-9).sum()),
                "mean, ppm": 1e6 * relative.mean(),
                "best, ppm": 1e6 * relative.min(),
                "worst, ppm": 1e6 * relative.max(),
            }
        )
    return rows


def plot(rows: list[dict], path: Path) -> None:
    """Plot seconds over edges for the clean grids, with the fitted exponent of every solver, and for region graphs."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    grids = [row for row in rows if row["instance"].startswith("grid") and "noise" not in row["instance"]]
    regions = [row for row in rows if row["instance"].startswith("region graph")]
    for number, name in enumerate((*OURS, *PEERS)):
        colour = f"C{number}"
        apart = np.array([(row["edges"], row["seconds"]) for row in regions if row["solver"] == name]).reshape(-1, 2)
        axes.loglog(*apart.T, "s" if name in OURS else "+", color=colour)
        points = np.array([(row["edges"], row["seconds"]) for row in grids if row["solver"] == name])
        if len(points) < 2:
            continue
        exponent = np.polyfit(*np.log(points).T, 1)[0]
        axes.loglog(*points.T, "o-" if name in OURS else "x--", color=colour, label=f"{name}: m^{exponent:.2f}")
    axes.set(
        xlabel="edges m",
        ylabel="seconds, one thread",
        title="Multicut on grids of growing size; squares and crosses alone: region graphs",
    )
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="also 256x512 and 512x1024")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--picture", type=Path, default=HERE.parent / "docs" / "pictures" / "scaling.svg")
    parser.add_argument("--draws", type=int, help="only compare on this many other draws of the grids")
    options = parser.parse_args()
    set_num_threads(1)
    if options.draws:
        note = (
            "ppm: the objective of our default minus the lower one of GAEC + Kernighan-Lin (bioimage-cpp) and "
            "SCC (KaHIP), in millionths of the lowest objective."
        )
        save("peers_draws", "## Other draws of the grids", draws(options.draws), options.out, note)
        return
    missing: set[str] = set()
    rows = compare(options.large, missing)
    note = (
        "One thread, unless the row says otherwise. Times are ratios to scipy's minimum spanning tree of the same "
        "graph in the same run. Lower is better."
    )
    if missing:
        note += f" Left out, because they are not installed: {', '.join(sorted(missing))}."
    save("peers", "## Multicut solvers side by side", rows, options.out, note)
    save("peers_summary", "## Our default against the best peer", summary(rows), options.out, note)
    classes = cuts_with_classes(options.large)
    save("peers_classes", "## Cuts with classes (no peer on PyPI)", classes, options.out, note)
    plot(rows, options.picture)


if __name__ == "__main__":
    main()
