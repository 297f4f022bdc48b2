"""Multicuts with a cost of all pairs that is never listed: communities at a resolution.

The descent is that of :mod:`.multilevel` without classes: passes of local moving and contractions until nothing joins,
then moves at every level on the way back. Rounds make V-cycles in random orders: pieces of clusters move as wholes,
level by level (after the refinement of Leiden, Traag, Waltman and van Eck 2019). Where that gains nothing, they make
other descents, with noise on the costs of edges, and fuse each with the best so far, as :mod:`.moves.fusing` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .._arrays import Array
from ..problem import Problem, Solution, solution_of_labels
from .budget import Budget
from .hierarchy import Order, natural
from .levels.contraction import contracted
from .levels.costs import rows_of
from .levels.partition import clusters_of_groups, compact, edges_within, overlay
from .limits import LIMITS
from .moves.weighted_moving import Network, held, move_weighted, weights_of, with_noise

Labelling = tuple[Array, Array]
Spent = Callable[[], bool]


def multicut_at_resolution(
    problem: Problem,
    weights: Array,
    resolution: float,
    *,
    init: Labelling | None,
    rng: np.random.Generator,
    budget: Budget,
) -> Solution:
    """Solve a multicut in which any two nodes of different clusters also save γ a_i a_j.

    Parameters
    ----------
    problem : Problem
        A multicut with finite costs.
    weights : float64 array, shape (n,)
        a, not negative.
    resolution : float
        γ, not negative.
    init, rng, budget
        As for every solver.

    Returns
    -------
    Solution
        Its objective counts the pairs as well: a local optimum under moves of single nodes and of whole clusters. A
        pass takes O(n + m).
    """
    n = problem.graph.num_nodes
    if n == 0:
        return solution_of_labels(problem, np.empty(0, np.int64), np.empty(0, np.int64))
    rows = rows_of(replace(problem, edge_costs=problem.edge_costs.astype(np.float64)))
    network = Network(contracted(rows, natural(n), n), weights, resolution)  # without parallel edges
    z = _improved(network, natural(n) if init is None else _numbered(init[1]), natural)

    def any_order(count: int) -> Array:
        return rng.permutation(count).astype(np.int32)

    budget.interrupt.labelled = True
    half_edges = max(len(network.rows.weights), 1)
    noise = LIMITS.fused_noise * float(np.median(np.abs(network.rows.weights))) if len(network.rows.weights) else 0.0
    proposals = min(max(LIMITS.fused_half_edges // half_edges, LIMITS.min_proposals), LIMITS.max_descents)
    value, pieces_gain = held(network, z), True  # or they may, because the clusters are others than when they did not
    for _ in budget.rounds():
        for _ in range(proposals):
            if budget.spent():
                break
            if pieces_gain:
                other = _v_cycle(network, z, any_order, budget.spent)
                found = held(network, other)
                pieces_gain = found > value
                z, value = (other, found) if pieces_gain else (z, value)
            if not pieces_gain:
                before = value
                noisy = network._replace(rows=with_noise(network.rows, noise, int(rng.integers(2**31))))
                other = _improved(noisy, natural(n), any_order, budget.spent)
                z, value = _fused(network, (z, value), other, any_order, budget.spent)
                pieces_gain = value > before
    solution = solution_of_labels(problem, np.zeros(n, np.int64), z)
    return replace(solution, objective=solution.objective + _pairs_cut(weights, resolution, solution.clusters))


def _numbered(clusters: Array) -> Array:
    ids: Array = np.unique(clusters, return_inverse=True)[1].astype(np.int32)
    return ids


def _pairs_cut(weights: Array, resolution: float, clusters: Array) -> float:
    """-γ times the sum of a_i a_j over pairs of different clusters."""
    total = np.bincount(clusters, weights)
    return -0.5 * resolution * float(total.sum() ** 2 - (total**2).sum())


def _improved(network: Network, z: Array, order: Order, spent: Spent = lambda: False) -> Array:
    """Moves of nodes, then of ever larger clusters, and back down; again until whole clusters do not move.

    Once `spent` says so it goes back down.
    """
    while True:
        networks = [network]
        groups: list[Array] = []
        labels = z.copy()
        moved_above = False
        while True:
            moves = move_weighted(networks[-1], labels, order(len(labels)))
            moved_above |= bool(groups) and moves > 0
            group, count = compact(labels, len(labels))
            if groups and (moves == 0 or spent()):
                break
            groups.append(group)
            networks.append(_contracted(networks[-1], group, count))
            labels = natural(count)
        z = _refined(networks, groups, labels, order)
        if not moved_above or spent():
            return z


def _refined(networks: list[Network], groups: list[Array], labels: Array, order: Order) -> Array:
    """Moves at every level, from a labelling of the last one down to the first."""
    for below, group in zip(networks[-2::-1], groups[::-1], strict=True):
        labels = labels[group]
        move_weighted(below, labels, order(len(labels)))
    return labels


def _v_cycle(network: Network, z: Array, order: Order, spent: Spent = lambda: False) -> Array:
    """Moves of pieces of clusters, joined within these level by level; then of nodes and of whole clusters."""
    networks, groups, labels = [network], [], z
    while True:
        top, n = networks[-1], len(labels)
        pieces = natural(n)
        move_weighted(top._replace(rows=edges_within(top.rows, labels)), pieces, order(n))
        group, count = compact(pieces, n)
        if count > LIMITS.min_shrink * n or spent():
            break
        groups.append(group)
        networks.append(_contracted(top, group, count))
        labels = clusters_of_groups(labels, group, count)
        move_weighted(networks[-1], labels, order(count))
    return _improved(network, _refined(networks, groups, labels, order), order, spent)


def _contracted(network: Network, group: Array, count: int) -> Network:
    rows, weights = contracted(network.rows, group, count), weights_of(network.weights, group, count)
    return Network(rows, weights, network.resolution)


def _fused(
    network: Network, first: tuple[Array, float], other: Array, order: Order, spent: Spent
) -> tuple[Array, float]:
    """The better part of both wherever they differ, and what it holds, as that of the first is given; never less."""
    z, value = first
    best, n = z, len(z)
    group, count = overlay(z, n, other, n)
    small = _contracted(network, group, count)
    for start in (natural(count), clusters_of_groups(z, group, count), clusters_of_groups(other, group, count)):
        if spent():
            break
        labels = _improved(network, _improved(small, start, order, spent)[group], order, spent)
        found = held(network, labels)
        if found > value:
            best, value = labels, found
    return best, value
