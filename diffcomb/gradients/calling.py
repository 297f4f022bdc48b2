"""How a solver is called: what it is called with, what it must return, how it is pickled."""

from __future__ import annotations

import importlib
import inspect
import pickle
import sys
import threading
import typing
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from .._arrays import Array, is_tensor, to_numpy
from .._implicit import OneHot
from ..linear_solver import LinearSolver, PlainSolver

Outputs = tuple[tuple[Array, ...], tuple[Any, ...]]


class SolverCall:
    """A solver's function with the kind of arrays that it takes; it goes to other processes as it is.

    A decorated function cannot be pickled by its name, which is that of the wrapper: it is found there again.
    """

    def __init__(self, function: Callable[..., Any], arrays: str, maximize: bool) -> None:
        self.function = function
        self.arrays = arrays
        self.maximize = maximize

    def __call__(self, costs: tuple[Array, ...], data: dict[str, Any]) -> Any:
        """What the function returns for the costs, which it may change in place."""
        if self.maximize:
            costs = tuple(-c for c in costs)
        arrays = map(torch.from_numpy, costs) if self.arrays == "torch" else costs
        with torch.enable_grad():  # which is off where torch runs this: solvers may use autograd
            return self.function(*arrays, **data)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        module, name = getattr(self.function, "__module__", None) or "", getattr(self.function, "__qualname__", "")
        function, owner = getattr(self.function, "__func__", self.function), getattr(self.function, "__self__", None)
        if _wrapped(_found(module, name)) is function:  # the wrapper that decorates this function or method
            state["function"] = _Decorated(module, name, owner)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        function = state["function"]
        if isinstance(function, _Decorated):
            importlib.import_module(function.module)
            found = _wrapped(_found(function.module, function.name))
            if found is None:
                raise pickle.UnpicklingError(f"{function.module}.{function.name} is no longer a decorated solver")
            state = {**state, "function": found if function.owner is None else found.__get__(function.owner)}
        self.__dict__.update(state)


class _Decorated:
    """The name under which a wrapper stands in place of the function that it wraps; of a method, also its object."""

    def __init__(self, module: str, name: str, owner: Any = None) -> None:
        self.module = module
        self.name = name
        self.owner = owner


