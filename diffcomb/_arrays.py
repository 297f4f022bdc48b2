"""Getting arrays in and out: numpy arrays or torch tensors go in, the same kind comes out.

torch is never imported here: a value can only be a tensor if its caller has imported torch already.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._numba import njit
from ._threads import thread_ranges

Array = NDArray[Any]
_WORTH_A_THREAD = 2**20  # numbers to add up
_SIZE: dict[Any, Any] = {
    np.float32: (np.uint32, np.uint32(2**31 - 1)),
    np.float64: (np.uint64, np.uint64(2**63 - 1)),
}  # all bits but the sign


def is_tensor(value: object) -> bool:
    """Whether `value` is a ``torch.Tensor``, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def module_of(value: Any) -> Any:
    """The library that has functions for an array: torch, jax.numpy or numpy."""
    if is_tensor(value):
        return sys.modules["torch"]
    jax = sys.modules.get("jax")
    return jax.numpy if jax is not None and isinstance(value, jax.Array) else np


def to_numpy(value: Any) -> Array:
    """View `value` as a numpy array; a tensor is detached and, where it lies on a device, copied to the host."""
    if is_tensor(value):
        if value.is_meta:
            raise TypeError("a tensor on the device 'meta' has no values")
        torch: Any = sys.modules["torch"]
        if torch._C._are_functorch_transforms_active():  # inside of them, even what they do not map would be wrapped
            if torch._C._functorch.is_batchedtensor(value):
                raise TypeError("a tensor that torch.func.vmap maps has no values here: give a batch instead")
            with torch._C._DisableFuncTorch():
                return _host_array(torch, value)
        return _host_array(torch, value)
    return np.asarray(value)


def _host_array(torch: Any, value: Any) -> Array:
    value = value.detach()
    if value.dtype in (torch.bfloat16, torch.float16):
        value = value.float()  # numpy knows no bfloat16, and no solver sums in half precision
    return value.cpu().resolve_neg().numpy()  # type: ignore[no-any-return]


def integer_array(numbers: list[int]) -> Array | None:
    """Integers as an array of int64 or uint64, None if neither holds them all; numpy might round them to floats."""
    for kind in (np.int64, np.uint64):
        try:
            return np.array(numbers, kind)
        except OverflowError:
            continue
    return None


def integers(value: Any) -> Array:
    """What `to_numpy` makes of integers, but those of a list stay exact, and an empty list has int64."""
    array = to_numpy(value)
    if not isinstance(value, (list, tuple)) or array.dtype.kind in "iu":
        return array
    if array.size == 0:
        return array.astype(np.int64)
    cells: list[Any] = np.array(value, object).ravel().tolist() if array.dtype.kind in "fO" else [None]
    if all(isinstance(cell, (int, np.integer)) and not isinstance(cell, bool) for cell in cells):
        whole = integer_array([int(cell) for cell in cells])
        return array if whole is None else whole.reshape(array.shape)
    return array


def like(value: Array, reference: Any) -> Any:
    """Return the array `value` as the kind of thing that `reference` is, on the same device."""
    if is_tensor(reference):
        return sys.modules["torch"].as_tensor(value, device=reference.device)
    return value


def check_not_masked(value: Any, name: str) -> None:
    """Raise a TypeError if some of the values are masked: solvers would take them for values like all others."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise TypeError(f"{name} must not be a masked array: fill what is masked first, as array.filled(0) does")


def float_array(value: Any, name: str, shape: str, infinite: bool = False, *, small: bool = False) -> Array:
    """Return costs as a C-contiguous float32 or float64 array, or say what is wrong with them.

    Parameters
    ----------
    value : array_like or tensor
        Integers become float64, half precision becomes float32; float32 and float64 are not copied.
    name, shape : str
        The argument's name and its expected shape in words, for the error message.
    infinite : bool
        Whether infinite values are allowed; NaN never is.
    small : bool
        Whether integers of 8 or 16 bits stay what they are: images, which would take eight times the memory.

    Raises
    ------
    TypeError
        If `value` is not a numeric array.
    ValueError
        If a value is NaN or, unless they are allowed, infinite.
    """
    check_not_masked(value, name)
    try:
        array = to_numpy(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a numeric array of shape {shape}, got {value!r:.80}: {error}") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be a numeric array of shape {shape}, got dtype {array.dtype}")
    if small and array.dtype.kind in "iub" and array.dtype.itemsize <= 2:
        return np.ascontiguousarray(array, np.uint8 if array.dtype == np.bool_ else array.dtype.newbyteorder("="))
    if array.dtype.newbyteorder("=") == np.float16:
        array = array.astype(np.float32)
    elif array.dtype.newbyteorder("=") not in (np.float32, np.float64):
        array = array.astype(np.float64)
    if array.ndim and not (array.flags.c_contiguous and array.dtype.isnative):
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    if not all_finite(array):
        bad = np.argwhere(np.isnan(array) if infinite else ~np.isfinite(array))
        if len(bad):
            where = ", ".join(str(i) for i in bad[0])
            kinds = "NaN" if infinite else "NaN or infinite"
            raise ValueError(
                f"{name} must {'not be NaN' if infinite else 'be finite'}, got {len(bad)} {kinds} value(s), "
                f"the first at index [{where}]: {array[tuple(bad[0])]}"
            )
    return array


def label_array(value: Any, name: str = "labels") -> Array:
    """Return labels as an array of integers in the machine's byte order, or say what is wrong with them."""
    check_not_masked(value, name)
    try:
        array = integers(value)
    except ValueError as error:  # lists of different lengths
        raise ValueError(f"{name} must be an array of integers: {error}") from error
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got dtype {array.dtype}; astype converts whole numbers")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def check_background(background: Any) -> int | None:
    """The background's id, or None; a TypeError if it is something else."""
    if background is not None and (isinstance(background, bool) or not isinstance(background, (int, np.integer))):
        raise TypeError(f"background must be an integer id or None, got {background!r}")
    return None if background is None else int(background)


def all_finite(array: Array) -> bool:
    """Whether no value is NaN or infinite."""
    return math.isfinite(largest_size(array)) if array.dtype.type in _SIZE else bool(np.isfinite(array).all())


def largest_size(array: Array) -> float:
    """The largest absolute value of a float32 or float64 array, NaN if one is NaN, 0 of an empty one."""
    kind, mask = _SIZE[array.dtype.type]
    bits = np.ascontiguousarray(array, array.dtype.type).reshape(-1).view(kind)
    found: list[Any] = [kind(0)]

    def look(first: int, last: int) -> None:
        found.append(kind(_largest_of(bits, mask, first, last)))

    thread_ranges(look, len(bits), _WORTH_A_THREAD)
    return float(max(found).view(array.dtype.type))


@njit
def _largest_of(bits: Array, mask: Any, first: int, last: int) -> Any:
    """The largest of some numbers without their signs. As integers they have the same order, and NaN comes last."""
    most = mask ^ mask  # 0 of their type
    for i in range(first, last):
        most = max(most, bits[np.uint64(i)] & mask)
    return most


def check_same_device(**tensors: Any) -> None:
    """Raise a ValueError unless all tensors among the keyword arguments lie on one device, or none is a tensor."""
    kinds = {name: (str(t.device) if is_tensor(t) else "numpy") for name, t in tensors.items() if t is not None}
    if len(set(kinds.values())) > 1:
        got = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
        raise ValueError(f"the costs must be of one kind and on one device, got {got}")
