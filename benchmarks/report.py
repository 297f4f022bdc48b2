"""Helpers of all benchmarks: timing, peak memory, the unit of time, and tables as JSON and Markdown."""

from __future__ import annotations

import ctypes
import gc
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import minimum_spanning_tree
from tabulate import tabulate

from diffcomb import Graph


def seconds(function: Callable[[], Any], repeat: int = 3) -> float:
    """Median wall time of `repeat` calls, after a first call that is not counted."""
    function()
    return statistics.median(_once(function) for _ in range(repeat))


def in_turn(one: Callable[[], Any], two: Callable[[], Any], repeat: int = 7) -> tuple[float, float, float]:
    """Median wall times of two functions that are called in turn, and the median ratio of the first to the second.

    First calls are not counted. A moment in which the machine is slow meets both.
    """
    one()
    two()
    pairs = [(_once(one), _once(two)) for _ in range(repeat)]
    ours, theirs = zip(*pairs, strict=True)
    return statistics.median(ours), statistics.median(theirs), statistics.median(a / b for a, b in pairs)


def _once(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def spanning_tree_seconds(graph: Graph, costs: np.ndarray) -> float:
    """The unit of time: seconds of scipy's minimum spanning tree of the same graph (a sort and a union-find)."""
    shifted = np.abs(costs) + 1  # scipy would take stored zeros for missing edges
    u, v = graph.edges.T
    matrix = sparse.coo_array((shifted, (u, v)), shape=(graph.num_nodes,) * 2).tocsr()
    return seconds(lambda: minimum_spanning_tree(matrix))


def peak_megabytes(function: Callable[[], Any]) -> float | None:
    """How far the resident set rises during a call; None if /proc cannot tell."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # otherwise memory that an earlier call freed hides what this call needs
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    except (OSError, AttributeError):
        return None
    before = _status("VmRSS")
    function()
    return max(0.0, (_status("VmHWM") - before) / 1024)


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return float(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


def save(name: str, title: str, rows: list[dict[str, Any]], out: Path, note: str = "") -> None:
    """Print the rows as a Markdown table and save them as NAME.md and NAME.json."""
    text = tabulate(rows, headers="keys", tablefmt="github", floatfmt=",.2f", missingval="")
    out.mkdir(parents=True, exist_ok=True)
    body = f"{title}\n\n{text}\n" + (f"\n{note}\n" if note else "")
    (out / f"{name}.md").write_text(body)
    content = {"title": title, "note": note, "python": platform.python_version(), "rows": rows}
    (out / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    print(f"\n{body}\nwrote {out / name}.md and .json")
