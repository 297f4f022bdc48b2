"""Contraction: every group of nodes becomes one node; parallel edge costs and node costs add up."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned
from ..._room import room
from ..._threads import thread_map, thread_ranges
from ...problem import Problem
from ..limits import KERNELS, LIMITS
from .costs import Rows, degree, end, half_edges
from .partition import members_of


def contract(adjacency: Any, node_costs: Array, group: Array, num_groups: int) -> tuple[Rows, Array]:
    """Contract the groups 0..M-1 of nodes, in O(n K + m) and without sorting or hashing; sums are float64.

    Returns
    -------
    rows, node_costs
        Adjacency and node costs of the contracted graph. Edges whose costs cancel to 0 are dropped.
    """
    if num_groups <= KERNELS.few_groups:
        indptr, neighbours, weights, sums = _contract_few(adjacency, node_costs, group, num_groups)
        return Rows(indptr, neighbours, weights), sums
    return _contract_many(adjacency, node_costs, group, num_groups)


def contract_cut(problem: Problem, y: Array, node_costs: Array, group: Array, num_groups: int) -> tuple[Rows, Array]:
    """What `contract` does, for few groups of a problem's nodes, where `y` cuts all edges between groups.

    Edges that are not cut are not looked at.
    """
    edges, edge_costs = problem.graph.edges, problem.edge_costs

    def add_cut(part: slice) -> Array:
        return _cut_between(edges[part], edge_costs[part], y[part], group, num_groups)

    def add_nodes(part: slice) -> Array:
        return sums_of_groups(node_costs[part], group[part], num_groups)

    rows = _rows_of_matrix(_sum_of_parts(add_cut, len(y), LIMITS.edges_a_sum))
    return Rows(*rows), _sum_of_parts(add_nodes, len(group), LIMITS.nodes_a_sum)


def _sum_of_parts(of_part: Callable[[slice], Array], count: int, size: int) -> Array:
    """The sum of an array for each part of range(count), added in the same order whatever the number of threads."""
    parts = [slice(start, start + size) for start in range(0, max(count, 1), size)]
    first, *others = thread_map(of_part, parts)
    return sum(others, start=first)


class Groups(NamedTuple):
    """Groups of nodes as lists: those of group g are ``members[start[g]:start[g + 1]]``.

    ``before[g]`` counts the half-edges of the members of all groups before g.
    """

    group: Array
    start: Array
    members: Array
    before: Array


def _contract_many(adjacency: Any, node_costs: Array, group: Array, num_groups: int) -> tuple[Rows, Array]:
    """The same for many groups, in threads where there are enough edges; their number does not change a bit of it.

    Each thread takes as many groups as begin in its share of the half-edges, and begins to write where those before
    might end. What is written is moved together then; pages that were touched before that, up to as much again, remain
    resident.
    """
    groups = _groups_of(adjacency, group, num_groups)
    half_edges, before = len(adjacency.weights), groups.before
    rows = Rows(np.zeros(num_groups + 1, np.int64), room(half_edges, np.int32), room(half_edges, np.float64))
    num_classes = node_costs.shape[1]
    sums = room(num_groups * num_classes, np.float64).reshape(num_groups, num_classes)
    parts: list[tuple[int, int, int]] = []

    def write(low: int, high: int) -> None:
        first, last = (int(g) for g in np.searchsorted(before[:-1], (low, high)))
        parts.append((first, last, _write_rows(adjacency, groups, first, last, rows)))
        _add_members(node_costs, groups, first, last, sums)

    end_of_all = int(before[-1]) + 1  # + 1 for groups without edges behind all others
    thread_ranges(write, end_of_all, LIMITS.half_edges_a_thread)
    count = 0
    for first, last, stop in sorted(parts):
        at = int(before[first])
        if at > count:
            thread_map(partial(_move_down, at, stop, count), (rows.neighbours, rows.weights))
            rows.indptr[first + 1 : last + 1] -= at - count
        count += stop - at
    # No copy: the rest of the arrays was never touched, so it takes no memory.
    return Rows(rows.indptr, rows.neighbours[:count], rows.weights[:count]), sums


def _move_down(at: int, stop: int, to: int, array: Array) -> None:
    array[to : to + stop - at] = array[at:stop]


@njit
def has_parallel_edges(indptr: Array, neighbours: Array) -> bool:
    """Whether some node stands twice in the list of another."""
    seen = np.full(len(indptr) - 1, -1, np.int32)
    for i in range(len(seen)):
        for h in range(indptr[i], indptr[i + 1]):
            j = neighbours[h]
            if seen[j] == i:
                return True
            seen[j] = i
    return False


@njit
def contracted(rows: Rows, group: Array, num_groups: int) -> Rows:
    """The same within a kernel, by one thread."""
    groups = _groups_of(rows, group, num_groups)
    out = _room(num_groups, len(rows.weights))
    count = _write_rows(rows, groups, 0, num_groups, out)
    indptr, neighbours, weights = out
    return Rows(indptr, neighbours[:count], weights[:count])


@njit
def _groups_of(adjacency: Any, group: Array, num_groups: int) -> Groups:
    start, members = members_of(group, num_groups)
    return Groups(group, start, members, _half_edges_before(adjacency, start, members))


@njit
def _room(num_groups: int, half_edges: int) -> Rows:
    return Rows(np.zeros(num_groups + 1, np.int64), np.empty(half_edges, np.int32), np.empty(half_edges, np.float64))


@njit
def _write_rows(adjacency: Any, groups: Groups, first: int, last: int, out: Rows) -> int:
    """Write the adjacency lists of the groups first..last-1 from ``before[first]`` on; returns the position after them.

    They take at most as many places as their members have half-edges.
    """
    group, start, members, before = groups
    indptr, neighbours, weights = out
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
            i = unsigned(members[t])
            for h in half_edges(adjacency, i):
                other = unsigned(group[end(adjacency, i, h)])
                sum_before = total[other]
                listed[unsigned(num_listed)] = other
                if sum_before == 0:
                    num_listed += 1
                total[other] = sum_before + adjacency.weights[h]
        total[g] = 0.0
        for t in range(num_listed):
            other = unsigned(listed[unsigned(t)])
            neighbours[np.uint64(at)] = other
            weights[np.uint64(at)] = total[other]
            if total[other] != 0:
                at += 1
            total[other] = 0.0
        indptr[g + 1] = at
    return at


@njit
def _add_members(node_costs: Array, groups: Groups, first: int, last: int, sums: Array) -> None:
    for g in range(first, last):
        for k in range(node_costs.shape[1]):
            sums[unsigned(g), unsigned(k)] = 0.0
        for t in range(groups.start[g], groups.start[g + 1]):
            i = unsigned(groups.members[t])
            for k in range(node_costs.shape[1]):
                sums[unsigned(g), unsigned(k)] += node_costs[i, unsigned(k)]


@njit
def _half_edges_before(adjacency: Any, start: Array, members: Array) -> Array:
    """How many half-edges the members of all groups before each one have; the last entry is the sum of all."""
    before = np.zeros(len(start), np.int64)
    for g in range(len(start) - 1):
        before[g + 1] = before[g]
        for t in range(start[g], start[g + 1]):
            before[g + 1] += degree(adjacency, members[t])
    return before


@njit
def _contract_few(
    adjacency: Any, node_costs: Array, group: Array, num_groups: int
) -> tuple[Array, Array, Array, Array]:
    total = between(adjacency, group, num_groups)
    return (*_rows_of_matrix(total), sums_of_groups(node_costs, group, num_groups))


@njit
def _cut_between(edges: Array, edge_costs: Array, y: Array, group: Array, num_groups: int) -> Array:
    """The sum of the costs of the cut edges between any two groups, in one half of a matrix or the other."""
    total = np.zeros((num_groups, num_groups), np.float64)
    for e in range(len(y)):
        if y[e]:
            total[unsigned(group[unsigned(edges[e, 0])]), unsigned(group[unsigned(edges[e, 1])])] += edge_costs[e]
    return total


@njit
def between(adjacency: Any, group: Array, num_groups: int) -> Array:
    """The sum of the costs between any two groups, in one half of a matrix or the other; edges are read once."""
    total = np.zeros((num_groups, num_groups), np.float64)
    for i in range(len(group)):
        for h in half_edges(adjacency, i):
            j = end(adjacency, i, h)
            if j > i:
                total[unsigned(group[i]), unsigned(group[j])] += adjacency.weights[h]
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
def sums_of_groups(node_costs: Array, group: Array, num_groups: int) -> Array:
    """The node costs of all members of every group, in float64."""
    n, num_classes = node_costs.shape
    sums = np.zeros((num_groups, num_classes), np.float64)
    for i in range(n):
        g = group[i]
        for k in range(num_classes):
            sums[unsigned(g), unsigned(k)] += node_costs[unsigned(i), unsigned(k)]
    return sums
