"""Blocks of a graph whose nodes have positions: the same steps as for a volume, with everything in memory here.

A worker gets the subgraph of its block alone, and leaves what it finds in the store.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .._arrays import Array
from ..graph import Graph
from ..problem import Problem
from .parts import Fixed, SolverOptions, contracted, moved, pieces_of
from .runner import Job, Runner
from .store import Store


class Placed(NamedTuple):
    """A problem whose nodes have positions (n, D)."""

    problem: Problem
    positions: Array

    def contracted(self, group: Array, count: int) -> Placed:
        """The problem in which every group is a node, at the mean of its members' positions."""
        sizes = np.maximum(np.bincount(group, minlength=count), 1)
        means = [np.bincount(group, axis, count) / sizes for axis in self.positions.T.astype(np.float64)]
        positions = np.stack(means, axis=1)
        return Placed(contracted(self.problem, group, count), positions)


class Subgraph(NamedTuple):
    """The subgraph of a block: its nodes, which of them it decides about, and their problem."""

    nodes: Array
    decided: Array
    problem: Problem


MOST_BOXES = 2.0**31


@dataclass
class Boxes:
    """Nodes sorted into the boxes of a regular tiling.

    Attributes
    ----------
    placed : Placed
    size : float array, shape (D,)
    shift : float
        Of the tiling, in boxes.
    """

    placed: Placed
    size: Array
    shift: float = 0.0

    def __post_init__(self) -> None:
        """Sort."""
        positions = self.placed.positions
        origin = positions.min(axis=0) if len(positions) else np.zeros(len(self.size))
        scaled = (positions - origin) / self.size
        if len(scaled) and not scaled.max() < MOST_BOXES:
            raise ValueError(
                f"block_shape must not be so small: positions extend over {scaled.max():.3g} blocks along an axis, at "
                f"most {MOST_BOXES:.3g} are possible"
            )
        if self.shift and len(scaled):  # the first and the last box reach to the ends
            last = np.maximum(np.floor(scaled.max(axis=0)), 1)
            scaled = np.clip(scaled - self.shift, 0, last - 1e-6)
        self.scaled = scaled
        # The boxes that hold a node, in lexicographic order, and the number of each node's.
        self.filled, self.number = np.unique(np.floor(scaled).astype(np.int64), axis=0, return_inverse=True)
        self.number = self.number.reshape(-1)
        self.order = np.argsort(self.number, kind="stable")
        self.first = np.searchsorted(self.number[self.order], np.arange(len(self.filled) + 1))
        self.place = {tuple(index): i for i, index in enumerate(self.filled.tolist())}

    def names(self) -> list[str]:
        """Of the boxes that hold a node."""
        return ["_".join(map(str, index)) for index in self.filled.tolist()]

    def members(self, i: int) -> Array:
        """The nodes of a box, in the order of their numbers."""
        return self.order[self.first[i] : self.first[i + 1]]

    def around(self, i: int, halo: Array) -> Array:
        """Those, and the nodes within a distance of the box along every axis."""
        index = self.filled[i]
        far = np.ceil(halo / self.size)
        if np.prod(2 * far + 1) < len(self.filled):
            rings = [range(int(a - f), int(a + f) + 1) for a, f in zip(index, far, strict=True)]
            near = [self.place[j] for j in itertools.product(*rings) if j in self.place]
        else:
            near = np.flatnonzero((np.abs(self.filled - index) <= far).all(axis=1)).tolist()
        nodes = np.concatenate([self.members(j) for j in near])
        margin = halo / self.size
        at = self.scaled[nodes]
        return np.sort(nodes[((at >= index - margin) & (at <= index + 1 + margin)).all(axis=1)])


def solve_blocks(
    placed: Placed, size: Array, halo: Array, runner: Runner, options: SolverOptions, stage: str
) -> tuple[Array, Placed, float, int]:
    """Solve every block and its halo, and contract what the cores decide.

    Returns
    -------
    group, pieces, bound, blocks
        The piece of every node, the problem of the pieces, the sum of the bounds of blocks and of edges between them,
        and the number of blocks. Nodes of a block that failed are pieces of their own.
    """
    boxes = Boxes(placed, size)
    names = boxes.names()
    parts = _Subgraphs(placed.problem)

    def job(i: int) -> Job:
        def arguments() -> tuple[SolverOptions, Subgraph]:
            nodes = boxes.around(i, halo)
            return options, Subgraph(nodes, boxes.number[nodes] == i, parts.of(nodes))

        return Job(names[i], solve_part, arguments)

    failed = runner.run(stage, map(job, range(len(names))), len(names))
    group, count, bound = np.empty(placed.problem.graph.num_nodes, np.int32), 0, 0.0
    for i, name in enumerate(names):
        members = boxes.members(i)
        if name in failed:
            group[members] = count + np.arange(len(members))
            count += len(members)
            bound = -np.inf
        else:
            local, pieces, its_bound = runner.store.load(stage, name, ("group", "count", "bound"))
            group[members] = local + count
            count += int(pieces)
            bound += float(its_bound)
    u, v = boxes.number[placed.problem.graph.edges].T
    between = placed.problem.edge_costs[u != v]
    bound += float(np.minimum(between, 0).sum(dtype=np.float64))
    return group, placed.contracted(group, count), bound, len(names)


