"""Targets that are known in part: what `StructuredSVM` and `FenchelYoung` do with entries that have no label.

A mask says which entries K of the target w* are labelled. There are two ways to take the others:

- "ignored": their costs are 0 wherever the loss solves and compares. The loss is that of the labelled costs alone, for
  the feasible set projected on K: it stays convex, needs no further solve, and depends on no unlabelled cost.
- "completed": the target is the best completion of its labelled part, the cheapest solution w with w_K = w*_K. It is
  found by the same solver, with a constant on the labelled costs that outweighs all costs together. Unlabelled costs
  learn from it what the labels imply. The loss is a difference of convex functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from ..gradients.differences import Arrays
from ..gradients.oracle import Instance, Job, Oracle, keep

UNLABELLED = ("ignored", "completed")


def check_unlabelled(unlabelled: str) -> None:
    """Raise a ValueError unless `unlabelled` is known."""
    if unlabelled not in UNLABELLED:
        raise ValueError(f"unlabelled must be one of {', '.join(map(repr, UNLABELLED))}, got {unlabelled!r}")


def check_zeros_and_ones(loss: object, oracle: Oracle) -> None:
    """Raise a ValueError unless targets hold zeros and ones where they are labelled."""
    for number, parts in enumerate(zip(*(labelled(i, i.solutions) for i in oracle.instances), strict=True)):
        if not all(np.isin(part, (0, 1)).all() for part in parts):
            name = type(loss).__name__
            raise ValueError(f"{name} needs targets of zeros and ones, got other values in target {number}")


def labelled(instance: Instance, arrays: Arrays) -> Arrays:
    """Arrays of the lifted space with zeros at unlabelled entries."""
    return keep(arrays, instance.labelled_lifted)


def without_unlabelled(oracle: Oracle) -> Oracle:
    """The oracle of the labelled costs alone: other costs, and the target there, are 0; itself if all is labelled."""
    if all(i.labelled is None for i in oracle.instances):
        return oracle
    return Oracle(
        oracle.solver,
        [
            i
            if i.labelled is None
            else replace(i, own_costs=keep(i.own_costs, i.labelled), solutions=labelled(i, i.solutions))
            for i in oracle.instances
        ],
    )


def completions(oracle: Oracle, points: Iterable[tuple[int, Callable[[], Arrays]]]) -> Iterator[Arrays]:
    """For each instance and costs: the solution that is best at these costs among those that agree with the labels.

    A heuristic may not agree with all of them: labelled entries are those of the target in any case.
    """
    chosen = list(points)
    jobs = [Job(b, partial(_bound, oracle.instances[b], costs)) for b, costs in chosen]
    for (b, _), found in zip(chosen, oracle.solve_many(jobs), strict=True):
        instance = oracle.instances[b]
        known = labelled(instance, instance.solutions)
        yield tuple(k + (w - u) for k, w, u in zip(known, found, labelled(instance, found), strict=True))


def _bound(instance: Instance, costs: Callable[[], Arrays]) -> Arrays:
    """Costs under which a solution that disagrees with a label costs more than any that agrees."""
    there = costs()
    enough = 1 + 2 * sum(float(np.abs(c).sum(dtype=np.float64)) for c in there)
    pushes = labelled(instance, tuple(enough * (1 - 2 * w) for w in instance.solutions))
    return tuple((c + p).astype(c.dtype, copy=False) for c, p in zip(there, pushes, strict=True))
