"""Fusing: many quick solutions of a multicut, of which the better part of each is kept.

A *proposal* is the greedy contraction of the graph with noise on its edge costs. Nodes that the incumbent and a
proposal both keep together become one node; on that small graph, solved anew, everything can be better than both
wherever they differ, and nothing needs to be worse (fusion moves, Beier et al. 2015). *Polishing* alternates moves of
single nodes and of whole clusters.

All of it is one kernel, because a fusion of a small graph takes less time than one call of Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays import Array
from ..._numba import njit
from ..._union_find import numbers
from ..levels.contraction import contracted
from ..levels.costs import Rows
from ..levels.objective import improvement
from ..levels.partition import clusters_of_groups, compact, overlay
from .contracting import contract_greedily
from .local_moving import local_moving, uniform

CROSSED = 0.2  # share of the fusions that are of two lineages


@njit
def fuse_proposals(rows: Rows, lineages: Array, noise: float, count: int, seed: int) -> None:
    """Fuse labellings with proposals, and now and then with each other.

    Parameters
    ----------
    rows : Rows
        n nodes; costs in float64.
    lineages : int32 array, shape (L, n)
        Labellings, clusters 1..n each; they change in place, and none gets worse. Several find more than one, which
        settles on what it meets first.
    noise : float
        What is added to a cost of a proposal or taken off, at most; drawn uniformly.
    count : int
        Fusions.
    seed : int
    """
    state = seed % 2147483646 + 1
    n = lineages.shape[1]
    for _ in range(count):
        state, u = uniform(state)
        at = min(int(u * len(lineages)), len(lineages) - 1)
        state, u = uniform(state)
        if len(lineages) > 1 and u < CROSSED:
            other = lineages[(at + 1 + int(u / CROSSED * (len(lineages) - 1))) % len(lineages)].copy()
        else:
            noisy, state = _with_noise(rows, noise, state)
            other = greedy_clusters(noisy)
            move_nodes(rows, other)
        better = fused(rows, lineages[at].copy(), other)
        for i in range(n if len(better) > 0 else 0):
            lineages[at, i] = better[i]


@njit
def propose(rows: Rows, lineages: Array, noise: float, seed: int) -> None:
    """Make a proposal of every lineage."""
    state = seed % 2147483646 + 1
    for at in range(len(lineages)):
        noisy, state = _with_noise(rows, noise, state)
        lineages[at] = greedy_clusters(noisy)
        polish(rows, lineages[at])


@njit
def fuse_all(rows: Rows, lineages: Array) -> Array:
    """One labelling, not worse than any of the lineages; they do not change."""
    z: Array = lineages[0].copy()
    for at in range(1, len(lineages)):
        better = fused(rows, z, lineages[at].copy())
        if len(better) > 0:
            z = better
    return z


@njit
def _with_noise(rows: Rows, noise: float, state: int) -> tuple[Rows, Any]:
    """The graph with noise on its costs, where the half-edge from the smaller end has it, and the next state."""
    indptr, neighbours, weights = rows
    noisy = weights.copy()
    for i in range(len(indptr) - 1):
        for h in range(indptr[i], indptr[i + 1]):
            if i < neighbours[h]:
                state, u = uniform(state)
                noisy[h] += noise * (2 * u - 1)
    return Rows(indptr, neighbours, noisy), state


@njit
def greedy_clusters(rows: Rows) -> Any:
    """Cluster ids 1..n of greedy contraction; an edge may be left in one direction alone (see `num_edges`)."""
    indptr, neighbours, weights = rows
    n = len(indptr) - 1
    parent, _ = contract_greedily(indptr, neighbours, weights, np.zeros((n, 1)), None)
    z = numbers(n)
    for i in range(n):
        z[i] = parent[i] + 1
    return z


@njit
def polish(rows: Rows, z: Array) -> None:
    """Move single nodes, then whole clusters, until neither gains; `z` changes in place."""
    n = len(z)
    while True:
        move_nodes(rows, z)
        group, count = compact(z, n + 1)
        whole = contracted(rows, group, count)
        together = numbers(count)
        for g in range(count):
            together[g] += 1
        if move_nodes(whole, together) == 0:
            return
        for i in range(n):
            z[i] = together[group[i]]


@njit
def move_nodes(rows: Rows, z: Array) -> int:
    """Local moving of all nodes; returns the number of moves."""
    n = len(z)
    costs = rows, np.zeros((n, 1)), np.zeros(n, np.int32), np.ones(1, np.bool_)
    labels = z, np.zeros(n + 1, np.int32)
    return local_moving(costs, labels, numbers(n), n, np.empty(0, np.float32), np.empty(0), 0)


@njit
def fused(rows: Rows, z: Array, other: Array) -> Array:
    """A labelling better than `z`, from what differs between it and another one; empty if none is found."""
    n = len(z)
    group, count = overlay(z, n + 1, other, n + 1)
    small = contracted(rows, group, count)
    before = _of_groups(z, group, count)
    best = before
    for greedily in (True, False):  # from the labelling itself nothing is found that these two miss
        labels = greedy_clusters(small) if greedily else _of_groups(other, group, count)
        polish(small, labels)
        if is_better(small, best, labels):
            best = labels
    if not is_better(small, before, best):
        return best[:0]
    out = np.empty(n, np.int32)
    for i in range(n):
        out[i] = best[group[i]]
    polish(rows, out)
    return out


@njit
def is_better(rows: Rows, z: Array, other: Array) -> bool:
    """Whether the other labelling costs less."""
    n = len(z)
    costs = rows, np.zeros((n, 1)), np.zeros(n, np.int32), np.ones(1, np.bool_)
    classes = np.zeros(n + 1, np.int32)
    return bool(improvement(costs, (z, classes), (other, classes)) > 0)


@njit
def _of_groups(z: Array, group: Array, count: int) -> Array:
    """The clusters of groups whose members share one, numbered from 1."""
    out = clusters_of_groups(z, group, count)
    for g in range(count):
        out[g] += 1
    return out
