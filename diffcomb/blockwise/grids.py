"""Blocks of a volume: tasks that read their own cells, and leave what they find in the store.

1. `solve_block`: the multicut of a core and its halo; the pieces of the core, and the costs between them.
2. `sum_borders`: the costs of the edges that lead out of a core, between its pieces and those of its neighbours.
3. `write_block`: the clusters of a core's pieces, once the problem of all pieces is solved.
4. `move_in_window`: single cells around the faces between blocks change their clusters.
5. `contract_block`: the pieces of what has changed, for another problem of all pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._arrays import Array, float_array
from ..affinity import probabilities_of, probabilities_to_costs
from ..grid import grid_graph
from ..problem import Problem
from .blocks import Block, Box
from .parts import Fixed, SolverOptions, moved, pieces_of
from .sources import Part
from .store import Store, chunk_bytes, stored

UNSOLVED = -1  # the cluster of cells whose block failed


@dataclass(frozen=True)
class Grid:
    """What all blocks of a volume have in common.

    Attributes
    ----------
    offsets : tuple of tuple of int
    values : {"probabilities", "costs"}
    bias, clip : float
        Of :func:`diffcomb.probabilities_to_costs`.
    partitionable : bool array, shape (K,)
    options : SolverOptions
    """

    offsets: tuple[tuple[int, ...], ...]
    values: str
    bias: float
    clip: float
    partitionable: Array
    options: SolverOptions

    @property
    def reach(self) -> tuple[int, ...]:
        """The longest offset along every axis."""
        return tuple(max(map(abs, steps)) for steps in zip(*self.offsets, strict=True))

    def costs(self, maps: Array, box: Box, whole: Box) -> Array:
        """Costs of the edges from what the volume holds in a box; what leads out of `whole` may be anything."""
        maps = _leading_inside(np.asarray(maps), self.offsets, box, whole)
        if self.values == "costs":
            return float_array(maps, f"affinities (of the cells from {box.start} on)", "(C, *shape)")
        probabilities = probabilities_of(maps).astype(np.float32, copy=False)
        return np.asarray(probabilities_to_costs(probabilities, bias=self.bias, clip=self.clip))


def _leading_inside(maps: Array, offsets: Sequence[Sequence[int]], box: Box, whole: Box) -> Array:
    """Maps of the cells of a box with 0 where an edge leads out of `whole`."""
    found = np.zeros_like(maps)
    for channel, offset in enumerate(offsets):
        begins = Box(
            tuple(a - d for a, d in zip(whole.start, offset, strict=True)),
            tuple(b - d for b, d in zip(whole.stop, offset, strict=True)),
        ).meet(box)
        if begins.size:
            where: Any = (channel, *begins.within(box))
            found[where] = maps[where]
    return found


class Cells(NamedTuple):
    """The cells of a box: where their affinities and node costs are read."""

    box: Box
    affinities: Part
    node_costs: Part | None

    def read(self, grid: Grid) -> Costs:
        """Read them, and check them."""
        nodes = None if self.node_costs is None else float_array(self.node_costs.read(), "node_costs", "(K, *shape)")
        return Costs(self.box, grid.costs(self.affinities.read(), self.box, self.box), nodes)


class Costs(NamedTuple):
    """Costs of the cells of a box: of edges (C, *shape), and of classes (K, *shape)."""

    box: Box
    edges: Array
    nodes: Array | None

    def inside(self, box: Box) -> Costs:
        """Those of a part of the box."""
        where = (slice(None), *box.within(self.box))
        return Costs(box, self.edges[where], None if self.nodes is None else self.nodes[where])

    def problem(self, grid: Grid) -> Problem:
        """The problem of the cells of the box alone."""
        graph = grid_graph(self.box.shape, grid.offsets)
        edges = np.ascontiguousarray(graph.edge_values(self.edges))
        if self.nodes is None:
            return Problem(graph, np.zeros((graph.num_nodes, 1), edges.dtype), edges, grid.partitionable)
        nodes = np.ascontiguousarray(self.nodes.reshape(len(self.nodes), -1).T)
        return Problem(graph, nodes, edges, grid.partitionable)


def solve_block(store: Store, stage: str, name: str, grid: Grid, block: Block, cells: Cells, pieces: Any) -> None:
    """Solve core and halo, and keep what the core decides."""
    costs = cells.read(grid)
    found = grid.options(costs.problem(grid), store.seed(grid.options.seed, stage, name))
    core = block.core.within(block.outer)
    labels, clusters = (a.reshape(block.outer.shape)[core].ravel() for a in (found.node_labels, found.clusters))
    _keep(store, stage, name, grid, costs.inside(block.core), labels, clusters, pieces)


def contract_block(
    store: Store, stage: str, name: str, grid: Grid, block: Block, cells: Cells, pieces: Any,
    labelling: tuple[Any, Any], windows: tuple[str, Sequence[tuple[Block, int]]],
) -> None:  # fmt: skip
    """Keep the pieces of the clusters of a core, as the windows that meet it have changed them."""
    labels, clusters = (stored(array, block.core) for array in labelling)
    before, others = windows
    for window, first in others:
        both = window.core.meet(block.core)
        x, z = store.load(before, window.name, ("node_labels", "clusters"))
        if both.size and x.size:
            z = np.where(z <= -2, first - 2 - z, z)  # clusters that the window made
            labels[both.within(block.core)] = x[both.within(window.core)]
            clusters[both.within(block.core)] = z[both.within(window.core)]
    _keep(store, stage, name, grid, cells.read(grid), labels.ravel(), clusters.ravel(), pieces)


def _keep(
    store: Store, stage: str, name: str, grid: Grid, costs: Costs, labels: Array, clusters: Array, pieces: Any
) -> None:
    """Contract the pieces of a core; the cells' go to an array of the whole volume, all else to the store."""
    problem, box = costs.problem(grid), costs.box
    found = pieces_of(problem, labels, clusters)
    sizes = np.bincount(found.group, minlength=found.count)
    axes = np.meshgrid(*(np.arange(a, b, dtype=np.float64) for a, b in zip(*box, strict=True)), indexing="ij")
    centres = [np.bincount(found.group, axis.ravel(), found.count) / np.maximum(sizes, 1) for axis in axes]
    if not store.is_wanted(stage, name):
        return
    pieces[box.slices] = found.group.reshape(box.shape)
    store.save(
        stage, name, count=found.count, edges=found.problem.graph.edges, edge_costs=found.problem.edge_costs,
        node_costs=found.problem.node_costs, centres=np.stack(centres, axis=1).astype(np.float32),
        node_labels=labels[found.node], clusters=clusters[found.node], chunks=chunk_bytes([pieces], box),
        bound=grid.options.lower_bound(problem, labels, clusters),
    )  # fmt: skip


