"""Schedules of the perturbation scale λ, drawn anew for every instance and backward pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch

from .._arrays import Array
from .interfaces import Schedule, is_schedule


def check_positive(value: Any, name: str) -> None:
    """Raise a ValueError unless `value` is a positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name} must be positive and finite, got {value!r}")


def _check_range(low: Any, high: Any, n: Any) -> None:
    for name, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value <= 0:
            raise ValueError(f"λ must be positive and finite, got {name}={value!r}")
    if low > high:
        raise ValueError(f"λ interval must have low <= high, got [{low}, {high}]")
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
        raise ValueError(f"n, the number of scales λ, must be a positive integer, got {n!r}")


def _uniform(shape: tuple[int, int], generator: torch.Generator | None) -> Array:
    device = generator.device if generator is not None else None
    draws: Array = torch.rand(shape, generator=generator, dtype=torch.float64, device=device).cpu().numpy()
    return draws


@dataclass(frozen=True)
class Fixed(Schedule):
    """Fixed scales.

    Parameters
    ----------
    values : float or sequence of float
        The scales λ; one value is the estimator of Vlastelica et al. (COPS eq. 3).
    """

    values: tuple[float, ...]
    relative: ClassVar[bool] = False

    def __init__(self, values: float | Sequence[float]) -> None:
        scales = (values,) if isinstance(values, Real) else tuple(values)  # type: ignore[arg-type]
        if not scales:
            raise ValueError("at least one scale λ is needed, got none")
        for value in scales:
            check_positive(value, "λ")
        object.__setattr__(self, "values", tuple(float(v) for v in scales))

    def sample(self, cost_norms: Array, grad_norms: Array, generator: torch.Generator | None) -> Array:
        """Return the values for every instance, shape (B, N)."""
        return np.tile(np.array(self.values), (len(cost_norms), 1))


@dataclass(frozen=True)
class _Interval(Schedule):
    """`n` scales from an interval."""

    low: float
    high: float
    n: int = 5
    relative: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.n)


@dataclass(frozen=True)
class Uniform(_Interval):
    """λ uniform in [low, high], `n` draws an instance: the paper's choice (COPS eq. 4, N = n)."""

    @property
    def draws(self) -> bool:
        """The scales are random."""
        return True

    def sample(self, cost_norms: Array, grad_norms: Array, generator: torch.Generator | None) -> Array:
        """Draw scales, shape (B, N)."""
        return self.low + (self.high - self.low) * _uniform((len(cost_norms), self.n), generator)


@dataclass(frozen=True)
class LogUniform(_Interval):
    """log λ uniform in [log low, log high], `n` draws an instance."""

    @property
    def draws(self) -> bool:
        """The scales are random."""
        return True

    def sample(self, cost_norms: Array, grad_norms: Array, generator: torch.Generator | None) -> Array:
        """Draw scales, shape (B, N)."""
        draws = _uniform((len(cost_norms), self.n), generator)
        low, high = math.log(self.low), math.log(self.high)
        return np.asarray(np.clip(np.exp(low + (high - low) * draws), self.low, self.high))


@dataclass(frozen=True)
class LogGrid(_Interval):
    """`n` scales at equal ratios from low to high, always the same: no rare small λ dominates through 1/λ."""

    def sample(self, cost_norms: Array, grad_norms: Array, generator: torch.Generator | None) -> Array:
        """Return the grid for every instance, shape (B, N)."""
        return np.tile(np.geomspace(self.low, self.high, self.n), (len(cost_norms), 1))


@dataclass(frozen=True)
class Relative(Schedule):
    """λ = α ‖c‖ / ‖g‖ for each instance: invariant to the loss's scale and to a mean over the batch.

    ‖c‖ leaves out entries that are forbidden (by a mask) or that dominate it as large constants for forbidden ones do:
    at least 8 times all others of their array, of similar size, and together more than all others.

    Parameters
    ----------
    alphas : float, sequence of float, or schedule
        The relative scales α.
    """

    alphas: Schedule

    def __init__(self, alphas: float | Sequence[float] | Schedule) -> None:
        schedule = as_schedule(alphas)
        if isinstance(schedule, (Relative, Adaptive)):
            raise ValueError(f"alphas must not be relative themselves, got {schedule!r}")
        object.__setattr__(self, "alphas", schedule)

    @property
    def draws(self) -> bool:
        """Whether the relative scales are random."""
        return isinstance(self.alphas, Schedule) and self.alphas.draws

    def sample(self, cost_norms: Array, grad_norms: Array, generator: torch.Generator | None) -> Array:
        """Draw α and scale it by the instance's norms, shape (B, N); costs of norm 0 count as norm 1."""
        alphas = self.alphas.sample(cost_norms, grad_norms, generator)
        cost = np.where(cost_norms > 0, cost_norms, 1.0)
        ratio = np.divide(cost, grad_norms, out=np.ones_like(cost), where=grad_norms > 0)
        with np.errstate(over="ignore"):
            scales: Array = alphas * ratio[:, None]
        scales[scales == np.inf] = np.finfo(np.float64).max  # that of a gradient next to nothing overflows
        return scales


