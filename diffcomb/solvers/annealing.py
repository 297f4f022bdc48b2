"""Annealing of whole graphs that are frustrated: where costs contradict each other, whatever the labelling.

There a node loses little by any move. Joins and moves of single nodes end in one of very many local optima, and two of
them have too little in common to be fused. Long annealing ends far below them. Such graphs are signed networks with
random signs, correlations, communities behind much noise, all the more the more edges a node has. Where costs agree,
annealing ends above what all else finds; so a short one is tried first.

Between the two are graphs whose costs contradict each other, but whose nodes are mostly decided, such as sparse ones
with normal costs. A *cool* annealing betters them if it is long and a V-cycle moves pieces of clusters afterwards.
"""

from __future__ import annotations

import time

import numpy as np

from .._arrays import Array
from ..labelling import sum_of_sizes
from ..problem import Problem
from .budget import Budget
from .hierarchy import random_order
from .level import Level
from .levels.costs import Stencil
from .levels.labels import Labels
from .levels.partition import edges_within
from .levels.slack import Slack, new_slack
from .limits import KERNELS, LIMITS
from .search import combine, v_cycle


def annealer_for(
    problem: Problem, level: Level, labels: Labels, slack: Slack, rng: np.random.Generator, budget: Budget
) -> Annealer | None:
    """An annealer of a frustrated level: a hot one if a short annealing betters a local optimum, else a cool one.

    Parameters
    ----------
    problem : Problem
    level : Level
        That of the problem itself.
    labels : Labels
        The local optimum.
    slack : Slack
        What nodes would lose there by moving.
    rng : numpy.random.Generator
        Draws the moves.
    budget : Budget
        Ends the trial.
    """
    is_large = isinstance(level.adjacency, Stencil) and len(level.adjacency.weights) > LIMITS.annealed_grid
    if is_large or not is_frustrated(level, labels):
        return None
    level = level.in_rows(problem)  # the kernels that search are compiled for these only
    loss = _median_loss(slack) or level.typical_cost
    if is_undecided(level, slack):
        annealer, tried = Annealer(level, loss, rng), labels.copy()
        annealer.anneal(level, tried, np.linspace(1, LIMITS.coldest, LIMITS.tried_sweeps), budget)
        if level.improvement(labels, tried) > 0:
            return annealer
    return Annealer(level, loss, rng, cool=True) if level.num_nodes > LIMITS.max_coarse else None


def is_frustrated(level: Level, labels: Labels) -> bool:
    """Whether costs contradict each other."""
    weights = level.adjacency.weights  # of every edge twice
    costs = sum_of_sizes(weights)
    least = (float(weights.sum(dtype=np.float64)) - costs) / 4  # if it could follow each cost alone
    least += float(level.node_costs.min(axis=1).sum(dtype=np.float64))
    return level.value(labels) - least >= LIMITS.frustrated * costs / 2


def is_undecided(level: Level, slack: Slack) -> bool:
    """Whether most nodes would lose little by moving, or many nothing."""
    little = _median_loss(slack) <= LIMITS.little * sum_of_sizes(level.adjacency.weights) / level.num_nodes
    return bool(little or slack.share_within(0) >= LIMITS.plateau)


def _median_loss(slack: Slack) -> float:
    losses = np.abs(slack.losses)
    middle = len(losses) // 2
    return float(np.partition(losses, middle)[middle])


class Annealer:
    """Annealing of one level, longer with every round.

    Parameters
    ----------
    level : Level
        In adjacency lists.
    loss : float
        What a node typically loses by moving: the highest temperature.
    rng : numpy.random.Generator
    cool : bool
        Whether to begin with a lower temperature, and to leave every other round to other searches.
    """

    def __init__(self, level: Level, loss: float, rng: np.random.Generator, cool: bool = False) -> None:
        self.level, self.loss, self.rng, self.cool = level, loss, rng, cool
        self.rounds = 0

    def round(self, labels: Labels, budget: Budget) -> Labels:
        """Anneal, and take the better of both labellings wherever they differ; never worse than `labels`."""
        other = labels.copy()
        self.anneal(self.level, other, self._temperatures(), budget)
        if self.cool and not budget.spent():
            other = v_cycle(self.level, other, random_order(self.rng))
            slack = new_slack(self.level.num_nodes)
            self.level.move(other, slack=slack)
            self.level.some_chains(other, slack)
        if self.level.improvement(labels, other) > 0:
            labels, other = other, labels
        labels = combine(self.level, labels, other)
        for _ in range(0 if self.cool else LIMITS.divisions):
            other = self._divided(labels, budget)
            if not self.level.improvement(labels, other) > 0:
                break
            labels = other
        return labels

    def anneal(self, level: Level, labels: Labels, temperatures: Array, budget: Budget) -> None:
        """One sweep for each temperature, in units of the typical loss, and local moving; `labels` changes in place."""
        half_edges = max(len(level.adjacency.weights), 1)
        at_once = min(max(LIMITS.annealed_half_edges // half_edges, 1), KERNELS.max_visits - 4)
        began, sweeps = time.perf_counter(), 0
        while len(temperatures) and not budget.spent():
            level.anneal(labels, temperatures[:at_once] * self.loss, int(self.rng.integers(2**31)))
            sweeps += min(at_once, len(temperatures))
            temperatures = temperatures[at_once:]
            most = budget.left() / (time.perf_counter() - began) * sweeps
            if most < len(temperatures):  # else what is hot when the time is over was for nothing
                temperatures = np.linspace(temperatures[0], temperatures[-1], int(most))
        level.move(labels)

    def _divided(self, labels: Labels, budget: Budget) -> Labels:
        """Anneal every cluster for itself: annealing leaves too few, since no single node begins a large one."""
        inside = Level(self.level.costs._replace(adjacency=edges_within(self.level.adjacency, labels.z)))
        other = labels.copy()
        self.anneal(inside, other, np.linspace(1, LIMITS.coldest, LIMITS.sweeps // 2), budget)
        self.level.move(other)
        return other

    def _temperatures(self) -> Array:
        longer = 2 ** min(self.rounds, LIMITS.cool_doublings if self.cool else LIMITS.max_doublings)
        hottest = LIMITS.cool if self.cool else LIMITS.reheated if self.rounds else 1.0
        self.rounds += 1
        return np.linspace(hottest, LIMITS.coldest, LIMITS.sweeps * longer)
