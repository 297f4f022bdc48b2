"""Polishing one labelling of a multicut: moves of single nodes and of whole clusters in turn, until neither gains.

Greedy contraction, from which most labellings come, and the comparison of two stand here as well.
"""

from __future__ import annotations

import numpy as np

from ..._arrays import Array
from ..._numba import njit
from ..._union_find import numbers
from ..levels.contraction import contracted
from ..levels.costs import Rows
from ..levels.objective import improvement
from ..levels.partition import compact
from ..limits import KERNELS
from .contracting import contract_greedily
from .plain import contract_plainly, move_plainly


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
def is_better(rows: Rows, z: Array, other: Array) -> bool:
    """Whether the other labelling costs less."""
    n = len(z)
    costs = rows, np.zeros((n, 1)), np.zeros(n, np.int32), np.ones(1, np.bool_)
    classes = np.zeros(n + 1, np.int32)
    return bool(improvement(costs, (z, classes), (other, classes)) > 0)