class Adaptive(Schedule):
    """λ = α ‖c‖ / ‖g‖ with an α that follows how sparse the estimates are (AIMLE; Minervini et al., AAAI 2023).

    After every backward pass α grows by a factor if perturbations have changed fewer entries of the solutions than the
    target, and shrinks by it if more: both ways. The paper adds and subtracts a constant instead; a factor
    keeps α positive and needs no unit. A schedule of this kind has a state, so give every solver its own.

    Parameters
    ----------
    target : float
        Entries of a solution that a perturbation should change, on average over a batch.
    initial : float
        α at the beginning.
    rate : float
        log of the factor.
    memory : float
        Weight of the past in the running mean of the number of non-zeros, in [0, 1).
    factors : sequence of float
        One scale for each, λ times the factor.

    Attributes
    ----------
    alpha : float
        The present α.
    """

    def __init__(
        self,
        target: float = 1.0,
        *,
        initial: float = 1e-3,
        rate: float = 0.1,
        memory: float = 0.9,
        factors: Sequence[float] = (1.0,),
    ) -> None:
        check_positive(target, "target")
        check_positive(initial, "initial")
        check_positive(rate, "rate")
        if isinstance(memory, bool) or not isinstance(memory, Real) or not 0 <= memory < 1:
            raise ValueError(f"memory must lie in [0, 1), got {memory!r}")
        self.target: float = float(target)
        self.rate: float = float(rate)
        self.memory: float = float(memory)
        self.factors: tuple[float, ...] = Fixed(factors).values
        self.alpha: float = float(initial)
        self._nonzeros: float | None = None

    def sample(self, cost_norms: Array, grad_norms: Array, generator: torch.Generator | None) -> Array:
        """Return the scales at the present α, shape (B, len(factors))."""
        return Relative([self.alpha * f for f in self.factors]).sample(cost_norms, grad_norms, generator)

    def observe(self, count: float) -> None:
        """Take note of how many entries of a solution a perturbation has changed on average, and move α."""
        past = count if self._nonzeros is None else self._nonzeros
        self._nonzeros = self.memory * past + (1 - self.memory) * count
        step = self.rate * np.sign(self.target - self._nonzeros)
        self.alpha = float(np.clip(self.alpha * math.exp(step), 1e-12, 1e12))

    def state_dict(self) -> dict[str, float | None]:
        """What :meth:`load_state_dict` restores."""
        return {"alpha": self.alpha, "nonzeros": self._nonzeros}

    def load_state_dict(self, state: dict[str, float | None]) -> None:
        """Continue from the state of another schedule."""
        if not {"alpha", "nonzeros"} <= set(state):
            raise ValueError(f"the state of an adaptive schedule has alpha and nonzeros, got {sorted(state)}")
        check_positive(state["alpha"], "alpha")
        nonzeros = state["nonzeros"]
        if nonzeros is not None and not 0 <= nonzeros < math.inf:
            raise ValueError(f"nonzeros in the state must be a finite number that is not negative, got {nonzeros!r}")
        self.alpha, self._nonzeros = float(state["alpha"] or 0), nonzeros

    def __repr__(self) -> str:
        return f"Adaptive(target={self.target:g}, alpha={self.alpha:.3g})"


def as_schedule(value: Any) -> Schedule:
    """Return a schedule as it is, and a number or numbers as a :class:`Fixed` schedule."""
    if is_schedule(value):
        schedule: Schedule = value
        return schedule
    if isinstance(value, (Real, list, tuple)) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return Fixed(value)  # type: ignore[arg-type]
    raise TypeError(f"lambdas must be a schedule such as Uniform(1, 5000, 5), a number or numbers, got {value!r}")
