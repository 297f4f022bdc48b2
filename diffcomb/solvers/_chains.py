"""Ejection chains: a node makes a move that loses, others follow, and the best prefix of their moves stands.

Where two neighbours want to move together, or to change places, neither gains alone, and a local optimum under
single moves keeps both. A chain starts at every node that would lose little; it moves where it loses least, or into a
cluster of its own, and then of the neighbours that the moves before may have made movable always the one that gains
most follows (Glover 1996; with its best prefix as in Kernighan and Lin 1970, but to any cluster).

Scratch is plain arrays: numba 0.68 may free the arrays of a named tuple that is built and used in one kernel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._arrays import Array
from .._numba import njit
from ._adjacency import end, span
from ._visits import free_ids, gather, max_degree, rounding, second_choice

MAX_CHAIN = 24  # moves of a chain
MAX_WAITING = 16  # neighbours that may follow
MAX_WORK = 16  # passes over the graph that all chains may take: hubs could follow every leaf
PATIENCE = 3  # moves after the best prefix with which a chain ends


class Costs(NamedTuple):
    """What a level is made of, in the form that local moving takes."""

    adjacency: Any
    node_costs: Any
    best: Array
    partitionable: Array


@njit
def eject(costs: Costs, z: Array, cluster_class: Array, starts: Array, losses: Array, slack: float, apart: bool,
          changed: Array) -> int:  # fmt: skip
    """Try a chain from each node of `starts`; z and cluster_class change in place. Returns how many chains stand.

    Parameters
    ----------
    costs : Costs
    z, cluster_class : int32 arrays, shapes (n,) and (n + K,)
        The labelling, in the ids of `Labels`: a local optimum under moves of single nodes.
    starts : int32 array
    losses : float32 array, shape (n,)
        At least what each node would lose by its best move; where negative, nothing is known.
    slack : float
        A neighbour may follow if the move before it helps it by its loss but for this much.
    apart : bool
        Whether the first node of a chain goes into a cluster of its own, or where it loses least.
    changed : int8 array, shape (n,)
        Takes 1 where a node moved, 2 where only its class changed.

    Notes
    -----
    A chain looks at a handful of nodes, each in O(degree). No chain begins once they have taken O(n + m).
    """
    adjacency, node_costs, best, partitionable = costs
    n, num_classes = len(z), len(partitionable)
    size, free, height = free_ids(z, num_classes)
    num_free = np.array([height])
    sums = np.zeros(n + num_classes, np.float64)
    touched = np.empty(max_degree(adjacency, n) + 1, np.int32)
    waiting = np.empty(MAX_WAITING, np.int32)  # nodes that may follow; the best move of each, and whether it is known
    gains = np.empty(MAX_WAITING, np.float64)
    targets = np.empty(MAX_WAITING, np.int32)
    classes = np.empty(MAX_WAITING, np.int32)
    known = np.empty(MAX_WAITING, np.bool_)
    chain = np.empty(MAX_CHAIN, np.int32)
    origin = np.empty(MAX_CHAIN, np.int32)
    old_class = np.empty(MAX_CHAIN, np.int32)
    seen = np.full(n, -1, np.int32)  # the last chain in which a node moved or waited
    standing = 0
    work = MAX_WORK * (len(adjacency.weights) + n)
    for number in range(len(starts)):
        if work < 0:
            break
        seen[starts[number]] = number
        waiting[0] = starts[number]
        known[0] = False
        num_waiting = 1
        length = 0
        prefix = 0
        gain = 0.0
        most = 0.0
        while num_waiting > 0 and length < MAX_CHAIN and length - prefix <= PATIENCE:
            pick = 0
            for t in range(num_waiting):
                if not known[t]:
                    i = waiting[t]
                    low, high = span(adjacency, i)
                    work -= high - low
                    count = gather(adjacency, i, z, sums, touched)
                    a = z[i]
                    alone = size[a] == 1 and a >= num_classes
                    score, target, k = second_choice(
                        node_costs, best, partitionable, cluster_class, i, a, alone, sums, touched, count
                    )
                    here = sums[a] - node_costs[i, cluster_class[a]]
                    for s in range(count):
                        sums[touched[s]] = 0.0
                    if apart and length == 0:
                        target = -1
                        k = cluster_class[a]
                        able = partitionable[k] and not alone
                        score = -np.float64(node_costs[i, k]) if able else -np.inf
                    gains[t] = score - here - rounding(adjacency, node_costs, z, cluster_class, i, target, k)
                    targets[t] = target
                    classes[t] = k
                    known[t] = True
                if gains[t] > gains[pick]:
                    pick = t
            if not -np.inf < gains[pick] < np.inf:
                break
            i = waiting[pick]
            a = z[i]
            chain[length] = i
            origin[length] = a
            old_class[length] = cluster_class[a]
            length += 1
            gain += gains[pick]
            if gain > most:
                most = gain
                prefix = length
            there = _move(z, cluster_class, size, free, num_free, partitionable, i, targets[pick], classes[pick])
            num_waiting -= 1
            waiting[pick] = waiting[num_waiting]
            gains[pick] = gains[num_waiting]
            targets[pick] = targets[num_waiting]
            classes[pick] = classes[num_waiting]
            known[pick] = known[num_waiting]
            if there == a:  # the class of a single node changed, which is news to whoever might join it
                known[:num_waiting] = False
                continue
            low, high = span(adjacency, i)
            for h in range(low, high):
                j = end(adjacency, i, h)
                if seen[j] == number:
                    for t in range(num_waiting):
                        if waiting[t] == j:
                            known[t] = False
                    continue
                w = adjacency.weights[h]
                c = z[j]
                helped = c != there if w > 0 else c != a  # who attracts is followed, who repels is fled from
                reach = abs(w) if c not in (a, there) else 2 * abs(w)
                if helped and reach + slack > losses[j] and num_waiting < MAX_WAITING:
                    seen[j] = number
                    waiting[num_waiting] = j
                    known[num_waiting] = False
                    num_waiting += 1
        standing += prefix > 0
        for t in range(prefix):
            changed[chain[t]] = max(changed[chain[t]], 2 if z[chain[t]] == origin[t] else 1)
        for t in range(length - 1, prefix - 1, -1):
            _take_back(z, cluster_class, size, free, num_free, num_classes, chain[t], origin[t], old_class[t])
    return standing


@njit
def _move(
    z: Array,
    cluster_class: Array,
    size: Array,
    free: Array,
    num_free: Array,
    partitionable: Array,
    i: int,
    target: int,
    k: int,
) -> int:
    """Move node i to cluster `target`, or where that is -1 to one of class k without its neighbours; returns it."""
    a = int(z[i])
    num_classes = len(partitionable)
    if target < 0:
        if not partitionable[k]:
            target = k
        elif size[a] == 1 and a >= num_classes:
            cluster_class[a] = k
            return a
        else:
            num_free[0] -= 1
            target = free[num_free[0]]
            cluster_class[target] = k
    size[a] -= 1
    if size[a] == 0 and a >= num_classes:
        free[num_free[0]] = a
        num_free[0] += 1
    size[target] += 1
    z[i] = target
    return target


@njit
def _take_back(
    z: Array,
    cluster_class: Array,
    size: Array,
    free: Array,
    num_free: Array,
    num_classes: int,
    i: int,
    a: int,
    old_class: int,
) -> None:
    """Undo the last move that has not been undone: node i came from cluster a."""
    target = z[i]
    cluster_class[a] = old_class
    if target == a:
        return
    if size[a] == 0 and a >= num_classes:
        num_free[0] -= 1  # it lies on top, since all that was freed after it has been taken back
    size[a] += 1
    size[target] -= 1
    if size[target] == 0 and target >= num_classes:
        free[num_free[0]] = target
        num_free[0] += 1
    z[i] = a
