"""One run at a time in a folder: two would mix their logs and replace each other's results."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked(folder: Path, use: str) -> Iterator[None]:
    """Lock a folder, which is made if it is missing; the system unlocks it when the process ends, even if killed.

    Parameters
    ----------
    folder : path
    use : str
        What a process does with it, for the error: "is training in".

    Raises
    ------
    ValueError
        If another process, or another thread, has locked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    number = os.open(folder, os.O_RDONLY)  # the folder itself: no file is left behind
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process {use} {folder}: wait until it ends, or choose another folder") from None
        except OSError:  # some network file systems lock no folders
            pass
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(number, fcntl.LOCK_UN)  # for processes that were forked meanwhile as well
    finally:
        os.close(number)
