"""`solve_blockwise`: the story of a block-wise solve, for volumes and for graphs whose nodes have positions.

1. *Blocks.* Every block is solved with a halo around it; connected parts of its clusters in its core become *pieces*.
2. *Levels.* Pieces are the nodes of a smaller problem, whose edges are the summed costs of what was contracted. It is
   solved in blocks again, twice as large, as often as `levels` says; the last problem is solved in one piece.
3. *Polish.* Single nodes near the faces between blocks move between clusters; what changed is contracted and solved
   again.

Nothing is decided by the order in which blocks finish, so the number of workers does not change the result.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .._arrays import Array
from .._lock import locked
from ..affinity import BIAS, CLIP, check_bias_and_clip
from ..problem import Problem, Solution, solution_of_labels
from ..solve_instances import check_flag
from .arguments import (
    check_graph_has_no,
    check_options,
    check_values,
    classes_of,
    digest_of_graph,
    offsets_of,
    placed_graph,
    sizes_of,
)
from .blocks import Tiling
from .graphs import Placed, move_nodes, solve_blocks
from .grids import Grid
from .parts import SolverOptions, pieces_of, solver_options
from .result import BlockwiseSolution, Clock
from .runner import Runner, executor_of
from .sources import Volume
from .store import Store
from .volumes import VolumeRun


def solve_blockwise(
    problem: Any,
    *,
    offsets: Any = None,
    node_costs: Any = None,
    partitionable: Any = None,
    values: str = "probabilities",
    bias: float = BIAS,
    clip: float = CLIP,
    block_shape: Sequence[int] | None = None,
    halo: Sequence[int] | None = None,
    levels: int = 1,
    solver: Any = None,
    polish: bool = True,
    bound: bool = False,
    client: Any = None,
    store: Any = None,
    resume: bool = True,
    retries: int = 3,
    on_failure: str = "raise",
    timeout: float | None = None,
    key: str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> BlockwiseSolution:
    """Solve a multicut or an asymmetric multiway cut that one machine, or one solve, cannot hold.

    Parameters
    ----------
    problem : array (C, *S), path, or tuple (graph, edge costs, positions)
        Affinities of a volume: numpy, zarr, h5py or dask arrays, a path as ``diffcomb.io.open_array`` takes it, or any
        object with shape, dtype and slices. Each block reads its own part. Or a graph with m costs, and positions
        (n, D) of its nodes, by which blocks are cut.
    offsets : iterable of tuples of int
        Of affinities: which cell ``p + offsets[c]`` the value at ``[c, p]`` joins to p.
    node_costs : array (K, *S) or (n, K), optional
        Class costs, for an asymmetric multiway cut.
    partitionable : mask or class indices, optional
        The classes that may be split; with node costs only.
    values : {"probabilities", "costs"}
        What affinities are: in [0, 1] (or 0 to 255 as uint8), turned into costs by `probabilities_to_costs` with `bias`
        and `clip`; or costs.
    block_shape : sequence of int, optional
        Cells (or units of the positions) of a block along each axis. By default 512 in 2-D and 96 in 3-D; for graphs
        it must be given.
    halo : sequence of int, optional
        By how much each block also looks beyond its core on every side. An eighth of a block by default.
    levels : int
        Times that problems are solved in blocks, before the last one is solved in one piece. More than 1 only where
        the graph of all pieces does not fit in memory: it costs quality.
    solver : dict, str or callable, optional
        `solver`, `effort` and `time_limit` as in :func:`diffcomb.multicut`; with a time limit, results depend on the
        machine.
    polish : bool
        Whether single nodes near the faces between blocks may move at the end. It takes about as long as the blocks.
    bound : bool
        Also prove a lower bound of the whole problem, block by block.
    client : None, dask.distributed.Client or executor
        Where blocks are solved: threads of this process, a Dask cluster, or a PEP 3148 executor whose workers see the
        folder of `store`. Each block takes one thread.
    store : path, optional
        A folder for everything that is finished; a temporary one by default. A zarr array in it holds the clusters.
    resume : bool
        Whether the store may hold a run of the same inputs and options, which is continued.
    retries : int
        Further tries of a block that fails.
    on_failure : {"raise", "cut"}
        What happens to a block that still fails: an error that names it; or it stays unsolved and is named in
        ``failed``. Unsolved cells of a volume get cluster -1, and their edges do not count; unsolved nodes of a graph
        enter the next problem one by one.
    timeout : float, optional
        Seconds after which a block that has begun counts as failed. A thread or a worker that hangs cannot be
        stopped, and is not waited for.
    key : str, optional
        Names the inputs and their version in the store: for dask arrays and objects of yours, of which nothing else
        tells whether a later run gets the same.
    seed : int
    progress : bool
        Show bars, on a terminal and with tqdm.

    Returns
    -------
    BlockwiseSolution

    Raises
    ------
    BlockwiseError
        If a block fails for good, or what runs the blocks does. What had finished is kept in the store.
    FileExistsError, ValueError
        If the store holds other files, or a run of other inputs or options.
    TypeError, ValueError
        If an argument has the wrong type, shape or range.

    Notes
    -----
    Memory of a worker grows with the cells of a block and its halo, times offsets; this process holds the problem of
    all pieces. A volume is read twice, and twice more to polish.

    Examples
    --------
    >>> affinities = np.ones((2, 8, 8), np.float32)
    >>> affinities[0, :, 3] = 0.0
    >>> result = solve_blockwise(affinities, offsets=[(0, 1), (1, 0)], block_shape=(4, 4), halo=(2, 2))
    >>> result.num_clusters, result.clusters[0].tolist()
    (2, [0, 0, 0, 0, 1, 1, 1, 1])
    """
    options = solver_options({} if solver is None else solver, seed, bound)
    check_options(levels, retries, on_failure, timeout, values, seed, store)
    check_bias_and_clip(bias, clip)
    if values == "costs" and (bias, clip) != (BIAS, CLIP):
        raise ValueError(f"bias and clip are of no use for values='costs', got bias={bias} and clip={clip}")
    for name, value in (("polish", polish), ("bound", bound)):
        check_flag(value, name)
    if store is not None:
        options.check_name()
    run = {"levels": levels, "polish": polish, "bound": bound, "seed": int(seed), **options.named()}

    @contextmanager
    def runner(**inputs: Any) -> Iterator[Runner]:
        with executor_of(client, timeout) as executor, _folder(store) as folder:
            kept = Store(folder, {**inputs, **run}, resume)
            yield Runner(*executor, kept, retries, on_failure, timeout, progress, kept_for_later=store is not None)

    if isinstance(problem, (tuple, list)):
        check_graph_has_no(offsets=(offsets, None), bias=(bias, BIAS), clip=(clip, CLIP), key=(key, None))
        placed = placed_graph(problem, node_costs, partitionable)
        size, margin = sizes_of(block_shape, halo, placed.positions.shape[1], None)
        graph = {} if store is None else {"graph": digest_of_graph(placed)}
        with runner(**graph, block_shape=size, halo=margin) as running:
            return _solve_graph(placed, size, margin, levels, options, polish, running, node_costs is not None)
    affinities = Volume(problem, "affinities")
    check_values(affinities, values)
    vectors = offsets_of(affinities, offsets)
    shape = affinities.shape[1:]
    nodes = None if node_costs is None else Volume(node_costs, "node_costs")
    classes = classes_of(nodes, partitionable, shape)
    size, margin = sizes_of(block_shape, halo, len(shape), shape)
    grid = Grid(vectors, values, float(bias), float(clip), classes, options)
    inputs = {"affinities": affinities, **({} if nodes is None else {"node_costs": nodes})}
    known = {} if store is None else {name: volume.identity(key) for name, volume in inputs.items()}
    costs = {"values": values, "bias": grid.bias, "clip": grid.clip, "partitionable": classes.tolist()}
    with runner(**known, **costs, offsets=vectors, block_shape=size, halo=margin) as running:
        volume = VolumeRun(affinities, nodes, grid, Tiling(shape, size, margin), max(*margin, max(size) // 4), running)
        return _solve_volume(volume, levels, options, polish, in_memory=store is None)


@contextmanager
def _folder(store: Any) -> Iterator[Any]:
    """The folder of the run, or a temporary one; nobody else may use it meanwhile."""
    if store is not None:
        with locked(Path(store), "uses the store"):
            yield store
        return
    with tempfile.TemporaryDirectory(prefix="diffcomb-", ignore_cleanup_errors=True) as folder:
        yield folder


def _solve_volume(volume: Any, levels: int, options: SolverOptions, polish: bool, in_memory: bool) -> BlockwiseSolution:
    """Blocks, levels, polish, and the arrays of the result."""
    clock, runner, tiling = Clock(), volume.runner, volume.tiling
    pieces = volume.solve(0)
    bound = pieces.bound
    cells = math.prod(tiling.shape)
    clock.stage("blocks", math.prod(tiling.counts), cells, cells * len(volume.grid.offsets))
    sizes = np.array(tiling.block_shape, float), np.array(tiling.halo, float)
    found = _solve_pieces(pieces.placed, levels, sizes, options, runner, clock)
    arrays = volume.write(0, pieces, found)
    if polish and tiling.windows(volume.grid.reach):
        windows = volume.move(1)
        pieces = volume.contract(1, windows)
        clock.stage("polish", len(windows), cells, cells * len(volume.grid.offsets))
        start = pieces.node_labels, pieces.clusters
        found = _solve_whole(pieces.placed.problem, options, runner, "whole1", clock, start)
        arrays = volume.write(1, pieces, found)
    labels, clusters = (array[...] for array in arrays) if in_memory else arrays
    bound = -math.inf if runner.failed else bound  # it would count cells that the objective does not
    return _result(clusters, None if volume.node_costs is None else labels, found, bound, runner, clock)


def _solve_graph(
    placed: Placed, size: Any, halo: Any, levels: int, options: SolverOptions, polish: bool, runner: Runner,
    has_classes: bool,
) -> BlockwiseSolution:  # fmt: skip
    """The same for a graph."""
    clock = Clock()
    box, margin = np.array(size, float), np.array(halo, float)
    group, pieces, bound, blocks = solve_blocks(placed, box, margin, runner, options, "solve0")
    clock.stage("blocks", blocks, *_measure(placed.problem))
    found = _solve_pieces(pieces, levels, (box, margin), options, runner, clock)
    x, z = found.node_labels[group], found.clusters[group]
    if polish:
        x, z, windows = move_nodes(placed, (x, z), box, runner, options, "move1")
        clock.stage("polish", windows, *_measure(placed.problem))
        again = pieces_of(placed.problem, x, z)
        start = x[again.node], z[again.node]
        found = _solve_whole(again.problem, options, runner, "whole1", clock, start)
        x, z = found.node_labels[again.group], found.clusters[again.group]
    whole = solution_of_labels(placed.problem, x, z)
    return _result(whole.clusters, x if has_classes else None, whole, bound, runner, clock)


def _solve_pieces(
    placed: Placed, levels: int, sizes: tuple[Array, Array], options: SolverOptions, runner: Runner, clock: Clock
) -> Solution:
    """The problem of all pieces: in larger and larger blocks, then in one piece."""
    first, groups = placed, []
    for level in range(1, levels):
        size, halo = (lengths * 2.0**level for lengths in sizes)
        nodes_and_edges = _measure(placed.problem)
        group, placed, _, blocks = solve_blocks(placed, size, halo, runner, options, f"level{level}")
        clock.stage(f"level {level}", blocks, *nodes_and_edges)
        groups.append(group)
    found = _solve_whole(placed.problem, options, runner, "whole0", clock)
    if not groups:
        return found
    x, z = found.node_labels, found.clusters
    for group in reversed(groups):
        x, z = x[group], z[group]
    return solution_of_labels(first.problem, x, z)


def _solve_whole(
    problem: Problem, options: SolverOptions, runner: Runner, stage: str, clock: Clock,
    init: tuple[Array, Array] | None = None,
) -> Solution:  # fmt: skip
    """Solve a problem of all pieces here, or find its solution in the store."""
    store = runner.store
    store.enter(stage)
    if store.has(stage, "all"):
        labels, clusters = store.load(stage, "all", ("node_labels", "clusters"))
        found = solution_of_labels(problem, labels, clusters)
    else:
        found = options(problem, store.seed(options.seed, stage, "all"), init)
        store.save(stage, "all", node_labels=found.node_labels, clusters=found.clusters)
        runner.computed += 1
    store.leave(stage, ["all"])
    clock.stage(stage, 1, *_measure(problem))
    return found


def _result(
    clusters: Any, node_labels: Any, found: Solution, bound: float, runner: Runner, clock: Clock
) -> BlockwiseSolution:
    objective = float(found.objective)
    proven = None if bound == -math.inf else min(bound, objective)
    return BlockwiseSolution(
        clusters, node_labels, objective, found.num_clusters, runner.failed, clock.stages, proven, runner.computed
    )


def _measure(problem: Problem) -> tuple[int, int]:
    return problem.graph.num_nodes, problem.graph.num_edges
