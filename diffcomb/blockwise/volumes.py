"""The stages of a volume: what is read and written, block by block, between one problem of all pieces and the next."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from .._arrays import Array
from ..graph import Graph
from ..problem import Problem, Solution
from .blocks import Block, Box, Tiling
from .graphs import Placed, check_finite_sum
from .grids import (
    UNSOLVED,
    Cells,
    Grid,
    contract_block,
    faces_of,
    move_in_window,
    shell_of,
    solve_block,
    sum_borders,
    write_block,
)
from .runner import Job, Runner
from .sources import Volume
from .store import chunk_bytes


@dataclass
class Pieces:
    """The pieces of all blocks.

    Attributes
    ----------
    placed : Placed
        The problem in which they are the nodes.
    node_labels, clusters : int64 arrays
        The labelling that they are pieces of.
    bases : list of int
        The number of the first piece of every block; -1 where the block failed.
    bound : float
        A lower bound of the problem of the cells.
    cells : zarr.Array
        The piece of every cell, numbered block by block.
    """

    placed: Placed
    node_labels: Array
    clusters: Array
    bases: list[int]
    bound: float
    cells: Any


@dataclass
class VolumeRun:
    """One volume and how it is cut into blocks.

    Attributes
    ----------
    affinities, node_costs : Volume
    grid : Grid
    tiling : Tiling
    width : int
        Cells nearer than this to a face between blocks may move in the last pass.
    runner : Runner
    """

    affinities: Volume
    node_costs: Volume | None
    grid: Grid
    tiling: Tiling
    width: int
    runner: Runner
    failed: set[str] = field(default_factory=set)

    def solve(self, number: int) -> Pieces:
        """Solve all blocks."""
        pieces = self._array(f"pieces{number}", np.int32)
        self._written(f"solve{number}", pieces)

        def arguments(block: Block) -> tuple[Any, ...]:
            return self.grid, block, self._cells(block.outer), pieces

        jobs = (Job(block.name, solve_block, partial(arguments, block)) for block in self.tiling.blocks())
        self.failed |= self.runner.run(f"solve{number}", jobs, self._count)
        return self._gathered(f"solve{number}", pieces, number)

    def contract(self, number: int, windows: list[Block]) -> Pieces:
        """Contract what the windows have changed."""
        pieces = self._array(f"pieces{number}", np.int32)
        self._written(f"contract{number}", pieces)
        labelling = self._labelling(number - 1)
        stage = f"move{number}"
        firsts = self._new_clusters(number, windows)

        def arguments(block: Block) -> tuple[Any, ...]:
            others = [
                (w, f) for w, f in zip(windows, firsts, strict=True) if f >= 0 and w.core.meet(block.core).size > 0
            ]
            return self.grid, block, self._cells(block.core), pieces, labelling, (stage, others)

        left = (block for block in self.tiling.blocks() if block.name not in self.failed)
        jobs = (Job(block.name, contract_block, partial(arguments, block)) for block in left)
        self.failed |= self.runner.run(f"contract{number}", jobs, self._count)
        return self._gathered(f"contract{number}", pieces, number)

    def move(self, number: int) -> list[Block]:
        """Move cells near the faces between blocks; returns the windows in which that was done."""
        windows = self.tiling.windows(self.grid.reach)
        labelling = self._labelling(number - 1)

        def arguments(window: Block) -> tuple[Any, ...]:
            touched = self.tiling.touching(window.core)
            faces = [face for block in touched for face in faces_of(block, self.tiling.counts, self.width)]
            return self.grid, window, self._cells(window.outer), faces, labelling

        jobs = (Job(w.name, move_in_window, partial(arguments, w)) for w in windows)
        failed = self.runner.run(f"move{number}", jobs, len(windows), all_may_fail=True)
        return [window for window in windows if window.name not in failed]

    def write(self, number: int, pieces: Pieces, found: Solution) -> tuple[Any, Any]:
        """Write classes and clusters of all cells; returns the two arrays."""
        out = self._labelling(number)
        self._written(f"write{number}", *out)

        def arguments(block: Block, first: int, last: int) -> tuple[Any, ...]:
            return block, pieces.cells, (found.node_labels[first:last], found.clusters[first:last]), out

        blocks = self._solved(pieces.bases)
        ends = [base for _, base in blocks[1:]] + [len(found.clusters)]
        jobs = (
            Job(block.name, write_block, partial(arguments, block, first, last))
            for (block, first), last in zip(blocks, ends, strict=True)
        )
        # Nothing takes the place of a block that cannot be written.
        self.runner.run(f"write{number}", jobs, self._count, may_fail=False)
        return out

    def _solved(self, bases: list[int]) -> list[tuple[Block, int]]:
        """The blocks that have pieces, and the number of the first piece of each."""
        return [(block, base) for block, base in zip(self.tiling.blocks(), bases, strict=True) if base >= 0]

    @property
    def _count(self) -> int:
        return int(np.prod(self.tiling.counts))

    def _cells(self, box: Box) -> Cells:
        nodes = None if self.node_costs is None else self.node_costs.part(box.slices)
        return Cells(box, self.affinities.part(box.slices), nodes)

    def _labelling(self, number: int) -> tuple[Any, Any]:
        return self._array(f"classes{number}", np.int16), self._array(f"clusters{number}", np.int64)

    def _written(self, stage: str, *arrays: Any) -> None:
        """Begin a stage that writes these arrays: tasks are done again whose chunks are not there as they left them."""
        for block in self.tiling.blocks():
            self.runner.store.forget_unless(stage, block.name, chunks=chunk_bytes(arrays, block.core))

    def _array(self, name: str, dtype: Any) -> Any:
        """An array of the volume in the store, one chunk a core, so that no two tasks write to one file."""
        path = self.runner.store.array_path(name)
        if path.exists():
            try:
                return zarr.open_array(path, mode="r+")
            except (OSError, ValueError, KeyError, TypeError):  # what says how to read it is lost or damaged
                shutil.rmtree(path)
        fill = 0 if name.startswith("classes") else UNSOLVED
        shape, chunks = self.tiling.shape, tuple(map(min, self.tiling.block_shape, self.tiling.shape))
        checked = [ZstdCodec(), Crc32cCodec()]  # so that changed bytes are found
        return zarr.create_array(path, shape=shape, chunks=chunks, dtype=dtype, fill_value=fill, compressors=checked)

    def _new_clusters(self, number: int, windows: list[Block]) -> list[int]:
        """The first id for the clusters that each window made; -1 for a window that changed nothing."""
        first = int(self.runner.store.load(f"whole{number - 1}", "all", ["clusters"])[0].max(initial=-1)) + 1
        found = []
        for window in windows:
            new, gain = self.runner.store.load(f"move{number}", window.name, ("new", "gain"))
            found.append(first if gain > 0 else -1)
            first += int(new)
        return found

    def _gathered(self, stage: str, pieces: Any, number: int) -> Pieces:
        """Sum up the borders, and put together what blocks and borders have left."""
        store = self.runner.store
        border, bases, total = self._bordered(stage, pieces, number)
        edges, costs, bound = [np.empty((0, 2), np.int32)], [np.empty(0)], 0.0
        nodes: list[Array] = []
        centres: list[Array] = []
        labels: list[Array] = []
        clusters: list[Array] = []
        kept = "edges", "edge_costs", "bound", "node_costs", "centres", "node_labels", "clusters"
        for block, base in self._solved(bases):
            own = store.load(stage, block.name, kept)
            between = store.load(border, block.name, ("edges", "edge_costs", "negative"))
            edges += (own[0] + np.int32(base), between[0].astype(np.int32))
            costs += (own[1], between[1])
            bound += float(own[2]) + float(between[2])
            for parts, part in zip((nodes, centres, labels, clusters), own[3:], strict=True):
                parts.append(part)
        count, classes = total, len(self.grid.partitionable)
        graph = Graph(count, np.concatenate(edges))
        node_costs = np.concatenate(nodes) if nodes else np.empty((0, classes))
        problem = Problem(graph, node_costs, np.concatenate(costs), self.grid.partitionable)
        check_finite_sum(problem, "affinities")
        none = np.empty(0, np.int64)
        positions = np.concatenate(centres) if centres else np.empty((0, len(self.tiling.shape)), np.float32)
        x, z = (np.concatenate([none, *parts]) for parts in (labels, clusters))
        return Pieces(Placed(problem, positions), x, z, bases, bound, pieces)

    def _bordered(self, stage: str, pieces: Any, number: int) -> tuple[str, list[int], int]:
        """Sum up the costs between blocks; returns where they are, the first piece of every block, and how many."""
        border = f"border{number}"
        while True:
            bases, total = [], 0
            for block in self.tiling.blocks():
                bases.append(-1 if block.name in self.failed else total)
                if bases[-1] >= 0:
                    total += int(self.runner.store.load(stage, block.name, ["count"])[0])
            failed = self._sum_borders(border, pieces, bases)
            if not failed:
                return border, bases, total
            # A block whose border cannot be read has failed, for its neighbours too: pieces have other numbers then.
            self.failed |= failed
            border = f"border{number}_without{len(self.failed)}"

    def _sum_borders(self, stage: str, pieces: Any, bases: list[int]) -> set[str]:
        """Sum up the costs between blocks; returns those in which that failed."""
        reach = self.grid.reach

        def arguments(block: Block) -> tuple[Any, ...]:
            around = self.tiling.touching(block.core.grown(reach, self.tiling.shape))
            numbered = [(b.core, bases[self.tiling.number(b.place)]) for b in around]
            shell = [(box, self.affinities.part(box.slices)) for box in shell_of(block.core, reach)]
            return self.grid, block, shell, pieces, numbered, self.tiling.shape

        solved = self._solved(bases)
        jobs = (Job(block.name, sum_borders, partial(arguments, block)) for block, _ in solved)
        return self.runner.run(stage, jobs, len(solved))
