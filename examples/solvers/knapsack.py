"""Knapsack by dynamic programming: rewards are negative costs, and the loss ranks a pool of solutions.

python examples/solvers/knapsack.py
"""

from __future__ import annotations

import numba
import numpy as np
from learn import learn

from diffcomb import CentralDifference, Ranking, Relative, perturbed_grad, solver_loss


@numba.njit(nogil=True)
def pack(costs: np.ndarray, weights: np.ndarray, capacity: int) -> np.ndarray:
    """1 for the items to take, each at most once, so that their total cost is lowest; in O(n * capacity)."""
    n = len(costs)
    value = np.zeros(capacity + 1)
    take = np.zeros((n, capacity + 1), np.bool_)
    for i in range(n):
        for room in range(capacity, weights[i] - 1, -1):
            with_item = value[room - weights[i]] + costs[i]
            if with_item < value[room]:
                value[room] = with_item
                take[i, room] = True
    taken = np.zeros_like(costs)
    room = capacity
    for i in range(n - 1, -1, -1):
        if take[i, room]:
            taken[i] = 1
            room -= weights[i]
    return taken


WEIGHTS = np.random.default_rng(0).integers(3, 9, 16)
knapsack = perturbed_grad(pack, estimator=CentralDifference(Relative(1.0)), cost_ndims=1)
knapsack_loss = solver_loss(pack, Ranking("listwise"), cost_ndims=1)

if __name__ == "__main__":
    learn(knapsack, (16,), knapsack_loss, sign=-1.0, weights=WEIGHTS, capacity=30)
