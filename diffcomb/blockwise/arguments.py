"""What `solve_blockwise` is given, checked once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._arrays import Array, to_numpy
from .._labels import class_mask
from ..graph import as_graph
from ..grid import check_offsets
from ..problem import make_problem
from ..solve_instances import check_count
from .graphs import Placed, check_finite_sum
from .sources import Volume, digest_of

BLOCK = {1: 2**20, 2: 512, 3: 96}  # cells along each axis, by the number of axes: such a block takes about 1 GB
MOST_LEVELS = 64  # blocks of the last one are longer than any volume
HALO_SHARE = 8  # of a block's size is its halo, unless said


def check_options(
    levels: Any, retries: Any, on_failure: Any, timeout: Any, values: Any, seed: Any, store: Any
) -> None:  # fmt: skip
    """Raise a ValueError for what is out of range."""
    for name, count in (("levels", levels), ("retries", retries), ("seed", seed)):
        check_count(count, name)
    if levels < 1:
        raise ValueError("levels must be at least 1, got 0: solve in one piece with diffcomb.multicut or diffcomb.amwc")
    if levels > MOST_LEVELS:
        raise ValueError(f"levels must be at most {MOST_LEVELS}, got {levels}: each makes blocks twice as long")
    if on_failure not in ("raise", "cut"):
        raise ValueError(f"on_failure must be 'raise' or 'cut', got {on_failure!r}")
    if values not in ("probabilities", "costs"):
        raise ValueError(f"values must be 'probabilities' or 'costs', got {values!r}")
    if timeout is not None and not (_is_number(timeout) and 0 < timeout < math.inf):
        raise ValueError(f"timeout must be a positive number of seconds or None, got {timeout!r}")
    if store is not None and not isinstance(store, (str, Path)):
        raise TypeError(f"store must be the path of a folder or None, got {store!r:.80}")
    if store == "":
        raise ValueError("store must be the path of a folder or None, got ''; '.' is the current one")
    if store is not None and Path(store).is_file():
        raise FileExistsError(f"store must be a folder, but {store} is a file")


def check_graph_has_no(**options: tuple[Any, Any]) -> None:
    """Raise a ValueError for an option, given with its default, that is for volumes of affinities alone."""
    for name, (value, default) in options.items():
        if value is not default and value != default:
            raise ValueError(f"{name} must be left out for a graph, whose edges have costs: got {value!r}")


def check_values(affinities: Volume, values: str) -> None:
    """Raise a TypeError unless probabilities are floats, bytes or booleans."""
    dtype = np.dtype(affinities.array.dtype)
    if values == "probabilities" and dtype.kind not in "fb" and dtype != np.uint8:
        raise TypeError(
            f"affinities as probabilities must be floats in [0, 1], bytes or booleans, got {dtype}; divide them, or "
            "say that they are costs (values='costs', --costs)"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def placed_graph(given: Sequence[Any], node_costs: Any, partitionable: Any) -> Placed:
    """A graph, its costs and the positions of its nodes."""
    if len(given) != 3:
        raise ValueError(f"problem must be an array or a tuple (graph, edge_costs, positions), got {len(given)} items")
    graph, edge_costs, positions = given
    where = to_numpy(positions)
    if where.ndim != 2 or where.dtype.kind not in "fiu" or where.shape[1] == 0:
        raise ValueError(f"positions must hold numbers in the shape (n, D), got {where.dtype} {where.shape}")
    graph = as_graph(graph, len(where))
    if len(where) != graph.num_nodes:
        raise ValueError(f"positions must have n={graph.num_nodes} rows, one for each node, got {len(where)}")
    if not np.isfinite(where).all():
        raise ValueError("positions must be finite")
    if node_costs is None and partitionable is not None:
        raise ValueError("partitionable needs node_costs")
    problem = make_problem(graph, node_costs, edge_costs, () if partitionable is None else partitionable)
    if not np.isfinite(problem.edge_costs).all():
        raise ValueError("edge_costs must be finite: sums of infinite costs over blocks would lose constraints")
    check_finite_sum(problem, "edge_costs")
    return Placed(problem, where.astype(np.float64))


def digest_of_graph(placed: Placed) -> str:
    """A hash of all that defines the problem, and of the positions."""
    problem = placed.problem
    arrays = problem.graph.edges, problem.edge_costs, problem.node_costs, problem.partitionable, placed.positions
    return digest_of(*map(np.ascontiguousarray, arrays))


def offsets_of(affinities: Volume, offsets: Any) -> tuple[tuple[int, ...], ...]:
    """Offsets that fit the channels of the affinities."""
    if len(affinities.shape) < 2:
        raise ValueError(f"affinities must have shape (C, *S), got {affinities.shape}")
    if offsets is None:
        raise ValueError("offsets must say which cells each channel of the affinities joins")
    if not all(affinities.shape[1:]):
        raise ValueError(f"affinities must have cells along every axis, got shape {affinities.shape}")
    try:
        vectors = check_offsets(offsets, affinities.shape[1:])
    except TypeError as error:
        raise TypeError(f"offsets must be a list of tuples of integers, got {offsets!r:.80}") from error
    if len(vectors) != affinities.shape[0] or not vectors:
        raise ValueError(
            f"offsets must be one vector for each channel of the affinities {affinities.shape}, got {len(vectors)}"
        )
    return vectors


def classes_of(node_costs: Volume | None, partitionable: Any, shape: tuple[int, ...]) -> Array:
    """The mask of the partitionable classes of a volume."""
    if node_costs is None:
        if partitionable is not None:
            raise ValueError("partitionable needs node_costs")
        return np.ones(1, bool)
    if node_costs.shape[1:] != shape or not node_costs.shape[0]:
        raise ValueError(f"node_costs must have shape (K, *{shape}), got {node_costs.shape}")
    return class_mask(() if partitionable is None else partitionable, node_costs.shape[0])


def sizes_of(
    block_shape: Any, halo: Any, axes: int, shape: Sequence[int] | None
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Sizes of blocks and halos along every axis; integers where there is a volume."""
    if block_shape is None:
        if shape is None:
            raise ValueError("block_shape must be given for a graph, in the units of its positions")
        block_shape = (BLOCK.get(axes, 32),) * axes
    size = _lengths(block_shape, "block_shape", axes, shape is not None)
    if not all(0 < length < math.inf for length in size):
        raise ValueError(f"block_shape must be positive and finite along every axis, got {size}")
    if halo is None:
        halo = [length // HALO_SHARE if shape is not None else length / HALO_SHARE for length in size]
    margin = _lengths(halo, "halo", axes, shape is not None)
    if not all(0 <= length < math.inf for length in margin):
        raise ValueError(f"halo must not be negative, and finite, got {margin}")
    return size, margin


def _lengths(values: Any, name: str, axes: int, whole: bool) -> tuple[Any, ...]:
    try:
        lengths = tuple(values)
    except TypeError:
        raise TypeError(f"{name} must have {axes} numbers, one for each axis, got {values!r}") from None
    if len(lengths) != axes or not all(
        _is_number(v) and (isinstance(v, (int, np.integer)) or not whole) for v in lengths
    ):
        kind = "integers" if whole else "numbers"
        raise ValueError(f"{name} must be {axes} {kind}, one for each axis, got {values!r}")
    return tuple(int(v) if whole else float(v) for v in lengths)
