"""Volumes that are read box by box: numpy, zarr, HDF5 and dask arrays, or paths of files that hold them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._arrays import Array, check_not_masked, is_tensor, to_numpy
from ..io.volumes import open_array


class Part(NamedTuple):
    """The cells of a box, not read yet: small enough to be sent to a worker, whatever the array's size."""

    array: Any
    slices: tuple[slice, ...]

    def read(self) -> Array:
        """The cells as a numpy array."""
        if isinstance(self.array, _Hdf5):
            return self.array.read(self.slices)
        found = self.array[self.slices]
        if hasattr(found, "compute"):
            found = found.compute(scheduler="synchronous")
        return np.asarray(found)


class _Hdf5(NamedTuple):
    """A dataset of an HDF5 file, which cannot be sent open."""

    file: str
    name: str

    def read(self, slices: tuple[slice, ...]) -> Array:
        import h5py

        with h5py.File(self.file, "r") as file:
            return np.asarray(file[self.name][slices])


class Volume:
    """An array on disk, in memory or made on the fly, of which parts are read.

    Parameters
    ----------
    array : array or path
        Anything with a shape, a dtype and slices: numpy, zarr, h5py, dask or an object of the user's; or a path as
        ``diffcomb.io.open_array`` takes it.
    name : str
        The argument, for messages.
    """

    def __init__(self, array: Any, name: str) -> None:
        if isinstance(array, (str, Path)):
            array = open_array(os.path.abspath(array))  # a worker may run in another folder
        if is_tensor(array) or not all(hasattr(array, a) for a in ("shape", "dtype", "__getitem__")):
            array = to_numpy(array)
        check_not_masked(array, name)
        if np.dtype(array.dtype).kind not in "fiub":
            raise TypeError(f"{name} must hold numbers, got dtype {array.dtype}")
        if not all(isinstance(n, (int, np.integer)) for n in array.shape):
            raise ValueError(f"{name} must have a known shape, got {array.shape}")
        self.array, self.name = _with_absolute_path(array), name
        self.shape: tuple[int, ...] = tuple(int(n) for n in array.shape)

    def part(self, slices: tuple[slice, ...]) -> Part:
        """A part of it: a slice of what lies in memory, or where to read it."""
        whole = (slice(None),) * (len(self.shape) - len(slices)) + slices
        if isinstance(self.array, np.ndarray) or hasattr(self.array, "compute"):
            return Part(self.array[whole], (...,))  # type: ignore[arg-type]
        if type(self.array).__module__.startswith("h5py"):
            return Part(_Hdf5(os.path.abspath(self.array.file.filename), self.array.name), whole)
        return Part(self.array, whole)

    def identity(self, key: str | None) -> dict[str, Any]:
        """What tells this array from others: a key of the user's; contents in memory; files with their times on disk.

        Raises
        ------
        ValueError
            If nothing does.
        """
        found: dict[str, Any] = {"shape": self.shape, "dtype": str(self.array.dtype)}
        if key is not None:
            return {**found, "key": key}
        if isinstance(self.array, np.ndarray):
            return {**found, "contents": digest_of(self.array)}
        folder = self._folder()
        if type(self.array).__module__.startswith("h5py") and self.array.file.mode != "r":
            self.array.file.flush()  # or HDF5 holds back what has changed, and the file looks as it was
        if folder is not None:
            files = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else [folder]
            stats = [(str(p.relative_to(folder.parent)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
            digest = hashlib.blake2b(repr(stats).encode(), digest_size=16).hexdigest()
            return {**found, "files": digest, "name": str(getattr(self.array, "name", ""))}
        raise ValueError(
            f"store: nothing tells whether {self.name}, a {type(self.array).__module__}.{type(self.array).__name__}, "
            "is the same in a later run; pass key=, a text that names it and its version"
        )

    def _folder(self) -> Path | None:
        """The file or folder that holds the array, if it lies on this machine's disks."""
        if type(self.array).__module__.startswith("h5py"):
            return Path(self.array.file.filename).absolute()
        root = getattr(getattr(self.array, "store", None), "root", None)
        if root is None or not Path(root).exists():
            return None
        return Path(root) / str(getattr(self.array, "path", ""))


def _with_absolute_path(array: Any) -> Any:
    """A zarr array of a relative path as one that a worker in another folder finds as well."""
    root = getattr(getattr(array, "store", None), "root", None)
    if not type(array).__module__.startswith("zarr") or root is None or Path(root).is_absolute():
        return array
    import zarr

    return zarr.open_array(str(Path(root).absolute()), path=str(array.path), mode="r")


def digest_of(*arrays: Array) -> str:
    """A hash of contents, shapes and dtypes."""
    state = hashlib.blake2b(digest_size=16)
    for array in arrays:
        state.update(f"{array.shape}{array.dtype}".encode())
        if array.ndim == 0 or array.flags.c_contiguous:
            state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        else:  # piece by piece, so that nothing large is copied
            for row in array:
                state.update(np.ascontiguousarray(row).reshape(-1).view(np.uint8).data)
    return state.hexdigest()
