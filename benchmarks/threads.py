"""How much threads help within one instance, how much of its time none of them can help, and what that leaves.

    DIFFCOMB_DATA=FOLDER python benchmarks/threads.py [--sizes 256x512 512x1024] [--threads 1 2]

Asymmetric multiway cuts in float32: of synthetic grids with 19 classes, and, if the folder of the data is given, of
costs that a trained network made of images (``amwc_instances``). Calls with different numbers of threads alternate, so
that a slow minute of the machine slows all of them; times are medians. The serial share is the time that a call with
two threads or more spends outside of their tasks, as a part of the time of one thread. From it follows by Amdahl's law
what more cores could give at best: each as fast as one is alone, and none waiting for memory.

What cores give at all is measured beside it: as many processes as threads, each with one thread and an instance of its
own, against one process alone. They share nothing but the machine, so that no program gains more from these cores.
Beside seconds stand ratios to scipy's minimum spanning tree of the same graph, which has one thread.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from instances import make, read_network_costs
from report import save, spanning_tree_seconds
from tqdm import tqdm

import diffcomb._threads
from diffcomb import Solution, amwc, set_num_threads

HERE = Path(__file__).parent
CORES = (8, 16)


@contextmanager
def tasks_timed() -> Iterator[list[float]]:
    """Collect the seconds that the calling thread spends in tasks, or waiting for them."""
    seconds: list[float] = []
    original = diffcomb._threads.thread_map

    def timed(function, items):  # type: ignore[no-untyped-def]
        began = time.perf_counter()
        try:
            return original(function, items)
        finally:
            seconds.append(time.perf_counter() - began)

    diffcomb._threads.thread_map = timed
    try:
        yield seconds
    finally:
        diffcomb._threads.thread_map = original


def rows(instances: list[str], threads: list[int], calls: int) -> Iterator[dict]:
    processes = max(threads)
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for name in tqdm(instances, desc="instances"):
            for effort in (0, 1):
                gain = {f"gain of {processes} processes": _gain_of_processes(pool, name, effort, processes, calls)}
                graph, _, edge_costs, _ = _problem(name)
                unit = spanning_tree_seconds(graph, edge_costs)
                row = {"instance": Path(name).stem, "effort": effort}
                yield row | _compare(_solve(name, effort), threads, calls, unit) | gain


@cache
def _problem(name: str) -> tuple:
    """What `amwc` takes, of a grid of that size or from that file."""
    if name.endswith(".npz"):
        return read_network_costs(Path(name))[:4]
    height, width = (int(length) for length in name.split("x"))
    i = make(height, width, 19)
    return i.graph, i.node_costs.astype(np.float32), i.edge_costs.astype(np.float32), i.partitionable


def _solve(name: str, effort: int) -> Callable[[], Solution]:
    """A function that solves the instance."""
    return partial(amwc, *_problem(name), effort=effort)


def _seconds_alone(name: str, effort: int) -> float:
    """The time of a call with one thread, in a process of the pool."""
    set_num_threads(1)
    solve = _solve(name, effort)
    began = time.perf_counter()
    solve()
    return time.perf_counter() - began


def _gain_of_processes(pool: ProcessPoolExecutor, name: str, effort: int, processes: int, calls: int) -> float:
    """How many times as much that many processes solve in the same time as one, each on its own."""

    def slowest(number: int) -> float:
        return max(task.result() for task in [pool.submit(_seconds_alone, name, effort) for _ in range(number)])

    alone, beside = [], []
    for call in range(calls + 2):
        beside.append(slowest(processes))
        alone.append(slowest(1))
        if call < 2:  # every process makes its instance and warms up
            alone, beside = [], []
    return processes * statistics.median(alone) / statistics.median(beside)


def _compare(solve: Callable[[], Solution], threads: list[int], calls: int, unit: float) -> dict:
    times: dict[int, list[float]] = {number: [] for number in threads}
    outside: list[float] = []
    objectives = set()
    for call in range(calls + 1):
        for number in threads:
            set_num_threads(number)
            with tasks_timed() as tasks:
                began = time.perf_counter()
                objectives.add(solve().objective)
                took = time.perf_counter() - began
            if call > 0:  # the first one warms up
                times[number].append(took)
                if number == max(threads):
                    outside.append(took - sum(tasks))
    set_num_threads(None)
    if len(objectives) > 1:
        raise SystemExit(f"the objective depends on the number of threads: {sorted(objectives)}")
    middle = {number: statistics.median(found) for number, found in times.items()}
    one = middle[min(threads)]
    row: dict = {f"{number} threads, s": seconds for number, seconds in middle.items()}
    row |= {f"{number} threads / MST": seconds / unit for number, seconds in middle.items()}
    row |= {f"gain of {number}": one / middle[number] for number in threads[1:]}
    serial = min(statistics.median(outside) / one, 1.0)
    row["serial share"] = serial
    return row | {f"at most, {cores} cores": 1 / (serial + (1 - serial) / cores) for cores in CORES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["256x512", "512x1024"], metavar="HxW")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--calls", type=int, default=9)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    images = sorted(map(str, Path(os.environ.get("DIFFCOMB_DATA", "/nonexistent")).glob("amwc_instances/*.npz")))
    found = list(rows(args.sizes + images, sorted(args.threads), args.calls))
    save("threads", "## Threads within one instance", found, args.out, "The objective is the same for every number.")


if __name__ == "__main__":
    main()
