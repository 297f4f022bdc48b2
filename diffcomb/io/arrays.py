"""Binary formats, npz and HDF5, which keep everything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from .._arrays import Array
from ..graph import Graph, as_graph
from .files import opened_npz
from .instance import Instance

OPTIONAL = ("ids", "node_costs", "partitionable", "lifted_edges", "lifted_costs")
NAMES = ("n", "edges", "costs", *OPTIONAL)


def arrays_of(instance: Instance) -> Iterator[tuple[str, Array]]:
    """Names and arrays of everything in an instance."""
    yield "n", np.array(instance.graph.num_nodes)
    yield "edges", instance.graph.edges
    yield "costs", instance.edge_costs
    for name in OPTIONAL:
        value = getattr(instance, name)
        if value is not None:
            yield name, value


def instance_of(arrays: Mapping[str, Array], there: list[str]) -> Instance:
    """The instance of named arrays; `edges` and `costs` must be among them, `there` says what else the file holds."""
    if "edges" not in arrays or "costs" not in arrays:
        raise ValueError(f"the file must hold arrays 'edges' (m, 2) and 'costs' (m,), got {sorted(there)}")
    edges = arrays["edges"]
    graph = Graph(_node_count(arrays["n"]), edges) if "n" in arrays else as_graph(edges)
    rest = {name: arrays[name] for name in OPTIONAL if name in arrays}
    if "ids" in rest:
        rest["ids"] = _text(rest["ids"])
    return Instance(graph, arrays["costs"], **rest)


def read_npz(path: Path) -> Instance:
    """Arrays of the names in :func:`arrays_of`; others are left alone."""
    with opened_npz(path) as file:
        return instance_of({name: file[name] for name in NAMES if name in file.files}, file.files)


def write_npz(path: Path, instance: Instance) -> None:
    """Nothing is lost."""
    with path.open("wb") as file:  # which keeps numpy from appending a suffix
        np.savez_compressed(file, allow_pickle=False, **dict(arrays_of(instance)))


def read_hdf5(path: Path) -> Instance:
    """Datasets of the names in :func:`arrays_of`; other datasets and groups are left alone."""
    import h5py

    with h5py.File(path, "r") as file:
        found = {name: file[name] for name in NAMES if name in file}
        arrays = {name: np.asarray(item[()]) for name, item in found.items() if isinstance(item, h5py.Dataset)}
        return instance_of(arrays, list(file))


def write_hdf5(path: Path, instance: Instance) -> None:
    """Nothing is lost."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, value in arrays_of(instance):
            file[name] = np.char.encode(value, "utf-8") if value.dtype.kind == "U" else value


def _node_count(value: Array) -> int:
    """The array `n` as an integer."""
    if value.size != 1 or value.dtype.kind not in "iuf" or not np.isfinite(value).all() or value.item() % 1:
        raise ValueError(f"the array 'n' must be a whole number, the number of nodes, got {value.tolist()!r:.80}")
    return int(value.item())


def _text(ids: Array) -> Array:
    """Ids that are bytes as strings, from arrays of fixed or, as h5py writes them, of variable length."""
    if ids.dtype.kind == "S":
        return np.char.decode(ids, "utf-8")
    if ids.dtype.kind == "O":
        return np.array([v.decode("utf-8") if isinstance(v, bytes) else v for v in ids.ravel()]).reshape(ids.shape)
    return ids
