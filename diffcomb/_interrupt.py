"""Ctrl-C during a solve: a search with a time limit ends and keeps its best; any other solve ends with an error.

Python would raise KeyboardInterrupt at whatever point it notices the signal: inside a search, whose labelling is then
lost, or inside the glue between Python and a kernel, which turns it into a SystemError. While a solve runs the signal
only leaves a note instead, and the solvers look at it between two kernels.
"""

from __future__ import annotations

import signal
import threading
import warnings
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """Listens to Ctrl-C during one call of a verb, as a context manager; all instances of a batch share it.

    It listens only in the main thread, where Python delivers signals, and only where Python's own handler would raise
    KeyboardInterrupt: a handler of the user's stays in charge. A second Ctrl-C ends the call with an error.

    Parameters
    ----------
    keeps_best : bool
        Whether the first Ctrl-C ends searches only, once there is a labelling to keep.
    labelled : bool
        Whether there is one from the beginning.
    """

    def __init__(self, keeps_best: bool, labelled: bool = False) -> None:
        self.keeps_best = keeps_best
        self.labelled = labelled
        self.stopped = False
        self.aborted = False
        self._listens = False

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._listens = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._listens:
            try:
                signal.signal(signal.SIGINT, self._note)
            except ValueError:  # the main thread of a subinterpreter
                self._listens = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listens:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.aborted and (kind is None or issubclass(kind, Exception)):
            raise KeyboardInterrupt  # also where the call ends with another error: Ctrl-C is not to be lost
        if kind is None and self.stopped:
            warnings.warn("search interrupted: the best solution so far is returned", RuntimeWarning, stacklevel=4)

    def check(self) -> bool:
        """Whether searches shall end; raises KeyboardInterrupt where the whole call shall."""
        if self.aborted:
            raise KeyboardInterrupt
        return self.stopped

    def _note(self, number: int, frame: FrameType | None) -> Any:
        if self.keeps_best and self.labelled and not self.stopped:
            self.stopped = True
            return
        self.aborted = True
        if _compiles(frame):  # for seconds, and in Python, where it is safe to raise
            raise KeyboardInterrupt


def _compiles(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "_compile_for_args" and frame.f_globals.get("__name__", "").startswith("numba."):
            return True
        frame = frame.f_back
    return False
