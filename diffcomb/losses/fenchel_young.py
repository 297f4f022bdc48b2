"""Perturbed Fenchel-Young loss (Berthet et al., NeurIPS 2020; Blondel et al., JMLR 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from .._arrays import Array
from ..gradients.differences import Arrays
from ..gradients.interfaces import Noise, check_noise
from ..gradients.noise import Normal, check_samples, draws_for, mean_of, plus, solve_noisy
from ..gradients.oracle import Oracle
from ..gradients.schedules import check_positive


@dataclass(frozen=True)
class FenchelYoung:
    """<c, w*> - E min_w <c + σ ξ, w>, for the target w*; its gradient is w* - E W(c + σ ξ).

    Convex in c, and smooth. The constant of the definition, which does not depend on c, is left out, so that the
    smallest value need not be 0.

    Parameters
    ----------
    sigma : float
        Size of the noise, in units of the costs.
    samples : int
        Draws, and solves, an instance.
    noise : Noise
        :class:`Normal` by default.
    """

    sigma: float = 1.0
    samples: int = 5
    noise: Noise = field(default_factory=Normal)
    needs_true_costs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive(self.sigma, "sigma")
        check_samples(self.samples)
        check_noise(self.noise)

    def evaluate(
        self, oracle: Oracle, true_costs: list[Arrays] | None, generator: torch.Generator | None
    ) -> tuple[Array, list[Arrays]]:
        """Return losses and gradients."""
        draws = draws_for(oracle, self.noise, self.sigma, self.samples, generator)
        found = solve_noisy(oracle, draws)
        values, gradients = [], []
        for instance, row, samples in zip(oracle.instances, draws, found, strict=True):
            pairs = zip(row, samples, strict=True)
            lowest = np.mean([instance.objective(plus(instance.costs, draw()), w) for draw, w in pairs])
            values.append(instance.objective(instance.costs, instance.solutions) - lowest)
            mean = mean_of(samples)
            gradients.append(tuple(w - e for w, e in zip(instance.solutions, mean, strict=True)))
        return np.array(values), gradients
