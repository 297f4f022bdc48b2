"""Contrastive losses over a pool of solutions (Mulamba et al., IJCAI 2021, arXiv 2011.05354)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from .._arrays import Array
from .._sums import inner, products
from ..gradients.differences import Arrays
from ..gradients.oracle import Oracle
from .pool import SolutionPool, check_pool, check_share, flat, keys_of, known_values, stacked, unflat


@dataclass(frozen=True)
class Contrastive:
    """The mean ("nce") or the maximum ("map") over the pool of <c, w* - w>, for the target w*.

    Parameters
    ----------
    kind : {"nce", "map"}
    share : float
        Share of the instances that are solved anew for the pool; the others cost no solve.
    pool : SolutionPool
        A new one by default.
    key : str, optional
        Name of the keyword data (in ``per_instance``) whose value names an instance's pool, where feasible sets differ;
        needed where keyword data do. They reach the solver as well if it takes them.
    """

    kind: str = "nce"
    share: float = 1.0
    pool: SolutionPool = field(default_factory=SolutionPool)
    key: str | None = None
    needs_true_costs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.kind not in ("nce", "map"):
            raise ValueError(f"kind must be 'nce' or 'map', got {self.kind!r}")
        check_share(self.share)
        check_pool(self.pool)

    def evaluate(
        self, oracle: Oracle, true_costs: list[Arrays] | None, generator: torch.Generator | None
    ) -> tuple[Array, list[Arrays]]:
        """Return losses and gradients."""
        keys = keys_of(oracle, self.pool, self.key)
        self.pool.refresh(oracle, keys, self.share, generator)
        matrices = {key: stacked(self.pool.solutions(key)) for key in set(keys)}
        values, gradients = [], []
        for instance, key in zip(oracle.instances, keys, strict=True):
            others, costs, best = matrices[key], flat(instance.costs), flat(instance.solutions)
            known = known_values(instance, others)
            if self.kind == "nce":
                other, beyond = others.mean(0), float(known.mean())
            else:
                lowest = int((products(others, costs) + known).argmin())
                other, beyond = others[lowest], float(known[lowest])
            values.append(inner([costs], [best - other]) + instance.known_value(instance.solutions) - beyond)
            gradients.append(unflat(best - other, instance.costs))
        return np.array(values), gradients
