"""Lagrangian proximal gradient descent (Paulus et al., ICML 2024, arXiv 2407.05920)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..._arrays import Array
from ..differences import Arrays, Point, check_start
from ..interfaces import Estimator, Schedule
from ..oracle import Instance, Oracle
from ..schedules import as_schedule, check_positive
from .multi_scale import MultiScale

ENVELOPES = ("lower", "upper", "average")


@dataclass(frozen=True)
class LPGD(MultiScale):
    """Gradients of the lower, the upper, or the average Lagrange-Moreau envelope of the linearised loss.

    With w* = W(c) and W_τ = argmin_w <c + τ g, w> + |w - w*|² / 2ρ, the gradient is [W_τ - w*] / τ for the lower
    envelope, [w* - W_(-τ)] / τ for the upper one, and the mean of the two for the average. Without ρ the lower one is
    black-box interpolation and the average the central difference. Several τ are averaged.

    Parameters
    ----------
    taus : schedule, float or sequence of float
        The temperatures τ.
    rho : float, optional
        Strength of the proximal term: the smaller, the nearer the perturbed solutions stay. It needs solutions of
        zeros and ones, for which |w - w*|² is linear: the sum of w (1 - 2 w*), plus a constant.
    envelope : {"lower", "upper", "average"}
    start, repair
        As in :class:`Blackbox`.

    Raises
    ------
    ValueError
        If an option is unknown or not positive; in the backward pass, if `rho` is given and a solution is not binary.
    """

    taus: Schedule
    rho: float | None
    envelope: str
    start: str
    repair: bool

    def __init__(
        self,
        taus: Schedule | float | Sequence[float],
        *,
        rho: float | None = None,
        envelope: str = "average",
        start: str = "auto",
        repair: bool = False,
    ) -> None:
        if envelope not in ENVELOPES:
            raise ValueError(f"envelope must be one of {', '.join(map(repr, ENVELOPES))}, got {envelope!r}")
        if rho is not None:
            check_positive(rho, "rho")
        object.__setattr__(self, "taus", as_schedule(taus))
        object.__setattr__(self, "rho", rho)
        object.__setattr__(self, "envelope", envelope)
        object.__setattr__(self, "start", check_start(start))
        object.__setattr__(self, "repair", bool(repair))

    def points(self, scales: Array) -> list[Point]:
        """Where the solver is asked, and with which weights; without the proximal term."""
        signs = {"lower": (1,), "upper": (-1,), "average": (1, -1)}[self.envelope]
        share = len(signs) * len(scales)
        return [Point(sign * tau, sign / (tau * share)) for sign in signs for tau in scales]

    @property
    def lambdas(self) -> Schedule:  # type: ignore[override]
        """The temperatures τ."""
        return self.taus

    def exact_points(self) -> list[Point]:
        """The points at fixed scales, without a proximal term."""
        return super().exact_points() if self.rho is None else Estimator.exact_points(self)

    def points_of(self, oracle: Oracle, b: int, scales: Array) -> list[Point]:
        """The points, with the proximal term of instance b."""
        plain = self.points(scales)
        if self.rho is None:
            return plain
        return [Point(p.scale, p.weight, lambda: self._proximal(oracle.instances[b])) for p in plain]

    def gradients(self, oracle: Oracle, grads: list[Arrays], generator: torch.Generator | None) -> list[Arrays]:
        """Return the gradient with respect to the costs of every instance."""
        if self.rho is not None:
            for instance in oracle.instances:
                _check_binary(instance)
        return super().gradients(oracle, grads, generator)

    def _proximal(self, instance: Instance) -> Arrays:
        assert self.rho is not None
        return tuple((1 - 2 * w) / (2 * self.rho) for w in instance.solutions)


def _check_binary(instance: Instance) -> None:
    for number, w in enumerate(instance.solutions):
        if not np.isin(w, (0, 1)).all():
            raise ValueError(f"rho needs solutions of zeros and ones, got other values in solution {number}")
