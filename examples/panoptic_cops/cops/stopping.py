"""Ctrl-C, SIGTERM and SIGHUP stop the program after the file that is being written is complete."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """The process was told to stop; `number` is the signal, and 128 more the exit status that a shell expects."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return "stopped by Ctrl-C" if self.number == signal.SIGINT else f"stopped by {signal.Signals(self.number).name}"


class StopSignals:
    """Inside ``with``, a signal to stop raises `Stopped`, but not inside `uninterrupted`, which ends first.

    Signals that the parent process had set to be ignored (``nohup``) stay so. Outside the main thread, where Python
    allows no handlers, nothing changes.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._busy = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        # What a signal raises inside compiled code comes out as another exception, such as SystemError.
        if self._received is not None and not isinstance(error, Stopped):
            raise Stopped(self._received) from error

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        if not self._busy:
            raise Stopped(number)

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Postpone the stop to the end of the block."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
        self.check()

    def check(self) -> None:
        """Raise `Stopped` if a signal came, even if other code swallowed the exception it raised."""
        if self._received is not None:
            raise Stopped(self._received)


def run_command(main: Callable[[], object], program: str, advice: str = "rerun the same command to resume") -> None:
    """Run a program; Ctrl-C, or SIGTERM of a batch system, ends it with a message and 128 + number."""
    try:
        with StopSignals():
            main()
    except Stopped as stop:
        print(f"\n{program}: {stop}: {advice}", file=sys.stderr)
        sys.exit(128 + stop.number)
