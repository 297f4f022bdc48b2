"""``diffcomb solve``: the clusters of a graph in a file."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._ids import NodesError
from ..cuts import amwc, multicut, mwc
from ..io import Instance, read
from ..io.files import check_keeps, check_writable, replacing
from ..io.tables import write_table
from ..io.volumes import SUFFIXES
from ..lifted_cuts import lifted_amwc, lifted_multicut
from ..problem import Solution
from .progress import progress, warnings_as_lines

if TYPE_CHECKING:
    from ..blockwise import BlockwiseSolution

PROBLEMS = ("multicut", "mwc", "amwc", "lifted_multicut", "lifted_amwc")


def run_solve(options: argparse.Namespace) -> dict[str, Any]:
    """Solve, and write the clusters where the user wants them."""
    if options.output is not None:
        _check_output(options)
    instance = read(options.file, options.format)
    problem = options.problem or problem_of(instance)
    began = time.perf_counter()
    with progress(options.time_limit), warnings_as_lines():
        try:
            found = solution_of(problem, instance, options)
        except NodesError as error:
            raise error.named(instance.node_ids) from error
    result = {"problem": problem, **summary_of(found), "seconds": round(time.perf_counter() - began, 3)}
    if options.output is not None:
        _write_clusters(Path(options.output), instance, found)
        result["wrote"] = options.output
    return result


def _check_output(options: argparse.Namespace) -> None:
    """Raise a ValueError unless a table can be written where the user wants it."""
    path = Path(options.output)
    if options.output:
        check_keeps(path, Path(options.file), options.file)
        check_writable(path)
    if not options.output or path.suffix.lower() in SUFFIXES:
        raise ValueError(
            f"the clusters are written as a table of text: -o must name a file such as clusters.csv, got "
            f"{options.output!r}"
        )


def problem_of(instance: Instance) -> str:
    """The problem that the arrays of a file make."""
    lifted = "lifted_" if instance.lifted_edges is not None else ""
    if instance.node_costs is None:
        return f"{lifted}multicut"
    return f"{lifted}amwc" if lifted or instance.partitionable is not None else "mwc"


def solution_of(problem: str, instance: Instance, options: argparse.Namespace) -> Solution:
    """Call the verb of a problem."""
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


def summary_of(found: Solution | BlockwiseSolution) -> dict[str, Any]:
    """What is printed of a solution."""
    summary = {"objective": float(found.objective), "clusters": int(found.num_clusters)}
    if found.lower_bound is not None:
        summary |= {"lower_bound": float(found.lower_bound), "gap": float(found.objective - found.lower_bound)}
    return summary


def _write_clusters(path: Path, instance: Instance, found: Solution) -> None:
    """Lines ``node,cluster`` or ``node,cluster,class``."""
    columns = {"node": instance.node_ids, "cluster": found.clusters}
    if instance.node_costs is not None:
        columns["class"] = found.node_labels
    with replacing(path) as unfinished:
        write_table(unfinished, columns)
