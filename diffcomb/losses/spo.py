"""SPO+: a convex bound of the regret (Elmachtoub & Grigas, Management Science 2022, arXiv 1710.08005)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from .._arrays import Array
from ..gradients.differences import Arrays
from ..gradients.oracle import Oracle


@dataclass(frozen=True)
class SPOPlus:
    """2 <ĉ, w*> - <c, w*> - min_w <2 ĉ - c, w>, for predicted costs ĉ and true costs c with the solution w*.

    It bounds the regret <c, W(ĉ) - w*> from above; a subgradient is 2 [w* - W(2 ĉ - c)]. One solve an instance.
    """

    needs_true_costs: ClassVar[bool] = True

    def evaluate(
        self, oracle: Oracle, true_costs: list[Arrays] | None, generator: torch.Generator | None
    ) -> tuple[Array, list[Arrays]]:
        """Return losses and gradients."""
        assert true_costs is not None

        def twice(b: int) -> Arrays:
            return tuple(2 * p - c for p, c in zip(oracle.instances[b].costs, true_costs[b], strict=True))

        values, gradients = [], []
        for b, w in enumerate(oracle.solve_each(twice)):
            best = oracle.instances[b].solutions
            instance = oracle.instances[b]
            values.append(instance.objective(twice(b), best) - instance.objective(twice(b), w))
            gradients.append(tuple(2 * (s - p) for s, p in zip(best, w, strict=True)))
        return np.array(values), gradients
