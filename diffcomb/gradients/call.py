"""One call of a wrapped solver: solved in the forward pass, and estimated from in the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import Array, all_finite
from .._implicit import RowTable, explicit
from .._sums import inner, norm
from .batch import Batch, Grads
from .interfaces import Arrays, Estimator, takes_labels
from .oracle import Instance, Oracle, keep


@dataclass
class Call:
    """A call that has been solved: what the forward pass leaves for the backward pass.

    Attributes
    ----------
    batch : Batch
    estimator : Estimator
    oracle : Oracle
        The instances and the solver; an empty batch has none.
    forward : list of (Instance, tuple of arrays)
        Every instance with the solutions that the call returns for it: the estimator's, if it smooths them. An empty
        batch has one, of zeros, that tells how many outputs there are and of which shapes.
    """

    batch: Batch
    estimator: Estimator
    oracle: Oracle
    forward: list[tuple[Instance, Arrays]]

    @property
    def instances(self) -> list[Instance]:
        """The instances."""
        return self.oracle.instances

    def outputs(self) -> tuple[Any, ...]:
        """What the call returns, once: solutions and, behind them, auxiliary outputs, joined over the batch."""
        instances, solutions = zip(*self.forward, strict=True) if self.forward else ((), ())
        self.forward = []  # the instances are kept, smoothed solutions need not be
        return self.batch.join(list(instances), list(solutions))

    def backward(self, grads: Grads) -> list[Array]:
        """Return the gradients of the costs, joined over the batch, from upstream gradients of the solutions."""
        return self.batch.join_gradients(self.estimates(self.batch.upstream(grads, self.instances)))

    def estimates(self, upstream: list[Arrays]) -> list[Arrays]:
        """Return the gradients of the costs of every instance, from those with respect to their solutions."""
        instances, options = self.instances, self.batch.options
        if not takes_labels(self.estimator):
            upstream = [explicit(g) for g in upstream]
            for instance in instances:
                instance.solutions = explicit(instance.solutions)
        upstream = [keep(g, i.allowed_lifted) for g, i in zip(upstream, instances, strict=True)]
        # A gradient scaler looks for infinity and NaN behind the solver, and skips the step where it finds them.
        spoilt = {b: kind for b, g in enumerate(upstream) if (kind := _not_finite(g))}
        for b in spoilt:
            upstream[b] = tuple(np.zeros(part.shape, part.dtype) for part in upstream[b])  # nothing is solved for it
        results = self.estimator.gradients(self.oracle, upstream, options.generator)
        results = [keep(r, i.allowed or (None,) * len(r)) for r, i in zip(results, instances, strict=True)]
        if options.normalize or not options.radial:
            results = [without_radial(i, r) for i, r in zip(instances, results, strict=True)]
        self._check(results)
        if options.solver.maximize:
            results = [tuple(0 - part for part in result) for result in results]
        return [
            tuple(np.full_like(part, spoilt[b]) for part in result) if b in spoilt else result
            for b, result in enumerate(results)
        ]

    def _check(self, results: list[Arrays]) -> None:
        for number in range(self.batch.num_costs):
            if not all(all_finite(result[number]) for result in results):
                raise ValueError(
                    f"the estimated gradient of costs[{number}] is not finite: the scales λ are too small or too "
                    f"large for {self.instances[0].own_costs[number].dtype}"
                )

    def repeated(self, count: int, unit: int | None = None) -> Call:
        """A call whose backward pass takes `count` upstream gradients for each instance of this one.

        Where the forward pass was mapped, its instances lie in groups of `unit`; each group is repeated.
        """
        unit = max(self.batch.size, 1) if unit is None else unit

        def repeat(items: Sequence[Any]) -> list[Any]:
            groups = [list(items[i : i + unit]) for i in range(0, len(items), unit)]
            return [item for group in groups for item in group * count]

        oracle = Oracle(self.oracle.solver, repeat(self.instances))
        if isinstance(self.oracle.memory, tuple):  # what a forward pass leaves has one item an instance
            oracle.memory = tuple(repeat(part) for part in self.oracle.memory)
        return Call(self.batch.folded(count), self.estimator, oracle, [])


def solve(batch: Batch, estimator: Estimator, arrays: list[Array], described: bool) -> Call:
    """Solve every instance of a batch, at checked costs; `described` solutions may stay labels."""
    instances = batch.solved(arrays)
    if not described:
        for instance in instances:
            instance.solutions = explicit(instance.solutions)
    batch.given.attach(instances, batch.batched)
    if batch.options.normalize:
        instances = [i.scaled(norm(i.ordinary) or 1.0) for i in instances]
    oracle = Oracle(batch.options.solver, instances)
    found = estimator.solutions(oracle, batch.options.generator)
    solutions = [i.solutions for i in instances] if found is None else found
    if batch.size == 0:
        oracle.instances = []
    return Call(batch, estimator, oracle, list(zip(instances, solutions, strict=True)))


def without_radial(instance: Instance, gradient: Arrays) -> Arrays:
    """Take the component along the costs out of a gradient, and divide by what normalisation divided the costs by."""
    costs = instance.ordinary
    length = norm(costs)
    if length == 0:
        return gradient
    units = [np.divide(c, length, dtype=np.float64) for c in costs]  # a norm may exceed the range of float32
    along = inner(units, gradient)
    return tuple(((g - along * unit) / instance.scale).astype(g.dtype) for unit, g in zip(units, gradient, strict=True))


def _not_finite(gradient: Arrays) -> float:
    """NaN or infinity if the gradient holds any, else 0."""
    parts = [part.used() if isinstance(part, RowTable) else part for part in gradient]
    if all(all_finite(part) for part in parts):
        return 0.0
    return np.nan if any(np.isnan(part).any() for part in parts) else np.inf
