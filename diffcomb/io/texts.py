"""Text formats of signed graphs. Each function turns a text into an :class:`Instance`, or the other way round."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from .._arrays import Array
from ..graph import Graph
from .instance import Instance, unless_plain

HEADER = "MULTICUT"


def read_edges(path: Path) -> Instance:
    """``u v cost`` line by line, after a line MULTICUT or without; ids of nodes are integers of any size."""
    text = path.read_text()
    first, _, rest = text.partition("\n")
    with_header = first.strip() == HEADER
    pairs, costs = _edges(rest if with_header else text, path)
    if with_header:  # the format numbers nodes from 0
        return Instance(Graph(int(pairs.max(initial=-1)) + 1, pairs), costs)
    graph, ids = Graph.from_ids(pairs)
    return Instance(graph, costs, unless_plain(ids))


def write_edges(path: Path, instance: Instance, header: bool) -> None:
    """Isolated nodes are lost, and with a header the ids of nodes as well."""
    pairs = instance.graph.edges if header else instance.node_ids[instance.graph.edges]
    with path.open("w") as file:
        if header:
            file.write(HEADER + "\n")
        for (u, v), cost in zip(pairs.tolist(), instance.edge_costs.tolist(), strict=True):
            file.write(f"{u} {v} {cost!r}\n")


def read_triangle(path: Path) -> Instance:
    """Clique partitioning: the number of nodes, then the upper triangle of the gains, row by row."""
    try:
        numbers = np.array(path.read_text().split(), np.float64)
    except ValueError as error:
        raise ValueError(f"{path} must hold numbers: {error}") from error
    n = int(numbers[0]) if len(numbers) else -1
    if n < 0 or n != numbers[0] or len(numbers) != 1 + n * (n - 1) // 2:
        raise ValueError(
            f"{path} must hold a number of nodes n and n (n - 1) / 2 gains, got "
            + (f"n = {numbers[0]:g} and {len(numbers) - 1} numbers" if len(numbers) else "nothing")
        )
    return Instance(Graph(n, np.stack(np.triu_indices(n, 1), axis=1)), numbers[1:])


def write_triangle(path: Path, instance: Instance) -> None:
    """Pairs without an edge get 0, parallel edges add up, self-loops and ids are lost."""
    n = instance.graph.num_nodes
    matrix = np.zeros((n, n))
    edges = np.sort(instance.graph.edges, axis=1)
    np.add.at(matrix, (edges[:, 0], edges[:, 1]), instance.edge_costs)
    with path.open("w") as file:
        file.write(f"{n}\n")
        for i in range(n - 1):
            file.write(" ".join(map(repr, matrix[i, i + 1 :].tolist())) + "\n")


def read_metis(path: Path) -> Instance:
    """METIS: ``n m 1``, then for each node its neighbours, from 1 on, and the weights of their edges."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("%")]
    head = lines[0].split() if lines else []
    if not 2 <= len(head) <= 4 or not all(part.isdigit() for part in head):
        raise ValueError(f"{path} must begin with the numbers of nodes and edges of METIS, got {' '.join(head)!r:.80}")
    n, m = int(head[0]), int(head[1])
    kind = head[2].zfill(3) if len(head) > 2 else "000"
    if kind[:2] != "00":
        raise ValueError(f"{path}: node weights (format {head[2]}) are not supported, only edge weights (format 1)")
    weighted = kind[2] == "1"
    rows = lines[1 : n + 1] + [""] * (n + 1 - len(lines))
    try:
        values = [np.array(row.split(), np.float64) for row in rows]
    except ValueError as error:
        raise ValueError(f"{path} must hold numbers: {error}") from error
    if any(len(row) % 2 for row in values if weighted):
        raise ValueError(f"{path} must hold pairs of a neighbour and a weight in every line")
    step = 2 if weighted else 1
    start = np.repeat(np.arange(n), [len(row) // step for row in values])
    flat = np.concatenate(values) if values else np.empty(0)
    ends = _integers(flat[::step], path, "neighbours") - 1
    weights = flat[1::2] if weighted else np.ones(len(ends))
    once = start < ends
    if int(once.sum()) != m or np.any(start == ends):
        raise ValueError(f"{path} must hold {m} edges, each at both of its ends, got {int(once.sum())}")
    return Instance(Graph(n, np.stack([start[once], ends[once]], axis=1)), weights[once])


def write_metis(path: Path, instance: Instance) -> None:
    """Parallel edges add up; self-loops and ids are lost."""
    n = instance.graph.num_nodes
    edges = np.sort(instance.graph.edges, axis=1).astype(np.int64)
    proper = edges[:, 0] != edges[:, 1]
    pairs, place = np.unique(edges[proper], axis=0, return_inverse=True)
    weights = np.bincount(place.ravel(), instance.edge_costs[proper], len(pairs))
    rows: list[list[str]] = [[] for _ in range(n)]
    for (u, v), weight in zip(pairs.tolist(), weights.tolist(), strict=True):
        rows[u].append(f"{v + 1} {weight!r}")
        rows[v].append(f"{u + 1} {weight!r}")
    path.write_text(f"{n} {len(pairs)} 1\n" + "".join(" ".join(row) + "\n" for row in rows))


def _edges(text: str, path: Path) -> tuple[Array, Array]:
    """End points and costs of lines ``u v cost``."""
    if not text.strip():
        return np.empty((0, 2), np.int64), np.empty(0)
    try:
        rows = np.loadtxt(io.StringIO(text), dtype=[("u", np.int64), ("v", np.int64), ("cost", np.float64)], ndmin=1)
    except ValueError as error:
        raise ValueError(f"{path} must hold lines 'u v cost' with integers u and v: {error}") from error
    return np.stack([rows["u"], rows["v"]], axis=1), rows["cost"].copy()


def _integers(values: Array, path: Path, what: str) -> Array:
    whole = values.astype(np.int64)
    if np.any(whole != values):
        raise ValueError(f"{path}: {what} must be integers, got {values[whole != values][0]}")
    return whole