def solve_part(store: Store, stage: str, name: str, options: SolverOptions, part: Subgraph) -> None:
    """Solve a block and its halo, and keep the pieces of the core."""
    found = options(part.problem, store.seed(options.seed, stage, name))
    if part.decided.all():
        core, x, z = part.problem, found.node_labels, found.clusters
    else:
        core = _Subgraphs(part.problem).of(np.flatnonzero(part.decided))
        x, z = found.node_labels[part.decided], found.clusters[part.decided]
    pieces = pieces_of(core, x, z)
    store.save(stage, name, group=pieces.group, count=pieces.count, bound=options.lower_bound(core, x, z))


def move_nodes(
    placed: Placed, labelling: tuple[Array, Array], size: Array, runner: Runner, options: SolverOptions, stage: str
) -> tuple[Array, Array, int]:
    """Move single nodes between clusters, in boxes shifted by half a block; returns classes, clusters, and how many.

    A node with a neighbour in a box of a lower number stays where it is, so that no two boxes depend on each other.
    """
    x, z = (a.copy() for a in labelling)
    boxes = Boxes(placed, size, shift=0.5)
    names = boxes.names()
    u, v = placed.problem.graph.edges.T
    moves = np.ones(placed.problem.graph.num_nodes, bool)
    moves[u[boxes.number[u] > boxes.number[v]]] = False
    moves[v[boxes.number[v] > boxes.number[u]]] = False
    parts = _Subgraphs(placed.problem)

    def free(i: int) -> Array:
        members = boxes.members(i)
        return members[moves[members]]

    def job(i: int) -> Job:
        def arguments() -> tuple[SolverOptions, Fixed]:
            nodes = parts.with_neighbours(free(i))
            is_free = (boxes.number[nodes] == i) & moves[nodes]
            return options, Fixed(parts.of(nodes), is_free, x[nodes], z[nodes])

        return Job(names[i], move_part, arguments)

    failed = runner.run(stage, map(job, range(len(names))), len(names), all_may_fail=True)
    new = int(z.max(initial=-1)) + 1
    for i, name in enumerate(names):
        if name in failed:
            continue
        labels, clusters = runner.store.load(stage, name, ("node_labels", "clusters"))
        if len(labels):
            nodes = free(i)
            x[nodes] = labels
            z[nodes] = np.where(clusters <= -2, new - 2 - clusters, clusters)
            new += max(-1 - int(clusters.min()), 0)
    return x, z, len(names)


def move_part(store: Store, stage: str, name: str, options: SolverOptions, fixed: Fixed) -> None:
    """Move the free nodes of one box."""
    found = moved(fixed, options, store.seed(options.seed, stage, name))
    x, z, gain = found or (np.empty(0, np.int64), np.empty(0, np.int64), 0.0)
    store.save(stage, name, node_labels=x, clusters=z, gain=gain)


class _Subgraphs:
    """Induced subgraphs, in time that depends on their size alone."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.number = np.full(problem.graph.num_nodes, -1, np.int32)

    def of(self, nodes: Array) -> Problem:
        """The problem of some nodes, given in ascending order, and the edges between them."""
        problem, number = self.problem, self.number
        number[nodes] = np.arange(len(nodes))
        _, neighbours, edge_ids = problem.graph.csr
        halves = _ranges(problem.graph.csr[0], nodes)
        inside = number[neighbours[halves]] >= 0
        edge = np.unique(edge_ids[halves[inside]])
        graph = Graph(len(nodes), number[problem.graph.edges[edge]])
        number[nodes] = -1
        return replace(problem, graph=graph, node_costs=problem.node_costs[nodes], edge_costs=problem.edge_costs[edge])

    def with_neighbours(self, nodes: Array) -> Array:
        """Those nodes and all that an edge joins to them, in ascending order."""
        indptr, neighbours, _ = self.problem.graph.csr
        return np.unique(np.concatenate([nodes, neighbours[_ranges(indptr, nodes)]]))


def _ranges(indptr: Array, nodes: Array) -> Array:
    """The half-edges of some nodes."""
    lengths = indptr[nodes + 1] - indptr[nodes]
    starts = np.cumsum(lengths) - lengths
    halves: Array = np.arange(lengths.sum()) + np.repeat(indptr[nodes] - starts, lengths)
    return halves


def check_finite_sum(problem: Problem, name: str) -> None:
    """Raise a ValueError unless no sum of costs is infinite; `name` is what the user calls those of edges."""
    with np.errstate(over="ignore"):
        sums = [float(np.abs(costs).sum(dtype=np.float64)) for costs in (problem.edge_costs, problem.node_costs)]
    if not np.isfinite(sum(sums)):
        raise ValueError(f"{name} and node_costs must have a finite sum: divide all of them by the same number")
