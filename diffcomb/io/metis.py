"""METIS: for each node a line of its neighbours and the weights of their edges; each edge stands in two lines."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._arrays import Array
from ..graph import Graph, as_graph
from .files import read_text
from .instance import Instance, check_sums
from .texts import floats


class _Ends(NamedTuple):
    """What all lines of nodes list: the node of the line, its neighbour, both from 0 on, and the weight."""

    node: Array
    neighbour: Array
    weight: Array


def read_metis(path: Path) -> Instance:
    """METIS: ``n m 1``, then for each node its neighbours, from 1 on, and the weights of their edges."""
    numbered = enumerate(read_text(path).split("\n"), 1)
    lines = [(number, line) for number, line in numbered if not line.startswith("%")]
    n, m, weighted = _head(lines[0][1] if lines else "")
    for number, line in lines[n + 1 :]:
        if line.strip():
            raise ValueError(f"line {number} is one too many: the first line says that there are {n} nodes")
    lines = lines[1 : n + 1]
    ends = _ends(lines, n, weighted)
    once = ends.node < ends.neighbour
    _check_both_ends(ends, once, [number for number, _ in lines])
    if int(once.sum()) != m:
        raise ValueError(f"the file must hold {m} edges, each at both of its ends, got {int(once.sum())}")
    edges = np.stack([ends.node[once], ends.neighbour[once]], axis=1)
    if n > len(lines):  # nodes at the end may have no line, but not in a file that a wrong number heads
        as_graph(np.concatenate([edges, [[n - 1, n - 1]]]))
    return Instance(Graph(n, edges), ends.weight[once])


def write_metis(path: Path, instance: Instance) -> None:
    """Parallel edges add up; self-loops and ids are lost."""
    n = instance.graph.num_nodes
    edges = np.sort(instance.graph.edges, axis=1).astype(np.int64)
    proper = edges[:, 0] != edges[:, 1]
    pairs, place = np.unique(edges[proper], axis=0, return_inverse=True)
    weights = np.bincount(place.ravel(), instance.edge_costs[proper], len(pairs))
    check_sums(weights)
    rows: list[list[str]] = [[] for _ in range(n)]
    for (u, v), weight in zip(pairs.tolist(), weights.tolist(), strict=True):
        rows[u].append(f"{v + 1} {weight!r}")
        rows[v].append(f"{u + 1} {weight!r}")
    path.write_text(f"{n} {len(pairs)} 1\n" + "".join(" ".join(row) + "\n" for row in rows), encoding="utf-8")


def _head(line: str) -> tuple[int, int, bool]:
    """Numbers of nodes and edges, and whether edges have weights."""
    head = line.split()
    if not 2 <= len(head) <= 4 or not all(part.isdecimal() for part in head):
        raise ValueError(f"the file must begin with the numbers of nodes and edges of METIS, got {line!r:.80}")
    kind = head[2].zfill(3) if len(head) > 2 else "000"
    if kind[:2] != "00":
        raise ValueError(f"node weights (format {head[2]}) are not supported, only edge weights (format 1)")
    return int(head[0]), int(head[1]), kind[2] == "1"


def _ends(lines: list[tuple[int, str]], n: int, weighted: bool) -> _Ends:
    values = [_values(number, line, weighted) for number, line in lines]
    step = 2 if weighted else 1
    node = np.repeat(np.arange(len(values)), [len(row) // step for row in values])
    flat = np.concatenate(values) if values else np.empty(0)
    neighbour, weight = flat[::step], flat[1::2] if weighted else np.ones(len(node))
    wrong = np.flatnonzero(
        ~((neighbour >= 1) & (neighbour <= n) & (np.floor(neighbour) == neighbour)) | np.isnan(weight)
    )
    if len(wrong):
        number, line = lines[node[wrong[0]]]
        raise ValueError(f"line {number} must hold neighbours, integers in 1..{n}, and numbers, got {line!r:.80}")
    return _Ends(node, neighbour.astype(np.int64) - 1, weight)


def _values(number: int, line: str, weighted: bool) -> Array:
    """The numbers of a line: neighbours, or neighbours and weights in turn."""
    try:
        row = floats(line.split())
    except ValueError as error:
        raise ValueError(f"line {number} must hold numbers: {error}") from error
    if weighted and len(row) % 2:
        raise ValueError(f"line {number} must hold pairs of a neighbour and a weight, got {len(row)} numbers")
    return row


def _check_both_ends(ends: _Ends, once: Array, lines: list[int]) -> None:
    """Raise a ValueError unless each edge is listed at both of its ends, with one weight, and none is a self-loop."""
    loops = np.flatnonzero(ends.node == ends.neighbour)
    if len(loops):
        node = ends.node[loops[0]]
        raise ValueError(f"line {lines[node]} lists its own node {node + 1} as a neighbour")
    there = np.stack([ends.node[once], ends.neighbour[once], ends.weight[once]])
    back = np.stack([ends.neighbour[~once], ends.node[~once], ends.weight[~once]])
    there, back = (sides[:, np.lexsort(sides[::-1])] for sides in (there, back))
    size = min(there.shape[1], back.shape[1])
    differ = np.flatnonzero((there[:, :size] != back[:, :size]).any(axis=0))
    if len(differ) or there.shape != back.shape:
        at = int(differ[0]) if len(differ) else size
        first, second = (sides[:, at].tolist() if at < sides.shape[1] else [np.inf] for sides in (there, back))
        raise _one_sided(first, second, lines)


def _one_sided(there: list[float], back: list[float], lines: list[int]) -> ValueError:
    """What is wrong with the first edge (u, v, weight), u < v, that its ends list differently."""
    u, v = (int(end) for end in min(there, back)[:2])
    if there[:2] == back[:2]:
        return ValueError(
            f"the edge of nodes {u + 1} and {v + 1} has the weight {there[2]:g} in line {lines[u]}, "
            f"but {back[2]:g} in line {lines[v]}"
        )
    lists, other = (u, v) if there < back else (v, u)
    return ValueError(
        f"line {lines[lists]} lists node {other + 1} as a neighbour of node {lists + 1}, but the line of node "
        f"{other + 1} does not list node {lists + 1}: each edge must stand at both of its ends"
    )
