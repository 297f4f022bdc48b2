"""Classes as JSON files list them, and how two lists of classes differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .data import Category, DataError

SHOWN = 3  # differences that a message names


def parse_categories(entries: Sequence[Any], path: Path) -> tuple[Category, ...]:
    """Categories of the entries {"id", "name", "isthing"} and perhaps "color" of a JSON file.

    Raises
    ------
    DataError
        If a field is missing or of another type, or an id or a name stands twice.
    """
    found: list[Category] = []
    for entry in entries:
        try:
            number, name = whole(entry["id"], "id"), entry["name"]
            if not isinstance(name, str):
                raise ValueError(f"'name' must be a string, got {name!r}")
            found.append(Category(number, name, flag(entry["isthing"], "isthing"), _color(entry, number)))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: a category is malformed: {said(error)}, in {entry!r:.120}") from error
    for what, values in (("id", [c.id for c in found]), ("name", [c.name for c in found])):
        if (twice := first_double(values)) is not None:
            raise DataError(f"{path}: the category {what} {twice!r} is given twice")
    return tuple(found)


def whole(value: Any, field: str) -> int:
    """The value if it is an integer, else a ValueError that quotes it as it is written."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{field!r} must be an integer, got {value!r}")
    return value


def flag(value: Any, field: str) -> bool:
    """The value if it is true or false, or 1 or 0, else a ValueError that quotes it as it is written."""
    if not isinstance(value, int) or value not in (0, 1):
        raise ValueError(f"{field!r} must be 0, 1, true or false, got {value!r}")
    return bool(value)


def first_double(values: Sequence[Any]) -> Any | None:
    """The first value that has stood before; None if all differ."""
    seen = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def said(error: Exception) -> str:
    """What a missing key, a wrong type or a wrong value is, for messages."""
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)


def category_differences(a: Sequence[Category], b: Sequence[Category], of_a: str, of_b: str) -> str | None:
    """How two lists of classes differ in ids, names, kinds or order, for messages; None if they agree.

    Colours make no difference.
    """
    first, second = ([_shown(c) for c in part] for part in (a, b))
    if first == second:
        return None
    if sorted(first) == sorted(second):
        i = next(i for i, (x, y) in enumerate(zip(first, second, strict=True)) if x != y)
        return f"another order: number {i + 1} is {first[i]} in {of_a}, and {second[i]} in {of_b}"
    by_id = {c.id: _shown(c) for c in a}, {c.id: _shown(c) for c in b}
    lines = [
        f"{by_id[0].get(i, 'absent')} in {of_a} is {by_id[1].get(i, 'absent')} in {of_b}"
        if i in by_id[0]
        else f"{by_id[1][i]} in {of_b} is absent in {of_a}"
        for i in dict.fromkeys([*by_id[0], *by_id[1]])
        if by_id[0].get(i) != by_id[1].get(i)
    ]
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more


def _shown(c: Category) -> str:
    return f"{c.name!r} (id {c.id}, {'thing' if c.isthing else 'stuff'})"


def _color(entry: dict[str, Any], number: int) -> tuple[int, int, int]:
    if "color" not in entry:
        r, g, b = np.random.default_rng(abs(number)).integers(40, 230, 3).tolist()
        return r, g, b
    color = entry["color"]
    if not isinstance(color, list) or len(color) != 3 or not all(0 <= whole(c, "color") < 256 for c in color):
        raise ValueError(f"'color' must be three numbers from 0 to 255, got {color!r}")
    return color[0], color[1], color[2]
