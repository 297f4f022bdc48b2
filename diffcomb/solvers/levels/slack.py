"""Slack: a lower bound on what each node would lose by moving. It tells which nodes need another visit.

Local moving leaves a loss for every node that it visits. A loss is known if it is not negative: then no move of the
node gains before its surroundings have changed by as much. Where it is negative nothing is known, and its absolute
value says what the last move gained, or might: a small one tells an undecided node in either case. This convention
lives in this file only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import inlined, njit
from ..limits import KERNELS, LIMITS
from .costs import end, half_edges

_ROUNDING = 1 - 1e-5  # losses are float32


class Slack(NamedTuple):
    """What a labelling allows its nodes.

    Attributes
    ----------
    losses : float32 array, shape (n,) or (0,)
        At least what each node would have lost by any move at its last visit; negative where nothing is known. Empty if
        nobody asks for it.
    reached : float32 array, shape (n,) or (0,)
        How much of the losses changes around the nodes may have taken since then.
    """

    losses: Array
    reached: Array

    def undecided(self, count: int) -> Array:
        """The `count` nodes that would lose least, whether that is known or not, in the order of their numbers."""
        losses = np.abs(self.losses)
        near = _those_of_a_sample(losses, count)
        chosen: Array = near[losses[near] <= np.partition(losses[near], count)[count]][:count]
        return chosen

    def within(self, limit: float, nodes: Array) -> Array:
        """Those of the nodes that would lose no more than that, whether that is known or not."""
        return _within(self.losses, np.float32(limit), nodes)

    def share_within(self, limit: float) -> float:
        """The share of all nodes that would lose no more than that."""
        return float(_number_within(self.losses, np.float32(limit)) / len(self.losses))


def _those_of_a_sample(losses: Array, count: int) -> Array:
    """Nodes among which are the `count` smallest losses and one more: few, as far as a sample can tell, or else all."""
    sample = losses[:: max(len(losses) // LIMITS.sample, 1)]
    place = int(1.25 * count * len(sample) / len(losses)) + 16
    if place < len(sample):
        near = np.flatnonzero(losses <= np.partition(sample, place)[place])
        if len(near) > count:
            return near
    return np.arange(len(losses))


NO_SLACK = Slack(np.empty(0, np.float32), np.empty(0, np.float32))


def new_slack(num_nodes: int) -> Slack:
    """Slack of nodes of which nothing is known."""
    return Slack(np.full(num_nodes, -1, np.float32), np.zeros(num_nodes, np.float32))


@inlined
def reach_of_move(weight: float, cluster: int, left: int, joined: int) -> float:
    """By how much a move may change what a neighbour in `cluster` loses by its own, across an edge of that cost; or 0.

    The node that moved left one cluster and joined another; if they are the same one, its class changed.
    """
    if weight == 0:
        return 0.0
    if left == joined:
        return np.inf
    if cluster == joined:
        return -2 * weight if weight < 0 else 0.0
    if cluster == left:
        return 2 * weight if weight > 0 else 0.0
    return abs(weight)


@inlined
def stays(losses: Array, reached: Array, i: int, reach: float) -> bool:
    """Whether node i cannot gain by a move since its surroundings changed by `reach` more, which is remembered then."""
    total = reached[i] + reach
    if total >= losses[i] * _ROUNDING:
        return False
    reached[i] = total
    return True


@njit
def _within(losses: Array, limit: Any, nodes: Array) -> Array:
    found = np.empty_like(nodes)
    count = 0
    for i in nodes:
        found[count] = i
        count += abs(losses[i]) <= limit
    return found[:count].copy()


@njit
def _number_within(losses: Array, limit: Any) -> int:
    count = 0
    for loss in losses:
        count += abs(loss) <= limit
    return count


@inlined
def loss_of_second_choice(
    best: Array, partitionable: Array, cluster_class: Array, i: int, a: int, alone: bool, gain: float, own: float
) -> float:
    """What node i of cluster a loses at least by any move, of which the second choice gains `gain`, as it is kept.

    The second choice leaves out all classes but the cheapest. Where the node is in its cheapest class, another one is
    open to it at the price of `own`, the sum of its edges within its cluster, and of the difference in class costs. Of
    a node alone the edges say nothing: then nothing is known.
    """
    loss: Any = np.float32(min(-gain, KERNELS.most))
    cheapest = best[i]
    if len(partitionable) > 1 and cheapest == cluster_class[a]:
        if alone:
            loss = -abs(loss)
        elif not partitionable[cheapest]:
            loss = np.float32(min(loss, own))
    return loss  # type: ignore[no-any-return]


@njit
def frontier(adjacency: Any, group: Array, changed: Array, slack: Slack) -> Array:
    """The members of the changed groups and those of their neighbours that may want to move because of them.

    Parameters
    ----------
    adjacency : Rows or Stencil
    group : int32 array, shape (n,)
    changed : int8 array
        Of every group: 0 if it is where it was, 1 if it went to another cluster, 2 if the class of its cluster changed.
    slack : Slack
        ``reached`` is brought up to date. Without losses all neighbours are listed.

    Returns
    -------
    int32 array
        Nodes in the order of their numbers. If a neighbour changes its cluster, the difference of two places of a node
        changes by no more than twice the cost of their edge.
    """
    n = len(group)
    losses, reached = slack.losses, slack.reached
    reach = np.zeros(n, np.float64)
    for i in range(n):
        how = changed[group[i]]
        if how > 0:
            reach[i] = np.inf
            for h in half_edges(adjacency, i):
                known = how == 1 and len(losses) > 0
                reach[end(adjacency, i, h)] += 2 * abs(np.float64(adjacency.weights[h])) if known else np.inf
    found = np.empty(n, np.int32)
    count = 0
    for i in range(n):
        if reach[i] > 0 and (len(losses) == 0 or not stays(losses, reached, i, reach[i])):
            found[count] = i
            count += 1
    return found[:count].copy()
