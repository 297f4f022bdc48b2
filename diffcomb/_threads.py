"""One shared pool of threads for all independent solves.

The kernels release the GIL, so threads give the speed-up of processes without pickling a cost. The pool
is made on first use, is made anew after a fork (a forked child has none of its parent's threads), and a
task that itself asks for parallel work runs that work serially: nested pools would deadlock.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from numbers import Integral
from typing import Any, TypeVar

import numba

T = TypeVar("T")
R = TypeVar("R")

_lock = threading.Lock()
_inside = threading.local()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0
_num_threads: int | None = None
_DONE: Future[Any] = Future()


def get_num_threads() -> int:
    """Return how many threads solve a batch.

    The value of :func:`set_num_threads`, else ``DIFFCOMB_NUM_THREADS``, else the CPUs of this process, divided by the
    processes that torchrun started beside it (``LOCAL_WORLD_SIZE``), but no more threads than torch (if it is imported)
    and numba are set to use: a worker process of a torch ``DataLoader`` gets 1.
    """
    if _num_threads is not None:
        return _num_threads
    text = os.environ.get("DIFFCOMB_NUM_THREADS", "")
    if text:
        if not text.isdigit() or int(text) < 1:
            raise ValueError(f"DIFFCOMB_NUM_THREADS must be a positive integer, got {text!r}")
        return int(text)
    try:
        number = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        number = os.cpu_count() or 1
    beside = os.environ.get("LOCAL_WORLD_SIZE", "")
    if beside.isdigit() and int(beside) > 1:
        number //= int(beside)
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):  # it lacks it while it is being imported
        number = min(number, torch.get_num_threads())
    return max(1, min(number, int(getattr(numba.config, "NUMBA_NUM_THREADS", number))))


def set_num_threads(number: int | None) -> None:
    """Set how many threads solve a batch; ``None`` restores the default.

    Raises
    ------
    ValueError
        If `number` is not a positive integer.
    """
    global _num_threads  # the pool stays: it is of use when the number is the old one again
    if number is not None and (isinstance(number, bool) or not isinstance(number, Integral) or number < 1):
        raise ValueError(f"number of threads must be a positive integer or None, got {number!r}")
    _num_threads = None if number is None else int(number)


def _forked() -> None:
    global _lock, _pool
    _lock, _pool = threading.Lock(), None  # the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _get_pool() -> ThreadPoolExecutor:
    global _pool, _pool_size
    with _lock:
        size = max(1, get_num_threads() - 1)  # torch's setting may have changed since
        if _pool is None or _pool_size != size:
            _pool, _pool_size = ThreadPoolExecutor(size, thread_name_prefix="diffcomb"), size
        return _pool


def thread_imap(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield ``function(item)`` for every item, in order, computed by the shared threads; all start at once.

    An exception of any call is raised, at its turn at the latest, and what has not started by then is cancelled.
    """
    items = list(items)
    if len(items) < 2 or get_num_threads() == 1 or getattr(_inside, "task", False):
        yield from map(function, items)
        return

    def task(item: T) -> R:
        _inside.task = True
        try:
            return function(item)
        finally:
            _inside.task = False

    futures = _submitted(task, items)
    if not futures:
        yield from map(function, items)
        return
    done: dict[int, R] = {}
    last = len(items) - 1
    try:
        for number, future in enumerate(futures):
            # The caller works too, from the end, so that it never waits for a task that has not started:
            # a solver with threads of its own may call back from a thread that the pool does not know.
            while last >= number and not future.done():
                if futures[last].cancel():
                    done[last] = function(items[last])
                last -= 1
            yield done.pop(number) if number in done else future.result()
            futures[number] = _DONE  # so that a result's memory is freed once it is used
    finally:
        for future in futures:
            future.cancel()


@contextmanager
def serial() -> Iterator[None]:
    """Whatever this thread solves, it solves alone: for tasks that run beside others."""
    before = getattr(_inside, "task", False)
    _inside.task = True
    try:
        yield
    finally:
        _inside.task = before


def _submitted(task: Callable[[T], R], items: list[T]) -> list[Future[R]]:
    """All items as tasks of the pool; none where threads cannot start any more, because the interpreter shuts down."""
    pool = _get_pool()
    futures: list[Future[R]] = []
    try:
        futures += (pool.submit(task, item) for item in items)
    except RuntimeError:  # in a thread that outlives the main one, or in a function of atexit
        for future in futures:
            future.cancel()
        return []
    return futures


def thread_map(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return the list of what :func:`thread_imap` yields."""
    return list(thread_imap(function, items))


def thread_ranges(function: Callable[[int, int], Any], count: int, least: int) -> None:
    """Call ``function(first, last)`` on even parts of range(count), one a thread, but none of fewer than `least`.

    A task that already has its thread makes one call: parts that wait for each other would only cost.
    """
    if count < 2 * least or getattr(_inside, "task", False):
        function(0, count)
        return
    parts = min(get_num_threads(), count // least)
    bounds = [count * part // parts for part in range(parts + 1)]
    thread_map(lambda part: function(bounds[part], bounds[part + 1]), range(parts))
