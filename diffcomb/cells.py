"""The cells of a grid that are nodes of a graph, and how values travel between them and maps of all cells."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .grid import GridGraph, MaskedGridGraph


class Cells:
    """All cells of a grid, or those that a mask holds.

    Attributes
    ----------
    shape : tuple of int
        Of the grid.
    index : Tensor of int64, shape (n,), optional
        The cell of every node, where a mask leaves cells out.
    """

    def __init__(self, graph: GridGraph | MaskedGridGraph, device: torch.device) -> None:
        self.shape: tuple[int, ...]
        self.index: Tensor | None = None
        if isinstance(graph, MaskedGridGraph):
            self.shape, self.index = graph.grid.shape, torch.from_numpy(graph.cells).to(device)
        else:
            self.shape = graph.shape

    def nodes(self, rows: Tensor) -> Tensor:
        """The columns of the nodes in rows (..., cells) of all cells."""
        return rows if self.index is None else rows.index_select(-1, self.index)

    def maps(self, rows: Tensor) -> Tensor:
        """Rows (B, J, n) of the nodes as maps (B, J, *shape), with 0 outside the mask."""
        batch, count = rows.shape[:2]
        if self.index is not None:
            rows = rows.new_zeros(batch, count, math.prod(self.shape)).index_copy(2, self.index, rows)
        return rows.reshape(batch, count, *self.shape)

    def numbers(self, values: Tensor) -> Tensor:
        """Numbers 0, 1, ... (B, n) of the nodes as maps (B, *shape), with -1 outside the mask."""
        if self.index is None:
            return values.reshape(len(values), *self.shape)
        return self.maps(values[:, None] + 1)[:, 0] - 1
