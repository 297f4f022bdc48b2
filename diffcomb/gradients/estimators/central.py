"""Central differences: the solver is asked on both sides of the costs (Domke, NIPS 2010)."""

from __future__ import annotations

from ..._arrays import Array
from ..differences import Point
from .blackbox import Blackbox


class CentralDifference(Blackbox):
    """Mean over scales λ of [W(c + λ g) - W(c - λ g)] / 2λ.

    Second-order accurate where :class:`Blackbox` is first-order: for a smooth W its error vanishes with λ². For an
    exact solver it is the gradient of (V(c + λ g) - V(c - λ g)) / 2λ with V(c) = min <c, w>; it is also the average of
    the lower and the upper envelope of :class:`LPGD`. Parameters are those of :class:`Blackbox`; two solves a scale.
    """

    takes_labels = True

    def points(self, scales: Array) -> list[Point]:
        """Where the solver is asked, and with which weights."""
        weights = [1 / (2 * scale * len(scales)) for scale in scales]
        pairs = list(zip(scales, weights, strict=True))
        return [Point(s, w) for s, w in pairs] + [Point(-s, -w) for s, w in pairs]
