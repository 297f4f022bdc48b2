"""Boxes, and how they tile a volume: cores that meet, halos that overlap, and windows that straddle the faces."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Index = tuple[int, ...]


class Box(NamedTuple):
    """Cells ``start[a] <= p[a] < stop[a]`` of a grid."""

    start: Index
    stop: Index

    @property
    def shape(self) -> Index:
        """Cells along every axis."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Number of cells; 0 if the box is empty along any axis."""
        return math.prod(max(length, 0) for length in self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """To index an array of the whole volume."""
        return self.within(Box((0,) * len(self.start), self.stop))

    def within(self, other: Box) -> tuple[slice, ...]:
        """To index an array that holds the cells of `other`, all of the box among them."""
        return tuple(slice(a - o, b - o) for a, b, o in zip(self.start, self.stop, other.start, strict=True))

    def grown(self, by: Sequence[int], shape: Sequence[int]) -> Box:
        """The box with so many more cells at either end of each axis, as far as the volume goes."""
        start = tuple(max(a - g, 0) for a, g in zip(self.start, by, strict=True))
        return Box(start, tuple(min(b + g, s) for b, g, s in zip(self.stop, by, shape, strict=True)))

    def meet(self, other: Box) -> Box:
        """The cells of both."""
        return Box(tuple(map(max, self.start, other.start)), tuple(map(min, self.stop, other.stop)))


@dataclass(frozen=True)
class Block:
    """One block: it solves the cells of `outer` and decides about those of `core`."""

    name: str
    place: Index
    core: Box
    outer: Box


class Tiling(NamedTuple):
    """Blocks that tile a volume.

    Attributes
    ----------
    shape, block_shape, halo : tuple of int
        Cells of the volume, of a core, and of the margin on every side of it.
    """

    shape: Index
    block_shape: Index
    halo: Index

    @property
    def counts(self) -> Index:
        """Blocks along every axis."""
        return tuple(-(-size // step) for size, step in zip(self.shape, self.block_shape, strict=True))

    def block(self, place: Index) -> Block:
        """The block at a place among the blocks."""
        start = tuple(i * step for i, step in zip(place, self.block_shape, strict=True))
        stop = tuple(min(a + b, size) for a, b, size in zip(start, self.block_shape, self.shape, strict=True))
        core = Box(start, stop)
        return Block("_".join(map(str, place)), place, core, core.grown(self.halo, self.shape))

    def blocks(self) -> Iterator[Block]:
        """All blocks, in row-major order."""
        return map(self.block, itertools.product(*map(range, self.counts)))

    def number(self, place: Index) -> int:
        """The place of a block in that order."""
        number = 0
        for i, count in zip(place, self.counts, strict=True):
            number = number * count + i
        return number

    def touching(self, box: Box) -> Iterator[Block]:
        """The blocks that have a cell of a box in their core."""
        ranges = [range(a // s, -(-b // s)) for a, b, s in zip(box.start, box.stop, self.block_shape, strict=True)]
        return map(self.block, itertools.product(*ranges))

    def windows(self, reach: Index) -> list[Block]:
        """Boxes around the faces between blocks, so far apart that no offset leads from one to another.

        Along each axis a window extends half a block to either side of a face, and the outermost to the volume's end.
        Between two of them `reach` cells are left out, deep within a block. An axis of one block has one window.

        Parameters
        ----------
        reach : tuple of int
            The longest offset along every axis.
        """
        axes = [
            _spans(size, step, count, far)
            for size, step, count, far in zip(self.shape, self.block_shape, self.counts, reach, strict=True)
        ]
        if all(count == 1 for count in self.counts):
            return []
        found = []
        for place in itertools.product(*(range(len(spans)) for spans in axes)):
            start, stop = zip(*(spans[i] for i, spans in zip(place, axes, strict=True)), strict=True)
            core = Box(start, stop)
            if core.size:
                found.append(Block("_".join(map(str, place)), place, core, core.grown(reach, self.shape)))
        return found


def _spans(size: int, step: int, count: int, reach: int) -> list[tuple[int, int]]:
    """Beginnings and ends of the windows along one axis."""
    if count == 1:
        return [(0, size)]
    ends = [0, *(face + (step + 1) // 2 for face in range(step, size - step, step)), size]
    return [(a + (reach if a else 0), b) for a, b in itertools.pairwise(ends)]
