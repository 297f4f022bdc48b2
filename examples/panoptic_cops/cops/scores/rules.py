"""Rules that turn one network's costs into segments: the solvers, and simpler rules to compare them with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from diffcomb import GridGraph, Solution, amwc, mwc, semantic_mutex_watershed

Partition = tuple[NDArray[np.int64], NDArray[np.int64]]  # class and cluster of every node
Rule = Callable[[GridGraph, NDArray[np.float32], NDArray[np.float32], Sequence[int]], Partition]


def by_argmax(graph: GridGraph, node_costs: NDArray, edge_costs: NDArray, things: Sequence[int]) -> Partition:
    """Cheapest class at every node; things are the connected components of a class, joined by short edges only."""
    labels = node_costs.argmin(1)
    return labels, _components(graph, labels, _short(graph), things)


def by_attraction(graph: GridGraph, node_costs: NDArray, edge_costs: NDArray, things: Sequence[int]) -> Partition:
    """As `by_argmax`, but only attractive edges join."""
    labels = node_costs.argmin(1)
    return labels, _components(graph, labels, _short(graph) & (edge_costs > 0), things)


def by_threshold(threshold: float) -> Rule:
    """Make a rule that joins along edges of all lengths whose costs are above a threshold, for which MALIS is made."""

    def rule(graph: GridGraph, node_costs: NDArray, edge_costs: NDArray, things: Sequence[int]) -> Partition:
        labels = node_costs.argmin(1)
        return labels, _components(graph, labels, edge_costs > threshold, things)

    return rule


def by_mutex_watershed(graph: GridGraph, node_costs: NDArray, edge_costs: NDArray, things: Sequence[int]) -> Partition:
    """Semantic mutex watershed (Wolf et al., ECCV 2020) over the edges and the node-to-class edges.

    Strongest evidence first: an attractive edge joins two clusters unless a mutual exclusion or two different
    classes forbid it, a repulsive edge excludes, and a node-to-class edge, as strong as the class is cheaper than
    the next one, gives its class to a cluster that has none. Clusters of one stuff class are one segment.
    """
    second = np.partition(node_costs, 1, axis=1)[:, 1:2] if node_costs.shape[1] > 1 else node_costs + 1
    return _partition(semantic_mutex_watershed(graph, second - node_costs, edge_costs, partitionable=list(things)))


def by_mwc(graph: GridGraph, node_costs: NDArray, edge_costs: NDArray, things: Sequence[int]) -> Partition:
    """Multiway cut for the classes; things are the connected components of a class."""
    labels = mwc(graph, node_costs, edge_costs, effort=1).node_labels.astype(np.int64)
    return labels, _components(graph, labels, _short(graph), things)


def by_amwc(**options: object) -> Rule:
    """Make a rule that solves the asymmetric multiway cut with these options of the solver."""

    def rule(graph: GridGraph, node_costs: NDArray, edge_costs: NDArray, things: Sequence[int]) -> Partition:
        return _partition(amwc(graph, node_costs, edge_costs, partitionable=list(things), **options))

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


def _partition(solution: Solution) -> Partition:
    return solution.node_labels.astype(np.int64), solution.clusters.astype(np.int64)


def _short(graph: GridGraph) -> NDArray[np.bool_]:
    """Which edges are of the shortest offsets."""
    lengths = np.array([max(map(abs, offset)) for offset in graph.offsets])
    short = np.zeros(graph.num_edges, bool)
    for part, length in zip(graph.edge_slices, lengths, strict=True):
        short[part] = length == lengths.min()
    return short


def _components(graph: GridGraph, labels: NDArray, joins: NDArray, things: Sequence[int]) -> NDArray[np.int64]:
    """Components of equal labels over the edges that join; a stuff class is one segment."""
    u, v = graph.edges.T
    joined = joins & (labels[u] == labels[v])
    n = graph.num_nodes
    adjacency = coo_array((joined[joined], (u[joined], v[joined])), shape=(n, n))
    clusters = connected_components(adjacency, directed=False)[1].astype(np.int64)
    for k in set(labels.tolist()) - set(things):
        members = labels == k
        clusters[members] = clusters[members].min()
    return np.unique(clusters, return_inverse=True)[1]
