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
from ..._numba import inlined, njit
from ..._union_find import numbers
from ..levels.costs import Costs, cost, end, lowest, span
from ..levels.labels import Labels
from ..levels.slack import Slack, record, record_at_least
from ..limits import KERNELS
from .visit import Places, look, max_degree, move, rounding


class Visits(NamedTuple):
    """Which nodes local moving visits.

    Attributes
    ----------
    queue : int32 array, shape (n,)
        The nodes to visit, in order: the first `waiting` of it, each at most once. It is used up.
    waiting : int
    once : bool
        Visit these nodes and no others; otherwise the neighbours of a node that moved queue up, first in, first out.
    """

    queue: Array
    waiting: int
    once: bool


class Cooling(NamedTuple):
    """How nodes move at a loss.

    Attributes
    ----------
    temperatures : float64 array
        If not empty, there are as many passes over the same nodes, fewer than 64 (they are visited `once` a pass, and
        no losses are kept), and the best move of a node is also made with probability exp(-loss / temperature) if it
        loses.
    seed : int
        Of what decides that.
    """

    temperatures: Array
    seed: int


FROZEN = Cooling(np.empty(0), 0)


@njit
def local_moving(costs: Costs, labels: Labels, places: Places, visits: Visits, slack: Slack, cooling: Cooling) -> int:
    """Move nodes until no single move gains; labels and places change in place. Returns the number of moves.

    If `slack` is not empty, its losses take, for every visited node, a lower bound on the loss of its best move.
    """
    queue, waiting = visits.queue, visits.waiting
    n = len(labels.z)
    sums = np.zeros(len(labels.cluster_class), np.float64)
    touched = np.empty(max_degree(costs.adjacency, n) + 1, np.int32)
    queued = np.zeros(n, np.bool_)
    for t in range(waiting):
        queued[queue[t]] = True
    sweep = 0
    state = cooling.seed % 2147483646 + 1
    temperature = cooling.temperatures[0] if len(cooling.temperatures) > 0 else 0.0
    head = 0
    moves = 0
    left = KERNELS.max_visits * n + 1024
    while left > 0:
        if waiting == 0:
            sweep += 1
            if sweep >= len(cooling.temperatures):
                break
            temperature = cooling.temperatures[sweep]
            head = 0
            waiting = visits.waiting
            continue
        left -= 1
        i = queue[head]
        head = head + 1 if head + 1 < n else 0
        waiting -= 1
        queued[i] = False
        a = labels.z[i]
        alone = places.size[a] == 1 and a >= len(costs.partitionable)
        score, target, k, own = look(costs, labels, i, alone, sums, touched)
        gain = score - (own - cost(costs.node_costs, i, labels.cluster_class[a]))
        record(costs, labels, slack, i, gain, alone, own)
        if not (0 < gain < np.inf and gain > rounding(costs, labels, i, target, k)):
            if temperature == 0 or not gain > -KERNELS.never * temperature:
                continue
            if gain <= 0:
                state, u = _uniform(state)
                if gain <= temperature * np.log(u):
                    continue
        moves += 1
        target = move(costs, labels, places, i, target, k)
        if visits.once:
            continue
        low, high = span(costs.adjacency, i)
        for h in range(low, high):
            j = end(costs.adjacency, i, h)
            if not queued[j] and (labels.z[j] != target or costs.adjacency.weights[h] < 0):
                queued[j] = True
                tail = head + waiting
                queue[tail if tail < n else tail - n] = j
                waiting += 1
    return moves


@njit
def _uniform(state: int) -> tuple[Any, Any]:
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
    sums = np.zeros(len(labels.cluster_class), np.float64)
    touched = np.empty(max_degree(costs.adjacency, len(labels.z)) + 1, np.int32)
    for t in range(first, last):
        i = survey.nodes[t]
        a = labels.z[i]
        at_least, total = _least_loss(costs, labels, i)
        if survey.enough + KERNELS.relative_tolerance * total < at_least < np.inf:
            survey.moves[t] = False
            record_at_least(slack, i, at_least)
            continue
        alone = survey.size[a] == 1 and a >= len(costs.partitionable)
        score, target, k, own = look(costs, labels, i, alone, sums, touched)
        gain = score - (own - cost(costs.node_costs, i, labels.cluster_class[a]))
        record(costs, labels, slack, i, gain, alone, own)
        survey.moves[t] = 0 < gain < np.inf and gain > rounding(costs, labels, i, target, k)


@inlined
def _least_loss(costs: Costs, labels: Labels, i: int) -> tuple[float, float]:
    """What node i loses at least by any move, and the sum of the absolute costs of its edges."""
    a = labels.z[i]
    here = cost(costs.node_costs, i, labels.cluster_class[a])
    at_least = np.float64(lowest(costs.node_costs, costs.best, i)) - here
    total = 0.0
    low, high = span(costs.adjacency, i)
    for h in range(low, high):
        w = np.float64(costs.adjacency.weights[h])
        at_least += w if labels.z[end(costs.adjacency, i, h)] == a else min(-w, 0.0)
        total += abs(w)
    return at_least, total


@njit
def pieces(adjacency: Any, fence: Array, order: Array) -> Array:
    """Cluster the nodes within the fences in one pass, from singletons and by edge costs alone; returns ids < n."""
    n = len(fence)
    z = numbers(n)
    sums = np.zeros(n, np.float64)
    touched = np.empty(max_degree(adjacency, n) + 1, np.int32)
    for t in range(n):
        i = order[t]
        count = 0
        total = 0.0
        low, high = span(adjacency, i)
        for h in range(low, high):
            j = end(adjacency, i, h)
            if fence[j] == fence[i]:
                c = z[j]
                before = sums[c]
                touched[count] = c
                count += before == 0
                sums[c] = before + adjacency.weights[h]
                total += abs(np.float64(adjacency.weights[h]))
        target = z[i]
        most = sums[target] + KERNELS.relative_tolerance * total
        for s in range(count):
            c = touched[s]
            if sums[c] > most:
                most = sums[c]
                target = c
        for s in range(count):
            sums[touched[s]] = 0.0
        z[i] = target
    return z
