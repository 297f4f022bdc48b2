"""Noise on costs, drawn from seeds, so that it is drawn anew instead of being stored.

All noise is that of *costs*, which are minimised: what the literature adds to scores is subtracted here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch

from .._arrays import Array
from .differences import Arrays
from .interfaces import Noise
from .oracle import Job, Oracle

Draw = Callable[[], Arrays]
KEPT = 2**14  # entries of noise that are kept rather than drawn anew


@dataclass(frozen=True)
class Normal(Noise):
    """Standard normal noise."""

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Draw noise."""
        return rng.standard_normal(shape)

    def score(self, noise: Array) -> Array:
        """Minus the gradient of the log-density: ξ."""
        return noise


@dataclass(frozen=True)
class Gumbel(Noise):
    """Minus standard Gumbel noise: the arg-min over costs + noise is distributed as softmax(-costs)."""

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Draw noise."""
        return -rng.gumbel(size=shape)

    def score(self, noise: Array) -> Array:
        """Minus the gradient of the log-density: exp(ξ) - 1."""
        return np.exp(noise) - 1


@dataclass(frozen=True)
class SumOfGamma(Noise):
    """Minus sum-of-Gamma noise: the sum of `k` of them is nearly Gumbel (Niepert et al., NeurIPS 2021, eq. 10).

    ξ = -[sum over i = 1..terms of Gamma(1/k, k/i) - log terms] / k. For solutions with k ones it makes the total noise
    of a solution Gumbel, as perturb-and-MAP sampling wants it. It has no density in closed form, hence no score.

    Parameters
    ----------
    k : int
        Number of ones in a solution.
    terms : int
        Terms of the sum.
    """

    k: int
    terms: int = 10

    def __post_init__(self) -> None:
        for name in ("k", "terms"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Draw noise."""
        total = np.full(shape, -np.log(self.terms))
        for i in range(1, self.terms + 1):
            total += rng.gamma(1 / self.k, self.k / i, shape)
        return -total / self.k


def check_samples(samples: object) -> None:
    """Raise a ValueError unless `samples` is a positive integer."""
    if isinstance(samples, bool) or not isinstance(samples, (int, np.integer)) or samples < 1:
        raise ValueError(f"samples must be a positive integer, got {samples!r}")


def draws_for(
    oracle: Oracle, noise: Noise, sigma: float, samples: int, generator: torch.Generator | None
) -> list[list[Draw]]:
    """Noise for every instance and sample, each a function that draws it; seeded by torch's generator."""
    device = generator.device if generator is not None else None
    seeds = torch.randint(2**62, (len(oracle.instances), samples), generator=generator, device=device).tolist()
    return [
        [noise_for(noise, sigma, seed, instance.costs) for seed in row]
        for instance, row in zip(oracle.instances, seeds, strict=True)
    ]


def plus(costs: Arrays, noise: Arrays) -> Arrays:
    """Costs with noise, in their own dtype."""
    return tuple((c + e).astype(c.dtype, copy=False) for c, e in zip(costs, noise, strict=True))


def solve_noisy(
    oracle: Oracle, draws: list[list[Draw]], move: Callable[[Arrays, Arrays], Arrays] = plus
) -> list[list[Arrays]]:
    """Solutions at ``move(costs, noise)`` for every instance and draw."""

    def costs(b: int, draw: Draw) -> Arrays:
        return move(oracle.instances[b].costs, draw())

    found = oracle.solve_many([Job(b, partial(costs, b, draw)) for b, row in enumerate(draws) for draw in row])
    return [list(islice(found, len(row))) for row in draws]


def noise_for(noise: Noise, sigma: float, seed: int, like: Arrays) -> Draw:
    """A function that draws the noise of that seed for arrays such as those, times sigma.

    Small noise is kept for the next call, large noise is drawn anew from its seed.
    """
    kept: list[Arrays] = []

    def draw() -> Arrays:
        if kept:
            return kept[0]
        rng = np.random.default_rng(seed)
        drawn = tuple(sigma * noise.sample(rng, c.shape) for c in like)
        for sample, c in zip(drawn, like, strict=True):
            if np.shape(sample) != c.shape:
                raise ValueError(f"{noise!r} must draw noise of shape {c.shape}, got {np.shape(sample)}")
        if sum(c.size for c in like) <= KEPT:
            kept.append(drawn)
        return drawn

    return draw


def mean_of(samples: list[Arrays]) -> Arrays:
    """The mean of solutions, part by part."""
    return tuple(np.mean(parts, axis=0, dtype=parts[0].dtype) for parts in zip(*samples, strict=True))
