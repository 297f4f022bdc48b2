"""Tables of edges in CSV: a header or none, ids or names, and a cost in every row."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path

import numpy as np

from .._arrays import Array, integer_array
from ..graph import Graph
from .instance import Instance, unless_plain
from .texts import edge_columns, floats

COLUMNS = ("u", "v", "cost")
ENDS, COSTS = {"u", "v", "source", "target", "from", "to"}, {"cost", "weight"}  # which stand elsewhere by mistake
ROWS = 2**8  # that are turned into arrays at once: few, so that their cells stay in the cache
NO_FRACTION = re.compile(r"\.0*$")
PLAIN_ID, PLAIN_COST = r"(?:0|-?[1-9][0-9]{0,17})", r"[-+]?(?:inf|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"
PLAIN_OTHER = r'[^,"\r\n]*'

Rows = Iterator[tuple[int, list[str]]]


def read_csv(path: Path) -> Instance:
    """Columns u, v and cost, or the first three; ids are integers if all are written as such, names otherwise."""
    ends, costs = _columns(path.read_bytes().decode("utf-8-sig"))
    graph, ids = Graph.from_ids(ends)
    return Instance(graph, costs, unless_plain(ids))


def write_csv(path: Path, instance: Instance) -> None:
    """Isolated nodes, node costs and lifted edges are lost."""
    ids = instance.node_ids
    if ids.dtype.kind == "U" and len(np.unique(_ids([np.stack([ids, ids], axis=1)]))) < len(ids):
        raise ValueError(
            "the names of some nodes are one number, written in two ways, as '7' and '7.0', and would be one node in a "
            "csv file: the formats npz and hdf5 keep them"
        )
    u, v = ids[instance.graph.edges].T
    if ids.dtype.kind == "U" and (np.stack([u, v]) == "").any():
        raise ValueError("a node has the empty name, which a csv file cannot hold: the formats npz and hdf5 keep it")
    write_table(path, dict(zip(COLUMNS, (u, v, instance.edge_costs), strict=True)))


def write_table(path: Path, columns: dict[str, Array]) -> None:
    """Write a header and rows, with quotes around the cells that need them."""
    # Of what ends a line, csv looks for \n alone here: with quotes around all names, \r is one of their characters.
    returns = any(
        values.dtype.kind == "U" and (np.strings.find(values, "\r") >= 0).any() for values in columns.values()
    )
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL)
        writer.writerow(columns)
        writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))


def _columns(text: str) -> tuple[Array, Array]:
    """End points (m, 2), integers or names, and costs (m,)."""
    file = io.StringIO(text, newline="")
    reader = csv.reader(file, strict=True)
    rows = ((reader.line_num, row) for row in reader if row)
    try:
        number, first = next(rows, (1, []))
        width, chosen, is_header = _layout(first, number)
        found = _plain(text[file.tell() if is_header else 0 :], width, chosen)
        return found or _any(rows if is_header else chain([(number, first)], rows), width, chosen)
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error


def _layout(first: list[str], number: int) -> tuple[int, list[int], bool]:
    """How many columns there are, those of u, v and cost, and whether the first row names them."""
    names = [cell.strip() for cell in first]
    if len(names) < 3:
        raise ValueError(f"the table must have columns u, v and cost, got {names}")
    is_named = set(COLUMNS) <= set(names)
    if not is_named and _is_number(names[2], or_nan=True):
        if len(names) > 3:
            raise ValueError(
                f"line {number} is no header, since its third cell is the number {names[2]}, but has {len(names)} "
                f"cells: name the columns, or keep u, v and cost; pandas.read_csv and Graph.from_pandas read any table"
            )
        return 3, [0, 1, 2], False
    chosen = [names.index(name) for name in COLUMNS] if is_named else [0, 1, 2]
    if not is_named and (ENDS & set(names[2:]) or COSTS & {*names[:2], *names[3:]}):
        raise ValueError(
            f"line {number}: without the names u, v and cost the first three columns are read, which these do not seem "
            f"to be: {names}; name them, or put them first"
        )
    if any(names.count(names[at]) > 1 or not names[at] for at in chosen):
        raise ValueError(f"line {number}: the columns of u, v and cost must have names of their own, got {names}")
    return len(names), chosen, True


def _plain(text: str, width: int, chosen: list[int]) -> tuple[Array, Array] | None:
    """The columns of rows in which all ids are integers and nothing is quoted, fast; None if some are not such."""
    cells = [PLAIN_OTHER] * width
    for at, pattern in zip(chosen, (PLAIN_ID, PLAIN_ID, PLAIN_COST), strict=True):
        cells[at] = pattern
    if not re.fullmatch(rf"(?:{','.join(cells)}(?:\r?\n|\Z)+)*+", text):
        return None
    return (
        edge_columns(text, delimiter=",", comments=None, usecols=chosen)
        if text
        else (np.empty((0, 2), np.int64), np.empty(0))
    )


def _any(rows: Rows, width: int, chosen: list[int]) -> tuple[Array, Array]:
    """The columns of any rows, or an error that names the line of the first wrong one."""
    ends, costs = [np.empty((0, 2), np.int64)], [np.empty(0)]
    while block := list(islice(rows, ROWS)):
        lines, cells = zip(*block, strict=True)
        _check_widths(cells, width, lines)
        u, v, cost = zip(*map(itemgetter(*chosen), cells), strict=True)
        ends.append(_end_cells(u, v, lines))
        costs.append(_costs(cost, lines))
    return _ids(ends), np.concatenate(costs)


def _check_widths(rows: tuple[list[str], ...], width: int, lines: tuple[int, ...]) -> None:
    if set(map(len, rows)) != {width}:
        number, row = next((number, row) for number, row in zip(lines, rows, strict=True) if len(row) != width)
        raise ValueError(f"line {number} must have {width} cells, as the first line, got {len(row)}")


def _end_cells(u: tuple[str, ...], v: tuple[str, ...], lines: tuple[int, ...]) -> Array:
    """The ends (m, 2) as integers if str() of them gives back all cells; otherwise the cells."""
    cells = [*u, *v]
    if "" in cells:
        at = cells.index("") % len(u)
        raise ValueError(f"line {lines[at]}: the ids of both ends must be given, got {[u[at], v[at]]}")
    numbers = _integers(cells)
    return (np.array(cells) if numbers is None else numbers).reshape(2, -1).T


def _ids(ends: list[Array]) -> Array:
    """Integers if every cell is written as one or as a whole float; otherwise names, exactly as they are written."""
    if all(block.dtype == np.int64 for block in ends):
        return np.concatenate(ends)
    cells = np.concatenate([block.astype(str) for block in ends])
    numbers = _integers([NO_FRACTION.sub("", cell.strip()) for cell in cells.ravel().tolist()])
    return cells if numbers is None else numbers.reshape(-1, 2)


def _integers(cells: list[str]) -> Array | None:
    """Cells as integers of 64 bits, or None if one is written in another way, with zeros before it for instance."""
    try:
        numbers = list(map(int, cells))
    except ValueError:
        return None
    return integer_array(numbers) if list(map(str, numbers)) == cells else None


def _costs(cells: tuple[str, ...], lines: tuple[int, ...]) -> Array:
    try:
        costs = floats(cells)
    except ValueError:
        costs = np.array([np.nan])
    if np.isnan(costs).any():
        number, cell = next((k, c) for k, c in zip(lines, cells, strict=True) if not _is_number(c))
        raise ValueError(f"line {number}: the column of costs must hold numbers, got {cell!r}")
    return costs


def _is_number(cell: str, or_nan: bool = False) -> bool:
    try:
        (value,) = floats([cell])
    except ValueError:
        return False
    return or_nan or not math.isnan(value)
