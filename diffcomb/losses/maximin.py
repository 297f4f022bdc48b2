"""Maximin edges, and how many pairs of nodes each of them decides: the weights of MALIS (Turaga et al., NeurIPS 2009).

Of all paths between two nodes, take the one whose weakest edge is strongest: that weakest edge is their maximin edge.
Kruskal's algorithm takes the edges from the strongest to the weakest; one that joins two trees is the maximin edge of
all pairs with a node in each. Among equally strong edges, the one with the smaller number counts as stronger.

The two passes of constrained MALIS (Funke et al., TPAMI 2019) share no edge, so each works on its own edges only:

- Positive pass: edges between segments are set to the minimum, so a pair of one segment is joined by edges inside of
  it, or not at all. No segment then sees another, so they are worked on a few at a time, by all threads: the edges and
  nodes of a few segments fit a cache.
- Negative pass: edges inside of segments are set to the maximum, so they join nodes to components first, which are the
  trees of the positive pass. The edges between segments then join components. A merge decides all pairs across it but
  those of one label.

Pairs of one label are counted without a histogram for each component. Every merge puts the list of one component
behind that of the other and leaves its own number in the gap; the merge that joins two components is then the largest
number in the gaps between them. For each label, neighbours in this order are joined by rising number, with the product
of their sizes.
"""

from __future__ import annotations

import numpy as np

from .._arrays import Array
from .._numba import njit, unsigned
from .._threads import thread_map
from .._union_find import find, numbers

VOID = -1  # labels of nodes without a label; a background of this label is none
PART = 2**16  # edges inside of segments that are worked on at once, of as many segments as it takes
SAMPLE = 2**12  # affinities that tell where the strongest edges end,
SHARE = 2  # which are one in so many,
FEW = 2**18  # as long as there are more edges than this
BLOCK = 256  # edges whose ends are read at once


