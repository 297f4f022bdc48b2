"""Local moving in a lifted problem: a node joins a cluster along a base edge, and none may fall apart by its leaving.

Whether a cluster stays connected without a node is asked only of a move that gains: a search from one of the node's
base neighbours for the others, which on most graphs ends after a few nodes. One that takes long counts as a no.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned
from ..levels.lifted_rows import LiftedRows
from ..limits import KERNELS
from .visit import count_members, move

UNSEEN, LIFTED, BASE = 0, 1, 2  # how a node is joined to a cluster


class _Scratch(NamedTuple):
    """Arrays that visits share; `sums` and `kind` are 0 between them.

    Attributes
    ----------
    sums, kind : arrays, shape (num_ids,)
        Costs of a node's edges to every cluster, and how it is joined to it.
    touched : int32 array
        The clusters that a node has edges to.
    stamp, stack : int32 arrays, shape (n,)
        Which search saw a node last, and the nodes that it has still to look at.
    """

    sums: Array
    kind: Array
    touched: Array
    stamp: Array
    stack: Array


@njit
def move_lifted(rows: LiftedRows, node_costs: Array, partitionable: Array, z: Array, cluster_class: Array) -> int:
    """Move nodes until none gains; z and cluster_class, ids as in Labels, change in place. Returns how many moves."""
    n, num_classes = len(z), len(partitionable)
    size, free, height = count_members(z, num_classes)
    widest = 0
    for i in range(n):
        widest = max(widest, rows.indptr[i + 1] - rows.indptr[i])
    scratch = _Scratch(
        np.zeros(len(cluster_class)), np.zeros(len(cluster_class), np.int8), np.empty(widest + 1, np.int32),
        np.zeros(n, np.int32), np.empty(n, np.int32),
    )  # fmt: skip
    queue = np.arange(n).astype(np.int32)
    waits = np.ones(n, np.bool_)
    first, waiting = 0, n
    moves = 0
    searches = 0
    visits = KERNELS.max_visits * n
    while waiting > 0 and visits > 0:
        i = queue[first]
        first = first + 1 if first + 1 < n else 0
        waiting -= 1
        visits -= 1
        waits[i] = False
        gain, target, k, tolerance = _look(rows, node_costs, partitionable, z, cluster_class, size, i, scratch)
        if gain <= tolerance:
            continue
        own = z[i]
        if own >= num_classes and size[own] > 1:
            searches += 1
            if not _stays_connected(rows, z, i, scratch, searches):
                continue
        target = move(partitionable, z, cluster_class, size, free, height, i, target, k)
        moves += 1
        for h in range(rows.indptr[i], rows.indptr[i + 1]):
            j = unsigned(rows.neighbours[h])
            if not waits[j] and z[j] != target:
                at = first + waiting
                queue[at if at < n else at - n] = j
                waits[j] = True
                waiting += 1
    return moves


@njit
def _look(
    rows: LiftedRows, node_costs: Array, partitionable: Array, z: Array, cluster_class: Array, size: Array, i: int,
    scratch: _Scratch,
) -> tuple[float, int, int, float]:  # fmt: skip
    """The best place for node i: its gain, cluster (-1 for a new one of class k), k, and the gain's rounding error."""
    sums, kind, touched, _, _ = scratch
    num_classes = len(partitionable)
    own = z[i]
    count = 0
    total = 0.0
    for h in range(rows.indptr[i], rows.indptr[i + 1]):
        c = unsigned(z[unsigned(rows.neighbours[h])])
        if kind[c] == UNSEEN:
            touched[count] = c
            count += 1
        kind[c] = max(kind[c], BASE if rows.is_base[h] else LIFTED)
        sums[c] += rows.weights[h]
        total += abs(rows.weights[h])
    score, target, best = -np.inf, -1, -1
    for t in range(count):
        c = unsigned(touched[t])
        # The cluster of a class that is not partitionable needs no edge to it.
        if c != own and (kind[c] == BASE or (c < num_classes and not partitionable[c])):
            s = sums[c] - node_costs[i, cluster_class[c]]
            if s > score:
                score, target, best = s, c, cluster_class[c]
    alone = own >= num_classes and size[own] == 1
    for k in range(num_classes):
        new = partitionable[k] and not (alone and k == cluster_class[own])
        untouched = not partitionable[k] and k != own and kind[k] == UNSEEN
        if (new or untouched) and -node_costs[i, k] > score:
            score, target, best = -np.float64(node_costs[i, k]), -1, k
    here = sums[own] - node_costs[i, cluster_class[own]]
    for t in range(count):
        sums[unsigned(touched[t])] = 0.0
        kind[unsigned(touched[t])] = UNSEEN
    if best < 0:
        return -np.inf, -1, -1, 0.0
    single = abs(np.float64(node_costs[i, best])) + abs(np.float64(node_costs[i, cluster_class[own]]))
    return score - here, target, best, KERNELS.relative_tolerance * total + KERNELS.few_roundings * single


@njit
def _stays_connected(rows: LiftedRows, z: Array, i: int, scratch: _Scratch, search: int) -> bool:
    """Whether base edges connect what is left of the cluster of node i without it; `search` numbers the calls."""
    stamp, stack = scratch.stamp, scratch.stack
    own = z[i]
    goals = 0
    height = 0
    for h in range(rows.indptr[i], rows.indptr[i + 1]):
        j = unsigned(rows.neighbours[h])
        if rows.is_base[h] and z[j] == own:
            if goals == 0:
                stack[0] = j
                height = 1
                stamp[j] = search
            else:
                stamp[j] = -search
            goals += 1
    left = goals - 1
    seen = 1
    stamp[i] = search
    while left > 0 and height > 0 and seen < KERNELS.max_search:
        height -= 1
        a = unsigned(stack[height])
        for h in range(rows.indptr[a], rows.indptr[a + 1]):
            j = unsigned(rows.neighbours[h])
            if rows.is_base[h] and z[j] == own and stamp[j] != search:
                left -= stamp[j] == -search
                stamp[j] = search
                stack[height] = j
                height += 1
                seen += 1
    return left <= 0