def sum_borders(
    store: Store, stage: str, name: str, grid: Grid, block: Block, shell: Sequence[tuple[Box, Part]], pieces: Any,
    bases: Sequence[tuple[Box, int]], shape: tuple[int, ...],
) -> None:  # fmt: skip
    """Add up the costs of the edges that begin in a core and end in another.

    Parameters
    ----------
    shell : sequence of (Box, Part)
        The cells of the core that are near enough to its surface, in boxes, and their affinities.
    bases : sequence of (Box, int)
        The blocks here, and the number of the first piece of each; -1 where the block failed.
    shape : tuple of int
        Of the volume.
    """
    around = block.core.grown(grid.reach, shape)
    number = stored(pieces, around)
    for box, base in bases:
        here = box.meet(around).within(around)
        number[here] = UNSOLVED if base < 0 else number[here] + base
    found = [np.empty((0, 3))]
    for box, part in shell:
        values = grid.costs(part.read(), box, Box((0,) * len(shape), shape))
        for offset, channel in zip(grid.offsets, values, strict=True):
            found.append(_leaving(box, offset, channel, block.core, around, number))
    u, v, costs = np.concatenate(found).T
    known = (u >= 0) & (v >= 0)
    edges, sums = _summed(u[known].astype(np.int64), v[known].astype(np.int64), costs[known])
    store.save(stage, name, edges=edges, edge_costs=sums, negative=np.minimum(costs[known], 0).sum())


