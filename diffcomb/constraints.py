"""Pairs of nodes that must or must not share a cluster, as edges of infinite cost beside those of the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._arrays import Array, check_not_masked, integers
from .graph import Graph, edge_array
from .labelling import uncut_components

KEYWORDS = ("must_link", "cannot_link", "seeds")  # of the verbs
MAX_SEEDS = 4096  # clusters that are kept apart pair by pair: 8.4 million edges


@dataclass(frozen=True, eq=False)
class Constraints:
    """Must-links and cannot-links between any nodes, joined by an edge of the graph or not.

    Attributes
    ----------
    pairs : int32 array, shape (c, 2)
    costs : float64 array, shape (c,)
        +inf for a must-link, -inf for a cannot-link.
    """

    pairs: Array
    costs: Array

    @property
    def must_links(self) -> Constraints:
        """The must-links alone."""
        return self._those(self.costs > 0)

    @property
    def cannot_links(self) -> Constraints:
        """The cannot-links alone."""
        return self._those(self.costs < 0)

    def _those(self, which: Array) -> Constraints:
        return Constraints(self.pairs[which], self.costs[which])

    def added_to(self, graph: Graph, edge_costs: Array) -> tuple[Graph, Array]:
        """The graph and its costs (m,) or (B, m) with the constraints as further edges, the last ones."""
        if not len(self.costs):
            return graph, edge_costs
        shape = (*edge_costs.shape[:-1], len(self.costs))
        more = np.broadcast_to(self.costs.astype(edge_costs.dtype), shape)
        extended = Graph(graph.num_nodes, np.concatenate([graph.edges, self.pairs]))
        return extended, np.ascontiguousarray(np.concatenate([edge_costs, more], axis=-1))


NO_CONSTRAINTS = Constraints(np.empty((0, 2), np.int32), np.empty(0))


def make_constraints(num_nodes: int, must_link: Any, cannot_link: Any, seeds: Any) -> Constraints:
    """Check what the verbs take as `must_link`, `cannot_link` and `seeds`, and list it as pairs.

    Raises
    ------
    TypeError, ValueError
        If pairs or seeds have the wrong type, shape or range, or contradict each other.
    """
    if must_link is None and cannot_link is None and seeds is None:
        return NO_CONSTRAINTS
    together = _pairs(must_link, "must_link", num_nodes)
    apart = _pairs(cannot_link, "cannot_link", num_nodes)
    if seeds is not None:
        joined, separated = _seed_pairs(seeds, num_nodes)
        together, apart = np.concatenate([together, joined]), np.concatenate([apart, separated])
    _check_consistent(num_nodes, together, apart)
    pairs = np.concatenate([together, apart]).astype(np.int32)
    return Constraints(pairs, np.repeat([np.inf, -np.inf], [len(together), len(apart)]))


def _pairs(value: Any, name: str, num_nodes: int) -> Array:
    if value is None:
        return np.empty((0, 2), np.int64)
    try:
        array = edge_array(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} must be pairs of nodes, shape (c, 2): {error}") from error
    outside = np.flatnonzero(((array < 0) | (array >= num_nodes)).any(axis=1))
    if len(outside):
        row = tuple(array[outside[0]].tolist())
        raise ValueError(f"{name} must hold nodes in 0..{num_nodes - 1}, got {row} in row {outside[0]}")
    return array.astype(np.int64)


def _seed_pairs(seeds: Any, num_nodes: int) -> tuple[Array, Array]:
    """Pairs of seeds to join (each with the first of its id) and to keep apart (the first ones of any two ids)."""
    check_not_masked(seeds, "seeds")
    array = integers(seeds)
    if array.dtype.kind not in "iu":
        raise TypeError(f"seeds must be integers, negative where a node has none, got dtype {array.dtype}")
    if array.shape != (num_nodes,):
        raise ValueError(f"seeds must have shape (n,) = ({num_nodes},), negative without a seed, got {array.shape}")
    seeded = np.flatnonzero(array >= 0)
    ids, first, of_id = np.unique(array[seeded], return_index=True, return_inverse=True)
    if len(ids) > MAX_SEEDS:
        raise ValueError(
            f"seeds must hold at most {MAX_SEEDS} different ids, because any two of them are kept apart by a pair, got "
            f"{len(ids)}; list only the pairs that could meet as cannot_link, and join equal seeds by must_link"
        )
    representative = seeded[first]
    joined = np.stack([representative[of_id], seeded], axis=1)
    a, b = np.triu_indices(len(ids), 1)
    return joined[joined[:, 0] != joined[:, 1]], np.stack([representative[a], representative[b]], axis=1)


def _check_consistent(num_nodes: int, together: Array, apart: Array) -> None:
    edges = together.astype(np.int32)
    nothing_cut = np.zeros(len(edges), np.uint8)
    root = uncut_components(edges, nothing_cut, np.zeros(num_nodes, np.int64), np.ones(1, bool))
    wrong = np.flatnonzero(root[apart[:, 0]] == root[apart[:, 1]])
    if len(wrong):
        u, v = apart[wrong[0]].tolist()
        raise ValueError(
            f"nodes {u} and {v} must be apart (cannot_link or different seeds) "
            + (
                "but are the same node"
                if u == v
                else "and together (must_link or equal seeds, perhaps by way of others)"
            )
            + ": remove one of the constraints"
        )