def _found(module: str, name: str) -> Any:
    """What the module has under that name, or None."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _wrapped(wrapper: Any) -> Any:
    """The function that a wrapper of `perturbed_grad` or `solver_loss` calls, or None."""
    solver = getattr(getattr(wrapper, "options", None), "solver", None)
    return solver.call.function if isinstance(solver, WrappedSolver) else None


class WrappedSolver:
    """A solver with its conventions: which arrays it takes, where it runs, and whether it takes a batch axis itself.

    Parameters
    ----------
    adapter : LinearSolver
    name : str
        For messages.
    arrays : {None, "numpy", "torch"}
    parallel : None, "threads", "processes" or executor
    vectorized, maximize : bool
        As in :func:`perturbed_grad`.
    has_batch_axis : bool
        Whether it is known which axis of the costs would be a batch axis.
    """

    def __init__(
        self,
        adapter: LinearSolver,
        name: str,
        arrays: str | None = "numpy",
        parallel: Any = None,
        vectorized: bool = False,
        maximize: bool = False,
        has_batch_axis: bool = True,
    ) -> None:
        kind = arrays or ("numpy" if adapter.trusted else _preferred(adapter.solve))
        self.adapter = adapter
        self.call = SolverCall(adapter.solve, kind, maximize)
        self.name = name
        self.vectorized = vectorized
        self.parallel = parallel
        self.has_batch_axis = has_batch_axis
        self.warns = arrays is None and not adapter.trusted
        self.lock = threading.RLock()

    @property
    def function(self) -> Callable[..., Any]:
        """What is called: the user's function, or the method of an adapter."""
        return self.call.function

    @property
    def maximize(self) -> bool:
        """Whether the function maximises; costs are negated on their way to it."""
        return self.call.maximize

    def bound_to(self, instance: Any) -> WrappedSolver:
        """The solver as a method of an instance."""
        method = self.function.__get__(instance)
        new = object.__new__(WrappedSolver)
        new.__dict__.update(self.__dict__)  # with the lock and the executor, which a pickle has not
        kind = _preferred(method) if self.warns else self.call.arrays  # the first parameter of the function is `self`
        new.call = SolverCall(method, kind, self.maximize)
        new.adapter = PlainSolver(method)
        return new

    def __getstate__(self) -> dict[str, Any]:
        state = {key: value for key, value in self.__dict__.items() if key != "lock"}
        if hasattr(self.parallel, "submit"):  # an executor stays where it is
            state["parallel"] = None
        if isinstance(self.adapter, PlainSolver):  # it is in the call, which knows how to pickle it
            state["adapter"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.adapter is None:
            self.adapter = PlainSolver(self.call.function)
        self.lock = threading.RLock()

    def __call__(self, costs: tuple[Array, ...], data: dict[str, Any], alone: bool = False) -> Outputs:
        """Call the function; returns (solutions of the costs' shapes and dtypes, auxiliary outputs).

        With `alone`, no other thread calls it meanwhile.

        Raises
        ------
        TypeError
            If the function returns what are no arrays.
        ValueError
            If it returns fewer outputs than there are costs, or one of another shape, or not finite.
        """
        shapes = [c.shape for c in costs]
        with self.lock if alone else nullcontext():  # until its solutions, which it may overwrite, are copied
            try:
                returned = self.call(costs, data)
            except Exception as error:
                self.explain(error, shapes)
                raise
            return self.checked(returned, costs)

    def explain(self, error: BaseException, shapes: list[tuple[int, ...]]) -> None:
        """Add to an error of the function how it was called."""
        if not self.adapter.trusted:
            kind = "numpy arrays" if self.call.arrays == "numpy" else "torch tensors"
            error.add_note(
                f"perturbed_grad called {self.name} with {kind} of shape {', '.join(map(str, shapes))}; "
                f"arrays='numpy' | 'torch', cost_ndims= and vectorized= change how it is called"
            )

    def checked(self, returned: Any, costs: tuple[Array, ...]) -> Outputs:
        """What the function returned, as solutions and auxiliary outputs; see `__call__`."""
        outputs = returned if isinstance(returned, tuple) else (returned,)
        if isinstance(returned, list):
            if not all(isinstance(part, np.ndarray) or is_tensor(part) for part in returned):
                raise TypeError(
                    f"{self.name} must return an array for each of its costs, got a list; return np.array(...), or a "
                    f"tuple of arrays where there are several costs"
                )
            outputs = tuple(returned)
        for number, output in enumerate(outputs[: len(costs)]):
            if output is None or isinstance(output, (dict, str, set)):
                missing = "; is its return statement missing?" if output is None else ""
                where = f" as solution {number}" if isinstance(returned, tuple) else ""
                raise TypeError(
                    f"{self.name} must return an array for each of its costs, got {_kind(output)}{where}{missing}"
                )
        if len(outputs) < len(costs):
            raise ValueError(
                f"{self.name} must return one solution for each of its {len(costs)} costs, got {len(outputs)} output(s)"
            )
        if self.warns and self.call.arrays == "numpy" and any(is_tensor(o) for o in outputs[: len(costs)]):
            self.warns = False
            warnings.warn(
                f"{self.name} was given numpy arrays and returned torch tensors; if it is written in torch, wrap it "
                f"with arrays='torch', or annotate its costs as torch.Tensor; arrays='numpy' says that this is meant",
                stacklevel=2,
            )
        solutions = tuple(
            self._solution(output, cost, number)
            for number, (output, cost) in enumerate(zip(outputs, costs, strict=False))
        )
        return solutions, tuple(to_numpy(a) if is_tensor(a) else a for a in outputs[len(costs) :])

    def _solution(self, output: Any, cost: Array, number: int) -> Any:
        if self.adapter.trusted and isinstance(output, OneHot):  # it stays labels until somebody needs a matrix
            return output
        solution = to_numpy(output)
        if solution.dtype.kind not in "fiub":
            raise TypeError(f"{self.name} must return numeric solutions, got dtype {solution.dtype} in output {number}")
        if solution.shape != cost.shape:
            raise ValueError(
                f"{self.name} must return solutions of the shapes of its costs: "
                f"expected {cost.shape} for output {number}, got {solution.shape}"
            )
        solution = solution.astype(cost.dtype, order="C", copy=not self.adapter.trusted)
        if not self.adapter.trusted and not np.isfinite(solution).all():
            raise ValueError(f"{self.name} returned NaN or infinity in solution {number}")
        return solution


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _preferred(function: Callable[..., Any]) -> str:
    """The kind of arrays that a function takes if nobody says so."""
    return "torch" if _takes_tensors(function) else "numpy"


def _takes_tensors(function: Callable[..., Any]) -> bool:
    """Whether the first parameter is annotated as a torch.Tensor."""
    function = function.forward if isinstance(function, torch.nn.Module) else function
    try:
        names = list(inspect.signature(function).parameters)
        annotations = typing.get_type_hints(function if inspect.isroutine(function) else type(function).__call__)
    except Exception:  # annotations may be anything, names of what is not imported among them
        return False
    hint = annotations.get(names[0]) if names else None
    return hint is torch.Tensor or torch.Tensor in typing.get_args(hint)
