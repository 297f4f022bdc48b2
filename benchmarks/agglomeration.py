"""Mutex watershed and agglomeration: seconds beside bioimage-cpp and mwatershed, and whether segmentations agree.

    python benchmarks/agglomeration.py [--sizes 256x512 512x1024]

Both are called in turn, seven times. Affinities are noisy and free of ties. Agglomeration runs on the region graphs of
$DIFFCOMB_DATA/region_graphs as well if that is set; a little noise breaks the ties of their costs. One thread. Peers:
pip install bioimage-cpp mwatershed
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from instances import make
from report import in_turn, save
from tqdm import tqdm

from diffcomb import Graph, agglomerate, grid_graph, mutex_watershed, set_num_threads

HERE = Path(__file__).parent
OFFSETS = [(0, 1), (1, 0), (0, 4), (4, 0), (0, 16), (16, 0), (4, 4), (4, -4)]
ATTRACTIVE = 2  # channels
LINKAGES = {"sum": "sum", "average": "mean", "absolute_maximum": "mutex_watershed"}


def affinities(height: int, width: int) -> np.ndarray:
    """Affinities (C, H, W) whose ranks follow noisy ones: no two are equal."""
    truth = make(height, width, 4).truth.reshape(height, width)
    rng = np.random.default_rng(0)
    noisy = np.empty((len(OFFSETS), height, width))
    for channel, (dy, dx) in enumerate(OFFSETS):
        same = truth == np.roll(truth, (-dy, -dx), (0, 1))
        noisy[channel] = np.where(same, 1.0, -1.0) + rng.normal(size=truth.shape)
    rank = np.argsort(np.argsort(noisy.ravel()))
    return ((rank + 1) / 2.0**24).astype(np.float32).reshape(noisy.shape)


def watershed_peers(values: np.ndarray) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    try:
        from bioimage_cpp.segmentation import mutex_watershed as peer

        yield "bioimage-cpp", lambda: peer(values, OFFSETS, ATTRACTIVE)
    except ImportError:
        print("bioimage-cpp is not installed: its rows are missing")
    try:
        import mwatershed

        signed = np.concatenate([values[:ATTRACTIVE], -values[ATTRACTIVE:]]).astype(np.float64)
        yield "mwatershed", lambda: mwatershed.agglom(signed, [list(offset) for offset in OFFSETS])
    except ImportError:
        print("mwatershed is not installed: its rows are missing")


def same(a: np.ndarray, b: np.ndarray) -> str:
    pairs = len(np.unique(np.stack([a.ravel(), b.ravel()]), axis=1).T)
    return "yes" if pairs == len(np.unique(a)) == len(np.unique(b)) else "no"


def watersheds(sizes: list[tuple[int, int]]) -> Iterator[dict]:
    for height, width in tqdm(sizes, desc="watersheds"):
        values = affinities(height, width)
        graph = grid_graph((height, width), OFFSETS)
        costs = graph.edge_values(np.concatenate([values[:ATTRACTIVE], -values[ATTRACTIVE:]]))
        ours = mutex_watershed(graph, costs).clusters
        for name, solve in watershed_peers(values):
            took, peer, ratio = in_turn(lambda g=graph, c=costs: mutex_watershed(g, c), solve)
            yield {"instance": f"mutex watershed {height}x{width}", "edges": graph.num_edges, "ms": 1e3 * took,
                   "peer": name, "its ms": 1e3 * peer, "ratio": ratio, "same": same(ours, solve())}  # fmt: skip


def graphs() -> Iterator[tuple[str, Graph, np.ndarray]]:
    instance = make(128, 256, 4)
    yield "grid 128x256", Graph(instance.graph.num_nodes, instance.graph.edges), instance.multicut_costs
    root = os.environ.get("DIFFCOMB_DATA")
    if root is None:
        print("DIFFCOMB_DATA is not set: the region graphs are missing")
        return
    for path in sorted(Path(root, "region_graphs").glob("*.npz")):
        data = np.load(path)
        costs = data["costs"] + 1e-3 * np.random.default_rng(0).normal(size=len(data["costs"]))
        yield path.stem, Graph(int(data["n"]), data["edges"]), costs


def linkages() -> Iterator[dict]:
    try:
        from bioimage_cpp.graph import UndirectedGraph
        from bioimage_cpp.graph.agglomeration import GaspClusterPolicy
    except ImportError:
        return
    for name, graph, costs in tqdm(list(graphs()), desc="linkages"):
        peer_graph = UndirectedGraph(graph.num_nodes)
        peer_graph.insert_edges(graph.edges.astype(np.uint64))
        for linkage, theirs in LINKAGES.items():
            ours = agglomerate(graph, costs, linkage).clusters

            def solve(theirs: str = theirs) -> np.ndarray:
                return np.asarray(GaspClusterPolicy(linkage=theirs).optimize(peer_graph, costs))

            took, peer, ratio = in_turn(lambda g=graph, c=costs, k=linkage: agglomerate(g, c, k), solve)
            yield {"instance": f"{linkage} {name}", "edges": graph.num_edges, "ms": 1e3 * took,
                   "peer": "bioimage-cpp (GASP)", "its ms": 1e3 * peer, "ratio": ratio,
                   "same": same(ours, solve())}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["256x512", "512x1024"])
    options = parser.parse_args()
    set_num_threads(1)
    sizes = [tuple(map(int, size.split("x"))) for size in options.sizes]
    found = [*watersheds(sizes), *linkages()]
    save("agglomeration", "## Mutex watershed and agglomeration", found, HERE / "results")


if __name__ == "__main__":
    main()
