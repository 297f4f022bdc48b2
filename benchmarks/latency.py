"""Seconds to the first solution in a fresh process: in the first process ever, which compiles, and in a later one.

python benchmarks/latency.py
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from report import save
from tqdm import tqdm

HERE = Path(__file__).parent
SETUP = """
import time
began = time.perf_counter()
import numpy as np
from diffcomb import Graph, amwc, grid_graph, multicut
imported = time.perf_counter()
rng = np.random.default_rng(0)
"""
CASES = {
    "amwc, grid 24x20 (adjacency lists)": """
graph = grid_graph((24, 20), [(0, 1), (1, 0), (0, 4), (4, 0)])
solve = lambda: amwc(graph, rng.normal(size=(480, 5)), rng.normal(size=graph.num_edges), [3, 4])
""",
    "amwc, grid 32x64": """
graph = grid_graph((32, 64), [(0, 1), (1, 0), (0, 4), (4, 0)])
solve = lambda: amwc(graph, rng.normal(size=(2048, 5)), rng.normal(size=graph.num_edges), [3, 4])
""",
    "multicut, grid 256x512": """
graph = grid_graph((256, 512), [(0, 1), (1, 0), (0, 4), (4, 0)])
solve = lambda: multicut(graph, rng.normal(1, 1, graph.num_edges).astype(np.float32))
""",
    "amwc, 300 nodes and 2,000 edges": """
graph = Graph(300, rng.integers(0, 300, (2000, 2)))
solve = lambda: amwc(graph, rng.normal(size=(300, 5)), rng.normal(size=2000), [3, 4])
""",
}
MEASURE = """
first = time.perf_counter()
solve()
print(imported - began, time.perf_counter() - first)
"""


def fresh_process(case: str, cache: str) -> tuple[float, float]:
    """Seconds that the import takes, and seconds that the first solution takes."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    code = SETUP + CASES[case] + MEASURE
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    imported, solved = map(float, done.stdout.split())
    return imported, solved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    rows = []
    for case in tqdm(CASES, desc="fresh processes"):
        with tempfile.TemporaryDirectory() as cache:
            _, first = fresh_process(case, cache)
            imported, later = fresh_process(case, cache)
        rows.append({"first call": case, "first ever, s": first, "later process, s": later, "import, s": imported})
    note = (
        "Each case runs with an empty cache of compiled kernels, and then again in another process, which loads them "
        "from the cache."
    )
    save("latency", "## First call", rows, options.out, note)


if __name__ == "__main__":
    main()
