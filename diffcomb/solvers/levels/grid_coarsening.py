"""The first coarsening of a grid: blocks of two cells a side.

Single edges are noisy and a pass of local moving over single cells mostly joins cells far apart, which share
few parallel edges. A block is compact: its edges at one offset lead to one other block, so that contraction
adds up four noisy costs and leaves a quarter of the edges.
"""

from __future__ import annotations

import numpy as np

from ..._arrays import Array
from ..._numba import njit, unsigned
from ..._threads import thread_ranges
from ...grid import GridGraph
from ...problem import Problem
from ..limits import LIMITS
from .partition import compact

SIDE = 2


def block_groups(problem: Problem, best: Array) -> tuple[Array, int]:
    """Group the cells of a grid graph into blocks, where joining a block gains; else its cells stay alone.

    If few blocks are divided, their cells stay alone as well; many are where costs are noisy, which blocks are for.
    Returns the group of every cell and the number of groups, which is n where blocks are of no use: if there are no
    short edges, or hardly any others, so that what a block averages is all there is to know.
    """
    graph = problem.graph
    assert isinstance(graph, GridGraph)
    n = graph.num_nodes
    short = [all(abs(d) < SIDE for d in offset) for offset in graph.offsets]
    inner = sum(part.stop - part.start for part, near in zip(graph.edge_slices, short, strict=True) if near)
    if not 0 < inner <= (1 - LIMITS.min_long_share) * graph.num_edges:
        return np.arange(n, dtype=np.int32), n
    counts = [-(-length // SIDE) for length in graph.shape]
    block = np.zeros(graph.shape, np.int32)
    for axis, (length, count) in enumerate(zip(graph.shape, counts, strict=True)):
        place = np.arange(length, dtype=np.int32) // SIDE
        block = block * count + place.reshape([-1 if a == axis else 1 for a in range(len(counts))])
    block = block.ravel()
    slices = [part for near, part in zip(short, graph.edge_slices, strict=True) if near]
    starts, stops = (np.array([getattr(part, side) for part in slices]) for side in ("start", "stop"))
    gain, weight = np.zeros((2, int(np.prod(counts))), np.float64)
    layer = SIDE * n // graph.shape[0]  # cells of a layer of blocks, which shares no block with another

    def add(first: int, last: int) -> None:
        cells = first * layer, min(last * layer, n)
        _add_inner_costs(gain, weight, block, graph.edges, problem.edge_costs, starts, stops, *cells)
        _subtract_node_costs(gain, block, problem.node_costs, best, *cells)

    thread_ranges(add, counts[0], -(-LIMITS.nodes_a_thread // layer))
    joined = gain > 0
    divided = joined & (gain <= LIMITS.undivided * weight)
    if divided.sum() <= LIMITS.max_divided * joined.sum():
        joined &= ~divided
    alone = np.flatnonzero(~joined[block])
    block[alone] = len(gain) + np.arange(len(alone))
    group, count = compact(block, len(gain) + len(alone))
    return group, int(count)


@njit
def _add_inner_costs(
    gain: Array, weight: Array, block: Array, edges: Array, costs: Array, starts: Array, stops: Array, first: int,
    last: int,
) -> None:  # fmt: skip
    """Add the costs of the edges within each block, and their absolute values, for the cells first..last-1."""
    for t in range(len(starts)):
        ends = edges[starts[t] : stops[t], 0]  # ascending, within an offset
        for e in range(starts[t] + np.searchsorted(ends, first), starts[t] + np.searchsorted(ends, last)):
            b = unsigned(block[unsigned(edges[e, 0])])
            if b == block[unsigned(edges[e, 1])]:
                gain[b] += costs[e]
                weight[b] += abs(np.float64(costs[e]))


@njit
def _subtract_node_costs(gain: Array, block: Array, node_costs: Array, best: Array, first: int, last: int) -> None:
    """Subtract what it costs at least one way to bring a block into one class: the favourite of its first cell."""
    leader = np.full(len(gain), -1, np.int32)
    for i in range(first, last):
        b = unsigned(block[i])
        if leader[b] < 0:
            leader[b] = best[i]
        gain[b] -= np.float64(node_costs[i, leader[b]]) - node_costs[i, best[i]]
