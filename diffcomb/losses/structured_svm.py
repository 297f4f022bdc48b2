"""Structured SVM with margin rescaling (Tsochantaridis et al., JMLR 2005)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch

from .._arrays import Array
from ..gradients.differences import Arrays
from ..gradients.oracle import Oracle
from ..gradients.schedules import check_positive
from .partial import check_unlabelled, check_zeros_and_ones, completions, labelled, without_unlabelled


@dataclass(frozen=True)
class StructuredSVM:
    """max_w [α δ(w, w*) + <c, w* - w>], for the target w* and the Hamming distance δ of 0/1 solutions.

    The loss-augmented problem is the solver's own, at costs c - α (1 - 2 w*), since δ is linear in w. A subgradient is
    w* minus its solution. One solve an instance. With an exact solver the loss is never negative, and it is 0 iff the
    target beats every other solution by a margin of α times its distance.

    Where only entries K of the target are labelled (``labelled=`` of a call), δ counts these alone, and either

    - "ignored": max_w [α δ_K(w, w*) + <c_K, w*_K - w_K>]. Unlabelled costs count as 0 and get no gradient. This is
      right for void: what is not scored is not trained. Convex, and one solve an instance.
    - "completed": max_w [α δ_K(w, w*) - <c, w>] + min of <c, w> over all solutions w with w_K = w*_K, the latent
      structured SVM (Yu & Joachims, ICML 2009). This is right for sparse labels, such as scribbles: unlabelled costs
      learn what joins or separates the labelled nodes. Two solves an instance; not convex.

    Parameters
    ----------
    margin : float
        α.
    unlabelled : {"ignored", "completed"}
    """

    margin: float = 1.0
    unlabelled: str = "ignored"
    needs_true_costs: ClassVar[bool] = False
    takes_partial_targets: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive(self.margin, "margin")
        check_unlabelled(self.unlabelled)

    def evaluate(
        self, oracle: Oracle, true_costs: list[Arrays] | None, generator: torch.Generator | None
    ) -> tuple[Array, list[Arrays]]:
        """Return losses and gradients."""
        check_zeros_and_ones(self, oracle)
        ignored = self.unlabelled == "ignored"
        oracle = without_unlabelled(oracle) if ignored else oracle

        def augmented(b: int) -> Arrays:
            instance = oracle.instances[b]
            margins = labelled(instance, tuple(self.margin * (1 - 2 * w) for w in instance.solutions))
            return tuple((c - m).astype(c.dtype, copy=False) for c, m in zip(instance.costs, margins, strict=True))

        def plain(b: int) -> Arrays:
            return oracle.instances[b].costs

        targets = [i.solutions for i in oracle.instances]
        if not ignored:
            partly = [b for b, i in enumerate(oracle.instances) if i.labelled is not None]
            found = completions(oracle, [(b, partial(plain, b)) for b in partly])
            for b, best in zip(partly, found, strict=True):
                targets[b] = best
        values, gradients = [], []
        for instance, best, w in zip(oracle.instances, targets, oracle.solve_each(augmented), strict=True):
            difference = tuple(s - p for s, p in zip(best, w, strict=True))
            known = labelled(instance, difference)
            distance = sum(float(np.abs(d).sum(dtype=np.float64)) for d in known)
            gap = instance.objective(instance.costs, best) - instance.objective(instance.costs, w)
            values.append(self.margin * distance + gap)
            gradients.append(known if ignored else difference)
        return np.array(values), gradients
