"""The pass that coarsens: from singletons, every node in turn joins the neighbouring cluster that gains most.

Many nodes are divided into parts of consecutive numbers, which threads take. The even parts have their turn first, then
the odd ones. Of the parts that share its turn, a part sees what they were before it. So it makes no difference how many
threads there are, nor which of them is faster.
"""

from __future__ import annotations

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned
from ..._threads import thread_ranges
from ..._union_find import numbers
from ..levels.costs import Costs, cost, end, half_edges
from ..limits import LIMITS
from .visit import best_neighbour, clear, max_degree

NO_FENCE = np.empty(0, np.int32)


def joined(costs: Costs, order: Array | None = None, fence: Array = NO_FENCE) -> Array:
    """Join nodes in one pass, as if every class were partitionable.

    Parameters
    ----------
    costs : Costs
    order : int32 array, shape (n,), optional
        In which the nodes of a part have their turns; that of their numbers by default.
    fence : int32 array, shape (n,), optional
        Nodes with different entries are not joined.

    Returns
    -------
    int32 array, shape (n,)
        The node that began the cluster of each node.
    """
    n = len(costs.best)
    shift = _part_size(n).bit_length() - 1
    parts = -(-n >> shift)
    if order is None:
        order = np.arange(n, dtype=np.int32)
    elif parts > 1:
        order = order[np.argsort(order >> shift, kind="stable")]
    z = numbers(n)
    for turn in range(min(parts, 2)):
        before = z.copy()

        def join(first: int, last: int, turn: int = turn, before: Array = before) -> None:
            _join(costs, z, before, fence, order, shift, 2 * first + turn, 2 * last + turn)

        thread_ranges(join, (parts + 1 - turn) // 2, 1)
    return z


def _part_size(n: int) -> int:
    """Nodes of a part, a power of two: all of few nodes, else a number that leaves at least eight parts."""
    if n < 8 * LIMITS.min_part:
        return 1 << n.bit_length()
    return min(1 << (n // 8).bit_length() - 1, LIMITS.max_part)


@njit
def _join(costs: Costs, z: Array, before: Array, fence: Array, order: Array, shift: int, first: int, last: int) -> None:
    """Let the nodes of every second part of first..last-1 join clusters; z changes in their places only."""
    adjacency, node_costs, best, _ = costs
    n = len(z)
    fenced = len(fence) > 0
    sums = np.zeros(n, np.float64)
    touched = np.empty(max_degree(adjacency, n) + 1, np.int32)
    for part in range(first, last, 2):
        for t in range(part << shift, min((part + 1) << shift, n)):
            i = unsigned(order[unsigned(t)])
            count = 0
            for h in half_edges(adjacency, i):
                j = end(adjacency, i, h)
                if fenced and fence[j] != fence[i]:
                    continue
                c = unsigned(z[j] if np.int64(j) >> shift == part else before[j])
                sum_before = sums[c]
                touched[unsigned(count)] = c
                if sum_before == 0:
                    count += 1
                sums[c] = sum_before + adjacency.weights[h]
            a = unsigned(z[i])
            own = sums[a] - cost(node_costs, i, best[a])
            score, target = best_neighbour(node_costs, best, i, a, sums, touched, count)
            if score > own:
                z[i] = target
            clear(sums, touched, count)
