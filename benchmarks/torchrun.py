"""Two training processes beside each other: threads divided among them, and not.

    python benchmarks/torchrun.py

Starts ``torchrun`` with two processes, each of which solves batches of multicuts, once with the number of threads that
diffcomb takes by itself, and once with all cores for each process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
BATCH, SHAPE, REPEAT = 8, (128, 128), 9


def worker() -> None:
    """Solve, and print threads and seconds a batch."""
    from diffcomb import get_num_threads, grid_graph, multicut, set_num_threads

    if os.environ["DIVIDED"] == "no":
        set_num_threads(len(os.sched_getaffinity(0)))
    graph = grid_graph(SHAPE, [(0, 1), (1, 0), (0, 4), (4, 0), (0, 9), (9, 0)])
    costs = np.random.default_rng(int(os.environ["RANK"])).normal(0.1, 1, (BATCH, graph.num_edges)).astype(np.float32)
    times = []
    for _ in range(REPEAT + 1):
        began = time.perf_counter()
        multicut(graph, costs)
        times.append(time.perf_counter() - began)
    print(get_num_threads(), statistics.median(times[1:]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    a = parser.parse_args()
    from report import save

    cores = len(os.sched_getaffinity(0))
    rows = []
    for divided in ("yes", "no"):
        environment = {**os.environ, "DIVIDED": divided, "OMP_NUM_THREADS": str(cores)}
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", __file__]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        found = [line.split() for line in done.stdout.splitlines() if line.strip()]
        threads = " and ".join(words[0] for words in found)
        seconds = max(float(words[1]) for words in found)
        rows.append({"divided": divided, "threads of the processes": threads, "s a batch, slower process": seconds})
    note = f"Batches of {BATCH} multicuts of {SHAPE[0]}x{SHAPE[1]} pixels in each of two processes, on {cores} cores."
    save("torchrun", "Two processes under torchrun", rows, a.out, note)


if __name__ == "__main__":
    worker() if "LOCAL_WORLD_SIZE" in os.environ else main()
