"""Images and volumes in files, read piece by piece where the format allows it."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .._arrays import Array
from .files import check_keeps, check_writable, errors_named, opened_npz, replacing
from .problems import require
from .zarr_folders import members_of, new_zarr_array, opened_zarr

SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".zarr")
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
    with errors_named(file):
        return _opened(file, name)


def array_names(path: Any) -> set[str]:
    """The names of the arrays of a file: those that :func:`open_array` takes behind it; none of a single array.

    Raises
    ------
    FileNotFoundError, ImportError, ValueError
        As :func:`open_array`.
    """
    file, name = split_path(path)
    if name is not None:
        raise ValueError(f"a file must be given without the name of an array, got {str(path)!r}")
    if not file.exists():
        raise FileNotFoundError(f"there is no file {file}")
    with errors_named(file):
        return {key for key, is_group in (_content(file) or {}).items() if not is_group}


def _opened(file: Path, name: str | None) -> Any:
    suffix = file.suffix.lower()
    if suffix == ".npy":
        return np.lib.format.open_memmap(file, mode="r")
    content = _content(file, name)
    chosen = None if content is None else _chosen([key for key, group in content.items() if not group], name, file)
    if suffix == ".npz":
        with opened_npz(file) as arrays:
            return arrays[str(chosen)]
    if suffix in (".h5", ".hdf5"):
        return require("h5py", f"the array {file}").File(file, "r")[chosen]
    node = opened_zarr(file)
    return node if chosen is None else node[chosen]


def _content(file: Path, name: str | None = None) -> dict[str, bool] | None:
    """The names in a file, and whether each is that of a group; None if the file is a single array.

    Of links in HDF5, which may lead in circles, it looks only for the one that is named.
    """
    suffix = file.suffix.lower()
    if suffix == ".npy":
        return None
    if suffix == ".npz":
        with opened_npz(file) as arrays:
            return dict.fromkeys(arrays.files, False)
    if suffix in (".h5", ".hdf5"):
        h5py = require("h5py", f"the array {file}")
        found: dict[str, bool] = {}
        with h5py.File(file, "r") as opened:
            opened.visititems(lambda key, item: found.update({key: isinstance(item, h5py.Group)}))
            named = None if name is None else opened.get(name)
            if named is not None:
                found[str(name)] = isinstance(named, h5py.Group)
        return found
    return members_of(file)


def save_array(path: Any, array: Array) -> None:
    """Save an array under a path as :func:`open_array` takes it; other arrays of an existing file are kept.

    Raises
    ------
    ImportError
        If the format needs a package that is not installed.
    ValueError
        If the kind of file is unknown, it cannot be written, or the array would take the place of a group.
    """
    file, name = split_path(path)
    suffix = file.suffix.lower()
    if suffix == ".npy":
        with replacing(file) as unfinished, unfinished.open("wb") as opened:
            np.save(opened, array, allow_pickle=False)
    elif suffix == ".npz":
        _check_replaces_one_array(file, name)
        with replacing(file) as unfinished, errors_named(file):
            _write_npz(unfinished, file, f"{name or 'array'}.npy", array)
    else:
        with new_array(path, array.shape, array.dtype, None) as target:
            target[...] = array


def _write_npz(path: Path, old: Path, name: str, array: Array) -> None:
    """Write the arrays of an old npz file, if there is one, as they are, and one more or in place of that name."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if old.exists():
            with zipfile.ZipFile(old) as kept:
                for part in kept.infolist():
                    if part.filename != name:
                        archive.writestr(part, kept.read(part))
        with archive.open(name, "w", force_zip64=True) as opened:
            np.lib.format.write_array(opened, array, allow_pickle=False)


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
    suffix = file.suffix.lower()
    if in_pieces and suffix == ".npz":
        raise ValueError(f"an array that is written piece by piece must be .npy, .h5 or .zarr, got {str(path)!r}")
    check_writable(file, may_be_folder=suffix == ".zarr")
    given, given_name = split_path(source)
    beside = suffix in (".npz", ".h5", ".hdf5", ".zarr") and None not in (name, given_name) and name != given_name
    if not beside:
        check_keeps(file, given, str(source))
    _check_replaces_one_array(file, name)
    if suffix == ".npz" and file.exists():
        with errors_named(file), zipfile.ZipFile(file) as kept:
            damaged = kept.testzip()
            if damaged is not None:
                raise ValueError(f"its array {damaged} is damaged and could not be kept: choose another output")


def _check_replaces_one_array(file: Path, name: str | None) -> None:
    """Refuse to write in place of a group of arrays, or into an array."""
    if file.suffix.lower() == ".npy" or not file.exists() or (file.is_dir() and not any(file.iterdir())):
        return
    with errors_named(file):
        content = _content(file, name)
    if content is None:
        if name is not None:
            raise ValueError(f"{file} is an array and cannot hold one of the name {name!r}: choose another file")
    elif name is None:
        names = sorted(set(content) - {"array"})
        if names:
            raise ValueError(f"{file} holds {', '.join(names)}: name the array to write, as {file.name}:NAME")
    elif content.get(name):
        raise ValueError(f"{file}:{name} is a group of arrays: choose another name for the output")
    else:
        above = [key for key, is_group in content.items() if not is_group and name.startswith(f"{key}/")]
        if above:
            raise ValueError(f"{file}:{above[0]} is an array and cannot hold {name!r}: choose another name")


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
    _check_replaces_one_array(file, name)
    suffix = file.suffix.lower()
    if chunks is not None:
        chunks = tuple(min(a, b) for a, b in zip(chunks, shape, strict=True))
    if suffix == ".npy":
        with replacing(file) as unfinished:
            mapped = np.lib.format.open_memmap(unfinished, mode="w+", dtype=dtype, shape=shape)
            yield mapped
            mapped.flush()
            del mapped
    elif suffix in (".h5", ".hdf5"):
        h5py = require("h5py", f"the array {file}")
        with replacing(file) as unfinished:
            if file.exists():  # a file that HDF5 fails to write may be lost with all that it held
                shutil.copyfile(file, unfinished)
            yield from _new_dataset(h5py, unfinished, name or "array", shape, dtype, chunks)
    else:
        with new_zarr_array(file, name, shape, dtype, chunks) as target:
            yield target


def _new_dataset(
    h5py: Any, file: Path, name: str, shape: tuple[int, ...], dtype: Any, chunks: tuple[int, ...] | None
) -> Iterator[Any]:
    with h5py.File(file, "a") as opened:
        if name in opened:
            del opened[name]
        yield opened.create_dataset(name, shape=shape, dtype=dtype, chunks=chunks, compression="gzip")


def split_path(path: Any) -> tuple[Path, str | None]:
    """The file and the name of the array in it."""
    text = str(path)
    for suffix in SUFFIXES:
        at = text.lower().find(suffix + ":")
        if at >= 0:
            file, name = text[: at + len(suffix)], text[at + len(suffix) + 1 :].strip("/")
            if name and suffix == ".npy":
                raise ValueError(f"{file} is a single array, and has none of the name {name!r}: leave the name out")
            return Path(file), name or None
        if text.lower().rstrip("/").endswith(suffix):
            return Path(text), None
    raise ValueError(f"an array must be {KINDS}, got {text!r}")


def _chosen(names: list[str], name: str | None, file: Path) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name is None or name not in names:
        found = ", ".join(sorted(names)) or "none"
        wanted = "says which array is meant" if name is None else f"has an array {name!r}"
        raise ValueError(f"no name {wanted}; give it as {file.name}:NAME, the arrays are: {found}")
    return name
