"""Ejection chains: a node makes a move that loses, others follow, and the best prefix of their moves stands.

Where two neighbours want to move together, or to change places, neither gains alone, and a local optimum under
single moves keeps both. A chain starts at every node that would lose little; it moves where it loses least, or into a
cluster of its own, and then of the neighbours that the moves before may have made movable always the one that gains
most follows (Glover 1996; with its best prefix as in Kernighan and Lin 1970, but to any cluster).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import inlined, njit
from ..levels.costs import Costs, cost, degree, end, half_edges
from ..levels.labels import Labels
from ..limits import KERNELS
from .visit import count_members, look, max_degree, move, rounding


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


def eject(costs: Costs, labels: Labels, chains: Chains) -> int:
    """Try a chain from each start; the labelling changes in place. Returns how many chains stand.

    The labelling is a local optimum under moves of single nodes. A chain looks at a handful of nodes, each in
    O(degree). No chain begins once they have taken O(n + m).
    """
    # Made here and not in a kernel: numba 0.68 may free arrays of a named tuple that is built and used in one function.
    room = KERNELS.max_waiting
    waiting = Waiting(*(np.empty(room, dtype) for dtype in (np.int32, np.float64, np.int32, np.int32, np.bool_)))
    trail = Trail(*(np.empty(KERNELS.max_chain, np.int32) for _ in range(3)))
    return int(_eject(costs, labels, chains, waiting, trail))


@njit
def _eject(costs: Costs, labels: Labels, chains: Chains, waiting: Waiting, trail: Trail) -> int:
    adjacency, node_costs, best, partitionable = costs
    z, cluster_class = labels
    starts, losses, allowance, apart, changed = chains
    nodes, gains, targets, classes, known = waiting
    n, num_classes = len(z), len(partitionable)
    size, free, height = count_members(z, num_classes)
    sums = np.zeros(n + num_classes, np.float64)
    touched = np.empty(max_degree(adjacency, n) + 1, np.int32)
    seen = np.full(n, -1, np.int32)  # the last chain in which a node moved or waited
    standing = 0
    work = KERNELS.max_work * (len(adjacency.weights) + n)
    for number in range(len(starts)):
        if work < 0:
            break
        seen[starts[number]] = number
        nodes[0] = starts[number]
        known[0] = False
        count = 1
        length = 0
        prefix = 0
        gain = 0.0
        most = 0.0
        while count > 0 and length < KERNELS.max_chain and length - prefix <= KERNELS.chain_patience:
            pick = 0
            for t in range(count):
                if not known[t]:
                    i = nodes[t]
                    a = z[i]
                    work -= degree(adjacency, i)
                    alone = size[a] == 1 and a >= num_classes
                    score, target, k, own = look(
                        adjacency, node_costs, best, partitionable, z, cluster_class, i, alone, sums, touched
                    )
                    if apart and length == 0:
                        target = -1
                        k = cluster_class[a]
                        able = partitionable[k] and not alone
                        score = -np.float64(cost(node_costs, i, k)) if able else -np.inf
                    here = own - cost(node_costs, i, cluster_class[a])
                    gains[t] = score - here - rounding(adjacency, node_costs, z, cluster_class, i, target, k)
                    targets[t] = target
                    classes[t] = k
                    known[t] = True
                if gains[t] > gains[pick]:
                    pick = t
            if not -np.inf < gains[pick] < np.inf:
                break
            i = nodes[pick]
            a = z[i]
            trail.nodes[length] = i
            trail.origins[length] = a
            trail.classes[length] = cluster_class[a]
            length += 1
            gain += gains[pick]
            if gain > most:
                most = gain
                prefix = length
            there = move(partitionable, z, cluster_class, size, free, height, i, targets[pick], classes[pick])
            count -= 1
            nodes[pick] = nodes[count]
            gains[pick] = gains[count]
            targets[pick] = targets[count]
            classes[pick] = classes[count]
            known[pick] = known[count]
            if there == a:  # the class of a single node changed, which is news to whoever might join it
                known[:count] = False
                continue
            count = _follow(adjacency, z, i, a, losses, allowance, nodes, known, count, seen, number)
        standing += prefix > 0
        for t in range(prefix):
            i = trail.nodes[t]
            changed[i] = max(changed[i], 2 if z[i] == trail.origins[t] else 1)
        for t in range(length - 1, prefix - 1, -1):
            _take_back(labels, size, free, height, num_classes, trail, t)
    return standing


@inlined
def _follow(
    adjacency: Any, z: Array, i: int, a: int, losses: Array, allowance: float, nodes: Array, known: Array, count: int,
    seen: Array, number: int,
) -> int:  # fmt: skip
    """Let the neighbours wait that may follow node i, which left cluster a; returns how many wait now."""
    there = z[i]
    for h in half_edges(adjacency, i):
        j = end(adjacency, i, h)
        if seen[j] == number:
            for t in range(count):
                if nodes[t] == j:
                    known[t] = False
            continue
        w = adjacency.weights[h]
        c = z[j]
        helped = c != there if w > 0 else c != a  # who attracts is followed, who repels is fled from
        reach = abs(w) if c not in (a, there) else 2 * abs(w)
        if helped and reach + allowance > losses[j] and count < KERNELS.max_waiting:
            seen[j] = number
            nodes[count] = j
            known[count] = False
            count += 1
    return count


@njit
def _take_back(
    labels: Labels, size: Array, free: Array, height: Array, num_classes: int, trail: Trail, last: int
) -> None:
    """Undo move number `last` of the trail; all after it have been undone."""
    z, cluster_class = labels
    i, a = trail.nodes[last], trail.origins[last]
    target = z[i]
    cluster_class[a] = trail.classes[last]
    if target == a:
        return
    if size[a] == 0 and a >= num_classes:
        height[0] -= 1  # it lies on top, since all that was freed after it has been taken back
    size[a] += 1
    size[target] -= 1
    if size[target] == 0 and target >= num_classes:
        free[height[0]] = target
        height[0] += 1
    z[i] = a
