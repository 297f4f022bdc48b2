"""How one cluster absorbs another: for every cluster a list of the edges that are left, and how parallel ones meet.

The edges of the cluster that goes must meet the parallel ones of the cluster that stays. The neighbours of that one are
marked with their edges. Contraction mostly goes on where it was: as long as one cluster absorbs others its marks are
kept up to date, and its list is not walked over again. Where that does not hold, with many clusters of many edges that
take turns, a hash table of all pairs takes the place of marks, so that no instance takes quadratic time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import inlined, njit, unsigned
from ..limits import KERNELS
from ..structures.edge_table import pair_insert, pair_table
from ..structures.queue import queue_order

GONE = -1


class Lists(NamedTuple):
    """The edges of a graph while it is contracted.

    Attributes
    ----------
    between : int32 array, shape (m,)
        The exclusive or of the two clusters that an edge joins: with one of them it gives the other. GONE once the edge
        is contracted, or part of a parallel one.
    start, length, room : int64 and int32 arrays, shape (n,)
        Where in the pool the edges of a cluster stand, how many, and how many may. Those that are gone remain until
        somebody walks over them.
    degree : int32 array, shape (n,)
        How many edges of a cluster are left.
    used : int64 array, shape (1,)
        How much of the pool is taken.
    """

    between: Array
    start: Array
    length: Array
    room: Array
    degree: Array
    used: Array


@njit
def list_edges(ends: Array, num_nodes: int) -> tuple[Lists, Array]:
    """The lists of edges without loops and parallel ones, and the pool that they stand in."""
    m = len(ends)
    between, degree = np.empty(m, np.int32), np.zeros(num_nodes, np.int32)
    for e in range(m):
        i, j = ends[e, 0], ends[e, 1]
        between[e] = i ^ j
        degree[unsigned(i)] += 1
        degree[unsigned(j)] += 1
    start, length = np.empty(num_nodes, np.int64), np.zeros(num_nodes, np.int32)
    used = np.zeros(1, np.int64)
    for i in range(num_nodes):
        start[i] = used[0]
        used[0] += degree[i]
    pool = np.empty(3 * m + 16, np.int32)
    for e in range(m):
        for side in range(2):
            i = unsigned(ends[e, side])
            pool[start[i] + length[i]] = e
            length[i] += 1
    return Lists(between, start, length, degree.copy(), degree, used), pool


@njit
def mark_neighbours(lists: Lists, pool: Array, i: int, mark: Array, stamp: int) -> None:
    """Note the edge to each neighbour of cluster i, and forget its edges that are gone.

    Every walk has a stamp of its own, so that earlier notes need not be taken back.
    """
    between, start, length = lists.between, lists.start[i], lists.length
    high = np.int64(stamp) << 32
    kept = start
    for t in range(start, start + length[i]):
        e = pool[unsigned(t)]
        both = between[unsigned(e)]
        if both != GONE:
            mark[unsigned(both ^ i)] = high | np.int64(e)
            pool[unsigned(kept)] = e
            kept += 1
    length[i] = kept - start


@njit
def marked(mark: Array, other: int, stamp: int) -> int:
    """The edge to a neighbour, or -1."""
    value = mark[unsigned(other)]
    return value & 0x7FFFFFFF if value >> 32 == stamp else -1


@njit
def with_room(lists: Lists, pool: Array, i: int, more: int) -> Array:
    """Move the list of cluster i to where it has room for so many edges more, and as many again; returns the pool."""
    between, start, length, room, degree, used = lists
    need = 2 * (degree[i] + more)
    if used[0] + need > len(pool):
        pool = _packed(lists, pool, need)
    first, at = start[i], used[0]
    start[i] = at
    for t in range(first, first + length[i]):
        e = pool[unsigned(t)]
        if between[unsigned(e)] != GONE:
            pool[unsigned(at)] = e
            at += 1
    length[i], room[i] = at - start[i], need
    used[0] += need
    return pool


@njit
def _packed(lists: Lists, pool: Array, need: int) -> Array:
    """A pool with the lists one after the other, without what is gone, and behind them half as much again and more."""
    between, start, length, room, degree, used = lists
    left = 0
    for i in range(len(degree)):
        left += degree[i]
    packed = np.empty(left + left // 2 + 2 * need, np.int32)
    at = 0
    for i in range(len(degree)):
        first = start[i]
        start[i] = at
        if degree[i] > 0:  # not of a cluster that is gone
            for t in range(first, first + length[i]):
                e = pool[unsigned(t)]
                if between[unsigned(e)] != GONE:
                    packed[unsigned(at)] = e
                    at += 1
        length[i] = room[i] = at - start[i]
    used[0] = at
    return packed


@njit
def enter_all(entered: Array, keys: Array, items: Array) -> int:
    """Make the queue of edges anew, with the entries that count alone; returns its size."""
    size = 0
    for e in range(len(entered)):
        if entered[e] >= 0:
            keys[size], items[size] = entered[e], e
            size += 1
    queue_order(keys, items, size)
    return size


@njit
def tabulated(lists: Lists, pool: Array, more: int, pairs: Array) -> tuple[Array, Array]:
    """A table of all edges that are left, with room for so many more; `pairs[0]` becomes their number."""
    count = 0
    for i in range(len(lists.degree)):
        count += lists.degree[i]
    keys, values = pair_table(count // 2 + count // 4 + more)
    for i in range(len(lists.degree)):
        if lists.degree[i] == 0:
            continue
        for t in range(lists.start[i], lists.start[i] + lists.length[i]):
            e = pool[unsigned(t)]
            both = lists.between[unsigned(e)]
            if both != GONE and i < both ^ i:
                pair_insert(keys, values, i, both ^ i, e)
    pairs[0] = count // 2
    return keys, values


class Meeting(NamedTuple):
    """How the edges of the cluster that stays are found: by marks of its neighbours, or all edges by a table.

    Attributes
    ----------
    owner, stamp : int
        Whose neighbours are marked, and with what.
    walked : int
        Steps along lists that marks have taken so far.
    has_table : bool
    keys, values : int64 arrays
        The table.
    pairs : int64 array, shape (1,)
        How many entries it has; as many as places until it is made.
    """

    owner: int
    stamp: int
    walked: int
    has_table: bool
    keys: Array
    values: Array
    pairs: Array


@njit
def no_meeting() -> Meeting:
    """Before the first absorption."""
    keys, values = pair_table(1)
    return Meeting(-1, 0, 0, False, keys, values, np.full(1, len(keys)))


@inlined
def met(lists: Any, pool: Any, mark: Any, meeting: Any, i: Any, j: Any) -> Any:
    """What cluster i needs to absorb j: its edges can be found, and its list has room; returns the pool as well."""
    owner, stamp, walked, has_table, keys, values, pairs = meeting
    more = lists.degree[j]
    if i != owner and not has_table:
        owner, stamp, walked = i, stamp + 1, walked + lists.length[i]
        mark_neighbours(lists, pool, i, mark, stamp)
        has_table = walked > KERNELS.walked_an_edge * len(lists.between) + 1024
    if has_table and 2 * (pairs[0] + more) > len(keys):
        keys, values = tabulated(lists, pool, more, pairs)
    if lists.length[i] + more > lists.room[i]:
        pool = with_room(lists, pool, i, more)
    return pool, Meeting(owner, stamp, walked, has_table, keys, values, pairs)
