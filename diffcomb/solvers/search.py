"""Search on one level: operators that make new labellings, of which the best is kept.

Three operators with different neighbourhoods take turns. *Annealing* loosens single nodes that are nearly
undecided. A *V-cycle* coarsens at random within the clusters, so that pieces of any size move as a whole,
and ends with whole clusters: joins, and changes of class. A *restart* clusters the level anew. What annealing
and a restart find is *combined* with the incumbent: nodes that both labellings keep together are one node,
and local moving on that small graph takes the better of the two everywhere that they differ.
"""

from __future__ import annotations

import numpy as np

from .._threads import thread_map
from .hierarchy import Hierarchy, Order, random_order
from .level import Level
from .levels.labels import Labels, labels_of_groups, project
from .levels.partition import compact, connected_parts, overlay
from .levels.slack import new_slack
from .limits import LIMITS

COOLING = {"anneal": np.linspace(0.1, 0.005, 6), "melt": np.linspace(0.5, 0.02, 16)}  # in units of a typical loss


def descend(level: Level, order: Order, together: bool = False) -> Labels:
    """Coarsen from singletons, label the coarsest nodes, refine.

    Coarsest nodes of one partitionable class begin as a cluster each, or all `together` as in the multiway cut.
    """
    hierarchy = Hierarchy(level)
    hierarchy.coarsen(order)
    return hierarchy.refine(hierarchy.coarsest.singletons(level.partitionable & (not together)))


def v_cycle(level: Level, labels: Labels, order: Order) -> Labels:
    """Coarsen within the clusters, moving the pieces at every level, up to whole clusters; refine back down."""
    hierarchy = Hierarchy(level)
    while True:
        level = hierarchy.coarsest
        group, count = compact(level.pieces(labels.z, order(level.num_nodes)), level.num_nodes)
        whole = count > LIMITS.min_shrink * level.num_nodes
        if whole:
            group, count = compact(labels.z, labels.num_ids)
        labels = labels_of_groups(labels, group, count, level.num_classes)
        hierarchy.contract(group, count)
        if whole:
            return hierarchy.refine(labels)
        hierarchy.coarsest.move(labels)


def combine(level: Level, better: Labels, other: Labels) -> Labels:
    """Take the better of two labellings wherever they differ; never worse than the first."""
    group, count = overlay(better.z, better.num_ids, other.z, other.num_ids)
    coarse = level.contract(group, count)
    labels = labels_of_groups(better, group, count, level.num_classes)
    coarse.move(labels)
    labels = project(labels, group, level.num_classes)
    level.move(labels)
    return labels


def move_clusters(level: Level, labels: Labels) -> Labels:
    """Move whole connected parts of clusters, then single nodes: joins and changes of class."""
    group, count = compact(connected_parts(level.adjacency, labels.z), level.num_nodes)
    whole = level.contract(group, count)
    moved = labels_of_groups(labels, group, count, level.num_classes)
    if whole.move(moved) == 0:
        return labels
    labels = project(moved, group, level.num_classes)
    level.move(labels)
    return labels


class Search:
    """The incumbent of one level and the operators that improve it.

    Parameters
    ----------
    level : Level
    labels : Labels
        The first incumbent; local moving makes it a local optimum, in place.
    rng : numpy.random.Generator
    """

    def __init__(self, level: Level, labels: Labels, rng: np.random.Generator) -> None:
        self.level, self.labels, self.rng = level, labels, rng
        self.order = random_order(rng)
        slack = new_slack(level.num_nodes)
        level.move(labels, slack=slack)
        self.losses = np.sort(np.abs(slack.losses))

    def step(self, operator: str) -> bool:
        """Apply the operator "anneal", "melt", "cycle" or "restart"; returns whether the incumbent got better."""
        if operator == "cycle":
            return self._keep(v_cycle(self.level, self.labels, self.order))
        return self.offer(self._annealed(operator) if operator in COOLING else self._restarted(self.rng))

    def restart(self, times: int) -> bool:
        """Restart so many times, by threads; returns whether the incumbent got better."""
        rngs = [np.random.default_rng(seed) for seed in self.rng.integers(2**63, size=times)]
        return sum(self.offer(labels) for labels in thread_map(self._restarted, rngs)) > 0

    def offer(self, labels: Labels) -> bool:
        """Combine the incumbent with another labelling; returns whether the incumbent got better."""
        before = self.labels
        other = before if self._keep(labels) else labels
        combined = self._keep(combine(self.level, self.labels, other))
        return combined or self.labels is not before

    def _annealed(self, operator: str) -> Labels:
        """Loosen what is nearly undecided; melting also takes larger scales, where nodes differ much in size."""
        quantile = 0.5 if operator == "anneal" else self.rng.uniform(0.5, 1)
        scale = float(self.losses[int(quantile * (len(self.losses) - 1))])
        labels = self.labels.copy()
        self.level.anneal(labels, COOLING[operator] * scale, int(self.rng.integers(2**31)))
        self.level.move(labels)
        return labels

    def _restarted(self, rng: np.random.Generator) -> Labels:
        order = random_order(rng)
        together = self.level.num_classes > 1 and rng.random() < 0.5
        return v_cycle(self.level, descend(self.level, order, together), order)

    def _keep(self, labels: Labels) -> bool:
        if self.level.improvement(self.labels, labels) > 0:
            self.labels = labels
            return True
        return False
