"""Fusing: many quick solutions of a multicut, of which the better part of each is kept.

A *proposal* is the greedy contraction of the graph with noise on its edge costs; in small graphs what a join saves is
divided by the sizes of both clusters, which random graphs want and others do not mind. It is fused with a few of the
labellings that are kept, the *lineages*, and now and then these with each other.

All of it is one kernel, because a fusion of a small graph takes less time than one call of Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._arrays import Array
from ..._numba import njit
from ..levels.contraction import contracted
from ..levels.costs import Rows
from ..levels.partition import clusters_of_groups, compact, overlay
from .local_moving import uniform
from .overlaying import Multicut, fused
from .plain import move_plainly
from .polishing import greedy_clusters

CROSSED = 0.2  # share of the choices that are to fuse two lineages
USED = 4  # lineages that a proposal is fused with


@njit
def fuse_proposals(multicut: Multicut, lineages: Array, noise: float, count: int, seed: int) -> None:
    """Fuse labellings with proposals, and now and then with each other.

    Parameters
    ----------
    multicut : Multicut
        n nodes.
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
            noisy, state = _with_noise(multicut.rows, noise, state)
            other = greedy_clusters(noisy, True)
            move_plainly(multicut.rows, other)
            times = min(USED, many, count)
        for line in range(at, at + times):
            better = fused(multicut, lineages[line % many].copy(), other)
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
        move_plainly(rows, lineages[at])


@njit
def fuse_all(multicut: Multicut, lineages: Array) -> Array:
    """One labelling, not worse than any of the lineages; they do not change."""
    z: Array = lineages[0].copy()
    for at in range(1, len(lineages)):
        better = fused(multicut, z, lineages[at].copy())
        if len(better) > 0:
            z = better
    return z


@njit
def disputed(multicut: Multicut, lineages: Array) -> tuple[Multicut, Array, Array]:
    """The multicut whose nodes are the groups that all lineages keep together, the lineages there, and the groups."""
    many, n = lineages.shape
    group, count = compact(lineages[0], n + 1)
    for at in range(1, many):
        group, count = overlay(group, count, lineages[at], n + 1)
    out = np.empty((many, count), np.int32)
    for at in range(many):
        out[at] = clusters_of_groups(lineages[at], group, count) + np.int32(1)
    return Multicut(contracted(multicut.rows, group, count), multicut.scale), out, group


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
