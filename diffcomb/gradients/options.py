"""What `perturbed_grad` and `solver_loss` have in common: how a solver is called."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..linear_solver import Lift, adapter_of, as_lift
from .calling import WrappedSolver
from .parallel import check_parallel


@dataclass(frozen=True)
class Options:
    """How a solver was wrapped."""

    solver: WrappedSolver
    lift: Lift | None
    generator: torch.Generator | None
    cost_ndims: tuple[int, ...] | None
    per_instance: tuple[str, ...]
    normalize: bool = False
    radial: bool = True
    mask: Any = None
    known_costs: Any = None
    value: Any = None


def make_options(
    solver: Any,
    *,
    lift: Any = None,
    generator: torch.Generator | None = None,
    cost_ndims: int | Sequence[int] | None = None,
    vectorized: bool = False,
    per_instance: Sequence[str] = (),
    arrays: str | None = None,
    parallel: Any = "auto",
    maximize: bool = False,
    mask: Any = None,
    known_costs: Any = None,
    value: Any = None,
    normalize: bool = False,
    radial: bool = True,
) -> Options:
    """Check the options that `perturbed_grad` and `solver_loss` share."""
    if not callable(solver):
        raise TypeError(f"solver must be callable, got {solver!r}")
    if arrays not in (None, "numpy", "torch"):
        raise ValueError(f"arrays must be 'numpy', 'torch' or None, got {arrays!r}")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {generator!r}")
    adapter = adapter_of(solver)
    name = getattr(solver, "__name__", type(solver).__name__)
    axes = _axes(adapter.cost_ndims if cost_ndims is None else cost_ndims)
    lift = None if lift is None else as_lift(lift)
    if maximize and adapter.trusted:
        raise ValueError(f"maximize=True is for solvers that maximise; {name} minimises")
    if vectorized:
        _check_vectorized(axes, per_instance, lift)
    if known_costs is not None or value is not None:
        _check_known(known_costs, value, lift, normalize or not radial)
    names = (per_instance,) if isinstance(per_instance, str) else tuple(per_instance)
    arrays = "numpy" if adapter.trusted else arrays
    where = check_parallel(parallel, adapter.thread_safe, vectorized)
    wrapped = WrappedSolver(adapter, name, arrays, where, vectorized, bool(maximize), axes is not None)
    return Options(wrapped, lift, generator, axes, names, bool(normalize), bool(radial), mask, known_costs, value)


def _axes(cost_ndims: int | Sequence[int] | None) -> tuple[int, ...] | None:
    if cost_ndims is None:
        return None
    axes = tuple(operator.index(d) for d in (cost_ndims if isinstance(cost_ndims, Sequence) else [cost_ndims]))
    if min(axes, default=0) < 0:
        raise ValueError(f"cost_ndims must not be negative, got {axes}")
    return axes


def _check_known(known_costs: Any, value: Any, lift: Any, without_radial: bool) -> None:
    if known_costs is not None and value is not None:
        raise ValueError("give known_costs= or value=, not both: each says what the solver adds to <c, w>")
    if value is not None and not callable(value):
        raise TypeError(f"value must be a function value(costs, solution, **data), got {value!r}")
    if lift is not None:
        raise ValueError("known_costs= and value= cannot be given with a lift")
    if without_radial:
        raise ValueError(
            "normalize=True and radial=False assume that solutions do not depend on the scale of the costs; with "
            "known_costs= or value= they do"
        )


def _check_vectorized(axes: tuple[int, ...] | None, per_instance: Sequence[str], lift: Any) -> None:
    if len(per_instance):
        raise ValueError("per_instance data cannot be given to a vectorized solver: all instances go in one call")
    if axes is None:
        raise ValueError("a vectorized solver needs cost_ndims, the number of axes of the costs of one instance")
    if lift is not None:
        raise ValueError("a vectorized solver cannot be lifted: every instance has its own labels")
