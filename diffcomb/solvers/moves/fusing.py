"""Fusing: many quick solutions of a multicut, of which the better part of each is kept.

A *proposal* is the greedy contraction of the graph with noise on its edge costs; in small graphs what a join saves is
divided by the sizes of both clusters, which random graphs want and others do not mind. Nodes that the incumbent and a
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
from ..limits import KERNELS
from .contracting import contract_greedily
from .local_moving import uniform
from .plain import contract_plainly, move_plainly

CROSSED = 0.2  # share of the choices that are to fuse two lineages
USED = 2  # lineages that a proposal is fused with


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
    many, n = lineages.shape
    while count > 0:
        state, u = uniform(state)
        at = min(int(u * many), many - 1)
        state, u = uniform(state)
        times = 1
        if many > 1 and u < CROSSED:
            other = lineages[(at + 1 + int(u / CROSSED * (many - 1))) % many].copy()
        else:
            noisy, state = _with_noise(rows, noise, state)
            other = greedy_clusters(noisy, True)
            move_plainly(rows, other)
            times = min(USED, many, count)
        for line in range(at, at + times):
            better = fused(rows, lineages[line % many].copy(), other)
            for i in range(n if len(better) > 0 else 0):
                lineages[line % many, i] = better[i]
        count -= times


@njit
def propose(rows: Rows, lineages: Array, noise: float, seed: int) -> None:
    """Make a proposal of every lineage."""
    state = seed % 2147483646 + 1
    for at in range(len(lineages)):
        noisy, state = _with_noise(rows, noise, state)
        lineages[at] = greedy_clusters(noisy, True)
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
def greedy_clusters(rows: Rows, fairly: bool) -> Array:
    """Cluster ids 1..n of greedy contraction, in small graphs fairly if that is wanted."""
    indptr, neighbours, weights = rows
    n = len(indptr) - 1
    if n <= KERNELS.plain_nodes:
        return contract_plainly(rows, fairly) + np.int32(1)
    parent, _ = contract_greedily(indptr, neighbours, weights, None, None)
    return parent + np.int32(1)


@njit
def polish(rows: Rows, z: Array) -> None:
    """Move single nodes, then whole clusters, until neither gains; `z` changes in place."""
    n = len(z)
    while True:
        move_plainly(rows, z)
        group, count = compact(z, n + 1)
        whole = contracted(rows, group, count)
        together = numbers(count)
        for g in range(count):
            together[g] += 1
        if move_plainly(whole, together) == 0:
            return
        for i in range(n):
            z[i] = together[group[i]]


@njit
def fused(rows: Rows, z: Array, other: Array) -> Array:
    """A labelling better than `z`, from what differs between it and another one; empty if none is found."""
    n = len(z)
    group, count = overlay(z, n + 1, other, n + 1)
    small = contracted(rows, group, count)
    before = _of_groups(z, group, count)
    best = before
    for greedily in (True, False):  # from the labelling itself nothing is found that these two miss
        labels = greedy_clusters(small, False) if greedily else _of_groups(other, group, count)
        move_plainly(small, labels)
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
