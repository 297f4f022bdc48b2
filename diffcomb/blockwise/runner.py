"""Tasks on an executor: what is finished is skipped, what fails is tried again, and what still fails is named."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .._threads import get_num_threads, serial
from .store import Store

POLL = 0.5  # seconds between two looks at what has begun, and at the connection to a scheduler
KEPT_BYTES = 2**29  # of freed memory that a worker keeps
AHEAD = 8  # tasks that wait for each one that runs, at most: those of arrays in memory hold parts of them

_log = logging.getLogger("diffcomb")


class Failure(NamedTuple):
    """A task that failed for good.

    Attributes
    ----------
    stage, block : str
        Which step of the run, and which block: its place along every axis.
    error : str
        What the last try said.
    tries : int
    """

    stage: str
    block: str
    error: str
    tries: int


class BlockwiseError(RuntimeError):
    """A block failed, or what runs the blocks did; what had finished is kept in the store."""


class Job(NamedTuple):
    """A task: a function of the store, and its arguments, which are made when it is sent."""

    block: str
    function: Callable[..., None]
    arguments: Callable[[], tuple[Any, ...]]


def work(function: Callable[..., None], store: Store, stage: str, block: str, arguments: tuple[Any, ...]) -> None:
    """Run a task where it was sent, in one thread: blocks run beside each other, not threads within them."""
    _keep_memory()
    store = store.begin(stage, block)
    with serial():
        function(store, stage, block, *arguments)


@functools.cache
def _keep_memory() -> None:
    """Undo what Dask sets in its workers: that malloc returns everything to the system at once.

    A solve asks for large arrays again and again. To get each of them zeroed, page by page, takes four times as long as
    the solve itself. Another value than Dask's own is somebody's choice, and stays.
    """
    if os.environ.get("MALLOC_TRIM_THRESHOLD_") == "65536":
        with contextlib.suppress(OSError, AttributeError):  # not glibc
            libc = ctypes.CDLL(None)
            libc.mallopt(-1, KEPT_BYTES)  # M_TRIM_THRESHOLD
            libc.mallopt(-3, KEPT_BYTES)  # M_MMAP_THRESHOLD


@dataclass
class Runner:
    """Runs the stages of a block-wise solve.

    Attributes
    ----------
    executor : concurrent.futures.Executor
    width : callable
        Tells how many tasks it runs at once, which may change.
    alive : callable
        Whether what it stands for can still be reached.
    store : Store
    retries : int
        Further tries of a task that fails.
    on_failure : {"raise", "cut"}
    timeout : float, optional
        Seconds after which a task that has begun counts as failed.
    failed : list of Failure
    computed : int
        Tasks that this run computed, rather than found in the store.
    hanging : list of Future
        Tries that ran for too long and have not ended: each of them holds a worker.
    """

    executor: Executor
    width: Callable[[], int]
    alive: Callable[[], bool]
    store: Store
    retries: int
    on_failure: str
    timeout: float | None
    progress: bool
    kept_for_later: bool = True
    failed: list[Failure] = field(default_factory=list)
    computed: int = 0
    hanging: list[Future[None]] = field(default_factory=list)

    def run(
        self, stage: str, jobs: Iterable[Job], count: int, *, may_fail: bool = True, all_may_fail: bool = False
    ) -> set[str]:
        """Finish all tasks of a stage; returns the blocks that failed, if that is allowed."""
        failed: set[str] = set()
        blocks: list[str] = []
        self.store.enter(stage)

        def unfinished() -> Iterator[Job]:
            for job in jobs:
                blocks.append(job.block)
                if not self.store.has(stage, job.block):
                    yield job

        with self._bar(stage, count) as advance:
            for block, error, tries in self._finished(stage, unfinished(), advance):
                failure = Failure(stage, block, f"{type(error).__name__}: {error}", tries)
                if self.on_failure == "raise" or not may_fail:
                    advice = ", or leave it unsolved (on_failure='cut', --on-failure cut)" if may_fail else ""
                    raise BlockwiseError(
                        f"block {block} ({stage}) failed after {tries} tries: {failure.error}; {self._kept}: remove "
                        f"the cause and rerun{advice}"
                    ) from error
                _log.warning("block %s (%s) failed after %d tries: %s", block, stage, tries, failure.error)
                self.failed.append(failure)
                failed.add(block)
        if len(failed) == count > 0 and not all_may_fail:
            raise BlockwiseError(f"all {count} blocks failed ({stage}), the last with {self.failed[-1].error}")
        self.store.leave(stage, blocks)
        return failed

    def _finished(
        self, stage: str, jobs: Iterator[Job], advance: Callable[[], None]
    ) -> Iterator[tuple[str, BaseException, int]]:
        """Send tasks as others end; yields those that failed for good."""
        tries: dict[str, int] = {}
        again: deque[Job] = deque()
        running: dict[Future[None], Job] = {}
        watch = _Watch(self.store, stage, self.timeout)
        try:
            while True:
                room = AHEAD * self.width()
                while len(running) < room:
                    job = again.popleft() if again else next(jobs, None)
                    if job is None:
                        break
                    tries[job.block] = tries.get(job.block, 0) + 1
                    running[self._submit(stage, job)] = job
                if not running:
                    return
                done, _ = wait(running, timeout=POLL, return_when=FIRST_COMPLETED)
                if not done and not self.alive():
                    raise BlockwiseError(
                        f"the scheduler cannot be reached any more ({stage}); {self._kept}: rerun with a new client to "
                        "resume"
                    )
                late = watch.late(running)
                self.hanging += (future for future, _ in late)
                self.hanging = [f for f in self.hanging if f.cancelled() or not f.done()]  # Dask's end when cancelled
                if late and len(self.hanging) >= self.width():
                    blocks = ", ".join(running[future].block for future, _ in late)
                    raise BlockwiseError(
                        f"all workers hang ({stage}), the last on block {blocks} for more than {self.timeout:g} "
                        f"seconds; {self._kept}: rerun with new workers to resume"
                    )
                for future, error in (*self._ended(stage, done), *late):
                    job = running.pop(future)
                    if error is None:
                        self.computed += 1
                        advance()
                    elif tries[job.block] <= self.retries:
                        _log.info("block %s (%s), try %d: %r", job.block, stage, tries[job.block], error)
                        again.append(job)
                    else:
                        advance()
                        yield job.block, error, tries[job.block]
        finally:
            for future in running:
                future.cancel()

    def _submit(self, stage: str, job: Job) -> Future[None]:
        self.store.forget(stage, job.block)
        try:
            return self.executor.submit(work, job.function, self.store, stage, job.block, job.arguments())
        except (BrokenExecutor, RuntimeError) as error:
            raise self._broken(stage, error) from error

    def _ended(self, stage: str, done: Iterable[Future[None]]) -> Iterator[tuple[Future[None], BaseException | None]]:
        for future in done:
            try:
                error = future.exception()
            except CancelledError as cancelled:
                error = cancelled
            if isinstance(error, BrokenExecutor) or (error is not None and not self.alive()):
                raise self._broken(stage, error) from error
            yield future, error

    def _broken(self, stage: str, error: BaseException) -> BlockwiseError:
        return BlockwiseError(
            f"the executor broke ({stage}): {type(error).__name__}: {error}; a worker may have run out of memory or "
            f"been killed. {self._kept.capitalize()}: rerun with a new executor to resume"
        )

    @property
    def _kept(self) -> str:
        if not self.kept_for_later:
            return "without store=, what had finished is lost"
        return f"what had finished is kept in {self.store.folder}"

    @contextmanager
    def _bar(self, stage: str, count: int) -> Iterator[Callable[[], None]]:
        """A progress bar, on a terminal and where tqdm is installed."""
        try:
            from tqdm import tqdm
        except ImportError:
            yield lambda: None
            return
        with tqdm(total=count, desc=stage, unit="block", disable=None if self.progress else True) as bar:
            yield lambda: bar.update() and None


class _Watch:
    """Finds tasks that have run for too long, by the marks that they leave in the store when they begin."""

    def __init__(self, store: Store, stage: str, timeout: float | None) -> None:
        self.store, self.stage, self.timeout = store, stage, timeout
        self.since: dict[Future[None], float] = {}

    def late(self, running: dict[Future[None], Job]) -> list[tuple[Future[None], TimeoutError]]:
        if self.timeout is None:
            return []
        now, found = time.monotonic(), []
        for future, job in running.items():
            if future not in self.since and self.store.has_begun(self.stage, job.block):
                self.since[future] = now
            if now - self.since.get(future, now) > self.timeout and not future.done():
                future.cancel()
                found.append((future, TimeoutError(f"it ran for more than {self.timeout:g} seconds")))
        return found


@contextmanager
def executor_of(client: Any, timeout: float | None) -> Iterator[tuple[Executor, Callable[[], int], Callable[[], bool]]]:
    """An executor, a function that tells how many tasks it runs at once, and one that tells whether it can be reached.

    `client` is None for threads of this process, a ``dask.distributed.Client``, or any PEP 3148 executor.
    """
    if client is None:
        pool = ThreadPoolExecutor(get_num_threads(), thread_name_prefix="diffcomb-block")
        try:
            yield pool, get_num_threads, lambda: True
        finally:
            pool.shutdown(wait=timeout is None, cancel_futures=True)  # a thread that hangs would never end
    elif hasattr(client, "get_executor"):

        def threads() -> int:  # workers may join a cluster at any time
            if alive():
                with contextlib.suppress(OSError):  # the scheduler died, which the client does not know yet
                    return max(int(sum(client.nthreads().values())), 1)
            return 1

        def alive() -> bool:
            return bool(client.status == "running")

        yield client.get_executor(pure=False), threads, alive
    elif hasattr(client, "submit"):
        yield client, lambda: int(getattr(client, "_max_workers", 4)), lambda: True
    else:
        raise TypeError(f"client must be None, a dask.distributed.Client or a PEP 3148 executor, got {client!r:.80}")
