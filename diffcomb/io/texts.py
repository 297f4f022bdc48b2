"""Text formats of signed graphs. Each function turns a text into an :class:`Instance`, or the other way round."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._arrays import Array
from ..graph import Graph, as_graph
from .files import read_text
from .instance import Instance, check_sums, unless_plain

HEADER = "MULTICUT"
HOLDS_DATA = re.compile(r"^[^\S\n]*[^#\s]", re.MULTILINE)  # a line that is no comment
EDGE = np.dtype([("u", np.int64), ("v", np.int64), ("cost", np.float64)])


def read_edges(path: Path) -> Instance:
    """``u v cost`` line by line, after a line MULTICUT or without; ids of nodes are integers of 64 bits."""
    text = read_text(path)
    first, _, rest = text.partition("\n")
    with_header = first.strip() == HEADER
    pairs, costs = _edges("\n" + rest if with_header else text)  # the empty line keeps the numbers of lines
    if with_header:  # the format numbers nodes from 0
        return Instance(as_graph(pairs), costs)
    graph, ids = Graph.from_ids(pairs)
    return Instance(graph, costs, unless_plain(ids))


def write_edges(path: Path, instance: Instance, header: bool) -> None:
    """Isolated nodes are lost, and with a header the ids of nodes as well."""
    pairs = instance.graph.edges if header else instance.node_ids[instance.graph.edges]
    if pairs.dtype.kind == "U" or pairs.max(initial=0) > np.iinfo(np.int64).max:
        kind = "names" if pairs.dtype.kind == "U" else "above 2^63 - 1"
        raise ValueError(
            f"the ids of nodes must be integers of 64 bits in a text of edges, but some are {kind}: the formats csv, "
            f"npz and hdf5 keep them"
        )
    with path.open("w", encoding="utf-8") as file:
        if header:
            file.write(HEADER + "\n")
        for (u, v), cost in zip(pairs.tolist(), instance.edge_costs.tolist(), strict=True):
            file.write(f"{u} {v} {cost!r}\n")


def read_triangle(path: Path) -> Instance:
    """Clique partitioning: the number of nodes, then the upper triangle of the gains, row by row."""
    text = read_text(path)
    try:
        numbers = floats(text.split())
    except ValueError as error:
        raise _wrong_line(text, _holds_numbers, "the file must hold numbers", error) from error
    if np.isnan(numbers).any():
        raise _wrong_line(text, _holds_numbers, "the file must hold numbers")
    n = int(numbers[0]) if len(numbers) and math.isfinite(numbers[0]) else -1
    if n < 0 or n != numbers[0] or len(numbers) != 1 + n * (n - 1) // 2:
        raise ValueError(
            "the file must hold a number of nodes n and n (n - 1) / 2 gains, got "
            + (f"n = {numbers[0]:g} and {len(numbers) - 1} numbers" if len(numbers) else "nothing")
        )
    return Instance(Graph(n, np.stack(np.triu_indices(n, 1), axis=1)), numbers[1:])


def write_triangle(path: Path, instance: Instance) -> None:
    """Pairs without an edge get 0, parallel edges add up, self-loops and ids are lost."""
    n = instance.graph.num_nodes
    matrix = np.zeros((n, n))
    edges = np.sort(instance.graph.edges, axis=1)
    with np.errstate(invalid="ignore"):
        np.add.at(matrix, (edges[:, 0], edges[:, 1]), instance.edge_costs)
    check_sums(matrix)
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{n}\n")
        for i in range(n - 1):
            file.write(" ".join(map(repr, matrix[i, i + 1 :].tolist())) + "\n")


def _edges(text: str) -> tuple[Array, Array]:
    """End points and costs of lines ``u v cost``."""
    if not HOLDS_DATA.search(text):
        return np.empty((0, 2), np.int64), np.empty(0)
    wanted = "the file must hold lines 'u v cost' with integers u and v of 64 bits and a number"
    try:
        pairs, costs = edge_columns(text)
    except ValueError as error:
        raise _wrong_line(text, _holds_edge, wanted, error) from error
    if np.isnan(costs).any():
        raise _wrong_line(text, _holds_edge, wanted)
    return pairs, costs


def edge_columns(text: str, **how: Any) -> tuple[Array, Array]:
    """End points (m, 2) and costs (m,) of a text that holds them in columns, as numpy.loadtxt takes it."""
    rows = np.loadtxt(io.StringIO(text), dtype=EDGE, ndmin=1, **how)
    return np.stack([rows["u"], rows["v"]], axis=1), rows["cost"].copy()


def floats(cells: Sequence[str]) -> Array:
    """Texts as float64. Python takes 1_0 for 10; in a file it is a slip, and raises a ValueError."""
    if "_" in "".join(cells):
        raise ValueError("an underscore stands in a number")
    return np.array(cells, np.float64)


def _wrong_line(text: str, is_right: Callable[[str], bool], wanted: str, error: ValueError | None = None) -> ValueError:
    """An error that names the first wrong line; looked for only when a fast parser has found that there is one."""
    for number, line in enumerate(text.split("\n"), 1):
        if not is_right(line):
            return ValueError(f"{wanted}, got {line!r:.80} in line {number}")
    return ValueError(f"{wanted}: {error}")


def _holds_edge(line: str) -> bool:
    cells = line.split("#")[0].split()  # numpy takes what is behind # for a comment
    try:
        whole = all(-(2**63) <= int(cell) < 2**63 for cell in cells[:2])
        return not cells or (len(cells) == 3 and whole and not math.isnan(float(cells[2])))
    except ValueError:
        return False


def _holds_numbers(line: str) -> bool:
    try:
        return not np.isnan(floats(line.split())).any()
    except ValueError:
        return False
