"""Multicuts of dense graphs: tabu search from the crossings of a few good labellings (a memetic algorithm).

Where every node meets every other, a cluster that joins or splits changes all gains, and single moves through losses
find more than joins do. Labellings that share most of their clusters are crossed; when a population has become alike,
all but the best of it begin anew.
"""

from __future__ import annotations

import numpy as np

from .._arrays import Array
from .budget import Budget
from .levels.costs import Rows
from .levels.partition import compact
from .limits import LIMITS
from .moves.tabu import cross, integer_scale, tabu


def is_dense(rows: Rows) -> bool:
    """Whether a graph is small enough for a matrix, and dense enough to need one."""
    n = len(rows.indptr) - 1
    return n <= LIMITS.max_dense and len(rows.weights) >= LIMITS.min_density * n * (n - 1)


class Population:
    """A few labellings of one multicut, clusters 0..C-1 each, and what their clusters hold.

    Parameters
    ----------
    rows : Rows
    rng : numpy.random.Generator
    """

    def __init__(self, rows: Rows, rng: np.random.Generator) -> None:
        self.rng = rng
        self.costs = _integer_matrix(rows)
        self.patience = self.least_patience = min(LIMITS.tabu_patience * len(self.costs), LIMITS.max_patience)
        self.start: Array
        self.members: list[Array] = []
        self.values: list[int] = []
        self.fruitless = 0

    def round(self, z: Array, budget: Budget) -> Array:
        """So many generations, the first labelling from a given one; returns the best so far."""
        self.start = _numbered(z)
        for _ in range(LIMITS.generations):
            if budget.spent() or self._agree():
                break
            self._generation()
        self.patience = min(self.patience + self.least_patience, LIMITS.patience_grows * self.least_patience)
        return self.members[int(np.argmax(self.values))] if self.members else self.start

    def _agree(self) -> bool:
        """Whether searches from anywhere have all ended at the same value, which is then hardly to be beaten."""
        return LIMITS.agreeing <= len(self.members) < LIMITS.population and len(set(self.values)) == 1

    def _generation(self) -> None:
        """Add a labelling while there are few; then let one that two were crossed to replace the worst."""
        if len(self.members) < LIMITS.population:
            self._add(*self._searched(self._any_labelling() if self.members else self.start))
            return
        one, two = self.rng.choice(LIMITS.population, 2, replace=False)
        z, value = self._searched(_numbered(cross(self.members[one], self.members[two], self._seed())))
        worst = int(np.argmin(self.values))
        if value > self.values[worst] and value not in self.values:
            del self.members[worst], self.values[worst]
            self._add(z, value)
            self.fruitless = 0
            return
        self.fruitless += 1
        if self.fruitless > LIMITS.max_fruitless * LIMITS.population:
            best = int(np.argmax(self.values))
            self.members, self.values, self.fruitless = [self.members[best]], [self.values[best]], 0

    def _searched(self, start: Array) -> tuple[Array, int]:
        """What tabu search finds, and what its clusters hold."""
        z, _ = tabu(self.costs, start, self.patience, self._seed())
        return _numbered(z), _inside(self.costs, z)

    def _add(self, z: Array, value: int) -> None:
        self.members.append(z)
        self.values.append(value)

    def _any_labelling(self) -> Array:
        n = len(self.start)
        count = max(int(self.start.max(initial=0)) + 1, n // 20, 2)
        return _numbered(self.rng.integers(0, count, n).astype(np.int32))

    def _seed(self) -> int:
        return int(self.rng.integers(2**31))


def _numbered(z: Array) -> Array:
    ids, _ = compact(z, int(z.max(initial=0)) + 1)
    return ids


def _integer_matrix(rows: Rows) -> Array:
    """The costs as a matrix of integers, scaled so that no sum of a row leaves 29 bits."""
    n = len(rows.indptr) - 1
    costs = np.zeros((n, n))
    costs[np.repeat(np.arange(n), np.diff(rows.indptr)), rows.neighbours] = rows.weights
    largest = float(np.abs(costs).sum(axis=1).max(initial=0))
    return np.trunc(costs * integer_scale(costs, largest)).astype(np.int32)


def _inside(costs: Array, z: Array) -> int:
    """What the clusters of a labelling hold, each pair twice."""
    order = np.argsort(z, kind="stable")
    starts = np.flatnonzero(np.diff(z[order], prepend=-1))
    into = np.add.reduceat(costs[:, order].astype(np.int64), starts, axis=1)
    return int(into[np.arange(len(z)), z].sum())
