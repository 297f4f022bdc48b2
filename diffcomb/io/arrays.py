"""Binary formats: npz and HDF5, which keep everything, and tables of edges by pandas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .._arrays import Array, float_array
from ..graph import Graph
from .instance import Instance, unless_plain

OPTIONAL = ("ids", "node_costs", "partitionable", "lifted_edges", "lifted_costs")
COLUMNS = ("u", "v", "cost")


def arrays_of(instance: Instance) -> Iterator[tuple[str, Array]]:
    """Names and arrays of everything in an instance."""
    yield "n", np.array(instance.graph.num_nodes)
    yield "edges", instance.graph.edges
    yield "costs", instance.edge_costs
    for name in OPTIONAL:
        value = getattr(instance, name)
        if value is not None:
            yield name, value


def instance_of(arrays: Any, path: Path) -> Instance:
    """The instance of named arrays; `edges` and `costs` must be there."""
    missing = [name for name in ("edges", "costs") if name not in arrays]
    if missing:
        raise ValueError(f"{path} must hold arrays 'edges' (m, 2) and 'costs' (m,), got {sorted(arrays)}")
    edges = np.asarray(arrays["edges"])
    costs = float_array(np.asarray(arrays["costs"]), f"{path}: costs", "(m,)", infinite=True)
    n = int(np.asarray(arrays["n"])) if "n" in arrays else int(edges.max(initial=-1)) + 1
    graph = Graph(n, edges)
    if costs.shape != (graph.num_edges,):
        raise ValueError(f"{path} must hold one cost for each of {graph.num_edges} edges, got shape {costs.shape}")
    rest = {name: np.asarray(arrays[name]) for name in OPTIONAL if name in arrays}
    if "ids" in rest and rest["ids"].dtype.kind == "S":
        rest["ids"] = np.char.decode(rest["ids"], "utf-8")
    return Instance(graph, costs, **rest)


def read_npz(path: Path) -> Instance:
    """Arrays of the names in :func:`arrays_of`."""
    with np.load(path, allow_pickle=False) as file:
        return instance_of({name: file[name] for name in file.files}, path)


def write_npz(path: Path, instance: Instance) -> None:
    """Nothing is lost."""
    with path.open("wb") as file:  # which keeps numpy from appending a suffix
        np.savez_compressed(file, allow_pickle=False, **dict(arrays_of(instance)))


def read_hdf5(path: Path) -> Instance:
    """Datasets of the names in :func:`arrays_of`."""
    import h5py

    with h5py.File(path, "r") as file:
        return instance_of({name: file[name][()] for name in file}, path)


def write_hdf5(path: Path, instance: Instance) -> None:
    """Nothing is lost."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, value in arrays_of(instance):
            file[name] = np.char.encode(value, "utf-8") if value.dtype.kind == "U" else value


def read_csv(path: Path) -> Instance:
    """Columns u, v and cost, or the first three; ids are integers or names."""
    import pandas

    try:
        return instance_of_frame(pandas.read_csv(path))
    except (ValueError, TypeError) as error:
        raise type(error)(f"{path}: {error}") from error


def write_csv(path: Path, instance: Instance) -> None:
    """Isolated nodes, node costs and lifted edges are lost."""
    import pandas

    u, v = instance.node_ids[instance.graph.edges].T
    pandas.DataFrame(dict(zip(COLUMNS, (u, v, instance.edge_costs), strict=True))).to_csv(path, index=False)


def instance_of_frame(frame: Any) -> Instance:
    """The instance of a table of edges."""
    columns = list(COLUMNS) if set(COLUMNS) <= set(frame.columns) else list(frame.columns[:3])
    if len(columns) < 3:
        raise ValueError(f"the table must have columns u, v and cost, got {columns}")
    graph, costs, ids = Graph.from_pandas(frame, *columns)
    return Instance(graph, costs, unless_plain(ids))
