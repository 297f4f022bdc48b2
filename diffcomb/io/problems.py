"""Reading and writing problems: which format a file has, and the functions for each."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from . import arrays, metis, tables, texts
from .files import errors_named, replacing
from .instance import Instance, as_instance


class Format(NamedTuple):
    """One format: its suffixes, functions, what it keeps beside edges and their costs, and the package it needs."""

    suffixes: tuple[str, ...]
    read: Callable[[Path], Instance]
    write: Callable[[Path, Instance], None]
    keeps: str
    needs: str | None = None


FORMATS = {
    "edges": Format((".txt", ".edges"), texts.read_edges, partial(texts.write_edges, header=False), "ids"),
    "multicut": Format((".mc",), texts.read_edges, partial(texts.write_edges, header=True), "nothing"),
    "triangle": Format((".cpp", ".triangle"), texts.read_triangle, texts.write_triangle, "isolated nodes"),
    "metis": Format((".graph", ".metis"), metis.read_metis, metis.write_metis, "isolated nodes"),
    "csv": Format((".csv",), tables.read_csv, tables.write_csv, "ids and names"),
    "npz": Format((".npz",), arrays.read_npz, arrays.write_npz, "everything"),
    "hdf5": Format((".h5", ".hdf5"), arrays.read_hdf5, arrays.write_hdf5, "everything", "h5py"),
}
"""Formats by name; suffixes in any case choose one."""


def read(path: Any, format: str | None = None) -> Instance:
    r"""Read a problem from a file.

    Parameters
    ----------
    path : str or Path
    format : str, optional
        A name in ``FORMATS``; by default the suffix of the file tells: ``.txt`` (lines ``u v cost``, with or without a
        line MULTICUT before them), ``.mc`` (the same), ``.cpp`` (upper triangle of clique partitioning), ``.graph``
        (METIS with edge weights), ``.csv`` (columns u, v and cost, or the first three; without a header if the third
        cell of the first line is a number), ``.npz``, ``.h5``.

    Returns
    -------
    Instance

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If the format needs a package that is not installed.
    ValueError
        If the format is unknown, or the file is not of it: the message names the file, and the line of a text.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "signed.txt"
    >>> _ = path.write_text("10 20 1.5\n20 40 -2\n")
    >>> instance = read(path)
    >>> instance.ids.tolist(), instance.edge_costs.tolist()
    ([10, 20, 40], [1.5, -2.0])
    """
    path = Path(path)
    chosen = _format_of(path, format)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(f"{path} is a pipe or a device, and files are read more than once: write it to a file first")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with errors_named(path):
        return chosen.read(path)


def write(path: Any, instance: Any, edge_costs: Any = None, format: str | None = None) -> None:
    """Write a problem to a file; it takes the place of one of that name when it is complete, also behind a link.

    Parameters
    ----------
    path : str or Path
    instance : Instance, or Graph with `edge_costs`
    edge_costs : array_like, shape (m,), optional
    format : str, optional
        As in :func:`read`. Formats but npz and HDF5 lose what ``FORMATS[name].keeps`` does not name.

    Raises
    ------
    ImportError
        If the format needs a package that is not installed.
    ValueError
        If the format is unknown, shapes do not fit, costs are given beside an Instance, the file cannot be written, or
        the ids of nodes are not integers of 64 bits, which the format ``edges`` needs.
    """
    path = Path(path)
    chosen = _format_of(path, format)
    whole = as_instance(instance, edge_costs)
    with replacing(path) as unfinished:
        chosen.write(unfinished, whole)


def _format_of(path: Path, name: str | None) -> Format:
    suffix = path.suffix.lower()
    if name is None:
        name = next((key for key, known in FORMATS.items() if suffix in known.suffixes), None)
        if name is None:
            raise ValueError(f"{path} has no suffix of a known format; give format=, one of {', '.join(FORMATS)}")
    if not isinstance(name, str) or name not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {name!r}")
    chosen = FORMATS[name]
    if chosen.needs is not None:
        require(chosen.needs, f"the format {name}")
    return chosen


def require(package: str, what: str) -> Any:
    """Import a package of the extra `io`, or say how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"{what} needs {package}: pip install 'diffcomb[io]'") from error
