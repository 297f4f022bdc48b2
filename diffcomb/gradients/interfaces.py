"""What can be exchanged: how to differentiate, at which scales, with which noise.

Base classes, with a default for all that is optional. An object that has the methods without the base class is taken as
well: :func:`as_estimator` and its like adapt it, in this file only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from .._arrays import Array

if TYPE_CHECKING:
    from .differences import Point
    from .oracle import Oracle

Arrays = tuple[Array, ...]


class Estimator:
    """How to differentiate; :meth:`gradients` is all that one must write.

    Attributes
    ----------
    takes_labels : bool
        ``gradients`` takes one-hot solutions and their gradients that are only described (``OneHot``, ``RowTable``). A
        subclass must say so itself.
    """

    takes_labels: ClassVar[bool] = False

    @property
    def smooths(self) -> bool:
        """Whether the forward pass may return something else than solutions, such as their means."""
        return type(self).solutions is not Estimator.solutions

    @property
    def draws(self) -> bool:
        """Whether it draws noise or scales."""
        return _draws(self)

    def solutions(self, oracle: Oracle, generator: torch.Generator | None) -> list[Arrays] | None:
        """What the forward pass returns for every instance in place of W(c), in the lifted space; None for W(c) itself.

        It may leave what the backward pass needs in ``oracle.memory``.
        """
        return None

    def gradients(self, oracle: Oracle, grads: list[Arrays], generator: torch.Generator | None) -> list[Arrays]:
        """Return dL/dc for every instance of the oracle, given dL/dw.

        dL/dw and ``instance.costs`` lie in the lifted space, if there is a lift; dL/dc is that of the costs that the
        user gave: :meth:`Instance.pull_back` carries it there.
        """
        raise NotImplementedError(f"{type(self).__name__} must define gradients(oracle, grads, generator)")

    def exact_points(self) -> list[Point]:
        """Points of which the estimate is the exact gradient for an exact solver: what `gradcheck` compares with.

        Raises
        ------
        TypeError
            If there are none; the message says why.
        """
        raise TypeError(f"gradcheck knows Blackbox, CentralDifference and LPGD without rho, got {self!r}")


class Schedule:
    """Draws scales λ, anew for every instance and backward pass.

    Attributes
    ----------
    relative : bool
        Whether it looks at the norms of costs and gradients; else it is not given them.
    """

    relative: ClassVar[bool] = True

    @property
    def observes(self) -> bool:
        """Whether it is told how many entries a perturbation changed."""
        return type(self).observe is not Schedule.observe

    @property
    def draws(self) -> bool:
        """Whether the scales are random."""
        return False

    def sample(self, cost_norms: Array, grad_norms: Array, generator: torch.Generator | None) -> Array:
        """Return positive scales of shape (B, N) for B instances with the given norms (B,) of c and g."""
        raise NotImplementedError(f"{type(self).__name__} must define sample(cost_norms, grad_norms, generator)")

    def observe(self, count: float) -> None:
        """Take note of how many entries of a solution a perturbation has changed, on average."""


class Noise:
    """Noise on costs, which are minimised: what the literature adds to scores is subtracted here."""

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Draw noise ξ of the given shape, in float64."""
        raise NotImplementedError(f"{type(self).__name__} must define sample(rng, shape)")

    def score(self, noise: Array) -> Array:
        """Minus the gradient of the log-density; only of noise that has one."""
        raise TypeError(f"noise must have a density, as Normal() and Gumbel() have, got {self!r}")


class _OtherEstimator(Estimator):
    """An estimator without the base class."""

    def __init__(self, other: Any) -> None:
        self.other = other

    @property
    def smooths(self) -> bool:
        return callable(getattr(self.other, "solutions", None))

    @property
    def draws(self) -> bool:
        return _draws(self.other)

    def solutions(self, oracle: Oracle, generator: torch.Generator | None) -> list[Arrays] | None:
        found: list[Arrays] | None = self.other.solutions(oracle, generator) if self.smooths else None
        return found

    def gradients(self, oracle: Oracle, grads: list[Arrays], generator: torch.Generator | None) -> list[Arrays]:
        found: list[Arrays] = self.other.gradients(oracle, grads, generator)
        return found

    def __repr__(self) -> str:
        return repr(self.other)


class _OtherSchedule(Schedule):
    """A schedule without the base class."""

    def __init__(self, other: Any) -> None:
        self.other = other
        self.relative = getattr(other, "relative", True)  # type: ignore[misc]

    @property
    def observes(self) -> bool:
        return hasattr(self.other, "observe")

    def sample(self, cost_norms: Array, grad_norms: Array, generator: torch.Generator | None) -> Array:
        found: Array = self.other.sample(cost_norms, grad_norms, generator)
        return found

    def observe(self, count: float) -> None:
        self.other.observe(count)

    def __repr__(self) -> str:
        return repr(self.other)


def _draws(estimator: Any) -> bool:
    """Whether an estimator has noise, or scales that are random."""
    schedule = getattr(estimator, "lambdas", getattr(estimator, "taus", None))
    schedule = getattr(schedule, "alphas", schedule)
    return hasattr(estimator, "noise") or bool(getattr(schedule, "draws", False))


def takes_labels(value: Any) -> bool:
    """Whether the very class of an estimator or a lift says that it takes what is only described."""
    return bool(vars(type(value)).get("takes_labels", False))


def as_estimator(value: Any) -> Estimator:
    """Return an estimator as it is, or adapted if it lacks the base class.

    Raises
    ------
    TypeError
        If `value` has no method ``gradients``.
    """
    if isinstance(value, Estimator):
        return value
    if isinstance(value, type) or not hasattr(value, "gradients"):
        raise TypeError(f"estimator must be an estimator such as Blackbox(lambdas=...), got {value!r}")
    return _OtherEstimator(value)


def adapted(schedule: Any) -> Schedule:
    """Return a schedule as it is, or adapted if it lacks the base class."""
    return schedule if isinstance(schedule, Schedule) else _OtherSchedule(schedule)


def is_schedule(value: Any) -> bool:
    """Whether it can draw scales."""
    return not isinstance(value, type) and (isinstance(value, Schedule) or hasattr(value, "sample"))


def check_noise(noise: Any, needs_score: bool = False) -> None:
    """Raise a TypeError unless `noise` can be drawn, and has a score where one is needed."""
    if isinstance(noise, type) or not (isinstance(noise, Noise) or hasattr(noise, "sample")):
        raise TypeError(f"noise must be a noise such as Normal(), got {noise!r}")
    has_score = type(noise).score is not Noise.score if isinstance(noise, Noise) else hasattr(noise, "score")
    if needs_score and not has_score:
        raise TypeError(f"noise must have a density, as Normal() and Gumbel() have, got {noise!r}")
