"""Seconds of MALIS on volumes, beside straightforward implementations on one thread.

    python benchmarks/malis.py                   # volumes of 16, 32 and 48 voxels a side
    python benchmarks/malis.py --sides 64 128    # minutes, nearly all of them in plain Python

The straightforward implementations do what public ones do: they make two passes over all edges, sort them in each, and
keep the labels of every component in a map. One thread is measured in CPU seconds, which other processes disturb
little. One is plain Python with dictionaries, so its ratio also holds what a
compiler gains; the other is C++ with `std::map`, compiled here if there is a g++. Both count pairs only; ours is timed
with the loss and its gradient.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import save, seconds
from scipy.spatial import cKDTree
from tqdm import tqdm

from diffcomb import GridGraph, get_num_threads, grid_graph, malis_loss, malis_pairs, set_num_threads

HERE = Path(__file__).parent
OFFSETS = [(0, 0, 1), (0, 1, 0), (1, 0, 0)]
VOXELS = 8000  # of a segment, on average
NOISE, STRENGTH = 1.0, 1.5  # of the logits of affinities


def volume(side: int) -> tuple[GridGraph, torch.Tensor, np.ndarray]:
    """Voronoi cells as segments, with noisy affinities: the graph, affinities (m,), labels (n,)."""
    rng = np.random.default_rng(0)
    voxels = np.stack(np.mgrid[:side, :side, :side], axis=-1).reshape(-1, 3)
    labels = cKDTree(rng.uniform(0, side, (max(2, side**3 // VOXELS), 3))).query(voxels)[1]
    graph = grid_graph((side,) * 3, OFFSETS)
    u, v = graph.edges.T
    logits = np.where(labels[u] == labels[v], STRENGTH, -STRENGTH) + NOISE * rng.normal(size=graph.num_edges)
    return graph, torch.from_numpy((1 / (1 + np.exp(-logits))).astype(np.float32)), labels


CPP = r"""
#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>
#include <vector>
static int find(std::vector<int>& parent, int i) {
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
}
extern "C" void one_pass(int n, int m, const int* edges, const float* affinities, const int64_t* labels,
                         bool count_same, int64_t* pairs) {
    std::vector<int> parent(n), rank(n), order(m);
    std::iota(parent.begin(), parent.end(), 0);
    std::iota(order.begin(), order.end(), 0);
    std::vector<std::map<int64_t, int64_t>> counts(n);
    for (int i = 0; i < n; i++) counts[i][labels[i]] = 1;
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return affinities[a] > affinities[b]; });
    for (int e : order) {
        int a = find(parent, edges[2 * e]), b = find(parent, edges[2 * e + 1]);
        if (a == b) continue;
        if (rank[a] < rank[b]) std::swap(a, b);
        rank[a] += rank[a] == rank[b];
        parent[b] = a;
        for (auto& p : counts[a])
            for (auto& q : counts[b])
                if ((p.first == q.first) == count_same) pairs[e] += p.second * q.second;
        for (auto& q : counts[b]) counts[a][q.first] += q.second;
        counts[b].clear();
    }
}
"""
Pass = Callable[[GridGraph, np.ndarray, np.ndarray, bool], np.ndarray]


def straightforward(
    graph: GridGraph, affinities: np.ndarray, labels: np.ndarray, run: Pass
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that each edge decides, in the positive and in the negative pass."""
    same = labels[graph.edges[:, 0]] == labels[graph.edges[:, 1]]
    positive = run(graph, np.where(same, affinities, np.float32(0)), labels, True)
    negative = run(graph, np.where(same, np.float32(1), affinities), labels, False)
    return np.where(same, positive, 0), np.where(same, 0, negative)


