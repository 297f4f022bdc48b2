"""``diffcomb segment``: labels of an image or volume by affinities, in one piece or in blocks."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..affinity import BIAS, CLIP, check_bias_and_clip, probabilities_of, probabilities_to_costs
from ..grid import grid_graph
from ..io import Instance, open_array, save_array
from ..io.files import errors_named
from ..io.volumes import check_output, new_array, split_path
from .progress import progress, warnings_as_lines
from .solve import solution_of, summary_of


def run_segment(options: argparse.Namespace) -> dict[str, Any]:
    """Segment, and write labels from 1 on."""
    affinities = open_array(options.affinities)
    if affinities.ndim != len(options.offsets[0]) + 1 or affinities.shape[0] != len(options.offsets):
        raise ValueError(
            f"{options.affinities} must have one channel for each of {len(options.offsets)} offsets of "
            f"{len(options.offsets[0])} steps, got shape {affinities.shape}"
        )
    if options.costs and options.bias is not None:
        raise ValueError(f"--bias is of no use with --costs, which are taken as they are, got {options.bias}")
    check_bias_and_clip(_bias(options), CLIP)
    check_output(options.output, options.affinities, in_pieces=options.block_shape is not None)
    began = time.perf_counter()
    result = _in_one_piece(affinities, options) if options.block_shape is None else _in_blocks(affinities, options)
    return {**result, "seconds": round(time.perf_counter() - began, 3), "wrote": options.output}


def _in_one_piece(affinities: Any, options: argparse.Namespace) -> dict[str, Any]:
    for name in ("halo", "store", "on_failure"):
        if getattr(options, name) is not None:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} is of no use without --block-shape, got {getattr(options, name)}")
    graph = grid_graph(affinities.shape[1:], options.offsets)
    with errors_named(split_path(options.affinities)[0]):
        values = graph.edge_values(np.asarray(affinities))
        costs = values if options.costs else probabilities_to_costs(probabilities_of(values), bias=_bias(options))
    with progress(options.time_limit), warnings_as_lines():
        found = solution_of("multicut", Instance(graph, costs), options)
    save_array(options.output, (found.clusters + 1).astype(np.uint32).reshape(graph.shape))
    return summary_of(found)


def _bias(options: argparse.Namespace) -> float:
    return BIAS if options.bias is None else float(options.bias)


def _in_blocks(affinities: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Blocks are read, solved and written one by one; the store keeps what is finished."""
    try:
        from ..blockwise import solve_blockwise
        from ..blockwise.store import remove
    except ImportError as error:
        raise ImportError(f"--block-shape needs pip install 'diffcomb[blockwise]': {error}") from error
    shape, block_shape = affinities.shape[1:], tuple(options.block_shape)
    store = Path(options.store or f"{split_path(options.output)[0]}.run")
    search = {"solver": options.solver, "effort": options.effort, "time_limit": options.time_limit}
    try:
        with warnings_as_lines():
            found = solve_blockwise(
                options.affinities, offsets=options.offsets, values="costs" if options.costs else "probabilities",
                bias=_bias(options), block_shape=block_shape, halo=options.halo, seed=options.seed, store=store,
                on_failure=options.on_failure or "raise",
                solver={name: value for name, value in search.items() if value is not None},
            )  # fmt: skip
        _write(found.clusters, options, shape, store)
    except KeyboardInterrupt:
        done = f"interrupted; finished blocks lie in {store}: rerun the same command to resume"
        raise KeyboardInterrupt(done) from None
    if not options.store:
        try:
            remove(store)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted after all was written: {store} is of no use any more") from None
    failed = {"failed_blocks": " ".join(failure.block for failure in found.failed)} if found.failed else {}
    return {**summary_of(found), "blocks": found.levels[0].blocks, "tasks_computed": found.computed, **failed}


def _write(clusters: Any, options: argparse.Namespace, shape: tuple[int, ...], store: Path) -> None:
    """Write labels block by block; where that fails, say what is not lost."""
    from ..blockwise.blocks import Tiling

    try:
        with new_array(options.output, shape, np.uint32, tuple(options.block_shape)) as labels:
            for block in Tiling(shape, tuple(options.block_shape), (0,) * len(shape)).blocks():
                labels[block.core.slices] = (clusters[block.core.slices] + 1).astype(np.uint32)
    except OSError as error:
        raise OSError(f"{error}; finished blocks lie in {store}: rerun the command with --store {store}") from error
