"""Perturbed Fenchel-Young loss (Berthet et al., NeurIPS 2020; Blondel et al., JMLR 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from .._arrays import Array
from ..gradients.differences import Arrays, inner
from ..gradients.noise import Noise, Normal, check_noise, check_samples, check_sigma, draw_seeds, mean_of, noise_for
from ..gradients.oracle import Job, Oracle


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
        check_sigma(self.sigma)
        check_samples(self.samples)
        check_noise(self.noise)

    def evaluate(
        self, oracle: Oracle, true_costs: list[Arrays] | None, generator: torch.Generator | None
    ) -> tuple[Array, list[Arrays]]:
        """Return losses and gradients."""
        seeds = draw_seeds(generator, len(oracle.instances), self.samples)

        def noisy(b: int, seed: int) -> Arrays:
            costs = oracle.instances[b].costs
            noise = noise_for(self.noise, self.sigma, seed, costs)()
            return tuple((c + e).astype(c.dtype, copy=False) for c, e in zip(costs, noise, strict=True))

        jobs = [
            Job(b, lambda b=b, seed=seed: noisy(b, seed))  # type: ignore[misc]
            for b in range(len(seeds))
            for seed in seeds[b]
        ]
        found = oracle.solve_many(jobs)
        values, gradients = [], []
        for b, instance in enumerate(oracle.instances):
            samples = [next(found) for _ in range(self.samples)]
            lowest = np.mean([inner(noisy(b, s), w) for s, w in zip(seeds[b], samples, strict=True)])
            values.append(inner(instance.costs, instance.solutions) - lowest)
            mean = mean_of(samples)
            gradients.append(tuple(w - e for w, e in zip(instance.solutions, mean, strict=True)))
        return np.array(values), gradients
