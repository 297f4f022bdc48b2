"""Perturbed optimisers: the solver made smooth by noise (Berthet et al., NeurIPS 2020, arXiv 2002.08676)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from ..._sums import inner
from ..differences import Arrays
from ..interfaces import Estimator, Noise, check_noise
from ..noise import Draw, Normal, check_samples, draws_for, mean_of, plus, solve_noisy
from ..oracle import Instance, Oracle, keep
from ..schedules import check_positive

BASELINES = ("leave-one-out", "solution", "none")


@dataclass(frozen=True)
class PerturbedOptimizer(Estimator):
    """Forward the mean of W(c + σ ξ_s), backward its gradient: the mean of <w_s, g> ν'(ξ_s) / σ.

    ν' is the score of the noise: ξ itself for normal noise. Gradients of the expectation are unbiased, and need no
    solves: the samples of the forward pass are enough.

    Parameters
    ----------
    sigma : float
        Size of the noise, in units of the costs.
    samples : int
        Draws of the noise, S.
    noise : Noise
        :class:`Normal` by default, or :class:`Gumbel`.
    multiplicative : bool
        Solve at c exp(σ ξ - σ² / 2) instead, which keeps the sign of every cost and its mean (Dalle et al. 2022,
        arXiv 2207.13513); normal noise only.
    baseline : {"leave-one-out", "solution", "none"}
        Control variate: what is subtracted from <w_s, g>, the mean over the other samples or <W(c), g>. It leaves the
        expectation as it is. With one sample, "leave-one-out" is "solution".

    Raises
    ------
    ValueError
        If an option is unknown or not positive; in the backward pass of multiplicative noise, if a cost is 0.
    TypeError
        If the noise has no score.
    """

    sigma: float = 1.0
    samples: int = 10
    noise: Noise = field(default_factory=Normal)
    multiplicative: bool = False
    baseline: str = "leave-one-out"

    def __post_init__(self) -> None:
        check_positive(self.sigma, "sigma")
        check_samples(self.samples)
        check_noise(self.noise, needs_score=True)
        if self.baseline not in BASELINES:
            raise ValueError(f"baseline must be one of {', '.join(map(repr, BASELINES))}, got {self.baseline!r}")
        if self.multiplicative and not isinstance(self.noise, Normal):
            raise ValueError(f"multiplicative noise must be Normal(), got {self.noise!r}")

    def solutions(self, oracle: Oracle, generator: torch.Generator | None) -> list[Arrays]:
        """The forward pass: the mean of the samples of every instance."""
        draws = draws_for(oracle, self.noise, 1.0, self.samples, generator)
        samples = solve_noisy(oracle, draws, self._noisy)
        oracle.memory = draws, samples
        return [mean_of(parts) for parts in samples]

    def gradients(self, oracle: Oracle, grads: list[Arrays], generator: torch.Generator | None) -> list[Arrays]:
        """Return the gradient with respect to the costs of every instance."""
        return [
            instance.pull_back(self._gradient(instance, grad, draws, samples))
            for instance, grad, draws, samples in zip(oracle.instances, grads, *oracle.memory, strict=True)
        ]

    def _noisy(self, costs: Arrays, noise: Arrays) -> Arrays:
        scaled = tuple(self.sigma * xi for xi in noise)
        if not self.multiplicative:
            return plus(costs, scaled)
        pairs = zip(costs, scaled, strict=True)
        return tuple((c * np.exp(e - self.sigma**2 / 2)).astype(c.dtype, copy=False) for c, e in pairs)

    def _gradient(self, instance: Instance, grad: Arrays, draws: list[Draw], samples: list[Arrays]) -> Arrays:
        values = np.array([inner(grad, w) for w in samples])
        S = len(samples)
        if self.baseline == "leave-one-out" and S > 1:
            values = values - (values.sum() - values) / (S - 1)
        elif self.baseline != "none":
            values = values - inner(grad, instance.solutions)
        total = tuple(np.zeros(c.shape) for c in instance.costs)
        for draw, value in zip(draws, values, strict=True):
            for part, xi in zip(total, draw(), strict=True):
                part += value / (S * self.sigma) * self.noise.score(xi)
        if self.multiplicative:
            zeros = keep(tuple(c == 0 for c in instance.costs), instance.allowed_lifted)
            for number, zero in enumerate(zeros):
                if zero.any():
                    raise ValueError(f"multiplicative noise has no gradient at a cost of 0, as costs[{number}] holds")
            total = tuple(part / np.where(c == 0, 1, c) for part, c in zip(total, instance.costs, strict=True))
        return tuple(part.astype(c.dtype, copy=False) for part, c in zip(total, instance.costs, strict=True))
