"""Where independent solves run: one after the other, in threads, in processes, or on an executor of the user's."""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from .._arrays import Array, is_tensor, to_numpy
from .._threads import get_num_threads, set_num_threads, thread_imap
from .calling import Outputs, SolverCall, WrappedSolver

AHEAD = 64  # solves that wait on an executor; more would only hold their costs in memory

_lock = threading.Lock()
_pool: ProcessPoolExecutor | None = None
_is_worker = False


@dataclass
class Task:
    """A solve: a function that makes its costs, where they are needed; its data; and whose it is, for messages."""

    costs: Callable[[], tuple[Array, ...]]
    shapes: list[tuple[int, ...]]
    data: dict[str, Any]
    instance: int
    count: int
    perturbed: bool


def check_parallel(parallel: Any, thread_safe: bool, vectorized: bool) -> Any:
    """Return None, "threads", "processes" or an executor; "auto" is threads for solvers that say so only.

    Raises
    ------
    ValueError
        If `parallel` is unknown, or the solver is vectorized.
    """
    if parallel == "auto":
        return "threads" if thread_safe else None
    if parallel is not None and parallel not in ("threads", "processes") and not hasattr(parallel, "submit"):
        raise ValueError(
            f"parallel must be 'auto', None, 'threads', 'processes' or an executor with a method submit, "
            f"got {parallel!r}"
        )
    if vectorized and parallel is not None:
        raise ValueError(f"a vectorized solver gets all instances in one call: parallel={parallel!r} has nothing to do")
    return parallel


def solve_all(solver: WrappedSolver, tasks: Sequence[Task]) -> Iterator[Outputs]:
    """Solve all, and yield what was found in order; an error is raised at its turn, and the rest is cancelled."""
    where = solver.parallel
    if where == "threads":
        return thread_imap(functools.partial(_solve_here, solver, False), tasks)
    if where == "processes" and (len(tasks) < 2 or get_num_threads() == 1 or _inside_worker()):
        where = None
    if where is None:
        return map(functools.partial(_solve_here, solver, True), tasks)
    return _on_executor(solver, tasks, _processes() if where == "processes" else where)


def run_all(solver: WrappedSolver, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Like ``map``, for work of this package's own solvers that cannot leave the process."""
    threads = solver.parallel is not None and solver.adapter.thread_safe
    return list(thread_imap(function, items) if threads else map(function, items))


def _solve_here(solver: WrappedSolver, alone: bool, task: Task) -> Outputs:
    try:
        return solver(task.costs(), task.data, alone)
    except StopIteration as error:  # whoever iterates over solutions would take it for the end of them
        stopped = RuntimeError(f"{solver.name} raised StopIteration: an iterator that it asked had nothing left")
        _explain(stopped, solver, task)
        raise stopped from error
    except Exception as error:
        _explain(error, solver, task)
        raise


def _explain(error: BaseException, solver: WrappedSolver, task: Task) -> None:
    at = "at perturbed costs, which the estimator or the loss made" if task.perturbed else "at the costs given"
    which = f"for instance {task.instance} of {task.count}, " if task.count > 1 else ""
    error.add_note(f"the solver was called {which}{at}")
    shapes = task.shapes
    if not solver.has_batch_axis and any(len(shape) > 1 for shape in shapes):
        error.add_note(
            f"without cost_ndims=, the whole of the costs, of shape {', '.join(map(str, shapes))}, is one instance; if "
            f"the first axis is a batch, give cost_ndims={len(shapes[0]) - 1}, the number of axes of one instance"
        )


def _on_executor(solver: WrappedSolver, tasks: Sequence[Task], executor: Any) -> Iterator[Outputs]:
    apart = isinstance(executor, ProcessPoolExecutor)
    call = _pickled(solver.call, solver.name) if apart else solver.call
    waiting: deque[tuple[Task, tuple[Array, ...], Future[Any]]] = deque()
    rest = iter(tasks)
    try:
        while True:
            while len(waiting) < AHEAD and (task := next(rest, None)) is not None:
                costs = task.costs()
                if apart:
                    job = _pickled((costs, task.data), f"the keyword data of {solver.name}")
                    future = executor.submit(_work, call, job)
                else:
                    future = executor.submit(call, tuple(c.copy() for c in costs), task.data)
                waiting.append((task, costs, future))
            if not waiting:
                return
            task, costs, future = waiting.popleft()
            try:
                returned = future.result()
            except Exception as error:
                if isinstance(error, BrokenProcessPool):
                    _drop_pool()
                    error.add_note(
                        "a worker process ended; scripts that use parallel='processes' need their top level guarded "
                        "by if __name__ == '__main__', as with multiprocessing"
                    )
                solver.explain(error, [c.shape for c in costs])
                _explain(error, solver, task)
                raise
            try:
                yield solver.checked(returned, costs)
            except (TypeError, ValueError) as error:
                _explain(error, solver, task)
                raise
    finally:
        for *_, future in waiting:
            future.cancel()


def _pickled(value: Any, name: str) -> bytes:
    try:
        return pickle.dumps(value)
    except Exception as error:
        raise TypeError(
            f"{name} cannot be sent to another process: {error}; define functions and classes at the top level of a "
            f"module, or use parallel='threads' or None"
        ) from error


def _work(call: bytes, job: bytes) -> Any:
    """One solve in a worker process; unpickled here, so that an error of that is an answer too."""
    try:
        returned = _restored(call)(*pickle.loads(job))
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        raise
    return tuple(map(_plain, returned)) if isinstance(returned, tuple) else _plain(returned)


@functools.lru_cache(maxsize=8)
def _restored(call: bytes) -> SolverCall:
    function: SolverCall = pickle.loads(call)
    return function


def _plain(value: Any) -> Any:
    return to_numpy(value) if is_tensor(value) else value


def _start_worker() -> None:
    global _is_worker
    _is_worker = True
    set_num_threads(1)


def _inside_worker() -> bool:
    """Whether this process can have no workers: it is one, or is about to be one and imports its main module."""
    process = multiprocessing.current_process()
    return _is_worker or process.daemon or getattr(process, "_inheriting", False)


def _processes() -> ProcessPoolExecutor:
    """The shared pool, made on first use; the interpreter ends its workers at exit."""
    global _pool
    with _lock:
        if _pool is None:
            methods = multiprocessing.get_all_start_methods()
            # Forked children of a process with threads may deadlock.
            context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
            _pool = ProcessPoolExecutor(get_num_threads(), mp_context=context, initializer=_start_worker)
        return _pool


def _drop_pool() -> None:
    global _pool
    _pool = None


def _forked() -> None:
    global _lock
    _lock = threading.Lock()
    _drop_pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
