"""The one place that decides how numba compiles this package.

Policy: kernels release the GIL, so that threads solve instances side by side; they are cached on disk,
so that only the first run of a machine compiles; and they keep IEEE semantics (no ``fastmath``), because
reassociation would make an objective depend on how a loop was vectorised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def njit(function: F) -> F:
    """Compile a kernel: ``nopython``, ``nogil``, cached on disk, strict floating point."""
    compiled: Any = numba.njit(nogil=True, cache=True)(function)
    return cast(F, compiled)
