"""Kernighan-Lin with joins: chains of moves between pairs of neighbouring clusters (Keuper et al. 2015).

Every cluster is paired with each cluster it has an edge to, and with an empty one. A pair exchanges the prefix
of a chain of best moves that gains most, or is joined. Further rounds take the clusters that changed, until none
does. Stated for the multicut; with node costs a move also changes what the classes cost, and nothing else.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._arrays import Array
from .._numba import njit
from ..problem import Problem, Solution, solution_of_labels
from .budget import Budget
from .level import finest_level
from .levels.costs import Costs, end, half_edges
from .levels.labels import from_labels
from .limits import LIMITS
from .moves.pair_moves import Clusters, Scratch, linked_clusters, new_scratch, update_pair
from .moves.visit import count_members
from .multilevel import multilevel


def kernighan_lin(
    problem: Problem, *, init: tuple[Array, Array] | None, rng: np.random.Generator, budget: Budget
) -> Solution:
    """Improve a labelling by Kernighan-Lin updates with joins.

    Parameters
    ----------
    problem : Problem
    init : (node labels, clusters), optional
        The labelling to improve; by default the one that `multilevel` finds with the same effort, or in half of the
        time limit.
    rng : numpy.random.Generator
        Passed on to `multilevel`.
    budget : Budget
        A chain ends 20 * 2^effort moves after its last gain; rounds end when the time is over.

    Returns
    -------
    Solution
        Never worse than where it began. A pair takes time with the edges of its smaller cluster and of the nodes that
        move, a move O(log n) more; a split looks at every node of its cluster, a change of class at each of up to 64
        times as many nodes as the smaller cluster has.
    """
    n = problem.graph.num_nodes
    if init is None or n == 0:
        start = multilevel(problem, init=init, rng=rng, budget=budget.half())
        init = (start.node_labels, start.clusters)
        if n == 0:
            return start
    level = finest_level(problem)
    labels = from_labels(*init, problem.partitionable)
    clusters, scratch = linked_clusters(level.adjacency, labels), new_scratch(n)
    patience = LIMITS.patience << min(budget.effort, 20)
    active = clusters.size > 0
    for _ in range(LIMITS.max_rounds):
        changed = np.zeros_like(active)
        round_ = Round(active, changed, patience, LIMITS.chunk)
        begin = 0
        while begin < len(active) and not budget.spent():
            begin = _update_pairs(level.costs, clusters, scratch, round_, begin)
        active = changed & (clusters.size > 0)
        if budget.spent() or not active.any():
            break
    level.move(labels)
    return solution_of_labels(problem, labels.node_labels(), labels.z)


@njit
def _neighbouring(adjacency: Any, clusters: Clusters, a: int, seen: Array, found: Array) -> int:
    """List the clusters that cluster a has an edge to; `seen` holds the last cluster that saw each."""
    count = 0
    seen[a] = a
    i = clusters.first[a]
    while i >= 0:
        for h in half_edges(adjacency, i):
            c = clusters.z[end(adjacency, i, h)]
            if seen[c] != a:
                seen[c] = a
                found[count] = c
                count += 1
        i = clusters.following[i]
    return count


class Round(NamedTuple):
    """Which clusters are paired, which changed, and when a chain and a round end."""

    active: Array
    changed: Array
    patience: int
    chunk: int


@njit
def _update_pairs(costs: Costs, clusters: Clusters, scratch: Scratch, round_: Round, begin: int) -> int:
    """Update all pairs with an active cluster from `begin` on; notes in ``changed`` which clusters did.

    Returns where to continue: the number of ids, or less where enough work was done to look at the clock.
    """
    active, changed, patience, chunk = round_
    partitionable = costs.partitionable
    num_ids = len(clusters.size)
    work = 0
    seen = np.full(num_ids, -1, np.int32)
    found = np.empty(num_ids + 1, np.int32)
    _, free, stack_height = count_members(clusters.z, len(partitionable))
    height = stack_height[0]
    for a in range(begin, num_ids):
        if work > chunk:
            return a
        if not active[a] or clusters.size[a] == 0:
            continue
        count = _neighbouring(costs.adjacency, clusters, a, seen, found)
        empty = -1
        if partitionable[clusters.cluster_class[a]] and clusters.size[a] > 1:
            height -= 1
            empty = free[height]
            changed[empty] = False  # it may be the id of a cluster that vanished in this round
            clusters.cluster_class[empty] = clusters.cluster_class[a]
            found[count] = empty
            count += 1
        for t in range(count):
            b = found[t]
            if clusters.size[a] == 0 or (clusters.size[b] == 0 and (b != empty or clusters.size[a] == 1)):
                continue
            if active[b] and b < a and b != empty:
                continue  # b has met a already
            work += min(clusters.volume[a], clusters.volume[b]) + 16
            if b == empty:
                work += clusters.size[a]
            if update_pair(costs, clusters, scratch, a, b, patience):
                changed[a] = changed[b] = True
                for c in range(2):
                    gone = a if c == 0 else b
                    if clusters.size[gone] == 0 and gone >= len(partitionable):
                        free[height] = gone
                        height += 1
        if empty >= 0 and not changed[empty]:
            free[height] = empty
            height += 1
    return num_ids
