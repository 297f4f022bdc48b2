"""How sure a model is of each cluster: eq. 12, with costs instead of probabilities and the opposite sign."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Confidence:
    """Confidence of every cluster of an image: minus eq. 12, so that higher is surer.

    Eq. 12 is the mean class cost inside, plus the mean cost of the cut edges at the border, minus that of the
    inner edges; a mean over no edge is 0. Sums are collected strip by strip, in memory in proportion to a strip.

    Parameters
    ----------
    offsets : of the edges, not negative
    classes : (M,) class of every cluster
    """

    def __init__(self, offsets: Sequence[Sequence[int]], classes: NDArray[np.int64]) -> None:
        self.offsets = offsets
        self.classes = classes
        self._sums = np.zeros((3, len(classes)))  # of class costs, of border costs, of inner costs
        self._counts = np.zeros((3, len(classes)))

    def add(
        self,
        clusters: NDArray[np.int64],
        class_costs: NDArray[np.float32],
        edge_costs: NDArray[np.float32],
        first: int = 0,
    ) -> None:
        """Add costs (K, h, W) and (O, h, W) of the rows from `first` on of an image with clusters (H, W)."""
        rows = class_costs.shape[1]
        z = clusters[first : first + rows]
        costs = np.take_along_axis(class_costs, self.classes[z][None], axis=0)[0]
        self._collect(0, z, costs)
        for offset, costs in zip(self.offsets, edge_costs, strict=True):
            u, v, costs = edge_ends(clusters, costs, offset, first)
            inner = u == v
            self._collect(2, u[inner], costs[inner])
            for end in (u[~inner], v[~inner]):
                self._collect(1, end, costs[~inner])

    def _collect(self, which: int, index: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        count = len(self.classes)
        self._sums[which] += np.bincount(index.ravel(), values.ravel(), count)
        self._counts[which] += np.bincount(index.ravel(), minlength=count)

    def scores(self) -> NDArray[np.float64]:
        """The confidence of every cluster."""
        unary, border, inner = self._sums / np.maximum(self._counts, 1)
        return -(unary + border - inner)


def edge_ends(
    values: NDArray, costs: NDArray[np.float32], offset: Sequence[int], first: int = 0
) -> tuple[NDArray, NDArray, NDArray[np.float32]]:
    """Values of an image (H, W) at both ends of the edges whose costs stand in a strip (h, W) of rows from `first` on.

    Costs of the edge p -- p + d stand at p + ceil(d / 2); those without an edge are left out.
    """
    height, width = values.shape
    (down, right), rows = offset, costs.shape[0]
    low = max(first, -(-down // 2))
    high = max(low, min(first + rows, height - down // 2))
    left, end = -(-right // 2), max(-(-right // 2), width - right // 2)
    u = values[low - -(-down // 2) : high - -(-down // 2), : end - left]
    v = values[low + down // 2 : high + down // 2, right : right + end - left]
    return u, v, costs[low - first : high - first, left:end]
