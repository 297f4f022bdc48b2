"""One process at a time in a run folder: two would mix their logs and replace each other's checkpoints."""

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
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder, which is made if it is missing; the system unlocks it when the process ends, even if killed.

    Raises
    ------
    ValueError
        If another process has locked it.
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
            raise ValueError(
                f"another process is training in {folder}: wait until it ends, or choose another folder"
            ) from None
        except OSError:  # some network file systems lock no folders
            pass
        yield
    finally:
        os.close(number)
