"""What a gradient asks of a solver, and the table of the solvers that are known by more than their call.

``perturbed_grad`` takes any callable ``costs -> solutions``. A solver that can do more, such as to warm-start itself
or to be called from several threads, says so in a :class:`LinearSolver`, its adapter, which is registered for it.
Nothing here imports torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from ._arrays import Array
from ._implicit import explicit
from ._sums import norm

Arrays = tuple[Array, ...]
Differences = Callable[[Arrays, Array, Array], Arrays]
T = TypeVar("T")


class LinearSolver:
    """An adapter: a solver as ``W(c) = argmin <c, w>``, and what it can do beside that.

    Subclass it, write :meth:`solve`, and register it: ``perturbed_grad.register(my_solver, MyAdapter())``. Then
    ``perturbed_grad(my_solver)`` calls the adapter in its place. Every other method and attribute has a default.

    Attributes
    ----------
    cost_ndims : tuple of int, optional
        Number of axes of the costs of one instance, as in :func:`perturbed_grad`.
    thread_safe : bool
        Several threads may call it at once, and it releases the GIL: ``parallel="auto"`` then takes threads.
    trusted : bool
        It returns new and finite arrays of the costs' shapes, and its errors need no explanation: its results are not
        copied and not checked.
    """

    cost_ndims: ClassVar[tuple[int, ...] | None] = None
    thread_safe: ClassVar[bool] = False
    trusted: ClassVar[bool] = False

    def solve(self, *costs: Any, **data: Any) -> Any:
        """Return a solution of the shape of each cost, and behind them any auxiliary outputs."""
        raise NotImplementedError(f"{type(self).__name__} must define solve(*costs, **data)")

    def __call__(self, *costs: Any, **data: Any) -> Any:
        """Solve: an adapter is a solver itself."""
        return self.solve(*costs, **data)

    def takes(self, name: str) -> bool:
        """Whether the solver has keyword data of that name; `mask` and `ptr` of a call are for it then."""
        return takes_keyword(self.solve, name)

    def prepare(self, costs: Arrays, data: dict[str, Any]) -> dict[str, Any]:
        """Convert the keyword data of an instance once, for all solves of it; not asked of a vectorized solver."""
        return data

    def added(self, data: dict[str, Any]) -> list[str]:
        """Names of the keyword data that add a part to <c, w>, so that solutions depend on the scale of the costs."""
        return []

    def perturbed_data(self, data: dict[str, Any]) -> dict[str, Any]:
        """Keyword data of a solve at perturbed costs."""
        return data

    def warm_differences(
        self, costs: Arrays, outputs: tuple[Any, ...], lift: Any, data: dict[str, Any]
    ) -> Differences | None:
        """The solver's own way to weighted differences of warm-started solves, or None.

        Parameters
        ----------
        costs, outputs : tuples
            Of the forward solve of one instance.
        lift : BoundLift or similar, optional
        data : dict
            Keyword data, as :meth:`prepare` left them.

        Returns
        -------
        callable, optional
            ``f(grads, scales, weights)``: the sum over scales λ of weight * [W(c + λ g) - W(c)], each solve started
            from the forward solution, for gradients g in the space of the lift, pulled back through it.
        """
        return None


class Lift:
    """Makes, for one forward solution, what carries costs and solutions to a finer space.

    Attributes
    ----------
    takes_labels : bool
        ``bind`` and what it returns take one-hot solutions that are only described (``OneHot``).
    """

    takes_labels: ClassVar[bool] = False

    def bind(self, outputs: tuple[Any, ...], data: dict[str, Any]) -> BoundLift:
        """Return the lift of one instance with these outputs of its solver."""
        raise NotImplementedError(f"{type(self).__name__} must define bind(outputs, data)")


class BoundLift:
    """A lift for one forward solution: a linear map M of costs, and its adjoint."""

    def costs(self, costs: Arrays) -> Arrays:
        """M: costs to lifted costs."""
        raise NotImplementedError(f"{type(self).__name__} must define costs(costs)")

    def described_costs(self, costs: Arrays) -> tuple[Any, ...]:
        """M: costs to lifted costs, which may be only described (``Columns``)."""
        return self.costs(costs)

    def pull_back(self, gradients: Arrays) -> Arrays:
        """The adjoint of M: gradients with respect to lifted costs to gradients with respect to costs."""
        raise NotImplementedError(f"{type(self).__name__} must define pull_back(gradients)")

    def pull_back_described(self, gradients: tuple[Any, ...]) -> Arrays:
        """The adjoint of M, for gradients that may be only described (``LabelDifferences``)."""
        return self.pull_back(explicit(gradients))

    def outputs(self, outputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The forward solution in the lifted space, and behind it auxiliary outputs."""
        raise NotImplementedError(f"{type(self).__name__} must define outputs(outputs)")

    def data(self, data: dict[str, Any]) -> dict[str, Any]:
        """Keyword data of the lifted problem."""
        return data

    def cost_norm(self, costs: Arrays) -> float:
        """The Euclidean norm of the lifted costs."""
        return norm(self.costs(costs))


