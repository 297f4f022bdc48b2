"""What a command shows while it works: a bar of the time limit, and warnings as lines."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def progress(seconds: float | None) -> Iterator[None]:
    """Show a progress bar of the time limit in a terminal, if tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        tqdm = None
    if seconds is None or tqdm is None or not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()

    def show() -> None:
        began = time.perf_counter()
        with tqdm(total=seconds, unit="s", bar_format="{l_bar}{bar}| {n:.1f}/{total:.1f} s") as bar:
            while not ended.wait(0.2):
                bar.n = min(time.perf_counter() - began, seconds)
                bar.refresh()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Warnings as lines without a place in the code: that a search was interrupted, for instance."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        print(f"diffcomb: {warning.message}", file=sys.stderr)
