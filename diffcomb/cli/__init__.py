"""The command line: ``diffcomb solve``, ``diffcomb segment`` and ``diffcomb info``.

Exit codes: 0 when all is done, also after Ctrl-C where a time limit was given (the best solution until then is
written); 2 for wrong arguments or files, 130 after Ctrl-C before there was anything to write.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._version import __version__
from ..io import FORMATS
from ..io.files import descriptor_of
from ..solvers import SOLVERS
from .info import run_info
from .segment import run_segment
from .solve import PROBLEMS, run_solve

SUFFIXES = ", ".join(suffix for known in FORMATS.values() for suffix in known.suffixes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    source = options.file if hasattr(options, "file") else options.affinities
    try:
        result = options.run(options)
    except KeyboardInterrupt as stop:
        until = "interrupted before there was a solution; with --time-limit the best one is kept"
        print(stop.args[0] if stop.args else until, file=sys.stderr)
        return 130
    except (OSError, RuntimeError, ValueError, TypeError, ImportError) as error:
        return _fail(error)
    except MemoryError as error:
        return _fail(f"there is not enough memory for {source}: {error}")
    lines = [f"{key.replace('_', ' ')}: {value}" for key, value in result.items()]
    output = getattr(options, "output", None)
    beside = output is not None and descriptor_of(Path(output)) == 1  # the result itself went there
    try:
        text = json.dumps(_plain(result)) if options.json else "\n".join(lines)
        print(text, file=sys.stderr if beside else sys.stdout, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python fails to flush it when it ends
        ended = isinstance(error, BrokenPipeError)
        reason = "the program that reads the output has ended" if ended else error.strerror
        return _fail(f"the result of {source} was not printed: {reason}")
    return 0


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    """A result as JSON can hold it, which knows no infinite numbers and no NaN: they become null."""
    strange = (key for key, value in result.items() if isinstance(value, float) and not math.isfinite(value))
    return {**result, **dict.fromkeys(strange)}


def _fail(reason: object) -> int:
    """Say in a line why a command failed; returns the exit code."""
    print(f"diffcomb: {' '.join(str(reason).splitlines())}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("diffcomb", description="Partition graphs and images by multicuts.")
    parser.add_argument("--version", action="version", version=f"diffcomb {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    solve = commands.add_parser("solve", help="cluster the graph in a file")
    solve.add_argument("file", metavar="FILE", help=f"formats by suffix: {SUFFIXES}")
    solve.add_argument("--problem", choices=PROBLEMS, help="by default what the file's arrays make it")
    _add_solver(solve)
    solve.add_argument("--bound", action="store_true", help="also prove a lower bound")
    solve.add_argument("--format", choices=list(FORMATS), help="of FILE, if its suffix does not tell")
    solve.add_argument("-o", "--output", metavar="CLUSTERS.csv", help="write node, cluster (and class) of every node")
    solve.set_defaults(run=run_solve)
    segment = commands.add_parser("segment", help="segment an image or volume by affinities")
    segment.add_argument(
        "affinities", metavar="AFFINITIES", help="(C, ...) array: .npy, .npz, .h5 or .zarr, :NAME behind"
    )
    segment.add_argument("--offsets", type=_offsets, required=True, help="one for each channel: '[[0, 1], [1, 0]]'")
    segment.add_argument("--bias", type=float, help="affinity that is neither attractive nor repulsive (default: 0.5)")
    segment.add_argument("--costs", action="store_true", help="AFFINITIES are signed costs, no probabilities")
    segment.add_argument(
        "--block-shape", type=int, nargs="+", metavar="CELLS",
        help="solve in blocks of so many cells along each axis, for what does not fit in memory; a time limit holds "
        "for each block, and after Ctrl-C the same command resumes",
    )  # fmt: skip
    segment.add_argument("--halo", type=int, nargs="+", metavar="CELLS", help="by how much each block looks beyond")
    segment.add_argument(
        "--store",
        metavar="FOLDER",
        help="keeps what blocks find, for resuming; by default OUTPUT.run, until all is done",
    )
    segment.add_argument(
        "--on-failure", choices=["raise", "cut"],
        help="what happens to a block that cannot be solved: an error (default), or its cells stay unsolved, 0",
    )  # fmt: skip
    _add_solver(segment)
    segment.add_argument(
        "-o", "--output", metavar="LABELS.npy", required=True, help="labels from 1 on: .npy, .npz, .h5, .zarr"
    )
    segment.set_defaults(run=run_segment, bound=False)
    info = commands.add_parser("info", help="say what a file of a problem holds")
    info.add_argument("file", metavar="FILE", help=f"formats by suffix: {SUFFIXES}")
    info.add_argument("--format", choices=list(FORMATS))
    info.set_defaults(run=run_info)
    for command in (solve, segment, info):
        command.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


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
        lengths = {len(offset) for offset in offsets}
        if len(lengths) == 1 and all(type(step) is int for offset in offsets for step in offset):
            return [list(offset) for offset in offsets]
    except (ValueError, TypeError):
        pass
    raise argparse.ArgumentTypeError(
        f"offsets must be lists of integers, one integer for each axis, as '[[0, 1], [1, 0]]', got {text!r}"
    )
