"""The better parts of two labellings of a multicut: a search among the nodes of their overlay.

Nodes that both labellings keep together become one node. On that small graph, solved anew, everything can be better
than both wherever they differ, and nothing needs to be worse (fusion moves, Beier et al. 2015). The overlay of two good
labellings of a small graph has twenty or thirty nodes, and nearly every pair of them an edge; there a few steps of tabu
search from either labelling take less time than greedy contraction once, and find more.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned
from ..levels.contraction import contracted
from ..levels.costs import Rows
from ..levels.partition import clusters_of_groups, compact, overlay
from ..limits import KERNELS
from .plain import move_plainly
from .polishing import greedy_clusters, is_better, polish
from .tabu import integer_scale, tabu


class Multicut(NamedTuple):
    """A multicut whose labellings are fused.

    Attributes
    ----------
    rows : Rows
        n nodes; every edge once, costs in float64.
    scale : float
        What costs are multiplied by to become integers that tabu search takes; 0 if most of them would vanish.
    """

    rows: Rows
    scale: float


def as_multicut(rows: Rows, typical_cost: float) -> Multicut:
    """The multicut of a graph."""
    total = float(np.abs(rows.weights).sum())
    if not 0 < total < np.inf or typical_cost * (2.0**29 / total) < KERNELS.least_cost:
        return Multicut(rows, 0.0)
    return Multicut(rows, integer_scale(rows.weights, total))


@njit
def fused(multicut: Multicut, z: Array, other: Array) -> Array:
    """A labelling better than `z`, from what differs between it and another one; empty if none is found.

    All have clusters 1..n.
    """
    rows, scale = multicut
    n = len(z)
    group, count = overlay(z, n + 1, other, n + 1)
    as_a_matrix = scale > 0 and count <= KERNELS.matrix_nodes
    if as_a_matrix:
        best = _searched(multicut, z, other, group, count)
    else:
        best = _solved(rows, z, other, group, count)
    if len(best) == 0:
        return best
    out = np.empty(n, np.int32)
    for i in range(n):
        out[i] = best[group[i]] + 1
    polish(rows, out)
    return out if not as_a_matrix or is_better(rows, z, out) else out[:0]  # what integers gain may be rounding


@njit
def _searched(multicut: Multicut, z: Array, other: Array, group: Array, count: int) -> Array:
    """Clusters 0..C-1 of the groups that are better than those of `z`, by tabu search from both; empty if none are."""
    one, num_one = compact(clusters_of_groups(z, group, count), len(z) + 1)
    two, num_two = compact(clusters_of_groups(other, group, count), len(z) + 1)
    if num_one == count and num_two == count:  # both are the same
        return one[:0]
    costs = _matrix(multicut, group, count)
    best, gain = tabu(costs, one, KERNELS.overlay_patience, 1)
    found, gained = tabu(costs, two, KERNELS.overlay_patience, 1)
    gained += (_held(costs, two) - _held(costs, one)) // 2
    if gained > gain:
        best, gain = found, gained
    return best if gain > 0 else best[:0]


@njit
def _matrix(multicut: Multicut, group: Array, count: int) -> Array:
    """The integer costs between groups."""
    (indptr, neighbours, weights), scale = multicut
    costs = np.zeros((count, count), np.int32)
    for i in range(len(group)):
        g = unsigned(group[i])
        for h in range(indptr[i], indptr[i + 1]):
            costs[g, unsigned(group[unsigned(neighbours[h])])] += np.int32(weights[h] * scale)
    for g in range(count):
        costs[g, g] = 0
    return costs


@njit
def _held(costs: Array, z: Array) -> int:
    """What clusters hold, each pair twice."""
    total = 0
    for i in range(len(z)):
        for j in range(len(z)):
            total += costs[i, j] if z[i] == z[j] else 0
    return total


@njit
def _solved(rows: Rows, z: Array, other: Array, group: Array, count: int) -> Array:
    """The same by greedy contraction, and by moves of single groups from the other labelling."""
    small = contracted(rows, group, count)
    before = clusters_of_groups(z, group, count) + np.int32(1)
    best = before
    for greedily in (True, False):  # from the labelling itself nothing is found that these two miss
        labels = greedy_clusters(small, False) if greedily else clusters_of_groups(other, group, count) + np.int32(1)
        move_plainly(small, labels)
        if is_better(small, best, labels):
            best = labels
    return best - np.int32(1) if is_better(small, before, best) else best[:0]
