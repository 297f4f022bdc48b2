"""Fusion, the rounds of multicuts that are no large grids: quick solutions, of each of which the better part is kept.

Greedy contraction is a better start than the descent on region adjacency graphs, and a worse one where costs are
random; whichever it is, the two are fused, and the better of them says whether rounds of fusion come first.
"""

from __future__ import annotations

import numpy as np

from .._arrays import Array
from ..problem import Problem
from .budget import Budget
from .level import Level
from .levels.costs import Rows, takes_stencil
from .levels.labels import Labels
from .levels.partition import compact
from .limits import LIMITS
from .moves.fusing import disputed, fuse_all, fuse_proposals, propose
from .moves.overlaying import Multicut, as_multicut, fused
from .moves.polishing import greedy_clusters, is_better, polish
from .population import Population, is_dense


def is_fused(problem: Problem) -> bool:
    """Whether a problem is a multicut of a graph that is no large grid."""
    return problem.is_multicut and not takes_stencil(problem.graph)


class Fuser:
    """Rounds of fusion on one level.

    Parameters
    ----------
    level : Level
        A multicut, in adjacency lists.
    rng : numpy.random.Generator
        Draws the noise of proposals.

    Attributes
    ----------
    alone : bool
        Whether no other search is worth its time: small and dense graphs.
    first : bool
        Whether the first round is one of fusion, where rounds of two kinds take turns.
    """

    def __init__(self, level: Level, rng: np.random.Generator) -> None:
        n = level.num_nodes
        level = level.without_parallel_edges()
        self.rng = rng
        self.rows: Rows = level.adjacency
        self.multicut = as_multicut(self.rows, level.typical_cost)
        half_edges = max(len(self.rows.weights), 1)
        self.most_proposals = max(LIMITS.fused_half_edges // half_edges, LIMITS.min_proposals)
        self.at_once = max(LIMITS.core_half_edges // half_edges, 1)
        """Proposals between two looks at the clock."""
        self.noise = LIMITS.fused_noise * level.typical_cost
        self.rounds = 0
        self.population = Population(self.rows, rng) if is_dense(self.rows) else None
        self.alone = n <= LIMITS.max_coarse or self.population is not None
        self.first = True

    def begin(self, labels: Labels) -> Labels:
        """The better parts of a labelling and of greedy contraction."""
        z, other = _from_one(labels.z), greedy_clusters(self.rows, False)
        polish(self.rows, z)
        polish(self.rows, other)
        lower = is_better(self.rows, z, other)
        self.first = lower or not is_better(self.rows, other, z)  # where both agree, little is left to search for
        if lower:
            z, other = other, z
        return _labels(self._fused(z, other))

    def round(self, labels: Labels, budget: Budget) -> Labels:
        """Fuse with so many proposals, or cross labellings of a dense graph; the result is never worse."""
        z = _from_one(labels.z)
        if self.population:
            return _labels(self._fused(z, self.population.round(z, budget) + np.int32(1)))
        proposals = self._proposals()
        self.rounds += 1
        lineages = np.empty((max(proposals // LIMITS.proposals_a_lineage, 1), len(z)), np.int32)
        lineages[0] = z
        propose(self.rows, lineages[1:], self.noise, self._seed())
        return _labels(self._fuse_in_stages(lineages, proposals, budget))

    def _fuse_in_stages(self, lineages: Array, left: int, budget: Budget) -> Array:
        """Fuse proposals, the later ones in the smaller graph of what many lineages do not agree on."""
        stages = LIMITS.stages if len(lineages) >= LIMITS.min_lineages else 1
        multicut, group = self.multicut, np.arange(lineages.shape[1])
        for stages_left in range(stages, 0, -1):
            if stages_left < stages:
                multicut, lineages, smaller = disputed(multicut, lineages)
                group = smaller[group]
            count = left // stages_left
            self._fuse_proposals(multicut, lineages, count, budget)
            left -= count
        z = fuse_all(multicut, lineages)[group]
        if stages > 1:
            polish(self.rows, z)
        return z

    def _fuse_proposals(self, multicut: Multicut, lineages: Array, left: int, budget: Budget) -> None:
        while left and not budget.spent():
            count = min(left, self.at_once)
            fuse_proposals(multicut, lineages, self.noise, count, self._seed())
            left -= count

    def _proposals(self) -> int:
        """How many the next round fuses: in small graphs later rounds make more, and begin from more places."""
        return min(self.most_proposals, LIMITS.max_proposals * (1 + self.rounds // LIMITS.rounds_of_as_many))

    def _fused(self, z: Array, other: Array) -> Array:
        better = fused(self.multicut, z, other)
        return better if len(better) else z

    def _seed(self) -> int:
        return int(self.rng.integers(2**31))


def _from_one(z: Array) -> Array:
    """Cluster ids 1..n."""
    ids, _ = compact(z, int(z.max(initial=0)) + 1)
    return ids + np.int32(1)


def _labels(z: Array) -> Labels:
    return Labels(z, np.zeros(len(z) + 1, np.int32))
