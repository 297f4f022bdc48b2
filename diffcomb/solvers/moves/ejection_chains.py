"""Ejection chains: a node makes a move that loses, others follow, and the best prefix of their moves stands.

Where two neighbours want to move together, or to change places, neither gains alone, and a local optimum under
single moves keeps both. A chain starts at every node that would lose little; it moves where it loses least, or into a
cluster of its own, and then of the neighbours that the moves before may have made movable always the one that gains
most follows (Glover 1996; with its best prefix as in Kernighan and Lin 1970, but to any cluster).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import inlined, njit
from ..._room import copied, zeros
from ..._threads import thread_ranges
from ..levels.costs import Costs, cost, degree, end, half_edges
from ..levels.labels import Labels
from ..limits import KERNELS, LIMITS
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


class State(NamedTuple):
    """What chains know of the clusters (`count_members`), and arrays that are clean between two chains.

    ``seen`` (n,) holds the number of the last chain in which a node moved or waited, counted from 1.
    """

    size: Array
    free: Array
    height: Array
    sums: Array
    touched: Array
    seen: Array


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
    hand = _Hand(costs, labels, count_members(labels.z, len(costs.partitionable)))
    if len(chains.starts) > LIMITS.min_chains:
        sample = chains._replace(starts=chains.starts[:: LIMITS.chains_a_sample])
        if _gaining(hand, sample).mean() <= LIMITS.few_chains:
            chains = chains._replace(starts=chains.starts[_gaining(hand, chains)])
    return hand.eject(chains, 0, len(chains.starts), hand.most_work, np.empty(0, np.bool_))


def _gaining(hand: _Hand, chains: Chains) -> Array:
    """Which starts have a chain that gains if it is the only one: of many few do, and threads find them.

    A chain looks at its surroundings alone: where few gain, hardly another one does after these have changed theirs. It
    is done with one thread as well, so that the number of threads does not change a solution; so is the work divided.
    """
    count, block = len(chains.starts), max(LIMITS.min_chains // 4, 1)
    blocks = -(-count // block)
    gains = np.zeros(count, np.bool_)
    work = hand.most_work // blocks

    def look(first: int, last: int) -> None:
        own = hand if last - first == blocks else hand.other()
        for low in range(first * block, min(last * block, count), block):
            own.eject(chains, low, min(low + block, count), work, gains)
        if own is not hand:
            hand.others.append(own)

    thread_ranges(look, blocks, 1)
    return gains


class _Hand:
    """One thread's labelling, and the memory in which it makes its chains; `members` is that of `count_members`."""

    def __init__(self, costs: Costs, labels: Labels, members: tuple[Array, ...]) -> None:
        self.costs, self.labels, self.members = costs, labels, members
        self.tried = 0
        self.others: list[_Hand] = []  # as this one is until a chain stands, for threads to use again
        self.most_work = KERNELS.max_work * (len(costs.adjacency.weights) + len(costs.best))
        # Made here and not in a kernel: numba 0.68 may free arrays of a named tuple built and used in one function.
        n, waiting = len(labels.z), KERNELS.max_waiting
        size, free, height = members
        sums, touched = zeros(labels.num_ids, np.float64), np.empty(max_degree(costs.adjacency, n) + 1, np.int32)
        state = State(size, free, height, sums, touched, zeros(n, np.int32))
        kinds = np.int32, np.float64, np.int32, np.int32, np.bool_
        self._room = (
            state, Waiting(*(np.empty(waiting, kind) for kind in kinds)),
            Trail(*(np.empty(KERNELS.max_chain, np.int32) for _ in range(3))),
        )  # fmt: skip

    def other(self) -> _Hand:
        """One for another thread, which may change it on its own until it has taken all back."""
        with suppress(IndexError):
            return self.others.pop()
        return _Hand(self.costs, Labels(*map(copied, self.labels)), tuple(map(copied, self.members)))

    def eject(self, chains: Chains, first: int, last: int, work: int, gains: Array) -> int:
        """Try chains; with `gains` (starts,), which takes whether each gains, all are taken back."""
        tried, self.tried = self.tried, self.tried + last - first
        return int(_eject(self.costs, self.labels, *self._room, chains, first, last, tried, work, gains))


@njit
def _eject(
    costs: Costs, labels: Labels, state: State, waiting: Waiting, trail: Trail, chains: Chains, first: int, last: int,
    tried: int, work: int, gaining: Array,
) -> int:  # fmt: skip
    adjacency, node_costs, best, partitionable = costs
    z, cluster_class = labels
    starts, losses, allowance, apart, changed = chains
    size, free, height, sums, touched, seen = state
    nodes, gains, targets, classes, known = waiting
    num_classes = len(partitionable)
    standing = 0
    for number in range(first, last):
        if work < 0:
            break
        tried += 1
        seen[starts[number]] = tried
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
            count = _follow(adjacency, z, i, a, losses, allowance, nodes, known, count, seen, tried)
        standing += prefix > 0
        if len(gaining) > 0:
            gaining[number] = prefix > 0
            prefix = 0
        for t in range(prefix):
            i = trail.nodes[t]
            changed[i] = max(changed[i], 2 if z[i] == trail.origins[t] else 1)
        for t in range(length - 1, prefix - 1, -1):
            _take_back(labels, size, free, height, num_classes, trail, t)
    return standing


@inlined
def _follow(
    adjacency: Any, z: Array, i: int, a: int, losses: Array, allowance: float, nodes: Array, known: Array, count: int,
    seen: Array, tried: int,
) -> int:  # fmt: skip
    """Let the neighbours wait that may follow node i, which left cluster a; returns how many wait now."""
    there = z[i]
    for h in half_edges(adjacency, i):
        j = end(adjacency, i, h)
        if seen[j] == tried:
            for t in range(count):
                if nodes[t] == j:
                    known[t] = False
            continue
        w = adjacency.weights[h]
        c = z[j]
        helped = c != there if w > 0 else c != a  # who attracts is followed, who repels is fled from
        reach = abs(w) if c not in (a, there) else 2 * abs(w)
        if helped and reach + allowance > losses[j] and count < KERNELS.max_waiting:
            seen[j] = tried
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
