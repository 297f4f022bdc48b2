"""Implicit maximum likelihood estimation (I-MLE; Niepert et al., NeurIPS 2021, arXiv 2106.01798)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..._arrays import Array
from ..differences import Arrays, Point, check_start, multi_scale
from ..interfaces import Estimator, Noise, Schedule, adapted, check_noise
from ..noise import Gumbel, check_samples, draws_for, mean_of, solve_noisy
from ..oracle import Oracle
from ..schedules import as_schedule, check_positive
from .multi_scale import MultiScale


@dataclass(frozen=True)
class IMLE(MultiScale):
    """Mean over noise ε and scales λ of [W(c + ε + λ g) - W(c + ε)] / λ, with the same ε in both.

    With `central`, [W(c + ε + λ g) - W(c + ε - λ g)] / 2λ. The forward pass returns the mean of the samples W(c + ε):
    one discrete solution, if there is one sample.

    Parameters
    ----------
    lambdas : schedule, float or sequence of float
        The scales. With :class:`Adaptive` and `central` this is AIMLE (Minervini et al., AAAI 2023, arXiv 2209.04862).
    noise : Noise
        :class:`Gumbel` by default; :class:`SumOfGamma` where solutions have a fixed number of ones.
    sigma : float
        Factor of the noise, its temperature.
    samples : int
        Draws of the noise, S. A forward pass takes S more solves, a backward pass S a scale.
    forward : {"noisy", "clean"}
        "clean" returns W(c) instead, and draws the noise in the backward pass.
    central : bool
        Ask on both sides: a backward pass takes 2 S solves a scale.
    start, repair
        As in :class:`Blackbox`.
    """

    lambdas: Schedule
    noise: Noise
    sigma: float
    samples: int
    forward: str
    central: bool
    start: str
    repair: bool

    def __init__(
        self,
        lambdas: Schedule | float | Sequence[float],
        *,
        noise: Noise | None = None,
        sigma: float = 1.0,
        samples: int = 1,
        forward: str = "noisy",
        central: bool = False,
        start: str = "auto",
        repair: bool = False,
    ) -> None:
        if forward not in ("noisy", "clean"):
            raise ValueError(f"forward must be 'noisy' or 'clean', got {forward!r}")
        noise = Gumbel() if noise is None else noise
        check_noise(noise)
        check_positive(sigma, "sigma")
        check_samples(samples)
        object.__setattr__(self, "lambdas", as_schedule(lambdas))
        object.__setattr__(self, "noise", noise)
        object.__setattr__(self, "sigma", sigma)
        object.__setattr__(self, "samples", samples)
        object.__setattr__(self, "forward", forward)
        object.__setattr__(self, "central", bool(central))
        object.__setattr__(self, "start", check_start(start))
        object.__setattr__(self, "repair", bool(repair))

    def exact_points(self) -> list[Point]:
        """There are none: noise is drawn anew."""
        return Estimator.exact_points(self)

    def solutions(self, oracle: Oracle, generator: torch.Generator | None) -> list[Arrays] | None:
        """The forward pass: means of the samples, or None for W(c) as it is."""
        if self.forward == "clean":
            return None
        shifts = draws_for(oracle, self.noise, self.sigma, self.samples, generator)
        samples = solve_noisy(oracle, shifts)
        oracle.memory = shifts, samples
        return [mean_of(parts) for parts in samples]

    def gradients(self, oracle: Oracle, grads: list[Arrays], generator: torch.Generator | None) -> list[Arrays]:
        """Return the gradient with respect to the costs of every instance."""
        if oracle.memory is None:
            shifts = draws_for(oracle, self.noise, self.sigma, self.samples, generator)
            samples: list[list[Arrays | None]] = [[None] * self.samples for _ in shifts]
        else:
            shifts, samples = oracle.memory

        def points(b: int, scales: Array) -> list[Point]:
            share = self.samples * len(scales) * (2 if self.central else 1)
            found = []
            for shift, sample in zip(shifts[b], samples[b], strict=True):
                found += [Point(scale, 1 / (scale * share), shift) for scale in scales]
                if self.central:
                    found += [Point(-scale, -1 / (scale * share), shift) for scale in scales]
                else:
                    found.append(Point(0.0, -sum(1 / (scale * share) for scale in scales), shift, sample))
            return found

        return multi_scale(adapted(self.lambdas), points, oracle, grads, generator, self.start, self.repair)