def decisive_pairs(
    edges: Array, affinities: Array, labels: Array, background: int
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """For the positive and for the negative pass: edges that decide pairs, and how many pairs each of them decides."""
    parent = np.full(len(labels), -1, np.int32)  # trees of one node each, as `_join` wants them
    between, *inside = _in_parts(edges, labels, background)
    forests = thread_map(lambda ids: _spanning_forest(edges, affinities, ids, parent), inside)
    positive = np.concatenate([f[0] for f in forests]), np.concatenate([f[1] for f in forests])
    component, label, size = _components(parent, labels, background)
    merges, _ = _spanning_forest(edges, affinities, between, parent)
    decided, order = _merge(edges, merges, component, size)
    counted = label != VOID
    numbered = np.full(len(label), VOID, np.int64)
    names, numbered[counted] = np.unique(label[counted], return_inverse=True)
    return positive, (merges, decided - _of_one_label(*order, numbered, size, len(names), len(merges)))


def _in_parts(edges: Array, labels: Array, background: int) -> list[Array]:
    """Numbers of the edges between segments, then those inside, where all of one segment stand in one part."""
    parts = max(1, len(edges) // PART)
    ids, start = _sorted_by_part(edges, labels, background, parts)
    return [ids[start[p] : start[p + 1]] for p in range(parts + 1)]


def _spanning_forest(edges: Array, affinities: Array, ids: Array, parent: Array) -> tuple[Array, Array]:
    """The edges that Kruskal's algorithm accepts, in its order, and the product of the sizes that each of them joins.

    The strongest edges join most nodes. The others are then looked at in the order in which they lie in memory, which
    is much faster than by strength, and those that join nothing any more are dropped before they are sorted (Osipov,
    Sanders & Singler, ALENEX 2009).
    """
    accepted, products = np.empty(len(ids), np.int32), np.empty(len(ids), np.int64)
    count = 0
    while len(ids):
        weaker = ids[:0]
        if len(ids) > FEW:
            values = affinities[ids]
            sample = np.sort(values[:: len(values) // SAMPLE])
            strong = values >= sample[len(sample) - len(sample) // SHARE]
            ids, weaker = ids[strong], ids[~strong]
        count += _join(edges, strongest_first(affinities, ids), parent, accepted[count:], products[count:])
        ids = _still_apart(edges, weaker, parent)
    return accepted[:count].copy(), products[:count].copy()


def strongest_first(affinities: Array, ids: Array) -> Array:
    """Edge numbers by falling affinity, and by rising number where affinities are equal; `ids` rise."""
    values = affinities[ids]
    if values.dtype != np.float32:
        return ids[np.argsort(-values, kind="stable")]
    # One sort of integers: the bits of the affinity, so changed that they fall where it rises, and the number behind.
    bits = (values + np.float32(0)).view(np.uint32)  # + 0: -0.0 equals 0.0
    keys = np.where(bits >> 31, bits, bits ^ np.uint32(0x7FFFFFFF)).astype(np.uint64) << np.uint64(32)
    keys |= ids.astype(np.uint64)
    keys.sort()
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int32)


@njit
def _sorted_by_part(edges: Array, labels: Array, background: int, parts: int) -> tuple[Array, Array]:
    """Edge numbers by part, rising in each, and where the parts begin; edges that touch void belong to none."""
    part = np.empty(len(edges), np.int32)
    start = np.zeros(parts + 2, np.int64)
    for e in range(len(edges)):
        u, v = edges[e, 0], edges[e, 1]
        one, other = labels[unsigned(u)], labels[unsigned(v)]
        p = -1
        if one >= 0 and other >= 0 and u != v:
            p = 1 + _share(one, parts) if one == other and one != background else 0
            start[unsigned(p + 1)] += 1
        part[e] = p
    for p in range(parts + 1):
        start[p + 1] += start[p]
    ids, place = np.empty(start[-1], np.int32), start.copy()
    for e in range(len(edges)):
        p = part[e]
        if p >= 0:
            ids[unsigned(place[unsigned(p)])] = e
            place[unsigned(p)] += 1
    return ids, start


@njit
def _share(label: int, parts: int) -> int:
    """One of 0..parts-1, as if by lot: labels follow each other in space, and large segments may lie together."""
    low = (label ^ (label >> 31)) & 0x7FFFFFFF
    return (low * 0x61C88647 & 0xFFFFFFFF) * parts >> 32


@njit
def _root(parent: Array, i: int) -> int:
    """The root of node i; the path to it is halved. A root holds minus the number of nodes of its tree."""
    while True:
        above: int = parent[unsigned(i)]
        if above < 0:
            return i
        beyond = parent[unsigned(above)]
        if beyond < 0:
            return above
        parent[unsigned(i)] = beyond
        i = beyond


@njit
def _join(edges: Array, order: Array, parent: Array, accepted: Array, products: Array) -> int:
    """Join trees along edges; write each edge that joined two, and the product of their sizes; return how many did.

    Edges come in no order of places. Their ends, and two steps towards the roots, are read for a block of edges at
    once: a processor fetches many places at the same time only if none of them depends on what was decided before.
    """
    ends = np.empty((BLOCK, 2), np.int32)
    count = 0
    for start in range(0, len(order), BLOCK):
        size = min(BLOCK, len(order) - start)
        for i in range(size):
            e = unsigned(order[unsigned(start + i)])
            ends[i, 0], ends[i, 1] = edges[e, 0], edges[e, 1]
        for _ in range(2):
            for i in range(size):
                for side in range(2):
                    above = parent[unsigned(ends[i, side])]
                    if above >= 0:
                        ends[i, side] = above
        for i in range(size):
            a, b = _root(parent, ends[i, 0]), _root(parent, ends[i, 1])
            if a != b:
                of_a, of_b = parent[unsigned(a)], parent[unsigned(b)]
                accepted[unsigned(count)] = order[unsigned(start + i)]
                products[unsigned(count)] = np.int64(of_a) * np.int64(of_b)
                count += 1
                if of_a > of_b:
                    a, b = b, a
                parent[unsigned(a)] = of_a + of_b
                parent[unsigned(b)] = a
    return count


@njit
def _still_apart(edges: Array, ids: Array, parent: Array) -> Array:
    """Those of the edges whose ends lie in different trees."""
    found = np.empty(len(ids), np.int32)
    count = 0
    for i in range(len(ids)):
        e = unsigned(ids[i])
        found[unsigned(count)] = ids[i]
        count += _root(parent, edges[e, 0]) != _root(parent, edges[e, 1])
    return found[:count].copy()


@njit
def _components(parent: Array, labels: Array, background: int) -> tuple[Array, Array, Array]:
    """Components inside of segments: that of each node, and the label and the number of nodes of each.

    A node of the background is a component of its own, without a label and with no node that counts.
    """
    component = np.full(len(labels), -1, np.int32)
    label, size = np.empty(len(labels), np.int64), np.zeros(len(labels), np.int64)
    count = 0
    for i in range(len(labels)):
        if labels[i] < 0:
            continue
        root = _root(parent, i)
        if component[root] < 0:
            component[root] = count
            label[count] = -1 if labels[i] == background else labels[i]
            count += 1
        component[i] = component[root]
        size[component[i]] += labels[i] != background
    return component, label[:count].copy(), size[:count].copy()


@njit
def _merge(edges: Array, merges: Array, component: Array, size: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    """Merge components along the edges of a forest: the pairs across each merge, and the order of the components.

    The order: the root of each component, the component behind each one (-1 at the end), and the number of the merge
    that put it there.
    """
    count = len(size)
    parent, last, behind = numbers(count), numbers(count), np.full(count, -1, np.int32)
    gap, total, decided = np.zeros(count, np.int32), size.copy(), np.empty(len(merges), np.int64)
    for t in range(len(merges)):
        a, b = find(parent, component[edges[merges[t], 0]]), find(parent, component[edges[merges[t], 1]])
        decided[t] = total[a] * total[b]
        parent[b] = a
        total[a] += total[b]
        behind[last[a]], gap[last[a]] = b, t  # the list of a root begins with it
        last[a] = last[b]
    return decided, (parent, behind, gap)


@njit
def _of_one_label(
    root: Array, behind: Array, gap: Array, label: Array, size: Array, num_labels: int, num_merges: int
) -> Array:
    """How many pairs of one label each merge decides."""
    count = len(label)
    before, linked = np.empty(count, np.int32), np.full(count, -1, np.int32)
    first = np.full(num_merges, -1, np.int32)  # of the components whose pair with the one before a merge decides
    latest, place = np.full(num_labels, -1, np.int32), np.full(count, -1, np.int32)
    # Gaps of the tree from which on no later one is larger: their places rise and their numbers fall.
    at, largest = np.empty(count, np.int32), np.empty(count, np.int32)
    position = 0
    for tree in range(count):
        if root[tree] != tree:
            continue
        start, top, c, previous = position, 0, tree, -1
        while c >= 0:
            if previous >= 0:
                while top and largest[top - 1] < gap[previous]:
                    top -= 1
                at[top], largest[top] = position, gap[previous]
                top += 1
            k = label[c]
            if k >= 0:
                p = latest[k]
                if p >= 0 and place[p] >= start:
                    i = np.searchsorted(at[:top], place[p] + 1)
                    t = largest[i]
                    before[c], linked[c], first[t] = p, first[t], c
                latest[k], place[c] = c, position
            position += 1
            previous, c = c, behind[c]
    parent, total, same = numbers(count), size.copy(), np.zeros(num_merges, np.int64)
    for t in range(num_merges):
        c = first[t]
        while c >= 0:
            a, b = find(parent, before[c]), find(parent, c)
            same[t] += total[a] * total[b]
            parent[b] = a
            total[a] += total[b]
            c = linked[c]
    return same
