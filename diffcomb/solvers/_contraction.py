"""Contraction: every group of nodes becomes one node; parallel edge costs and node costs add up."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import Array
from .._numba import njit
from .._threads import thread_ranges
from ..problem import flatten, numbers, unite
from ._adjacency import end, span

_ROUNDING = 1 - 1e-5  # losses are float32
FEW = 256  # groups, up to which a dense matrix of their pairs fits a cache
MIN_PART = 2**18  # half-edges that are worth a thread


@njit
def compact(ids: Array, num_ids: int) -> tuple[Array, int]:
    """Renumber ids 0..num_ids-1 to 0..M-1 by first appearance; returns the new ids and M."""
    new_id = np.full(num_ids, -1, np.int32)
    group = np.empty(len(ids), np.int32)
    count = 0
    for i in range(len(ids)):
        c = ids[i]
        if new_id[c] < 0:
            new_id[c] = count
            count += 1
        group[i] = new_id[c]
    return group, count


@njit
def members_of(group: Array, num_groups: int) -> tuple[Array, Array]:
    """The nodes of group g are ``members[start[g]:start[g + 1]]``, by counting."""
    start = np.zeros(num_groups + 1, np.int64)
    for i in range(len(group)):
        start[group[i] + 1] += 1
    for g in range(num_groups):
        start[g + 1] += start[g]
    fill = start[:-1].copy()
    members = np.empty(len(group), np.int32)
    for i in range(len(group)):
        members[fill[group[i]]] = i
        fill[group[i]] += 1
    return start, members


@njit
def overlay(first: Array, num_first: int, second: Array, num_second: int) -> tuple[Array, int]:
    """Groups of the nodes that agree in both labellings, numbered 0..M-1; in O(n), without hashing."""
    start, members = members_of(first, num_first)
    owner = np.full(num_second, -1, np.int32)
    number = np.empty(num_second, np.int32)
    group = np.empty(len(first), np.int32)
    count = 0
    for a in range(num_first):
        for t in range(start[a], start[a + 1]):
            b = second[members[t]]
            if owner[b] != a:
                owner[b] = a
                number[b] = count
                count += 1
            group[members[t]] = number[b]
    return group, count


@njit
def between(adjacency: Any, group: Array, num_groups: int) -> Array:
    """The sum of the costs between any two groups, in one half of a matrix or the other; edges are read once."""
    total = np.zeros((num_groups, num_groups), np.float64)
    for i in range(len(group)):
        low, high = span(adjacency, i)
        for h in range(low, high):
            j = end(adjacency, i, h)
            if j > i:
                total[group[i], group[j]] += adjacency.weights[h]
    return total


@njit
def _rows_of_matrix(total: Array) -> tuple[Array, Array, Array]:
    """Adjacency lists of a matrix plus its transpose."""
    num_groups = len(total)
    indptr = np.zeros(num_groups + 1, np.int64)
    neighbours = np.empty(num_groups * num_groups, np.int32)
    weights = np.empty(num_groups * num_groups, np.float64)
    count = 0
    for a in range(num_groups):
        for b in range(num_groups):
            cost = total[a, b] + total[b, a]
            if a != b and cost != 0:
                neighbours[count] = b
                weights[count] = cost
                count += 1
        indptr[a + 1] = count
    return indptr, neighbours[:count], weights[:count]


@njit
def _sums_of_groups(node_costs: Array, group: Array, num_groups: int) -> Array:
    n, num_classes = node_costs.shape
    sums = np.zeros((num_groups, num_classes), np.float64)
    for i in range(n):
        g = group[i]
        for k in range(num_classes):
            sums[g, k] += node_costs[i, k]
    return sums


@njit
def contract_cut(
    edges: Array, edge_costs: Array, y: Array, node_costs: Array, group: Array, num_groups: int
) -> tuple[Array, Array, Array, Array]:
    """What `contract` does, for up to FEW groups, where `y` cuts all edges between groups: others are not looked at."""
    total = np.zeros((num_groups, num_groups), np.float64)
    for e in range(len(y)):
        if y[e]:
            total[group[edges[e, 0]], group[edges[e, 1]]] += edge_costs[e]
    return (*_rows_of_matrix(total), _sums_of_groups(node_costs, group, num_groups))


@njit
def _rows_of_groups(
    adjacency: Any, group: Array, start: Array, members: Array, before: Array, first: int, last: int, indptr: Array,
    neighbours: Array, weights: Array,
) -> int:  # fmt: skip
    """Write the adjacency lists of the groups first..last-1 from ``before[first]`` on; returns the position after them.

    They take at most as many places as their members have half-edges.
    """
    most = 0
    for g in range(first, last):
        most = max(most, before[g + 1] - before[g])
    at: int = before[first]
    total = np.zeros(len(start), np.float64)
    # A group is listed twice if its sum passed through 0 on the way; the second loop takes it once.
    listed = np.empty(most + 1, np.int32)
    for g in range(first, last):
        num_listed = 0
        for t in range(start[g], start[g + 1]):
            i = members[t]
            low, high = span(adjacency, i)
            for h in range(low, high):
                other = group[end(adjacency, i, h)]
                sum_before = total[other]
                listed[num_listed] = other
                num_listed += sum_before == 0
                total[other] = sum_before + adjacency.weights[h]
        total[g] = 0.0
        for t in range(num_listed):
            other = listed[t]
            neighbours[at] = other
            weights[at] = total[other]
            at += total[other] != 0
            total[other] = 0.0
        indptr[g + 1] = at
    return at


@njit
def contract(adjacency: Any, node_costs: Array, group: Array, num_groups: int) -> tuple[Array, Array, Array, Array]:
    """Contract the groups 0..M-1 of nodes, in O(n K + m) and without sorting or hashing; sums are float64.

    Returns
    -------
    indptr, neighbours, weights, node_costs
        Adjacency and node costs of the contracted graph. Edges whose costs cancel to 0 are dropped.
    """
    sums = _sums_of_groups(node_costs, group, num_groups)
    if num_groups <= FEW:
        return (*_rows_of_matrix(between(adjacency, group, num_groups)), sums)
    start, members = members_of(group, num_groups)
    before = _half_edges_before(adjacency, start, members)
    indptr, neighbours, weights = _room(len(adjacency.weights), num_groups)
    zero: Any = np.int64(0)  # a literal would have the kernel compiled for 0 once more
    count = _rows_of_groups(adjacency, group, start, members, before, zero, num_groups, indptr, neighbours, weights)
    return (
        indptr,
        neighbours[:count],
        weights[:count],
        sums,
    )  # no copy: the rest was never touched, so it takes no memory


@njit
def _room(half_edges: int, num_groups: int) -> tuple[Array, Array, Array]:
    return np.zeros(num_groups + 1, np.int64), np.empty(half_edges, np.int32), np.empty(half_edges, np.float64)


def contract_in_threads(adjacency: Any, node_costs: Array, group: Array, num_groups: int) -> tuple[Array, ...]:
    """What `contract` does, to the last bit, for more than FEW groups and enough edges to be worth threads.

    Each takes as many groups as begin in its share of the half-edges, and begins to write where those before might end.
    What is written is moved together then; memory that was touched before that, up to as much again, stays taken.
    """
    start, members = members_of(group, num_groups)
    before = _half_edges_before(adjacency, start, members)
    indptr, neighbours, weights = _room(len(adjacency.weights), num_groups)
    parts: list[tuple[int, int, int]] = []

    def write(low: int, high: int) -> None:
        first, last = (int(g) for g in np.searchsorted(before[:-1], (low, high)))
        stop = _rows_of_groups(adjacency, group, start, members, before, first, last, indptr, neighbours, weights)
        parts.append((first, last, stop))

    thread_ranges(write, int(before[-1]) + 1, MIN_PART)  # + 1 for groups without edges behind all others
    count = 0
    for first, last, stop in sorted(parts):
        at = int(before[first])
        if at > count:
            for array in (neighbours, weights):
                array[count : count + stop - at] = array[at:stop]
            indptr[first + 1 : last + 1] -= at - count
        count += stop - at
    return indptr, neighbours[:count], weights[:count], _sums_of_groups(node_costs, group, num_groups)


@njit
def _half_edges_before(adjacency: Any, start: Array, members: Array) -> Array:
    """How many half-edges the members of all groups before each one have; the last entry is the sum of all."""
    before = np.zeros(len(start), np.int64)
    for g in range(len(start) - 1):
        before[g + 1] = before[g]
        for t in range(start[g], start[g + 1]):
            low, high = span(adjacency, members[t])
            before[g + 1] += high - low
    return before


@njit
def connected_parts(adjacency: Any, z: Array) -> Array:
    """A root, the smallest node, for the connected part of its cluster that every node lies in."""
    parent = numbers(len(z))
    for i in range(len(z)):
        low, high = span(adjacency, i)
        for h in range(low, high):
            j = end(adjacency, i, h)
            if j < i and z[j] == z[i]:
                unite(parent, i, j)
    flatten(parent)
    return parent


@njit
def frontier(adjacency: Any, group: Array, changed: Array, losses: Array, reached: Array) -> Array:
    """The members of the changed groups and those of their neighbours that may want to move because of them.

    Parameters
    ----------
    changed : int8 array
        Of every group: 0 if it is where it was, 1 if it went to another cluster, 2 if the class of its cluster changed.
    losses : float32 array, shape (n,) or (0,)
        At least what each node would have lost by a move when it was visited last; where negative, nothing is known.
        Empty if all neighbours are to be listed.
    reached : float32 array, shape (n,) or (0,)
        How much of that later changes may have taken; brought up to date.

    Returns
    -------
    int32 array
        Nodes in the order of their numbers. If a neighbour changes its cluster, the difference of two places of a node
        changes by no more than twice the cost of their edge.
    """
    n = len(group)
    reach = np.zeros(n, np.float64)
    for i in range(n):
        how = changed[group[i]]
        if how > 0:
            reach[i] = np.inf
            low, high = span(adjacency, i)
            for h in range(low, high):
                known = how == 1 and len(losses) > 0
                reach[end(adjacency, i, h)] += 2 * abs(np.float64(adjacency.weights[h])) if known else np.inf
    found = np.empty(n, np.int32)
    count = 0
    for i in range(n):
        if reach[i] > 0:
            if len(losses) == 0:
                found[count] = i
                count += 1
            elif reach[i] + reached[i] >= losses[i] * _ROUNDING:
                reached[i] = 0.0
                found[count] = i
                count += 1
            else:
                reached[i] += reach[i]
    return found[:count].copy()
