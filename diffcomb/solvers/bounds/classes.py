"""Message passing between the classes of nodes and edges: what a lower bound learns from node costs.

An edge between nodes i and j with what is left of its cost, θ, costs at least min over classes of
A(x_i) + B(x_j) + θ y, where y is 1 between classes, 0 within one that is not partitionable, and whatever is cheaper
within one that is. A and B are shares of the node costs. Node by node, in order and back again, all that a node's edges
cost at least for each of its classes moves to the node, which gives equal parts of it to the edges that lead on
(TRW-S, Kolmogorov 2006). However the costs are divided, the sum of what all cost at least is a lower bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned


@njit
def pass_class_messages(
    csr: tuple[Array, Array, Array], ends: Array, costs: Array, partitionable: Array, node_costs: Array, shares: Array,
    sweeps: int,
) -> None:  # fmt: skip
    """Pass messages there and back so many times.

    Parameters
    ----------
    csr : (indptr, neighbours, edge ids)
    ends : int32 array, shape (s, 2)
    costs : float64 array, shape (s,)
    partitionable : bool array, shape (K,)
    node_costs : float64 array, shape (n, K)
        Changed to what the edges do not hold.
    shares : float64 array, shape (s, 2, K)
        Changed to what the edges hold.
    sweeps : int
    """
    indptr, neighbours, edge_ids = csr
    n, K = node_costs.shape
    least = np.empty(K)
    for sweep in range(2 * sweeps):
        for position in range(n):
            i = position if sweep % 2 == 0 else n - 1 - position
            later = 0
            for h in range(indptr[i], indptr[i + 1]):
                e = unsigned(edge_ids[h])
                side = 0 if ends[e, 0] == i else 1
                _at_least(shares, e, side, costs[e], partitionable, least)
                for k in range(K):
                    node_costs[i, k] += least[k]
                    shares[e, side, k] -= least[k]
                later += (neighbours[h] > i) == (sweep % 2 == 0)
            if later == 0:
                continue
            part = 1.0 / max(later, indptr[i + 1] - indptr[i] - later)
            for h in range(indptr[i], indptr[i + 1]):
                if (neighbours[h] > i) == (sweep % 2 == 0):
                    e = unsigned(edge_ids[h])
                    side = 0 if ends[e, 0] == i else 1
                    for k in range(K):
                        shares[e, side, k] += part * node_costs[i, k]
            for k in range(K):
                node_costs[i, k] *= 1 - later * part


@njit
def class_bound(ends: Array, costs: Array, partitionable: Array, node_costs: Array, shares: Array) -> float:
    """What nodes and edges cost at least."""
    least = np.empty(len(partitionable))
    total = 0.0
    for i in range(len(node_costs)):
        total += node_costs[i].min()
    for e in range(len(ends)):
        _at_least(shares, e, 0, costs[e], partitionable, least)
        total += least.min()
    return total


@njit
def _at_least(shares: Array, e: Any, side: int, cost: float, partitionable: Array, out: Array) -> None:
    """What an edge costs at least for every class of the node at one side of it."""
    lowest, second, at = np.inf, np.inf, -1
    for k in range(len(out)):
        other = shares[e, 1 - side, k]
        if other < lowest:
            lowest, second, at = other, lowest, k
        elif other < second:
            second = other
    for k in range(len(out)):
        within = shares[e, 1 - side, k] + (min(cost, 0.0) if partitionable[k] else 0.0)
        out[k] = shares[e, side, k] + min(within, cost + (second if k == at else lowest))
