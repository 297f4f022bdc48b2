"""The command line: ``diffcomb solve``, ``diffcomb segment`` and ``diffcomb info``.

Exit codes: 0 when all is done, also after Ctrl-C where a time limit was given (the best solution until then is
written); 2 for wrong arguments or files, 130 after Ctrl-C before there was anything to write.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._version import __version__
from .affinity import probabilities_to_costs
from .cuts import amwc, multicut, mwc
from .grid import grid_graph
from .io import FORMATS, Instance, open_array, read, save_array
from .lifted_cuts import lifted_amwc, lifted_multicut
from .problem import Solution
from .solvers import SOLVERS

PROBLEMS = ("multicut", "mwc", "amwc", "lifted_multicut", "lifted_amwc")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        result = options.run(options)
    except KeyboardInterrupt:
        print("interrupted before there was a solution; with --time-limit the best one is kept", file=sys.stderr)
        return 130
    except (OSError, ValueError, TypeError, ImportError) as error:
        print(f"diffcomb: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key.replace('_', ' ')}: {value}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("diffcomb", description="Partition graphs and images by multicuts.")
    parser.add_argument("--version", action="version", version=f"diffcomb {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    solve = commands.add_parser("solve", help="cluster the graph in a file")
    solve.add_argument("file", metavar="FILE", help=f"formats by suffix: {_suffixes()}")
    solve.add_argument("--problem", choices=PROBLEMS, help="by default what the file's arrays make it")
    _add_solver(solve)
    solve.add_argument("--bound", action="store_true", help="also prove a lower bound")
    solve.add_argument("--format", choices=list(FORMATS), help="of FILE, if its suffix does not tell")
    solve.add_argument("-o", "--output", metavar="CLUSTERS.csv", help="write node, cluster (and class) of every node")
    solve.set_defaults(run=_solve)
    segment = commands.add_parser("segment", help="segment an image or volume by affinities")
    segment.add_argument(
        "affinities", metavar="AFFINITIES", help="(C, ...) array: .npy, .npz, .h5 or .zarr, :NAME behind"
    )
    segment.add_argument("--offsets", type=_offsets, required=True, help="one for each channel: '[[0, 1], [1, 0]]'")
    segment.add_argument("--bias", type=float, default=0.5, help="affinity that is neither attractive nor repulsive")
    segment.add_argument("--costs", action="store_true", help="AFFINITIES are signed costs, no probabilities")
    _add_solver(segment)
    segment.add_argument(
        "-o", "--output", metavar="LABELS.npy", required=True, help="labels from 1 on: .npy, .npz, .h5, .zarr"
    )
    segment.set_defaults(run=_segment, bound=False)
    info = commands.add_parser("info", help="say what a file of a problem holds")
    info.add_argument("file", metavar="FILE", help=f"formats by suffix: {_suffixes()}")
    info.add_argument("--format", choices=list(FORMATS))
    info.set_defaults(run=_info)
    for command in (solve, segment, info):
        command.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _suffixes() -> str:
    return ", ".join(suffix for known in FORMATS.values() for suffix in known.suffixes)


def _add_solver(command: argparse.ArgumentParser) -> None:
    command.add_argument("--solver", choices=list(SOLVERS), default="multilevel")
    command.add_argument(
        "--time-limit", type=float, metavar="SECONDS", help="search for so long; Ctrl-C ends it sooner"
    )
    command.add_argument("--effort", type=int, help="rounds of search, instead of a time limit")
    command.add_argument("--seed", type=int, default=0)


def _offsets(text: str) -> list[list[int]]:
    try:
        offsets = json.loads(text)
        return [[int(step) for step in offset] for offset in offsets]
    except (ValueError, TypeError):
        raise argparse.ArgumentTypeError(f"offsets must look like '[[0, 1], [1, 0]]', got {text!r}") from None


def _solve(options: argparse.Namespace) -> dict[str, Any]:
    instance = read(options.file, options.format)
    problem = options.problem or _problem_of(instance)
    began = time.perf_counter()
    with _progress(options.time_limit), _warnings_as_lines():
        found = _solution(problem, instance, options)
    result = {"problem": problem, **_summary(found), "seconds": round(time.perf_counter() - began, 3)}
    if options.output:
        _write_clusters(Path(options.output), instance, found)
        result["wrote"] = options.output
    return result


def _problem_of(instance: Instance) -> str:
    lifted = "lifted_" if instance.lifted_edges is not None else ""
    if instance.node_costs is None:
        return f"{lifted}multicut"
    return f"{lifted}amwc" if lifted or instance.partitionable is not None else "mwc"


def _solution(problem: str, instance: Instance, options: argparse.Namespace) -> Solution:
    search = {
        "solver": options.solver,
        "seed": options.seed,
        "effort": options.effort,
        "time_limit": options.time_limit,
        "bound": options.bound,
    }
    graph, costs = instance.graph, instance.edge_costs
    if problem == "multicut":
        return multicut(graph, costs, **search)
    lifted = instance.lifted_edges, instance.lifted_costs
    if problem.startswith("lifted") and any(part is None for part in lifted):
        raise ValueError(f"{options.file} has no lifted_edges and lifted_costs, which --problem {problem} needs")
    if problem == "lifted_multicut":
        return lifted_multicut(graph, costs, *lifted, **search)
    if instance.node_costs is None:
        raise ValueError(f"{options.file} has no node_costs, which --problem {problem} needs")
    if problem == "mwc":
        return mwc(graph, instance.node_costs, costs, **search)
    classes = () if instance.partitionable is None else instance.partitionable
    if problem == "lifted_amwc":
        return lifted_amwc(graph, instance.node_costs, costs, classes, *lifted, **search)
    return amwc(graph, instance.node_costs, costs, classes, **search)


def _summary(found: Solution) -> dict[str, Any]:
    summary = {"objective": float(found.objective), "clusters": int(found.num_clusters)}
    if found.lower_bound is not None:
        summary |= {"lower_bound": float(found.lower_bound), "gap": float(found.gap)}
    return summary


def _write_clusters(path: Path, instance: Instance, found: Solution) -> None:
    """Lines ``node,cluster`` or ``node,cluster,class``."""
    classes = instance.node_costs is not None
    with path.open("w") as file:
        file.write("node,cluster,class\n" if classes else "node,cluster\n")
        rows = zip(instance.node_ids.tolist(), found.clusters.tolist(), found.node_labels.tolist(), strict=True)
        for node, cluster, label in rows:
            file.write(f"{node},{cluster},{label}\n" if classes else f"{node},{cluster}\n")


def _segment(options: argparse.Namespace) -> dict[str, Any]:
    affinities = np.asarray(open_array(options.affinities))
    if affinities.ndim != len(options.offsets[0]) + 1 or len(affinities) != len(options.offsets):
        raise ValueError(
            f"{options.affinities} must have one channel for each of {len(options.offsets)} offsets of "
            f"{len(options.offsets[0])} steps, got shape {affinities.shape}"
        )
    graph = grid_graph(affinities.shape[1:], options.offsets)
    values = graph.edge_values(affinities)
    costs = values if options.costs else probabilities_to_costs(values, bias=options.bias)
    began = time.perf_counter()
    with _progress(options.time_limit), _warnings_as_lines():
        found = _solution("multicut", Instance(graph, costs), options)
    labels = (found.clusters + 1).astype(np.uint32).reshape(graph.shape)
    save_array(options.output, labels)
    return {**_summary(found), "seconds": round(time.perf_counter() - began, 3), "wrote": options.output}


def _info(options: argparse.Namespace) -> dict[str, Any]:
    instance = read(options.file, options.format)
    graph, costs = instance.graph, instance.edge_costs
    degree = np.bincount(graph.edges.ravel(), minlength=graph.num_nodes)
    result: dict[str, Any] = {"problem": _problem_of(instance), "nodes": graph.num_nodes, "edges": graph.num_edges}
    if len(costs):
        result |= {
            "costs": f"{costs.min():g} to {costs.max():g}",
            "repulsive_edges": f"{100 * np.mean(costs < 0):.1f} %",
            "largest_degree": int(degree.max()),
        }
    if instance.node_costs is not None:
        result["classes"] = int(instance.node_costs.shape[1])
    if instance.lifted_edges is not None:
        result["lifted_edges"] = len(instance.lifted_edges)
    return result


@contextlib.contextmanager
def _progress(seconds: float | None) -> Iterator[None]:
    """Show a progress bar of the time limit in a terminal, if tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        tqdm = None
    if seconds is None or tqdm is None or not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()

    def show() -> None:
        began = time.perf_counter()
        with tqdm(total=seconds, unit="s", bar_format="{l_bar}{bar}| {n:.1f}/{total:.1f} s") as bar:
            while not ended.wait(0.2):
                bar.n = min(time.perf_counter() - began, seconds)
                bar.refresh()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Warnings as lines without a place in the code: that a search was interrupted, for instance."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        print(f"diffcomb: {warning.message}", file=sys.stderr)
