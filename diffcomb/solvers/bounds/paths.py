"""Short attractive paths between the ends of an edge, searched from both ends at once.

Only half-edges that a path may take are listed, with what is left of them beside where they lead, in the order in which
a search reads them; of all that it reads, only the marks of nodes lie elsewhere in memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned
from ..limits import KERNELS


class Halves(NamedTuple):
    """Half-edges that paths may take: those of node i are ``start[i]:start[i + 1]``.

    Attributes
    ----------
    start : int64 array, shape (n + 1,)
    to : int32 array
        Node j that a half-edge leads to; ~j where that is in another cluster.
    left : float64 array
        What is left of an attractive edge within a cluster, or of a repulsive one between two.
    edges, mates : int32 arrays
        The edge, and the other half of it.
    """

    start: Array
    to: Array
    left: Array
    edges: Array
    mates: Array


class Search(NamedTuple):
    """Arrays of searches: who saw a node, from which node and along which half-edge, and both frontiers.

    `path` and `path_halves` take what was found, the half-edge of each node being that to the next one, in either
    direction. `looks` is how many half-edges all searches have looked at, in an array of one element.
    """

    seen: Array
    parent: Array
    half: Array
    front: Array
    back: Array
    path: Array
    path_halves: Array
    looks: Array


def new_search(n: int) -> Search:
    """Arrays for searches in a graph of n nodes."""
    parent, half, front, back = (np.empty(n, np.int32) for _ in range(4))
    path, path_halves = (np.empty(n + 1, np.int32) for _ in range(2))
    return Search(np.zeros(n, np.int64), parent, half, front, back, path, path_halves, np.zeros(1, np.int64))


def usable_halves(csr: tuple[Array, Array, Array], costs: Array, z: Array, smallest: float) -> Halves:
    """The half-edges of attractive edges within the clusters `z` and of repulsive ones between them.

    Costs up to `smallest` count as 0.
    """
    start, to, left, edges, mates, count = _usable_halves(csr, costs, z, smallest)
    return Halves(start, to[:count], left[:count], edges[:count], mates[:count])


@njit
def _usable_halves(csr: tuple[Array, Array, Array], costs: Array, z: Array, smallest: float) -> tuple[Any, ...]:
    indptr, neighbours, edge_ids = csr
    most = len(neighbours)
    start, to, left = np.zeros(len(indptr), np.int64), np.empty(most, np.int32), np.empty(most)
    edges, mates = np.empty(most, np.int32), np.empty(most, np.int32)
    first_half = np.full(len(costs), -1, np.int32)
    at = 0
    for x in range(len(indptr) - 1):
        for h in range(indptr[x], indptr[x + 1]):
            y, e = unsigned(neighbours[unsigned(h)]), unsigned(edge_ids[unsigned(h)])
            within = z[x] == z[y]
            here = costs[e] if within else -costs[e]
            if here <= smallest:
                continue
            to[at] = neighbours[unsigned(h)] if within else ~neighbours[unsigned(h)]
            left[at], edges[at] = here, e
            mates[at] = first_half[e]
            if first_half[e] < 0:
                first_half[e] = at
            else:
                mates[unsigned(first_half[e])] = at
            at += 1
        start[x + 1] = at
    return start, to, left, edges, mates, at


@njit
def find_path(halves: Halves, smallest: float, u: int, v: int, longest: int, search: Search, number: int) -> int:
    """A shortest path of up to `longest` edges, written to the search's arrays; returns its number of nodes.

    Its edges are attractive and within clusters, but that between two clusters it takes one repulsive edge. 0 if there
    is none so short or the search took too long, -1 if no path at all joins the nodes. It goes on from the side with
    fewer nodes. `number` is another one in every call.
    """
    if u == v:
        return -1
    start, to, left, _, _ = halves
    seen, parent, half, front, back, _, _, looks = search
    seen[u], seen[v] = 2 * number, 2 * number + 1
    parent[u] = parent[v] = -1
    front[0], back[0] = u, v
    first_front, last_front, first_back, last_back = 0, 1, 0, 1
    for _ in range(longest):
        forward = last_front - first_front <= last_back - first_back
        side = 2 * number if forward else 2 * number + 1
        frontier = front if forward else back
        first, last = (first_front, last_front) if forward else (first_back, last_back)
        end = last
        for t in range(first, last):
            x = unsigned(frontier[unsigned(t)])
            looks[0] += start[x + 1] - start[x]
            for h in range(start[x], start[x + 1]):
                if left[unsigned(h)] <= smallest:
                    continue
                leads_to = to[unsigned(h)]
                y = unsigned(leads_to if leads_to >= 0 else ~leads_to)
                if seen[y] == side ^ 1:
                    return _read_path(search, x, y, h, 2 * number)
                if leads_to < 0 or seen[y] == side:
                    continue
                seen[y] = side
                parent[y] = x
                half[y] = h
                frontier[unsigned(end)] = y
                end += 1
        if end == last:
            return -1
        if forward:
            first_front, last_front = last, end
        else:
            first_back, last_back = last, end
        if last_front + last_back > KERNELS.max_path_search:
            return 0
    return 0


@njit
def _read_path(search: Search, x: int, y: int, joining: int, front: int) -> int:
    """Write the path through a half-edge that joins both sides, from the front's end on."""
    seen, parent, half, _, _, path, path_halves, _ = search
    if seen[x] != front:
        x, y = y, x
    length = 0
    node = np.int64(x)
    while node >= 0:
        path[length] = node
        path_halves[length] = half[node]  # to the node after it, once the order is turned
        length += 1
        node = parent[node]
    for t in range(length // 2):
        path[t], path[length - 1 - t] = path[length - 1 - t], path[t]
    for t in range((length - 1) // 2):
        path_halves[t], path_halves[length - 2 - t] = path_halves[length - 2 - t], path_halves[t]
    path_halves[length - 1] = joining
    node = np.int64(y)
    while node >= 0:
        path[length] = node
        path_halves[length] = half[node]
        length += 1
        node = parent[node]
    return length
