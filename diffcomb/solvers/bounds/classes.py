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
from ..._numba import inlined, njit, unsigned


@inlined
def _places(ends: Any, e: Any, i: Any, K: Any) -> Any:
    """Where the shares of node i and those of the other end of its edge e begin."""
    first = 2 * np.int64(e) * K
    return (first, first + K) if ends[np.uint64(e), 0] == i else (first + K, first)


@inlined
def _two_lowest(flat: Any, begin: Any, K: Any) -> Any:
    """The two lowest of K numbers, without branches: which one is the lowest cannot be foretold."""
    lowest, second = np.inf, np.inf
    for k in range(K):
        value = flat[np.uint64(begin + k)]
        second = _lower(second, value if value > lowest else lowest)
        lowest = _lower(lowest, value)
    return lowest, second


@inlined
def _lower(a: Any, b: Any) -> Any:
    """The lower of two numbers; numba's min looks for NaN as well."""
    return a if a < b else b


@inlined
def _at_least(within: Any, cost: Any, partitionable: Any, lowest: Any, second: Any) -> Any:
    """What an edge costs at least for a class of one end, but for that end's share of it.

    The other end has the share `within` for the same class; `lowest` and `second` are its two lowest shares. Of these
    the first is that of another class, unless it is `within`; if several are the lowest, both are equal.
    """
    here = within + (_lower(cost, 0.0) if partitionable else 0.0)
    return _lower(here, cost + (second if within == lowest else lowest))


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
    flat = shares.reshape(-1)
    total = np.empty(K)
    for sweep in range(2 * sweeps):
        forward = sweep % 2 == 0
        for position in range(n):
            i = position if forward else n - 1 - position
            begin, end = indptr[i], indptr[i + 1]
            for k in range(K):
                total[k] = node_costs[i, k]
            later = 0
            for h in range(begin, end):
                e = edge_ids[unsigned(h)]
                cost = costs[unsigned(e)]
                mine, theirs = _places(ends, e, i, K)
                lowest, second = _two_lowest(flat, theirs, K)
                for k in range(K):
                    within = flat[np.uint64(theirs + k)]
                    least = _at_least(within, cost, partitionable[k], lowest, second)
                    total[k] += flat[np.uint64(mine + k)] + least
                    flat[np.uint64(mine + k)] = -least
                later += (neighbours[unsigned(h)] > i) == forward
            part = 1.0 / max(later, end - begin - later, 1)
            for h in range(begin, end):
                if (neighbours[unsigned(h)] > i) == forward:
                    mine, _ = _places(ends, edge_ids[unsigned(h)], i, K)
                    for k in range(K):
                        flat[np.uint64(mine + k)] += part * total[k]
            for k in range(K):
                node_costs[i, k] = (1 - later * part) * total[k]


@njit
def class_bound(ends: Array, costs: Array, partitionable: Array, node_costs: Array, shares: Array) -> float:
    """What nodes and edges cost at least."""
    total = 0.0
    for i in range(len(node_costs)):
        total += node_costs[i].min()
    flat, K = shares.reshape(-1), len(partitionable)
    for e in range(len(ends)):
        mine, theirs = 2 * e * K, (2 * e + 1) * K
        lowest, second = _two_lowest(flat, theirs, K)
        low = np.inf
        for k in range(K):
            within = flat[np.uint64(theirs + k)]
            least = _at_least(within, costs[e], partitionable[k], lowest, second)
            low = min(low, flat[np.uint64(mine + k)] + least)
        total += low
    return total
