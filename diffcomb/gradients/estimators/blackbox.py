"""Black-box interpolation at one or many scales (Vlastelica et al. 2020; COPS eq. 3 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..._arrays import Array
from ..differences import Point, check_start
from ..interfaces import Schedule
from ..schedules import LogGrid, Relative, as_schedule
from .multi_scale import MultiScale


@dataclass(frozen=True)
class Blackbox(MultiScale):
    """Mean over scales λ of [W(c + λ g) - W(c)] / λ, for the solver W, costs c and upstream gradient g.

    With one λ this is the gradient of the piecewise linear interpolation of Vlastelica et al. (ICLR 2020,
    arXiv 1912.02175; COPS eq. 3); the mean over several is COPS eq. 4.

    Parameters
    ----------
    lambdas : schedule, float or sequence of float
        The scales, drawn anew for every instance and backward pass; ``Relative(LogGrid(0.1, 10, 5))`` by default, which
        knows no units. The paper's choice is ``Uniform(1, 5000, 5)``.
    start : {"auto", "cold", "warm", "best"}
        Where the perturbed solves start. "cold": from nothing, as in the paper. "warm": from the forward
        solution, which the solver takes as ``init=``; with a solver that never returns anything worse than
        `init`, no perturbed solution is worse for the perturbed costs than the forward one. "best": both,
        keeping the better for the perturbed costs, at twice the price. "auto": warm with this package's default
        solver at effort 0 (or none given), without a time limit, constraints, a cost of all pairs and a repair, else
        cold.
    repair : bool
        Use all solutions found in one backward pass, the forward one among them, as a pool: W(c) is the best
        of the pool for c, and W(c + λ g) the best of it for c + λ g. An exact solver is not affected. With a
        heuristic, <g, W(c + λ g) - W(c)> <= 0 then holds by construction, so the estimate never points
        uphill, and it is exactly 0 once λ is small enough.

    Raises
    ------
    ValueError
        If a scale is not positive, or `start` is unknown.
    """

    lambdas: Schedule
    start: str
    repair: bool
    takes_labels = True

    def __init__(
        self,
        lambdas: Schedule | float | Sequence[float] | None = None,
        *,
        start: str = "auto",
        repair: bool = False,
    ) -> None:
        object.__setattr__(self, "lambdas", Relative(LogGrid(0.1, 10, 5)) if lambdas is None else as_schedule(lambdas))
        object.__setattr__(self, "start", check_start(start))
        object.__setattr__(self, "repair", bool(repair))

    def points(self, scales: Array) -> list[Point]:
        """Where the solver is asked, and with which weights."""
        return [Point(scale, 1 / (scale * len(scales))) for scale in scales]
