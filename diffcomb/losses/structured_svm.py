"""Structured SVM with margin rescaling (Tsochantaridis et al., JMLR 2005)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from .._arrays import Array
from ..gradients.differences import Arrays
from ..gradients.oracle import Oracle
from ..gradients.schedules import check_positive


@dataclass(frozen=True)
class StructuredSVM:
    """max_w [α δ(w, w*) + <c, w* - w>], for the target w* and the Hamming distance δ of 0/1 solutions.

    The loss-augmented problem is the solver's own, at costs c - α (1 - 2 w*), since δ is linear in w. A subgradient is
    w* minus its solution. One solve an instance. With an exact solver the loss is never negative, and it is 0 iff the
    target beats every other solution by a margin of α times its distance.

    Parameters
    ----------
    margin : float
        α.
    """

    margin: float = 1.0
    needs_true_costs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive(self.margin, "margin")

    def evaluate(
        self, oracle: Oracle, true_costs: list[Arrays] | None, generator: torch.Generator | None
    ) -> tuple[Array, list[Arrays]]:
        """Return losses and gradients."""
        for number, parts in enumerate(zip(*(i.solutions for i in oracle.instances), strict=True)):
            if not all(np.isin(part, (0, 1)).all() for part in parts):
                raise ValueError(f"StructuredSVM needs targets of zeros and ones, got other values in target {number}")

        def augmented(b: int) -> Arrays:
            instance = oracle.instances[b]
            pairs = zip(instance.costs, instance.solutions, strict=True)
            return tuple((c - self.margin * (1 - 2 * w)).astype(c.dtype, copy=False) for c, w in pairs)

        values, gradients = [], []
        for instance, w in zip(oracle.instances, oracle.solve_each(augmented), strict=True):
            best = instance.solutions
            difference = tuple(s - p for s, p in zip(best, w, strict=True))
            distance = sum(float(np.abs(d).sum(dtype=np.float64)) for d in difference)
            gap = instance.objective(instance.costs, best) - instance.objective(instance.costs, w)
            values.append(self.margin * distance + gap)
            gradients.append(difference)
        return np.array(values), gradients
