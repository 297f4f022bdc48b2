"""Columns of tables and attributes of graphs of other libraries, which hold what users put there: ids and costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._arrays import Array, integer_array
from ._ids import concatenated_ids


def end_ids(u: Any, v: Any) -> Array:
    """The ids (m, 2) of two columns without empty cells: integers if both columns hold such, else strings.

    A whole number is one node however its column stores it: 1 in a column of integers, 1.0 in one of floats.

    Parameters
    ----------
    u, v : pandas.Series, shape (m,)

    Raises
    ------
    TypeError
        If a number is not whole, or does not fit in 64 bits.
    """
    ends = [_ids(column.to_numpy(), column.name) for column in (u, v)]
    if any(end.dtype.kind == "U" for end in ends):
        return np.stack([end.astype(str) for end in ends], axis=1)
    return concatenated_ids(*ends).reshape(2, -1).T


def _ids(values: Array, name: Any) -> Array:
    """The ids of a column: integers, or strings."""
    if values.dtype.kind in "iuU":
        return values
    if values.dtype.kind == "f" and np.all((np.floor(values) == values) & (np.abs(values) < 2**63)):
        return values.astype(np.int64)
    cells = values.tolist()
    numbers = [isinstance(cell, (int, float, np.number)) and not isinstance(cell, bool) for cell in cells]
    for row in np.flatnonzero(numbers):
        if not math.isfinite(cells[row]) or cells[row] % 1 or not -(2**63) <= cells[row] < 2**64:
            raise TypeError(
                f"the column {name!r} must hold integers of 64 bits or names, got {cells[row]} in row {row}"
            )
    whole = integer_array([int(cell) for cell in cells]) if all(numbers) else None
    if whole is not None:
        return whole
    return np.array([str(int(cell) if number else cell) for cell, number in zip(cells, numbers, strict=True)])


def cost_column(column: Any) -> Array:
    """The costs of a column (m,), a number in every row."""
    empty = np.flatnonzero(column.isna().to_numpy())
    if len(empty):
        raise ValueError(f"the column {column.name!r} must hold a number in every row, got none in row {empty[0]}")
    values = column.to_numpy()
    if values.dtype.kind in "cmM":
        raise TypeError(f"the column {column.name!r} must hold numbers, got dtype {values.dtype}")
    try:
        return np.asarray(values.astype(np.float64))
    except (TypeError, ValueError) as error:
        raise TypeError(f"the column {column.name!r} must hold numbers: {error}") from error


def attribute_costs(values: Sequence[Any], weight: str, edges: Sequence[Any]) -> Array:
    """The costs (m,) in an attribute of the edges of another library's graph, which must be a number at every edge."""
    for value, edge in zip(values, edges, strict=True):
        if value is None:
            raise ValueError(f"weight={weight!r} is missing on edge {edge!r} of the graph")
        if type(value) not in (int, float) and not _is_number(value):
            raise TypeError(f"weight={weight!r} must hold numbers, got {value!r} on edge {edge!r} of the graph")
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"weight={weight!r} must hold numbers: {error}") from error


def _is_number(value: Any) -> bool:
    return np.ndim(value) == 0 and np.asarray(value).dtype.kind in "biufO"  # O: a Fraction, for instance


def check_same_labels(frame: Any) -> None:
    """Raise a ValueError if a square table names its rows, but in another order than its columns, or otherwise."""
    rows, columns = list(frame.index), list(frame.columns)
    unnamed = rows == list(range(len(rows))) and set(rows) != set(columns)
    if rows != columns and not unnamed and len(rows) == len(columns):
        at = next(i for i, (row, column) in enumerate(zip(rows, columns, strict=True)) if row != column)
        raise ValueError(
            f"from_correlation needs a table whose rows are labelled as its columns, got {rows[at]!r} and "
            f"{columns[at]!r} at position {at}: frame.loc[frame.columns] puts the rows in their order"
        )
