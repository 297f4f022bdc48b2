"""Perturbed Fenchel-Young loss (Berthet et al., NeurIPS 2020; Blondel et al., JMLR 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar

import numpy as np
import torch

from .._arrays import Array
from ..gradients.differences import Arrays
from ..gradients.interfaces import Noise, check_noise
from ..gradients.noise import Draw, Normal, check_samples, draws_for, mean_of, plus, solve_noisy
from ..gradients.oracle import Instance, Oracle
from ..gradients.schedules import check_positive
from .partial import check_unlabelled, check_zeros_and_ones, completions, labelled, without_unlabelled


@dataclass(frozen=True)
class FenchelYoung:
    """<c, w*> - E min_w <c + σ ξ, w>, for the target w*; its gradient is w* - E W(c + σ ξ).

    Convex in c, and smooth. The constant of the definition, which does not depend on c, is left out, so that the
    smallest value need not be 0.

    Where only entries K of the target are labelled (``labelled=`` of a call), either

    - "ignored": <c_K, w*_K> - E min_w <(c + σ ξ)_K, w_K>. Unlabelled costs count as 0, have no noise, and get no
      gradient. This is right for void: what is not scored is not trained.
    - "completed": E min of <c + σ ξ, w> over all solutions w with w_K = w*_K, - E min_w <c + σ ξ, w>, the partial
      Fenchel-Young loss (Stewart et al., NeurIPS 2023); with no noise on labelled entries in the first term, which
      changes its expectation by a constant at most. This is right for sparse labels: unlabelled costs learn what joins
      or separates the labelled nodes. Two solves a sample, targets of zeros and ones; not convex.

    Parameters
    ----------
    sigma : float
        Size of the noise, in units of the costs.
    samples : int
        Draws, and solves, an instance.
    noise : Noise
        :class:`Normal` by default.
    unlabelled : {"ignored", "completed"}
    """

    sigma: float = 1.0
    samples: int = 5
    noise: Noise = field(default_factory=Normal)
    unlabelled: str = "ignored"
    needs_true_costs: ClassVar[bool] = False
    takes_partial_targets: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive(self.sigma, "sigma")
        check_samples(self.samples)
        check_noise(self.noise)
        check_unlabelled(self.unlabelled)

    def evaluate(
        self, oracle: Oracle, true_costs: list[Arrays] | None, generator: torch.Generator | None
    ) -> tuple[Array, list[Arrays]]:
        """Return losses and gradients."""
        if self.unlabelled == "ignored":
            oracle = without_unlabelled(oracle)
        draws = draws_for(oracle, self.noise, self.sigma, self.samples, generator)
        if self.unlabelled == "ignored":
            draws = [[_labelled(i, draw) for draw in row] for i, row in zip(oracle.instances, draws, strict=True)]
        found = solve_noisy(oracle, draws)
        targets = self._targets(oracle, draws)
        values, gradients = [], []
        for instance, row, samples, (best, expected) in zip(oracle.instances, draws, found, targets, strict=True):
            pairs = zip(row, samples, strict=True)
            lowest = np.mean([instance.objective(plus(instance.costs, draw()), w) for draw, w in pairs])
            values.append(expected - lowest)
            mean = mean_of(samples)
            gradient = tuple(w - e for w, e in zip(best, mean, strict=True))
            gradients.append(labelled(instance, gradient) if self.unlabelled == "ignored" else gradient)
        return np.array(values), gradients

    def _targets(self, oracle: Oracle, draws: list[list[Draw]]) -> list[tuple[Arrays, float]]:
        """The mean target of every instance, and its mean objective; without noise where it is labelled."""
        targets = [(i.solutions, i.objective(i.costs, i.solutions)) for i in oracle.instances]
        if self.unlabelled == "ignored":
            return targets
        partly = [b for b, i in enumerate(oracle.instances) if i.labelled is not None]
        if partly:
            check_zeros_and_ones(self, oracle)
        costs = {b: [_free(oracle.instances[b], draw) for draw in draws[b]] for b in partly}
        found = completions(oracle, [(b, there) for b in partly for there in costs[b]])
        for b in partly:
            best = [(there(), w) for there, w in zip(costs[b], islice(found, len(costs[b])), strict=True)]
            objective = np.mean([oracle.instances[b].objective(c, w) for c, w in best])
            targets[b] = mean_of([w for _, w in best]), float(objective)
        return targets


def _labelled(instance: Instance, draw: Draw) -> Draw:
    """Noise on labelled entries only."""
    return draw if instance.labelled is None else lambda: labelled(instance, draw())


def _free(instance: Instance, draw: Draw) -> Draw:
    """The costs with noise on unlabelled entries only."""

    def costs() -> Arrays:
        noise = draw()
        rest = tuple(e - k for e, k in zip(noise, labelled(instance, noise), strict=True))
        return plus(instance.costs, rest)

    return costs