def compiled_pass() -> Pass | None:
    """The pass in C++; None where there is no compiler."""
    if shutil.which("g++") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "malis.cpp", Path(folder) / "malis.so"
        source.write_text(CPP)
        subprocess.run(["g++", "-O3", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
        function = ctypes.CDLL(str(library)).one_pass

    def run(graph: GridGraph, affinities: np.ndarray, labels: np.ndarray, count_same: bool) -> np.ndarray:
        pairs = np.zeros(graph.num_edges, np.int64)
        arrays = [ctypes.c_void_p(a.ctypes.data) for a in (graph.edges, affinities, labels)]
        numbers = graph.num_nodes, graph.num_edges
        function(*numbers, *arrays, ctypes.c_bool(count_same), ctypes.c_void_p(pairs.ctypes.data))
        return pairs

    return run


def python_pass(graph: GridGraph, affinities: np.ndarray, labels: np.ndarray, count_same: bool) -> np.ndarray:
    """Kruskal's algorithm over all edges, with a dictionary of labels for every component."""
    parent = list(range(graph.num_nodes))
    counts = [{label: 1} for label in labels.tolist()]
    edges, pairs = graph.edges.tolist(), np.zeros(graph.num_edges, np.int64)

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for e in np.argsort(-affinities, kind="stable").tolist():
        a, b = find(edges[e][0]), find(edges[e][1])
        if a == b:
            continue
        if len(counts[a]) < len(counts[b]):
            a, b = b, a
        of_a, of_b = counts[a], counts[b]
        equal = sum(number * of_a.get(label, 0) for label, number in of_b.items())
        pairs[e] = equal if count_same else sum(of_a.values()) * sum(of_b.values()) - equal
        for label, number in of_b.items():
            of_a[label] = of_a.get(label, 0) + number
        parent[b], counts[b] = a, {}
    return pairs


def cpu_seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of one call, and what it returns."""
    began = time.process_time()
    result = function()
    return time.process_time() - began, result


def row_of(side: int, cpp: Pass | None) -> dict[str, Any]:
    """One volume: seconds of the loss with its gradient, and of the pair counts of the others."""
    graph, affinities, labels = volume(side)
    leaf = affinities.clone().requires_grad_()

    def step() -> None:
        malis_loss(graph, leaf, labels).backward()

    torch_threads = torch.get_num_threads()
    set_num_threads(1)
    torch.set_num_threads(1)
    step()  # compiles
    alone = min(cpu_seconds(step)[0] for _ in range(3))
    set_num_threads(None)
    torch.set_num_threads(torch_threads)
    together = seconds(step)
    threads = f"malis_loss, {get_num_threads()} threads"
    row: dict[str, Any] = {
        "volume": f"{side}×{side}×{side}",
        "edges": f"{graph.num_edges:,}",
        "malis_loss, 1 thread, s": alone,
        f"{threads}, wall s": together,
    }
    found = malis_pairs(graph, affinities, labels)
    for name, run in (("C++", cpp), ("Python", python_pass)):
        if run is not None:
            row[f"{name}, s"], expected = cpu_seconds(partial(straightforward, graph, affinities.numpy(), labels, run))
            row[f"{name} / malis_loss, 1 thread"] = row[f"{name}, s"] / alone
            row[f"{name} / {threads}"] = row[f"{name}, s"] / together
            np.testing.assert_array_equal(found, expected)
    return row


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[16, 32, 48], help="voxels a side of the volumes")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    cpp = compiled_pass()
    rows = [row_of(side, cpp) for side in tqdm(options.sides, desc="volumes")]
    command = f"python benchmarks/malis.py --sides {' '.join(map(str, options.sides))}"
    note = (
        f"`{command}`. Voronoi cells of {VOXELS:,} voxels on average, noisy affinities of the six neighbours. "
        "*malis_loss* is the loss with its gradient: CPU seconds of one thread, and seconds of all. *C++* and "
        "*Python* are straightforward implementations on one thread, which count pairs only, in CPU seconds. All find "
        "the same pairs."
    )
    save("malis", "## MALIS", rows, options.out, note)


if __name__ == "__main__":
    main()
