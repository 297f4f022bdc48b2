"""Images and volumes in files, read piece by piece where the format allows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .._arrays import Array
from .problems import require

KINDS = "FILE.npy, FILE.npz[:NAME], FILE.h5[:DATASET] or FOLDER.zarr[:ARRAY]"


def open_array(path: Any) -> Any:
    """Open an array: a memory map, an HDF5 dataset or a zarr array, which every function here takes for a volume.

    Parameters
    ----------
    path : str or Path
        ``FILE.npy``, ``FILE.npz[:NAME]``, ``FILE.h5[:DATASET]`` or ``FOLDER.zarr[:ARRAY]``. The name may be left out
        where there is one array.

    Returns
    -------
    numpy.ndarray, h5py.Dataset or zarr.Array

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If the format needs a package that is not installed.
    ValueError
        If the kind of file is unknown, or it has no array of that name.
    """
    file, name = split_path(path)
    if not file.exists():
        raise FileNotFoundError(f"there is no file {file}")
    suffix = file.suffix.lower()
    if suffix == ".npy":
        return np.load(file, mmap_mode="r", allow_pickle=False)
    if suffix == ".npz":
        with np.load(file, allow_pickle=False) as arrays:
            return arrays[_chosen(list(arrays.files), name, file)]
    if suffix in (".h5", ".hdf5"):
        h5py = require("h5py", f"the array {file}")
        opened = h5py.File(file, "r")
        names: list[str] = []
        opened.visititems(lambda key, item: names.append(key) if isinstance(item, h5py.Dataset) else None)
        return opened[_chosen(names, name, file)]
    zarr = require("zarr", f"the array {file}")
    node = zarr.open(file, mode="r")
    if isinstance(node, zarr.Array):
        return node
    members = node.members(max_depth=None)  # groups may be nested
    return node[_chosen([key for key, item in members if isinstance(item, zarr.Array)], name, file)]


def save_array(path: Any, array: Array) -> None:
    """Save an array under a path as :func:`open_array` takes it; other arrays of an existing file are kept."""
    file, name = split_path(path)
    suffix = file.suffix.lower()
    if suffix == ".npy":
        np.save(file, array)
    elif suffix == ".npz":
        np.savez_compressed(file, allow_pickle=False, **{name or "array": array})
    else:
        with new_array(path, array.shape, array.dtype, None) as target:
            target[...] = array


def check_output(path: Any, source: Any, in_pieces: bool) -> None:
    """Raise a ValueError unless an array may be written there, and its source may be read until then.

    Parameters
    ----------
    path, source : str or Path
        As :func:`open_array` takes them.
    in_pieces : bool
        Whether it is written piece by piece.
    """
    file, name = split_path(path)
    if in_pieces and file.suffix.lower() == ".npz":
        raise ValueError(f"an array that is written piece by piece must be .npy, .h5 or .zarr, got {str(path)!r}")
    if not file.absolute().parent.is_dir():
        raise ValueError(f"there is no folder {file.parent}: make it, or choose another output than {str(path)!r}")
    given, given_name = split_path(source)
    beside = file.suffix.lower() == ".zarr" and None not in (name, given_name) and name != given_name
    if file.resolve() == given.resolve() and not beside:
        raise ValueError(f"the output {str(path)!r} would replace {str(source)!r}, which is read: choose another file")
    if file.exists() and file.suffix.lower() not in (".npy", ".npz"):
        _check_replaces_one_array(file, name)


def _check_replaces_one_array(file: Path, name: str | None) -> None:
    """Refuse to write in place of a group of arrays, or into an array."""
    if file.suffix.lower() == ".zarr":
        zarr = require("zarr", f"the array {file}")
        node = zarr.open(file, mode="r")
        names = [] if isinstance(node, zarr.Array) else [key for key, _ in node.members()]
        if isinstance(node, zarr.Array) and name is not None:
            raise ValueError(f"{file} is an array and cannot hold one of the name {name!r}: choose another file")
        is_group = name is not None and isinstance(node.get(name), zarr.Group)
    else:
        h5py = require("h5py", f"the array {file}")
        with h5py.File(file, "r") as opened:
            names = [key for key in opened if key != "array"]
            is_group = name is not None and isinstance(opened.get(name), h5py.Group)
    if is_group:
        raise ValueError(f"{file}:{name} is a group of arrays: choose another name for the output")
    if names and name is None:
        raise ValueError(f"{file} holds {', '.join(sorted(names))}: name the array to write, as {file.name}:NAME")


@contextmanager
def new_array(path: Any, shape: tuple[int, ...], dtype: Any, chunks: tuple[int, ...] | None) -> Iterator[Any]:
    """Make an array in a file, and take what is assigned to its slices piece by piece; other arrays there are kept.

    Parameters
    ----------
    path : str or Path
        As :func:`open_array` takes it, but no ``.npz``, which is written at once.
    shape : tuple of int
    dtype : dtype
    chunks : tuple of int, optional
        Cells along each axis that are compressed together: those of a piece.
    """
    file, name = split_path(path)
    suffix = file.suffix.lower()
    if chunks is not None:
        chunks = tuple(min(a, b) for a, b in zip(chunks, shape, strict=True))
    if suffix == ".npy":
        mapped = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
        yield mapped
        mapped.flush()
    elif suffix in (".h5", ".hdf5"):
        with require("h5py", f"the array {file}").File(file, "a") as opened:
            name = name or "array"
            if name in opened:
                del opened[name]
            yield opened.create_dataset(name, shape=shape, dtype=dtype, chunks=chunks, compression="gzip")
    else:
        zarr = require("zarr", f"the array {file}")
        kept = "auto" if chunks is None else chunks
        yield zarr.create_array(store=str(file), name=name, shape=shape, dtype=dtype, chunks=kept, overwrite=True)


def split_path(path: Any) -> tuple[Path, str | None]:
    """The file and the name of the array in it."""
    text = str(path)
    for suffix in (".npy", ".npz", ".h5", ".hdf5", ".zarr"):
        at = text.lower().find(suffix + ":")
        if at >= 0:
            return Path(text[: at + len(suffix)]), text[at + len(suffix) + 1 :] or None
        if text.lower().rstrip("/").endswith(suffix):
            return Path(text), None
    raise ValueError(f"an array must be {KINDS}, got {text!r}")


def _chosen(names: list[str], name: str | None, file: Path) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name is None or name not in names:
        found = ", ".join(sorted(names)) or "none"
        wanted = "says which array is meant" if name is None else f"has an array {name!r}"
        raise ValueError(f"{file}: no name {wanted}; give it as {file.name}:NAME, the arrays are: {found}")
    return name
