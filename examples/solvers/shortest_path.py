"""Shortest path through a grid of cell costs: batch Dijkstra in numba, with the multi-scale black-box gradient.

python examples/solvers/shortest_path.py
"""

from __future__ import annotations

import heapq

import numba
import numpy as np
from learn import learn

from diffcomb import Blackbox, LogGrid, Relative, perturbed_grad


@numba.njit(nogil=True)
def dijkstra(costs: np.ndarray) -> np.ndarray:
    """1 for the cells of the cheapest path between opposite corners of each grid (B, H, W); 8 neighbours."""
    paths = np.zeros_like(costs)
    B, H, W = costs.shape
    for b in range(B):
        distance = np.full(H * W, np.inf)
        parent = np.full(H * W, -1)
        distance[0] = costs[b, 0, 0]
        heap = [(distance[0], 0)]
        while heap:
            d, cell = heapq.heappop(heap)
            if cell == H * W - 1:
                break
            if d > distance[cell]:
                continue
            i, j = cell // W, cell % W
            for y in range(max(i - 1, 0), min(i + 2, H)):
                for x in range(max(j - 1, 0), min(j + 2, W)):
                    through = d + costs[b, y, x]
                    if through < distance[y * W + x]:
                        distance[y * W + x] = through
                        parent[y * W + x] = cell
                        heapq.heappush(heap, (through, y * W + x))
        cell = H * W - 1
        while cell >= 0:
            paths[b, cell // W, cell % W] = 1
            cell = parent[cell]
    return paths


def nonnegative(costs: np.ndarray) -> np.ndarray:
    """Dijkstra needs costs >= 0, hence negative costs, predicted or perturbed, are set to 0."""
    return dijkstra(np.maximum(costs, 0))


path = perturbed_grad(nonnegative, estimator=Blackbox(Relative(LogGrid(0.01, 10, 5))), cost_ndims=2, vectorized=True)

if __name__ == "__main__":
    learn(path, (8, 8))
