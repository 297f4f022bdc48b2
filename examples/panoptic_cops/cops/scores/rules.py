"""Rules that turn one network's costs into segments: the solvers, and simpler rules to compare them with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from diffcomb import GridGraph, amwc, mwc

Partition = tuple[NDArray[np.int64], NDArray[np.int64]]  # class and cluster of every node
Rule = Callable[[GridGraph, NDArray[np.float32], NDArray[np.float32], Sequence[int]], Partition]


def by_argmax(graph: GridGraph, node_costs: NDArray, edge_costs: NDArray, things: Sequence[int]) -> Partition:
    """Cheapest class at every node; things are the connected components of a class, joined by short edges only."""
    labels = node_costs.argmin(1)
    return labels, _components(graph, labels, np.ones(graph.num_edges, bool), things)


def by_attraction(graph: GridGraph, node_costs: NDArray, edge_costs: NDArray, things: Sequence[int]) -> Partition:
    """As `by_argmax`, but only attractive edges join."""
    labels = node_costs.argmin(1)
    return labels, _components(graph, labels, edge_costs > 0, things)


def by_mutex_watershed(graph: GridGraph, node_costs: NDArray, edge_costs: NDArray, things: Sequence[int]) -> Partition:
    """Semantic mutex watershed (Wolf et al., ECCV 2020) over the edges and the node-to-class edges.

    Strongest evidence first: an attractive edge joins two clusters unless a mutual exclusion or two different
    classes forbid it, a repulsive edge excludes, and a node-to-class edge, as strong as the class is cheaper than
    the next one, gives its class to a cluster that has none. Clusters of one stuff class are one segment.
    """
    ordered = np.sort(node_costs, axis=1)
    margin = ordered[:, 1] - ordered[:, 0] if node_costs.shape[1] > 1 else np.ones(len(node_costs), node_costs.dtype)
    strength = np.concatenate([np.abs(edge_costs), margin])
    order = np.argsort(-strength, kind="stable")
    best = node_costs.argmin(1)
    root, label = _mutex_watershed(graph.edges, edge_costs, best, order)
    labels = np.where(label >= 0, label, best)[root]
    clusters = root.copy()
    for k in set(range(node_costs.shape[1])) - set(things):
        members = labels == k
        clusters[members] = root[members].min(initial=len(root))
    return labels, np.unique(clusters, return_inverse=True)[1]


def by_mwc(graph: GridGraph, node_costs: NDArray, edge_costs: NDArray, things: Sequence[int]) -> Partition:
    """Multiway cut for the classes; things are the connected components of a class."""
    labels = mwc(graph, node_costs, edge_costs, effort=1).node_labels.astype(np.int64)
    return labels, _components(graph, labels, np.ones(graph.num_edges, bool), things)


def by_amwc(**options: object) -> Rule:
    """Make a rule that solves the asymmetric multiway cut with these options of the solver."""

    def rule(graph: GridGraph, node_costs: NDArray, edge_costs: NDArray, things: Sequence[int]) -> Partition:
        s = amwc(graph, node_costs, edge_costs, partitionable=list(things), **options)
        return s.node_labels.astype(np.int64), s.clusters.astype(np.int64)

    return rule


RULES: dict[str, Rule] = {
    "arg-max + connected components": by_argmax,
    "arg-max + attractive components": by_attraction,
    "semantic mutex watershed": by_mutex_watershed,
    "MWC + connected components": by_mwc,
    "AMWC, greedy": by_amwc(solver="greedy"),
    "AMWC, multilevel, effort 0": by_amwc(effort=0),
    "AMWC, multilevel, effort 1": by_amwc(effort=1),
}


def _components(graph: GridGraph, labels: NDArray, joins: NDArray, things: Sequence[int]) -> NDArray[np.int64]:
    """Components of equal labels over the edges of the shortest offsets that join; a stuff class is one segment."""
    lengths = np.array([max(map(abs, offset)) for offset in graph.offsets])
    short = np.zeros(graph.num_edges, bool)
    for part, length in zip(graph.edge_slices, lengths, strict=True):
        short[part] = length == lengths.min()
    u, v = graph.edges.T
    joined = short & joins & (labels[u] == labels[v])
    n = graph.num_nodes
    adjacency = coo_array((joined[joined], (u[joined], v[joined])), shape=(n, n))
    clusters = connected_components(adjacency, directed=False)[1].astype(np.int64)
    for k in set(labels.tolist()) - set(things):
        members = labels == k
        clusters[members] = clusters[members].min()
    return np.unique(clusters, return_inverse=True)[1]


@nb.njit
def _find(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@nb.njit
def _mutex_watershed(edges, costs, best, order):
    """Root of every node and class of every root (-1: none).

    The exclusions of a cluster are a linked list of (other node, next); lists are spliced in O(1), and to test two
    clusters the shorter list is walked.
    """
    n, m = len(best), len(edges)
    parent, label = np.arange(n), np.full(n, -1, np.int64)
    head, tail, count = np.full(n, -1, np.int64), np.full(n, -1, np.int64), np.zeros(n, np.int64)
    other, following = np.empty(2 * m, np.int64), np.full(2 * m, -1, np.int64)
    used = 0
    for e in order:
        if e >= m:  # a node takes its cheapest class
            root = _find(parent, e - m)
            if label[root] < 0:
                label[root] = best[e - m]
            continue
        a, b = _find(parent, edges[e, 0]), _find(parent, edges[e, 1])
        if a == b:
            continue
        if count[a] > count[b]:
            a, b = b, a
        if costs[e] <= 0:
            for root, node in ((a, b), (b, a)):
                other[used], following[used] = node, head[root]
                if head[root] < 0:
                    tail[root] = used
                head[root] = used
                count[root] += 1
                used += 1
            continue
        if label[a] >= 0 and label[b] >= 0 and label[a] != label[b]:
            continue
        excluded, entry = False, head[a]
        while entry >= 0 and not excluded:
            excluded = _find(parent, other[entry]) == b
            entry = following[entry]
        if excluded:
            continue
        parent[a] = b
        if label[b] < 0:
            label[b] = label[a]
        if head[a] >= 0:
            following[tail[a]] = head[b]
            if head[b] < 0:
                tail[b] = tail[a]
            head[b] = head[a]
            count[b] += count[a]
    root = np.empty(n, np.int64)
    for i in range(n):
        root[i] = _find(parent, i)
    return root, label
