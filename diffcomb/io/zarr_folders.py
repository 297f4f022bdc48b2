"""Arrays in zarr folders.

An array is written beside the folder and moved there once it is complete, so that what stands in its place is never
half written. Groups keep their format, and consolidated metadata tell what is there.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .files import replacing_folder
from .problems import require


def opened_zarr(folder: Path) -> Any:
    """The array or group of a folder, to read.

    Consolidated metadata, which other programs may not have renewed, are not asked.

    Raises
    ------
    ImportError
        If zarr is not installed.
    ValueError
        If the folder is neither.
    """
    zarr = _zarr(folder)
    try:
        return zarr.open(folder, mode="r", use_consolidated=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"this is no zarr array or group: {error}") from error


def members_of(folder: Path) -> dict[str, bool] | None:
    """The names in a folder, also in groups of groups, and whether each is that of a group; None of a single array."""
    node = opened_zarr(folder)
    kind = _zarr(folder).Group
    if not isinstance(node, kind):
        return None
    return {key: isinstance(item, kind) for key, item in node.members(max_depth=None)}


@contextmanager
def new_zarr_array(
    folder: Path, name: str | None, shape: tuple[int, ...], dtype: Any, chunks: tuple[int, ...] | None
) -> Iterator[Any]:
    """Make an array in a folder, or of the whole folder; once it is filled, it takes the place of an old one.

    It gets the format (2 or 3) of what is there, since a group shows arrays of its own format only.
    """
    zarr, root = _zarr(folder), Path(os.path.realpath(folder))
    kind = opened_zarr(root).metadata.zarr_format if root.exists() and any(root.iterdir()) else None
    with replacing_folder(root if name is None else root / name, beside=root) as unfinished:
        chosen = "auto" if chunks is None else chunks
        yield zarr.create_array(store=str(unfinished), shape=shape, dtype=dtype, chunks=chosen, zarr_format=kind)
        if name is not None:
            above, _, _ = name.rpartition("/")
            group = zarr.open_group(str(root), mode="a", zarr_format=kind, use_consolidated=False)
            if above:
                group.require_group(above)
    if name is not None:
        _renew(zarr, root, above)


def _renew(zarr: Any, root: Path, above: str) -> None:
    """Consolidate metadata again, of each group from the root down that has such."""
    parts = above.split("/") if above else []
    for depth in range(len(parts) + 1):
        path = "/".join(parts[:depth])
        if zarr.open_group(str(root), path=path, mode="r").metadata.consolidated_metadata is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # format 3 does not define them yet
                zarr.consolidate_metadata(str(root), path=path)


def _zarr(folder: Path) -> Any:
    return require("zarr", f"the array {folder}")
