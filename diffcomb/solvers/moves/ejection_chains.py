"""Ejection chains: a node makes a move that loses, others follow, and the best prefix of their moves stands.

Where two neighbours want to move together, or to change places, neither gains alone, and a local optimum under
single moves keeps both. A chain starts at every node that would lose little; it moves where it loses least, or into a
cluster of its own, and then of the neighbours that the moves before may have made movable always the one that gains
most follows (Glover 1996; with its best prefix as in Kernighan and Lin 1970, but to any cluster).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import inlined, njit
from ..levels.costs import Costs, cost, end, span
from ..levels.labels import Labels
from ..limits import KERNELS
from .visit import Places, look, max_degree, move, rounding


class Chains(NamedTuple):
    """Where chains start, and how they go.

    Attributes
    ----------
    starts : int32 array
    losses : float32 array, shape (n,)
        Those of the :class:`Slack`.
    allowance : float
        A neighbour may follow if its loss exceeds the effect of the move before it by less than this.
    apart : bool
        Whether the first node of a chain goes into a cluster of its own, or where it loses least.
    changed : int8 array, shape (n,)
        Takes 1 where a node moved, 2 where only its class changed.
    """

    starts: Array
    losses: Array
    allowance: float
    apart: bool
    changed: Array


class Waiting(NamedTuple):
    """The nodes that may follow; the best move of each, and whether it is known."""

    nodes: Array
    gains: Array
    targets: Array
    classes: Array
    known: Array


class Trail(NamedTuple):
    """The moves of a chain so far: the node, the cluster that it came from, and the class of that cluster then."""

    nodes: Array
    origins: Array
    classes: Array


def eject(costs: Costs, labels: Labels, places: Places, chains: Chains) -> int:
    """Try a chain from each start; labels and places change in place. Returns how many chains stand.

    The labelling is a local optimum under moves of single nodes. A chain looks at a handful of nodes, each in
    O(degree). No chain begins once they have taken O(n + m).
    """
    room, length = KERNELS.max_waiting, KERNELS.max_chain
    waiting = Waiting(*(np.empty(room, dtype) for dtype in (np.int32, np.float64, np.int32, np.int32, np.bool_)))
    trail = Trail(*(np.empty(length, np.int32) for _ in range(3)))
    return int(_eject(costs, labels, places, chains, waiting, trail))


@njit
def _eject(costs: Costs, labels: Labels, places: Places, chains: Chains, waiting: Waiting, trail: Trail) -> int:
    n = len(labels.z)
    sums = np.zeros(len(labels.cluster_class), np.float64)
    touched = np.empty(max_degree(costs.adjacency, n) + 1, np.int32)
    seen = np.full(n, -1, np.int32)  # the last chain in which a node moved or waited
    standing = 0
    work = KERNELS.max_work * (len(costs.adjacency.weights) + n)
    for number in range(len(chains.starts)):
        if work < 0:
            break
        seen[chains.starts[number]] = number
        waiting.nodes[0] = chains.starts[number]
        waiting.known[0] = False
        count = 1
        length = 0
        prefix = 0
        gain = 0.0
        most = 0.0
        while count > 0 and length < KERNELS.max_chain and length - prefix <= KERNELS.chain_patience:
            first = chains.apart and length == 0
            pick, looked = _pick(costs, labels, places, waiting, count, first, sums, touched)
            work -= looked
            if not -np.inf < waiting.gains[pick] < np.inf:
                break
            i = waiting.nodes[pick]
            a = labels.z[i]
            trail.nodes[length] = i
            trail.origins[length] = a
            trail.classes[length] = labels.cluster_class[a]
            length += 1
            gain += waiting.gains[pick]
            if gain > most:
                most = gain
                prefix = length
            there = move(costs, labels, places, i, waiting.targets[pick], waiting.classes[pick])
            count -= 1
            _fill_gap(waiting, pick, count)
            if there == a:  # the class of a single node changed, which is news to whoever might join it
                waiting.known[:count] = False
                continue
            count = _follow(costs, labels, chains, waiting, count, seen, number, i, a)
        standing += prefix > 0
        for t in range(prefix):
            i = trail.nodes[t]
            chains.changed[i] = max(chains.changed[i], 2 if labels.z[i] == trail.origins[t] else 1)
        for t in range(length - 1, prefix - 1, -1):
            _take_back(labels, places, len(costs.partitionable), trail.nodes[t], trail.origins[t], trail.classes[t])
    return standing


@inlined
def _pick(
    costs: Costs, labels: Labels, places: Places, waiting: Waiting, count: int, apart: bool, sums: Array, touched: Array
) -> tuple[int, int]:
    """Which of the waiting nodes gains most, and how many half-edges were looked at to know."""
    pick = 0
    looked = 0
    for t in range(count):
        if not waiting.known[t]:
            i = waiting.nodes[t]
            a = labels.z[i]
            low, high = span(costs.adjacency, i)
            looked += high - low
            alone = places.size[a] == 1 and a >= len(costs.partitionable)
            score, target, k, own = look(costs, labels, i, alone, sums, touched)
            here = own - cost(costs.node_costs, i, labels.cluster_class[a])
            if apart:
                target = -1
                k = labels.cluster_class[a]
                able = costs.partitionable[k] and not alone
                score = -np.float64(cost(costs.node_costs, i, k)) if able else -np.inf
            waiting.gains[t] = score - here - rounding(costs, labels, i, target, k)
            waiting.targets[t] = target
            waiting.classes[t] = k
            waiting.known[t] = True
        if waiting.gains[t] > waiting.gains[pick]:
            pick = t
    return pick, looked


@inlined
def _fill_gap(waiting: Waiting, at: int, last: int) -> None:
    """Put the last of the waiting nodes in the place of one that has moved."""
    waiting.nodes[at] = waiting.nodes[last]
    waiting.gains[at] = waiting.gains[last]
    waiting.targets[at] = waiting.targets[last]
    waiting.classes[at] = waiting.classes[last]
    waiting.known[at] = waiting.known[last]


@inlined
def _follow(
    costs: Costs, labels: Labels, chains: Chains, waiting: Waiting, count: int, seen: Array, number: int, i: int, a: int
) -> int:
    """Let the neighbours wait that may follow node i, which left cluster a; returns how many wait now."""
    there = labels.z[i]
    low, high = span(costs.adjacency, i)
    for h in range(low, high):
        j = end(costs.adjacency, i, h)
        if seen[j] == number:
            for t in range(count):
                if waiting.nodes[t] == j:
                    waiting.known[t] = False
            continue
        w = costs.adjacency.weights[h]
        c = labels.z[j]
        helped = c != there if w > 0 else c != a  # who attracts is followed, who repels is fled from
        reach = abs(w) if c not in (a, there) else 2 * abs(w)
        if helped and reach + chains.allowance > chains.losses[j] and count < KERNELS.max_waiting:
            seen[j] = number
            waiting.nodes[count] = j
            waiting.known[count] = False
            count += 1
    return count


@njit
def _take_back(labels: Labels, places: Places, num_classes: int, i: int, a: int, old_class: int) -> None:
    """Undo the last move that has not been undone: node i came from cluster a, whose class was `old_class`."""
    size, free, height = places
    target = labels.z[i]
    labels.cluster_class[a] = old_class
    if target == a:
        return
    if size[a] == 0 and a >= num_classes:
        height[0] -= 1  # it lies on top, since all that was freed after it has been taken back
    size[a] += 1
    size[target] -= 1
    if size[target] == 0 and target >= num_classes:
        free[height[0]] = target
        height[0] += 1
    labels.z[i] = a