def _leaving(box: Box, offset: Sequence[int], costs: Array, core: Box, around: Box, number: Array) -> Array:
    """Rows (piece, piece, cost) of the edges from a box to cells outside the core, within what is `around`."""
    targets = Box(
        tuple(a + d for a, d in zip(box.start, offset, strict=True)),
        tuple(b + d for b, d in zip(box.stop, offset, strict=True)),
    ).meet(around)
    if any(length <= 0 for length in targets.shape):
        return np.empty((0, 3))
    sources = Box(
        tuple(a - d for a, d in zip(targets.start, offset, strict=True)),
        tuple(b - d for b, d in zip(targets.stop, offset, strict=True)),
    )
    inside = np.ones(targets.shape, bool)
    for axis, (a, b) in enumerate(zip(*targets, strict=True)):
        at = np.arange(a, b)
        line = (at >= core.start[axis]) & (at < core.stop[axis])
        inside &= line.reshape([-1 if i == axis else 1 for i in range(len(offset))])
    outside = ~inside
    parts = number[sources.within(around)], number[targets.within(around)], costs[sources.within(box)]
    return np.stack([part[outside].astype(np.float64) for part in parts], axis=1)


def _summed(u: Array, v: Array, costs: Array) -> tuple[Array, Array]:
    """Edges without parallel ones, the smaller node first, and their summed costs."""
    if not len(u):
        return np.empty((0, 2), np.int64), np.empty(0)
    low, high = np.minimum(u, v), np.maximum(u, v)
    order = np.lexsort((high, low))
    low, high, costs = low[order], high[order], costs[order]
    first = np.flatnonzero(np.append(True, (np.diff(low) != 0) | (np.diff(high) != 0)))
    return np.stack([low[first], high[first]], axis=1), np.add.reduceat(costs, first)


def write_block(
    store: Store, stage: str, name: str, block: Block, pieces: Any, tables: tuple[Array, Array], out: tuple[Any, Any]
) -> None:
    """Write classes and clusters of a core's cells."""
    group = stored(pieces, block.core)
    if group.size and group.min() < 0:
        raise ValueError("pieces are missing in the store: delete it, or choose another one")
    for table, array in zip(tables, out, strict=True):
        array[block.core.slices] = table[group]
    store.save(stage, name, chunks=chunk_bytes(out, block.core))


def move_in_window(
    store: Store, stage: str, name: str, grid: Grid, window: Block, cells: Cells, faces: Sequence[Box],
    labelling: tuple[Any, Any],
) -> None:  # fmt: skip
    """Move the cells of a window that lie near a face between blocks, and keep their classes and clusters."""
    labels, clusters = (stored(array, window.outer) for array in labelling)
    core = window.core.within(window.outer)
    free = np.zeros(window.outer.shape, bool)
    for face in faces:
        here = face.meet(window.core)
        if here.size:
            free[here.within(window.outer)] = True
    found = None
    if (clusters != UNSOLVED).all():
        fixed = Fixed(cells.read(grid).problem(grid), free.ravel(), labels.ravel(), clusters.ravel())
        found = moved(fixed, grid.options, store.seed(grid.options.seed, stage, name))
    if found is None:
        nothing = np.empty((0,) * len(window.core.shape), np.int64)
        store.save(stage, name, node_labels=nothing, clusters=nothing, new=0, gain=0.0)
        return
    x, z, gain = found
    ids, first = np.unique(z[z <= -2], return_inverse=True)
    z[z <= -2] = -2 - first  # without gaps
    labels[free], clusters[free] = x, z
    store.save(stage, name, node_labels=labels[core], clusters=clusters[core], new=len(ids), gain=gain)


def shell_of(core: Box, reach: Sequence[int]) -> list[Box]:
    """The cells of a core that are nearer to its surface than an offset reaches, in boxes that do not overlap."""
    boxes = []
    start, stop = list(core.start), list(core.stop)

    def take(axis: int, low: int, high: int) -> None:
        box = Box((*start[:axis], low, *start[axis + 1 :]), (*stop[:axis], high, *stop[axis + 1 :]))
        if box.size:
            boxes.append(box)

    for axis, far in enumerate(reach):
        low, high = min(start[axis] + far, stop[axis]), stop[axis]
        take(axis, start[axis], low)
        start[axis] = low
        low = max(high - far, low)
        take(axis, low, high)
        stop[axis] = low
    return boxes


def faces_of(block: Block, counts: Sequence[int], width: int) -> list[Box]:
    """The cells of a block's core within so many cells of a face to another block."""
    boxes = []
    for axis, count in enumerate(counts):
        start, stop = block.core
        for low, high, has_face in (
            (start[axis], min(start[axis] + width, stop[axis]), block.place[axis] > 0),
            (max(stop[axis] - width, start[axis]), stop[axis], block.place[axis] + 1 < count),
        ):
            if has_face:
                boxes.append(Box((*start[:axis], low, *start[axis + 1 :]), (*stop[:axis], high, *stop[axis + 1 :])))
    return boxes
