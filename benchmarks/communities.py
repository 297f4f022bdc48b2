"""Communities: multicuts with a cost of all pairs beside leidenalg, on its own objectives and in its own time.

    python benchmarks/communities.py [--edges 100000]

Modularity and the constant Potts model (CPM). leidenalg runs until nothing moves, on many edges its default of two
iterations; ours gets the same time as its limit, and its first pass (effort 0) is shown as well. One thread. A table of
another size than the default has that in the name of its file. Needs pip install leidenalg.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from report import save, spanning_tree_seconds
from tqdm import tqdm

from diffcomb import Graph, multicut, set_num_threads

HERE = Path(__file__).parent
MANY = 100_000  # edges
EDGES = 1_000_000  # for which leidenalg takes an hour and more


def graphs(edges: int) -> Iterator[tuple[str, Graph]]:
    """Classical social networks, planted partitions, and a random graph of so many edges."""
    import networkx as nx

    for name in ("karate_club", "les_miserables", "florentine_families"):
        graph = nx.convert_node_labels_to_integers(getattr(nx, f"{name}_graph")())
        yield name, Graph(graph.number_of_nodes(), np.array(graph.edges()))
    for n, groups in ((1_000, 20), (20_000, 200)):
        yield f"planted partition {n}", _planted(n, groups, 10 * n)
    yield f"planted partition, {edges} edges", _planted(edges // 10, edges // 2000, edges)
    ends = np.random.default_rng(0).integers(0, edges // 10, (edges, 2))
    yield f"random graph, {edges} edges", _simple(edges // 10, ends)


def _planted(n: int, groups: int, m: int) -> Graph:
    """Two thirds of the edges lie within groups."""
    rng = np.random.default_rng(n)
    group = rng.integers(0, groups, n)
    order = np.argsort(group, kind="stable")
    start = np.searchsorted(group[order], np.arange(groups + 1))
    one = rng.integers(0, n, m)
    size = np.diff(start)[group[one]]
    inside = order[start[group[one]] + (rng.random(m) * size).astype(int)]
    other = np.where(rng.random(m) < 2 / 3, inside, rng.integers(0, n, m))
    return _simple(n, np.stack([one, other], axis=1))


def _simple(n: int, ends: np.ndarray) -> Graph:
    ends = np.unique(np.sort(ends[ends[:, 0] != ends[:, 1]], axis=1), axis=0)
    return Graph(n, ends)


def compare(edges: int) -> Iterator[dict]:
    for name, graph in tqdm(list(graphs(edges)), desc="networks"):
        ones = np.ones(graph.num_edges)
        degree = np.bincount(graph.edges.ravel(), minlength=graph.num_nodes).astype(float)
        density = 2 * graph.num_edges / graph.num_nodes**2
        for kind, weights, resolution in (
            ("modularity", degree, 1 / (2 * graph.num_edges)), ("CPM", None, min(3 * density, 0.3))
        ):  # fmt: skip
            partition, taken = leiden(graph, kind, resolution)
            row = {"network": name, "edges": graph.num_edges, "objective": kind}
            row["Leiden"] = held(graph, partition, weights, resolution)
            row["its time / MST"] = taken / spanning_tree_seconds(graph, ones)
            for column, options in (("ours, effort 0", {"effort": 0}), ("ours, same time", {"time_limit": taken})):
                multicut(graph, ones, node_weights=weights, resolution=resolution, effort=0)
                began = time.perf_counter()
                found = multicut(graph, ones, node_weights=weights, resolution=resolution, **options)
                share = (time.perf_counter() - began) / taken
                row[column] = held(graph, found.clusters, weights, resolution)
                row[f"{column}: time / Leiden"] = share
            yield row


def leiden(graph: Graph, kind: str, resolution: float) -> tuple[np.ndarray, float]:
    import igraph
    import leidenalg

    network = igraph.Graph(n=graph.num_nodes, edges=graph.edges.tolist())
    iterations = -1 if graph.num_edges <= MANY else 2
    began = time.perf_counter()
    if kind == "modularity":
        part = leidenalg.find_partition(network, leidenalg.ModularityVertexPartition, n_iterations=iterations, seed=0)
    else:
        part = leidenalg.find_partition(
            network, leidenalg.CPMVertexPartition, resolution_parameter=resolution, n_iterations=iterations, seed=0
        )
    return np.asarray(part.membership), time.perf_counter() - began


def held(graph: Graph, z: np.ndarray, weights: np.ndarray | None, resolution: float) -> float:
    """Modularity in thousandths, or CPM's quality: edges inside clusters less the expected ones."""
    u, v = graph.edges.T
    inside = float((z[u] == z[v]).sum())
    if weights is None:
        size = np.bincount(z).astype(float)
        return inside - resolution * float((size * (size - 1) / 2).sum())
    total = np.bincount(z, weights)
    return 1000 * (inside / graph.num_edges - float(((total / weights.sum()) ** 2).sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=int, default=EDGES, help="of the largest networks")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    set_num_threads(1)
    note = (
        f"Higher is better; modularity in thousandths. Leiden: two iterations above {MANY:,} edges, else until stable."
    )
    rows = list(compare(options.edges))
    name = "communities" if options.edges == EDGES else f"communities_{options.edges}"
    save(name, "## Communities beside Leiden", rows, options.out, note)


if __name__ == "__main__":
    main()
