"""Annealing: local moving that also accepts small losses, fewer and smaller ones with every sweep."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import Array
from .._numba import njit
from ._local_moving import free_ids, gather, max_degree, second_choice

_NEVER = 16.0  # a loss of this many temperatures is accepted once in 9 million visits: do not draw for it


@njit
def _uniforms(state: int) -> tuple[Any, Any]:
    """The next state and a number in (0, 1] of a 31-bit multiplicative generator (Park and Miller 1988)."""
    state = state * 48271 % 2147483647
    return state, state / 2147483647.0


@njit
def anneal(
    adjacency: Any,
    node_costs: Array,
    best: Array,
    partitionable: Array,
    z: Array,
    cluster_class: Array,
    temperatures: Array,
    seed: int,
) -> int:
    """One sweep over all nodes for each temperature; z and cluster_class change in place. Returns the moves.

    The best move of a node is made if it gains, and with probability exp(-loss / temperature) if it loses.
    """
    n = len(z)
    num_classes = len(partitionable)
    size, free, num_free = free_ids(z, num_classes)
    sums = np.zeros(n + num_classes, np.float64)
    touched = np.empty(max_degree(adjacency, n) + 1, np.int32)
    state = seed % 2147483646 + 1
    moves = 0
    for temperature in temperatures:
        for i in range(n):
            count = gather(adjacency, i, z, sums, touched)
            a = z[i]
            alone = size[a] == 1 and a >= num_classes
            gain, target, k = second_choice(
                node_costs, best, partitionable, cluster_class, i, a, alone, sums, touched, count
            )
            gain -= sums[a] - node_costs[i, cluster_class[a]]
            for t in range(count):
                sums[touched[t]] = 0.0
            if gain <= 0:
                if not gain > -_NEVER * temperature:
                    continue
                state, u = _uniforms(state)
                if gain <= temperature * np.log(u):
                    continue
            if target < 0:
                if not partitionable[k]:
                    target = k
                elif alone:
                    cluster_class[a] = k
                    moves += 1
                    continue
                else:
                    num_free -= 1
                    target = free[num_free]
                    cluster_class[target] = k
            size[a] -= 1
            if size[a] == 0 and a >= num_classes:
                free[num_free] = a
                num_free += 1
            size[target] += 1
            z[i] = target
            moves += 1
    return moves
