"""What estimators by differences have in common: scales λ, where the perturbed solves start, and points to solve at."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from ..._arrays import Array
from ..differences import Arrays, Point, multi_scale
from ..interfaces import Estimator, Schedule, adapted
from ..oracle import Oracle
from ..schedules import Fixed


class MultiScale(Estimator):
    """Sums over points c + λ g of weight * [W(point) - W(c)]; a subclass says which points.

    Attributes
    ----------
    lambdas : Schedule
        The scales λ, drawn anew for every instance and backward pass.
    start : {"auto", "cold", "warm", "best"}
    repair : bool
        As in :class:`Blackbox`.
    """

    lambdas: Schedule
    start: str
    repair: bool

    def points(self, scales: Array) -> list[Point]:
        """Where the solver is asked, and with which weights."""
        raise NotImplementedError(f"{type(self).__name__} must define points(scales)")

    def points_of(self, oracle: Oracle, b: int, scales: Array) -> list[Point]:
        """The points of instance b, where those of the instances differ in more than scales."""
        return self.points(scales)

    def exact_points(self) -> list[Point]:
        """The points at fixed scales."""
        if not isinstance(self.lambdas, Fixed):
            raise TypeError(
                f"gradcheck needs fixed scales, got {self.lambdas!r}: pass estimator=Blackbox([0.1, 1, 10]), say"
            )
        return self.points(np.array(self.lambdas.values))

    def gradients(self, oracle: Oracle, grads: list[Arrays], generator: torch.Generator | None) -> list[Arrays]:
        """Return the gradient with respect to the costs of every instance; see :func:`weighted_differences`."""
        points = partial(self.points_of, oracle)
        return multi_scale(adapted(self.lambdas), points, oracle, grads, generator, self.start, self.repair)
