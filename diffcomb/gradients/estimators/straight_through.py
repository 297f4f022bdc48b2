"""Straight-through: the gradient of a relaxation (Bengio et al. 2013)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..._arrays import to_numpy
from ..differences import Arrays
from ..interfaces import Estimator
from ..oracle import Oracle
from ..schedules import check_positive


@dataclass(frozen=True)
class StraightThrough(Estimator):
    """The gradient of a relaxation r(c) in place of that of W(c) (Bengio et al. 2013, arXiv 1308.3432).

    The forward pass keeps the solver's discrete solution, the backward pass is r'(c)^T g. No solves.

    Parameters
    ----------
    relaxation : callable, optional
        Takes the cost tensors of one instance, returns as many tensors of their shapes, differentiably. By default
        the soft arg-min over the last axis, softmax(-c / temperature).
    temperature : float
        Of the default relaxation.
    """

    relaxation: Callable[..., Any] | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_positive(self.temperature, "temperature")
        if self.relaxation is not None and not callable(self.relaxation):
            raise TypeError(f"relaxation must be callable, got {self.relaxation!r}")

    def gradients(self, oracle: Oracle, grads: list[Arrays], generator: torch.Generator | None) -> list[Arrays]:
        """Return the gradient with respect to the costs of every instance."""
        return [
            instance.pull_back(self._vjp(instance.costs, grad, -1 if oracle.solver.maximize else 1))
            for instance, grad in zip(oracle.instances, grads, strict=True)
        ]

    def _vjp(self, costs: Arrays, grad: Arrays, sign: int) -> Arrays:
        leaves = [torch.from_numpy(c.copy()).requires_grad_() for c in costs]
        with torch.enable_grad():
            if self.relaxation is None:
                relaxed: Any = tuple(torch.softmax(-c / self.temperature, dim=-1) for c in leaves)
            else:
                relaxed = self.relaxation(*(sign * c for c in leaves))
            relaxed = tuple(relaxed) if isinstance(relaxed, (tuple, list)) else (relaxed,)
        for r, c in zip(relaxed, leaves, strict=False):
            if r.shape != c.shape or len(relaxed) != len(leaves):
                expected, shapes = [tuple(c.shape) for c in leaves], [tuple(r.shape) for r in relaxed]
                raise ValueError(f"relaxation must return tensors of the costs' shapes {expected}, got {shapes}")
        upstream = [torch.from_numpy(np.ascontiguousarray(g)) for g in grad]
        found = torch.autograd.grad(relaxed, leaves, upstream, allow_unused=True)
        return tuple(np.zeros_like(c) if f is None else to_numpy(f) for f, c in zip(found, costs, strict=True))
