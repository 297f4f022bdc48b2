"""Learning to rank the solutions of a pool (Mandi et al., ICML 2022, arXiv 2112.03609)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from .._arrays import Array
from .._sums import products
from ..gradients.differences import Arrays
from ..gradients.oracle import Oracle
from ..gradients.schedules import check_positive
from .pool import SolutionPool, check_pool, check_share, flat, keys_of, known_values, stacked, unflat

KINDS = ("pointwise", "pairwise", "listwise")


@dataclass(frozen=True)
class Ranking:
    """Predicted objectives <ĉ, w> should rank the solutions w of a pool as the true ones <c, w> do.

    "pointwise": the mean of (<ĉ, w> - <c, w>)². "pairwise": the mean of max(0, margin + <ĉ, w*> - <ĉ, w>) over all
    w but the best of the pool, w*. "listwise": the cross-entropy of softmax(-<ĉ, w> / τ) under softmax(-<c, w> / τ).

    Parameters
    ----------
    kind : {"listwise", "pairwise", "pointwise"}
    temperature : float
        τ.
    margin : float
        Of "pairwise"; in units of the costs.
    share, pool, key
        As in :class:`Contrastive`.
    """

    kind: str = "listwise"
    temperature: float = 1.0
    margin: float = 0.1
    share: float = 1.0
    pool: SolutionPool = field(default_factory=SolutionPool)
    key: str | None = None
    needs_true_costs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {self.kind!r}")
        check_positive(self.temperature, "temperature")
        check_positive(self.margin, "margin")
        check_share(self.share)
        check_pool(self.pool)

    def evaluate(
        self, oracle: Oracle, true_costs: list[Arrays] | None, generator: torch.Generator | None
    ) -> tuple[Array, list[Arrays]]:
        """Return losses and gradients."""
        assert true_costs is not None
        keys = keys_of(oracle, self.pool, self.key)
        self.pool.refresh(oracle, keys, self.share, generator)
        matrices = {key: stacked(self.pool.solutions(key)) for key in set(keys)}
        values, gradients = [], []
        for instance, true, key in zip(oracle.instances, true_costs, keys, strict=True):
            pool = matrices[key]
            known = known_values(instance, pool)
            predicted, real = products(pool, flat(instance.costs)) + known, products(pool, flat(true)) + known
            value, slopes = self._rank(predicted, real)
            values.append(value)
            gradients.append(unflat(products(pool.T, slopes), instance.costs))
        return np.array(values), gradients

    def _rank(self, predicted: Array, true: Array) -> tuple[float, Array]:
        """The loss of one instance, and its derivative with respect to the predicted objectives."""
        count = len(predicted)
        if self.kind == "pointwise":
            error = predicted - true
            return float(np.mean(error**2)), 2 * error / count
        if self.kind == "pairwise":
            best = int(true.argmin())
            excess = self.margin + predicted[best] - predicted
            excess[best] = 0
            active = (excess > 0) / max(count - 1, 1)
            slopes = -active
            slopes[best] = active.sum()
            return float(np.maximum(excess, 0).sum() / max(count - 1, 1)), slopes
        p, _ = _soft_min(true / self.temperature)
        q, log_q = _soft_min(predicted / self.temperature)
        return float(-(p * log_q).sum()), (p - q) / self.temperature


def _soft_min(values: Array) -> tuple[Array, Array]:
    shifted = values.min() - values
    log_sum = np.log(np.exp(shifted).sum())
    return np.exp(shifted - log_sum), shifted - log_sum
