"""A hierarchy of levels, each the contraction of the one before; labellings are refined from coarse to fine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .._arrays import Array
from .level import Level
from .levels.labels import Labels, project
from .levels.partition import compact
from .levels.slack import NO_SLACK, Slack
from .limits import LIMITS

Order = Callable[[int], Array]
Check = Callable[[], object]


def random_order(rng: np.random.Generator) -> Order:
    """Another order for every level."""
    return lambda n: rng.permutation(n).astype(np.int32)


def natural(n: int) -> Array:
    """Nodes in the order of their numbers, which in a grid is the order of memory."""
    return np.arange(n, dtype=np.int32)


def _nothing() -> None:
    """What is checked where nothing can interrupt."""


class Hierarchy:
    """Levels, finest first.

    Attributes
    ----------
    levels : list of Level
    groups : list of int32 array
        The node of the next level that each node of a level became; one less than there are levels.
    """

    def __init__(self, finest: Level) -> None:
        self.levels: list[Level] = [finest]
        self.groups: list[Array] = []

    @property
    def coarsest(self) -> Level:
        """The last level."""
        return self.levels[-1]

    def contract(self, group: Array, count: int) -> None:
        """Add the level in which every group of nodes of the coarsest level is one node."""
        self.groups.append(group)
        self.levels.append(self.coarsest.contract(group, count))

    def coarsen(self, order: Order | None = None, check: Check = _nothing) -> None:
        """Add levels in the relaxed problem (every class partitionable), by one pass from singletons each.

        It ends where nothing or hardly anything is joined. `check` is called at every level, and may raise.
        """
        while True:
            check()
            level = self.coarsest
            group, count = compact(level.joined(order and order(level.num_nodes)), level.num_nodes)
            if count == level.num_nodes:
                return
            self.contract(group, count)
            if count > LIMITS.min_shrink * level.num_nodes:
                return

    def refine(self, labels: Labels, top: int = 0, slack: Slack = NO_SLACK) -> Labels:
        """Local moving from a labelling of the coarsest level down to level `top`, whose `slack` is kept."""
        last = len(self.levels) - 1
        for at in range(last, top - 1, -1):
            if at < last:
                labels = project(labels, self.groups[at], self.levels[at].num_classes)
            self.levels[at].move(labels, slack=slack if at == top else NO_SLACK)
        return labels

    def part(self, last: int) -> Hierarchy:
        """The levels up to number `last`."""
        part = Hierarchy(self.levels[0])
        part.levels, part.groups = self.levels[: last + 1], self.groups[:last]
        return part
