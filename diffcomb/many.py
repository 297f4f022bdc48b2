"""Many problems at once: an iterable of instances, solved on threads, processes or a cluster, in order."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from typing import Any

from ._threads import get_num_threads, serial

AHEAD = 64  # instances that wait on an executor; more would only hold their costs in memory


def solve_many(
    verb: Callable[..., Any], instances: Iterable[Any], *, executor: Any = None, ahead: int = AHEAD, **options: Any
) -> Iterator[Any]:
    """Solve instances of any sizes beside each other, and yield their solutions in order.

    Instances of one graph are solved faster as a batch, by a leading axis of their costs.

    Parameters
    ----------
    verb : callable
        :func:`multicut`, :func:`amwc`, :func:`mwc`, :func:`lifted_multicut` or a function of yours, which processes can
        import.
    instances : iterable
        Of each the positional arguments as a tuple, or all arguments as a mapping. They are taken as they are needed,
        so that a generator may read them from files, into new arrays: some are solved later.
    executor : PEP 3148 executor, optional
        With a method ``submit``: a process pool, ``client.get_executor()`` of Dask, loky's of joblib. Each instance
        takes one thread of it. By default threads of this process, which release the GIL.
    ahead : int
        How many instances are taken before the solution of the first is.
    **options
        Arguments that all instances share.

    Yields
    ------
    Solution, or whatever `verb` returns

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. An error of an instance is raised at its turn, and says which instance it was; no more
        instances are taken then.

    Examples
    --------
    >>> import numpy as np
    >>> from diffcomb import multicut
    >>> problems = (([(0, 1), (1, 2)], np.array([c, -1.0])) for c in (1.0, -1.0))
    >>> [s.num_clusters for s in solve_many(multicut, problems, effort=0)]
    [2, 3]
    """
    if not callable(verb):
        raise TypeError(f"verb must be a function like diffcomb.multicut, got {verb!r:.80}")
    if executor is not None and not hasattr(executor, "submit"):
        raise TypeError(f"executor must have a method submit, or be None for threads, got {executor!r:.80}")
    if isinstance(ahead, bool) or not isinstance(ahead, Integral) or ahead < 1:
        raise ValueError(f"ahead must be a positive integer, got {ahead!r}")
    if not isinstance(instances, Iterable):
        raise TypeError(f"instances must be an iterable of tuples or mappings, got {instances!r:.80}")
    return _solutions(verb, iter(instances), executor, ahead, options)


def _solutions(
    verb: Callable[..., Any], instances: Iterator[Any], executor: Any, ahead: int, options: dict[str, Any]
) -> Iterator[Any]:
    own = executor or ThreadPoolExecutor(get_num_threads(), thread_name_prefix="diffcomb-many")
    waiting: deque[Any] = deque()
    failure: Exception | None = None
    try:
        for number in itertools.count():
            while len(waiting) < ahead and failure is None:
                try:
                    instance = next(instances)
                except StopIteration:
                    break
                except Exception as error:  # raised at its turn, after the solutions of those before
                    failure = error
                else:
                    waiting.append(own.submit(_solve, verb, instance, options))
            if not waiting:
                if failure is not None:
                    failure.add_note(f"while instance {number} was taken")
                    raise failure
                return
            try:
                found = waiting.popleft().result()
            except Exception as error:
                error.add_note(f"in instance {number}")
                raise
            yield found
    finally:
        for future in waiting:
            future.cancel()
        if executor is None:
            own.shutdown(cancel_futures=True)


def _solve(verb: Callable[..., Any], instance: Any, options: dict[str, Any]) -> Any:
    """Solve one, where it was sent, in one thread."""
    with serial():
        if isinstance(instance, Mapping):
            return verb(**instance, **options)
        if not isinstance(instance, tuple):
            raise TypeError(f"an instance must be a tuple or a mapping of arguments, got {type(instance).__name__}")
        return verb(*instance, **options)
