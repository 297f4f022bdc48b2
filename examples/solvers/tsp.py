"""Travelling salesman with nearest neighbour and 2-opt: gradients through a heuristic.

    python examples/solvers/tsp.py

The solver takes costs of all pairs (n, n) and returns the edges of the tour; only the upper triangle of both counts.
Warm starts begin with the tour of the forward pass, and the repair keeps the gradient from pointing uphill.
"""

from __future__ import annotations

import numba
import numpy as np
from learn import learn

from diffcomb import Blackbox, LogGrid, Relative, perturbed_grad


@numba.njit(nogil=True)
def two_opt(costs: np.ndarray, tour: np.ndarray) -> np.ndarray:
    """Reverse parts of the tour until no reversal shortens it."""
    n = len(tour)
    improved = True
    while improved:
        improved = False
        for i in range(n - 1):
            for j in range(i + 2, n if i > 0 else n - 1):
                a, b, c, d = tour[i], tour[i + 1], tour[j], tour[(j + 1) % n]
                if costs[a, c] + costs[b, d] < costs[a, b] + costs[c, d] - 1e-9:
                    tour[i + 1 : j + 1] = tour[i + 1 : j + 1][::-1].copy()
                    improved = True
    return tour


def tsp(costs: np.ndarray, *, init: tuple[np.ndarray, ...] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Edges of a short tour in the upper triangle, and the tour; `init` is such a pair."""
    n = len(costs)
    symmetric = np.triu(costs, 1) + np.triu(costs, 1).T
    tour = np.zeros(n, np.int64) if init is None else init[-1].copy()
    for step in range(1, n if init is None else 0):
        distance = symmetric[tour[step - 1]].copy()
        distance[tour[:step]] = np.inf
        tour[step] = distance.argmin()
    tour = two_opt(symmetric, tour)
    edges = np.zeros_like(costs)
    edges[np.minimum(tour, np.roll(tour, -1)), np.maximum(tour, np.roll(tour, -1))] = 1
    return edges, tour


estimator = Blackbox(Relative(LogGrid(0.01, 10, 5)), start="best", repair=True)
tour = perturbed_grad(tsp, estimator=estimator, cost_ndims=2, parallel="threads")  # two_opt releases the GIL

if __name__ == "__main__":
    learn(tour, (10, 10))
