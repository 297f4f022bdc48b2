"""The one place that decides how numba compiles this package.

Policy: kernels release the GIL, so that threads solve instances side by side; they are cached on disk,
so that only the first run of a machine compiles; where that cannot be, or where a cached copy is damaged, they are
compiled without a word of numba's; and they keep IEEE semantics (no ``fastmath``), because
reassociation would make an objective depend on how a loop was vectorised. No wrapper for C is made, which nobody calls
and which takes a twentieth of the time to compile.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numba.extending
import numpy as np
from numba.core.caching import FunctionCache

F = TypeVar("F", bound=Callable[..., Any])
_PIECE: dict[str, Any] = {"nogil": True, "no_cfunc_wrapper": True}
_log = logging.getLogger("diffcomb")

unsigned: Callable[[Any], Any] = int if getattr(numba.config, "DISABLE_JIT", False) else np.uint32
"""An index that cannot be negative: numba does not ask whether it counts from the end of the array, which takes up to
half the time of the innermost loops. Of 32 bits, because numba makes a float of a sum of int64 and uint64."""


class _Cache(FunctionCache):
    """numba's cache on disk, but that what goes wrong with its files costs a compilation and not the call.

    A job that was killed while it wrote leaves a damaged file, a full disk none.
    """

    def __init__(self, function: Any) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._kernel = function.__qualname__

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception as error:
            _log.warning("%s in %s cannot be read (%r): compiling it anew", self._kernel, self.cache_path, error)
            with contextlib.suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except Exception as error:  # a full disk; or an index that is damaged and cannot be written anew
            _log.warning("%s cannot be cached in %s: %s", self._kernel, self.cache_path, error)


def njit(function: F) -> F:
    """Compile a kernel: ``nopython``, ``nogil``, cached on disk, strict floating point."""
    compiled: Any = numba.njit(**_PIECE)(function)
    if hasattr(compiled, "enable_caching"):  # not where compilation is switched off
        # RuntimeError: neither this package's folder nor the user's is writable.
        with contextlib.suppress(RuntimeError):
            compiled._cache = _Cache(function)
    return cast(F, compiled)


def inlined(function: F) -> F:
    """Compile a piece of kernels that is pasted where it is called: for the innermost loops.

    A call would count references to every array that it passes, which costs more than a few additions.
    """
    compiled: Any = numba.njit(nogil=True, inline="always")(function)
    return cast(F, compiled)


def overload(function: Callable[..., Any]) -> Callable[[F], F]:
    """Register what a plain Python function means inside kernels, by the types of its arguments.

    Pasted as well, but by the optimiser: one line in many places, which takes numba longer to paste and to type.
    """
    options: Any = {**_PIECE, "forceinline": True, "no_cpython_wrapper": True}
    return cast("Callable[[F], F]", numba.extending.overload(function, jit_options=options))


@functools.cache
def announce_compilation(kernel: Any) -> None:
    """Say, once a process, that this machine has no compiled copy of a kernel yet and that a first run takes longer."""
    stats = getattr(kernel, "stats", None)  # a plain function where compilation is switched off
    if stats is None:
        return
    if not stats.cache_path:
        _log.warning(
            "compiling solvers for this process: 30 to 50 seconds, in every process, since no folder for a cache is "
            "writable; set NUMBA_CACHE_DIR to one that is"
        )
        return
    name = f"*.{kernel.py_func.__qualname__}-*.nbi"
    if not any(Path(stats.cache_path).glob(name)):
        _log.warning("compiling solvers for this machine: 30 to 50 seconds, once; cached in %s", stats.cache_path)
