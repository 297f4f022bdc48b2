"""Local moving: a node moves to the neighbouring cluster, class or new cluster that gains most.

With S_c(i) the sum of the costs of the edges from i into cluster c, moving i from a to b lowers the objective by

    [S_b(i) - c_V(i, class(b))] - [S_a(i) - c_V(i, class(a))],

so a visit costs O(degree), not O(K): of all clusters that i has no edge to, only the cheapest class matters.
Annealing is the same but that a node may also move at a loss, the less the colder it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import inlined, njit, unsigned
from ..levels.costs import Costs, cost, end, half_edges, lowest
from ..levels.labels import Labels
from ..levels.slack import Slack, loss_of_second_choice, reach_of_move, stays
from ..limits import KERNELS
from .visit import count_members, look, max_degree, move, rounding

NO_TEMPERATURES = np.empty(0)


@njit
def local_moving(
    costs: tuple[Any, ...],
    labels: tuple[Array, ...],
    queue: Array,
    waiting: int,
    slack: tuple[Array, ...],
    temperatures: Array,
    seed: int,
) -> int:
    """Move nodes until no single move gains; the labelling changes in place. Returns the number of moves.

    Parameters
    ----------
    costs, labels : tuples
        The fields of :class:`Costs` and :class:`Labels`.
    queue : int32 array, shape (n,)
        The nodes to visit, in order: the first `waiting` of it, each at most once. It is used up.
    waiting : int
    slack : tuple
        The fields of the :class:`Slack`, empty if nobody asks for it; then more neighbours of a node that moved are
        visited than may gain by it. In small graphs that costs less than to remember losses.
    temperatures : float64 array
        If not empty, there are as many passes over these nodes and no others, fewer than 64, and the best move of a
        node is also made with probability exp(-loss / temperature) if it loses. Otherwise the neighbours of a node that
        moved queue up, first in, first out.
    seed : int
        Of what decides that.
    """
    adjacency, node_costs, best, partitionable = costs
    z, cluster_class = labels
    n, num_classes = len(z), len(partitionable)
    size, free, height = count_members(z, num_classes)
    sums = np.zeros(n + num_classes, np.float64)
    touched = np.empty(max_degree(adjacency, n) + 1, np.int32)
    queued = np.zeros(n, np.bool_)
    losses, reached = slack
    stale = np.empty(len(losses), np.int32)  # nodes that need no visit, but whose losses somebody asks for
    num_stale = 0
    for t in range(waiting):
        queued[queue[t]] = True
    in_a_pass = waiting
    sweep = 0
    state = seed % 2147483646 + 1
    temperature = temperatures[0] if len(temperatures) > 0 else 0.0
    head = 0
    moves = 0
    visits = KERNELS.max_visits * n + 1024
    while visits > 0:
        if waiting == 0 and num_stale > 0:
            for t in range(num_stale):
                if reached[stale[t]] > 0 and not queued[stale[t]]:
                    queued[stale[t]] = True
                    queue[waiting] = stale[t]
                    waiting += 1
            head = num_stale = 0
            continue
        if waiting == 0:
            sweep += 1
            if sweep >= len(temperatures):
                break
            temperature = temperatures[sweep]
            head = 0
            waiting = in_a_pass
            continue
        visits -= 1
        i = queue[head]
        head = head + 1 if head + 1 < n else 0
        waiting -= 1
        queued[i] = False
        a = z[i]
        alone = size[a] == 1 and a >= num_classes
        score, target, k, own = look(
            adjacency, node_costs, best, partitionable, z, cluster_class, i, alone, sums, touched
        )
        gain = score - (own - cost(node_costs, i, cluster_class[a]))
        if len(losses) > 0:
            losses[i] = loss_of_second_choice(best, partitionable, cluster_class, i, a, alone, gain, own)
            reached[i] = 0.0
        gains = 0 < gain < np.inf and gain > rounding(adjacency, node_costs, z, cluster_class, i, target, k)
        if not gains:
            if temperature == 0 or not gain > -KERNELS.never * temperature:
                continue
            if gain <= 0:
                state, u = uniform(state)
                if gain <= temperature * np.log(u):
                    continue
        moves += 1
        target = move(partitionable, z, cluster_class, size, free, height, i, target, k)
        if len(temperatures) > 0:
            continue
        for h in half_edges(adjacency, i):
            j = end(adjacency, i, h)
            if queued[j] or (z[j] == target and adjacency.weights[h] >= 0):
                continue
            if len(losses) > 0:
                reach = reach_of_move(np.float64(adjacency.weights[h]), z[j], a, target)
                if reach == 0:
                    continue
                if stays(losses, reached, j, reach):
                    if num_stale < len(stale) and reached[j] == np.float32(reach):
                        stale[num_stale] = j
                        num_stale += 1
                    continue
            queued[j] = True
            tail = head + waiting
            queue[tail if tail < n else tail - n] = j
            waiting += 1
    return moves


@njit
def uniform(state: int) -> tuple[Any, Any]:
    """The next state and a number in (0, 1] of a 31-bit multiplicative generator (Park and Miller 1988)."""
    state = state * 48271 % 2147483647
    return state, state / 2147483647.0


class Survey(NamedTuple):
    """Many nodes of which those that gain by moving are wanted, all else staying.

    Attributes
    ----------
    nodes : int32 array
    size : int32 array, shape (n + K,)
        Members of every cluster.
    enough : float
        Of a node that certainly loses more it does not matter how much.
    moves : bool array
        Takes which of the nodes gain.
    """

    nodes: Array
    size: Array
    enough: float
    moves: Array


@njit
def find_movers(costs: Costs, labels: Labels, slack: Slack, survey: Survey, first: int, last: int) -> None:
    """Say which of ``nodes[first:last]`` would gain by moving, and keep the losses as `local_moving` does.

    Nothing moves, so that threads may look at different nodes at the same time and find what one thread finds.
    No other place attracts a node more than all attractive edges out of its cluster together: where that leaves a loss
    that is enough, edges are not told apart by where they lead, which takes a third of the time.
    """
    adjacency, node_costs, best, partitionable = costs
    z, cluster_class = labels
    losses, reached = slack
    nodes, size, enough, moves = survey
    num_classes = len(partitionable)
    sums = np.zeros(len(cluster_class), np.float64)
    touched = np.empty(max_degree(adjacency, len(z)) + 1, np.int32)
    for t in range(first, last):
        i = unsigned(nodes[t])
        a = unsigned(z[i])
        at_least = np.float64(lowest(node_costs, best, i)) - cost(node_costs, i, cluster_class[a])
        at_least, total = _add_edges(adjacency, z, i, at_least)
        if enough + KERNELS.relative_tolerance * total < at_least < np.inf:
            moves[t] = False
            losses[i], reached[i] = min(at_least, KERNELS.most), 0.0
            continue
        alone = size[a] == 1 and a >= num_classes
        score, target, k, own = look(
            adjacency, node_costs, best, partitionable, z, cluster_class, i, alone, sums, touched
        )
        gain = score - (own - cost(node_costs, i, cluster_class[a]))
        losses[i] = loss_of_second_choice(best, partitionable, cluster_class, i, a, alone, gain, own)
        reached[i] = 0.0
        moves[t] = 0 < gain < np.inf and gain > rounding(adjacency, node_costs, z, cluster_class, i, target, k)


@inlined
def _add_edges(adjacency: Any, z: Array, i: int, at_least: float) -> tuple[float, float]:
    """What node i loses at least by any move, from what it loses in class costs; and the sum of its edges' |c_E|."""
    total = 0.0
    for h in half_edges(adjacency, i):
        w = np.float64(adjacency.weights[h])
        at_least += w if z[end(adjacency, i, h)] == z[i] else min(-w, 0.0)
        total += abs(w)
    return at_least, total
