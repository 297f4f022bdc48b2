"""What a block-wise solve found, and the problems on the way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .runner import Failure


class Stage(NamedTuple):
    """One problem on the way: its nodes and edges, how many blocks it was solved in, and the seconds that took."""

    name: str
    blocks: int
    nodes: int
    edges: int
    seconds: float


@dataclass(frozen=True, eq=False)
class BlockwiseSolution:
    """What a block-wise solve found.

    Attributes
    ----------
    clusters : int64 array
        The cluster of every cell or node, 0..M-1; -1 where a block of a volume failed. Of a volume with a `store`, a
        zarr array in it, else numpy.
    node_labels : array or None
        The class of each, if there are node costs.
    objective : float
        Value of eq. 2; cells of failed blocks and their edges do not count.
    num_clusters : int
    failed : list of Failure
        The blocks that failed for good, by name, each with its last error.
    levels : list of Stage
        The problems on the way.
    lower_bound : float or None
        If asked for, and if no block failed: the sum of the bounds of all blocks, and of the edges between them.
    computed : int
        Tasks that were computed by this call, rather than found in the store.
    """

    clusters: Any
    node_labels: Any
    objective: float
    num_clusters: int
    failed: list[Failure] = field(default_factory=list)
    levels: list[Stage] = field(default_factory=list)
    lower_bound: float | None = None
    computed: int = 0

    @property
    def gap(self) -> float | None:
        """Difference of objective and lower bound, or None without a bound."""
        return None if self.lower_bound is None else self.objective - self.lower_bound


class Clock:
    """Takes down what was solved, and how long it took."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.last = time.perf_counter()

    def stage(self, name: str, blocks: int, nodes: int, edges: int) -> None:
        """A problem was solved since the last one."""
        now = time.perf_counter()
        self.stages.append(Stage(name, blocks, nodes, edges, now - self.last))
        self.last = now