class _OtherLift(Lift):
    """A lift without the base class."""

    def __init__(self, other: Any) -> None:
        self.other = other

    def bind(self, outputs: tuple[Any, ...], data: dict[str, Any]) -> BoundLift:
        bound = self.other.bind(outputs, data)
        return bound if isinstance(bound, BoundLift) else _OtherBound(bound)


class _OtherBound(BoundLift):
    """What such a lift binds."""

    def __init__(self, other: Any) -> None:
        self.costs, self.pull_back, self.outputs = other.costs, other.pull_back, other.outputs  # type: ignore[method-assign]
        self.data = getattr(other, "data", super().data)  # type: ignore[method-assign]
        self.cost_norm = getattr(other, "cost_norm", super().cost_norm)  # type: ignore[method-assign]
        self.other = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["other"], name)


def as_lift(value: Any) -> Lift:
    """Return a lift as it is, or adapted if it lacks the base class.

    Raises
    ------
    TypeError
        If `value` has no method ``bind``.
    """
    if isinstance(value, Lift):
        return value
    if not hasattr(value, "bind"):
        raise TypeError(f"lift must be a lift such as LiftedMWC(), got {value!r}")
    return _OtherLift(value)


class PlainSolver(LinearSolver):
    """A callable that nobody registered."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.solve = function  # type: ignore[method-assign]


def takes_keyword(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has a keyword of that name, or takes any."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # compiled functions need not have a signature
        return True
    return any(p.kind == p.VAR_KEYWORD or (p.name == name and p.kind != p.POSITIONAL_ONLY) for p in parameters)


_adapters: dict[Callable[..., Any], LinearSolver] = {}


def register(solver: Callable[..., Any], adapter: Any = None) -> Any:
    """Teach ``perturbed_grad`` a solver, as ``functools.singledispatch`` is taught a type.

    Parameters
    ----------
    solver : callable
        What users pass to ``perturbed_grad``; it must be hashable.
    adapter : LinearSolver, optional
        Without it, a decorator for a class of adapters is returned, which must take no arguments.

    Returns
    -------
    LinearSolver or decorator
        The adapter as given.

    Raises
    ------
    TypeError
        If `solver` is not callable or not hashable, or `adapter` is no :class:`LinearSolver`.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from diffcomb import LinearSolver, perturbed_grad
    >>> def cheapest(costs):  # returns an index, which is no solution in the shape of its costs
    ...     return int(np.argmin(costs))
    >>> @perturbed_grad.register(cheapest)
    ... class Cheapest(LinearSolver):
    ...     cost_ndims = (1,)
    ...     def solve(self, costs):
    ...         return np.eye(len(costs))[cheapest(costs)]
    >>> perturbed_grad(cheapest)(torch.tensor([[3.0, 1.0, 2.0]])).tolist()
    [[0.0, 1.0, 0.0]]
    """
    if adapter is None:

        def decorate(adapters: type[T]) -> type[T]:
            if not (isinstance(adapters, type) and issubclass(adapters, LinearSolver)):
                raise TypeError(f"register(solver) decorates a subclass of LinearSolver, got {adapters!r}")
            register(solver, adapters())
            return adapters

        return decorate
    if not isinstance(adapter, LinearSolver):
        raise TypeError(f"adapter must be a LinearSolver, an object of a subclass of it, got {adapter!r}")
    if not callable(solver) or not _is_hashable(solver):
        raise TypeError(f"solver must be callable and hashable to be registered, got {solver!r}")
    _adapters[solver] = adapter
    return adapter


def adapter_of(solver: Callable[..., Any]) -> LinearSolver:
    """The adapter registered for a solver or what it wraps, the solver itself if it is one, or a plain one."""
    if isinstance(solver, LinearSolver):
        return solver
    inner = solver
    while True:
        found = _adapters.get(inner) if _is_hashable(inner) else None
        if found is not None:
            return found
        if not hasattr(inner, "__wrapped__"):
            return PlainSolver(solver)
        inner = inner.__wrapped__  # by functools.wraps, such as torch.no_grad()


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
